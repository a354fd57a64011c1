//! Another policy over the journal of a service: open-loop, one deployment at a time, up to the
//! first decision that would have changed the world otherwise.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use serde::Serialize;

use super::{
    feed::{Feed, asked_by},
    line::{Line, Turn},
    missing::{self, Missing, Unseen},
    parting::{OtherTurned, Parting},
};
use crate::{
    engine::{Engine, EngineConfig, TriggerStatus},
    entry::{Effect, Entry, Fact, Input},
    model::{DeploymentId, PolicyDigest, ReleaseId, Timestamp, TriggerId},
    policy::Policy,
    triggers::{self, BuildError},
};

/// Wakes between two entries; more mean that the engine goes in a circle.
const MOST_WAKES: usize = 100_000;

/// How another policy compares with what was decided.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(tag = "answer", rename_all = "snake_case")]
#[non_exhaustive]
pub enum Comparison {
    /// It decides the same, to the end of the deployment or of the journal.
    Same,
    /// It acts before the recorded one did.
    ActsEarlier {
        /// When.
        at: Timestamp,
        /// So much before; none if the recorded one never went back and never waited.
        #[serde(serialize_with = "seconds", rename = "saved_s")]
        saved: Option<Duration>,
    },
    /// It had not acted when the recorded one did; what comes after belongs to another world.
    ActsLater {
        /// The moment up to which it is known.
        not_before: Timestamp,
    },
    /// Nobody can say.
    NotComparable {
        /// The rule that could not see; none if it is the world that differs.
        trigger: Option<TriggerId>,
        /// What the journal does not have.
        missing: Vec<Missing>,
    },
}

impl Comparison {
    /// One word.
    #[must_use]
    pub const fn word(&self) -> &'static str {
        match self {
            Self::Same => "same",
            Self::ActsEarlier { .. } => "acts_earlier",
            Self::ActsLater { .. } => "acts_later",
            Self::NotComparable { .. } => "not_comparable",
        }
    }
}

#[expect(clippy::ref_option, reason = "serde's signature")]
fn seconds<S: serde::Serializer>(saved: &Option<Duration>, to: S) -> Result<S::Ok, S::Error> {
    saved.map(|saved| saved.as_secs_f64()).serialize(to)
}

/// One deployment under another policy.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[non_exhaustive]
pub struct Backtested {
    /// Which.
    pub deployment: DeploymentId,
    /// What it moved to.
    pub candidate: ReleaseId,
    /// What people called it.
    pub name: Arc<str>,
    /// When it began.
    pub opened_at: Timestamp,
    /// How the other policy compares.
    #[serde(flatten)]
    pub comparison: Comparison,
    /// That in one sentence.
    pub sentence: String,
    /// What was decided.
    pub recorded: Line,
    /// What the other policy decides, up to where they part.
    pub other: Line,
    /// What the other policy's rules said there.
    pub triggers: Vec<TriggerStatus>,
}

/// What another policy would have decided for each deployment of a journal.
///
/// The other policy is fed what does not depend on a policy: readings, looks at the platform,
/// commands, answers to changes that both send. It is asked only up to the first decision in which
/// the two differ, since what was recorded later belongs to a world that would not have been. A
/// metric that was not recorded is unknown, never good. A policy that polls more often than was
/// recorded is given the recorded poll.
///
/// The configuration is that of the recorded controller, with the host triggers of the other policy.
///
/// # Errors
/// A rule of the other policy cannot be run.
pub fn backtest(
    entries: &[Entry],
    other: &Policy,
    config: &EngineConfig,
) -> Result<Vec<Backtested>, BuildError> {
    let rules = triggers::build(other, &config.host_triggers)?;
    let mut config = config.clone();
    config.channels.clear();
    let mut recorded = Engine::new(config.clone());
    let mut policies: BTreeMap<PolicyDigest, Arc<Policy>> = BTreeMap::new();
    let mut all = Vec::new();
    for (index, entry) in entries.iter().enumerate() {
        if let Input::PolicyOffered { digest, policy } = &entry.input {
            policies.insert(digest.clone(), Arc::clone(policy));
        }
        let opens = |fact: &Fact| matches!(fact, Fact::DeploymentOpened { .. });
        let Some(position) = entry.facts.iter().position(opens) else {
            recorded.restore(entry);
            continue;
        };
        // A deployment begins on what was known the moment before: the one that it takes the place
        // of has ended.
        let (before, from) = entry.facts.split_at(position);
        recorded.restore(&with(entry, entry.input.clone(), before));
        let rest = entries.get(index..).unwrap_or_default();
        if let Some(opening) = from.first()
            && let Some(span) = Span::of(opening, rest, &policies)
        {
            let mut other = other.clone();
            other.poll = other.poll.max(span.policy.poll);
            let unseen = missing::unseen(&other, &rules, |metric, _| {
                asked_by(&span.policy, metric).is_some()
            });
            let other = Arc::new(other);
            let engine = recorded.fork(config.clone(), &other);
            all.push(Run::new(span, engine, other, &policies, unseen).compare());
        }
        recorded.restore(&with(entry, Input::Woke, from));
    }
    Ok(all)
}

fn with(entry: &Entry, input: Input, facts: &[Fact]) -> Entry {
    Entry {
        input,
        facts: facts.to_vec(),
        ..*entry
    }
}

/// One deployment in the journal.
struct Span<'a> {
    deployment: &'a DeploymentId,
    candidate: &'a ReleaseId,
    name: &'a Arc<str>,
    opening: &'a Fact,
    entries: &'a [Entry],
    policy: Arc<Policy>,
}

impl<'a> Span<'a> {
    fn of(
        opening: &'a Fact,
        entries: &'a [Entry],
        policies: &BTreeMap<PolicyDigest, Arc<Policy>>,
    ) -> Option<Self> {
        let Fact::DeploymentOpened {
            deployment,
            candidate,
            name,
            policy,
            ..
        } = opening
        else {
            return None;
        };
        let ends = |entry: &Entry| {
            entry.facts.iter().any(
                |fact| matches!(fact, Fact::Ended { deployment: ended, .. } if ended == deployment),
            )
        };
        let end = entries
            .iter()
            .position(ends)
            .map_or(entries.len(), |end| end + 1);
        Some(Self {
            deployment,
            candidate,
            name,
            opening,
            entries: entries.get(..end)?,
            policy: Arc::clone(policies.get(policy)?),
        })
    }
}

/// The other policy on its way through a deployment.
struct Run<'a> {
    span: Span<'a>,
    engine: Engine,
    other: Arc<Policy>,
    policies: &'a BTreeMap<PolicyDigest, Arc<Policy>>,
    unseen: Vec<Unseen>,
    feed: Feed,
    recorded: Line,
    /// In which entry each recorded turn stands.
    places: Vec<usize>,
    line: Line,
    /// So many turns are known to be the same.
    same: usize,
    triggers: Vec<TriggerStatus>,
    tolerance: Duration,
}

impl<'a> Run<'a> {
    fn new(
        span: Span<'a>,
        engine: Engine,
        other: Arc<Policy>,
        policies: &'a BTreeMap<PolicyDigest, Arc<Policy>>,
        unseen: Vec<Unseen>,
    ) -> Self {
        let (recorded, places) = Line::of(span.deployment, span.entries);
        Self {
            feed: Feed::between(&span.policy, &other),
            recorded,
            places,
            // A controller wakes a little late.
            tolerance: (span.policy.poll / 2).min(Duration::from_secs(1)),
            line: Line::default(),
            same: 0,
            triggers: Vec::new(),
            span,
            engine,
            other,
            policies,
            unseen,
        }
    }

    fn compare(mut self) -> Backtested {
        let parting = self.part();
        let opened_at = self
            .span
            .entries
            .first()
            .map_or_else(Timestamp::default, |e| e.at);
        let (comparison, sentence) = parting.judge(&self.recorded, &self.line, &self.unseen);
        if self.triggers.is_empty() {
            self.look();
        }
        Backtested {
            deployment: self.span.deployment.clone(),
            candidate: self.span.candidate.clone(),
            name: Arc::clone(self.span.name),
            opened_at,
            comparison,
            sentence,
            recorded: self.recorded,
            other: self.line,
            triggers: self.triggers,
        }
    }

    /// Feeds the other policy until the two part, or the deployment is over.
    fn part(&mut self) -> Parting {
        let entries = self.span.entries;
        for (index, entry) in entries.iter().enumerate() {
            let input = if index == 0 {
                self.open(entry);
                Some(Input::Woke)
            } else {
                if let Some(parting) = self.wake_until(entry.at) {
                    return parting;
                }
                self.switch(entry);
                self.feed.pass(&entry.input)
            };
            if let Some(input) = input
                && let Some(parting) = self.happens(entry.at, input)
            {
                return parting;
            }
            if let Some((at, turn)) = self.recorded.turns.get(self.same)
                && self
                    .places
                    .get(self.same)
                    .is_some_and(|place| *place <= index)
            {
                return Parting::Recorded(*at, Box::new(turn.clone()));
            }
        }
        Parting::Never
    }

    /// The same opening, pinned to the other policy.
    fn open(&mut self, entry: &Entry) {
        let mut opening = self.span.opening.clone();
        if let Fact::DeploymentOpened {
            policy, triggers, ..
        } = &mut opening
        {
            *policy = self.other.digest();
            *triggers = self
                .other
                .triggers
                .iter()
                .map(|rule| TriggerId::new(&rule.name, 1))
                .collect();
        }
        self.engine.restore(&with(entry, Input::Woke, &[opening]));
    }

    /// A person had the recorded deployment watched by another policy.
    fn switch(&mut self, entry: &Entry) {
        for fact in &entry.facts {
            if let Fact::PolicySwitched { policy, deployment } = fact
                && deployment == self.span.deployment
                && let Some(policy) = self.policies.get(policy)
            {
                let feed = std::mem::take(&mut self.feed);
                self.feed = feed.switched(policy, &self.other);
            }
        }
    }

    /// Wakes that were not journaled, as this engine asks for them.
    fn wake_until(&mut self, end: Timestamp) -> Option<Parting> {
        let mut last = None;
        for _ in 0..MOST_WAKES {
            let wake = self.engine.next_wake().filter(|wake| wake.at < end)?;
            if last == Some(wake.at) {
                return None;
            }
            last = Some(wake.at);
            if let Some(parting) = self.happens(wake.at, Input::Woke) {
                return Some(parting);
            }
        }
        None
    }

    fn happens(&mut self, at: Timestamp, input: Input) -> Option<Parting> {
        let mut next = Some(input);
        while let Some(input) = next.take() {
            let entry = self.engine.handle(at, input);
            while let Some(effect) = self.engine.poll() {
                if let Effect::Read(_) = effect {
                    next = self.feed.ask().or(next);
                }
            }
            for fact in &entry.facts {
                if matches!(fact, Fact::VerdictChanged { .. }) {
                    self.look();
                }
                if fact.deployment() != Some(self.span.deployment) {
                    continue;
                }
                let known = self.line.turns.len();
                self.line.take(entry.at, fact);
                if let Some((at, turn)) = self.line.turns.get(known)
                    && let Some(parting) = self.turn(*at, turn.clone())
                {
                    return Some(parting);
                }
            }
        }
        None
    }

    /// The other policy decides something: is it what was recorded, and when it was?
    fn turn(&mut self, at: Timestamp, turn: Turn) -> Option<Parting> {
        match self.recorded.turns.get(self.same) {
            Some((then, known))
                if known.does_the_same(&turn) && then.since(at) <= self.tolerance =>
            {
                if let (Some(known), Some(attempt)) = (known.attempt(), turn.attempt()) {
                    self.feed.same_change(known, attempt);
                }
                self.same += 1;
                None
            }
            next => Some(Parting::Other(Box::new(OtherTurned {
                at,
                turn,
                next: next.cloned(),
            }))),
        }
    }

    fn look(&mut self) {
        if let Some(active) = self.engine.status().active
            && !active.triggers.is_empty()
        {
            self.triggers = active.triggers;
        }
    }
}
