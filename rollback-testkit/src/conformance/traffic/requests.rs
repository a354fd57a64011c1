//! What a `TrafficShifter` promises about requests: measured, not believed.

use rollback_core::model::{InstanceState, ReleaseId};

use crate::conformance::report::{CaseResult, Ran, ensure};

use super::stage::{Stage, Two, both};

/// So many requests that every share of these cases is a whole number of them.
const REQUESTS: u32 = 200;

impl Stage<'_> {
    pub(super) async fn measure(&self, shares: &[(&ReleaseId, u16)]) -> Result<Option<()>, String> {
        let Some(answered) = self.harness.send(&self.service, REQUESTS).await else {
            return Ok(None);
        };
        ensure!(answered.failed == 0, "{} requests failed", answered.failed);
        for (release, points) in shares {
            let expected = u32::from(*points) * REQUESTS / 10_000;
            let got = answered.by.get(*release).copied().unwrap_or(0);
            let off = if *points == 0 {
                0
            } else {
                self.harness.off_by(REQUESTS)
            };
            ensure!(
                got.abs_diff(expected) <= off,
                "{release} answered {got} of {REQUESTS} requests, not {expected}: {answered:?}"
            );
        }
        Ok(Some(()))
    }
}

pub(super) async fn requests_are_divided_as_asked(stage: &Stage<'_>) -> CaseResult {
    let Two { v1, v2, .. } = stage.two(1, 1).await?;
    for points in [1_000, 2_500, 5_000, 50, 0, 10_000] {
        let shares = [(&v1, 10_000 - points), (&v2, points)];
        stage.shift(&shares).await?;
        if stage.measure(&shares).await?.is_none() {
            return Ran::skipped("requests cannot be sent");
        }
    }
    Ok(Ran::Passed)
}

pub(super) async fn a_share_belongs_to_the_release_however_many_instances_it_has(
    stage: &Stage<'_>,
) -> CaseResult {
    let Two { v1, v2, mut places } = stage.two(3, 1).await?;
    let shares = [(&v1, 9_000), (&v2, 1_000)];
    stage.shift(&shares).await?;
    if stage.measure(&shares).await?.is_none() {
        return Ran::skipped("requests cannot be sent");
    }
    let mark = stage.look().await?.etag;
    for _ in 0..2 {
        let another = stage.harness.instance(&v2).await;
        places.entry(v2.clone()).or_default().push(another);
    }
    let gone = places.get_mut(&v1).and_then(Vec::pop);
    stage.tell(&places).await?;
    if let Some(gone) = gone {
        stage.harness.stop(&gone).await;
    }
    stage.shows(&shares).await?;
    let now = stage.look().await?.etag;
    ensure!(
        now == mark,
        "the mark moved from {mark:?} to {now:?}, and the shares did not"
    );
    stage.measure(&shares).await?;
    Ok(Ran::Passed)
}

pub(super) async fn no_request_fails_while_traffic_moves(stage: &Stage<'_>) -> CaseResult {
    let Two { v1, v2, places } = stage.two(2, 2).await?;
    if stage.harness.send(&stage.service, 1).await.is_none() {
        return Ran::skipped("requests cannot be sent");
    }
    let moving = async {
        for points in [500, 5_000, 10_000, 0, 2_500, 10_000, 0] {
            stage
                .shift(&[(&v1, 10_000 - points), (&v2, points)])
                .await?;
            stage.tell(&places).await?;
            // So that requests come between.
            stage.harness.send(&stage.service, 5).await;
        }
        Ok::<(), String>(())
    };
    let (moved, answered) = both(moving, stage.harness.send(&stage.service, 600)).await;
    moved?;
    let answered = answered.unwrap_or_default();
    ensure!(
        answered.failed == 0,
        "requests failed while traffic moved: {answered:?}"
    );
    Ok(Ran::Passed)
}

pub(super) async fn an_instance_that_failed_is_left_out(stage: &Stage<'_>) -> CaseResult {
    let Two { v1, v2, mut places } = stage.two(2, 1).await?;
    let shares = [(&v1, 7_500), (&v2, 2_500)];
    stage.shift(&shares).await?;
    let failed = places
        .get_mut(&v1)
        .and_then(|instances| instances.first_mut());
    let Some(failed) = failed else {
        return Err("there is no instance".to_owned());
    };
    failed.state = InstanceState::Exited {
        how: "exit status 1".into(),
    };
    stage.harness.stop(failed).await;
    stage.tell(&places).await?;
    stage.shows(&shares).await?;
    if stage.measure(&shares).await?.is_none() {
        return Ran::skipped("requests cannot be sent");
    }
    Ok(Ran::Passed)
}
