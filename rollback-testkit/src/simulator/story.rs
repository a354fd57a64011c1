//! The course of one seed: chaos, healing, a last deployment, and the replay.

use std::{sync::Arc, time::Duration};

use rollback_core::{
    entry::{Command, Deploy},
    model::{Irreversible, ReleaseId, Timestamp},
    policy::{Foreign, Mode, Policy},
};

use super::{
    Invariant, MakeEngine, Report,
    kinds::with_more_kinds,
    last_trial::last_deployment,
    plans::with_plan,
    random::Random,
    scenario::{Kind, SECRET, Scenario},
    world::{Event, World},
};

/// How long healing may take: all deadlines of one deployment, several times over.
const HEALED_WITHIN: Duration = Duration::from_secs(2 * 3_600);
/// How often the person looks during the healing.
const LOOKS_EVERY: Duration = Duration::from_secs(30);

pub(super) fn tell(seed: u64, make: MakeEngine<'_>) -> Report {
    let mut random = Random::seeded(seed);
    let scenario = Scenario::of(&mut random);
    // Its own stream, so that other worlds stay as they were.
    let mut orders = Random::seeded(seed ^ 0x0b5e_55ed);
    let strict = orders.chance(350);
    let seasoned = !strict && orders.chance(300);
    let mut scenario = scenario;
    if strict {
        scenario.redraw(|policy| with_authority(policy, &mut orders));
    }
    let mut kinds = Random::seeded(seed ^ 0x0c0a_1e5c);
    if kinds.chance(250) {
        scenario.redraw(|policy| with_more_kinds(policy, &mut kinds));
    }
    let mut plans = Random::seeded(seed ^ 0x0071_a2ed);
    if plans.chance(400) {
        scenario.redraw(|policy| with_plan(policy, &mut plans));
    }
    let seasoned = seasoned && scenario.season();
    let mut world = World::new(make, scenario, random);
    if seasoned {
        season(&mut world);
    }
    if world.scenario.intensity > 0 {
        if strict {
            give_orders(&mut world, &mut orders);
        }
        for _ in 0..plans.below(4) {
            let length = u64::try_from(world.scenario.chaos.as_millis()).unwrap_or(0);
            let when = plans.millis(1_000, length);
            world.after(when, Event::Approve);
        }
        chaos(&mut world);
    }
    heal(&mut world);
    last_deployment(&mut world);
    if world.violation.is_none() && world.known.open.is_none() {
        world.no_task_is_left();
    }
    if world.violation.is_none() {
        replay(&mut world, make, seed);
    }
    Report::of(
        seed,
        world.inputs,
        &world.journal,
        world.coverage,
        world.violation,
    )
}

/// A policy that may only observe, or that cares for what others deploy.
fn with_authority(policy: &Arc<Policy>, random: &mut Random) -> Arc<Policy> {
    let mut policy = (**policy).clone();
    if random.chance(250) {
        policy.mode = Mode::Observe;
    }
    policy.foreign = match random.below(3) {
        0 => Foreign::Ignore,
        1 => Foreign::Adopt,
        _ => Foreign::Hold,
    };
    Arc::new(policy)
}

/// Some releases are proven before anything goes wrong, so that there is more than one to return to.
fn season(world: &mut World<'_>) {
    for number in 2..=3 {
        let release = super::scenario::release_id(number);
        let deploy = Deploy::new(release, format!("release v{number}"));
        world.command_after(Duration::from_millis(1), deploy.into());
        let until = world.now.after(Duration::from_secs(300));
        world.run(until);
    }
}

/// Freezes, the kill switch, hotfixes, what cannot be taken back, and others who deploy while
/// nothing is under way.
fn give_orders(world: &mut World<'_>, random: &mut Random) {
    let length = u64::try_from(world.scenario.chaos.as_millis()).unwrap_or(0);
    for _ in 0..random.below(4) {
        let when = random.millis(500, length);
        let command = match random.below(8) {
            0 => Command::Freeze { until: None },
            1 => Command::Freeze {
                until: Some(world.now.after(when + random.millis(1_000, 120_000))),
            },
            2 => Command::Unfreeze,
            3 | 4 => Command::KillSwitch { on: true },
            5 => Command::KillSwitch { on: false },
            _ => {
                let number = usize::try_from(random.between(1, 8)).unwrap_or(1);
                let release = super::scenario::release_id(number);
                let lost = random.chance(700);
                Deploy::new(release, format!("release v{number}"))
                    .expedited(random.chance(400))
                    .overriding(random.chance(400))
                    .irreversible(lost.then(|| {
                        if random.chance(500) {
                            Irreversible::at_once("orders")
                        } else {
                            Irreversible::under_traffic("orders")
                        }
                    }))
                    .into()
            }
        };
        world.command_after(when, command);
    }
    for _ in 0..random.below(4) {
        let when = random.millis(500, length);
        let number = usize::try_from(random.between(1, 8)).unwrap_or(1);
        let release = super::scenario::release_id(number);
        if world.scenario.kind(&release) != Kind::Missing {
            for time in 0..random.between(1, 3) {
                let again = Duration::from_secs(150 * time);
                world.foreign_after(when + again, release.clone());
            }
        }
    }
}

/// Deployments, people, somebody else, and faults.
fn chaos(world: &mut World<'_>) {
    let length = u64::try_from(world.scenario.chaos.as_millis()).unwrap_or(0);
    let deploys = world.random.between(1, 4);
    let mut when = 500;
    for _ in 0..deploys {
        let command = deploy(world);
        world.command_after(Duration::from_millis(when), command);
        when += world.random.between(5_000, length / deploys + 10_000);
    }
    for _ in 0..world.random.below(5) {
        let when = world.random.millis(1_000, length);
        let command = match world.random.below(10) {
            0 | 1 => Command::Pause,
            2 | 3 => Command::Resume,
            4 => Command::Promote,
            5 => Command::Abort,
            6 => Command::RollBack { to: None },
            7 => Command::RollBack {
                to: Some(any_release(world)),
            },
            8 => Command::AdoptPolicy,
            _ => deploy(world),
        };
        world.command_after(when, command);
    }
    if world.random.chance(200) {
        let when = world.random.millis(1_000, length);
        world.policy_after(when, 1);
    }
    if world.random.chance(60 * world.scenario.intensity) {
        let (when, release) = (world.random.millis(1_000, length), any_release(world));
        if world.scenario.kind(&release) != Kind::Missing {
            let again = if world.scenario.stubborn { 6 } else { 1 };
            for time in 0..again {
                let pause = Duration::from_secs(15) * time;
                world.foreign_after(when + pause, release.clone());
            }
        }
    }
    for _ in 0..world.random.below(3) {
        let from = world.now.after(world.random.millis(1_000, length));
        let to = from.after(world.random.millis(1_000, 90_000));
        world.blind_between(from, to);
    }
    if world.random.chance(300) {
        let from = world.now.after(world.random.millis(1_000, length));
        let to = from.after(world.random.millis(20_000, 120_000));
        world.outage_between(from, to);
    }
    let until = world.now.after(Duration::from_millis(length));
    world.run(until);
}

fn any_release(world: &mut World<'_>) -> ReleaseId {
    let all = world.scenario.releases.clone();
    match world.random.pick(&all) {
        Some((release, _, _)) => release.clone(),
        None => super::scenario::release_id(1),
    }
}

fn deploy(world: &mut World<'_>) -> Command {
    let release = any_release(world);
    let name = format!("release {release}");
    Deploy::new(release, name)
        .overriding(world.random.chance(150))
        .into()
}

/// Faults are over and a person looks after holds: everything must end.
fn heal(world: &mut World<'_>) {
    world.heal();
    world.command_after(Duration::from_millis(1), Command::KillSwitch { on: false });
    if world.known.frozen.is_some() {
        world.command_after(Duration::from_millis(2), Command::Unfreeze);
    }
    let next = world.now.after(Duration::from_millis(10));
    world.run(next);
    let until = world.now.after(HEALED_WITHIN);
    let mut held: (Option<Timestamp>, u32) = (None, 0);
    while world.known.open.is_some() && world.violation.is_none() {
        if world.now >= until {
            let phase = world.known.phase();
            let status = world.in_charge().map(rollback_core::engine::Engine::status);
            let active = status.and_then(|status| status.active);
            world.violate(
                Invariant::Termination,
                format!("healed for two hours, and a deployment has not ended: {phase} {active:?}"),
            );
            return;
        }
        let next = world.now.after(LOOKS_EVERY);
        world.run(next);
        let since = world
            .known
            .open
            .as_ref()
            .and_then(|open| open.hold.as_ref())
            .map(|(_, since)| *since);
        if since.is_some() {
            world.resolve_hold(held.1);
            held.1 += 1;
        }
        if held.0 != since {
            held.0 = since;
        }
    }
}

/// The same inputs, handled anew, give the same entries; restored, the same status; and what is
/// written down is read back the same.
fn replay(world: &mut World<'_>, make: MakeEngine<'_>, seed: u64) {
    let config = world.config();
    let mut again = make(config.clone());
    let mut restored = make(config);
    let thorough = seed.is_multiple_of(8);
    let mut found = None;
    for entry in &world.journal {
        let replayed = again.handle(entry.at, entry.input.clone());
        while again.poll().is_some() {}
        restored.restore(entry);
        if replayed != *entry {
            found = Some((
                Invariant::Determinism,
                format!(
                    "entry {} is replayed as {replayed:?}, not {entry:?}",
                    entry.seq
                ),
            ));
            break;
        }
        if thorough {
            let bytes = serde_json::to_string(entry).unwrap_or_default();
            if serde_json::to_string(&replayed).ok().as_ref() != Some(&bytes) {
                found = Some((
                    Invariant::Determinism,
                    format!("entry {} is replayed in other bytes", entry.seq),
                ));
                break;
            }
            if serde_json::from_str(&bytes).ok().as_ref() != Some(entry) {
                found = Some((
                    Invariant::Determinism,
                    format!("entry {} is not read back as it was: {bytes}", entry.seq),
                ));
                break;
            }
            if bytes.contains(SECRET) {
                found = Some((
                    Invariant::NoSecrets,
                    format!("entry {} shows a secret", entry.seq),
                ));
                break;
            }
        }
    }
    if found.is_none() {
        let (one, other) = (again.status(), restored.status());
        if one != other {
            found = Some((
                Invariant::Determinism,
                format!("replayed {one:?}, restored {other:?}"),
            ));
        }
    }
    if let Some((invariant, what)) = found {
        world.violate(invariant, what);
    }
}
