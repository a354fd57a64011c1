//! What a `Deployer` promises about the pace at which a release takes the place of another.

use std::cell::RefCell;

use rollback_core::model::{
    InstanceState, Observation, Pace, Placement, Release, ReleaseId, Wanted, Weight,
};

use super::{
    ReleaseKind,
    deployer::{Stage, converge},
    report::{CaseResult, Ran},
};

const ONE_BY_ONE: Pace = Pace::Rolling {
    max_unavailable: 0,
    max_surge: 1,
};

pub(super) async fn rolling_keeps_its_bounds(stage: &Stage<'_>) -> CaseResult {
    if !stage.can.rolling {
        return Ran::skipped("does not roll");
    }
    let before = ready(&stage.look().await?);
    replace(stage, ONE_BY_ONE, |seen, _| {
        let (ready, running) = (ready(seen), running(seen));
        if ready < before {
            return Some(format!(
                "{ready} instances serve, and none may be missing of {before}"
            ));
        }
        (running > before + 1)
            .then(|| format!("{running} instances run, and one may run in excess of {before}"))
    })
    .await
}

/// A release that never gets ready takes nothing away where nothing may be missing.
pub(super) async fn a_roll_that_gets_stuck_leaves_what_serves(stage: &Stage<'_>) -> CaseResult {
    if !stage.can.rolling {
        return Ran::skipped("does not roll");
    }
    let before = ready(&stage.look().await?);
    let bad = stage.release(ReleaseKind::NeverReady).await;
    let placement = Placement::InPlace(ONE_BY_ONE);
    stage
        .change(converge(&bad.id, placement), Some(&bad))
        .await?;
    let deadline = stage.harness.now().after(stage.harness.patience());
    while stage.harness.now() < deadline {
        let seen = stage.look().await?;
        if seen.platform_rollback.is_some() {
            return Ok(Ran::Passed);
        }
        let (ready, weight) = (ready(&seen), seen.weight(stage.stable()));
        if ready < before || weight != Weight::ALL || seen.is_ready(&bad.id) {
            return Err(format!(
                "{} never gets ready; {ready} of {before} instances serve, and {} has {weight} of \
                 the traffic",
                bad.id,
                stage.stable()
            ));
        }
        stage.harness.pass(stage.harness.pace()).await;
    }
    Ok(Ran::Passed)
}

pub(super) async fn stopping_first_never_serves_both(stage: &Stage<'_>) -> CaseResult {
    if !stage.can.stops_first {
        return Ran::skipped("does not stop what runs first");
    }
    replace(stage, Pace::StopFirst, |seen, release| {
        let both = serves(seen, stage.stable()) && serves(seen, release);
        both.then(|| format!("{} and {release} serve at once", stage.stable()))
    })
    .await
}

/// A good release takes the stable one's place, and every look on the way is as it should be.
async fn replace(
    stage: &Stage<'_>,
    pace: Pace,
    wrong: impl Fn(&Observation, &ReleaseId) -> Option<String>,
) -> CaseResult {
    let release: Release = stage.release(ReleaseKind::Good).await;
    stage
        .change(
            converge(&release.id, Placement::InPlace(pace)),
            Some(&release),
        )
        .await?;
    let found = RefCell::new(None);
    stage
        .until("the new release alone, with all traffic", |seen| {
            if found.borrow().is_none() {
                *found.borrow_mut() = wrong(seen, &release.id);
            }
            found.borrow().is_some()
                || (seen.wanted == Wanted::only(release.id.clone())
                    && seen.is_ready(&release.id)
                    && seen.weight(&release.id) == Weight::ALL)
        })
        .await?;
    match found.into_inner() {
        Some(wrong) => Err(wrong),
        None => Ok(Ran::Passed),
    }
}

fn ready(seen: &Observation) -> usize {
    let all = seen.arms.iter().flat_map(|arm| arm.instances.iter());
    all.filter(|one| one.state == InstanceState::Ready).count()
}

fn running(seen: &Observation) -> usize {
    let all = seen.arms.iter().flat_map(|arm| arm.instances.iter());
    all.filter(|one| one.state != InstanceState::Stopping)
        .count()
}

fn serves(seen: &Observation, release: &ReleaseId) -> bool {
    seen.arm(release).is_some_and(|arm| {
        let mut all = arm.instances.iter();
        all.any(|one| one.state == InstanceState::Ready)
    })
}
