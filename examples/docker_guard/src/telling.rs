//! What runs and what was: the engine looked at, the journal read.

use std::time::Duration;

use rollback::{
    Account,
    engine::{Engine as Rules, EngineConfig, Status},
    entry::{Entry, Fact},
    model::{
        Actor, DeploymentId, InstanceState, Observation, Outcome, ReleaseId, Seq, ServiceId,
        Timestamp, duration_text,
    },
    ports::{Capabilities, Journal},
};
use rollback_docker::Engine;
use serde_json::json;

use crate::{
    cli::{OfService, WhyArgs},
    exit::{FINE, Fallible, Trouble},
    following::go_on,
    guarding::Platform,
    lines::{data, progress},
    settings::{Place, Settings},
};

const PAGE: usize = 1024;

pub(crate) async fn status(place: &Place, args: &OfService, json: bool) -> Fallible<u8> {
    let settings = Settings::known(place, &args.service)?;
    let platform = Platform::of(&Engine::from_env()?, place, &args.service, &settings)?;
    let seen = platform.whole().observe(&args.service).await?;
    let running = platform.containers().running(&args.service).await?;
    let known = standing(&args.service, &entries(place, &args.service).await?);
    let name = |release: &ReleaseId| {
        let found = running.iter().find(|one| one.id == *release);
        found.map_or_else(|| release.to_string(), |one| one.name.to_string())
    };
    if json {
        let document = json!({ "service": args.service, "platform": seen, "controller": known });
        data(document);
        return Ok(FINE);
    }
    data(&args.service);
    data(arms(&seen, name).trim_end());
    match &known.active {
        Some(active) => {
            data(format_args!(
                "  deployment {} of {}: {}, {}",
                active.deployment, active.name, active.phase, active.step_word
            ));
            if let Some(hold) = &active.hold {
                data(format_args!("  held: {hold}"));
            }
            match place.guard_of(&args.service)? {
                Some(owner) => data(format_args!("  guarded by {owner}")),
                None => data(go_on(&args.service)),
            }
        }
        None => data("  nothing is being deployed"),
    }
    if let Some((deployment, outcome)) = known.outcomes.last() {
        data(format_args!("  last: {deployment} {}", outcome.word()));
    }
    Ok(FINE)
}

fn arms(seen: &Observation, name: impl Fn(&ReleaseId) -> String) -> String {
    let mut text = String::new();
    for arm in seen.arms.iter() {
        let share = seen.wanted.weight(&arm.release);
        text.push_str(&format!(
            "  {} ({}), {share}:\n",
            name(&arm.release),
            arm.release
        ));
        for instance in arm.instances.iter() {
            let address = instance.address.as_deref().unwrap_or("no address");
            text.push_str(&format!(
                "    {} at {address}: {}\n",
                instance.id,
                state_words(&instance.state)
            ));
        }
    }
    if seen.arms.is_empty() {
        text.push_str("  nothing runs\n");
    }
    text
}

fn state_words(state: &InstanceState) -> String {
    match state {
        InstanceState::Starting => "starting".to_owned(),
        InstanceState::Ready => "ready".to_owned(),
        InstanceState::Unhealthy => "runs, and its health check fails".to_owned(),
        InstanceState::Exited { how } => format!("ended: {how}"),
        InstanceState::Stopping => "being stopped".to_owned(),
        _ => "in a state that this version does not know".to_owned(),
    }
}

async fn entries(place: &Place, service: &ServiceId) -> Fallible<Vec<Entry>> {
    let (mut all, mut after) = (Vec::new(), Seq::default());
    let Some(journal) = place.journal_to_read()? else {
        return Ok(all);
    };
    loop {
        let page = journal
            .read(service, after, PAGE)
            .await
            .map_err(Trouble::broke)?;
        let whole = page.len() == PAGE;
        if let Some(last) = page.last() {
            after = last.seq;
        }
        all.extend(page);
        if !whole {
            return Ok(all);
        }
    }
}

/// How the service stood at the last entry.
fn standing(service: &ServiceId, entries: &[Entry]) -> Status {
    // What the platform could do has no part in what was decided.
    let capabilities = Capabilities::least(Duration::ZERO);
    let mut rules = Rules::new(EngineConfig::new(service.clone(), capabilities));
    for entry in entries {
        rules.restore(entry);
    }
    rules.status()
}

pub(crate) async fn why(place: &Place, args: &WhyArgs, json: bool) -> Fallible<u8> {
    let entries = entries(place, &args.service).await?;
    let newest = pasts(&entries).last().map(|past| past.deployment.clone());
    let id =
        args.deployment.clone().or(newest).ok_or_else(|| {
            Trouble::asked(format!("nothing was ever deployed to {}", args.service))
        })?;
    let account = Account::from_entries(&args.service, &id, &entries).ok_or_else(|| {
        Trouble::asked(format!(
            "{0} has no deployment `{id}`: `docker_guard history {0}` lists them",
            args.service
        ))
    })?;
    if json {
        data(serde_json::to_string(&account).map_err(Trouble::broke)?);
    } else {
        data(account.to_string().trim_end());
    }
    Ok(FINE)
}

/// What became of a deployment.
struct Past {
    deployment: DeploymentId,
    release: ReleaseId,
    name: String,
    actor: Actor,
    opened: Timestamp,
    ended: Option<(Timestamp, Outcome)>,
}

fn pasts(entries: &[Entry]) -> Vec<Past> {
    let mut all: Vec<Past> = Vec::new();
    for entry in entries {
        for fact in &entry.facts {
            match fact {
                Fact::DeploymentOpened {
                    deployment,
                    candidate,
                    name,
                    actor,
                    ..
                } => {
                    all.push(Past {
                        deployment: deployment.clone(),
                        release: candidate.clone(),
                        name: name.to_string(),
                        actor: actor.clone(),
                        opened: entry.at,
                        ended: None,
                    });
                }
                Fact::Ended {
                    deployment,
                    outcome,
                } => {
                    let found = all.iter_mut().find(|past| past.deployment == *deployment);
                    if let Some(past) = found {
                        past.ended = Some((entry.at, outcome.clone()));
                    }
                }
                _ => {}
            }
        }
    }
    all
}

pub(crate) async fn history(place: &Place, args: &OfService, json: bool) -> Fallible<u8> {
    let pasts = pasts(&entries(place, &args.service).await?);
    if pasts.is_empty() {
        progress(format_args!(
            "nothing was ever deployed to {}",
            args.service
        ));
    }
    for past in pasts.iter().rev() {
        let (word, took) = past
            .ended
            .as_ref()
            .map_or(("under_way", None), |(at, outcome)| {
                (outcome.word(), Some(at.since(past.opened)))
            });
        if json {
            let line = json!({
                "deployment": past.deployment,
                "release": past.name,
                "release_id": past.release,
                "actor": past.actor.name,
                "opened": past.opened.to_string(),
                "outcome": word,
                "took_ms": took.map(|took| took.as_millis()),
                "text": past.ended.as_ref().map(|(_, outcome)| outcome.to_string()),
            });
            data(line);
            continue;
        }
        let opened: String = past.opened.to_string().chars().take(19).collect();
        let took = took.map_or_else(String::new, duration_text);
        data(format_args!(
            "{:<18} {opened:<20} {:<28} {word:<16} {took}",
            past.deployment, past.name
        ));
    }
    Ok(FINE)
}
