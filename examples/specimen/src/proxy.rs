//! An HAProxy of one's own, which divides the requests of users between containers.

use std::{
    fs, io,
    net::{SocketAddr, TcpListener, TcpStream},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    thread,
    time::Duration,
};

/// It is asked so often whether it answers yet, after so long.
const LOOKS: (u32, Duration) = (200, Duration::from_millis(25));

/// An HAProxy that runs, with the backend [`Proxy::BACKEND`] and nobody in it yet; it ends when
/// this is dropped.
#[derive(Debug)]
pub struct Proxy {
    running: Child,
    socket: PathBuf,
    front: SocketAddr,
}

impl Proxy {
    /// The backend that has all users.
    pub const BACKEND: &'static str = "shop";

    /// Starts `haproxy` with its files in a folder, and waits until users can come in; none if no
    /// HAProxy is installed.
    ///
    /// # Errors
    /// It cannot be started, or does not answer within five seconds.
    pub fn start(folder: &Path, front: SocketAddr) -> io::Result<Option<Self>> {
        let (socket, config) = (folder.join("admin.sock"), folder.join("haproxy.cfg"));
        let text = format!(
            "global\n  stats socket {} mode 600 level admin\n\
             defaults\n  mode http\n  timeout connect 2s\n  timeout client 20s\n  timeout server 20s\n  retries 3\n  option redispatch\n\
             frontend front\n  bind {front}\n  default_backend {backend}\n\
             backend {backend}\n  balance roundrobin\n",
            socket.display(),
            backend = Self::BACKEND,
        );
        fs::write(&config, text)?;
        let started = Command::new("haproxy")
            .arg("-db")
            .arg("-f")
            .arg(&config)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn();
        let running = match started {
            Ok(running) => running,
            Err(why) if why.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(why) => return Err(why),
        };
        let proxy = Self {
            running,
            socket,
            front,
        };
        for _ in 0..LOOKS.0 {
            if TcpStream::connect(front).is_ok() {
                return Ok(Some(proxy));
            }
            thread::sleep(LOOKS.1);
        }
        Err(io::Error::other(format!(
            "HAProxy does not answer at {front}; try `haproxy -db -f {}`",
            config.display()
        )))
    }

    /// Where it takes orders.
    #[must_use]
    pub fn socket(&self) -> &Path {
        &self.socket
    }

    /// Where users come in.
    #[must_use]
    pub const fn front(&self) -> SocketAddr {
        self.front
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        let _ = self.running.kill();
        let _ = self.running.wait();
    }
}

/// An address of this machine that nobody listens at.
///
/// # Errors
/// None is free.
pub fn free_address() -> io::Result<SocketAddr> {
    TcpListener::bind("127.0.0.1:0")?.local_addr()
}
