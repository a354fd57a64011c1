//! Brings what runs to what is wanted, for one service: it looks, plans, acts, and looks again.
//! Nothing of it is needed to go on: dropping it anywhere leaves a state that the next one
//! understands, and two of them at once do nothing twice.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::Duration,
};

use rollback_core::model::ReleaseId;
use tokio::{
    task::JoinSet,
    time::{Instant, sleep, timeout},
};

use super::{
    act::{ActError, Purpose, create, start, stop},
    look::{Shared, Sight, id_of, listed, locked, look, now},
    names,
    observation::seen,
    plan::{Step, plan},
    record::{discard, keep},
};
use crate::EngineError;

/// Between two looks while something is on its way.
const BUSY: Duration = Duration::from_millis(150);
/// Between two looks while all is as wanted; events of the engine come first.
const IDLE: Duration = Duration::from_secs(2);
/// The pause after the first failure of an act; it doubles.
const FIRST_PAUSE: Duration = Duration::from_millis(500);
const LONGEST_PAUSE: Duration = Duration::from_secs(20);
/// An engine that fails so often at one act cannot do it.
const UNWELL: u32 = 3;

/// Supervises until it is dropped.
pub(crate) async fn supervise(shared: Arc<Shared>) {
    let mut supervisor = Supervisor {
        shared,
        acts: JoinSet::new(),
        busy: BTreeSet::new(),
        pauses: BTreeMap::new(),
    };
    loop {
        let pace = match supervisor.step().await {
            Ok(pace) => pace,
            Err(error) => {
                tracing::warn!(service = %supervisor.shared.service, %error, "the engine cannot be looked at");
                Duration::from_secs(1)
            }
        };
        tokio::select! {
            _ = timeout(pace, supervisor.shared.nudge.notified()) => {}
            Some(done) = supervisor.acts.join_next() => supervisor.done(done.ok()),
        }
    }
}

/// Tells supervisor and host when something happened to a container of the service.
pub(crate) async fn listen(shared: Arc<Shared>) {
    let label = format!("{}={}", names::SERVICE, shared.service);
    let kinds = [
        "create",
        "start",
        "die",
        "oom",
        "stop",
        "destroy",
        "pause",
        "unpause",
        "health_status",
    ];
    let filters: [(&str, &[&str]); 3] = [
        ("type", &["container"]),
        ("event", &kinds),
        ("label", &[&label]),
    ];
    loop {
        let tell = || {
            shared.nudge.notify_one();
            shared.news.notify_one();
        };
        let heard = shared.engine.hear(&filters, |_| {
            tell();
            false
        });
        let _ = heard.await;
        // What happened while nobody listened is not told again.
        sleep(Duration::from_secs(1)).await;
        tell();
    }
}

struct Supervisor {
    shared: Arc<Shared>,
    acts: JoinSet<Done>,
    /// Containers that something is done with, by name or id.
    busy: BTreeSet<String>,
    /// Acts that failed: how often, and when they may be tried again.
    pauses: BTreeMap<String, (u32, Instant)>,
}

struct Done {
    key: String,
    release: ReleaseId,
    step: Step,
    result: Result<(), ActError>,
}

impl Supervisor {
    /// Looks and sets about what the plan says; answers when to look again.
    async fn step(&mut self) -> Result<Duration, EngineError> {
        let sight = look(&self.shared).await?;
        let Some(record) = &sight.record else {
            // Nothing was ever asked of us, or somebody removed what was: nothing is done on a
            // guess.
            return Ok(IDLE);
        };
        for old in &sight.older {
            discard(&self.shared, old).await?;
        }
        self.mend(&sight).await;
        let (all, steady) = {
            let mut known = locked(&self.shared.known);
            let wanted = &sight.desired.wanted;
            known.troubles.retain(|release, _| wanted.runs(release));
            let there = |id: &String| sight.facts.iter().any(|one| one.id == *id);
            known.started.retain(|id, _| there(id));
            let all = seen(&sight, &known, self.shared.steady, now());
            let steady = sight.desired.wanted.iter().all(|(release, _)| {
                let ready = all
                    .iter()
                    .filter(|one| one.release == *release && one.ready);
                let definition = sight.definitions.get(release);
                definition.is_some_and(|one| ready.count() >= usize::from(one.replicas))
            });
            (all, steady)
        };
        for one in all.iter().filter(|one| one.ready) {
            self.pauses.remove(&one.id);
        }
        let steps = plan(&sight.desired, &sight, &all);
        let idle = steps.is_empty() && steady && self.acts.is_empty();
        let (record, revision) = (record.id.clone(), record.revision);
        for step in steps {
            self.begin(&sight, &record, revision, step);
        }
        Ok(if idle { IDLE } else { BUSY })
    }

    /// Keeps again what somebody removed, while it is still known.
    async fn mend(&self, sight: &Sight) {
        for (release, _) in sight.desired.wanted.iter() {
            let known = locked(&self.shared.definitions).get(release).cloned();
            if let Some(known) = known.filter(|_| !sight.kept.contains_key(release))
                && let Err(error) = keep(&self.shared, release, &known).await
            {
                tracing::warn!(%release, %error, "its definition is not kept on the engine");
            }
        }
    }

    fn begin(&mut self, sight: &Sight, record: &str, revision: u64, step: Step) {
        let key = match &step {
            Step::Create(release, index) => names::instance(&self.shared.service, release, *index),
            Step::Start(id) | Step::Stop(id) => id.clone(),
        };
        let now = Instant::now();
        let paused = self.pauses.get(&key).is_some_and(|(_, until)| *until > now);
        if paused || self.busy.contains(&key) {
            return;
        }
        let facts = sight.facts.iter().find(|one| one.id == key).cloned();
        // What crashed is not started again at once, however it is started.
        if let (Step::Start(_), Some(facts)) = (&step, &facts)
            && facts.started_at.is_some()
            && !self.pauses.contains_key(&key)
        {
            self.pauses.insert(key, (1, now + FIRST_PAUSE));
            return;
        }
        let release = match (&step, &facts) {
            (Step::Create(release, _), _) => release,
            (_, Some(facts)) => &facts.release,
            _ => return,
        };
        let definition = sight.definitions.get(release).cloned();
        let purpose = Purpose {
            release: release.clone(),
            index: match &step {
                Step::Create(_, index) => *index,
                _ => facts.as_ref().and_then(|one| one.index).unwrap_or(0),
            },
            revision,
            change: sight
                .desired
                .last_change
                .as_ref()
                .map_or_else(String::new, ToString::to_string),
        };
        self.busy.insert(key.clone());
        if matches!(step, Step::Stop(_)) {
            locked(&self.shared.known).stopping.insert(key.clone());
        }
        let (shared, record) = (Arc::clone(&self.shared), record.to_owned());
        self.acts.spawn(async move {
            let result = async {
                still_in_force(&shared, &record).await?;
                match (&step, facts, definition) {
                    (Step::Create(..), _, Some(definition)) => {
                        create(&shared, &definition, &purpose).await
                    }
                    (Step::Start(id), Some(facts), definition) => {
                        let defined = definition.as_deref().filter(|_| facts.ours);
                        start(&shared, id, defined.map(|one| (one, purpose.index))).await
                    }
                    (Step::Stop(id), Some(facts), _) => {
                        stop(&shared, id, facts.grace, facts.ours).await
                    }
                    _ => Ok(()),
                }
            };
            let result = result.await;
            let release = purpose.release;
            Done {
                key,
                release,
                step,
                result,
            }
        });
    }

    fn done(&mut self, done: Option<Done>) {
        let Some(Done {
            key,
            release,
            step,
            result,
        }) = done
        else {
            // It panicked; what it was is not known.
            self.busy.clear();
            locked(&self.shared.known).stopping.clear();
            return;
        };
        self.busy.remove(&key);
        let shared = Arc::clone(&self.shared);
        locked(&shared.known).stopping.remove(&key);
        match result {
            Ok(()) => {
                if matches!(step, Step::Start(_)) && self.pauses.contains_key(&key) {
                    let mut known = locked(&shared.known);
                    *known.started.entry(key.clone()).or_insert(0) += 1;
                    // The pause grows until it is ready.
                    self.pause(key);
                } else {
                    self.pauses.remove(&key);
                }
                if !matches!(step, Step::Stop(_)) {
                    locked(&shared.known).troubles.remove(&release);
                }
            }
            Err(ActError::Unwell(why)) if !self.failed_often(&key) => {
                tracing::warn!(service = %shared.service, container = key, why, "tried again");
                self.pause(key);
            }
            Err(ActError::Blocked(why) | ActError::Unwell(why)) => {
                tracing::warn!(service = %shared.service, container = key, why, "tried again");
                if !matches!(step, Step::Stop(_)) {
                    locked(&shared.known).troubles.insert(release, why);
                }
                self.pause(key);
            }
            Err(ActError::Again(why)) => {
                tracing::debug!(service = %shared.service, container = key, why, "tried again");
                self.pause(key);
            }
        }
        shared.news.notify_one();
    }

    /// Whether it failed now for the third time in a row.
    fn failed_often(&self, key: &str) -> bool {
        let failed = self.pauses.get(key).map_or(0, |(count, _)| *count);
        failed + 1 >= UNWELL
    }

    fn pause(&mut self, key: String) {
        let (count, until) = self
            .pauses
            .entry(key)
            .or_insert_with(|| (0, Instant::now()));
        let doublings = (*count).min(10);
        *until = Instant::now()
            + FIRST_PAUSE
                .saturating_mul(1 << doublings)
                .min(LONGEST_PAUSE);
        *count += 1;
    }
}

/// Whether nothing else is wanted meanwhile.
async fn still_in_force(shared: &Shared, record: &str) -> Result<(), ActError> {
    let records = listed(shared, Some(names::RECORD)).await?;
    let revision = |one: &serde_json::Value| -> Option<u64> {
        super::look::label(one, names::REVISION)?.parse().ok()
    };
    let newest = records.iter().max_by_key(|one| revision(one));
    if newest.is_some_and(|one| id_of(one) == record) {
        return Ok(());
    }
    Err(ActError::Again(
        "something else is wanted by now".to_owned(),
    ))
}
