//! What a `TrafficShifter` promises.

use std::{collections::BTreeMap, sync::Arc};

use async_trait::async_trait;
use rollback_core::{
    model::{ChangeError, Etag, Instance, ReleaseId, ServiceId, Weight},
    ports::TrafficShifter,
};

mod requests;
mod stage;

use super::report::{CaseResult, Ran, Report, ensure};
use requests::{
    a_share_belongs_to_the_release_however_many_instances_it_has,
    an_instance_that_failed_is_left_out, no_request_fails_while_traffic_moves,
    requests_are_divided_as_asked,
};
use stage::{Stage, Two, both, weights};

/// Who answered the requests of a case.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Answered {
    /// Of each release how many it answered.
    pub by: BTreeMap<ReleaseId, u32>,
    /// How many were not answered by any of them, or badly.
    pub failed: u32,
}

/// What the suite needs to know of the world behind the adapter.
#[async_trait]
pub trait TrafficHarness: Send + Sync {
    /// The adapter.
    fn shifter(&self) -> Arc<dyn TrafficShifter>;

    /// The adapter again, as a second controller would have it; none if that cannot be.
    async fn second(&self) -> Option<Arc<dyn TrafficShifter>> {
        None
    }

    /// Makes a service of that name (letters, digits and `-`) whose traffic nobody has divided yet.
    async fn begin(&self, name: &str) -> ServiceId;

    /// Starts another ready instance of the release, which answers requests with the release's
    /// name.
    async fn instance(&self, release: &ReleaseId) -> Instance;

    /// Stops an instance: it answers no more.
    async fn stop(&self, instance: &Instance) {
        let _ = instance;
    }

    /// Sends so many requests to the service, one after the other; none if requests cannot be sent.
    async fn send(&self, service: &ServiceId, requests: u32) -> Option<Answered>;

    /// By how many of so many requests a release may be off: what the system's arithmetic cannot
    /// meet, and whatever is random in its choice.
    fn off_by(&self, requests: u32) -> u32 {
        let _ = requests;
        0
    }

    /// Starts the system behind the adapter anew, so that it forgets what it was not configured
    /// with; false if it cannot be, or never forgets.
    async fn restart(&self) -> bool {
        false
    }
}

/// Runs every case, one after the other, each with a service of its own.
pub async fn traffic(harness: &dyn TrafficHarness) -> Report {
    let mut report = Report::of("traffic shifter");
    macro_rules! run {
        ($($case:ident),+ $(,)?) => {$(
            let stage = Stage::begin(harness, stringify!($case)).await;
            report.add(stringify!($case), $case(&stage).await);
        )+};
    }
    run!(
        nothing_is_divided_that_nobody_divided,
        a_look_changes_nothing,
        telling_instances_leaves_the_shares,
        telling_twice_is_telling_once,
        shares_show_as_they_were_asked_for,
        who_is_not_named_gets_nothing,
        a_division_leaves_its_tag,
        shares_that_do_not_add_up_are_refused,
        a_release_without_an_instance_gets_no_traffic,
        a_stale_mark_is_a_conflict,
        of_two_controllers_one_wins,
        another_controller_sees_the_same,
        requests_are_divided_as_asked,
        a_share_belongs_to_the_release_however_many_instances_it_has,
        no_request_fails_while_traffic_moves,
        an_instance_that_failed_is_left_out,
        there_and_back_again,
        what_was_divided_survives_a_restart,
        other_services_are_left_alone,
    );
    report
}

async fn nothing_is_divided_that_nobody_divided(stage: &Stage<'_>) -> CaseResult {
    if let Ok(seen) = stage.shifter.traffic(&stage.service).await {
        let some = seen.weights.values().any(|weight| *weight > Weight::NONE);
        ensure!(!some, "shares are seen where none are: {seen:?}");
        ensure!(
            seen.last_change.is_none(),
            "a change is seen where none was"
        );
    }
    Ok(Ran::Passed)
}

async fn a_look_changes_nothing(stage: &Stage<'_>) -> CaseResult {
    stage.two(1, 1).await?;
    let (first, second) = (stage.look().await?, stage.look().await?);
    ensure!(first == second, "a look changed {first:?} to {second:?}");
    Ok(Ran::Passed)
}

async fn telling_instances_leaves_the_shares(stage: &Stage<'_>) -> CaseResult {
    let Two { v1, mut places, .. } = stage.two(1, 1).await?;
    let mark = stage.look().await?.etag;
    let v3 = stage.release("v3")?;
    let third = stage.harness.instance(&v3).await;
    places.insert(v3, vec![third]);
    stage.tell(&places).await?;
    stage.shows(&[(&v1, 10_000)]).await?;
    let now = stage.look().await?.etag;
    ensure!(
        now == mark,
        "the mark moved from {mark:?} to {now:?} by telling instances"
    );
    Ok(Ran::Passed)
}

async fn telling_twice_is_telling_once(stage: &Stage<'_>) -> CaseResult {
    let Two { v1, v2, places } = stage.two(2, 2).await?;
    stage.shift(&[(&v1, 7_500), (&v2, 2_500)]).await?;
    let before = stage.look().await?;
    for _ in 0..2 {
        stage.tell(&places).await?;
    }
    let after = stage.look().await?;
    ensure!(
        before == after,
        "telling it again changed {before:?} to {after:?}"
    );
    Ok(Ran::Passed)
}

async fn shares_show_as_they_were_asked_for(stage: &Stage<'_>) -> CaseResult {
    let Two { v1, v2, .. } = stage.two(2, 1).await?;
    for points in [1_000, 1, 3_333, 5_000, 9_999, 0, 10_000] {
        stage
            .shift(&[(&v1, 10_000 - points), (&v2, points)])
            .await?;
        stage
            .shows(&[(&v1, 10_000 - points), (&v2, points)])
            .await?;
    }
    Ok(Ran::Passed)
}

async fn who_is_not_named_gets_nothing(stage: &Stage<'_>) -> CaseResult {
    let Two { v1, v2, .. } = stage.two(1, 1).await?;
    stage.shift(&[(&v2, 10_000)]).await?;
    stage.shows(&[(&v2, 10_000)]).await?;
    if let Some(answered) = stage.harness.send(&stage.service, 40).await {
        ensure!(
            !answered.by.contains_key(&v1) && answered.failed == 0,
            "with no share of v1: {answered:?}"
        );
    }
    Ok(Ran::Passed)
}

async fn a_division_leaves_its_tag(stage: &Stage<'_>) -> CaseResult {
    let Two { v1, v2, places } = stage.two(1, 1).await?;
    if stage.look().await?.last_change.is_none() {
        return Ran::skipped("the system carries no tag");
    }
    let first = stage.look().await?.etag;
    let id = stage.shift(&[(&v1, 9_000), (&v2, 1_000)]).await?;
    let seen = stage.look().await?;
    ensure!(
        seen.last_change == Some(id.clone()),
        "{:?} is told, not {id}",
        seen.last_change
    );
    ensure!(
        seen.etag.is_none() || seen.etag != first,
        "the mark did not move"
    );
    stage.tell(&places).await?;
    let seen = stage.look().await?;
    ensure!(
        seen.last_change == Some(id),
        "the tag is lost by telling instances"
    );
    Ok(Ran::Passed)
}

async fn shares_that_do_not_add_up_are_refused(stage: &Stage<'_>) -> CaseResult {
    let Two { v1, v2, .. } = stage.two(1, 1).await?;
    let (id, half) = (stage.next_id()?, weights(&[(&v2, 5_000)])?);
    let answer = stage.shifter.shift(&stage.service, &id, &half, None).await;
    ensure!(
        matches!(answer, Err(ChangeError::Refused { .. })),
        "half of the traffic was to go nowhere, and the answer is {answer:?}"
    );
    stage.shows(&[(&v1, 10_000)]).await?;
    Ok(Ran::Passed)
}

async fn a_release_without_an_instance_gets_no_traffic(stage: &Stage<'_>) -> CaseResult {
    let Two { v1, .. } = stage.two(1, 1).await?;
    let nowhere = stage.release("nowhere")?;
    let (id, all) = (stage.next_id()?, weights(&[(&nowhere, 10_000)])?);
    let answer = stage.shifter.shift(&stage.service, &id, &all, None).await;
    ensure!(
        matches!(
            answer,
            Err(ChangeError::Refused { .. } | ChangeError::NotSent { .. })
        ),
        "all traffic was to go where nobody answers, and the answer is {answer:?}"
    );
    stage.shows(&[(&v1, 10_000)]).await?;
    Ok(Ran::Passed)
}

async fn a_stale_mark_is_a_conflict(stage: &Stage<'_>) -> CaseResult {
    let Two { v1, v2, .. } = stage.two(1, 1).await?;
    let Some(stale) = stage.look().await?.etag else {
        return Ran::skipped("the system has no marks");
    };
    stage.shift(&[(&v1, 9_000), (&v2, 1_000)]).await?;
    let before = stage.look().await?;
    let (id, all) = (stage.next_id()?, weights(&[(&v2, 10_000)])?);
    let never = Etag::new("of-another-world").map_err(|error| error.to_string())?;
    for mark in [stale, never] {
        let answer = stage
            .shifter
            .shift(&stage.service, &id, &all, Some(&mark))
            .await;
        ensure!(
            matches!(
                answer,
                Err(ChangeError::Conflict { .. } | ChangeError::Refused { .. })
            ),
            "the mark {mark} is stale, and the answer is {answer:?}"
        );
    }
    let after = stage.look().await?;
    ensure!(
        before == after,
        "what was refused changed {before:?} to {after:?}"
    );
    Ok(Ran::Passed)
}

async fn of_two_controllers_one_wins(stage: &Stage<'_>) -> CaseResult {
    let Some(other) = stage.harness.second().await else {
        return Ran::skipped("there is no second controller");
    };
    let Two { v1, v2, .. } = stage.two(1, 1).await?;
    if stage.look().await?.etag.is_none() {
        return Ran::skipped("the system has no marks");
    }
    for _ in 0..20 {
        let mark = stage.look().await?.etag;
        let (ours, theirs) = (stage.next_id()?, stage.next_id()?);
        let (to_v1, to_v2) = (weights(&[(&v1, 10_000)])?, weights(&[(&v2, 10_000)])?);
        let (first, second) = both(
            stage
                .shifter
                .shift(&stage.service, &ours, &to_v1, mark.as_ref()),
            other.shift(&stage.service, &theirs, &to_v2, mark.as_ref()),
        )
        .await;
        let winner = match (&first, &second) {
            (Ok(_), Err(ChangeError::Conflict { .. })) => (ours, &v1),
            (Err(ChangeError::Conflict { .. }), Ok(_)) => (theirs, &v2),
            _ => return Err(format!("both for one mark: {first:?}, {second:?}")),
        };
        stage.shows(&[(winner.1, 10_000)]).await?;
        let tag = stage.look().await?.last_change;
        ensure!(
            tag.is_none() || tag == Some(winner.0),
            "the loser's tag is told: {tag:?}"
        );
    }
    Ok(Ran::Passed)
}

async fn another_controller_sees_the_same(stage: &Stage<'_>) -> CaseResult {
    let Some(other) = stage.harness.second().await else {
        return Ran::skipped("there is no second controller");
    };
    let Two { v1, v2, places } = stage.two(2, 1).await?;
    stage.shift(&[(&v1, 9_000), (&v2, 1_000)]).await?;
    let ours = stage.look().await?;
    let theirs = other
        .traffic(&stage.service)
        .await
        .map_err(|error| error.to_string())?;
    ensure!(ours == theirs, "one sees {ours:?}, the other {theirs:?}");
    let told = other.instances(&stage.service, &places).await;
    ensure!(
        told.is_ok(),
        "the other one cannot tell instances: {told:?}"
    );
    let after = stage.look().await?;
    ensure!(
        ours == after,
        "the other one's telling changed {ours:?} to {after:?}"
    );
    Ok(Ran::Passed)
}

async fn there_and_back_again(stage: &Stage<'_>) -> CaseResult {
    let Two { v1, v2, mut places } = stage.two(1, 1).await?;
    stage.shift(&[(&v1, 5_000), (&v2, 5_000)]).await?;
    stage.shift(&[(&v2, 10_000)]).await?;
    stage.shift(&[(&v1, 10_000)]).await?;
    let gone = places.remove(&v2).unwrap_or_default();
    stage.tell(&places).await?;
    for instance in &gone {
        stage.harness.stop(instance).await;
    }
    stage.shows(&[(&v1, 10_000)]).await?;
    if let Some(answered) = stage.harness.send(&stage.service, 20).await {
        ensure!(
            answered.by.get(&v1) == Some(&20),
            "back at v1: {answered:?}"
        );
    }
    Ok(Ran::Passed)
}

async fn what_was_divided_survives_a_restart(stage: &Stage<'_>) -> CaseResult {
    let Two { v1, v2, places } = stage.two(2, 1).await?;
    let shares = [(&v1, 9_000), (&v2, 1_000)];
    let id = stage.shift(&shares).await?;
    let before = stage.look().await?;
    if !stage.harness.restart().await {
        return Ran::skipped("it is never started anew, or does not forget");
    }
    let forgotten = stage.look().await?;
    let same = forgotten.weights == before.weights;
    ensure!(
        same || forgotten
            .weights
            .values()
            .all(|weight| *weight == Weight::NONE),
        "shares are told that are not there: {forgotten:?}"
    );
    ensure!(
        same || forgotten.etag != before.etag,
        "it forgot, and its mark is as before"
    );
    stage.tell(&places).await?;
    stage.shows(&shares).await?;
    stage.measure(&shares).await?;
    let tag = stage.look().await?.last_change;
    ensure!(tag.is_none() || tag == Some(id), "the tag is now {tag:?}");
    let all = weights(&[(&v2, 10_000)])?;
    let id = stage.next_id()?;
    let stale = stage
        .shifter
        .shift(&stage.service, &id, &all, before.etag.as_ref());
    let stale = stale.await;
    ensure!(
        same || before.etag.is_none() || matches!(stale, Err(ChangeError::Conflict { .. })),
        "a mark of before the restart is taken: {stale:?}"
    );
    Ok(Ran::Passed)
}

async fn other_services_are_left_alone(stage: &Stage<'_>) -> CaseResult {
    let bystander = Stage::begin(stage.harness, "bystander").await;
    let theirs = bystander.two(1, 1).await?;
    let shares = [(&theirs.v1, 5_000), (&theirs.v2, 5_000)];
    bystander.shift(&shares).await?;
    let before = bystander.look().await?;
    let Two { v2, mut places, .. } = stage.two(1, 1).await?;
    stage.shift(&[(&v2, 10_000)]).await?;
    places.retain(|release, _| *release == v2);
    stage.tell(&places).await?;
    let after = bystander.look().await?;
    ensure!(
        before == after,
        "another service changed from {before:?} to {after:?}"
    );
    bystander.measure(&shares).await?;
    Ok(Ran::Passed)
}
