//! The six checks of a web service, against services that fail each of them.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "only tests use it"
)]

#[allow(dead_code, reason = "each test file uses a part")]
mod support;

use std::{collections::BTreeMap, time::Duration};

use rollback_core::{
    model::{ReadError, Sample},
    policy::Policy,
};
use rollback_sources::{HttpHealth, Limits, web_service_checks};
use serde_json::{Value, json};
use support::{Reply, Server, nobody, of_instance, ok, page, read, value};

/// What each metric of the six checks reads of a server.
async fn readings(address: &str) -> BTreeMap<String, Result<Sample, ReadError>> {
    let limits = Limits::default()
        .connect(Duration::from_secs(1))
        .total(Duration::from_secs(2));
    let source = HttpHealth::new(limits).unwrap();
    let fragment = web_service_checks();
    let mut readings = BTreeMap::new();
    for (name, metric) in fragment["metrics"].as_object().unwrap() {
        let query = value(metric["query"].as_str().unwrap());
        let reading = read(&source, of_instance(query, address)).await;
        readings.insert(name.clone(), reading.map(|reading| reading.sample));
    }
    readings
}

fn state(word: &str) -> Result<Sample, ReadError> {
    Ok(Sample::State(word.into()))
}

#[tokio::test]
async fn a_service_that_is_well_passes_all() {
    let server = Server::start(|path| match path {
        "/health" => ok("{\"status\":\"OK\"}"),
        _ => ok("hello"),
    })
    .await;
    let seen = readings(&server.address).await;
    for name in ["connectivity", "health_endpoint", "documentation"] {
        assert_eq!(seen[name], state("up"), "{name}");
    }
    assert_eq!(seen["status_code"], Ok(Sample::Gauge(200.0)));
    assert_eq!(seen["content"], Ok(Sample::Gauge(5.0)));
    assert!(matches!(seen["response_time"], Ok(Sample::Gauge(ms)) if ms > 0.0 && ms < 300.0));
}

#[tokio::test]
async fn each_check_fails_by_itself() {
    let server = Server::start(|path| match path {
        "/health" => ok("fine"),
        "/docs" => page("404 No", "", ""),
        _ => page("500 No", "", ""),
    })
    .await;
    let seen = readings(&server.address).await;
    assert_eq!(seen["connectivity"], state("up"), "an answer is an answer");
    assert_eq!(seen["health_endpoint"], state("down"));
    assert_eq!(seen["documentation"], state("down"));
    assert_eq!(seen["status_code"], Ok(Sample::Gauge(500.0)));
    assert_eq!(seen["content"], Ok(Sample::Gauge(0.0)));

    let gone = readings(&nobody().await).await;
    assert_eq!(gone["connectivity"], state("down"));
    assert!(
        matches!(&gone["status_code"], Err(ReadError::Unreachable { why, .. }) if why.contains("no connection"))
    );
    assert!(
        gone["response_time"].is_err(),
        "nobody answered: there is no time"
    );

    let mute = Server::start(|_| Reply::Hang).await;
    let seen = readings(&mute.address).await;
    assert_eq!(seen["connectivity"], state("down"));
    assert!(matches!(seen["response_time"], Ok(Sample::Gauge(ms)) if ms >= 300.0));
}

#[test]
fn its_metrics_and_conditions_make_a_policy() {
    let fragment = web_service_checks();
    let triggers: Vec<Value> = fragment["checks"]
        .as_array()
        .unwrap()
        .iter()
        .map(|check| json!({"name": check["name"], "when": check["when"]}))
        .collect();
    assert_eq!(triggers.len(), 7);
    let policy =
        json!({"bake": "10m", "poll": "15s", "metrics": fragment["metrics"], "triggers": triggers});
    let policy: Policy = serde_json::from_value(policy).unwrap();
    assert_eq!(policy.triggers.len(), 7);
}
