//! An HAProxy of its own.

use std::{
    fs,
    net::{SocketAddr, TcpListener},
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use rollback_traffic::{HaproxyShifter, Socket};
use tempfile::TempDir;

use crate::{Failure, users::ASKED_OF};

/// It runs until this is dropped, or until its process ends, however that ends: then nobody holds
/// the other end of what the shell reads.
const UNTIL_NOBODY_READS: &str =
    r#"haproxy -db -f "$1" >/dev/null 2>&1 & trap "kill $!" EXIT; read -r _"#;

pub(crate) struct Proxy {
    shell: Child,
    folder: TempDir,
    /// Where users ask.
    pub(crate) front: SocketAddr,
}

impl Drop for Proxy {
    fn drop(&mut self) {
        drop(self.shell.stdin.take());
        let _ = self.shell.wait();
    }
}

impl Proxy {
    /// What failed before it reached a server that answers is tried at another one, as any HAProxy
    /// before several instances should be told.
    pub(crate) fn start(backend: &str) -> Result<Self, Failure> {
        let folder = tempfile::Builder::new().prefix("hap").tempdir()?;
        let front = TcpListener::bind("127.0.0.1:0")?.local_addr()?;
        let config = format!(
            "global\n  stats socket {} mode 600 level admin\n\
             defaults\n  mode http\n  timeout connect 1s\n  timeout client 20s\n  timeout server 20s\n\
             \x20 retries 3\n  option redispatch 1\n  retry-on conn-failure empty-response\n\
             frontend front\n  bind {front}\n  default_backend {backend}\n\
             backend {backend}\n  balance roundrobin\n  http-after-response set-header {ASKED_OF} %[srv_name]\n",
            folder.path().join("admin.sock").display(),
        );
        let file = folder.path().join("haproxy.cfg");
        fs::write(&file, config)?;
        let shell = Command::new("sh")
            .args(["-c", UNTIL_NOBODY_READS, "sh"])
            .arg(&file)
            .stdin(Stdio::piped())
            .spawn()
            .map_err(|error| format!("sh: {error}"))?;
        let proxy = Self {
            shell,
            folder,
            front,
        };
        let until = Instant::now() + Duration::from_secs(10);
        while std::net::TcpStream::connect(front).is_err() {
            if Instant::now() > until {
                return Err("HAProxy did not start within ten seconds; is it installed?".into());
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        Ok(proxy)
    }

    pub(crate) fn shifter(&self, backend: &str) -> HaproxyShifter {
        let socket = self.folder.path().join("admin.sock");
        HaproxyShifter::new(Socket::Unix(socket)).backend(backend)
    }
}
