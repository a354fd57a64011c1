//! From what was seen of the containers in scope to one answer.

use std::{cmp::Reverse, sync::Arc};

use rollback_core::model::{ReadError, Sample, Timestamp};

use super::{
    quantity::{Counted, Quantity, Question, Together},
    rates::per_second,
    seen::{Container, Stats},
};

/// One container as it was looked at.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Look {
    pub(crate) container: Container,
    /// None where it was not asked for, or the container does not run.
    pub(crate) now: Option<Stats>,
    /// An earlier look since the same start.
    pub(crate) before: Option<Stats>,
}

/// What one container says.
#[derive(Debug, Clone, PartialEq)]
enum Said {
    Number(f64),
    Word(Arc<str>),
}

/// What the containers say together. One that could not be seen spoils it.
pub(crate) fn answer(question: Question, looks: &[&Look]) -> Result<Sample, ReadError> {
    match question {
        Question::Counts(counted) => match looks {
            [] => Err(ReadError::NoData),
            [one] => count(counted, one),
            several => Err(bad_query(format!(
                "{} containers count each for itself, and running totals cannot be added up across restarts; write `per: instance`",
                several.len()
            ))),
        },
        Question::Value(quantity) => {
            let mut all = Vec::with_capacity(looks.len());
            for look in looks {
                match said(quantity, look) {
                    Ok(said) => all.push(said),
                    // Of several, those that ended have a code.
                    Err(ReadError::NoData) if quantity == Quantity::ExitCode && looks.len() > 1 => {
                    }
                    Err(error) => return Err(error),
                }
            }
            together(quantity.together(), &all).ok_or(ReadError::NoData)
        }
    }
}

fn together(how: Together, all: &[Said]) -> Option<Sample> {
    let numbers = || {
        all.iter().filter_map(|said| match said {
            Said::Number(number) => Some(*number),
            Said::Word(_) => None,
        })
    };
    match how {
        Together::Worst => all
            .iter()
            .filter_map(|said| match said {
                Said::Word(word) => Some(word),
                Said::Number(_) => None,
            })
            .min_by_key(|word| badness(word))
            .map(|word| Sample::State(Arc::clone(word))),
        Together::Highest => numbers().reduce(f64::max).map(Sample::Gauge),
        Together::Sum => numbers()
            .reduce(|sum, number| sum + number)
            .map(Sample::Gauge),
    }
}

/// Words from the worst to the best; one that is not known is worse than all.
fn badness(word: &str) -> Reverse<usize> {
    const BEST_FIRST: [&str; 13] = [
        "up",
        "healthy",
        "running",
        "starting",
        "paused",
        "created",
        "restarting",
        "removing",
        "unhealthy",
        "exited",
        "dead",
        "stopped",
        "down",
    ];
    let place = BEST_FIRST.iter().position(|known| *known == word);
    Reverse(place.unwrap_or(BEST_FIRST.len()))
}

#[expect(
    clippy::cast_precision_loss,
    reason = "counts and bytes; 53 bits are plenty"
)]
fn said(quantity: Quantity, look: &Look) -> Result<Said, ReadError> {
    let container = &look.container;
    let whole = |number: Option<u64>| number.map(|number| number as f64);
    let now = look.now.ok_or(ReadError::NoData);
    let number = match quantity {
        Quantity::Health => return health(container).map(Said::Word),
        Quantity::Up => return up(container).map(Said::Word),
        Quantity::Status => {
            let status = container.status.as_deref().ok_or(ReadError::NoData)?;
            return Ok(Said::Word(Arc::from(status)));
        }
        Quantity::FailingStreak => {
            let health = container.health.as_ref().ok_or_else(no_health_check)?;
            whole(health.streak)
        }
        Quantity::Restarts => whole(container.restarts),
        Quantity::ExitCode => container.exit_code.map(|code| code as f64),
        Quantity::OomKilled => container.oom_killed.map(f64::from),
        Quantity::Disk => whole(container.written),
        Quantity::Processes => whole(now?.processes),
        Quantity::Memory => whole(now?.memory),
        Quantity::MemoryUsage => {
            let limit = container
                .memory_limit
                .ok_or_else(|| no_limit("memory", "memory"))?;
            whole(now?.memory).map(|used| (used / limit as f64).min(1.0))
        }
        Quantity::Cpus => Some(cpus(look)?),
        Quantity::CpuUsage => {
            let limit = container.cpu_limit.ok_or_else(|| no_limit("CPU", "cpus"))?;
            // The kernel hands out time by periods: within one it can be a little more.
            Some((cpus(look)? / limit).min(1.0))
        }
        Quantity::NetworkReceived => Some(rate(look, |stats| Some(stats.network?.received))?),
        Quantity::NetworkSent => Some(rate(look, |stats| Some(stats.network?.sent))?),
    };
    number.map(Said::Number).ok_or(ReadError::NoData)
}

/// CPUs in use: seconds of CPU time in a second.
fn cpus(look: &Look) -> Result<f64, ReadError> {
    rate(look, |stats| stats.cpu).map(|nanos| nanos / 1e9)
}

fn rate(look: &Look, of: impl Fn(Stats) -> Option<u64>) -> Result<f64, ReadError> {
    let now = look.now.ok_or(ReadError::NoData)?;
    let count = of(now).ok_or(ReadError::NoData)?;
    let retry_at = now.at.after(super::rates::CLOSEST);
    let before = look.before.ok_or(ReadError::NotYet { retry_at })?;
    let earlier = of(before).ok_or(ReadError::NotYet { retry_at })?;
    per_second((before.at, earlier), (now.at, count)).ok_or(ReadError::NoData)
}

fn health(container: &Container) -> Result<Arc<str>, ReadError> {
    match (&container.health, container.status.as_deref()) {
        (_, None) => Err(ReadError::NoData),
        (_, Some(_)) if !container.runs() => Ok(Arc::from("stopped")),
        (Some(health), Some(_)) => Ok(Arc::from(health.word.as_str())),
        (None, Some(_)) => Err(no_health_check()),
    }
}

/// Without a health check, what runs is up: the engine knows no more.
fn up(container: &Container) -> Result<Arc<str>, ReadError> {
    if container.status.is_none() {
        return Err(ReadError::NoData);
    }
    let health = container.health.as_ref().map(|health| health.word.as_str());
    match health {
        _ if !container.runs() => Ok(Arc::from("down")),
        None | Some("healthy") => Ok(Arc::from("up")),
        Some("unhealthy") => Ok(Arc::from("down")),
        Some("starting") => Ok(Arc::from("starting")),
        // A word that this version does not know says nothing.
        Some(_) => Err(ReadError::NoData),
    }
}

fn count(counted: Counted, look: &Look) -> Result<Sample, ReadError> {
    let container = &look.container;
    let (since, bad, total): (Option<Timestamp>, u64, u64) = match counted {
        Counted::Restarts => {
            let restarts = container.restarts.ok_or(ReadError::NoData)?;
            (container.created, restarts, restarts.saturating_add(1))
        }
        Counted::Throttled => {
            if container.cpu_limit.is_none() {
                return Err(no_limit("CPU", "cpus"));
            }
            let (bad, total) = look
                .now
                .and_then(|now| now.periods)
                .ok_or(ReadError::NoData)?;
            (container.started, bad.min(total), total)
        }
        Counted::NetworkErrors => {
            let network = look
                .now
                .and_then(|now| now.network)
                .ok_or(ReadError::NoData)?;
            (container.started, network.failed, network.packets)
        }
    };
    Ok(Sample::Cumulative {
        since: since.ok_or(ReadError::NoData)?,
        bad,
        total,
    })
}

fn no_limit(what: &str, instead: &str) -> ReadError {
    bad_query(format!(
        "the container has no {what} limit, so there is no share of it; set one, or ask for `{instead}`"
    ))
}

fn no_health_check() -> ReadError {
    bad_query(
        "the container has no health check; give it one (HEALTHCHECK in the image, or --health-cmd), or ask for `status`"
            .to_owned(),
    )
}

pub(crate) const fn bad_query(why: String) -> ReadError {
    ReadError::BadQuery { why }
}
