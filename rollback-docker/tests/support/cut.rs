//! A socket in front of an engine's, that goes dead at the Nth request that changes something:
//! before it arrives, or after it was carried out and before the answer.

use std::{
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU32, Ordering},
    },
};

use rollback_docker::Engine;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _, copy_bidirectional},
    net::{UnixListener, UnixStream},
    sync::Notify,
    task::JoinHandle,
};

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Cut {
    Before(u32),
    After(u32),
    /// Not cut: held back until [`Wire::let_go`].
    Hold(u32),
}

pub(crate) struct Wire {
    pub(crate) engine: Engine,
    dead: Arc<AtomicBool>,
    held: Arc<Held>,
    task: JoinHandle<()>,
    _dir: tempfile::TempDir,
}

/// A request that waits.
#[derive(Default)]
struct Held {
    reached: Notify,
    let_go: Notify,
}

impl Drop for Wire {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Wire {
    pub(crate) fn new(cut: Cut) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("s");
        let listener = UnixListener::bind(&path).unwrap();
        let dead = Arc::new(AtomicBool::new(false));
        let held = Arc::<Held>::default();
        let (flag, count) = (Arc::clone(&dead), Arc::new(AtomicU32::new(0)));
        let waits = Arc::clone(&held);
        let task = tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let (flag, count, held) = (flag.clone(), count.clone(), waits.clone());
                tokio::spawn(serve(stream, cut, flag, count, held));
            }
        });
        Self {
            engine: Engine::at(path),
            dead,
            held,
            task,
            _dir: dir,
        }
    }

    /// Waits until a request is held back.
    pub(crate) async fn reached(&self) {
        self.held.reached.notified().await;
    }

    /// Lets it pass.
    pub(crate) fn let_go(&self) {
        self.held.let_go.notify_one();
    }

    /// Whether it was cut.
    pub(crate) fn is_dead(&self) -> bool {
        self.dead.load(Ordering::SeqCst)
    }
}

async fn serve(
    mut near: UnixStream,
    cut: Cut,
    dead: Arc<AtomicBool>,
    count: Arc<AtomicU32>,
    held: Arc<Held>,
) {
    let mut first = vec![0; 64 << 10];
    let Ok(read) = near.read(&mut first).await else {
        return;
    };
    if dead.load(Ordering::SeqCst) {
        return;
    }
    let changes = first.starts_with(b"POST") || first.starts_with(b"DELETE");
    let number = if changes {
        count.fetch_add(1, Ordering::SeqCst) + 1
    } else {
        0
    };
    if cut == Cut::Before(number) {
        dead.store(true, Ordering::SeqCst);
        return;
    }
    if cut == Cut::Hold(number) {
        held.reached.notify_one();
        held.let_go.notified().await;
    }
    let Ok(mut far) = UnixStream::connect(real()).await else {
        return;
    };
    let _ = far.write_all(&first[..read]).await;
    if cut == Cut::After(number) {
        // The rest of a long request, then the beginning of the answer.
        let mut answer = [0; 1];
        let mut rest = vec![0; 64 << 10];
        loop {
            tokio::select! {
                _ = far.read(&mut answer) => break,
                Ok(read @ 1..) = near.read(&mut rest) => {
                    let _ = far.write_all(&rest[..read]).await;
                }
            }
        }
        dead.store(true, Ordering::SeqCst);
        return;
    }
    let _ = copy_bidirectional(&mut near, &mut far).await;
}

fn real() -> PathBuf {
    let host = std::env::var("DOCKER_HOST").unwrap_or_default();
    let path = host
        .strip_prefix("unix://")
        .unwrap_or("/var/run/docker.sock");
    Path::new(path).to_owned()
}
