//! Plans: from what the platform wants now to the candidate, or back to a proven release.

use std::sync::Arc;

use crate::{
    entry::Step,
    model::{Observation, Pace, Placement, ReleaseId, Share, Wanted, Weight},
    policy::{PlannedStep, Policy, TaskRule, TaskWhen},
    ports::Capabilities,
};

/// The steps of a deployment where one release serves everybody and another one follows it: what a
/// policy asks for, before anything is known.
pub(crate) fn foreseen(policy: &Policy, stable: &ReleaseId, candidate: &ReleaseId) -> Vec<Step> {
    let wanted = Wanted::only(stable.clone());
    rollout(policy, &wanted, Some(stable), candidate)
}

/// What a platform must be able to do for a policy's plans, and cannot.
pub(super) fn missing(policy: &Policy, can: Capabilities) -> Option<String> {
    let name = policy.strategy.name();
    let steps = policy.strategy.steps();
    let divides = steps
        .iter()
        .any(|step| matches!(step, PlannedStep::Weight(_)));
    match policy.strategy.placement() {
        Placement::Beside if !can.two_arms || (divides && !can.weights) => Some(format!(
            "`{name}` needs a platform that runs two releases side by side and divides traffic \
             between them; join a traffic shifter with `WithTraffic`, or use `rolling` or `recreate`"
        )),
        Placement::Beside => None,
        Placement::InPlace(_) if !can.in_place => Some(format!(
            "`{name}` replaces what runs in its place, and this platform cannot; use `blue_green` \
             or `canary`"
        )),
        Placement::InPlace(Pace::Rolling { .. }) if !can.rolling => Some(format!(
            "`{name}` needs a platform that replaces instances one by one, and this one cannot; \
             use another strategy, such as `blue_green` or `recreate`"
        )),
        Placement::InPlace(Pace::StopFirst) if !can.stops_first => Some(format!(
            "`{name}` needs a platform that stops what runs before it starts the replacement, and \
             this one cannot; use another strategy, such as `blue_green` or `rolling`"
        )),
        Placement::InPlace(_) => None,
    }
}

/// The steps that bring the candidate into production.
pub(super) fn rollout(
    policy: &Policy,
    wanted: &Wanted,
    stable: Option<&ReleaseId>,
    candidate: &ReleaseId,
) -> Vec<Step> {
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
    steps.extend(tasks(policy, TaskWhen::Before));
    let mut serves_all = false;
    let planned = policy.strategy.steps();
    for (index, step) in planned.iter().enumerate() {
        match step {
            PlannedStep::Converge(placement) => {
                steps.push(Step::Converge {
                    release: candidate.clone(),
                    placement: *placement,
                });
                if !matches!(planned.get(index + 1), Some(PlannedStep::Check(_))) {
                    steps.extend(tasks(policy, TaskWhen::Ready));
                }
            }
            PlannedStep::Check(hold_for) => {
                steps.push(Step::Check {
                    hold_for: *hold_for,
                });
                let first = index.checked_sub(1).and_then(|before| planned.get(before));
                if matches!(first, Some(PlannedStep::Converge(_))) {
                    steps.extend(tasks(policy, TaskWhen::Ready));
                }
            }
            PlannedStep::Task(name) => {
                let named = policy.tasks.iter().filter(|task| task.name == *name);
                steps.extend(named.map(task));
            }
            PlannedStep::Gate { name, within, then } => steps.push(Step::Gate {
                name: Arc::clone(name),
                within: *within,
                then: *then,
            }),
            PlannedStep::Weight(weight) => match stable_runs {
                Some(stable) if *weight < Weight::ALL => {
                    steps.push(divided(candidate, *weight, stable));
                }
                // Without a release to share with, the first share is everything.
                _ if serves_all => {}
                _ => {
                    steps.push(everything_to(candidate));
                    serves_all = true;
                }
            },
            PlannedStep::Wait(length) => steps.push(Step::Wait { length: *length }),
            PlannedStep::Bake => steps.push(Step::Bake {
                length: policy.bake,
            }),
            PlannedStep::Retire => match stable_runs {
                Some(stable) => steps.push(Step::Retire {
                    release: stable.clone(),
                }),
                None => steps.extend(retire_all_but(wanted, candidate)),
            },
        }
    }
    steps.extend(tasks(policy, TaskWhen::After));
    steps
}

/// The steps that take the candidate without further evidence.
pub(super) fn promotion(policy: &Policy, wanted: &Wanted, candidate: &ReleaseId) -> Vec<Step> {
    let placement = policy.strategy.placement();
    let mut steps = vec![Step::Converge {
        release: candidate.clone(),
        placement,
    }];
    if !placement.is_in_place() {
        steps.push(everything_to(candidate));
        steps.extend(retire_all_but(wanted, candidate));
    }
    steps.extend(tasks(policy, TaskWhen::After));
    steps
}

/// The steps back to `target` from where the rollout stands: traffic first while the target is
/// still warm; else it is started the way the candidate was; old capacity goes last. Before all of
/// it the tasks of `restores` bring data back.
pub(super) fn rollback(
    policy: &Policy,
    restores: &[&TaskRule],
    wanted: &Wanted,
    seen: Option<&Observation>,
    target: &ReleaseId,
) -> Vec<Step> {
    let mut steps: Vec<Step> = restores.iter().copied().map(task).collect();
    let placement = policy.strategy.placement();
    let ready = |release: &ReleaseId| {
        wanted.runs(release) && seen.is_some_and(|seen| seen.is_ready(release))
    };
    let warm = ready(target);
    let alone = wanted.runs(target) && wanted.iter().count() == 1;
    let verify = Step::Verify {
        hold_for: policy.verify.hold_for,
    };
    if placement.is_in_place() && (alone || !warm) {
        // What was half replaced is replaced back in place.
        let back = Step::Converge {
            release: target.clone(),
            placement: policy.strategy.placement_back(),
        };
        steps.extend([back, verify]);
        steps.extend(tasks(policy, TaskWhen::After));
        return steps;
    }
    if !warm {
        steps.push(Step::Converge {
            release: target.clone(),
            placement: Placement::Beside,
        });
    }
    if warm && let Some(leaving) = wanted.iter().find(|(one, _)| *one != target) {
        let (leaving, _) = leaving;
        // What does not even run is not given another request.
        if ready(leaving) && wanted.iter().count() == 2 {
            let now = wanted.weight(target);
            for share in policy.strategy.shares_back() {
                if *share > now && *share < Weight::ALL {
                    steps.push(divided(target, *share, leaving));
                    steps.push(Step::Wait {
                        length: policy.poll,
                    });
                }
            }
        }
    }
    steps.push(everything_to(target));
    steps.push(verify);
    steps.extend(retire_all_but(wanted, target));
    steps.extend(tasks(policy, TaskWhen::After));
    steps
}

/// The tasks that the policy has at this place, in the order of their names.
fn tasks(policy: &Policy, when: TaskWhen) -> impl Iterator<Item = Step> {
    let here = policy
        .tasks
        .iter()
        .filter(move |task| task.when == Some(when));
    here.map(task)
}

fn task(task: &TaskRule) -> Step {
    Step::Task {
        name: Arc::clone(&task.name),
        within: task.within,
        on_failure: task.on_failure,
    }
}

/// A share of the traffic for one release, and the rest for another.
fn divided(one: &ReleaseId, weight: Weight, other: &ReleaseId) -> Step {
    let share = |release: &ReleaseId, weight| Share {
        release: release.clone(),
        weight,
    };
    Step::Weights {
        shares: vec![share(one, weight), share(other, weight.rest())],
    }
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
#[path = "plan_tests.rs"]
mod tests;
