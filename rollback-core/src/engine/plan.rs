//! Plans: from what the platform wants now to the candidate, or back to a proven release.

use crate::{
    entry::Step,
    model::{Observation, Placement, ReleaseId, Share, Wanted, Weight},
    policy::{Policy, Strategy},
};

/// The steps of a deployment where one release serves everybody and another one follows it: what a
/// policy asks for, before anything is known.
pub(crate) fn foreseen(policy: &Policy, stable: &ReleaseId, candidate: &ReleaseId) -> Vec<Step> {
    let wanted = Wanted::only(stable.clone());
    rollout(policy, &wanted, Some(stable), candidate)
}

/// The steps that bring the candidate into production.
pub(super) fn rollout(
    policy: &Policy,
    wanted: &Wanted,
    stable: Option<&ReleaseId>,
    candidate: &ReleaseId,
) -> Vec<Step> {
    let Strategy::BlueGreen { holdback, check } = policy.strategy;
    let mut steps = Vec::new();
    let stable_runs = stable.filter(|stable| wanted.runs(stable));
    // Left over from a deployment that this one supersedes: out of the way first, while the stable
    // release can carry everything.
    if let Some(stable) = stable_runs {
        if wanted.weight(stable) != Weight::ALL {
            steps.push(everything_to(stable));
        }
        for (release, _) in wanted.iter() {
            if release != stable && release != candidate {
                steps.push(Step::Retire {
                    release: release.clone(),
                });
            }
        }
    }
    steps.push(Step::Converge {
        release: candidate.clone(),
        placement: Placement::Beside,
    });
    steps.push(Step::Check { hold_for: check });
    let held_back = stable_runs.filter(|_| holdback > Weight::NONE);
    match held_back {
        Some(stable) => steps.push(Step::Weights {
            shares: vec![
                Share {
                    release: candidate.clone(),
                    weight: holdback.rest(),
                },
                Share {
                    release: stable.clone(),
                    weight: holdback,
                },
            ],
        }),
        None => steps.push(everything_to(candidate)),
    }
    steps.push(Step::Bake {
        length: policy.bake,
    });
    if held_back.is_some() {
        steps.push(everything_to(candidate));
    }
    match stable_runs {
        Some(stable) => steps.push(Step::Retire {
            release: stable.clone(),
        }),
        None => steps.extend(retire_all_but(wanted, candidate)),
    }
    steps
}

/// The steps that take the candidate without further evidence.
pub(super) fn promotion(wanted: &Wanted, candidate: &ReleaseId) -> Vec<Step> {
    let mut steps = vec![
        Step::Converge {
            release: candidate.clone(),
            placement: Placement::Beside,
        },
        everything_to(candidate),
    ];
    steps.extend(retire_all_but(wanted, candidate));
    steps
}

/// The steps back to `target`: traffic first while it is still warm, old capacity last.
pub(super) fn rollback(
    policy: &Policy,
    wanted: &Wanted,
    seen: Option<&Observation>,
    target: &ReleaseId,
) -> Vec<Step> {
    let mut steps = Vec::new();
    let warm = wanted.runs(target) && seen.is_some_and(|seen| seen.is_ready(target));
    if !warm {
        steps.push(Step::Converge {
            release: target.clone(),
            placement: Placement::Beside,
        });
    }
    steps.push(everything_to(target));
    steps.push(Step::Verify {
        hold_for: policy.verify.hold_for,
    });
    steps.extend(retire_all_but(wanted, target));
    steps
}

fn everything_to(release: &ReleaseId) -> Step {
    Step::Weights {
        shares: vec![Share {
            release: release.clone(),
            weight: Weight::ALL,
        }],
    }
}

fn retire_all_but(wanted: &Wanted, kept: &ReleaseId) -> Vec<Step> {
    wanted
        .iter()
        .filter(|(release, _)| *release != kept)
        .map(|(release, _)| Step::Retire {
            release: release.clone(),
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

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
        serde_json::from_str(&format!(
            r#"{{"bake":"10s","holdback":"{holdback}","metrics":{{"up":{{"unit":"state","query":"up"}}}},
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
        let steps = rollback(&policy("0%"), &wanted, None, &id("v1"));
        assert_eq!(
            words(&steps),
            "start v1 beside what runs; send the traffic to v1 100 %; verify; retire v2"
        );
    }
}
