//! The engine as a [`MetricSource`].

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use async_trait::async_trait;
use rollback_core::{
    model::{ReadError, ReadRequest, Reading, ReleaseId, ServiceId, Timestamp},
    ports::{MetricSource, SourceCapabilities},
};
use tokio::{sync::Semaphore, task::JoinSet};

use super::{
    answer::{Look, answer},
    quantity::{Needs, Question},
    rates::Looks,
    seen::{Container, Stats},
    whom::{Whom, inspect, labelled, read_error},
};
use crate::Engine;

/// How many containers are looked at at the same time.
const AT_ONCE: usize = 16;

/// What a Docker Engine knows of containers: state, health, CPU, memory, network.
///
/// With `query:` one level, of several containers as the last column says:
///
/// | query | unit | answer | of several |
/// |---|---|---|---|
/// | `health` | `state` | `starting`, `healthy`, `unhealthy`; `stopped` if it does not run | the worst |
/// | `up` | `state` | `up` if it runs and its health check, if it has one, passes; `starting`; else `down` | the worst |
/// | `status` | `state` | the engine's word: `running`, `restarting`, `exited`, … | the worst |
/// | `failing_streak` | `count` | health checks that failed in a row | the highest |
/// | `restarts` | `count` | starts by the engine since the container was created, without the first | the sum |
/// | `exit_code` | `count` | of a container that ended, or could not be started | the highest of those that ended |
/// | `oom_killed` | `count` | 1 if the kernel killed it for want of memory since it was created | the sum |
/// | `cpu_usage` | `ratio` | share of its CPU limit (`--cpus`, quota, or cpuset) since an earlier look | the highest |
/// | `cpus` | `count` | CPUs in use since an earlier look: 1 is one whole CPU | the sum |
/// | `memory` | `bytes` | working set: usage without file cache that is not in use | the sum |
/// | `memory_usage` | `ratio` | the same as a share of its memory limit | the highest |
/// | `network_received`, `network_sent` | `bytes` | a second, since an earlier look | the sum |
/// | `disk` | `bytes` | what it wrote over its image; volumes are not in it | the sum |
/// | `processes` | `count` | processes and threads | the sum |
///
/// With `bad:` and `total:`, running totals of one container (`per: instance`), whose differences
/// the engine of this library takes:
///
/// | bad | total | since |
/// |---|---|---|
/// | `restarts` | `starts` | the container was created |
/// | `throttled_periods` | `periods` | it was started: scheduler periods in which its CPU limit held it back |
/// | `network_errors` | `network_packets` | it was started: packets broken or dropped |
///
/// The names of CPU and memory are those of the metrics in the first source document, so its
/// infrastructure triggers read them here unchanged.
///
/// What is not known is never 0: a container that is gone, does not run, or has no network is
/// [`ReadError::NoData`]; a share without a limit, and health without a health check, are
/// [`ReadError::BadQuery`], since only a person can mend that; an engine that does not answer is
/// [`ReadError::Unreachable`].
///
/// The engine measures once a second, and some (20.10) answer only when they have measured again: what
/// is of CPU, memory, network or processes takes up to a second, and so does each poll and each
/// pre-flight that asks for it. The same from the application, such as
/// `process_resident_memory_bytes`, is there at once.
///
/// Rates compare with the look nearest to the begin of the window, at least 0.9 s ago. The first
/// question after a container's start asks the engine twice, which takes up to two seconds.
///
/// Instances are containers, by id or name, or tasks of Swarm whose container is on this engine.
/// A metric `per: service` is answered by the containers that run under the label
/// `io.rollback.service` or, of Swarm, `com.docker.swarm.service.name`.
///
/// ```
/// use rollback_docker::{DockerMetrics, Engine};
///
/// let metrics = DockerMetrics::new(Engine::at("/var/run/docker.sock"))
///     .found_by("com.docker.compose.service");
/// # let _ = metrics;
/// ```
#[derive(Debug, Clone)]
pub struct DockerMetrics {
    engine: Engine,
    labels: Vec<String>,
    looks: Arc<Mutex<Looks>>,
}

/// A request as it was understood: what, and of which containers.
type Asked = (Question, Vec<String>);
/// A container, as far as it could be looked at.
type Looked = Result<(Container, Option<Stats>), ReadError>;
/// A service and, of an arm, its release.
type Key = (ServiceId, Option<ReleaseId>);

impl DockerMetrics {
    /// The containers of this engine.
    #[must_use]
    pub fn new(engine: Engine) -> Self {
        Self {
            engine,
            labels: Vec::new(),
            looks: Arc::default(),
        }
    }

    /// The containers of a service also carry this label, with the service's name as its value.
    #[must_use]
    pub fn found_by(mut self, label: impl Into<String>) -> Self {
        self.labels.push(label.into());
        self
    }

    /// What a request means, its containers by name.
    async fn understood(
        &self,
        request: &ReadRequest,
        found: &mut BTreeMap<Key, Result<Vec<String>, ReadError>>,
    ) -> Result<Asked, ReadError> {
        let question = Question::of(&request.query)?;
        let names = match Whom::of(request)? {
            Whom::Instances(names) => names,
            Whom::Labelled(service, release) => {
                let key = (service, release);
                if !found.contains_key(&key) {
                    let (service, release) = &key;
                    let names =
                        labelled(&self.engine, service, release.as_ref(), &self.labels).await;
                    found.insert(key.clone(), names);
                }
                found.get(&key).cloned().unwrap_or(Err(ReadError::NoData))?
            }
        };
        Ok((question, names))
    }

    /// One look at one container, for all that is asked about it.
    async fn look(self, name: String, needs: Needs) -> Looked {
        let inspected = inspect(&self.engine, &name, needs.size).await?;
        let container = Container::of(&inspected).ok_or_else(|| ReadError::Unreachable {
            why: format!("the engine's answer about `{name}` has no container in it"),
            retry_after_ms: None,
        })?;
        if !needs.stats || !container.has_processes() {
            return Ok((container, None));
        }
        let Some(first) = self.stats(&container, true).await? else {
            return Ok((container, None));
        };
        self.looks()
            .remember(&container.id, container.started, first);
        let compared = self
            .looks()
            .before(&container.id, container.started, first.at, first.at);
        if !needs.rate || compared.is_some() {
            return Ok((container, Some(first)));
        }
        // Without `one-shot` the engine waits until it has measured twice by itself.
        let Some(second) = self.stats(&container, false).await? else {
            return Ok((container, None));
        };
        self.looks()
            .remember(&container.id, container.started, second);
        Ok((container, Some(second)))
    }

    async fn stats(
        &self,
        container: &Container,
        at_once: bool,
    ) -> Result<Option<Stats>, ReadError> {
        let path = format!("/containers/{}/stats", container.id);
        let at_once = if at_once { "true" } else { "false" };
        let query = [("stream", "false"), ("one-shot", at_once)];
        let told = self.engine.get(&path, &query).await.map_err(read_error)?;
        Ok(Stats::of(&told))
    }

    fn answered(
        &self,
        request: &ReadRequest,
        (question, names): &Asked,
        looked: &BTreeMap<String, Looked>,
    ) -> Result<Reading, ReadError> {
        let mut looks = Vec::with_capacity(names.len());
        for name in names {
            let (container, now) = looked
                .get(name)
                .cloned()
                .unwrap_or(Err(ReadError::NoData))?;
            if container.is_of_another(&request.service) {
                return Err(ReadError::NoData);
            }
            let before = now.and_then(|now| {
                let from = request.window.from;
                self.looks()
                    .before(&container.id, container.started, now.at, from)
            });
            looks.push(Look {
                container,
                now,
                before,
            });
        }
        let sample = answer(*question, &looks.iter().collect::<Vec<_>>())?;
        Ok(Reading::new(request.window, sample).seen_at(now()))
    }

    fn looks(&self) -> MutexGuard<'_, Looks> {
        self.looks.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[async_trait]
impl MetricSource for DockerMetrics {
    fn capabilities(&self) -> SourceCapabilities {
        SourceCapabilities::live()
    }

    /// One look at each container, however many questions.
    async fn read(&self, requests: &[ReadRequest]) -> Vec<Result<Reading, ReadError>> {
        let (mut found, mut asked) = (BTreeMap::new(), Vec::with_capacity(requests.len()));
        for request in requests {
            asked.push(self.understood(request, &mut found).await);
        }
        let mut needs: BTreeMap<String, Needs> = BTreeMap::new();
        for (question, names) in asked.iter().flatten() {
            for name in names {
                let all = needs.entry(name.clone()).or_default();
                *all = all.and(question.needs());
            }
        }
        let slots = Arc::new(Semaphore::new(AT_ONCE));
        let mut tasks = JoinSet::new();
        for (name, needs) in needs {
            let (source, slots) = (self.clone(), Arc::clone(&slots));
            tasks.spawn(async move {
                let _slot = slots.acquire().await;
                let looked = source.look(name.clone(), needs).await;
                (name, looked)
            });
        }
        let mut looked = BTreeMap::new();
        while let Some(done) = tasks.join_next().await {
            if let Ok((name, look)) = done {
                looked.insert(name, look);
            }
        }
        let readings = requests.iter().zip(asked);
        readings
            .map(|(request, asked)| self.answered(request, &asked?, &looked))
            .collect()
    }
}

fn now() -> Timestamp {
    let since = std::time::SystemTime::now()
        .duration_since(std::time::UNIX_EPOCH)
        .unwrap_or_default();
    Timestamp::from_millis(i64::try_from(since.as_millis()).unwrap_or(i64::MAX))
}
