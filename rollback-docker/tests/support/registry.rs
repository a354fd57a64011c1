//! A registry of a test's own, which wants a login.

use std::{
    net::TcpListener,
    path::Path,
    process::{Child, Command, Stdio},
    time::Duration,
};

use tempfile::TempDir;
use tokio::{io::AsyncReadExt as _, io::AsyncWriteExt as _, net::TcpStream};

pub(crate) const USER: &str = "robot";
pub(crate) const PASSWORD: &str = "hush-registry";
/// The same as `robot:hush-registry` in base 64, as `docker login` writes it.
const AUTH: &str = "cm9ib3Q6aHVzaC1yZWdpc3RyeQ==";
/// The same as `htpasswd -B` writes it.
const HASHED: &str = "robot:$2b$04$SaXd4197XyRfqKGG6il8NuzOXyH4t1C/Gey3o6Q2bRZChZHIg3b5y";

/// Debian's `docker-registry`, on this machine's own address: engines ask such a one without TLS.
/// It ends with the test.
#[derive(Debug)]
pub(crate) struct Registry {
    /// `127.0.0.1:port`.
    pub(crate) host: String,
    folder: TempDir,
    running: Option<Child>,
}

impl Registry {
    pub(crate) async fn start() -> Self {
        let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr();
        let host = port.unwrap().to_string();
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name).display().to_string();
        let config = format!(
            "version: 0.1\nlog: {{ level: error }}\nstorage: {{ filesystem: {{ rootdirectory: {} }} }}\n\
             http: {{ addr: '{host}' }}\nauth: {{ htpasswd: {{ realm: test, path: {} }} }}\n",
            at("data"),
            at("passwords"),
        );
        std::fs::write(folder.path().join("registry.yml"), config).unwrap();
        std::fs::write(folder.path().join("passwords"), HASHED).unwrap();
        let logins = format!(r#"{{"auths": {{"{host}": {{"auth": "{AUTH}"}}}}}}"#);
        std::fs::write(folder.path().join("config.json"), logins).unwrap();
        let mut registry = Self {
            host,
            folder,
            running: None,
        };
        registry.open().await;
        registry
    }

    /// Starts it, and waits until it answers.
    pub(crate) async fn open(&mut self) {
        let started = Command::new("docker-registry")
            .arg("serve")
            .arg(self.folder.path().join("registry.yml"))
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn();
        self.running = Some(started.unwrap());
        let answers = async {
            while !self.answers().await {
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        };
        tokio::time::timeout(Duration::from_secs(20), answers)
            .await
            .unwrap();
    }

    /// Stops it; what was pushed stays.
    pub(crate) fn shut(&mut self) {
        if let Some(mut running) = self.running.take() {
            let _ = running.kill();
            let _ = running.wait();
        }
    }

    async fn answers(&self) -> bool {
        let Ok(mut stream) = TcpStream::connect(&self.host).await else {
            return false;
        };
        let asked = format!("GET /v2/ HTTP/1.0\r\nHost: {}\r\n\r\n", self.host);
        let mut answer = String::new();
        stream.write_all(asked.as_bytes()).await.is_ok()
            && stream.read_to_string(&mut answer).await.is_ok()
            && answer.contains(" 401 ")
    }

    /// The folder with the logins, as `docker login` leaves it.
    pub(crate) fn logins(&self) -> &Path {
        self.folder.path()
    }

    /// Puts an image into it, as people do.
    pub(crate) fn push(&self, tag: &str) {
        let pushed = Command::new("docker")
            .arg("--config")
            .arg(self.logins())
            .args(["push", "--quiet", tag])
            .output()
            .unwrap();
        let said = String::from_utf8_lossy(&pushed.stderr);
        assert!(pushed.status.success(), "{said}");
    }
}

impl Drop for Registry {
    fn drop(&mut self) {
        self.shut();
    }
}
