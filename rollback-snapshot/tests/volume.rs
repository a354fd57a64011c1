//! A folder with everything that file systems hold, kept and brought back.
#![cfg(unix)]
#![allow(clippy::unwrap_used, clippy::panic, reason = "this is test code")]

mod support;

use std::{
    ffi::OsStr,
    fs,
    os::unix::{
        ffi::OsStrExt as _,
        fs::{FileTypeExt as _, MetadataExt as _, PermissionsExt as _, symlink},
        net::UnixListener,
    },
    path::{Path, PathBuf},
    time::Duration,
};

use rollback_core::ports::{Task as _, TaskStatus};
use rollback_snapshot::{SnapshotTask, Snapshots, Volume};
use support::{child_in, ended, id, killed_after, run, shop};

struct Scene {
    dir: tempfile::TempDir,
}

impl Scene {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        fs::create_dir(dir.path().join("volume")).unwrap();
        Self { dir }
    }

    fn volume(&self) -> PathBuf {
        self.dir.path().join("volume")
    }

    fn tasks(&self) -> (SnapshotTask, SnapshotTask) {
        tasks(self.dir.path())
    }

    fn write(&self, name: &str, text: &str) {
        fs::write(self.volume().join(name), text).unwrap();
    }

    fn names(&self) -> Vec<String> {
        let entries = fs::read_dir(self.volume()).unwrap();
        let mut names: Vec<String> = entries
            .map(|entry| entry.unwrap().file_name().to_string_lossy().into_owned())
            .collect();
        names.sort();
        names
    }

    /// What stands beside what was brought back.
    fn before(&self) -> PathBuf {
        let names = self.names();
        let mut before = names
            .iter()
            .filter(|name| name.starts_with(".rollback-before-"));
        let found = self.volume().join(before.next().unwrap());
        assert_eq!(before.next(), None);
        found
    }
}

fn tasks(dir: &Path) -> (SnapshotTask, SnapshotTask) {
    let snapshots = Snapshots::open(dir.join("snapshots")).unwrap().keep(2);
    let volume = || Volume::at(dir.join("volume"));
    (
        snapshots.snapshot_of(volume()),
        snapshots.restore_of(volume()),
    )
}

/// All that can be told of a file.
#[derive(Debug, PartialEq)]
struct Look {
    kind: String,
    mode: u32,
    owner: (u32, u32),
    changed: i64,
    content: Vec<u8>,
    target: Option<PathBuf>,
}

fn look(path: &Path) -> Look {
    let about = fs::symlink_metadata(path).unwrap();
    let is_file = about.is_file();
    Look {
        kind: format!("{:?}", about.file_type()),
        mode: about.mode(),
        owner: (about.uid(), about.gid()),
        changed: if is_file { about.mtime() } else { 0 },
        content: if is_file {
            fs::read(path).unwrap()
        } else {
            Vec::new()
        },
        target: fs::read_link(path).ok(),
    }
}

#[tokio::test]
async fn everything_comes_back_as_it_was() {
    let scene = Scene::new();
    let volume = scene.volume();
    let outside = scene.dir.path().join("outside");
    fs::write(&outside, "not of the volume").unwrap();
    let odd = OsStr::from_bytes(b"odd \xff\n'\"name");
    let long = "long".repeat(50);
    fs::create_dir_all(volume.join("a/b/empty")).unwrap();
    scene.write("a/empty file", "");
    scene.write("a/secret", "for its owner");
    scene.write("a/b/tool", "#!/bin/sh");
    fs::write(volume.join("a").join(odd), "odd").unwrap();
    fs::write(volume.join("a").join(&long), "long").unwrap();
    fs::create_dir_all(volume.join(&long).join(&long)).unwrap();
    fs::write(volume.join(&long).join(&long).join("deep"), "deep").unwrap();
    symlink(&outside, volume.join("a/out")).unwrap();
    symlink("../a/nowhere", volume.join("a/dangling")).unwrap();
    symlink("..", volume.join("a/b/up")).unwrap();
    fs::hard_link(volume.join("a/secret"), volume.join("z-same")).unwrap();
    let sparse = fs::File::create(volume.join("sparse")).unwrap();
    sparse.set_len(8 << 20).unwrap();
    std::os::unix::fs::FileExt::write_at(&sparse, b"middle", 4 << 20).unwrap();
    let mode = |name: &str, mode| {
        fs::set_permissions(volume.join(name), fs::Permissions::from_mode(mode)).unwrap();
    };
    if rustix::process::geteuid().is_root() {
        std::os::unix::fs::chown(volume.join("a/b"), Some(1234), Some(5678)).unwrap();
        std::os::unix::fs::lchown(volume.join("a/out"), Some(1234), Some(5678)).unwrap();
        std::os::unix::fs::chown(volume.join("a/b/tool"), Some(1234), Some(5678)).unwrap();
    }
    mode("a/secret", 0o600);
    mode("a/b/tool", 0o4755);
    mode("a/b", 0o2575);
    rustix::fs::mknodat(
        rustix::fs::CWD,
        volume.join("pipe"),
        rustix::fs::FileType::Fifo,
        rustix::fs::Mode::from_raw_mode(0o640),
        0,
    )
    .unwrap();
    let _socket = UnixListener::bind(volume.join("socket")).unwrap();
    let paths = [
        "a",
        "a/b",
        "a/b/empty",
        "a/empty file",
        "a/secret",
        "a/b/tool",
        "a/out",
        "a/dangling",
        "a/b/up",
        "sparse",
        "pipe",
    ];
    let mut paths: Vec<PathBuf> = paths.iter().map(|path| volume.join(path)).collect();
    paths.push(volume.join("a").join(odd));
    paths.push(volume.join("a").join(&long));
    paths.push(volume.join(&long).join(&long).join("deep"));
    let was: Vec<Look> = paths.iter().map(|path| look(path)).collect();

    let (snapshot, restore) = scene.tasks();
    run(&snapshot, &id("d1", 1)).await.unwrap();
    fs::remove_dir_all(volume.join("a")).unwrap();
    scene.write("sparse", "trampled on");
    scene.write("new", "written since");
    let lost = restore
        .loss(&shop(), &id("d1", 1).deployment)
        .await
        .unwrap();
    assert!(lost.contains("3 files and folders"), "{lost}");
    run(&restore, &id("d1", 9)).await.unwrap();

    for (path, was) in paths.iter().zip(was) {
        assert_eq!(look(path), was, "{}", path.display());
    }
    let same = |name: &str| fs::metadata(volume.join(name)).unwrap().ino();
    assert_eq!(same("a/secret"), same("z-same"));
    let sparse = fs::metadata(volume.join("sparse")).unwrap();
    assert!(
        sparse.blocks() * 512 < 1 << 20,
        "holes stay holes: {}",
        sparse.blocks()
    );
    assert!(
        fs::metadata(volume.join("pipe"))
            .unwrap()
            .file_type()
            .is_fifo()
    );
    assert_eq!(fs::read_to_string(&outside).unwrap(), "not of the volume");
    assert!(!volume.join("new").exists());
    let before = scene.before();
    assert_eq!(
        fs::read_to_string(before.join("new")).unwrap(),
        "written since"
    );
    assert_eq!(
        fs::read_to_string(before.join("sparse")).unwrap(),
        "trampled on"
    );

    // What is ours is not of the volume: the next snapshot is as the one before.
    run(&snapshot, &id("d2", 1)).await.unwrap();
    let kept = snapshot.kept(&shop()).unwrap();
    assert_eq!(kept[0].about, kept[1].about);
}

#[tokio::test]
async fn what_is_damaged_or_missing_is_not_brought_back() {
    let scene = Scene::new();
    scene.write("orders", "1 2 3");
    let (snapshot, restore) = scene.tasks();
    let why = run(&restore, &id("d1", 8)).await.unwrap_err();
    assert!(
        why.contains("no snapshot of volume-volume from before deployment d1"),
        "{why}"
    );
    run(&snapshot, &id("d1", 1)).await.unwrap();
    scene.write("orders", "1 2 3 4");
    let data = scene
        .dir
        .path()
        .join("snapshots/shop/volume-volume/kept/d1.s1.a1/data");
    let whole = fs::read(&data).unwrap();
    let mut changed = whole.clone();
    *changed.iter_mut().find(|byte| **byte == b'1').unwrap() = b'7';
    for damaged in [&whole[..whole.len() - 512], &changed] {
        fs::write(&data, damaged).unwrap();
        let why = run(&restore, &id("d1", 9)).await.unwrap_err();
        assert!(why.contains("is damaged"), "{why}");
        fs::remove_dir_all(scene.dir.path().join("snapshots/shop/volume-volume/jobs")).unwrap();
    }
    assert_eq!(scene.names(), ["orders"]);
    assert_eq!(
        fs::read_to_string(scene.volume().join("orders")).unwrap(),
        "1 2 3 4"
    );

    // A checksum that fits does not help what does not compare.
    fs::write(&data, &changed).unwrap();
    let manifest = data.with_file_name("manifest.json");
    let mut text: serde_json::Value =
        serde_json::from_slice(&fs::read(&manifest).unwrap()).unwrap();
    text["sha256"] = sha256(&changed).into();
    fs::write(&manifest, text.to_string()).unwrap();
    let why = run(&restore, &id("d1", 9)).await.unwrap_err();
    assert!(
        why.contains("is not what was kept") || why.contains("archive"),
        "{why}"
    );
    assert_eq!(scene.names(), ["orders"]);
}

fn sha256(bytes: &[u8]) -> String {
    use sha2::Digest as _;
    let digest = sha2::Sha256::digest(bytes);
    digest.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[tokio::test]
async fn old_snapshots_go_and_the_newest_stays() {
    let scene = Scene::new();
    let (snapshot, _) = scene.tasks();
    for number in 1..=4 {
        scene.write("orders", &number.to_string());
        run(&snapshot, &id(&format!("d{number}"), 1)).await.unwrap();
    }
    let kept = snapshot.kept(&shop()).unwrap();
    let of: Vec<&str> = kept.iter().map(|kept| kept.deployment.as_str()).collect();
    assert_eq!(of, ["d4", "d3"]);
    // Asked again, as after a crash: the same one, not another.
    let found = snapshot.find(&shop(), &id("d4", 1)).await.unwrap().unwrap();
    assert_eq!(
        snapshot.status(&found).await.unwrap(),
        TaskStatus::Succeeded
    );
    assert_eq!(snapshot.find(&shop(), &id("d5", 1)).await.unwrap(), None);
}

#[tokio::test]
async fn a_cancelled_restore_leaves_everything_as_it_was() {
    let scene = Scene::new();
    fill(&scene.volume(), "old");
    let (snapshot, restore) = scene.tasks();
    run(&snapshot, &id("d1", 1)).await.unwrap();
    scene.write("orders", "new");
    let handle = restore.start(&shop(), &id("d1", 9)).await.unwrap();
    restore.cancel(&handle).await.unwrap();
    let why = ended(&restore, &handle).await.unwrap_err();
    assert_eq!(why, "it was asked to stop");
    assert_eq!(
        fs::read_to_string(scene.volume().join("orders")).unwrap(),
        "new"
    );
    assert!(
        !scene
            .names()
            .iter()
            .any(|name| name.starts_with(".rollback"))
    );
}

fn fill(volume: &Path, text: &str) {
    for number in 0..300 {
        let dir = volume.join(format!("d{number}"));
        fs::create_dir_all(&dir).unwrap();
        fs::write(dir.join("file"), format!("{text} {number} ").repeat(200)).unwrap();
    }
    fs::write(volume.join("orders"), text).unwrap();
}

/// Killed at any moment, the restore is gone on with by whoever asks next, and is whole.
#[tokio::test]
async fn a_restore_goes_on_when_its_controller_was_killed() {
    if let Some(dir) = child_in() {
        let (_, restore) = tasks(&dir);
        fs::write(dir.join("at-work"), "").unwrap();
        let handle = restore.start(&shop(), &id("d1", 9)).await.unwrap();
        ended(&restore, &handle).await.unwrap();
        return;
    }
    let name = "a_restore_goes_on_when_its_controller_was_killed";
    let mut killed = 0;
    for millis in [0, 10, 30, 60, 120] {
        let scene = Scene::new();
        fill(&scene.volume(), "old");
        let (snapshot, restore) = scene.tasks();
        run(&snapshot, &id("d1", 1)).await.unwrap();
        fs::remove_dir_all(scene.volume().join("d7")).unwrap();
        fill(&scene.volume(), "new");
        killed += u32::from(killed_after(
            name,
            scene.dir.path(),
            Duration::from_millis(millis),
        ));
        match restore.find(&shop(), &id("d1", 9)).await.unwrap() {
            Some(handle) => ended(&restore, &handle).await.unwrap(),
            None => run(&restore, &id("d1", 9)).await.unwrap(),
        }
        for (place, text) in [(scene.volume(), "old"), (scene.before(), "new")] {
            assert_eq!(fs::read_to_string(place.join("orders")).unwrap(), text);
            for number in 0..300 {
                let found = fs::read_to_string(place.join(format!("d{number}/file"))).unwrap();
                assert_eq!(
                    found,
                    format!("{text} {number} ").repeat(200),
                    "{millis} ms"
                );
            }
        }
        assert_eq!(
            scene.names().len(),
            302,
            "nothing else is left: {millis} ms"
        );
    }
    assert!(killed > 1, "only {killed} were killed at work");
}
