//! Where two policies part, and what that means.

use std::time::Duration;

use super::{
    journal::Comparison,
    line::{Held, Line, Turn},
    missing::Unseen,
};
use crate::model::{Outcome, Timestamp, TriggerId, duration_text};

/// The first turn in which they differ.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Parting {
    /// They do not.
    Never,
    /// The recorded one turned, and the other one had not.
    Recorded(Timestamp, Box<Turn>),
    /// The other one turned where the recorded one did not, or did something else.
    Other(Box<OtherTurned>),
}

/// What the other one did, and what the recorded one did next.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct OtherTurned {
    pub(super) at: Timestamp,
    pub(super) turn: Turn,
    pub(super) next: Option<(Timestamp, Turn)>,
}

impl Parting {
    /// The answer, and the sentence for it.
    pub(super) fn judge(
        self,
        recorded: &Line,
        other: &Line,
        unseen: &[Unseen],
    ) -> (Comparison, String) {
        let began = !matches!(
            recorded.outcome(),
            Some(Outcome::Refused { .. } | Outcome::NoChange { .. })
        );
        if self == Self::Never && !began {
            // Nothing was watched, so nothing is missing.
            let (comparison, sentence, _) = self.compare(recorded, other);
            return (comparison, sentence);
        }
        let (comparison, sentence, decided_by) = self.compare(recorded, other);
        // A rule that saw nothing could have gone back before; that does not change what another
        // rule did earlier than recorded.
        let blind = unseen
            .iter()
            .any(|rule| Some(&rule.trigger) == decided_by.as_ref());
        let stands =
            matches!(comparison, Comparison::ActsEarlier { .. }) && decided_by.is_some() && !blind;
        match unseen.first() {
            Some(rule) if !stands => (
                Comparison::NotComparable {
                    trigger: Some(rule.trigger.clone()),
                    missing: rule.missing.clone(),
                },
                rule.sentence(),
            ),
            _ => (comparison, sentence),
        }
    }

    fn compare(self, recorded: &Line, other: &Line) -> (Comparison, String, Option<TriggerId>) {
        match self {
            Self::Never => {
                let end = match recorded.outcome() {
                    Some(outcome) => outcome.to_string(),
                    None => "not ended yet".to_owned(),
                };
                (Comparison::Same, format!("decides the same: {end}"), None)
            }
            Self::Recorded(at, turn) => match other.held_at(at) {
                // What the recorded one was told to wait for as well is no difference.
                Some(held) if recorded.held_at(held.since).is_none() => holds(held, recorded),
                _ => {
                    let sentence = format!("had not acted at {at}, when it was decided to {turn}");
                    (Comparison::ActsLater { not_before: at }, sentence, None)
                }
            },
            Self::Other(other) => {
                other_turned(other.at, &other.turn, other.next.as_ref(), recorded)
            }
        }
    }
}

fn holds(held: &Held, recorded: &Line) -> (Comparison, String, Option<TriggerId>) {
    let at = held.since;
    let saved = recorded.first_caution(at).map(|then| then.since(at));
    let sentence = format!(
        "waits for a person at {at}{}: {}",
        than_recorded(saved),
        held.reason
    );
    let comparison = Comparison::ActsEarlier { at, saved };
    (comparison, sentence, held.trigger().cloned())
}

fn other_turned(
    at: Timestamp,
    turn: &Turn,
    next: Option<&(Timestamp, Turn)>,
    recorded: &Line,
) -> (Comparison, String, Option<TriggerId>) {
    if turn.goes_back() {
        let saved = recorded.first_caution(at).map(|then| then.since(at));
        let sentence = format!("would {turn} at {at}{}", than_recorded(saved));
        let comparison = Comparison::ActsEarlier { at, saved };
        // The fleet is asked before the rule is named.
        let trigger = turn.trigger().cloned();
        return (comparison, sentence, trigger);
    }
    // It goes on where the recorded one waited or went back.
    if let Some(held) = recorded.held_at(at) {
        let sentence = format!(
            "would {turn} at {at}; it was recorded to wait: {}",
            held.reason
        );
        let not_before = held.since;
        return (Comparison::ActsLater { not_before }, sentence, None);
    }
    match next {
        Some((then, known)) if known.goes_back() => {
            let sentence = format!("would {turn} at {at}; at {then} it was decided to {known}");
            (Comparison::ActsLater { not_before: at }, sentence, None)
        }
        Some((then, known)) if known.does_the_same(turn) => {
            let saved = Some(then.since(at));
            let sentence = format!("would {turn} at {at}{}", than_recorded(saved));
            (Comparison::ActsEarlier { at, saved }, sentence, None)
        }
        known => {
            let known = known.map_or_else(
                || "nothing more".to_owned(),
                |(then, known)| format!("to {known} at {then}"),
            );
            let sentence = format!(
                "would {turn} at {at}, and {known} was recorded: what followed belongs to another \
                 world"
            );
            let nothing = Comparison::NotComparable {
                trigger: None,
                missing: Vec::new(),
            };
            (nothing, sentence, None)
        }
    }
}

fn than_recorded(saved: Option<Duration>) -> String {
    match saved {
        Some(saved) => format!(", {} before it was recorded", duration_text(saved)),
        None => ", and nothing of the kind was recorded".to_owned(),
    }
}
