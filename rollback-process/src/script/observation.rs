//! What the deployer says of a service: from the script's own `status` where it has one, else from
//! what was asked and what came of it.

use rollback_core::model::{
    ArmObservation, ArmState, ChangeError, Etag, Instance, InstanceId, InstanceState, Observation,
    ReleaseId, Wanted,
};

use super::{
    contract::Meaning,
    release::ScriptRelease,
    state::{ArmProgress, ScriptDir, ScriptState},
    status::Status,
};

/// What the platform wants, by all that is known.
///
/// # Errors
/// A change is in doubt, and there is nobody to ask.
pub(crate) fn wanted(state: &ScriptState, status: Option<&Status>) -> Result<Wanted, ChangeError> {
    let end = state.change.as_ref().map(|begun| &begun.end);
    match (status, end) {
        // On its way, or stuck on it: the script's own picture is in between.
        (_, Some(None | Some(Meaning::Failed(_)))) => Ok(state.wanted.clone()),
        (Some(status), _) => Ok(status.wanted()),
        (None, _) => match state.doubt() {
            None => Ok(state.wanted.clone()),
            Some((begun, why)) => Err(ChangeError::not_sent(format!(
                "it is not known whether `{}` was done (change {}): {why}. Look at the platform, and say what is so with `ScriptDeployer::resolve`; or give the script a `status` verb",
                begun.verb.word(),
                begun.id
            ))),
        },
    }
}

/// The mark of this state.
pub(crate) fn etag(
    state: &ScriptState,
    status: Option<&Status>,
) -> Result<Option<Etag>, ChangeError> {
    match status {
        Some(status) => Ok(status.etag.clone()),
        None => Etag::new(state.revision.to_string())
            .map(Some)
            .map_err(ChangeError::refused),
    }
}

/// One look.
pub(crate) fn observe(
    dir: &ScriptDir,
    state: &ScriptState,
    status: Option<&Status>,
) -> Result<Observation, ChangeError> {
    let mut arms = match status {
        Some(status) => status.arms(|release| state.arms.get(release).map(|arm| arm.since))?,
        None => Vec::new(),
    };
    let under_way = state
        .change
        .as_ref()
        .is_some_and(|begun| begun.end.is_none());
    let known = state.wanted.iter().chain(state.serving.iter());
    for (release, _) in known {
        let seen = arms.iter().position(|arm| arm.release == *release);
        match (seen, state.arms.get(release).map(|arm| &arm.state)) {
            // The script's word stands, unless its last word was that it failed.
            (Some(at), Some(ArmProgress::Failed { why })) => {
                if let Some(arm) = arms.get_mut(at) {
                    arm.state = ArmState::Failing {
                        why: why.as_str().into(),
                    };
                }
            }
            (Some(at), Some(ArmProgress::Deploying)) if under_way => {
                if let Some(arm) = arms.get_mut(at) {
                    arm.state = ArmState::Converging;
                }
            }
            (Some(_), _) => {}
            (None, Some(ArmProgress::Deployed)) if status.is_some() => {}
            (None, Some(ArmProgress::Deploying)) if status.is_some() && !under_way => {}
            (None, _) => arms.push(arm(dir, state, release)?),
        }
    }
    arms.sort_by(|a, b| a.release.cmp(&b.release));
    let mut seen = Observation::new(wanted(state, status)?, arms);
    seen.etag = etag(state, status)?;
    seen.last_change = match status.and_then(|status| status.change.clone()) {
        Some(change) => Some(change),
        // What was refused left nothing; what is in doubt is not claimed.
        None => state
            .change
            .as_ref()
            .filter(|begun| matches!(begun.end, None | Some(Meaning::Done | Meaning::Failed(_))))
            .map(|begun| begun.id.clone()),
    };
    Ok(seen)
}

/// A release by what was done with it.
fn arm(
    dir: &ScriptDir,
    state: &ScriptState,
    release: &ReleaseId,
) -> Result<ArmObservation, ChangeError> {
    let record = state.arms.get(release);
    let leaving = !state.wanted.runs(release);
    let (arm, instance) = match record.map(|arm| &arm.state) {
        // On its way out.
        Some(ArmProgress::Deployed) if leaving => (ArmState::Converging, InstanceState::Ready),
        Some(ArmProgress::Deployed) => (ArmState::Ready, InstanceState::Ready),
        Some(ArmProgress::Deploying) => (ArmState::Converging, InstanceState::Starting),
        Some(ArmProgress::Failed { why }) => (
            ArmState::Failing {
                why: why.as_str().into(),
            },
            InstanceState::Unhealthy,
        ),
        None => (
            ArmState::Unknown {
                word: "never deployed by this deployer".into(),
            },
            InstanceState::Starting,
        ),
    };
    let id = InstanceId::new(release.as_str()).map_err(ChangeError::refused)?;
    let since = record.map(|arm| arm.since).unwrap_or_default();
    let instance = Instance::new(id, since, instance);
    let address = dir
        .definition(release)?
        .and_then(|kept| ScriptRelease::from_definition(&kept).ok())
        .and_then(|definition| definition.address);
    let instance = match address {
        Some(address) => instance.at(address),
        None => instance,
    };
    let weight = state.serving.weight(release);
    Ok(ArmObservation::new(
        release.clone(),
        arm,
        weight,
        [instance],
    ))
}
