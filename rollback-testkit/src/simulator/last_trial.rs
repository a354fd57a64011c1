//! A last deployment in a world that has become quiet: it has to end as its candidate deserves, and in time.

use std::time::Duration;

use rollback_core::{
    entry::{Deploy, Fact, Standing},
    model::{Outcome, ReleaseId, Wanted},
    policy::{Mode, OnInconclusive, Policy, Rule},
};

use super::{Invariant, plans::longest, scenario::Kind, world::World};

/// One more deployment on a world in which nothing goes wrong: it ends as its release deserves.
pub(super) fn last_deployment(world: &mut World<'_>) {
    if world.violation.is_some() {
        return;
    }
    // The budget is full again, the platform at rest.
    let rested = world.now.after(Duration::from_secs(3_600));
    world.run(rested);
    let Some(policy) = world.policy().cloned() else {
        return;
    };
    if policy.mode == Mode::Observe || world.known.irreversible {
        return;
    }
    let Some((stable, candidate, kind)) = fair_trial(world) else {
        return;
    };
    let began = world.now;
    let first = world.journal.len();
    world.command_after(
        Duration::from_millis(1),
        Deploy::new(candidate.clone(), format!("release {candidate}"))
            .overriding(true)
            .into(),
    );
    let bound = bound(&policy);
    while world.now < began.after(bound) && world.violation.is_none() {
        let next = world.now.after(Duration::from_secs(2));
        world.run(next.min(began.after(bound)));
        world.approve();
    }
    if world.violation.is_some() {
        return;
    }
    let outcome = world.outcome_of_last().cloned();
    let opened = world.journal.iter().skip(first).any(|entry| {
        let opens = |fact: &Fact| matches!(fact, Fact::DeploymentOpened { .. });
        entry.facts.iter().any(opens)
    });
    let held = world.known.open.as_ref().and_then(|open| open.hold.clone());
    let deserved = match (&outcome, kind) {
        (_, _) if !opened => false,
        _ if world.known.open.is_some() => false,
        (Some(Outcome::Promoted { release }), Kind::Good) => *release == candidate,
        (Some(Outcome::RolledBack { from, to, .. }), kind) if kind.is_clearly_bad() => {
            *from == candidate && *to == stable
        }
        (Some(Outcome::Refused { .. }), Kind::Missing) => true,
        _ => false,
    };
    if !deserved {
        world.violate(
            Invariant::Useful,
            format!(
                "{candidate} is {kind:?}, nothing went wrong, and after {} s it came to \
                 {outcome:?}, held {held:?}",
                bound.as_secs()
            ),
        );
        return;
    }
    if kind == Kind::Errors {
        noticed_in_time(world, first, &policy);
    }
}

/// From the first traffic to the decision: the rule's time, a few polls, no more.
fn noticed_in_time(world: &mut World<'_>, first: usize, policy: &Policy) {
    let mut shifted = None;
    let mut decided = None;
    for entry in world.journal.iter().skip(first) {
        for fact in &entry.facts {
            match fact {
                Fact::ChangeIntended {
                    change: rollback_core::model::Change::Weights { .. },
                    ..
                } if shifted.is_none() => shifted = Some(entry.at),
                Fact::RollbackDecided { .. } if decided.is_none() => decided = Some(entry.at),
                _ => {}
            }
        }
    }
    let for_ = policy
        .triggers
        .iter()
        .find_map(|rule| match &rule.rule {
            Rule::When { shape, .. } if *rule.name == *"errors" => {
                Some(shape.longest(policy.poll) + rule.delay)
            }
            _ => None,
        })
        .unwrap_or_default();
    let bound = for_ + policy.poll * 4 + Duration::from_secs(8);
    if let (Some(shifted), Some(decided)) = (shifted, decided)
        && decided.since(shifted) > bound
    {
        world.violate(
            Invariant::Useful,
            format!(
                "traffic was sent at {shifted}, the rollback decided at {decided}: later than {} s",
                bound.as_secs()
            ),
        );
    }
}

/// A deployment of which it is clear how it has to end; none in a world too messed up for that.
fn fair_trial(world: &mut World<'_>) -> Option<(ReleaseId, ReleaseId, Kind)> {
    let truth = world.model.truth(&world.scenario.service).ok()?;
    let policy = world.policy()?.clone();
    let serving = truth.wanted.main()?.clone();
    let stable = world.known.proven().next().cloned();
    let adopts = stable.is_none()
        && policy.bootstrap == rollback_core::policy::Bootstrap::TrustRunning
        && truth.is_ready(&serving);
    if truth.wanted != Wanted::only(serving.clone())
        || !(adopts || stable.as_ref() == Some(&serving))
        || world.scenario.kind(&serving) != Kind::Good
        || world.scenario.behaviour(&serving)?.error_rate > super::scenario::ERROR_LIMIT
    {
        return None;
    }
    let mut trials: Vec<_> = world
        .scenario
        .releases
        .iter()
        .filter(|(release, kind, _)| {
            let wanted = *kind == Kind::Good || kind.is_clearly_bad() || *kind == Kind::Missing;
            *release != serving && wanted && world.known.standing(release) != Standing::Proven
        })
        .map(|(release, kind, _)| (release.clone(), *kind))
        .collect();
    if policy.on_inconclusive == OnInconclusive::Hold {
        // A comparison without a single error in sight cannot tell.
        let compares = |rule: &Rule| matches!(rule, Rule::Compare { .. });
        if policy.triggers.iter().any(|rule| compares(&rule.rule)) {
            trials.retain(|(_, kind)| *kind != Kind::Good);
        }
    }
    let (candidate, kind) = world.random.pick(&trials)?.clone();
    Some((serving, candidate, kind))
}

/// Everything that one deployment may take, one after the other.
fn bound(policy: &Policy) -> Duration {
    let deadlines = policy.deadlines;
    deadlines.preflight
        + deadlines.converge * 2
        + deadlines.shift * 3
        + deadlines.retire * 2
        + policy.bake
        + policy.verify.within
        + deadlines.permit
        + longest(policy)
        + Duration::from_secs(90)
}
