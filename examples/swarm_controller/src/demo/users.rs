//! People who ask all the time whoever serves, as a swarm's own network would have them.

use std::{
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use rollback::{
    model::{InstanceState, ServiceId},
    ports::Deployer,
};
use rollback_docker::SwarmDeployer;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    task::JoinHandle,
    time::timeout,
};

const PAUSE: Duration = Duration::from_millis(25);
/// How often they learn who serves.
const ASK_AROUND: Duration = Duration::from_millis(150);

#[derive(Debug, Default)]
struct Counted {
    good: AtomicU64,
    bad: AtomicU64,
}

/// The people; they leave when this is dropped.
#[derive(Debug)]
pub(crate) struct Users {
    counted: Arc<Counted>,
    tasks: [JoinHandle<()>; 2],
}

impl Users {
    pub(crate) fn come(swarm: Arc<SwarmDeployer>, service: ServiceId) -> Self {
        let serving = Arc::new(Mutex::new(Vec::<String>::new()));
        let counted = Arc::new(Counted::default());
        let known = Arc::clone(&serving);
        let looks = tokio::spawn(async move {
            loop {
                if let Ok(seen) = swarm.observe(&service).await {
                    let instances = seen.arms.iter().flat_map(|arm| arm.instances.iter());
                    let ready = instances
                        .filter(|one| one.state == InstanceState::Ready)
                        .filter_map(|one| Some(one.address.as_ref()?.to_string()))
                        .collect();
                    *known.lock().unwrap_or_else(PoisonError::into_inner) = ready;
                }
                tokio::time::sleep(ASK_AROUND).await;
            }
        });
        let counts = Arc::clone(&counted);
        let asks = tokio::spawn(async move {
            for turn in 0_usize.. {
                let address = {
                    let serving = serving.lock().unwrap_or_else(PoisonError::into_inner);
                    serving.get(turn % serving.len().max(1)).cloned()
                };
                let good = match address {
                    Some(address) => timeout(Duration::from_secs(2), ask(&address)).await,
                    None => Ok(None),
                };
                let count = match good {
                    Ok(Some(true)) => &counts.good,
                    _ => &counts.bad,
                };
                count.fetch_add(1, Ordering::Relaxed);
                tokio::time::sleep(PAUSE).await;
            }
        });
        Self {
            counted,
            tasks: [looks, asks],
        }
    }

    /// Requests that were answered well, and those that were not.
    pub(crate) fn counts(&self) -> (u64, u64) {
        (
            self.counted.good.load(Ordering::Relaxed),
            self.counted.bad.load(Ordering::Relaxed),
        )
    }
}

impl Drop for Users {
    fn drop(&mut self) {
        for task in &self.tasks {
            task.abort();
        }
    }
}

/// Whether the answer is good; none if there is none.
async fn ask(address: &str) -> Option<bool> {
    let mut stream = TcpStream::connect(address).await.ok()?;
    let request = format!("GET / HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).await.ok()?;
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).await.ok()?;
    (!answer.is_empty()).then(|| answer.starts_with(b"HTTP/1.1 200"))
}
