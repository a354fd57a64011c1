//! An engine of a test's own, to be stopped, started again, and filled.

use std::{
    fs,
    io::Write as _,
    path::Path,
    process::{Child, Command, Stdio},
    time::Duration,
};

use rollback_docker::Engine;
use serde_json::json;

/// A `dockerd` with its data in a folder of its own, without networks.
pub(crate) struct Daemon {
    folder: tempfile::TempDir,
    running: Option<Child>,
    mounted: bool,
}

impl Daemon {
    /// Its data on the disk of this machine, or in memory with room for so many megabytes.
    pub(crate) async fn start(room: Option<u32>) -> Self {
        let folder = tempfile::Builder::new().prefix("rbd").tempdir().unwrap();
        let data = folder.path().join("data");
        fs::create_dir(&data).unwrap();
        if let Some(megabytes) = room {
            let size = format!("size={megabytes}m");
            let args = ["-t", "tmpfs", "-o", size.as_str(), "tmpfs"];
            let mounted = Command::new("mount").args(args).arg(&data).status();
            assert!(mounted.unwrap().success(), "no tmpfs: is this root?");
        }
        let mut daemon = Self {
            folder,
            running: None,
            mounted: room.is_some(),
        };
        daemon.begin().await;
        daemon
    }

    pub(crate) fn socket(&self) -> std::path::PathBuf {
        self.folder.path().join("d.sock")
    }

    pub(crate) fn data(&self) -> std::path::PathBuf {
        self.folder.path().join("data")
    }

    pub(crate) fn engine(&self) -> Engine {
        Engine::at(self.socket())
    }

    /// Starts it, and waits until it answers.
    pub(crate) async fn begin(&mut self) {
        let at = |name: &str| self.folder.path().join(name);
        let log = fs::OpenOptions::new()
            .create(true)
            .append(true)
            .open(at("log"))
            .unwrap();
        // In a network of its own: an engine without a bridge removes `docker0` where it starts,
        // which is the bridge of the engine that is there already.
        let child = Command::new("unshare")
            .args(["--net", "--", "sh", "-c"])
            .arg("ip link set lo up && exec dockerd \"$@\"")
            .arg("dockerd")
            .arg("--data-root")
            .arg(at("data"))
            .arg("--exec-root")
            .arg(at("exec"))
            .arg("--pidfile")
            .arg(at("pid"))
            .arg("-H")
            .arg(format!("unix://{}", self.socket().display()))
            .args(["--bridge=none", "--iptables=false"])
            .stdout(Stdio::null())
            .stderr(log)
            .spawn()
            .unwrap();
        self.running = Some(child);
        for _ in 0..600 {
            if self.engine().get("/info", &[]).await.is_ok() {
                return;
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        let log = fs::read_to_string(at("log")).unwrap_or_default();
        panic!("no engine within a minute: {log}");
    }

    /// Makes it the only node of a swarm.
    pub(crate) async fn manages_a_swarm(&self) {
        let here = json!({"ListenAddr": "127.0.0.1:2377", "AdvertiseAddr": "127.0.0.1"});
        let made = self.engine().post("/swarm/init", &[], &here).await;
        made.unwrap();
    }

    /// Leaves not a byte of its disk, until this is dropped.
    pub(crate) fn fill(&self) -> tempfile::NamedTempFile {
        let mut filler = tempfile::NamedTempFile::new_in(self.data()).unwrap();
        let piece = vec![1_u8; 64 << 10];
        while filler.write_all(&piece).is_ok() {}
        while filler.write_all(&[1]).is_ok() {}
        filler
    }

    /// Ends it as an operating system does, and waits until it is gone.
    pub(crate) fn stop(&mut self) {
        let Some(mut child) = self.running.take() else {
            return;
        };
        let pid = child.id().to_string();
        let _ = Command::new("kill").args(["-TERM", &pid]).status();
        let _ = child.wait();
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        self.stop();
        if self.mounted {
            unmount(&self.data());
        }
    }
}

fn unmount(path: &Path) {
    let _ = Command::new("umount").args(["-l"]).arg(path).status();
}
