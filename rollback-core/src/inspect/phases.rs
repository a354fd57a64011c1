//! What guards each phase of a deployment.

use std::sync::Arc;

use serde::Serialize;

use crate::{
    engine::foreseen,
    entry::Step,
    model::{Action, Placement, ReleaseId, Weight, duration_text},
    policy::{OnTimeout, Policy, TriggerRule},
};

/// The rule that is always there: a candidate that crashes or gets stuck.
const BUILT_IN: &str = "deployment_failed";
const STABLE: &str = "stable";
const CANDIDATE: &str = "candidate";

/// A step of the rollout, and what may end it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct Phase {
    /// What happens.
    pub what: String,
    /// The candidate's share of the users meanwhile.
    pub candidate_traffic: Weight,
    /// The triggers that may hold or roll back meanwhile.
    pub guarded_by: Vec<Arc<str>>,
}

/// Every step from the first change to the last one.
#[must_use]
pub fn phases(policy: &Policy) -> Vec<Phase> {
    let (Ok(stable), Ok(candidate)) = (ReleaseId::new(STABLE), ReleaseId::new(CANDIDATE)) else {
        return Vec::new();
    };
    let mut traffic = (Weight::NONE, Weight::ALL);
    foreseen(policy, &stable, &candidate)
        .into_iter()
        .map(|step| {
            if let Step::Converge {
                placement: Placement::InPlace(_),
                ..
            } = &step
            {
                // It takes the traffic over as it comes, and is watched meanwhile.
                traffic = (Weight::ALL, Weight::NONE);
            }
            if let Step::Weights { shares } = &step {
                let of = |release: &ReleaseId| {
                    shares
                        .iter()
                        .find(|share| share.release == *release)
                        .map_or(Weight::NONE, |share| share.weight)
                };
                traffic = (of(&candidate), of(&stable));
            }
            Phase {
                what: said(&step),
                candidate_traffic: traffic.0,
                guarded_by: guards(policy, traffic),
            }
        })
        .collect()
}

fn said(step: &Step) -> String {
    match step {
        Step::Converge { release, placement } => match placement {
            Placement::Beside => format!("start the {} beside what runs", named(release)),
            Placement::InPlace(pace) => {
                format!("replace what runs by the {}, {pace}", named(release))
            }
        },
        Step::Check { hold_for } if hold_for.is_zero() => "check that it is ready".to_owned(),
        Step::Check { hold_for } => {
            format!("check that it is ready for {}", duration_text(*hold_for))
        }
        Step::Weights { shares } => {
            let shares: Vec<String> = shares
                .iter()
                .map(|share| format!("{} to the {}", share.weight, named(&share.release)))
                .collect();
            format!("send {}", shares.join(", "))
        }
        Step::Gate { name, within, then } => {
            let then = match then {
                OnTimeout::Hold => "hold",
                OnTimeout::RollBack => "roll back",
                OnTimeout::Promote => "go on",
            };
            format!(
                "wait at gate `{name}` for a person, {} at most, then {then}",
                duration_text(*within)
            )
        }
        Step::Task { name, within, .. } => {
            format!("run task `{name}` within {}", duration_text(*within))
        }
        Step::Wait { length } => format!("wait for {}", duration_text(*length)),
        Step::Bake { length } => format!("bake for {}", duration_text(*length)),
        Step::Retire { release } => format!("stop the {}", named(release)),
        other => other.word().to_owned(),
    }
}

fn named(release: &ReleaseId) -> &'static str {
    if release.as_str() == STABLE {
        "stable release"
    } else {
        CANDIDATE
    }
}

/// A rule sees the candidate once it has traffic, and compares while both arms have some.
fn guards(policy: &Policy, (candidate, stable): (Weight, Weight)) -> Vec<Arc<str>> {
    let seen = |rule: &&TriggerRule| {
        let two_arms = policy.needs_two_arms(rule);
        rule.action >= Action::Hold
            && candidate > Weight::NONE
            && (!two_arms || stable > Weight::NONE)
    };
    let rules = policy.triggers.iter().filter(seen);
    rules
        .map(|rule| Arc::clone(&rule.name))
        .chain([Arc::from(BUILT_IN)])
        .collect()
}
