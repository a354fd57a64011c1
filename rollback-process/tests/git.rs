//! Commits as releases, against the real git: nothing that people work on is touched.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "only tests use it"
)]

#[allow(dead_code, reason = "each test file uses a part")]
mod support;

use std::{
    fs,
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
    process::Command,
};

use rollback_core::{
    model::{ArmState, ChangeError, DeploymentId, Pace, Placement, ServiceId, Timestamp},
    ports::Deployer as _,
};
use rollback_process::{GitError, GitReleases, RollbackRecord, ScriptDeployer, ScriptRelease};
use support::scripted::Scripted;
use tempfile::TempDir;

const IN_PLACE: Placement = Placement::InPlace(Pace::AtOnce);

fn git(dir: &Path, args: &[&str]) -> String {
    let output = Command::new("git")
        .current_dir(dir)
        .args([
            "-c",
            "user.name=T",
            "-c",
            "user.email=t@localhost",
            "-c",
            "commit.gpgsign=false",
        ])
        .args(args)
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "git {args:?}: {said}");
    String::from_utf8_lossy(&output.stdout)
        .trim_end()
        .to_owned()
}

/// A repository with three commits, a branch, and work in progress: a staged file, a changed one,
/// one that git does not know, and a stash.
struct Repository {
    dir: TempDir,
    commits: Vec<String>,
}

impl Repository {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let here = dir.path().join("shop");
        fs::create_dir(&here).unwrap();
        git(&here, &["init", "-q", "-b", "main"]);
        let mut commits = Vec::new();
        for (n, subject) in ["one", "two", "three: a\ttab"].into_iter().enumerate() {
            fs::write(here.join("version"), format!("{}\n", n + 1)).unwrap();
            git(&here, &["add", "version"]);
            git(&here, &["commit", "-q", "-m", subject]);
            commits.push(git(&here, &["rev-parse", "HEAD"]));
        }
        git(&here, &["branch", "feature", "HEAD~1"]);
        fs::write(here.join("version"), "stashed\n").unwrap();
        git(&here, &["stash", "-q"]);
        fs::write(here.join("staged"), "staged\n").unwrap();
        git(&here, &["add", "staged"]);
        fs::write(here.join("version"), "at work\n").unwrap();
        fs::write(here.join("unknown"), "unknown\n").unwrap();
        // A hook that would tell of being run.
        let hooks = here.join(".git/hooks");
        fs::create_dir_all(&hooks).unwrap();
        for hook in ["post-checkout", "post-commit", "reference-transaction"] {
            fs::write(
                hooks.join(hook),
                "#!/bin/sh\ntouch \"$(git rev-parse --git-common-dir)/hooked\"\n",
            )
            .unwrap();
            let open = fs::Permissions::from_mode(0o755);
            fs::set_permissions(hooks.join(hook), open).unwrap();
        }
        Self { dir, commits }
    }

    fn path(&self) -> PathBuf {
        self.dir.path().join("shop")
    }

    fn trees(&self) -> PathBuf {
        self.dir.path().join("trees")
    }

    async fn releases(&self) -> GitReleases {
        GitReleases::open(self.path(), self.trees()).await.unwrap()
    }

    /// Everything that people would miss.
    fn picture(&self) -> Vec<String> {
        let here = self.path();
        let mut picture: Vec<String> = [
            &["symbolic-ref", "HEAD"][..],
            &["for-each-ref", "--exclude=refs/heads/rollback/"],
            &["ls-files", "--stage"],
            &["status", "--porcelain"],
            &["stash", "list"],
            &["reflog", "show", "main"],
        ]
        .iter()
        .map(|args| git(&here, args))
        .collect();
        for file in ["version", "staged", "unknown"] {
            picture.push(fs::read_to_string(here.join(file)).unwrap());
        }
        picture.push(here.join(".git/hooked").exists().to_string());
        picture
    }

    fn record(&self) -> RollbackRecord {
        RollbackRecord::new(
            service(),
            DeploymentId::new("d17.19a").unwrap(),
            &self.commits[2],
            &self.commits[0],
            Timestamp::from_millis(1_700_000_000_000),
        )
        .because(
            "errors_against_stable",
            "12 of 400 requests failed\nRollback-To: elsewhere",
        )
    }
}

fn service() -> ServiceId {
    ServiceId::new("shop").unwrap()
}

#[tokio::test]
async fn commits_are_found_by_any_name_and_listed_newest_first() {
    let repository = Repository::new();
    let releases = repository.releases().await;
    let short = &repository.commits[1][..8];
    for rev in ["feature", "HEAD~1", short, &repository.commits[1]] {
        assert_eq!(
            releases.resolve(rev).await.unwrap().id,
            repository.commits[1],
            "{rev}"
        );
    }
    let last = releases.last("main", 2).await.unwrap();
    let subjects: Vec<&str> = last.iter().map(|commit| &*commit.subject).collect();
    assert_eq!(subjects, ["three: a\ttab", "two"]);
    for rev in ["nothere", "", "--all", "main:version", "a\nb"] {
        let error = releases.resolve(rev).await.unwrap_err();
        assert!(
            matches!(error, GitError::NoSuchCommit { .. }),
            "{rev}: {error}"
        );
    }
    let nowhere = GitReleases::open(repository.dir.path(), repository.trees()).await;
    let error = nowhere.unwrap_err().to_string();
    assert!(error.contains("not a git repository"), "{error}");
}

#[tokio::test]
async fn a_tree_is_clean_and_everything_else_stays() {
    let repository = Repository::new();
    let before = repository.picture();
    let releases = repository.releases().await;
    let tree = releases.worktree(&service(), "HEAD~2").await.unwrap();
    let version = || fs::read_to_string(tree.join("version")).unwrap();
    assert_eq!(version(), "1\n");

    // The same folder again, and nothing of what was done in it.
    let stray = tree.join("stray");
    fs::write(&stray, "x").unwrap();
    fs::write(tree.join("version"), "changed\n").unwrap();
    let again = releases
        .worktree(&service(), &repository.commits[0])
        .await
        .unwrap();
    assert_eq!(again, tree);
    assert_eq!(version(), "1\n");
    assert!(!stray.exists());

    // Somebody removed the folder; git still knows of it.
    fs::remove_dir_all(&tree).unwrap();
    releases
        .worktree(&service(), &repository.commits[0])
        .await
        .unwrap();
    assert_eq!(version(), "1\n");

    assert_eq!(repository.picture(), before);
    releases
        .remove_worktree(&service(), &repository.commits[0])
        .await
        .unwrap();
    assert!(!tree.exists());
    assert_eq!(repository.picture(), before);
}

#[tokio::test]
async fn a_rollback_is_put_on_record_without_moving_anything() {
    let repository = Repository::new();
    let before = repository.picture();
    let releases = repository.releases().await;
    let branch = releases
        .rollback_branch(&repository.record())
        .await
        .unwrap();
    assert_eq!(branch.name, "rollback/shop-d17-19a");
    let here = repository.path();
    let parent = git(&here, &["rev-parse", &format!("{}^", branch.name)]);
    assert_eq!(parent, repository.commits[0]);
    let changed = git(
        &here,
        &["diff", "--stat", &repository.commits[0], &branch.name],
    );
    assert_eq!(changed, "", "its files are not the target's");
    let format = "--format=%(trailers:only,unfold)";
    let trailers = git(&here, &["log", "-1", format, &branch.name]);
    let expected = format!(
        "Rollback-Service: shop\nRollback-Deployment: d17.19a\nRollback-From: {}\nRollback-To: {}\n\
         Rollback-Trigger: errors_against_stable\n\
         Rollback-Reason: 12 of 400 requests failed Rollback-To: elsewhere\n\
         Rollback-Time: 2023-11-14T22:13:20.000Z",
        repository.commits[2], repository.commits[0]
    );
    assert_eq!(trailers.trim(), expected);
    assert_eq!(repository.picture(), before);

    // Again it is the same; another record does not move it.
    let again = releases
        .rollback_branch(&repository.record())
        .await
        .unwrap();
    assert_eq!(again, branch);
    let other = repository.record().because("operator", "something else");
    let error = releases.rollback_branch(&other).await.unwrap_err();
    assert!(matches!(error, GitError::BranchTaken { .. }), "{error}");
    assert_eq!(git(&here, &["rev-parse", &branch.name]), branch.commit);
}

#[tokio::test]
async fn a_push_is_plain_and_of_that_branch_alone() {
    let repository = Repository::new();
    let remote = repository.dir.path().join("remote.git");
    git(
        repository.dir.path(),
        &["init", "-q", "--bare", "remote.git"],
    );
    let here = repository.path();
    git(
        &here,
        &["remote", "add", "origin", &remote.to_string_lossy()],
    );
    let releases = repository.releases().await;
    let branch = releases
        .rollback_branch(&repository.record())
        .await
        .unwrap();
    assert_eq!(
        git(&remote, &["for-each-ref"]),
        "",
        "pushed without being asked to"
    );
    releases.push(&branch, "origin").await.unwrap();
    let there = git(
        &remote,
        &["for-each-ref", "--format=%(refname) %(objectname)"],
    );
    assert_eq!(
        there,
        format!("refs/heads/{} {}", branch.name, branch.commit)
    );

    // Somebody else's commit of that name is not overwritten.
    let theirs = repository.commits[2].clone();
    git(&here, &["push", "-q", "origin", "main"]);
    git(
        &remote,
        &[
            "update-ref",
            &format!("refs/heads/{}", branch.name),
            &theirs,
        ],
    );
    let error = releases
        .push(&branch, "origin")
        .await
        .unwrap_err()
        .to_string();
    assert!(error.contains("push"), "{error}");
    assert_eq!(git(&remote, &["rev-parse", &branch.name]), theirs);
    assert!(releases.push(&branch, "--mirror").await.is_err());
}

#[tokio::test]
async fn a_script_deploys_in_the_clean_tree_of_its_release() {
    let repository = Repository::new();
    let before = repository.picture();
    let script = repository.dir.path().join("deploy.sh");
    let text = "#!/bin/sh\nset -eu\necho \"$1 $(cat version) $COMMIT $(git status --porcelain)\" >>\"$OUT\"\n";
    fs::write(&script, text).unwrap();
    fs::set_permissions(&script, fs::Permissions::from_mode(0o755)).unwrap();
    let out = repository.dir.path().join("out");
    let releases = repository.releases().await;
    let mut bench = Scripted::new(|deployer| deployer);
    bench.deployer = ScriptDeployer::open(bench.dir.path().join("state"), &script)
        .unwrap()
        .env("OUT", out.to_string_lossy())
        .in_worktrees_of(releases.clone());
    let mut made = Vec::new();
    for commit in &repository.commits[..2] {
        let commit = releases.resolve(commit).await.unwrap();
        made.push(releases.definition(&commit).release().unwrap());
    }
    for release in [&made[0], &made[1], &made[0]] {
        bench.deployer.check(&bench.service, release).await.unwrap();
        bench.converge(release, IN_PLACE).await.unwrap();
        assert_eq!(bench.state(release).await, Some(ArmState::Ready));
    }
    let [one, two] = [&repository.commits[0], &repository.commits[1]];
    let expected = format!("deploy 1 {one} \ndeploy 2 {two} \nrollback 1 {one} \n");
    assert_eq!(fs::read_to_string(&out).unwrap(), expected);
    assert_eq!(repository.picture(), before);

    let missing =
        ScriptRelease::new("x", "git:x").commit("0123456789abcdef0123456789abcdef01234567");
    let none = ScriptRelease::new("x", "shop:1");
    for (definition, says) in [(missing, "no commit"), (none, "names no commit")] {
        let release = definition.release().unwrap();
        for answer in [
            bench.deployer.check(&bench.service, &release).await,
            bench.converge(&release, IN_PLACE).await.map(drop),
        ] {
            assert!(
                matches!(&answer, Err(ChangeError::Refused { why }) if why.contains(says)),
                "{answer:?}"
            );
        }
    }
}
