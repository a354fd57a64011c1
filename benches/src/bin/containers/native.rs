//! Swarm by itself: its own updates with its own rollback.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use rollback_docker::{Engine, EngineError, ImageId};
use serde_json::{Value, json};

use crate::{
    Failure,
    course::Course,
    swarm::{self, REPLICAS},
    users::{AFTERWARDS, BEFORE, BETWEEN_LOOKS, Doors, Users},
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
) -> Result<Course, Failure> {
    swarm::create(engine, name, good, updates).await?;
    let doors = Arc::new(Doors::default());
    whole(engine, name, good, &doors).await?;
    let users = Users::of(Arc::clone(&doors))?;
    tokio::time::sleep(BEFORE).await;
    let began = Instant::now();
    swarm::update(engine, name, bad).await?;
    let mut course = Course::default();
    let mut over_since: Option<Duration> = None;
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
        // Swarm watches nothing any more after these, and brings nothing back.
        let over = ["completed", "paused", "rollback_paused"];
        if over.contains(&sight.update.as_str()) || course.restored.is_some() {
            over_since.get_or_insert(now);
        }
        course.words = sight.update;
        if over_since.is_some_and(|over| now >= over + AFTERWARDS) {
            break;
        }
        tokio::time::sleep(BETWEEN_LOOKS).await;
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
