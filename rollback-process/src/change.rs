//! How a change is taken: admitted if it can be run, fenced, then written in one step.

use rollback_core::model::{
    Accepted, Change, ChangeError, ChangeRequest, Pace, Placement, Release, ReleaseId, Wanted,
};

use crate::{
    definition::ProcessDefinition,
    files::StateError,
    instance::{Shared, now},
    launch::{can_start, fixed_port},
    observation::{etag, observe},
    ports::{PortError, is_free},
    state::{ServiceDir, WantedState},
};

/// Takes a change, if the service is still as it was when the change was decided.
pub(crate) fn apply(shared: &Shared, request: &ChangeRequest) -> Result<Accepted, ChangeError> {
    match &request.change {
        Change::Converge { release, .. } => admit(shared, release, request)?,
        Change::Retire { .. } => {}
        other => {
            let why = format!(
                "processes cannot {other}; join the deployer with a traffic shifter (`WithTraffic`)"
            );
            return Err(ChangeError::unsupported(why));
        }
    }
    let after = shared.dir.change_wanted(|state| {
        expected(&shared.dir, &state, request)?;
        let after = changed(state, request)?;
        if now() > request.not_after {
            return Err(ChangeError::not_sent("its time had passed"));
        }
        Ok(after)
    })?;
    Ok(Accepted::at(Some(etag(after.revision)?)))
}

/// Keeps the definition of a release that is about to run, if it can run.
fn admit(shared: &Shared, release: &ReleaseId, request: &ChangeRequest) -> Result<(), ChangeError> {
    let kept = shared.dir.release(release)?;
    let definition = match (&kept, &request.definition) {
        (Some(kept), Some(given)) if kept != given => {
            let why = format!(
                "the release {release} is known with another definition; a release never changes: \
                 give the new one another id"
            );
            return Err(ChangeError::refused(why));
        }
        (Some(one), _) | (None, Some(one)) => one.clone(),
        (None, None) => {
            let why = format!("nothing is known of the release {release}; send its definition");
            return Err(ChangeError::refused(why));
        }
    };
    let parsed = Release::new(release.clone(), "", definition.clone());
    let parsed = ProcessDefinition::from_release(&parsed).map_err(ChangeError::refused)?;
    // What already runs is not asked whether it could be started.
    if !shared.dir.wanted()?.wanted.runs(release) {
        startable(shared, &parsed)?;
    }
    if kept.is_none() {
        shared.dir.keep_release(release, &definition)?;
    }
    Ok(())
}

/// Whether an instance could be started now, its port included.
pub(crate) fn startable(
    shared: &Shared,
    definition: &ProcessDefinition,
) -> Result<(), ChangeError> {
    can_start(definition, &shared.secrets).map_err(ChangeError::refused)?;
    match fixed_port(definition) {
        Some(port) if !is_free(port) && !is_ours(shared, port)? => {
            Err(ChangeError::refused(PortError::InUse(port)))
        }
        _ => Ok(()),
    }
}

/// Whether an instance of this service, which may have to make room, was given the port.
fn is_ours(shared: &Shared, port: u16) -> Result<bool, StateError> {
    let (records, _) = shared.dir.instances()?;
    Ok(records.iter().any(|record| record.port == Some(port)))
}

/// The fence. Weights are not compared: dividing traffic is another system's.
fn expected(
    dir: &ServiceDir,
    state: &WantedState,
    request: &ChangeRequest,
) -> Result<(), ChangeError> {
    let releases = |wanted: &Wanted| -> Vec<ReleaseId> {
        wanted.iter().map(|(release, _)| release.clone()).collect()
    };
    let same_wanted = releases(&state.wanted) == releases(&request.expect.wanted);
    let now = etag(state.revision)?;
    let same_etag = request.expect.etag.as_ref().is_none_or(|etag| *etag == now);
    if same_wanted && same_etag {
        return Ok(());
    }
    Err(ChangeError::Conflict {
        now: observe(dir).ok().map(Box::new),
    })
}

/// What is wanted once the change is in.
fn changed(mut state: WantedState, request: &ChangeRequest) -> Result<WantedState, ChangeError> {
    let before = state.wanted.clone();
    state.wanted = request.change.applied_to(&before);
    match &request.change {
        Change::Converge { release, placement } => {
            state.replaced_by.remove(release);
            if let Placement::InPlace(pace) = placement {
                if !matches!(pace, Pace::AtOnce | Pace::StopFirst | Pace::Rolling { .. }) {
                    return Err(ChangeError::unsupported(format!(
                        "processes cannot be replaced {pace}"
                    )));
                }
                state.pace = Some(*pace);
                for (old, _) in before.iter().filter(|(old, _)| *old != release) {
                    state.replaced_by.insert(old.clone(), release.clone());
                }
                for new in state.replaced_by.values_mut() {
                    *new = release.clone();
                }
            }
        }
        Change::Retire { release } if before.runs(release) && state.wanted.is_empty() => {
            let why = format!("{release} is all that serves; start another release first");
            return Err(ChangeError::refused(why));
        }
        _ => {}
    }
    let wanted = &state.wanted;
    state.replaced_by.retain(|_, new| wanted.runs(new));
    state.last_change = Some(request.id.clone());
    Ok(state)
}

impl From<StateError> for ChangeError {
    fn from(error: StateError) -> Self {
        match &error {
            // The new file stands already.
            StateError::Io {
                action: "flush", ..
            } => Self::maybe_sent(error),
            StateError::Io { .. } | StateError::Locked(_) => Self::not_sent(error),
            StateError::Damaged { .. } | StateError::Newer { .. } => Self::refused(error),
        }
    }
}
