//! An engine that is busy with a container, such as one that it starts, does not tell of it
//! meanwhile. A look at a service does not wait for it: what is known of the others may be urgent.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::{Duration, Instant},
};

use serde_json::{Value, json};
use tokio::time::timeout;

use super::look::{Shared, id_of, inspected, locked};
use crate::EngineError;

/// So long the engine may take to tell of one container.
const BUSY: Duration = Duration::from_millis(200);
/// After so long of not knowing it is waited for: the engine is not busy, but slow.
const SLOW: Duration = Duration::from_secs(3);

/// What the engine told last of each container.
#[derive(Debug, Default)]
pub(crate) struct Told {
    last: BTreeMap<String, Value>,
    /// Of these nothing new was told since.
    busy: BTreeMap<String, Instant>,
}

impl Told {
    /// Forgets containers that are not listed any more.
    pub(crate) fn forget(&mut self, listed: &[Value]) {
        let there: BTreeSet<&str> = listed.iter().map(id_of).collect();
        self.last.retain(|id, _| there.contains(id.as_str()));
        self.busy.retain(|id, _| there.contains(id.as_str()));
    }

    fn is_slow(&self, id: &str) -> bool {
        let since = self.busy.get(id);
        since.is_some_and(|since| since.elapsed() >= SLOW)
    }

    fn tells(&mut self, id: &str, container: &Value) {
        self.busy.remove(id);
        self.last.insert(id.to_owned(), container.clone());
    }

    /// What it told before, if the container still does the same; else that it is on its way.
    fn meanwhile(&mut self, listed: &Value) -> Value {
        let id = id_of(listed);
        self.busy.entry(id.to_owned()).or_insert_with(Instant::now);
        let now = listed.get("State");
        let same = |last: &&Value| last.pointer("/State/Status") == now;
        let last = self.last.get(id).filter(same).cloned();
        let Some(mut last) = last else {
            return on_its_way(listed);
        };
        let told = last.pointer_mut("/State/Health/Status");
        if let Some((told, now)) = told.zip(health(listed)) {
            *told = json!(now);
        }
        last
    }
}

/// The whole of a container that is listed, or as much as is known of it; none if it is gone
/// meanwhile.
pub(crate) async fn told(shared: &Shared, listed: &Value) -> Result<Option<Value>, EngineError> {
    let id = id_of(listed);
    let asked = inspected(&shared.engine, id);
    let slow = locked(&shared.told).is_slow(id);
    let answer = if slow {
        asked.await?
    } else {
        match timeout(BUSY, asked).await {
            Ok(answer) => answer?,
            Err(_) => return Ok(Some(locked(&shared.told).meanwhile(listed))),
        }
    };
    if let Some(container) = &answer {
        locked(&shared.told).tells(id, container);
    }
    Ok(answer)
}

/// The word of the health check within the words for people.
fn health(listed: &Value) -> Option<&'static str> {
    let status = listed.get("Status").and_then(Value::as_str)?;
    let words = [
        ("(healthy)", "healthy"),
        ("(unhealthy)", "unhealthy"),
        ("(health: starting)", "starting"),
    ];
    let mut words = words.into_iter();
    words.find_map(|(end, word)| status.ends_with(end).then_some(word))
}

/// What is sure of it: neither that it runs nor that it does not.
fn on_its_way(listed: &Value) -> Value {
    let created = listed.get("Created").and_then(Value::as_i64);
    let created = created.and_then(|second| jiff::Timestamp::from_second(second).ok());
    json!({
        "Id": id_of(listed),
        "Name": listed.pointer("/Names/0"),
        "Created": created.map(|time| time.to_string()),
        "Image": listed.get("ImageID"),
        "Config": {"Labels": listed.get("Labels")},
        "State": {"Status": "busy"},
    })
}

#[cfg(test)]
mod tests {
    use rollback_core::model::ReleaseId;

    use super::*;
    use crate::container::facts::{Facts, Status};

    #[test]
    fn a_busy_container_is_what_it_was_or_on_its_way_and_never_ready_on_a_guess() {
        let listed = |state: &str| {
            json!({"Id": "c", "Names": ["/web.0"], "Created": 1_700_000_000, "State": state,
                "Labels": {"a": "b"}})
        };
        let facts = |container: &Value| {
            Facts::read(container, ReleaseId::new("v1").unwrap(), None, true, None)
        };
        let mut told = Told::default();
        let new = facts(&told.meanwhile(&listed("running")));
        assert_eq!((new.status, new.name.as_str()), (Status::Other, "web.0"));
        assert_eq!(new.created_at.as_millis(), 1_700_000_000_000);
        assert!(!new.is_up() && !new.is_down());

        let runs =
            json!({"Id": "c", "State": {"Status": "running", "Health": {"Status": "healthy"}}});
        told.tells("c", &runs);
        assert_eq!(told.meanwhile(&listed("running")), runs);
        let mut sick = listed("running");
        sick["Status"] = json!("Up 7 seconds (unhealthy)");
        let sick = facts(&told.meanwhile(&sick));
        assert_eq!(sick.health.as_deref(), Some("unhealthy"));
        let ended = facts(&told.meanwhile(&listed("exited")));
        assert_eq!((ended.status, ended.health), (Status::Other, None));
        assert!(!told.is_slow("c"), "not yet");
        told.forget(&[]);
        assert!(told.last.is_empty() && told.busy.is_empty());
    }
}
