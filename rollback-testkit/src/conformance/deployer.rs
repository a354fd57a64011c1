//! What a `Deployer` promises.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering},
    },
    time::Duration,
};

use async_trait::async_trait;
use rollback_core::{
    model::{
        Accepted, ArmState, Change, ChangeError, ChangeId, ChangeRequest, DeploymentId,
        Expectation, InstanceState, Observation, Pace, Placement, Release, ReleaseId, ServiceId,
        Share, Timestamp, Wanted, Weight,
    },
    ports::{Capabilities, Deployer},
};

use super::paces::{
    a_roll_that_gets_stuck_leaves_what_serves, rolling_keeps_its_bounds,
    stopping_first_never_serves_both,
};
use super::report::{CaseResult, Ran, Report, ensure};

/// A service that a case has for itself.
#[derive(Debug, Clone)]
pub struct Ground {
    /// The service.
    pub service: ServiceId,
    /// The release that runs when the case begins, with all traffic.
    pub stable: Release,
}

/// What kind of release a case needs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum ReleaseKind {
    /// Becomes ready and stays so.
    Good,
    /// Starts, and never becomes ready.
    NeverReady,
    /// Ends by itself soon after each start.
    Exits,
    /// Well-formed, and not there: never built, never pushed.
    Missing,
}

/// What the suite needs to know of the world behind the adapter.
#[async_trait]
pub trait DeployerHarness: Send + Sync {
    /// The adapter.
    fn deployer(&self) -> Arc<dyn Deployer>;

    /// Makes a service of that name (letters, digits and `-`) and has a good release of it
    /// running, ready, with all traffic.
    async fn begin(&self, name: &str) -> Ground;

    /// A release of the service, not running yet. Each call gives another one.
    async fn release(&self, ground: &Ground, kind: ReleaseKind) -> Release;

    /// Lets time pass: moves the manual clock, or sleeps.
    async fn pass(&self, time: Duration);

    /// The time of the platform.
    fn now(&self) -> Timestamp;

    /// How long a good release may take to be ready, and a bad one to show that it is bad.
    fn patience(&self) -> Duration;

    /// How long to let pass between two looks.
    fn pace(&self) -> Duration {
        Duration::from_millis(200)
    }

    /// Puts everything away that `begin` made.
    async fn end(&self, ground: Ground) {
        let _ = ground;
    }
}

/// Runs every case, one after the other, each with a service of its own.
pub async fn deployer(harness: &dyn DeployerHarness) -> Report {
    let mut report = Report::of("deployer");
    macro_rules! run {
        ($($case:ident),+ $(,)?) => {$(
            let stage = Stage::begin(harness, stringify!($case)).await;
            let result = $case(&stage).await;
            harness.end(stage.ground).await;
            report.add(stringify!($case), result);
        )+};
    }
    run!(
        what_runs_is_seen,
        a_look_changes_nothing,
        instances_are_named,
        an_unknown_service_is_not_an_empty_one,
        a_release_that_is_there_passes_the_check,
        a_missing_release_is_refused,
        converging_beside_leaves_the_traffic,
        converging_in_place_takes_the_traffic_over,
        rolling_keeps_its_bounds,
        a_roll_that_gets_stuck_leaves_what_serves,
        stopping_first_never_serves_both,
        a_stale_expectation_is_a_conflict,
        a_stale_mark_is_a_conflict,
        the_same_change_twice_is_not_doubled,
        a_change_leaves_its_tag,
        weights_add_up_and_show,
        shares_that_do_not_add_up_are_refused,
        traffic_to_what_does_not_run_is_refused,
        retiring_what_carries_traffic_is_refused,
        there_and_back_again,
        a_release_that_never_gets_ready_is_never_called_ready,
        a_release_that_exits_shows_it,
        a_platform_that_rolls_back_says_so,
        other_services_are_left_alone,
    );
    report
}

/// One case's view of the adapter.
pub(super) struct Stage<'a> {
    pub(super) harness: &'a dyn DeployerHarness,
    deployer: Arc<dyn Deployer>,
    pub(super) can: Capabilities,
    ground: Ground,
    deployment: DeploymentId,
    steps: AtomicU32,
}

impl<'a> Stage<'a> {
    async fn begin(harness: &'a dyn DeployerHarness, case: &str) -> Self {
        let deployer = harness.deployer();
        Self {
            harness,
            can: deployer.capabilities(),
            deployer,
            ground: harness.begin(&case.replace('_', "-")).await,
            deployment: conformance_deployment(),
            steps: AtomicU32::new(1),
        }
    }

    pub(super) fn stable(&self) -> &ReleaseId {
        &self.ground.stable.id
    }

    pub(super) async fn release(&self, kind: ReleaseKind) -> Release {
        self.harness.release(&self.ground, kind).await
    }

    pub(super) async fn look(&self) -> Result<Observation, String> {
        let look = self.deployer.observe(&self.ground.service).await;
        look.map_err(|error| format!("observe: {error}"))
    }

    /// Looks until what is seen is as it should be.
    pub(super) async fn until(
        &self,
        what: &str,
        holds: impl Fn(&Observation) -> bool,
    ) -> Result<Observation, String> {
        let deadline = self
            .harness
            .now()
            .after(self.harness.patience())
            .after(self.can.settle);
        loop {
            let seen = self.look().await?;
            if holds(&seen) {
                return Ok(seen);
            }
            if self.harness.now() >= deadline {
                return Err(format!("{what} was not seen in time; last look: {seen:?}"));
            }
            self.harness.pass(self.harness.pace()).await;
        }
    }

    /// Lets the platform settle, so that a look shows what was changed before.
    async fn settle(&self) {
        if !self.can.settle.is_zero() {
            self.harness.pass(self.can.settle).await;
        }
    }

    fn request(&self, change: Change, wanted: Wanted, release: Option<&Release>) -> ChangeRequest {
        let step = self.steps.fetch_add(1, Ordering::Relaxed);
        ChangeRequest::new(
            ChangeId {
                deployment: self.deployment.clone(),
                step,
                attempt: 1,
            },
            change,
            Expectation { wanted, etag: None },
            self.harness.now().after(Duration::from_secs(600)),
        )
        .with_definition(release.map(|release| release.definition.clone()))
    }

    async fn send(&self, request: &ChangeRequest) -> Result<Accepted, ChangeError> {
        self.deployer.apply(&self.ground.service, request).await
    }

    /// Sends a change that is decided for what is seen now.
    pub(super) async fn change(
        &self,
        change: Change,
        release: Option<&Release>,
    ) -> Result<ChangeRequest, String> {
        let seen = self.look().await?;
        let mut request = self.request(change, seen.wanted, release);
        request.expect.etag = seen.etag;
        match self.send(&request).await {
            Ok(_) => Ok(request),
            Err(error) => Err(format!("{}: {error}", request.change)),
        }
    }

    /// Starts a good release beside the stable one and waits until it is ready.
    async fn beside(&self) -> Result<Release, String> {
        let release = self.release(ReleaseKind::Good).await;
        self.change(converge(&release.id, Placement::Beside), Some(&release))
            .await?;
        let id = release.id.clone();
        self.until("the new release being ready", |seen| {
            seen.wanted.runs(&id) && seen.is_ready(&id)
        })
        .await?;
        Ok(release)
    }

    async fn shift(&self, shares: &[(&ReleaseId, Weight)]) -> Result<(), String> {
        self.change(weights(shares), None).await?;
        self.until("the new division of the traffic", |seen| {
            shares.iter().all(|(release, weight)| {
                seen.wanted.weight(release) == *weight && seen.weight(release) == *weight
            })
        })
        .await?;
        Ok(())
    }

    fn needs_two_arms(&self) -> Option<CaseResult> {
        (!self.can.two_arms).then(|| Ran::skipped("no two arms"))
    }
}

#[expect(clippy::expect_used, reason = "a constant that is an id")]
fn conformance_deployment() -> DeploymentId {
    DeploymentId::new("conformance").expect("printable, without spaces")
}

pub(super) fn converge(release: &ReleaseId, placement: Placement) -> Change {
    Change::Converge {
        release: release.clone(),
        placement,
    }
}

fn weights(shares: &[(&ReleaseId, Weight)]) -> Change {
    Change::Weights {
        shares: shares
            .iter()
            .map(|(release, weight)| Share {
                release: (*release).clone(),
                weight: *weight,
            })
            .collect(),
    }
}

fn part(points: u16) -> Result<Weight, String> {
    Weight::from_basis_points(points).map_err(|error| error.to_string())
}

async fn what_runs_is_seen(stage: &Stage<'_>) -> CaseResult {
    let seen = stage
        .until("the first release being ready", |seen| {
            seen.is_ready(stage.stable())
        })
        .await?;
    ensure!(
        seen.wanted == Wanted::only(stage.stable().clone()),
        "wanted is {}, not {} alone",
        seen.wanted,
        stage.stable()
    );
    ensure!(
        seen.weight(stage.stable()) == Weight::ALL,
        "the only release carries {}",
        seen.weight(stage.stable())
    );
    ensure!(
        seen.platform_rollback.is_none(),
        "a rollback of the platform's own is seen where none was"
    );
    Ok(Ran::Passed)
}

async fn a_look_changes_nothing(stage: &Stage<'_>) -> CaseResult {
    let first = stage.look().await?;
    let second = stage.look().await?;
    ensure!(first.etag == second.etag, "the mark moved by looking");
    ensure!(
        first.wanted == second.wanted && first.last_change == second.last_change,
        "what is wanted moved by looking"
    );
    ensure!(
        first.etag.is_some() || !stage.can.compare_and_set,
        "compare-and-set is claimed, and an observation has no mark"
    );
    Ok(Ran::Passed)
}

async fn instances_are_named(stage: &Stage<'_>) -> CaseResult {
    let other = if stage.can.two_arms {
        Some(stage.beside().await?)
    } else {
        None
    };
    let seen = stage.look().await?;
    let mut ids = Vec::new();
    for release in [Some(stage.stable()), other.as_ref().map(|r| &r.id)] {
        let Some(release) = release else { continue };
        let arm = seen.arm(release).ok_or("a running release is not seen")?;
        ensure!(!arm.instances.is_empty(), "{release} has no instance");
        for instance in arm.instances.iter() {
            ensure!(
                instance.state == InstanceState::Ready,
                "{} of a ready arm is {:?}",
                instance.id,
                instance.state
            );
            let clocks_differ = Duration::from_secs(60);
            ensure!(
                instance.since <= stage.harness.now().after(clocks_differ),
                "{} was started in the future",
                instance.id
            );
            ids.push(instance.id.clone());
        }
    }
    let count = ids.len();
    ids.sort();
    ids.dedup();
    ensure!(ids.len() == count, "an instance is named twice: {ids:?}");
    Ok(Ran::Passed)
}

async fn an_unknown_service_is_not_an_empty_one(stage: &Stage<'_>) -> CaseResult {
    let name = format!("{}-nobody", stage.ground.service);
    let nobody = ServiceId::new(name).map_err(|error| error.to_string())?;
    match stage.deployer.observe(&nobody).await {
        Err(_) => Ok(Ran::Passed),
        Ok(seen) if seen.wanted.is_empty() && seen.arms.is_empty() => Ok(Ran::Passed),
        Ok(seen) => Err(format!("a service that is not there was seen: {seen:?}")),
    }
}

async fn a_release_that_is_there_passes_the_check(stage: &Stage<'_>) -> CaseResult {
    let good = stage.release(ReleaseKind::Good).await;
    for release in [&stage.ground.stable, &good] {
        let checked = stage.deployer.check(&stage.ground.service, release).await;
        ensure!(
            checked.is_ok(),
            "{} could be run, and the check says: {checked:?}",
            release.id
        );
    }
    Ok(Ran::Passed)
}

async fn a_missing_release_is_refused(stage: &Stage<'_>) -> CaseResult {
    let missing = stage.release(ReleaseKind::Missing).await;
    let checked = stage.deployer.check(&stage.ground.service, &missing).await;
    ensure!(
        matches!(checked, Err(ChangeError::Refused { .. })),
        "the check of a release that is not there says {checked:?}, not refused"
    );
    Ok(Ran::Passed)
}

async fn converging_beside_leaves_the_traffic(stage: &Stage<'_>) -> CaseResult {
    if let Some(skipped) = stage.needs_two_arms() {
        return skipped;
    }
    let release = stage.beside().await?;
    let seen = stage.look().await?;
    ensure!(
        seen.weight(stage.stable()) == Weight::ALL && seen.is_ready(stage.stable()),
        "the stable release carries {} after another was started beside it",
        seen.weight(stage.stable())
    );
    ensure!(
        seen.weight(&release.id) == Weight::NONE,
        "the new release carries {} unasked",
        seen.weight(&release.id)
    );
    let expected = Wanted::only(stage.stable().clone()).with(release.id.clone(), Weight::NONE);
    ensure!(
        seen.wanted == expected,
        "wanted is {}, not {expected}",
        seen.wanted
    );
    Ok(Ran::Passed)
}

async fn converging_in_place_takes_the_traffic_over(stage: &Stage<'_>) -> CaseResult {
    let release = stage.release(ReleaseKind::Good).await;
    let seen = stage.look().await?;
    let mut request = stage.request(
        converge(&release.id, Placement::InPlace(Pace::AtOnce)),
        seen.wanted,
        Some(&release),
    );
    request.expect.etag = seen.etag;
    match stage.send(&request).await {
        Err(ChangeError::Unsupported { .. }) => {
            return Ran::skipped("replaces nothing in place");
        }
        Err(error) => return Err(error.to_string()),
        Ok(_) => {}
    }
    stage
        .until("the new release alone, with all traffic", |seen| {
            seen.wanted == Wanted::only(release.id.clone())
                && seen.is_ready(&release.id)
                && seen.weight(&release.id) == Weight::ALL
        })
        .await?;
    Ok(Ran::Passed)
}

async fn a_stale_expectation_is_a_conflict(stage: &Stage<'_>) -> CaseResult {
    let release = stage.release(ReleaseKind::Good).await;
    let before = stage.look().await?;
    let elsewhere = ReleaseId::new("was-here-before").map_err(|error| error.to_string())?;
    let request = stage.request(
        converge(&release.id, Placement::Beside),
        Wanted::only(elsewhere),
        Some(&release),
    );
    let answer = stage.send(&request).await;
    ensure!(
        matches!(answer, Err(ChangeError::Conflict { .. })),
        "a change decided for another state was answered {answer:?}"
    );
    stage.settle().await;
    let after = stage.look().await?;
    ensure!(
        after.wanted == before.wanted && after.etag == before.etag,
        "a refused change left its mark: {} became {}",
        before.wanted,
        after.wanted
    );
    Ok(Ran::Passed)
}

async fn a_stale_mark_is_a_conflict(stage: &Stage<'_>) -> CaseResult {
    if !stage.can.compare_and_set {
        return Ran::skipped("no compare-and-set");
    }
    if let Some(skipped) = stage.needs_two_arms() {
        return skipped;
    }
    let before = stage.look().await?;
    // There and back: wanted is the same again, the mark is not.
    let release = stage.beside().await?;
    stage
        .change(
            Change::Retire {
                release: release.id.clone(),
            },
            None,
        )
        .await?;
    let again = stage
        .until("the old state", |seen| seen.wanted == before.wanted)
        .await?;
    ensure!(again.etag != before.etag, "two changes left the same mark");
    let mut request = stage.request(
        converge(&release.id, Placement::Beside),
        before.wanted.clone(),
        Some(&release),
    );
    request.expect.etag = before.etag;
    let answer = stage.send(&request).await;
    ensure!(
        matches!(answer, Err(ChangeError::Conflict { .. })),
        "a change with an old mark was answered {answer:?}"
    );
    ensure!(
        stage.look().await?.wanted == before.wanted,
        "a refused change changed what is wanted"
    );
    Ok(Ran::Passed)
}

async fn the_same_change_twice_is_not_doubled(stage: &Stage<'_>) -> CaseResult {
    if let Some(skipped) = stage.needs_two_arms() {
        return skipped;
    }
    let release = stage.release(ReleaseKind::Good).await;
    let request = stage
        .change(converge(&release.id, Placement::Beside), Some(&release))
        .await?;
    let id = release.id.clone();
    let once = stage
        .until("the new release being ready", |seen| seen.is_ready(&id))
        .await?;
    match stage.send(&request).await {
        Ok(_) | Err(ChangeError::Conflict { .. }) => {}
        Err(error) => return Err(format!("the same change again was answered: {error}")),
    }
    stage.settle().await;
    let twice = stage.look().await?;
    let instances = |seen: &Observation| -> Vec<_> {
        let arm = seen.arm(&id);
        arm.map(|arm| arm.instances.iter().map(|i| i.id.clone()).collect())
            .unwrap_or_default()
    };
    ensure!(
        once.wanted == twice.wanted && instances(&once) == instances(&twice),
        "the same change twice: {:?} became {:?}",
        instances(&once),
        instances(&twice)
    );
    Ok(Ran::Passed)
}

async fn a_change_leaves_its_tag(stage: &Stage<'_>) -> CaseResult {
    if !stage.can.tags_changes {
        return Ran::skipped("no tags");
    }
    let release = stage.release(ReleaseKind::Good).await;
    let placement = if stage.can.two_arms {
        Placement::Beside
    } else {
        Placement::InPlace(Pace::AtOnce)
    };
    let request = stage
        .change(converge(&release.id, placement), Some(&release))
        .await?;
    stage
        .until("the tag of the change", |seen| {
            seen.last_change.as_ref() == Some(&request.id)
        })
        .await?;
    Ok(Ran::Passed)
}

async fn weights_add_up_and_show(stage: &Stage<'_>) -> CaseResult {
    if !(stage.can.weights && stage.can.two_arms) {
        return Ran::skipped("no weights");
    }
    let release = stage.beside().await?;
    for points in [1_000, 5_000, 10_000, 0] {
        let weight = part(points)?;
        stage
            .shift(&[(stage.stable(), weight.rest()), (&release.id, weight)])
            .await?;
        let seen = stage.look().await?;
        let sum: u32 = seen
            .arms
            .iter()
            .map(|arm| u32::from(arm.weight.basis_points()))
            .sum();
        ensure!(sum == 10_000, "the weights seen add up to {sum} of 10000");
    }
    Ok(Ran::Passed)
}

async fn refused_without_effect(stage: &Stage<'_>, change: Change, what: &str) -> CaseResult {
    let before = stage.look().await?;
    let mut request = stage.request(change, before.wanted.clone(), None);
    request.expect.etag.clone_from(&before.etag);
    let answer = stage.send(&request).await;
    ensure!(
        matches!(answer, Err(ChangeError::Refused { .. })),
        "{what} was answered {answer:?}, not refused"
    );
    stage.settle().await;
    let after = stage.look().await?;
    ensure!(
        after.wanted == before.wanted,
        "{what} was refused, and {} became {}",
        before.wanted,
        after.wanted
    );
    Ok(Ran::Passed)
}

async fn shares_that_do_not_add_up_are_refused(stage: &Stage<'_>) -> CaseResult {
    if !(stage.can.weights && stage.can.two_arms) {
        return Ran::skipped("no weights");
    }
    let release = stage.beside().await?;
    let change = weights(&[(stage.stable(), part(4_000)?), (&release.id, part(4_000)?)]);
    refused_without_effect(stage, change, "a division into 80 %").await
}

async fn traffic_to_what_does_not_run_is_refused(stage: &Stage<'_>) -> CaseResult {
    if !stage.can.weights {
        return Ran::skipped("no weights");
    }
    let release = stage.release(ReleaseKind::Good).await;
    let change = weights(&[(&release.id, Weight::ALL)]);
    refused_without_effect(stage, change, "all traffic to nothing").await
}

async fn retiring_what_carries_traffic_is_refused(stage: &Stage<'_>) -> CaseResult {
    let change = Change::Retire {
        release: stage.stable().clone(),
    };
    refused_without_effect(stage, change, "retiring the serving release").await
}

async fn there_and_back_again(stage: &Stage<'_>) -> CaseResult {
    if !(stage.can.weights && stage.can.two_arms) {
        return Ran::skipped("no weights");
    }
    let release = stage.beside().await?;
    stage
        .shift(&[(stage.stable(), Weight::NONE), (&release.id, Weight::ALL)])
        .await?;
    stage
        .shift(&[(stage.stable(), Weight::ALL), (&release.id, Weight::NONE)])
        .await?;
    let change = Change::Retire {
        release: release.id.clone(),
    };
    stage.change(change, None).await?;
    let seen = stage
        .until("the retired release gone", |seen| {
            seen.arm(&release.id)
                .is_none_or(|arm| arm.state == ArmState::Gone || arm.instances.is_empty())
        })
        .await?;
    ensure!(
        seen.wanted == Wanted::only(stage.stable().clone())
            && seen.weight(stage.stable()) == Weight::ALL
            && seen.is_ready(stage.stable()),
        "after there and back again it is {:?}",
        seen
    );
    Ok(Ran::Passed)
}

async fn start_bad(stage: &Stage<'_>, kind: ReleaseKind) -> Result<Release, String> {
    let release = stage.release(kind).await;
    let placement = if stage.can.two_arms {
        Placement::Beside
    } else {
        Placement::InPlace(Pace::AtOnce)
    };
    stage
        .change(converge(&release.id, placement), Some(&release))
        .await?;
    Ok(release)
}

async fn a_release_that_never_gets_ready_is_never_called_ready(stage: &Stage<'_>) -> CaseResult {
    let release = start_bad(stage, ReleaseKind::NeverReady).await?;
    let deadline = stage.harness.now().after(stage.harness.patience());
    while stage.harness.now() < deadline {
        let seen = stage.look().await?;
        ensure!(
            !seen.is_ready(&release.id),
            "{} never answers, and is called ready",
            release.id
        );
        if stage.can.two_arms {
            ensure!(
                seen.weight(stage.stable()) == Weight::ALL,
                "a release beside took traffic without being asked"
            );
        }
        stage.harness.pass(stage.harness.pace()).await;
    }
    Ok(Ran::Passed)
}

async fn a_release_that_exits_shows_it(stage: &Stage<'_>) -> CaseResult {
    let release = start_bad(stage, ReleaseKind::Exits).await?;
    stage
        .until("an instance that exited or was started again", |seen| {
            let rolled_back = seen
                .platform_rollback
                .as_ref()
                .is_some_and(|rollback| rollback.from == release.id);
            rolled_back
                || seen.arm(&release.id).is_some_and(|arm| {
                    matches!(arm.state, ArmState::Failing { .. })
                        || arm.instances.iter().any(|instance| {
                            instance.restarts > 0
                                || matches!(instance.state, InstanceState::Exited { .. })
                        })
                })
        })
        .await?;
    Ok(Ran::Passed)
}

async fn a_platform_that_rolls_back_says_so(stage: &Stage<'_>) -> CaseResult {
    if !stage.can.rolls_back_itself {
        return Ran::skipped("does not roll back by itself");
    }
    let release = start_bad(stage, ReleaseKind::NeverReady).await?;
    let seen = stage
        .until("the platform's own rollback", |seen| {
            seen.platform_rollback.is_some() && !seen.wanted.runs(&release.id)
        })
        .await?;
    let rollback = seen.platform_rollback.ok_or("no rollback")?;
    ensure!(
        rollback.from == release.id && rollback.to == *stage.stable(),
        "the platform went from {} to {}, and says from {} to {}",
        release.id,
        stage.stable(),
        rollback.from,
        rollback.to
    );
    Ok(Ran::Passed)
}

async fn other_services_are_left_alone(stage: &Stage<'_>) -> CaseResult {
    let other = stage.harness.begin("bystander").await;
    let picture = |seen: &Observation| {
        let instances: Vec<_> = seen
            .arms
            .iter()
            .flat_map(|arm| arm.instances.iter().map(|i| (i.id.clone(), i.since)))
            .collect();
        (seen.wanted.clone(), seen.etag.clone(), instances)
    };
    let look = || async {
        let look = stage.deployer.observe(&other.service).await;
        look.map_err(|error| format!("observe: {error}"))
    };
    let before = picture(&look().await?);
    let worked: CaseResult = async {
        if stage.can.two_arms {
            let release = stage.beside().await?;
            if stage.can.weights {
                stage
                    .shift(&[(stage.stable(), Weight::NONE), (&release.id, Weight::ALL)])
                    .await?;
                let change = Change::Retire {
                    release: stage.stable().clone(),
                };
                stage.change(change, None).await?;
            }
        } else {
            start_bad(stage, ReleaseKind::Good).await?;
        }
        stage.settle().await;
        let after = picture(&look().await?);
        ensure!(
            before == after,
            "a service that was not named changed: {before:?} became {after:?}"
        );
        Ok(Ran::Passed)
    }
    .await;
    stage.harness.end(other).await;
    worked
}
