//! Images of commits, on a real engine and from a real repository.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test fails loudly"
)]

#[allow(dead_code, reason = "each test file uses a part")]
mod support;

use std::{fs, os::unix::fs::PermissionsExt as _, path::Path, process::Command};

use rollback_docker::{BuildError, Engine, Source};
use serde_json::Value;

/// A repository with the specimen in it.
struct Repository {
    dir: tempfile::TempDir,
}

impl Repository {
    fn new() -> Self {
        let repository = Self {
            dir: tempfile::tempdir().unwrap(),
        };
        repository.git(&["init", "--quiet", "--initial-branch=main"]);
        repository
    }

    fn path(&self) -> &Path {
        self.dir.path()
    }

    fn git(&self, args: &[&str]) -> String {
        let output = Command::new("git")
            .current_dir(self.path())
            .args(["-c", "user.name=Test", "-c", "user.email=test@localhost"])
            .args(args)
            .output()
            .unwrap();
        assert!(
            output.status.success(),
            "{}",
            String::from_utf8_lossy(&output.stderr)
        );
        String::from_utf8_lossy(&output.stdout).trim().to_owned()
    }

    fn write(&self, name: &str, text: &[u8], mode: u32) {
        let path = self.path().join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, text).unwrap();
        fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
    }

    fn commit(&self, message: &str) -> String {
        self.git(&["add", "--all"]);
        self.git(&["commit", "--quiet", "-m", message]);
        self.git(&["rev-parse", "HEAD"])
    }
}

/// Removes the images of a source, also after a panic.
struct Swept<'a>(&'a str);

impl Drop for Swept<'_> {
    fn drop(&mut self) {
        let found = Command::new("docker")
            .args([
                "images",
                "--quiet",
                "--no-trunc",
                &format!("rollback-built/{}", self.0),
            ])
            .output()
            .unwrap();
        for id in String::from_utf8_lossy(&found.stdout).lines() {
            let _ = Command::new("docker").args(["rmi", "--force", id]).output();
        }
    }
}

/// What an image does when it is run.
async fn said(engine: &Engine, image: &str) -> Value {
    engine
        .get(&format!("/images/{image}/json"), &[])
        .await
        .unwrap()
}

const DOCKERFILE: &str =
    "FROM scratch\nCOPY . /\nARG WHO=nobody\nENV WHO=$WHO\nENTRYPOINT [\"/specimen\"]\n";

#[tokio::test]
async fn a_commit_becomes_an_image_and_nothing_else_gets_in() {
    let (engine, name) = (support::engine(), support::name("build"));
    let _swept = Swept(&name);
    let repository = Repository::new();
    repository.write("app/specimen", rollback_specimen::PROGRAM, 0o755);
    repository.write("app/ops/Dockerfile.app", DOCKERFILE.as_bytes(), 0o644);
    repository.write("secrets", b"outside of the context", 0o644);
    let first = repository.commit("First release");
    repository.write("app/new", b"of the second", 0o644);
    let second = repository.commit("Second release");
    // A working tree as people leave it: changed, staged and untracked files.
    repository.write("app/specimen", b"not a program", 0o644);
    repository.write("app/staged", b"staged", 0o644);
    repository.git(&["add", "app/staged"]);
    repository.write("app/untracked", b"untracked", 0o644);
    let status = repository.git(&["status", "--porcelain"]);

    let source = Source::new(&name, repository.path())
        .context("./app/")
        .dockerfile("ops/Dockerfile.app");
    let built = source.build(&engine, &first[..10]).await.unwrap();
    assert_eq!(
        (built.commit.as_str(), built.subject.as_str()),
        (&*first, "First release")
    );
    assert!(!built.reused && built.name() == &first[..12]);
    let image = said(&engine, built.image.as_str()).await;
    assert_eq!(image["Config"]["Labels"]["io.rollback.commit"], first);
    let files = files(built.image.as_str());
    assert_eq!(
        files,
        ["ops/Dockerfile.app", "specimen"],
        "nothing but the commit"
    );
    assert_eq!(
        repository.git(&["status", "--porcelain"]),
        status,
        "nothing is touched"
    );
    let run = Command::new("docker")
        .args([
            "run",
            "--rm",
            "--network=none",
            "--env=EXIT_AFTER=1",
            "--env=EXIT_CODE=7",
        ])
        .arg(built.image.as_str())
        .output()
        .unwrap();
    assert_eq!(
        run.status.code(),
        Some(7),
        "{}",
        String::from_utf8_lossy(&run.stderr)
    );

    // The same again is the same image; another recipe or commit is another one.
    let again = source.build(&engine, "main~1").await.unwrap();
    assert!(again.reused);
    assert_eq!(again.image, built.image);
    let other = source
        .clone()
        .arg("WHO", "me")
        .build(&engine, &first)
        .await
        .unwrap();
    assert!(!other.reused && other.image != built.image);
    let newer = source.build(&engine, "main").await.unwrap();
    assert!(!newer.reused && newer.commit == second);
    assert_ne!(newer.image, built.image);
    let anew = source.clone().anew().build(&engine, &first).await.unwrap();
    assert!(!anew.reused);
    let tags = said(&engine, built.image.as_str()).await["RepoTags"].clone();
    assert_eq!(
        tags.as_array().unwrap().len(),
        1,
        "the first keeps its name: {tags}"
    );

    // Gone from the engine: built once more.
    drop(Swept(&name));
    assert!(!source.build(&engine, &first).await.unwrap().reused);
}

#[tokio::test]
async fn what_cannot_be_built_says_why() {
    let (engine, name) = (support::engine(), support::name("build-fails"));
    let _swept = Swept(&name);
    let repository = Repository::new();
    let text = "FROM scratch\nCOPY nothing-there /\n";
    repository.write("Dockerfile", text.as_bytes(), 0o644);
    repository.write("app/file", b"x", 0o644);
    let commit = repository.commit("Broken");
    let source = Source::new(&name, repository.path());
    let error = source.build(&engine, "main").await.unwrap_err();
    let told = error.to_string();
    assert!(matches!(error, BuildError::Failed { .. }), "{told}");
    for part in [&*commit, "nothing-there", "COPY"] {
        assert!(told.contains(part), "{told}");
    }
    for rev in [
        "v9.9",
        "",
        "--help",
        "0000000000000000000000000000000000000000",
    ] {
        let error = source.build(&engine, rev).await.unwrap_err();
        assert!(
            matches!(error, BuildError::NoSuchCommit { .. }),
            "{rev}: {error}"
        );
    }
    let error = source
        .clone()
        .dockerfile("gone")
        .build(&engine, "main")
        .await
        .unwrap_err();
    assert!(matches!(error, BuildError::Failed { .. }), "{error}");
    let error = source
        .clone()
        .context("gone")
        .build(&engine, "main")
        .await
        .unwrap_err();
    assert!(matches!(error, BuildError::Git { .. }), "{error}");
    let error = source
        .clone()
        .most_bytes(1_000)
        .build(&engine, "main")
        .await
        .unwrap_err();
    assert!(matches!(error, BuildError::TooLarge { .. }), "{error}");
    let empty = tempfile::tempdir().unwrap();
    let error = Source::new(&name, empty.path())
        .build(&engine, "main")
        .await
        .unwrap_err();
    assert!(
        error.to_string().contains("not a git repository"),
        "{error}"
    );
}

/// The files of an image, without those that the engine puts into each container.
fn files(image: &str) -> Vec<String> {
    let created = Command::new("docker")
        .args(["create", image])
        .output()
        .unwrap();
    let container = String::from_utf8_lossy(&created.stdout).trim().to_owned();
    let dir = tempfile::tempdir().unwrap();
    let copied = Command::new("docker")
        .args([
            "cp",
            &format!("{container}:/"),
            &dir.path().join("root").to_string_lossy(),
        ])
        .output()
        .unwrap();
    let _ = Command::new("docker").args(["rm", &container]).output();
    assert!(
        copied.status.success(),
        "{}",
        String::from_utf8_lossy(&copied.stderr)
    );
    let mut found = Vec::new();
    let mut folders = vec![dir.path().join("root")];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            let name = path
                .strip_prefix(dir.path().join("root"))
                .unwrap()
                .to_owned();
            let first = name.components().next().unwrap().as_os_str().to_owned();
            if ["dev", "etc", "proc", "sys", ".dockerenv"]
                .iter()
                .any(|ours| first == *ours)
            {
                continue;
            }
            if path.is_dir() {
                folders.push(path);
            } else {
                found.push(name.to_string_lossy().into_owned());
            }
        }
    }
    found.sort();
    found
}
