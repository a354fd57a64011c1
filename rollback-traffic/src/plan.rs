//! What has to be said to HAProxy so that its backend is as the note wants it. Pure.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::SocketAddr,
};

use rollback_core::model::{Instance, InstanceId, InstanceState, ReleaseId, Weight};

use crate::{
    backend::{Admin, Backend, Server},
    division::{Division, Portion, shares},
    mark::Mark,
    name::of_server,
};

/// Where the instances of each release answer, as the platform told.
pub(crate) type Told = BTreeMap<ReleaseId, Vec<Instance>>;
/// The shares of the releases that have one.
pub(crate) type Shares = BTreeMap<ReleaseId, Weight>;

/// Commands, and what is to be known of them before they are sent.
#[derive(Debug, PartialEq)]
pub(crate) struct Plan {
    pub(crate) commands: Vec<String>,
    /// How far the shares will be off.
    pub(crate) error: f64,
    /// Releases with a share, and without a server that could serve it.
    pub(crate) nowhere: Vec<ReleaseId>,
    /// Releases with a share whose servers all fail HAProxy's own health checks.
    pub(crate) down: Vec<ReleaseId>,
}

/// How a server should be.
struct Target {
    name: String,
    address: Option<String>,
    admin: Admin,
    weight: u16,
}

/// What is asked of a backend.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Ask<'a> {
    pub(crate) backend: &'a str,
    /// What stands behind `add server` besides address and weight.
    pub(crate) options: &'a str,
    /// None: nobody told since we began, so who is there stays.
    pub(crate) told: Option<&'a Told>,
    pub(crate) shares: &'a Shares,
    /// The shares that were in force before.
    pub(crate) before: &'a Shares,
}

/// Who of a release takes part.
#[derive(Default)]
struct Cast<'a> {
    /// Get new requests if the release has a share.
    serve: Vec<(&'a InstanceId, Option<String>)>,
    /// Are there, and not ready while others are.
    wait: Vec<(&'a InstanceId, Option<String>)>,
    /// Not told any more, or not running.
    leave: Vec<&'a InstanceId>,
}

/// Brings a backend to the shares; says nothing where everything is as it should be.
pub(crate) fn plan(seen: &Backend, ask: &Ask<'_>) -> Plan {
    let mut releases: BTreeSet<&ReleaseId> = seen.releases().into_iter().collect();
    releases.extend(ask.told.iter().flat_map(|told| told.keys()));
    releases.extend(ask.shares.keys());
    let casts: Vec<(&ReleaseId, Cast<'_>)> = releases
        .into_iter()
        .map(|release| (release, cast(seen, ask.told, release)))
        .collect();
    let share = |release: &ReleaseId| ask.shares.get(release).copied().unwrap_or(Weight::NONE);
    let portions: Vec<Portion> = casts
        .iter()
        .map(|(release, cast)| Portion {
            share: share(release),
            servers: u32::try_from(cast.serve.len()).unwrap_or(u32::MAX),
        })
        .collect();
    let division = Division::of(&portions);
    let mut plan = Plan {
        commands: Vec::new(),
        error: division.error(),
        nowhere: Vec::new(),
        down: Vec::new(),
    };
    let (mut gain, mut lose) = (Vec::new(), Vec::new());
    for (place, (release, cast)) in casts.iter().enumerate() {
        if share(release) == Weight::NONE {
            let left = ask.before.contains_key(*release);
            let present = cast.serve.iter().chain(&cast.wait);
            lose.extend(present.map(|(instance, address)| {
                let now = seen.ours.get(&((*release).clone(), (*instance).clone()));
                idle(release, instance, address.clone(), now, left)
            }));
            lose.extend(cast.leave.iter().map(|instance| leaving(release, instance)));
            continue;
        }
        if cast.serve.is_empty() {
            plan.nowhere.push((*release).clone());
        } else if cast
            .serve
            .iter()
            .all(|(instance, _)| is_down(seen, release, instance))
        {
            plan.down.push((*release).clone());
        }
        for ((instance, address), weight) in cast.serve.iter().zip(division.weights(place)) {
            gain.push(target(
                release,
                instance,
                address.clone(),
                Admin::Ready,
                weight,
            ));
        }
        for (instance, address) in &cast.wait {
            lose.push(target(release, instance, address.clone(), Admin::Drain, 1));
        }
        // The last one stays, without traffic, so that the share of its release is not forgotten.
        let mut leave = cast.leave.iter();
        if cast.serve.is_empty() && cast.wait.is_empty() {
            let last = leave.next();
            lose.extend(last.map(|i| target(release, i, None, Admin::Drain, 1)));
        }
        lose.extend(leave.map(|instance| leaving(release, instance)));
    }
    for target in gain.iter().chain(&lose) {
        said(seen, ask, target, &mut plan.commands);
    }
    for stranger in seen.strangers.iter().filter(|server| serves(server)) {
        plan.commands.push(format!(
            "set server {}/{} state maint",
            ask.backend, stranger.name
        ));
    }
    for mark in &seen.old_marks {
        plan.commands
            .push(format!("del server {}/{mark}", ask.backend));
    }
    plan
}

fn cast<'a>(seen: &'a Backend, told: Option<&'a Told>, release: &'a ReleaseId) -> Cast<'a> {
    let mut cast = Cast::default();
    let Some(told) = told else {
        for (instance, server) in seen.of(release) {
            if server.admin == Admin::Maintenance && server.weight == 0 {
                cast.leave.push(instance);
            } else {
                cast.serve.push((instance, None));
            }
        }
        return cast;
    };
    let instances = told.get(release).map(Vec::as_slice).unwrap_or_default();
    for instance in instances {
        let runs = !matches!(
            instance.state,
            InstanceState::Exited { .. } | InstanceState::Stopping
        );
        let address = instance
            .address
            .as_deref()
            .filter(|_| runs)
            .map(str::to_owned);
        match (&instance.state, address) {
            (_, None) => {}
            (InstanceState::Ready, address) => cast.serve.push((&instance.id, address)),
            (_, address) => cast.wait.push((&instance.id, address)),
        }
    }
    if cast.serve.is_empty() {
        std::mem::swap(&mut cast.serve, &mut cast.wait);
    }
    cast.serve.sort();
    let present = |id: &InstanceId| cast.serve.iter().chain(&cast.wait).any(|(i, _)| *i == id);
    let left = seen.of(release).map(|(id, _)| id).filter(|id| !present(id));
    cast.leave = left.collect();
    cast
}

fn is_down(seen: &Backend, release: &ReleaseId, instance: &InstanceId) -> bool {
    let server = seen.ours.get(&(release.clone(), instance.clone()));
    server.is_some_and(|server| server.down)
}

fn target(
    release: &ReleaseId,
    instance: &InstanceId,
    address: Option<String>,
    admin: Admin,
    weight: u16,
) -> Target {
    Target {
        name: of_server(release, instance),
        address,
        admin,
        weight,
    }
}

/// A server of a release without a share. One that has just lost it goes to maintenance, so that
/// users who stick to it leave it too; one that never had any is drained, so that HAProxy sees how
/// it is before it serves.
fn idle(
    release: &ReleaseId,
    instance: &InstanceId,
    address: Option<String>,
    now: Option<&Server>,
    left: bool,
) -> Target {
    let admin = match now.map(|server| server.admin) {
        Some(Admin::Ready | Admin::Drain) if left => Admin::Maintenance,
        Some(Admin::Ready) => Admin::Maintenance,
        Some(other) => other,
        None => Admin::Drain,
    };
    target(release, instance, address, admin, 1)
}

fn leaving(release: &ReleaseId, instance: &InstanceId) -> Target {
    target(release, instance, None, Admin::Maintenance, 0)
}

fn said(seen: &Backend, ask: &Ask<'_>, target: &Target, commands: &mut Vec<String>) {
    let place = format!("{}/{}", ask.backend, target.name);
    let now = seen.ours.values().find(|server| server.name == target.name);
    let Some(now) = now else {
        let Some(address) = &target.address else {
            return;
        };
        let (weight, options) = (target.weight, ask.options);
        commands.push(
            format!("add server {place} {address} weight {weight} {options}")
                .trim_end()
                .to_owned(),
        );
        if checks(options) {
            commands.push(format!("enable health {place}"));
        }
        commands.extend(state(&place, Admin::Maintenance, target.admin));
        return;
    };
    if let Some(address) = target.address.as_ref().filter(|a| **a != now.address)
        && let Ok(address) = address.parse::<SocketAddr>()
    {
        let (ip, port) = (address.ip(), address.port());
        commands.push(format!("set server {place} addr {ip} port {port}"));
    }
    if now.weight != target.weight {
        commands.push(format!("set server {place} weight {}", target.weight));
    }
    commands.extend(state(&place, now.admin, target.admin));
    let leaves = target.admin == Admin::Maintenance && target.weight == 0;
    if leaves && now.open == 0 {
        commands.push(format!("del server {place}"));
    }
}

fn state(place: &str, now: Admin, target: Admin) -> Option<String> {
    let word = match target {
        Admin::Ready => "ready",
        Admin::Drain => "drain",
        Admin::Maintenance => "maint",
    };
    (now != target).then(|| format!("set server {place} state {word}"))
}

fn checks(options: &str) -> bool {
    options.split_whitespace().any(|word| word == "check")
}

fn serves(server: &Server) -> bool {
    server.admin == Admin::Ready && server.weight > 0
}

/// How the traffic is divided: as the note says if the weights are those that follow from it, else
/// as the weights say.
pub(crate) fn in_force(seen: &Backend) -> (Shares, bool) {
    let releases = seen.releases();
    let ready = |release: &ReleaseId| -> Vec<u32> {
        let ready = seen.of(release).filter(|(_, s)| s.admin == Admin::Ready);
        ready.map(|(_, server)| u32::from(server.weight)).collect()
    };
    let weights: Vec<Vec<u32>> = releases.iter().map(|release| ready(release)).collect();
    let totals: Vec<u32> = weights.iter().map(|weights| weights.iter().sum()).collect();
    if let Some(mark) = &seen.mark
        && follows(seen, mark, &releases, &weights, &totals)
    {
        return (mark.shares.clone(), true);
    }
    let shares = releases.into_iter().cloned().zip(shares(&totals));
    (
        shares.filter(|(_, share)| *share > Weight::NONE).collect(),
        false,
    )
}

fn follows(
    seen: &Backend,
    mark: &Mark,
    releases: &[&ReleaseId],
    weights: &[Vec<u32>],
    totals: &[u32],
) -> bool {
    let share = |release: &ReleaseId| mark.shares.get(release).copied().unwrap_or(Weight::NONE);
    let portion = |(release, weights): (&&ReleaseId, &Vec<u32>)| Portion {
        share: share(release),
        servers: u32::try_from(weights.len()).unwrap_or(u32::MAX),
    };
    let portions: Vec<Portion> = releases.iter().zip(weights).map(portion).collect();
    let division = Division::of(&portions);
    let as_noted = |(place, total): (usize, &u32)| *total == division.total(place);
    // A release whose instances all died keeps its share on a server that is drained.
    let kept = |release: &ReleaseId| seen.of(release).any(|(_, s)| s.admin != Admin::Maintenance);
    totals.iter().enumerate().all(as_noted) && mark.shares.keys().all(kept)
}

/// The shares of a backend that carries no note: those that servers of the configuration give to
/// the same addresses; without any, everything to the only release there is.
///
/// # Errors
/// Names the server that belongs to nobody.
pub(crate) fn adopted(seen: &Backend, told: &Told) -> Result<Shares, String> {
    let mut totals: BTreeMap<&ReleaseId, u32> = BTreeMap::new();
    for stranger in seen.strangers.iter().filter(|server| serves(server)) {
        let release = whose(told, stranger).ok_or_else(|| {
            format!(
                "the server `{}` ({}) gets traffic and is no instance of the service; give the service a backend of its own, or set that server to maintenance",
                stranger.name, stranger.address
            )
        })?;
        *totals.entry(release).or_default() += u32::from(stranger.weight);
    }
    if totals.is_empty() {
        let answers = |(release, instances): (&ReleaseId, &Vec<Instance>)| {
            let somewhere = instances.iter().any(|instance| instance.address.is_some());
            somewhere.then(|| release.clone())
        };
        let mut running = told.iter().filter_map(answers);
        return Ok(match (running.next(), running.next()) {
            (Some(only), None) => BTreeMap::from([(only, Weight::ALL)]),
            _ => BTreeMap::new(),
        });
    }
    let counts: Vec<u32> = totals.values().copied().collect();
    let releases = totals.into_keys().cloned();
    Ok(releases.zip(shares(&counts)).collect())
}

fn whose<'a>(told: &'a Told, server: &Server) -> Option<&'a ReleaseId> {
    let here = |instance: &Instance| instance.address.as_deref() == Some(server.address.as_str());
    let found = told
        .iter()
        .find(|(_, instances)| instances.iter().any(here));
    found.map(|(release, _)| release)
}

#[cfg(test)]
#[path = "plan_tests.rs"]
mod tests;
