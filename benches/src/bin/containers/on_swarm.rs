//! This library on Swarm: a service as people make it, its updates sent and guarded by a
//! controller.

use std::{sync::Arc, time::Duration};

use rollback::memory::MemoryReleaseStore;
use rollback::model::ServiceId;
use rollback_docker::{Engine, ImageId, SwarmDeployer};
use serde_json::json;

use crate::{
    Failure,
    course::Course,
    guarded::Guarded,
    native::whole,
    swarm::{self, REPLICAS},
    users::Doors,
};

const ROLLOUT: &str = "strategy: { rolling: { max_unavailable: 0, max_surge: 1 } }\nbake: 60s";

pub(crate) async fn run(
    engine: &Engine,
    name: &str,
    images: (&ImageId, &ImageId),
    window: Duration,
) -> Result<Course, Failure> {
    let (good, bad) = images;
    swarm::create(engine, name, good, &json!({})).await?;
    let doors = Arc::new(Doors::default());
    whole(engine, name, good, &doors).await?;
    let store = Arc::new(MemoryReleaseStore::new());
    let deployer = SwarmDeployer::new(engine.clone()).keeping(store.clone());
    let deployer = Arc::new(deployer);
    let releases = Some(store as _);
    let service = ServiceId::new(name)?;
    let running = deployer.running(&service).await?;
    let guard = Guarded::start(name, running, ROLLOUT, deployer.clone(), releases).await?;
    let release = async || Ok(deployer.release(&service, bad.as_str()).await?);
    let seen = async || {
        let sight = swarm::look(engine, name, good).await?;
        let whole = sight.good == REPLICAS && sight.bad == 0;
        doors.set(sight.doors);
        Ok(whole)
    };
    guard.endures(release, &doors, window, seen).await
}
