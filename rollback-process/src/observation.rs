//! What a deployer sees: the state directory, and whether the processes that it names still run.

use rollback_core::model::{
    ArmObservation, ArmState, ChangeError, Etag, Instance, InstanceId, InstanceState, Observation,
    Pace, ReleaseId, Weight,
};

use crate::{
    state::{InstanceRecord, Phase, ServiceDir, WantedState},
    supervisor,
};

/// Crashes or failed starts in a row after which a release is said not to get there.
const CRASH_LOOP: u32 = 2;

/// One look at the state directory and at the processes that it names.
pub(crate) fn observe(dir: &ServiceDir) -> Result<Observation, ChangeError> {
    let state = dir.wanted()?;
    let (records, _) = dir.instances()?;
    let mut releases: Vec<&ReleaseId> = state.wanted.iter().map(|(release, _)| release).collect();
    releases.extend(records.iter().map(|record| &record.release));
    releases.sort();
    releases.dedup();

    let mut arms = Vec::new();
    for release in releases {
        let records = records.iter().filter(|record| record.release == *release);
        let records: Vec<&InstanceRecord> = records.collect();
        let instances: Result<Vec<Instance>, ChangeError> =
            records.iter().map(|record| instance(record)).collect();
        let instances = instances?;
        let arm = if state.wanted.runs(release) {
            let size = supervisor::definition(dir, release)?.map(|one| one.instances.into());
            arm_state(size, &records, &instances)
        } else {
            ArmState::Converging
        };
        arms.push((release, arm, instances));
    }
    let rolls = matches!(state.pace, Some(Pace::Rolling { .. }));
    let serves = |release: &ReleaseId| {
        let arm = arms.iter().find(|(one, ..)| *one == release);
        arm.is_some_and(|(.., instances)| instances.iter().any(is_ready))
    };
    let ready = |release: &ReleaseId| {
        let arm = arms.iter().find(|(one, ..)| *one == release);
        arm.map_or(0, |(.., instances)| {
            instances.iter().filter(|one| is_ready(one)).count()
        })
    };
    // While instances take each other's place, each ready one has its part.
    let all: usize = arms
        .iter()
        .filter(|(one, ..)| takes_part(&state, one))
        .map(|(one, ..)| ready(one))
        .sum();
    let part_of_old = |release: &ReleaseId| {
        let points = ready(release) * usize::from(Weight::ALL.basis_points()) / all.max(1);
        u16::try_from(points).unwrap_or(u16::MAX)
    };
    // The weights of what is wanted, as far as somebody is there to serve them.
    let weight = |release: &ReleaseId| match state.replaced_by.get(release) {
        _ if !serves(release) => Weight::NONE,
        _ if rolls && takes_part(&state, release) => {
            let points = if state.wanted.runs(release) {
                let olds = arms
                    .iter()
                    .filter(|(one, ..)| takes_part(&state, one) && !state.wanted.runs(one));
                let old: u16 = olds.map(|(one, ..)| part_of_old(one)).sum();
                Weight::ALL.basis_points().saturating_sub(old)
            } else {
                part_of_old(release)
            };
            Weight::from_basis_points(points).unwrap_or(Weight::ALL)
        }
        Some(new) if !state.wanted.runs(release) && !serves(new) => state.wanted.weight(new),
        _ => state.wanted.weight(release),
    };
    let arms: Vec<ArmObservation> = arms
        .iter()
        .map(|(release, arm, instances)| {
            let weight = weight(release);
            ArmObservation::new((*release).clone(), arm.clone(), weight, instances.clone())
        })
        .collect();
    let mut seen = Observation::new(state.wanted, arms);
    seen.etag = Some(etag(state.revision)?);
    seen.last_change = state.last_change;
    Ok(seen)
}

/// Whether a release takes another one's place, or leaves its place to another.
fn takes_part(state: &WantedState, release: &ReleaseId) -> bool {
    match state.replaced_by.get(release) {
        Some(_) => !state.wanted.runs(release),
        None => state.wanted.runs(release) && state.replaced_by.values().any(|new| new == release),
    }
}

/// How far a wanted release is.
fn arm_state(size: Option<usize>, records: &[&InstanceRecord], instances: &[Instance]) -> ArmState {
    let Some(size) = size else {
        let why = "its definition is lost; deploy the release again";
        return ArmState::Failing { why: why.into() };
    };
    let failing = records.iter().find_map(|record| match &record.phase {
        Phase::CannotStart { why } => Some(format!("cannot be started: {why}")),
        _ if record.failures >= CRASH_LOOP => {
            let how = record.last_exit.as_deref().unwrap_or("ended");
            Some(format!(
                "crashed {} times in a row, the last time with {how}",
                record.failures
            ))
        }
        _ => None,
    });
    match failing {
        Some(why) => ArmState::Failing { why: why.into() },
        None if instances.iter().filter(|one| is_ready(one)).count() >= size => ArmState::Ready,
        None => ArmState::Converging,
    }
}

fn is_ready(instance: &Instance) -> bool {
    instance.state == InstanceState::Ready
}

/// An instance as it is now: what its supervisor wrote, unless its process has gone since.
fn instance(record: &InstanceRecord) -> Result<Instance, ChangeError> {
    let exited = |how: &str| InstanceState::Exited { how: how.into() };
    let state = match &record.phase {
        Phase::Stopping => InstanceState::Stopping,
        Phase::Crashed { how } => exited(how),
        Phase::CannotStart { why } => exited(&format!("cannot be started: {why}")),
        Phase::Starting if record.process.is_none() => InstanceState::Starting,
        _ if !record.is_running() => exited("ended a moment ago"),
        Phase::Starting => InstanceState::Starting,
        Phase::Ready => InstanceState::Ready,
        Phase::Unhealthy { .. } => InstanceState::Unhealthy,
    };
    let id = InstanceId::new(&record.id).map_err(ChangeError::refused)?;
    let instance = Instance::new(id, record.started_at, state).restarted(record.restarts);
    Ok(match record.port {
        Some(port) => instance.at(format!("127.0.0.1:{port}")),
        None => instance,
    })
}

/// A revision as the platform's mark.
pub(crate) fn etag(revision: u64) -> Result<Etag, ChangeError> {
    Etag::new(revision.to_string()).map_err(ChangeError::refused)
}
