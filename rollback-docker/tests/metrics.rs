//! What a real engine knows of real containers, as metrics.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "only tests use it"
)]

#[allow(dead_code, reason = "each test file uses a part")]
mod support;

use std::{os::unix::net::UnixListener, sync::Arc, time::Duration};

use async_trait::async_trait;
use rollback_core::{
    model::{
        Arm, Instance, InstanceId, InstanceState, MetricId, Query, ReadError, ReadRequest, Sample,
        Scope, ServiceId, Subject, Timestamp, Window,
    },
    ports::MetricSource,
};
use rollback_docker::{DockerMetrics, Engine};
use rollback_testkit::conformance::{self, MetricSourceHarness, QueryKind};
use serde_json::json;
use support::containers::{Bench, health_check, until};

/// A question about containers of the candidate.
fn about(names: &[&str], query: Query) -> ReadRequest {
    let at = Timestamp::from_millis(0);
    let instances: Vec<Instance> = names
        .iter()
        .map(|name| Instance::new(InstanceId::new(name).unwrap(), at, InstanceState::Ready))
        .collect();
    let scope = match names {
        [] => Scope::Service,
        [one] => Scope::Instance {
            arm: Arm::Candidate,
            instance: InstanceId::new(one).unwrap(),
        },
        _ => Scope::Arm(Arm::Candidate),
    };
    ReadRequest::new(
        ServiceId::new("shop").unwrap(),
        MetricId::new("m").unwrap(),
        query,
        scope,
        Subject::new(None, instances),
        Window::new(at, at),
    )
}

fn value(query: &str) -> Query {
    Query::Value(query.into())
}

fn counts(bad: &str, total: &str) -> Query {
    Query::Counts {
        bad: bad.into(),
        total: total.into(),
    }
}

async fn ask(metrics: &DockerMetrics, names: &[&str], query: Query) -> Result<Sample, ReadError> {
    let mut answers = metrics.read(&[about(names, query)]).await;
    assert_eq!(answers.len(), 1);
    answers.remove(0).map(|reading| reading.sample)
}

async fn number(metrics: &DockerMetrics, name: &str, query: &str) -> Option<f64> {
    match ask(metrics, &[name], value(query)).await {
        Ok(Sample::Gauge(number)) => Some(number),
        Ok(other) => panic!("{query}: {other:?}"),
        Err(_) => None,
    }
}

async fn word(metrics: &DockerMetrics, name: &str, query: &str) -> Option<String> {
    match ask(metrics, &[name], value(query)).await {
        Ok(Sample::State(word)) => Some(word.to_string()),
        Ok(other) => panic!("{query}: {other:?}"),
        Err(_) => None,
    }
}

struct Harness {
    bench: Bench,
    container: String,
}

#[async_trait]
impl MetricSourceHarness for Harness {
    fn source(&self) -> Arc<dyn MetricSource> {
        Arc::new(DockerMetrics::new(self.bench.engine.clone()))
    }

    async fn request(&self, kind: QueryKind) -> Option<ReadRequest> {
        let nobody = format!("{}-nobody", self.bench.name);
        match kind {
            QueryKind::Answered => Some(about(&[&self.container], value("cpus"))),
            QueryKind::Absent => Some(about(&[&nobody], value("cpus"))),
            QueryKind::Malformed => Some(about(&[&self.container], value("cpu"))),
            // Its numbers are finite, and several containers answer as one.
            _ => None,
        }
    }

    async fn window(&self) -> Window {
        Window::new(Timestamp::from_millis(0), Timestamp::from_millis(1_000))
    }

    async fn unreachable(&self) -> Option<Arc<dyn MetricSource>> {
        Some(Arc::new(DockerMetrics::new(Engine::at(
            "/nonexistent/docker.sock",
        ))))
    }
}

#[tokio::test]
async fn an_engine_keeps_the_promises_of_a_source() {
    let bench = Bench::new("source").await;
    let container = bench.run("one", &[], json!({})).await;
    let harness = Harness { bench, container };
    let report = conformance::metric_source(&harness).await;
    println!("{report}");
    report.assert_passed();
    assert_eq!(report.passed(), 6, "{report}");
}

#[tokio::test]
async fn a_burnt_cpu_is_measured_against_its_limit() {
    let bench = Bench::new("burn").await;
    let limits = json!({"HostConfig": {"NanoCpus": 200_000_000, "Memory": 64 << 20}});
    let hot = bench.run("hot", &["BURN=1"], limits.clone()).await;
    let idle = bench.run("idle", &[], limits).await;
    let metrics = DockerMetrics::new(bench.engine.clone());
    // The first answer is there at once: nothing has to be asked twice by the caller.
    let requests = ["cpu_usage", "cpus", "memory", "memory_usage", "processes"];
    let requests: Vec<ReadRequest> = requests
        .into_iter()
        .flat_map(|query| [about(&[&hot], value(query)), about(&[&idle], value(query))])
        .chain([about(&[&hot, &idle], value("cpu_usage"))])
        .chain([about(&[&hot], counts("throttled_periods", "periods"))])
        .collect();
    let answers = metrics.read(&requests).await;
    let gauges: Vec<f64> = answers
        .iter()
        .filter_map(|answer| match answer.as_ref().unwrap().sample {
            Sample::Gauge(number) => Some(number),
            _ => None,
        })
        .collect();
    let [
        hot_usage,
        idle_usage,
        hot_cpus,
        idle_cpus,
        memory,
        _,
        share,
        _,
        threads,
        _,
        both,
    ] = gauges[..]
    else {
        panic!("{answers:?}");
    };
    assert!(hot_usage > 0.8 && hot_usage <= 1.0, "{hot_usage}");
    assert!((0.15..0.25).contains(&hot_cpus), "{hot_cpus}");
    assert!(idle_usage < 0.5 && idle_cpus < 0.1, "{idle_usage}");
    assert_eq!(both, hot_usage, "one that is in need does not hide");
    assert!(memory > 0.0 && memory < 32e6, "{memory}");
    assert!((share - memory / f64::from(64 << 20)).abs() < 1e-9);
    assert!(threads >= 2.0, "{threads}");
    let held_back = answers.last().unwrap().as_ref().unwrap();
    let Sample::Cumulative { bad, total, .. } = held_back.sample else {
        panic!("{held_back:?}");
    };
    assert!(bad > 0 && bad <= total, "{bad} of {total}");
}

#[tokio::test]
async fn a_leak_is_seen_until_the_kernel_ends_it_and_then_it_is_counted() {
    let bench = Bench::new("leak").await;
    let config = json!({"HostConfig": {
        "Memory": 48 << 20,
        "MemorySwap": 48 << 20,
        "RestartPolicy": {"Name": "on-failure", "MaximumRetryCount": 1},
    }});
    let name = bench.run("one", &["LEAK=16"], config).await;
    let metrics = DockerMetrics::new(bench.engine.clone());
    assert_eq!(number(&metrics, &name, "oom_killed").await, Some(0.0));
    assert_eq!(number(&metrics, &name, "exit_code").await, None);
    until("a high share of the memory", || async {
        number(&metrics, &name, "memory_usage")
            .await
            .filter(|share| *share > 0.6)
    })
    .await;
    until("the end", || async {
        word(&metrics, &name, "status")
            .await
            .filter(|status| status == "exited")
    })
    .await;
    assert_eq!(number(&metrics, &name, "oom_killed").await, Some(1.0));
    assert_eq!(number(&metrics, &name, "exit_code").await, Some(137.0));
    assert_eq!(number(&metrics, &name, "restarts").await, Some(1.0));
    assert_eq!(word(&metrics, &name, "up").await.as_deref(), Some("down"));
    assert_eq!(
        word(&metrics, &name, "health").await.as_deref(),
        Some("stopped")
    );
    let totals = ask(&metrics, &[&name], counts("restarts", "starts")).await;
    assert!(
        matches!(
            totals,
            Ok(Sample::Cumulative {
                bad: 1,
                total: 2,
                ..
            })
        ),
        "{totals:?}"
    );
    for query in [
        "memory",
        "memory_usage",
        "cpus",
        "processes",
        "network_sent",
    ] {
        let answer = ask(&metrics, &[&name], value(query)).await;
        assert_eq!(answer, Err(ReadError::NoData), "{query}");
    }
}

#[tokio::test]
async fn a_health_check_is_read_and_counted() {
    let bench = Bench::new("health").await;
    let checked = json!({"Healthcheck": health_check(200, 2)});
    let name = bench.run("sick", &["SICK_AFTER=1500"], checked).await;
    let metrics = DockerMetrics::new(bench.engine.clone());
    until("good health", || async {
        word(&metrics, &name, "health")
            .await
            .filter(|word| word == "healthy")
    })
    .await;
    assert_eq!(word(&metrics, &name, "up").await.as_deref(), Some("up"));
    assert_eq!(number(&metrics, &name, "failing_streak").await, Some(0.0));
    until("bad health", || async {
        word(&metrics, &name, "health")
            .await
            .filter(|word| word == "unhealthy")
    })
    .await;
    assert_eq!(word(&metrics, &name, "up").await.as_deref(), Some("down"));
    let streak = number(&metrics, &name, "failing_streak").await;
    assert!(streak.is_some_and(|streak| streak >= 2.0), "{streak:?}");
    // What runs without a health check is up, and its health is not known.
    let bare = bench.run("bare", &[], json!({})).await;
    assert_eq!(word(&metrics, &bare, "up").await.as_deref(), Some("up"));
    let health = ask(&metrics, &[&bare], value("health")).await;
    assert!(
        matches!(health, Err(ReadError::BadQuery { .. })),
        "{health:?}"
    );
}

#[tokio::test]
async fn what_is_not_there_is_never_zero() {
    let bench = Bench::new("absent").await;
    let no_network = json!({"HostConfig": {"NetworkMode": "none"}});
    let name = bench.run("alone", &[], no_network).await;
    let metrics = DockerMetrics::new(bench.engine.clone());
    for query in ["network_sent", "network_received"] {
        let answer = ask(&metrics, &[&name], value(query)).await;
        assert_eq!(answer, Err(ReadError::NoData), "{query}");
    }
    for query in ["memory_usage", "cpu_usage", "disk_usage"] {
        let answer = ask(&metrics, &[&name], value(query)).await;
        assert!(
            matches!(answer, Err(ReadError::BadQuery { .. })),
            "{query}: {answer:?}"
        );
    }
    assert_eq!(number(&metrics, &name, "disk").await, Some(0.0));
    // The same container said to be another service's is nobody's of ours.
    let theirs = json!({"Labels": {"io.rollback.service": "till"}});
    let theirs = bench.run("theirs", &[], theirs).await;
    let answer = ask(&metrics, &[&theirs], value("memory")).await;
    assert_eq!(answer, Err(ReadError::NoData));
    // Gone between.
    assert!(number(&metrics, &name, "memory").await.is_some());
    bench.clear().await;
    for query in ["memory", "status", "restarts", "cpus", "disk"] {
        let answer = ask(&metrics, &[&name], value(query)).await;
        assert_eq!(answer, Err(ReadError::NoData), "{query}");
    }
}

#[tokio::test]
async fn a_service_is_found_by_its_label_and_its_network_is_measured() {
    let bench = Bench::new("labelled").await;
    let shop = bench.name.as_str();
    let labels = |service: &str| json!({"Labels": {"io.rollback.service": service}});
    // Without health checks there is one process in each.
    bench.run("first", &[], labels(shop)).await;
    bench.run("second", &[], labels(shop)).await;
    bench.run("other", &[], labels("till")).await;
    let metrics = DockerMetrics::new(bench.engine.clone());
    let mut request = about(&[], value("processes"));
    request.service = ServiceId::new(shop).unwrap();
    assert_eq!(read(&metrics, &request).await, 2.0);
    request.query = value("network_received");
    assert!(read(&metrics, &request).await >= 0.0);
    request.service = ServiceId::new(format!("{shop}-nobody")).unwrap();
    let answer = metrics.read(&[request]).await.remove(0);
    assert_eq!(answer.map(|reading| reading.sample), Err(ReadError::NoData));
}

async fn read(metrics: &DockerMetrics, request: &ReadRequest) -> f64 {
    let answer = metrics.read(std::slice::from_ref(request)).await.remove(0);
    match answer.unwrap().sample {
        Sample::Gauge(number) => number,
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn a_slow_engine_is_unreachable_and_a_task_is_its_container() {
    let bench = Bench::new("slow").await;
    let dir = tempfile::tempdir().unwrap();
    let socket = dir.path().join("silent.sock");
    // It takes the connection, and says nothing.
    let _silent = UnixListener::bind(&socket).unwrap();
    let silent = Engine::at(&socket).timeout(Duration::from_millis(100));
    let answer = ask(&DockerMetrics::new(silent), &["x"], value("status")).await;
    assert!(
        matches!(&answer, Err(ReadError::Unreachable { why, .. }) if why.contains("within")),
        "{answer:?}"
    );
    // As Swarm labels the container of a task.
    let task = "k3v8abcdefghijklmnopqrstu";
    let label = json!({"Labels": {"com.docker.swarm.task.id": task}});
    bench.run("task", &[], label).await;
    let metrics = DockerMetrics::new(bench.engine.clone());
    let status = word(&metrics, task, "status").await;
    assert_eq!(status.as_deref(), Some("running"));
    bench.clear().await;
    assert_eq!(
        ask(&metrics, &[task], value("status")).await,
        Err(ReadError::NoData)
    );
}
