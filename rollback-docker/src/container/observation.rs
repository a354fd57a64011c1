//! What a deployer sees, in the words of the contract: pure, from one look at the engine.

use std::collections::{BTreeMap, BTreeSet};

use rollback_core::model::{
    ArmObservation, ArmState, ChangeError, Etag, Instance, InstanceId, InstanceState, Observation,
    Pace, ReleaseId, Timestamp, Weight,
};

use super::{
    desired::Desired,
    facts::{Facts, Status},
    look::Sight,
    plan::{Seen, Sizes as _, Step, plan},
};

/// Restarts after which a release whose instance is not ready is said not to get there.
const CRASH_LOOP: u32 = 2;
/// So long must run what has crashed before, to count as ready without a health check.
const STEADY_AFTER_CRASH: i64 = 10_000;
/// An engine whose clock is so far ahead of ours has another clock.
const CLOCKS_DIFFER: i64 = 2_000;

/// What this controller knows besides: nothing here is needed to be right, only to explain.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Known {
    /// Why a container of a release cannot be made.
    pub(crate) troubles: BTreeMap<ReleaseId, String>,
    /// How often this controller started a container again that stood still.
    pub(crate) started: BTreeMap<String, u32>,
    /// Containers that are being stopped.
    pub(crate) stopping: BTreeSet<String>,
}

/// One look in the contract's words.
pub(crate) fn observation(
    sight: &Sight,
    known: &Known,
    steady: i64,
    now: Timestamp,
) -> Result<Observation, ChangeError> {
    let desired = &sight.desired;
    let seen = seen(sight, known, steady, now);
    let stopped: BTreeSet<String> = plan(desired, sight, &seen)
        .into_iter()
        .filter_map(|step| match step {
            Step::Stop(id) => Some(id),
            _ => None,
        })
        .chain(known.stopping.iter().cloned())
        .collect();
    let mut releases: BTreeSet<&ReleaseId> = desired.wanted.iter().map(|(one, _)| one).collect();
    releases.extend(sight.facts.iter().map(|facts| &facts.release));

    let mut arms = Vec::new();
    for release in releases {
        let facts = sight.facts.iter().filter(|one| one.release == *release);
        let facts: Vec<&Facts> = facts.collect();
        let mut instances = Vec::new();
        for one in &facts {
            let restarts = restarts(one, known);
            let state = if stopped.contains(&one.id) {
                InstanceState::Stopping
            } else {
                state_of(one, restarts, steady, now)
            };
            let id = InstanceId::new(&one.name).or_else(|_| InstanceId::new(&one.id));
            let id = id.map_err(ChangeError::refused)?;
            let since = one.started_at.unwrap_or(one.created_at);
            let instance = Instance::new(id, since, state).restarted(restarts);
            instances.push(match &one.address {
                Some(address) => instance.at(address),
                None => instance,
            });
        }
        let arm = if desired.wanted.runs(release) {
            arm_state(sight, known, release, &facts, &instances)
        } else {
            ArmState::Converging
        };
        arms.push((release, arm, instances));
    }
    let weights = weights(desired, &arms);
    let arms: Vec<ArmObservation> = arms
        .into_iter()
        .map(|(release, arm, instances)| {
            let weight = weights.get(release).copied().unwrap_or(Weight::NONE);
            ArmObservation::new(release.clone(), arm, weight, instances)
        })
        .collect();
    let mut observation = Observation::new(desired.wanted.clone(), arms);
    observation.etag = Some(Etag::new(sight.mark()).map_err(ChangeError::refused)?);
    observation.last_change.clone_from(&desired.last_change);
    Ok(observation)
}

/// The containers as the planner sees them.
pub(crate) fn seen(sight: &Sight, known: &Known, steady: i64, now: Timestamp) -> Vec<Seen> {
    let seen = sight.facts.iter().map(|one| {
        let state = state_of(one, restarts(one, known), steady, now);
        Seen {
            id: one.id.clone(),
            release: one.release.clone(),
            index: one.index,
            ready: state == InstanceState::Ready,
            down: one.is_down(),
            stopping: known.stopping.contains(&one.id) || one.status == Status::Removing,
            ours: one.ours,
        }
    });
    seen.collect()
}

/// Starts after the first, whoever made them.
fn restarts(facts: &Facts, known: &Known) -> u32 {
    let by_us = known.started.get(&facts.id).copied().unwrap_or(0);
    facts.restarts.saturating_add(by_us)
}

/// How one container is, if nobody stops it.
fn state_of(facts: &Facts, restarts: u32, steady: i64, now: Timestamp) -> InstanceState {
    match facts.status {
        Status::Created if facts.error.is_empty() => InstanceState::Starting,
        Status::Created | Status::Exited | Status::Restarting => InstanceState::Exited {
            how: facts.how().into(),
        },
        Status::Removing => InstanceState::Stopping,
        // It answers nobody.
        Status::Paused => InstanceState::Unhealthy,
        Status::Other => InstanceState::Starting,
        Status::Running => match facts.health.as_deref() {
            Some("healthy") => InstanceState::Ready,
            Some("unhealthy") => InstanceState::Unhealthy,
            // `starting`, or a word of a later engine.
            Some(_) => InstanceState::Starting,
            None => {
                let since = facts.started_at.map_or(0, Timestamp::as_millis);
                let ran = now.as_millis() - since;
                let needed = match restarts {
                    0 => steady,
                    _ => steady.max(STEADY_AFTER_CRASH),
                };
                if ran >= needed || ran < -CLOCKS_DIFFER {
                    InstanceState::Ready
                } else {
                    InstanceState::Starting
                }
            }
        },
    }
}

/// How far a wanted release is.
fn arm_state(
    sight: &Sight,
    known: &Known,
    release: &ReleaseId,
    facts: &[&Facts],
    instances: &[Instance],
) -> ArmState {
    let failing = |why: String| ArmState::Failing { why: why.into() };
    let ready = instances.iter().filter(|one| is_ready(one)).count();
    let Some(replicas) = sight.replicas(release) else {
        return failing("its definition is lost; deploy the release again".to_owned());
    };
    if ready >= replicas {
        return ArmState::Ready;
    }
    if let Some(trouble) = known.troubles.get(release) {
        return failing(trouble.clone());
    }
    let bad = facts.iter().zip(instances).find_map(|(facts, instance)| {
        let down = !matches!(
            instance.state,
            InstanceState::Ready | InstanceState::Stopping
        );
        if facts.status == Status::Created && !facts.error.is_empty() {
            Some(format!("{} {}", facts.name, facts.how()))
        } else if down && instance.restarts >= CRASH_LOOP {
            Some(format!(
                "{} was started again {} times, after {}",
                facts.name,
                instance.restarts,
                facts.how()
            ))
        } else {
            None
        }
    });
    let bad = bad.or_else(|| all_unhealthy(facts, instances));
    bad.map_or(ArmState::Converging, failing)
}

/// Nothing that runs passes its health check: the engine gave each its time and its retries. One
/// beside others that are well may get well again.
fn all_unhealthy(facts: &[&Facts], instances: &[Instance]) -> Option<String> {
    let mut there = facts
        .iter()
        .zip(instances)
        .filter(|(_, instance)| instance.state != InstanceState::Stopping)
        .peekable();
    let (first, _) = there.peek()?;
    let why = format!(
        "{} fails its health check; if it only needs longer to start, give it a start period",
        first.name
    );
    let unhealthy = |facts: &Facts| {
        facts.status == Status::Running && facts.health.as_deref() == Some("unhealthy")
    };
    there.all(|(facts, _)| unhealthy(facts)).then_some(why)
}

fn is_ready(instance: &Instance) -> bool {
    instance.state == InstanceState::Ready
}

type Arms<'a> = [(&'a ReleaseId, ArmState, Vec<Instance>)];

/// The weights of what is wanted, as far as somebody is there to serve them. While instances take
/// each other's place, each ready one has its part.
fn weights(desired: &Desired, arms: &Arms<'_>) -> BTreeMap<ReleaseId, Weight> {
    let ready = |release: &ReleaseId| {
        let arm = arms.iter().find(|(one, ..)| *one == release);
        arm.map_or(0, |(.., instances)| {
            instances.iter().filter(|one| is_ready(one)).count()
        })
    };
    let rolls = matches!(desired.pace, Some(Pace::Rolling { .. }));
    // Takes another one's place, or leaves its place to another.
    let takes_part = |release: &ReleaseId| {
        if desired.wanted.runs(release) {
            !desired.replaced_by.contains_key(release)
                && desired.replaced_by.values().any(|new| new == release)
        } else {
            desired.replaced_by.contains_key(release)
        }
    };
    let parts = || {
        arms.iter()
            .map(|(one, ..)| *one)
            .filter(|one| takes_part(one))
    };
    let all: usize = parts().map(ready).sum();
    let part_of_old = |release: &ReleaseId| {
        let points = ready(release) * usize::from(Weight::ALL.basis_points()) / all.max(1);
        u16::try_from(points).unwrap_or(u16::MAX)
    };
    let weight = |release: &ReleaseId| match desired.replaced_by.get(release) {
        _ if ready(release) == 0 => Weight::NONE,
        _ if rolls && takes_part(release) => {
            let points = if desired.wanted.runs(release) {
                let olds = parts().filter(|one| !desired.wanted.runs(one));
                let old: u16 = olds.map(part_of_old).sum();
                Weight::ALL.basis_points().saturating_sub(old)
            } else {
                part_of_old(release)
            };
            Weight::from_basis_points(points).unwrap_or(Weight::ALL)
        }
        Some(new) if !desired.wanted.runs(release) && ready(new) == 0 => desired.wanted.weight(new),
        _ => desired.wanted.weight(release),
    };
    arms.iter()
        .map(|(release, ..)| ((*release).clone(), weight(release)))
        .collect()
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use rollback_core::model::Wanted;

    use super::*;
    use crate::container::definition::ContainerDefinition;

    const STEADY: i64 = 1_000;

    fn release(name: &str) -> ReleaseId {
        ReleaseId::new(name).unwrap()
    }

    fn at(second: i64) -> Timestamp {
        Timestamp::from_millis(second * 1_000)
    }

    fn sight(desired: Desired, facts: &[&str]) -> Sight {
        let facts: Vec<Facts> = facts.iter().map(|text| Facts::sample(text)).collect();
        let mut definitions = BTreeMap::new();
        for one in &facts {
            let definition = ContainerDefinition::new("x");
            definitions.insert(one.release.clone(), Arc::new(definition));
        }
        Sight {
            desired,
            facts,
            definitions,
            ..Sight::default()
        }
    }

    fn wanted(name: &str) -> Desired {
        Desired {
            wanted: Wanted::only(release(name)),
            ..Desired::default()
        }
    }

    #[test]
    fn a_container_without_a_health_check_is_ready_when_it_has_run_for_a_while() {
        let mut facts = Facts::sample("v1 running after 10");
        for (second, restarts, health, expected) in [
            (10, 0, None, InstanceState::Starting),
            (11, 0, None, InstanceState::Ready),
            (11, 1, None, InstanceState::Starting),
            (20, 1, None, InstanceState::Ready),
            (5, 0, None, InstanceState::Ready),
            (99, 0, Some("starting"), InstanceState::Starting),
            (99, 0, Some("unhealthy"), InstanceState::Unhealthy),
            (99, 0, Some("poorly"), InstanceState::Starting),
            (10, 9, Some("healthy"), InstanceState::Ready),
        ] {
            facts.health = health.map(str::to_owned);
            let state = state_of(&facts, restarts, STEADY, at(second));
            assert_eq!(state, expected, "{second} {restarts} {health:?}");
        }
    }

    #[test]
    fn a_release_that_cannot_get_there_says_why() {
        let arm = |sight: &Sight, known: &Known| {
            let seen = observation(sight, known, STEADY, at(100)).unwrap();
            seen.arm(&release("v1")).unwrap().state.clone()
        };
        let plain = Known::default();
        let mut one = sight(wanted("v1"), &["v1 restarting after 10"]);
        assert_eq!(arm(&one, &plain), ArmState::Converging);
        one.facts[0].restarts = 2;
        one.facts[0].exit_code = 3;
        let why = format!("{:?}", arm(&one, &plain));
        assert!(why.contains("again 2 times, after exit status 3"), "{why}");
        let mut blocked = sight(wanted("v1"), &["v1 created after 10"]);
        blocked.facts[0].error = "port is already allocated".to_owned();
        let why = format!("{:?}", arm(&blocked, &plain));
        assert!(why.contains("port is already allocated"), "{why}");
        let mut sick = sight(
            wanted("v1"),
            &["v1 running after 10", "v1 running after 11"],
        );
        let definition = ContainerDefinition::new("x").replicas(2);
        sick.definitions.insert(release("v1"), Arc::new(definition));
        for (place, health) in [(0, "starting"), (1, "starting"), (0, "unhealthy")] {
            sick.facts[place].health = Some(health.to_owned());
            assert_eq!(arm(&sick, &plain), ArmState::Converging, "it may get well");
        }
        sick.facts[1].health = Some("unhealthy".to_owned());
        let why = format!("{:?}", arm(&sick, &plain));
        assert!(why.contains("fails its health check"), "{why}");
        let mut known = Known::default();
        known.troubles.insert(release("v1"), "no image".to_owned());
        let nothing = sight(wanted("v1"), &[]);
        let why = format!("{:?}", arm(&nothing, &known));
        assert!(why.contains("definition is lost"), "{why}");
        let why = format!("{:?}", arm(&one, &known));
        assert!(why.contains("no image"), "{why}");
        one.facts.push(Facts::sample("v1 running after 10"));
        assert_eq!(arm(&one, &known), ArmState::Ready);
    }

    #[test]
    fn what_makes_room_keeps_the_traffic_until_its_replacement_serves() {
        let mut desired = wanted("v2");
        desired.replaced_by.insert(release("v1"), release("v2"));
        let weights = |desired: &Desired, facts: &[&str]| -> Vec<(u16, bool)> {
            let sight = sight(desired.clone(), facts);
            let seen = observation(&sight, &Known::default(), STEADY, at(100)).unwrap();
            let stopping = |arm: &ArmObservation| {
                let mut all = arm.instances.iter();
                all.any(|one| one.state == InstanceState::Stopping)
            };
            let arms = seen.arms.iter();
            arms.map(|arm| (arm.weight.basis_points(), stopping(arm)))
                .collect()
        };
        let old = "v1 running after 10";
        assert_eq!(
            weights(&desired, &[old, "v2 created after 10"]),
            [(10_000, false), (0, false)]
        );
        assert_eq!(
            weights(&desired, &[old, "v2 running after 10"]),
            [(0, true), (10_000, false)]
        );
        desired.pace = Some(Pace::Rolling {
            max_unavailable: 0,
            max_surge: 1,
        });
        let lone = weights(&desired, &[old, "v2 created after 10"]);
        assert_eq!(lone, [(10_000, false), (0, false)]);
        desired.replaced_by.clear();
        let beside = desired.wanted.clone().with(release("v1"), Weight::NONE);
        desired.wanted = beside;
        let both = [old, "v2 running after 10"];
        assert_eq!(weights(&desired, &both), [(0, false), (10_000, false)]);
    }
}
