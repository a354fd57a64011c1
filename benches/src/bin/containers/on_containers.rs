//! This library on plain containers behind HAProxy: blue-green, with a fifth of the users on each
//! side of the trial.

use std::{
    fs,
    net::{SocketAddr, TcpListener},
    process::{Child, Command, Stdio},
    sync::Arc,
    time::{Duration, Instant},
};

use rollback::{
    WithTraffic,
    model::{Release, ServiceId, Weight},
    ports::Deployer,
    start_first_release,
};
use rollback_docker::{ContainerDefinition, ContainerDeployer, Engine, ImageId};
use rollback_traffic::{HaproxyShifter, Socket};
use tempfile::TempDir;

use crate::{
    Failure, course::Course, fault::MEMORY, guarded::Guarded, swarm::REPLICAS, users::Doors,
};

const ROLLOUT: &str = "strategy: blue_green\nholdback: 20%\ncheck: 1s\nbake: 60s";

pub(crate) async fn run(
    engine: &Engine,
    name: &str,
    images: (&ImageId, &ImageId),
    window: Duration,
) -> Result<Course, Failure> {
    let proxy = Proxy::start(name)?;
    let containers = ContainerDeployer::on(engine.clone());
    let course = guarded(engine, name, images, window, &proxy).await;
    containers.stop_service(&ServiceId::new(name)?).await?;
    course
}

async fn guarded(
    engine: &Engine,
    name: &str,
    (good, bad): (&ImageId, &ImageId),
    window: Duration,
    proxy: &Proxy,
) -> Result<Course, Failure> {
    let service = ServiceId::new(name)?;
    let containers = ContainerDeployer::on(engine.clone());
    let platform = Arc::new(WithTraffic::new(containers, proxy.shifter(name)).tagged());
    let doors = Arc::new(Doors::default());
    doors.set(vec![(proxy.front, false)]);

    let stable = release(good, "good")?;
    start_first_release(&*platform, &service, &stable, Duration::from_secs(30)).await?;
    let guard = Guarded::start(engine, name, ROLLOUT, platform.clone(), None).await?;
    let seen = async || {
        let seen = platform.observe(&service).await?;
        Ok(seen.weight(&stable.id) == Weight::ALL && seen.is_ready(&stable.id))
    };
    let candidate = release(bad, "bad")?;
    guard.endures(candidate, &doors, window, seen).await
}

fn release(image: &ImageId, name: &str) -> Result<Release, Failure> {
    let definition = ContainerDefinition::new(image.as_str())
        .replicas(u16::try_from(REPLICAS)?)
        .port(8080)
        .memory(MEMORY.try_into()?);
    Ok(definition.release(name)?)
}

/// An HAProxy of its own, until it is dropped.
struct Proxy {
    child: Child,
    folder: TempDir,
    front: SocketAddr,
}

impl Drop for Proxy {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Proxy {
    fn start(backend: &str) -> Result<Self, Failure> {
        let folder = tempfile::Builder::new().prefix("hap").tempdir()?;
        let front = TcpListener::bind("127.0.0.1:0")?.local_addr()?;
        let config = format!(
            "global\n  stats socket {} mode 600 level admin\n\
             defaults\n  mode http\n  timeout connect 1s\n  timeout client 20s\n  timeout server 20s\n  retries 3\n  option redispatch\n\
             frontend front\n  bind {front}\n  default_backend {backend}\n\
             backend {backend}\n  balance roundrobin\n",
            folder.path().join("admin.sock").display(),
        );
        let file = folder.path().join("haproxy.cfg");
        fs::write(&file, config)?;
        let child = Command::new("haproxy")
            .arg("-db")
            .arg("-f")
            .arg(&file)
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .map_err(|error| format!("haproxy: {error}"))?;
        let proxy = Self {
            child,
            folder,
            front,
        };
        let until = Instant::now() + Duration::from_secs(10);
        while std::net::TcpStream::connect(front).is_err() {
            if Instant::now() > until {
                return Err("HAProxy did not start within ten seconds".into());
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        Ok(proxy)
    }

    fn shifter(&self, backend: &str) -> HaproxyShifter {
        let socket = self.folder.path().join("admin.sock");
        HaproxyShifter::new(Socket::Unix(socket)).backend(backend)
    }
}
