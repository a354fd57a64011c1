//! This library on plain containers behind HAProxy: blue-green, with a fifth of the users on each
//! side of the trial.

use std::{sync::Arc, time::Duration};

use rollback::{
    WithTraffic,
    model::{Release, ReleaseId, ServiceId, Weight},
    ports::TrafficShifter,
    start_first_release,
};
use rollback_docker::{ContainerDefinition, ContainerDeployer, Engine, ImageId};
use serde_json::{Value, json};

use crate::{
    Failure,
    course::Course,
    fault::MEMORY,
    guarded::Guarded,
    proxy::Proxy,
    swarm::REPLICAS,
    users::{Behind, Door, Doors},
};

const ROLLOUT: &str = "strategy: blue_green\nholdback: 20%\ncheck: 1s\nbake: 60s";

pub(crate) async fn run(
    engine: &Engine,
    name: &str,
    (good, bad): (&ImageId, &ImageId),
    window: Duration,
) -> Result<Course, Failure> {
    let proxy = Proxy::start(name)?;
    let service = ServiceId::new(name)?;
    let containers = ContainerDeployer::on(engine.clone());
    let platform = Arc::new(WithTraffic::new(containers, proxy.shifter(name)).tagged());
    let stable = release(good, "good")?;
    let candidate = release(bad, "bad")?;
    let doors = Arc::new(Doors::default());
    doors.set(vec![Door {
        address: proxy.front,
        behind: Behind::Proxy {
            bad: candidate.id.as_str().into(),
        },
    }]);
    start_first_release(&*platform, &service, &stable, Duration::from_secs(30)).await?;
    let guard = Guarded::start(name, stable.clone(), ROLLOUT, platform.clone(), None).await?;
    // Its own look, so that the library is not helped by it.
    let traffic = proxy.shifter(name);
    let whole = async || {
        let divided = traffic.traffic(&service).await?;
        let all = divided.weights.get(&stable.id) == Some(&Weight::ALL);
        Ok(all && healthy(engine, name, &stable.id).await? == REPLICAS)
    };
    let candidate = async || Ok(candidate.clone());
    guard.endures(candidate, &doors, window, whole).await
}

fn release(image: &ImageId, name: &str) -> Result<Release, Failure> {
    let definition = ContainerDefinition::new(image.as_str())
        .replicas(u16::try_from(REPLICAS)?)
        .port(8080)
        .memory(MEMORY.try_into()?);
    Ok(definition.release(name)?)
}

/// How many containers of a release pass their health check.
async fn healthy(engine: &Engine, name: &str, release: &ReleaseId) -> Result<usize, Failure> {
    let labels = [
        format!("io.rollback.service={name}"),
        format!("io.rollback.release={release}"),
    ];
    let filters = json!({"label": labels, "health": ["healthy"]}).to_string();
    let found = engine
        .get("/containers/json", &[("filters", &filters)])
        .await?;
    Ok(found.as_array().map_or(0, Vec::<Value>::len))
}
