//! Plans of every strategy, in words.

use super::*;
use crate::model::{ArmObservation, ArmState};

fn id(text: &str) -> ReleaseId {
    ReleaseId::new(text).unwrap()
}

fn words(steps: &[Step]) -> String {
    let texts: Vec<String> = steps
        .iter()
        .map(|step| match step.change() {
            Some(change) => change.to_string(),
            None => step.word().to_owned(),
        })
        .collect();
    texts.join("; ")
}

fn policy(holdback: &str) -> Policy {
    of(&format!(r#""holdback":"{holdback}""#))
}

fn of(strategy: &str) -> Policy {
    serde_json::from_str(&format!(
        r#"{{"bake":"10s",{strategy},"metrics":{{"up":{{"unit":"state","query":"up"}}}},
            "triggers":[{{"name":"down","when":"up == 'down'"}}]}}"#
    ))
    .unwrap()
}

#[test]
fn blue_green_is_beside_check_shift_bake_retire() {
    let wanted = Wanted::only(id("v1"));
    let steps = rollout(&policy("0%"), &wanted, Some(&id("v1")), &id("v2"));
    assert_eq!(
        words(&steps),
        "start v2 beside what runs; check; send the traffic to v2 100 %; bake; retire v1"
    );
}

#[test]
fn a_holdback_keeps_the_stable_release_serving_during_the_bake() {
    let wanted = Wanted::only(id("v1"));
    let steps = rollout(&policy("10%"), &wanted, Some(&id("v1")), &id("v2"));
    assert_eq!(
        words(&steps),
        "start v2 beside what runs; check; send the traffic to v2 90 %, v1 10 %; bake; \
         send the traffic to v2 100 %; retire v1"
    );
}

#[test]
fn what_a_superseded_deployment_left_goes_first() {
    let wanted = Wanted::nothing()
        .with(id("v1"), Weight::NONE)
        .with(id("v2"), Weight::ALL);
    let steps = rollout(&policy("0%"), &wanted, Some(&id("v1")), &id("v3"));
    assert!(
        words(&steps).starts_with("send the traffic to v1 100 %; retire v2; start v3"),
        "{}",
        words(&steps)
    );
}

#[test]
fn a_rollback_never_removes_capacity_before_the_target_serves() {
    let wanted = Wanted::only(id("v2"));
    let steps = rollback(&policy("0%"), &[], &wanted, None, &id("v1"));
    assert_eq!(
        words(&steps),
        "start v1 beside what runs; send the traffic to v1 100 %; verify; retire v2"
    );
}

const CANARY: &str = r#""strategy":{"canary":{"steps":["10%","50%","100%"],"wait":"1m",
    "rollback_steps":["25%","50%","100%"]}},"holdback":"5%""#;

#[test]
fn a_canary_is_given_more_and_more() {
    let wanted = Wanted::only(id("v1"));
    let steps = rollout(&of(CANARY), &wanted, Some(&id("v1")), &id("v2"));
    assert_eq!(
        words(&steps),
        "start v2 beside what runs; check; send the traffic to v2 10 %, v1 90 %; wait; \
         send the traffic to v2 50 %, v1 50 %; wait; send the traffic to v2 95 %, v1 5 %; bake; \
         send the traffic to v2 100 %; retire v1"
    );
    // Nothing proven runs to share with.
    let steps = rollout(&of(CANARY), &wanted, None, &id("v2"));
    assert_eq!(
        words(&steps),
        "start v2 beside what runs; check; send the traffic to v2 100 %; wait; wait; bake; retire v1"
    );
}

#[test]
fn traffic_comes_back_slowly_only_where_that_is_written_and_the_candidate_runs() {
    let wanted = Wanted::nothing()
        .with(id("v1"), Weight::from_basis_points(3_000).unwrap())
        .with(id("v2"), Weight::from_basis_points(7_000).unwrap());
    let arm =
        |release: &str, state: ArmState| ArmObservation::new(id(release), state, Weight::NONE, []);
    let seen = |candidate| {
        Observation::new(
            wanted.clone(),
            [arm("v1", ArmState::Ready), arm("v2", candidate)],
        )
    };
    let back = |policy: &Policy, candidate| {
        words(&rollback(
            policy,
            &[],
            &wanted,
            Some(&seen(candidate)),
            &id("v1"),
        ))
    };
    let at_once = "send the traffic to v1 100 %; verify; retire v2";
    assert_eq!(
        back(&of(CANARY), ArmState::Ready),
        format!("send the traffic to v1 50 %, v2 50 %; wait; {at_once}")
    );
    assert_eq!(back(&of(CANARY), ArmState::Converging), at_once);
    assert_eq!(back(&policy("5%"), ArmState::Ready), at_once);
}

#[test]
fn what_is_replaced_in_place_is_replaced_back() {
    for (strategy, pace, back) in [
        (
            r#""strategy":"rolling""#,
            "instance by instance, at most 0 missing and 1 in excess",
            "instance by instance, at most 0 missing and any number in excess",
        ),
        (
            r#""strategy":"recreate""#,
            "stopping it first",
            "stopping it first",
        ),
    ] {
        let policy = of(strategy);
        let steps = rollout(&policy, &Wanted::only(id("v1")), Some(&id("v1")), &id("v2"));
        assert_eq!(
            words(&steps),
            format!("replace what runs by v2, {pace}; bake")
        );
        let half = Wanted::only(id("v2"));
        let steps = rollback(&policy, &[], &half, None, &id("v1"));
        assert_eq!(
            words(&steps),
            format!("replace what runs by v1, {back}; verify")
        );
        // Nothing was replaced yet.
        let steps = rollback(&policy, &[], &Wanted::only(id("v1")), None, &id("v1"));
        assert_eq!(
            words(&steps),
            format!("replace what runs by v1, {back}; verify")
        );
        let steps = promotion(&policy, &half, &id("v2"));
        assert_eq!(words(&steps), format!("replace what runs by v2, {pace}"));
    }
}

#[test]
fn the_way_back_may_have_a_pace_of_its_own() {
    let policy = of(r#""strategy":{"rolling":{"max_surge":1,"rollback":{"max_surge":20}}}"#);
    let there = rollout(&policy, &Wanted::only(id("v1")), Some(&id("v1")), &id("v2"));
    assert_eq!(
        words(&there),
        "replace what runs by v2, instance by instance, at most 0 missing and 1 in excess; bake"
    );
    let back = rollback(&policy, &[], &Wanted::only(id("v2")), None, &id("v1"));
    assert_eq!(
        words(&back),
        "replace what runs by v1, instance by instance, at most 0 missing and 20 in excess; verify"
    );
}

#[test]
fn each_strategy_asks_only_for_what_it_needs() {
    use std::time::Duration;
    let least = Capabilities::least(Duration::ZERO);
    let both = least.with_two_arms().with_weights();
    for (strategy, can, fits) in [
        (r#""strategy":"blue_green""#, least, false),
        (r#""strategy":"blue_green""#, both.never_in_place(), true),
        (r#""strategy":"canary""#, both, true),
        (r#""strategy":"canary""#, least.with_two_arms(), false),
        (r#""strategy":"rolling""#, both, false),
        (r#""strategy":"rolling""#, least.with_rolling(), true),
        (r#""strategy":"recreate""#, least.with_rolling(), false),
        (r#""strategy":"recreate""#, least.with_stop_first(), true),
        (
            r#""strategy":{"steps":[{"converge":"in_place"},{"bake":"10s"}]}"#,
            least,
            true,
        ),
        (
            r#""strategy":{"steps":[{"converge":"in_place"},{"bake":"10s"}]}"#,
            both.never_in_place(),
            false,
        ),
    ] {
        assert_eq!(
            missing(&of(strategy), can).is_none(),
            fits,
            "{strategy} {can:?}"
        );
    }
}
