//! What a controller tells the host while it works: a stream that may lag and never blocks.

use std::sync::{Arc, OnceLock};

use rollback_core::{
    entry::{Entry, Fact, Input},
    model::{DeploymentId, Seq, ServiceId, Timestamp},
};
use serde::Serialize;
use serde_json::Value;
use tokio::sync::broadcast;

use crate::wording::{self, Names};

/// How many events a slow listener may be behind before it misses some.
const BUFFER: usize = 1024;

/// One thing that happened, after it was journaled. As JSON it is one line of `--json`.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[non_exhaustive]
pub struct Event {
    /// The service.
    pub service: ServiceId,
    /// The journal entry that it is from.
    pub seq: Seq,
    /// Its position within the entry: 0 for what came in, facts from 1.
    pub index: u16,
    /// When, as RFC 3339.
    #[serde(serialize_with = "as_rfc_3339")]
    pub at: Timestamp,
    /// One word: `deployment_opened`, `readings`, `rollback_decided`, …
    pub event: Arc<str>,
    /// The deployment that it is about, if one is open.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub deployment: Option<DeploymentId>,
    /// One sentence.
    pub text: String,
    /// The input or fact itself, in the journal's form.
    pub data: Value,
    /// The fact, for hosts that match on it.
    #[serde(skip)]
    pub fact: Option<Fact>,
}

fn as_rfc_3339<S: serde::Serializer>(at: &Timestamp, to: S) -> Result<S::Ok, S::Error> {
    to.collect_str(at)
}

impl Event {
    /// The events of a journaled entry.
    pub(crate) fn of(
        entry: &Entry,
        service: &ServiceId,
        open: Option<&DeploymentId>,
        names: &Names,
    ) -> Vec<Self> {
        let mut events = Vec::with_capacity(entry.facts.len() + 1);
        if let Some(text) = told(&entry.input, names) {
            events.push(Self {
                service: service.clone(),
                seq: entry.seq,
                index: 0,
                at: entry.at,
                event: Arc::from(entry.input.word()),
                deployment: open.cloned(),
                text,
                data: parts(serde_json::to_value(&entry.input)).1,
                fact: None,
            });
        }
        for (index, fact) in (1..).zip(&entry.facts) {
            let (word, data) = parts(serde_json::to_value(fact));
            events.push(Self {
                service: service.clone(),
                seq: entry.seq,
                index,
                at: entry.at,
                event: Arc::from(word),
                deployment: fact.deployment().or(open).cloned(),
                text: names.sentence(fact),
                data,
                fact: Some(fact.clone()),
            });
        }
        events
    }
}

/// What came in, if listeners are told of it.
fn told(input: &Input, names: &Names) -> Option<String> {
    Some(match input {
        Input::Started { owner, epoch, .. } => {
            format!("{owner} took the journal over, epoch {epoch}")
        }
        Input::Command {
            actor,
            reason,
            command,
        } if reason.is_empty() => format!("{actor}: {}", names.command(command)),
        Input::Command {
            actor,
            reason,
            command,
        } => format!("{actor}: {} ({reason})", names.command(command)),
        Input::Readings { answers } => {
            let failed = answers.iter().filter(|a| a.result.is_err()).count();
            match failed {
                0 => format!("{} readings", answers.len()),
                _ => format!("{} readings, {failed} of them failed", answers.len()),
            }
        }
        Input::Reported(report) => match &report.result {
            Ok(_) => format!("change {} was accepted", report.id),
            Err(why) => format!("change {}: {why}", report.id),
        },
        Input::Permit { decision, .. } => format!("the fleet: {}", wording::permit(decision)),
        Input::LastWords { release, lines } => {
            format!("the last {} lines of {}", lines.len(), names.of(release))
        }
        Input::TriggerFaulted { trigger } => {
            format!("the code of trigger {trigger} failed; it takes no part any more")
        }
        Input::Faulted { input, why } => format!("the input {input} could not be handled: {why}"),
        Input::PolicyOffered { digest, .. } => format!("policy {digest} was offered"),
        _ => return None,
    })
}

/// An externally tagged value: its tag and what is in it.
fn parts(value: Result<Value, serde_json::Error>) -> (String, Value) {
    match value {
        Ok(Value::Object(fields)) => fields
            .into_iter()
            .next()
            .unwrap_or_else(|| (String::new(), Value::Null)),
        Ok(Value::String(word)) => (word, Value::Null),
        _ => (String::new(), Value::Null),
    }
}

/// Where events go. Costs nothing until somebody listens.
#[derive(Debug, Default)]
pub(crate) struct Events(OnceLock<broadcast::Sender<Arc<Event>>>);

impl Events {
    /// A listener from now on.
    pub(crate) fn listen(&self) -> broadcast::Receiver<Arc<Event>> {
        self.0
            .get_or_init(|| broadcast::Sender::new(BUFFER))
            .subscribe()
    }

    /// Whether anybody listens.
    pub(crate) fn heard(&self) -> bool {
        self.0
            .get()
            .is_some_and(|sender| sender.receiver_count() > 0)
    }

    /// Tells whoever listens.
    pub(crate) fn tell(&self, event: &Arc<Event>) {
        if let Some(sender) = self.0.get() {
            // Nobody listens any more: fine.
            let _ = sender.send(Arc::clone(event));
        }
    }
}

#[cfg(test)]
mod tests {
    use rollback_core::{
        entry::{Command, SCHEMA},
        model::{Actor, Epoch, ReleaseId},
    };

    use super::*;

    #[test]
    fn an_event_is_one_line_of_json_with_its_fact() {
        let entry = Entry {
            seq: Seq::new(4),
            epoch: Epoch::new(1),
            at: Timestamp::from_millis(1_795_246_132_250),
            schema: SCHEMA,
            input: Input::Command {
                actor: Actor::new("alice"),
                reason: "slow".into(),
                command: Command::RollBack { to: None },
            },
            facts: vec![Fact::RollbackAttemptFailed {
                deployment: DeploymentId::new("d3").unwrap(),
                target: ReleaseId::new("v1").unwrap(),
                why: "it is gone".into(),
            }],
        };
        let service = ServiceId::new("checkout").unwrap();
        let events = Event::of(&entry, &service, None, &Names::default());
        assert_eq!(events[0].text, "alice: roll back (slow)");
        assert_eq!(
            serde_json::to_string(&events[1]).unwrap(),
            r#"{"service":"checkout","seq":4,"index":1,"at":"2026-11-21T07:28:52.250Z","event":"rollback_attempt_failed","deployment":"d3","text":"could not return to v1: it is gone","data":{"deployment":"d3","target":"v1","why":"it is gone"}}"#
        );
    }
}
