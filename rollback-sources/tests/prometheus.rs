//! The query API of a real Prometheus that scrapes a service of the test's own.
//!
//! Needs the program `prometheus` (Debian: `apt-get install prometheus`); `./test components` sees to it.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "only tests use it"
)]

#[allow(dead_code, reason = "each test file uses a part")]
mod support;

use std::{
    fs,
    net::TcpListener,
    process::{Child, Command, Stdio},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

use async_trait::async_trait;
use rollback_core::{
    model::{Query, ReadError, ReadRequest, Reading, Sample, Secret, Timestamp, Window},
    ports::MetricSource,
};
use rollback_sources::{Limits, PrometheusApi};
use rollback_testkit::conformance::{self, MetricSourceHarness, QueryKind};
use support::{Reply, Server, counts, of_service, ok, read, refused, value};
use tempfile::TempDir;

const SCRAPE: Duration = Duration::from_millis(200);
const PATIENCE: Duration = Duration::from_secs(30);

/// What the service tells; its totals grow with each scrape.
#[derive(Default)]
struct Exporter {
    scrapes: AtomicU64,
    /// The scrapes before the service was started anew, and its totals with it.
    restarted_at: AtomicU64,
    gone: AtomicU64,
}

impl Exporter {
    fn text(&self) -> String {
        let scrapes = self.scrapes.fetch_add(1, Ordering::SeqCst) + 1;
        let since = scrapes - self.restarted_at.load(Ordering::SeqCst);
        let old = now().as_millis() - 60_000;
        let mut text = format!(
            "requests_total{{code=\"200\"}} {}\nrequests_total{{code=\"500\"}} {}\nqueue 7\nbroken NaN\nendless +Inf\nold 3 {old}\n",
            since * 9,
            since,
        );
        if self.gone.load(Ordering::SeqCst) == 0 {
            text.push_str("leaving 1\n");
        }
        text
    }
}

struct Prometheus {
    _dir: TempDir,
    child: Child,
    exporter: Arc<Exporter>,
    url: String,
}

impl Prometheus {
    async fn start() -> Self {
        let exporter = Arc::new(Exporter::default());
        let scraped = Arc::clone(&exporter);
        let service = Server::start(move |_| ok(&scraped.text())).await;
        let dir = tempfile::tempdir().unwrap();
        let config = dir.path().join("prometheus.yml");
        let text = format!(
            "global: {{scrape_interval: {}ms, scrape_timeout: {}ms}}\nscrape_configs: [{{job_name: shop, static_configs: [{{targets: ['{}']}}]}}]\n",
            SCRAPE.as_millis(),
            SCRAPE.as_millis(),
            service.address
        );
        fs::write(&config, text).unwrap();
        let port = TcpListener::bind("127.0.0.1:0")
            .unwrap()
            .local_addr()
            .unwrap()
            .port();
        let child = Command::new("prometheus")
            .arg(format!("--config.file={}", config.display()))
            .arg(format!(
                "--storage.tsdb.path={}",
                dir.path().join("data").display()
            ))
            .arg(format!("--web.listen-address=127.0.0.1:{port}"))
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap_or_else(|error| {
                panic!("`prometheus`: {error}; install it (Debian: apt-get install prometheus)")
            });
        let prometheus = Self {
            _dir: dir,
            child,
            exporter,
            url: format!("http://127.0.0.1:{port}"),
        };
        let first = prometheus
            .until("a scrape", || value("queue"), |answer| answer.is_ok())
            .await;
        assert_eq!(first.unwrap().sample, Sample::Gauge(7.0));
        prometheus
    }

    fn source(&self) -> PrometheusApi {
        let limits = Limits::default().total(Duration::from_secs(10));
        PrometheusApi::new(&self.url, limits)
            .unwrap()
            .scrape_interval(SCRAPE)
    }

    async fn ask(&self, query: Query, window: Window) -> Result<Reading, ReadError> {
        let mut request = of_service(query);
        request.window = window;
        read(&self.source(), request).await
    }

    /// Asks about the last two seconds until the answer is so.
    async fn until(
        &self,
        what: &str,
        query: impl Fn() -> Query,
        is_so: impl Fn(&Result<Reading, ReadError>) -> bool,
    ) -> Result<Reading, ReadError> {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let answer = self.ask(query(), last(2_000)).await;
            if is_so(&answer) {
                return answer;
            }
            assert!(
                Instant::now() < deadline,
                "not {what}; last answer {answer:?}"
            );
            tokio::time::sleep(SCRAPE / 2).await;
        }
    }

    /// Waits until Prometheus has scraped so often.
    async fn scraped(&self, times: u64) {
        let deadline = Instant::now() + PATIENCE;
        while self.exporter.scrapes.load(Ordering::SeqCst) < times {
            assert!(Instant::now() < deadline, "not scraped {times} times");
            tokio::time::sleep(SCRAPE / 2).await;
        }
    }
}

impl Drop for Prometheus {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn now() -> Timestamp {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
    Timestamp::from_millis(since.as_millis().try_into().unwrap())
}

fn last(millis: u64) -> Window {
    let to = now();
    Window::new(to.before(Duration::from_millis(millis)), to)
}

fn errors() -> Query {
    let of = |labels: &str| format!("sum(increase(requests_total{labels}[{{{{window}}}}]))");
    counts(&of("{code=~\"5..\"}"), &of(""))
}

#[tokio::test]
async fn a_real_prometheus_answers_in_each_way() {
    let prometheus = Prometheus::start().await;
    let ask = |query: &'static str| prometheus.ask(value(query), last(2_000));

    assert_eq!(ask("queue").await.unwrap().sample, Sample::Gauge(7.0));
    assert_eq!(ask("nothere").await, Err(ReadError::NoData));
    assert_eq!(
        ask("requests_total").await,
        Err(ReadError::Ambiguous { series: 2 })
    );
    for query in ["broken", "endless", "0/0"] {
        assert_eq!(ask(query).await, Err(ReadError::NotANumber), "{query}");
    }
    assert_eq!(ask("3 + 4").await.unwrap().sample, Sample::Gauge(7.0));
    let why = refused(ask("sum(").await);
    assert!(why.contains("parse error"), "{why}");
    refused(ask("queue[5m]").await);

    // A sample that the service itself dates back: fresh it is not.
    let window = last(2_000);
    let old = prometheus.ask(value("old"), window).await.unwrap();
    let age = window.to.since(old.window.to);
    assert!(
        age >= Duration::from_secs(59),
        "it is said to be {age:?} old"
    );

    // A tenth of what was counted was bad, in every window that has enough scrapes.
    prometheus.scraped(20).await;
    let counted = prometheus
        .until("counted", errors, |answer| {
            matches!(answer, Ok(Reading { sample: Sample::Counts { total, .. }, .. }) if *total > 50)
        })
        .await
        .unwrap();
    let Sample::Counts { bad, total } = counted.sample else {
        panic!("{counted:?}")
    };
    assert!(bad.abs_diff(total / 10) <= 1, "{bad} of {total}");

    // The service starts anew, and counts from 0: nothing is counted backwards, and none is lost.
    let before = prometheus.exporter.scrapes.load(Ordering::SeqCst);
    prometheus
        .exporter
        .restarted_at
        .store(before, Ordering::SeqCst);
    prometheus.scraped(before + 5).await;
    let after = prometheus.ask(errors(), last(2_000)).await.unwrap();
    let Sample::Counts { bad, total } = after.sample else {
        panic!("{after:?}")
    };
    assert!(
        total > 30 && bad.abs_diff(total / 10) <= 2,
        "{bad} of {total} across a restart"
    );

    // A series that is not told any more is not 1 for five more minutes.
    assert_eq!(ask("leaving").await.unwrap().sample, Sample::Gauge(1.0));
    prometheus.exporter.gone.store(1, Ordering::SeqCst);
    let gone = prometheus
        .until("gone", || value("leaving"), |answer| answer.is_err())
        .await;
    assert_eq!(gone, Err(ReadError::NoData));
}

struct Conformance {
    prometheus: Prometheus,
    window: Window,
    mute: Server,
}

#[async_trait]
impl MetricSourceHarness for Conformance {
    fn source(&self) -> Arc<dyn MetricSource> {
        let secret = Secret::new("hunter2".to_owned());
        Arc::new(self.prometheus.source().bearer_token(secret))
    }

    async fn request(&self, kind: QueryKind) -> Option<ReadRequest> {
        Some(of_service(match kind {
            QueryKind::Answered => errors(),
            QueryKind::Absent => value("nothere"),
            QueryKind::NotANumber => value("broken"),
            QueryKind::Ambiguous => value("requests_total"),
            QueryKind::Malformed => value("sum("),
            _ => return None,
        }))
    }

    async fn window(&self) -> Window {
        self.window
    }

    async fn unreachable(&self) -> Option<Arc<dyn MetricSource>> {
        let limits = Limits::default().total(Duration::from_secs(2));
        let source = PrometheusApi::new(self.mute.url(""), limits).unwrap();
        Some(Arc::new(
            source.bearer_token(Secret::new("hunter2".to_owned())),
        ))
    }

    fn secret(&self) -> Option<String> {
        Some("hunter2".to_owned())
    }
}

#[tokio::test]
async fn a_real_prometheus_keeps_the_promises_of_a_source() {
    let prometheus = Prometheus::start().await;
    prometheus.scraped(15).await;
    let window = last(2_000);
    // One scrape later the window does not change any more.
    let seen = prometheus.exporter.scrapes.load(Ordering::SeqCst);
    prometheus.scraped(seen + 3).await;
    let conformance = Conformance {
        prometheus,
        window,
        mute: Server::start(|_| Reply::Hang).await,
    };
    let report = conformance::metric_source(&conformance).await;
    println!("{report}");
    report.assert_passed();
    assert_eq!(report.passed(), report.cases().len(), "{report}");
}
