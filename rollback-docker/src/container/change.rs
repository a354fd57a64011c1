//! How a change is taken: admitted if it can be run, fenced, then written in one step.

use std::sync::Arc;

use rollback_core::model::{
    Accepted, Change, ChangeError, ChangeRequest, Etag, Placement, ReleaseId,
};

use super::{
    claims,
    definition::ContainerDefinition,
    desired::Desired,
    fetching::have_image,
    look::{Shared, Sight, locked, look, now},
    observation::observation,
    record::{before_the_change, keep, same, write},
};
use crate::EngineError;

/// Takes a change, if the service is still as it was when the change was decided.
pub(crate) async fn apply(
    shared: &Shared,
    request: &ChangeRequest,
) -> Result<Accepted, ChangeError> {
    let mut sight = look(shared).await.map_err(not_looked)?;
    expected(shared, &sight, request)?;
    let after = sight.desired.clone().changed(request)?;
    if let Change::Converge { release, placement } = &request.change {
        admit(shared, &mut sight, release, *placement, request).await?;
    }
    keep_all(shared, &sight, &after).await?;
    if now() > request.not_after {
        return Err(ChangeError::not_sent("its time had passed"));
    }
    let id = match write(shared, &sight, &after).await {
        Err(ChangeError::Conflict { .. }) => return Err(conflict(shared).await),
        written => written?,
    };
    let etag = id.get(..24).unwrap_or(&id);
    Ok(Accepted::at(Etag::new(etag).ok()))
}

/// A look that failed: the change was not sent, whatever the engine answered.
pub(crate) fn not_looked(error: EngineError) -> ChangeError {
    ChangeError::not_sent(error)
}

/// The fence.
fn expected(shared: &Shared, sight: &Sight, request: &ChangeRequest) -> Result<(), ChangeError> {
    let mark = sight.mark();
    let same_mark = request
        .expect
        .etag
        .as_ref()
        .is_none_or(|etag| etag.as_str() == mark);
    if same_mark && sight.desired.is_expected(&request.expect.wanted) {
        return Ok(());
    }
    Err(ChangeError::Conflict {
        now: seen(shared, sight),
    })
}

fn seen(shared: &Shared, sight: &Sight) -> Option<Box<rollback_core::model::Observation>> {
    let known = locked(&shared.known).clone();
    observation(sight, &known, shared.steady, now())
        .ok()
        .map(Box::new)
}

/// Somebody else's change came first.
async fn conflict(shared: &Shared) -> ChangeError {
    let now = match look(shared).await {
        Ok(sight) => seen(shared, &sight),
        Err(_) => None,
    };
    ChangeError::Conflict { now }
}

/// Finds the definition of a release that is about to run, and whether it can run.
async fn admit(
    shared: &Shared,
    sight: &mut Sight,
    release: &ReleaseId,
    placement: Placement,
    request: &ChangeRequest,
) -> Result<(), ChangeError> {
    let given = request
        .definition
        .as_ref()
        .map(ContainerDefinition::from_definition)
        .transpose()
        .map_err(ChangeError::refused)?;
    let known = sight.definitions.get(release).cloned();
    let definition = match (known, given) {
        (Some(known), Some(given)) if sight.kept.contains_key(release) => {
            same(release, &known, &given)?;
            known
        }
        (_, Some(given)) => Arc::new(given),
        (Some(known), None) => known,
        (None, None) => {
            let why = format!("nothing is known of the release {release}; send its definition");
            return Err(ChangeError::refused(why));
        }
    };
    let already = sight.desired.wanted.runs(release);
    sight
        .definitions
        .insert(release.clone(), Arc::clone(&definition));
    // What already runs is not asked whether it could be started.
    if already {
        return Ok(());
    }
    startable(shared, &definition).await?;
    if placement == Placement::Beside {
        let others = sight.desired.wanted.iter();
        let clash = others
            .filter(|(other, _)| *other != release)
            .find_map(|(other, _)| {
                let other_definition = sight.definitions.get(other)?;
                Some((other, claims::clash(other_definition, &definition)?))
            });
        if let Some((other, claim)) = clash {
            return Err(ChangeError::refused(format!(
                "{release} and {other} both want {claim}, so they cannot run beside each other; \
                 publish on any free port (host port 0) behind a load balancer, or replace in \
                 place (rolling, or recreate)"
            )));
        }
    }
    Ok(())
}

/// Whether containers of a definition could be made now: its image and its networks are there.
pub(crate) async fn startable(
    shared: &Shared,
    definition: &ContainerDefinition,
) -> Result<(), ChangeError> {
    have_image(shared, definition).await?;
    for network in definition.networks.keys() {
        match shared
            .engine
            .get(&format!("/networks/{network}"), &[])
            .await
        {
            Ok(_) => {}
            Err(error) if error.is_not_found() => {
                return Err(ChangeError::refused(format!(
                    "there is no network `{network}` on the engine; create it"
                )));
            }
            Err(error) => return Err(not_looked(error)),
        }
    }
    Ok(())
}

/// Keeps the definitions of all that should run or may have to run again.
async fn keep_all(shared: &Shared, sight: &Sight, after: &Desired) -> Result<(), ChangeError> {
    let before = sight.desired.wanted.iter();
    let mut releases: Vec<&ReleaseId> = before
        .chain(after.wanted.iter())
        .map(|(one, _)| one)
        .collect();
    releases.sort();
    releases.dedup();
    for release in releases {
        let Some(definition) = sight.definitions.get(release) else {
            continue;
        };
        if !sight.kept.contains_key(release) {
            // The image of what runs may be gone while it runs: then it is kept by nobody.
            match keep(shared, release, definition).await {
                Err(ChangeError::Refused { .. }) if !after.wanted.runs(release) => {}
                kept => kept?,
            }
        }
        locked(&shared.definitions).insert(release.clone(), Arc::clone(definition));
    }
    Ok(())
}

/// Removes everything that was made for the service: what runs, what is kept, the record.
pub(crate) async fn clear(shared: &Shared) -> Result<(), ChangeError> {
    loop {
        let sight = look(shared).await.map_err(not_looked)?;
        let Some(record) = &sight.record else {
            // Definitions of a change that never came so far.
            for (id, _) in sight.kept.values() {
                super::record::discard(shared, id)
                    .await
                    .map_err(before_the_change)?;
            }
            return Ok(());
        };
        if !sight.desired.wanted.is_empty() {
            let nothing = sight.desired.clone().stopped();
            match write(shared, &sight, &nothing).await {
                // Somebody else's change came first; or the engine is slow: look.
                Ok(_) | Err(ChangeError::Conflict { .. } | ChangeError::MaybeSent { .. }) => {}
                Err(error) => return Err(error),
            }
            shared.nudge.notify_one();
        } else if sight.facts.is_empty() {
            let kept = sight.kept.values().map(|(id, _)| id);
            for id in kept.chain(&sight.older).chain([&record.id]) {
                super::record::discard(shared, id)
                    .await
                    .map_err(before_the_change)?;
            }
            locked(&shared.definitions).clear();
            return Ok(());
        }
        let soon = std::time::Duration::from_millis(50);
        let _ = tokio::time::timeout(soon, shared.news.notified()).await;
    }
}
