//! Swarm by itself: its own updates with its own rollback.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use rollback_docker::{Engine, EngineError, ImageId};
use serde_json::{Value, json};

use crate::{
    course::Course,
    swarm::{self, REPLICAS},
    users::{Doors, Users},
};

/// `docker service create --update-failure-action rollback`, everything else as it comes.
pub(crate) fn at_its_defaults() -> Value {
    json!({"UpdateConfig": {"Parallelism": 1, "FailureAction": "rollback"}})
}

/// Watched for a minute after each start, the new task before the old one goes, and back with all
/// at once: the most that Swarm's settings can give.
pub(crate) fn at_its_best() -> Value {
    let second = 1_000_000_000_u64;
    json!({
        "UpdateConfig": {"Parallelism": 1, "FailureAction": "rollback", "Order": "start-first", "Monitor": 60 * second},
        "RollbackConfig": {"Parallelism": 0, "Order": "start-first", "Monitor": second},
    })
}

pub(crate) async fn run(
    engine: &Engine,
    name: &str,
    updates: &Value,
    (good, bad): (&ImageId, &ImageId),
    window: Duration,
) -> Result<Course, EngineError> {
    swarm::create(engine, name, good, updates).await?;
    let course = watched(engine, name, (good, bad), window).await;
    swarm::remove(engine, name).await;
    course
}

async fn watched(
    engine: &Engine,
    name: &str,
    (good, bad): (&ImageId, &ImageId),
    window: Duration,
) -> Result<Course, EngineError> {
    let doors = Arc::new(Doors::default());
    whole(engine, name, good, &doors).await?;
    let users = Users::of(Arc::clone(&doors)).map_err(|error| EngineError::NotSent {
        why: error.to_string(),
    })?;
    tokio::time::sleep(Duration::from_secs(3)).await;
    swarm::update(engine, name, bad).await?;
    let began = Instant::now();
    let mut course = Course::default();
    while began.elapsed() < window {
        let sight = swarm::look(engine, name, good).await?;
        let now = began.elapsed();
        doors.set(sight.doors);
        if sight.update.starts_with("rollback") {
            course.noticed.get_or_insert(now);
        }
        if course.noticed.is_some() && sight.good == REPLICAS && sight.bad == 0 {
            course.restored.get_or_insert(now);
        }
        course.words = sight.update;
        // A little longer, so that what comes after is counted too.
        let over = |restored| now >= restored + Duration::from_secs(5);
        if course.restored.is_some_and(over) {
            break;
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    Ok(course.counted(began, &users.saw(began)))
}

/// Until all tasks of a new service run.
pub(crate) async fn whole(
    engine: &Engine,
    name: &str,
    good: &ImageId,
    doors: &Doors,
) -> Result<(), EngineError> {
    let until = Instant::now() + Duration::from_secs(60);
    loop {
        let sight = swarm::look(engine, name, good).await?;
        if sight.good == REPLICAS {
            doors.set(sight.doors);
            return Ok(());
        }
        if Instant::now() > until {
            return Err(EngineError::MaybeSent {
                why: format!("{name} did not come up within a minute: {sight:?}"),
            });
        }
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
}
