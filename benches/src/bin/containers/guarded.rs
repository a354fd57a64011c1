//! What this library's two columns share: the policy, the controller, and the course of its
//! deployment.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

use rollback::{
    Controller,
    entry::Fact,
    model::Release,
    policy::Policy,
    ports::{Deployer, ReleaseStore},
    store::SqliteJournal,
};
use rollback_docker::{DockerMetrics, Engine};
use rollback_sources::{Limits, PrometheusText};
use tempfile::TempDir;

use crate::{
    Failure,
    course::Course,
    users::{Doors, Users},
};

/// How the candidate is judged: by its own metrics, by what the engine knows of its memory, and as Swarm
/// does by its first crash (`max_failure_ratio 0`).
const JUDGED: &str = r#"
poll: 1s
metrics:
  errors: { unit: ratio, per: instance, bad: 'http_requests_total{code=~"5.."}', total: 'http_requests_total' }
  slow: { unit: ratio, per: instance, bad: 'above(0.5, http_request_duration_seconds)', total: 'http_request_duration_seconds_count' }
  memory: { unit: ratio, per: instance, source: engine, query: 'memory_usage' }
triggers:
  - { name: too_many_errors, when: 'errors > 10%', times: 2 of 3 }
  - { name: too_slow, when: 'slow > 50%', times: 2 of 3 }
  - { name: too_much_memory, when: 'memory > 85%' }
verify: { for: 3s, within: 30s }
deadlines: { converge: 10s, shift: 10s, retire: 30s, apply: 10s, doubt: 20s }
crash_limit: 1
blind_budget: 20s
"#;

/// A controller with its journal.
pub(crate) struct Guarded {
    pub(crate) controller: Controller,
    /// Removed with it.
    _journal: TempDir,
}

impl Guarded {
    pub(crate) async fn start(
        engine: &Engine,
        name: &str,
        rollout: &str,
        deployer: Arc<dyn Deployer>,
        releases: Option<Arc<dyn ReleaseStore>>,
    ) -> Result<Self, Failure> {
        let journal = TempDir::new()?;
        let policy = format!("service: {name}\n{rollout}\n{JUDGED}");
        let store = Arc::new(SqliteJournal::open(journal.path().join("journal.db"))?);
        let releases = releases.unwrap_or_else(|| Arc::<SqliteJournal>::clone(&store) as _);
        let controller = Controller::builder(name)
            .policy(Policy::from_yaml(&policy)?)
            .deployer(deployer)
            .metrics(PrometheusText::of_instances("/metrics", Limits::default())?)
            .metrics_named("engine", DockerMetrics::new(engine.clone()))
            .journal(store)
            .releases(releases)
            .start()
            .await?;
        Ok(Self {
            controller,
            _journal: journal,
        })
    }

    /// Deploys the bad release and watches until it is over. `whole` says whether the service is
    /// as good as before, and keeps the doors up to date.
    pub(crate) async fn endures<W>(
        &self,
        release: Release,
        doors: &Arc<Doors>,
        window: Duration,
        mut whole: W,
    ) -> Result<Course, Failure>
    where
        W: AsyncFnMut() -> Result<bool, Failure>,
    {
        let users = Users::of(Arc::clone(doors))?;
        tokio::time::sleep(Duration::from_secs(3)).await;
        let mut events = self.controller.events();
        let began = Instant::now();
        let deployment = self.controller.deploy(release).await?;
        let over = Arc::new(AtomicBool::new(false));
        let ended = {
            let (over, deployment) = (Arc::clone(&over), deployment.clone());
            tokio::spawn(async move {
                let settled = deployment.settled().await;
                over.store(true, Ordering::SeqCst);
                settled
            })
        };
        let told = std::env::var_os("TOLD").is_some();
        let mut course = Course::default();
        while began.elapsed() < window {
            while let Ok(event) = events.try_recv() {
                if told && event.event.as_ref() != "readings" {
                    eprintln!("{:5.1} s  {}", began.elapsed().as_secs_f64(), event.text);
                }
                if let Some(Fact::RollbackDecided { .. } | Fact::Held { .. }) = event.fact {
                    course.noticed.get_or_insert_with(|| began.elapsed());
                    course.words = shortly(&event.text);
                }
            }
            if whole().await? && course.noticed.is_some() {
                course.restored.get_or_insert_with(|| began.elapsed());
            }
            if over.load(Ordering::SeqCst) {
                break;
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        if over.load(Ordering::SeqCst) {
            let after = began.elapsed().as_secs_f64();
            let how = format!("; settled after {after:.1} s");
            course.words.push_str(&how);
        }
        ended.abort();
        Ok(course.counted(began, &users.saw(began)))
    }
}

/// Which rule, and what it saw: without the release's id, and cut.
fn shortly(text: &str) -> String {
    let text = text.split_once(": ").map_or(text, |(_, why)| why);
    let text = text.replace('|', "/");
    let mut short: String = text.chars().take(100).collect();
    if short.len() < text.len() {
        short.push('…');
    }
    short
}
