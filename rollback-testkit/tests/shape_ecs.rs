//! A sketch of an ECS adapter against a small fake of the ECS API: proof that the traits fit a
//! platform that shows changes late, takes no client token, has no compare-and-set, and may roll
//! back by itself (circuit breaker).
//!
//! What it showed: without compare-and-set the fence is a look just before the call, and whoever
//! calls in between is only noticed by the next look; that is why `wanted` is part of every
//! observation and why a change in doubt is resolved by looking, not by asking again.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test")]

use std::{
    collections::BTreeMap,
    sync::{
        Arc, Mutex,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use async_trait::async_trait;
use rollback_core::{
    model::{
        Accepted, ArmObservation, ArmState, Change, ChangeError, ChangeRequest, Definition,
        Instance, InstanceId, InstanceState, Observation, Pace, Placement, PlatformRollback,
        PlatformRollbackState, Release, ReleaseId, ServiceId, Timestamp, Wanted, Weight,
    },
    ports::{Capabilities, Deployer},
};
use rollback_testkit::{
    ManualClock,
    conformance::{self, DeployerHarness, Ground, ReleaseKind},
};

// The part of the ECS API that the adapter calls.

#[derive(Debug, Clone, PartialEq)]
struct DescribedService {
    task_definition: String,
    deployments: Vec<Deployment>,
}

#[derive(Debug, Clone, PartialEq)]
struct Deployment {
    task_definition: String,
    /// `PRIMARY`, `ACTIVE`.
    status: &'static str,
    /// `IN_PROGRESS`, `COMPLETED`, `FAILED`.
    rollout_state: &'static str,
}

#[derive(Debug, Clone, PartialEq)]
struct ServiceDeployment {
    arn: String,
    target: String,
    /// `IN_PROGRESS`, `SUCCESSFUL`, `STOPPED`, `ROLLBACK_IN_PROGRESS`, `ROLLBACK_SUCCESSFUL`, …
    status: &'static str,
    rollback_to: Option<String>,
    reason: String,
}

#[derive(Debug, Clone, PartialEq)]
struct EcsTask {
    arn: String,
    task_definition: String,
    started: Timestamp,
    last_status: &'static str,
    healthy: bool,
}

#[derive(Debug)]
enum EcsError {
    ServiceNotFound,
    ClientException(&'static str),
    Throttled { retry_after_ms: u64 },
    DispatchFailed,
    TimedOut,
}

#[async_trait]
trait EcsApi: std::fmt::Debug + Send + Sync + 'static {
    async fn describe_services(&self, service: &str) -> Result<DescribedService, EcsError>;
    async fn list_service_deployments(
        &self,
        service: &str,
    ) -> Result<Vec<ServiceDeployment>, EcsError>;
    async fn describe_tasks(&self, service: &str) -> Result<Vec<EcsTask>, EcsError>;
    async fn describe_task_definition(&self, arn: &str) -> Result<(), EcsError>;
    async fn update_service(&self, service: &str, task_definition: &str) -> Result<(), EcsError>;
    async fn stop_service_deployment(&self, arn: &str, stop_type: &str) -> Result<(), EcsError>;
}

// The adapter. A release is a task definition revision: its ARN is the id.

#[derive(Debug)]
struct EcsDeployer<A> {
    api: Arc<A>,
}

impl From<EcsError> for ChangeError {
    fn from(error: EcsError) -> Self {
        match error {
            EcsError::ServiceNotFound => Self::refused("no such ECS service in this cluster"),
            EcsError::ClientException(why) => Self::refused(why),
            EcsError::Throttled { retry_after_ms } => Self::NotSent {
                why: "throttled".to_owned(),
                retry_after_ms: Some(retry_after_ms),
            },
            EcsError::DispatchFailed => Self::not_sent("the connection could not be made"),
            EcsError::TimedOut => Self::maybe_sent("no answer in time"),
        }
    }
}

fn release(arn: &str) -> Result<ReleaseId, ChangeError> {
    ReleaseId::new(arn).map_err(ChangeError::refused)
}

#[async_trait]
impl<A: EcsApi> Deployer for EcsDeployer<A> {
    fn capabilities(&self) -> Capabilities {
        Capabilities::least(SETTLE)
            .driving_its_rollout()
            .rolling_back_itself()
    }

    async fn observe(&self, service: &ServiceId) -> Result<Observation, ChangeError> {
        let described = self.api.describe_services(service.as_str()).await?;
        let tasks = self.api.describe_tasks(service.as_str()).await?;
        let history = self.api.list_service_deployments(service.as_str()).await?;

        let primary_done = described
            .deployments
            .iter()
            .any(|d| d.status == "PRIMARY" && d.rollout_state == "COMPLETED");
        let mut arms = Vec::new();
        for deployment in &described.deployments {
            let instances: Vec<_> = tasks
                .iter()
                .filter(|task| task.task_definition == deployment.task_definition)
                .filter_map(|task| {
                    let state = match (task.last_status, task.healthy) {
                        ("RUNNING", true) => InstanceState::Ready,
                        ("RUNNING", false) => InstanceState::Unhealthy,
                        ("STOPPED", _) => InstanceState::Exited {
                            how: Arc::from("essential container exited"),
                        },
                        ("DEACTIVATING" | "STOPPING" | "DEPROVISIONING", _) => {
                            InstanceState::Stopping
                        }
                        _ => InstanceState::Starting,
                    };
                    let id = InstanceId::new(&task.arn).ok()?;
                    Some(Instance::new(id, task.started, state))
                })
                .collect();
            let state = match deployment.rollout_state {
                "COMPLETED" => ArmState::Ready,
                "IN_PROGRESS" => ArmState::Converging,
                "FAILED" => ArmState::Failing {
                    why: Arc::from("the circuit breaker opened"),
                },
                word => ArmState::Unknown {
                    word: Arc::from(word),
                },
            };
            let serves = (deployment.status == "PRIMARY") == primary_done;
            arms.push(ArmObservation::new(
                release(&deployment.task_definition)?,
                state,
                if serves { Weight::ALL } else { Weight::NONE },
                instances,
            ));
        }
        let wanted = release(&described.task_definition)?;
        let mut seen = Observation::new(Wanted::only(wanted), arms);
        if let Some(last) = history.first() {
            let state = match last.status {
                "ROLLBACK_REQUESTED" | "ROLLBACK_IN_PROGRESS" => {
                    Some(PlatformRollbackState::Started)
                }
                "ROLLBACK_SUCCESSFUL" => Some(PlatformRollbackState::Completed),
                "ROLLBACK_FAILED" => Some(PlatformRollbackState::Paused),
                _ => None,
            };
            if let (Some(state), Some(to)) = (state, &last.rollback_to) {
                let (from, to) = (release(&last.target)?, release(to)?);
                seen.platform_rollback = Some(PlatformRollback::new(from, to, state, &last.reason));
            }
        }
        Ok(seen)
    }

    async fn apply(
        &self,
        service: &ServiceId,
        request: &ChangeRequest,
    ) -> Result<Accepted, ChangeError> {
        let seen = match self.observe(service).await {
            Ok(seen) => seen,
            // A look that was lost has sent nothing.
            Err(ChangeError::MaybeSent { why }) => return Err(ChangeError::not_sent(why)),
            Err(error) => return Err(error),
        };
        if seen.wanted != request.expect.wanted {
            return Err(ChangeError::Conflict {
                now: Some(Box::new(seen)),
            });
        }
        match &request.change {
            Change::Converge {
                release,
                placement: Placement::InPlace(Pace::AtOnce),
            } => {
                let update = self.api.update_service(service.as_str(), release.as_str());
                update.await?;
            }
            Change::CancelPlatformRollout => {
                let history = self.api.list_service_deployments(service.as_str()).await?;
                let running = history.iter().find(|d| d.status == "IN_PROGRESS");
                if let Some(running) = running {
                    self.api
                        .stop_service_deployment(&running.arn, "ABORT")
                        .await?;
                }
            }
            Change::Retire { release } if seen.wanted.runs(release) => {
                return Err(ChangeError::refused("it serves"));
            }
            Change::Retire { .. } => {}
            _ => {
                return Err(ChangeError::unsupported(
                    "one ECS service has one arm; give it a traffic shifter",
                ));
            }
        }
        Ok(Accepted::default())
    }

    async fn check(&self, _: &ServiceId, release: &Release) -> Result<(), ChangeError> {
        let checked = self.api.describe_task_definition(release.id.as_str()).await;
        Ok(checked?)
    }
}

// A fake ECS: what is described lags behind; `good` revisions run, others do not.

const SETTLE: Duration = Duration::from_secs(5);
const TAKES: Duration = Duration::from_secs(2);
const BREAKER: Duration = Duration::from_secs(12);

type Failure = fn() -> EcsError;

#[derive(Debug, Clone, Default)]
struct FakeEcs {
    clock: ManualClock,
    services: Arc<Mutex<BTreeMap<String, FakeService>>>,
    failing: Arc<Mutex<Option<Failure>>>,
}

/// Each update with its time and why; what is described is the last one that has settled.
#[derive(Debug, Clone)]
struct FakeService {
    updates: Vec<(Timestamp, String, Option<String>)>,
    stopped: bool,
}

#[derive(Debug, Clone)]
struct Picture {
    current: (Timestamp, String),
    before: Option<String>,
    rolled_back_from: Option<String>,
}

impl FakeEcs {
    fn picture(&self, name: &str) -> Result<(Picture, Timestamp), EcsError> {
        if let Some(error) = *self.failing.lock().unwrap() {
            return Err(error());
        }
        let now = self.clock.now();
        let mut services = self.services.lock().unwrap();
        let service = services.get_mut(name).ok_or(EcsError::ServiceNotFound)?;
        let (at, arn, _) = service.updates.last().unwrap().clone();
        let bad = !arn.contains("good");
        if bad && !service.stopped && now.since(at) >= BREAKER && service.updates.len() > 1 {
            let (_, to, _) = service.updates[service.updates.len() - 2].clone();
            service.updates.push((at.after(BREAKER), to, Some(arn)));
        }
        let seen: Vec<_> = service
            .updates
            .iter()
            .filter(|(at, _, _)| *at <= now.before(SETTLE))
            .collect();
        let (at, arn, from) = (*seen.last().ok_or(EcsError::ServiceNotFound)?).clone();
        let before = seen.len().checked_sub(2).map(|i| seen[i].1.clone());
        let picture = Picture {
            current: (at, arn),
            before,
            rolled_back_from: from,
        };
        Ok((picture, now))
    }
}

fn comes_up(arn: &str, since: Timestamp, now: Timestamp) -> bool {
    arn.contains("good") && now.since(since) >= TAKES
}

#[async_trait]
impl EcsApi for FakeEcs {
    async fn describe_services(&self, service: &str) -> Result<DescribedService, EcsError> {
        let (picture, now) = self.picture(service)?;
        let (at, arn) = picture.current;
        let up = comes_up(&arn, at, now);
        let mut deployments = vec![Deployment {
            task_definition: arn.clone(),
            status: "PRIMARY",
            rollout_state: if up { "COMPLETED" } else { "IN_PROGRESS" },
        }];
        deployments.extend(picture.before.filter(|_| !up).map(|before| Deployment {
            task_definition: before,
            status: "ACTIVE",
            rollout_state: "COMPLETED",
        }));
        Ok(DescribedService {
            task_definition: arn,
            deployments,
        })
    }
    async fn list_service_deployments(
        &self,
        service: &str,
    ) -> Result<Vec<ServiceDeployment>, EcsError> {
        let (picture, now) = self.picture(service)?;
        let (at, arn) = picture.current;
        let up = comes_up(&arn, at, now);
        let deployment = match picture.rolled_back_from {
            Some(from) => ServiceDeployment {
                arn: format!("deployment-of-{from}"),
                target: from,
                status: if up {
                    "ROLLBACK_SUCCESSFUL"
                } else {
                    "ROLLBACK_IN_PROGRESS"
                },
                rollback_to: Some(arn),
                reason: "Service deployment rolled back because of a circuit breaker".to_owned(),
            },
            None => ServiceDeployment {
                arn: format!("deployment-of-{arn}"),
                target: arn,
                status: if up { "SUCCESSFUL" } else { "IN_PROGRESS" },
                rollback_to: None,
                reason: String::new(),
            },
        };
        Ok(vec![deployment])
    }
    async fn describe_tasks(&self, service: &str) -> Result<Vec<EcsTask>, EcsError> {
        let (picture, now) = self.picture(service)?;
        let (at, arn) = picture.current;
        let status = match comes_up(&arn, at, now) {
            true => "RUNNING",
            false if arn.contains("exit") && now.since(at) >= TAKES => "STOPPED",
            false => "PENDING",
        };
        let mut tasks = vec![EcsTask {
            arn: format!("task-of-{arn}-{}", at.as_millis()),
            task_definition: arn,
            started: at,
            last_status: status,
            healthy: true,
        }];
        tasks.extend(picture.before.map(|before| EcsTask {
            arn: format!("task-of-{before}-before-{}", at.as_millis()),
            task_definition: before,
            started: at,
            last_status: "RUNNING",
            healthy: true,
        }));
        Ok(tasks)
    }
    async fn describe_task_definition(&self, arn: &str) -> Result<(), EcsError> {
        match arn.contains("missing") {
            true => Err(EcsError::ClientException(
                "Unable to describe task definition.",
            )),
            false => Ok(()),
        }
    }
    async fn update_service(&self, service: &str, task_definition: &str) -> Result<(), EcsError> {
        let now = self.clock.now();
        let mut services = self.services.lock().unwrap();
        let service = services.get_mut(service).ok_or(EcsError::ServiceNotFound)?;
        service
            .updates
            .push((now, task_definition.to_owned(), None));
        Ok(())
    }
    async fn stop_service_deployment(&self, arn: &str, stop_type: &str) -> Result<(), EcsError> {
        if stop_type != "ABORT" {
            return Err(EcsError::ClientException("InvalidParameterException"));
        }
        for service in self.services.lock().unwrap().values_mut() {
            let last = &service.updates.last().unwrap().1;
            service.stopped |= arn == format!("deployment-of-{last}");
        }
        Ok(())
    }
}

fn revision(kind: &str) -> Release {
    static NEXT: AtomicU64 = AtomicU64::new(1);
    let number = NEXT.fetch_add(1, Ordering::Relaxed);
    let arn = format!("arn:aws:ecs:eu-central-1:1:task-definition/{kind}:{number}");
    let id = ReleaseId::new(arn).unwrap();
    Release::new(id, format!("{kind}:{number}"), Definition::default())
}

#[async_trait]
impl DeployerHarness for FakeEcs {
    fn deployer(&self) -> Arc<dyn Deployer> {
        Arc::new(EcsDeployer {
            api: Arc::new(self.clone()),
        })
    }
    async fn begin(&self, name: &str) -> Ground {
        let stable = revision("good");
        let service = FakeService {
            updates: vec![(self.clock.now(), stable.id.to_string(), None)],
            stopped: false,
        };
        self.services
            .lock()
            .unwrap()
            .insert(name.to_owned(), service);
        self.clock.advance(SETTLE);
        Ground {
            service: ServiceId::new(name).unwrap(),
            stable,
        }
    }
    async fn release(&self, _: &Ground, kind: ReleaseKind) -> Release {
        revision(match kind {
            ReleaseKind::Good => "good",
            ReleaseKind::Exits => "exit",
            ReleaseKind::Missing => "missing",
            _ => "stuck",
        })
    }
    async fn pass(&self, time: Duration) {
        self.clock.advance(time);
    }
    fn now(&self) -> Timestamp {
        self.clock.now()
    }
    fn patience(&self) -> Duration {
        Duration::from_secs(40)
    }
}

#[tokio::test]
async fn an_ecs_adapter_fits_the_traits_and_keeps_their_promises() {
    let report = conformance::deployer(&FakeEcs::default()).await;
    report.assert_passed();
    assert!(report.passed() >= 11, "{report}");
}

#[tokio::test]
async fn not_sent_and_maybe_sent_are_kept_apart() {
    let ecs = FakeEcs::default();
    let ground = ecs.begin("checkout").await;
    let deployer = ecs.deployer();
    let look = async |error: Failure| {
        *ecs.failing.lock().unwrap() = Some(error);
        deployer.observe(&ground.service).await.unwrap_err()
    };
    let throttled = look(|| EcsError::Throttled { retry_after_ms: 7 }).await;
    assert!(matches!(
        throttled,
        ChangeError::NotSent {
            retry_after_ms: Some(7),
            ..
        }
    ));
    let refused = look(|| EcsError::DispatchFailed).await;
    assert!(matches!(refused, ChangeError::NotSent { .. }));
    let lost = look(|| EcsError::TimedOut).await;
    assert!(matches!(lost, ChangeError::MaybeSent { .. }));
}

#[tokio::test]
async fn the_platforms_own_rollout_is_stopped() {
    let ecs = FakeEcs::default();
    let ground = ecs.begin("checkout").await;
    let stuck = ecs.release(&ground, ReleaseKind::NeverReady).await;
    ecs.update_service("checkout", stuck.id.as_str())
        .await
        .unwrap();
    ecs.clock.advance(SETTLE);
    let deployer = ecs.deployer();
    let seen = deployer.observe(&ground.service).await.unwrap();
    let request = ChangeRequest::new(
        rollback_core::model::ChangeId::try_from("d1.s1.a1".to_owned()).unwrap(),
        Change::CancelPlatformRollout,
        rollback_core::model::Expectation {
            wanted: seen.wanted,
            etag: None,
        },
        ecs.clock.now(),
    );
    deployer.apply(&ground.service, &request).await.unwrap();
    ecs.clock.advance(BREAKER + SETTLE);
    let seen = deployer.observe(&ground.service).await.unwrap();
    assert!(seen.platform_rollback.is_none(), "{seen:?}");
}
