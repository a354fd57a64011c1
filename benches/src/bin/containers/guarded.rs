//! What this library's two columns share: the policy, the controller, and the course of its
//! deployment.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use rollback::{
    Controller,
    entry::Fact,
    model::{Outcome, Release, Settled},
    policy::Policy,
    ports::{Deployer, ReleaseStore},
    store::SqliteJournal,
};
use rollback_sources::{Limits, PrometheusText};
use tempfile::TempDir;
use tokio::sync::watch;

use crate::{
    Failure,
    course::Course,
    users::{AFTERWARDS, BEFORE, BETWEEN_LOOKS, Doors, Users},
};

/// How the candidate is judged: by its own metrics, and as Swarm does by its first crash
/// (`max_failure_ratio 0`).
const JUDGED: &str = r#"
poll: 1s
metrics:
  errors: { unit: ratio, per: instance, bad: 'http_requests_total{code=~"5.."}', total: 'http_requests_total' }
  slow: { unit: ratio, per: instance, bad: 'above(0.5, http_request_duration_seconds)', total: 'http_request_duration_seconds_count' }
  memory: { unit: bytes, per: instance, query: 'process_resident_memory_bytes' }
triggers:
  - { name: too_many_errors, when: 'errors > 10%', times: 2 of 3 }
  - { name: too_slow, when: 'slow > 50%', times: 2 of 3 }
  - { name: too_much_memory, when: 'memory > 100MB' }
verify: { for: 3s, within: 30s }
deadlines: { converge: 30s, shift: 10s, retire: 30s, apply: 10s, doubt: 20s }
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
    /// Takes the service into care: what runs is found good.
    pub(crate) async fn start(
        name: &str,
        running: Release,
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
            .journal(store)
            .releases(releases)
            .start()
            .await?;
        let adopted = controller.deploy(running).await?.settled().await?;
        if !matches!(adopted, Settled::Ended(Outcome::NoChange { .. })) {
            return Err(format!("what runs was not found good: {adopted:?}").into());
        }
        Ok(Self {
            controller,
            _journal: journal,
        })
    }

    /// Deploys the bad release and watches until it is over. `whole` says whether the service is
    /// as good as before, and keeps the doors up to date.
    pub(crate) async fn endures<R, W>(
        &self,
        release: R,
        doors: &Arc<Doors>,
        window: Duration,
        mut whole: W,
    ) -> Result<Course, Failure>
    where
        R: AsyncFnOnce() -> Result<Release, Failure>,
        W: AsyncFnMut() -> Result<bool, Failure>,
    {
        let users = Users::of(Arc::clone(doors))?;
        tokio::time::sleep(BEFORE).await;
        let mut events = self.controller.events();
        let began = Instant::now();
        let deployment = self.controller.deploy(release().await?).await?;
        let (tell, told) = watch::channel((None, String::new()));
        let ear = tokio::spawn(async move {
            let aloud = std::env::var_os("TOLD").is_some();
            while let Ok(event) = events.recv().await {
                let after = began.elapsed();
                if aloud && event.event.as_ref() != "readings" {
                    eprintln!("{:6.2} s  {}", after.as_secs_f64(), event.text);
                }
                if let Some(Fact::RollbackDecided { .. } | Fact::Held { .. }) = event.fact {
                    tell.send_modify(|(noticed, words)| {
                        noticed.get_or_insert(after);
                        *words = shortly(&event.text);
                    });
                }
            }
        });
        let settling =
            tokio::spawn(async move { deployment.settled().await.map(|_| began.elapsed()) });
        let mut course = Course::default();
        loop {
            let asked = began.elapsed();
            let over = settling.is_finished() || asked >= window;
            let is_whole = whole().await?;
            course.noticed = told.borrow().0;
            if is_whole && course.noticed.is_some_and(|noticed| noticed <= asked) {
                course.restored.get_or_insert_with(|| began.elapsed());
            }
            if over {
                break;
            }
            tokio::time::sleep(BETWEEN_LOOKS).await;
        }
        (course.noticed, course.words) = told.borrow().clone();
        if settling.is_finished() {
            let settled = settling.await??.as_secs_f64();
            course
                .words
                .push_str(&format!("; settled after {settled:.1} s"));
            tokio::time::sleep(AFTERWARDS).await;
        } else {
            settling.abort();
        }
        ear.abort();
        Ok(course.counted(began, &users.saw(began)))
    }
}

/// Which rule, and what it saw: without the release's id, digests abbreviated, and cut.
fn shortly(text: &str) -> String {
    let text = text.split_once(": ").map_or(text, |(_, why)| why);
    let text = text.replace('|', "/");
    let mut short = String::new();
    let mut digits = 0;
    for letter in text.chars() {
        digits = if letter.is_ascii_hexdigit() {
            digits + 1
        } else {
            0
        };
        match digits {
            0..=8 => short.push(letter),
            9 => short.push('…'),
            _ => {}
        }
    }
    let mut cut: String = short.chars().take(100).collect();
    if cut.len() < short.len() {
        cut.push('…');
    }
    cut
}
