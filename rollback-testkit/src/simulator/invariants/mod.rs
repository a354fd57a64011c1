//! The sixteen invariants, one named check each, run after every step.
//!
//! A check looks at what the journal said so far (the chronicle), at what is new, and at the truth
//! of the simulated world. It never asks the engine.

mod changes;
mod course;
mod evidence;
mod orders;
mod plan;
mod reasons;

use std::fmt;

use rollback_core::{
    entry::{Entry, Fact, Input},
    model::{Cause, ChangeId, ChangeRequest, Epoch, Notice, NoticeKey, Timestamp},
};

use super::{chronicle::Chronicle, open::Open, scenario::Scenario};

/// What must hold, whatever happens.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Invariant {
    /// 1. An effect is only sent for what it was decided for.
    Fenced,
    /// 2. A rollback's target is proven and is not the candidate.
    Target,
    /// 3. Nothing is done, or told, twice.
    Once,
    /// 4. An outcome is final; what comes late changes nothing.
    Monotone,
    /// 5. Cooldown and budget count every attempt and survive restarts.
    Budget,
    /// 6. No verdict without evidence.
    Evidence,
    /// 7. Not seeing never rolls back unless the policy says so.
    Blindness,
    /// 8. No going in circles, no ping-pong with somebody else.
    NoCircle,
    /// 9. A newer deployment ends the older one and inherits no evidence.
    Supersede,
    /// 10. The candidate is not blamed for what is broken elsewhere.
    Attribution,
    /// 11. Everything has a deadline, everything ends.
    Termination,
    /// 12. The same inputs give the same entries.
    Determinism,
    /// 13. Every decision has its numbers.
    Explained,
    /// 14. No secret is shown.
    NoSecrets,
    /// 15. Bad candidates are rolled back, good ones promoted.
    Useful,
    /// 16. What was not named is not touched.
    Bystander,
}

impl Invariant {
    /// All of them, in the order of their numbers.
    pub const ALL: [Self; 16] = [
        Self::Fenced,
        Self::Target,
        Self::Once,
        Self::Monotone,
        Self::Budget,
        Self::Evidence,
        Self::Blindness,
        Self::NoCircle,
        Self::Supersede,
        Self::Attribution,
        Self::Termination,
        Self::Determinism,
        Self::Explained,
        Self::NoSecrets,
        Self::Useful,
        Self::Bystander,
    ];

    /// Its number in the design.
    #[must_use]
    pub fn number(self) -> usize {
        Self::ALL
            .iter()
            .position(|other| *other == self)
            .map_or(0, |index| index + 1)
    }
}

impl fmt::Display for Invariant {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ({self:?})", self.number())
    }
}

/// An invariant that did not hold.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Violation {
    /// Which.
    pub invariant: Invariant,
    /// What was seen.
    pub what: String,
}

impl Violation {
    pub(super) const fn new(invariant: Invariant, what: String) -> Self {
        Self { invariant, what }
    }
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "invariant {}: {}", self.invariant, self.what)
    }
}

/// What just happened.
#[derive(Debug, Clone, Copy)]
pub(super) enum What<'a> {
    /// A fact, before the chronicle takes it.
    Fact(&'a Fact),
    /// All facts of an entry were taken.
    Entry,
    /// A controller takes a change out to send it; `late` says that it was too late and was not.
    Send {
        request: &'a ChangeRequest,
        epoch: Epoch,
        at: Timestamp,
        late: bool,
    },
    /// A controller starts a task; `late` says that it was too late and was not.
    StartTask {
        id: &'a ChangeId,
        not_after: Timestamp,
        epoch: Epoch,
        late: bool,
    },
    /// A controller tells people.
    Notify {
        epoch: Epoch,
        key: &'a NoticeKey,
        notice: &'a Notice,
    },
}

/// What a check may look at.
#[derive(Debug, Clone, Copy)]
pub(super) struct Sightline<'a> {
    pub(super) known: &'a Chronicle,
    /// The entry whose facts are new; the last one for effects.
    pub(super) entry: Option<&'a Entry>,
    /// The lease that is valid.
    pub(super) epoch: Epoch,
    pub(super) scenario: &'a Scenario,
    pub(super) what: What<'a>,
}

type Check = fn(&Sightline<'_>) -> Result<(), String>;

/// The checks that every step is held against. `Determinism`, parts of `Termination`, `Useful` and
/// `Bystander` need more than one step and are in the world's hands besides.
const CHECKS: [(Invariant, Check); 21] = [
    (Invariant::Fenced, orders::allowed),
    (Invariant::NoCircle, orders::nobody_is_fought),
    (Invariant::Target, orders::irreversible),
    (Invariant::Bystander, orders::restores),
    (Invariant::Fenced, changes::fenced),
    (Invariant::Target, changes::target),
    (Invariant::Once, changes::once),
    (Invariant::Once, plan::tasks),
    (Invariant::Evidence, plan::waited_for),
    (Invariant::Monotone, course::monotone),
    (Invariant::Budget, course::budget),
    (Invariant::Evidence, evidence::evidence),
    (Invariant::Blindness, evidence::blindness),
    (Invariant::NoCircle, course::no_circle),
    (Invariant::Supersede, reasons::supersede),
    (Invariant::Attribution, reasons::attribution),
    (Invariant::Termination, course::termination),
    (Invariant::Explained, reasons::explained),
    (Invariant::NoSecrets, reasons::no_secrets),
    (Invariant::Useful, reasons::useful),
    (Invariant::Bystander, changes::bystander),
];

pub(super) fn check(sight: &Sightline<'_>) -> Result<(), Violation> {
    for (invariant, check) in CHECKS {
        check(sight).map_err(|what| Violation::new(invariant, what))?;
    }
    Ok(())
}

/// The rule that every deployment has.
const DEPLOYMENT_FAILED: &str = "deployment_failed";

fn open_of<'a>(sight: &Sightline<'a>) -> Result<&'a Open, String> {
    let open = sight.known.open.as_ref();
    open.ok_or_else(|| format!("no deployment is under way, and {:?} follows", sight.what))
}

fn at(sight: &Sightline<'_>) -> Timestamp {
    sight.entry.map(|entry| entry.at).unwrap_or_default()
}

fn is_command(sight: &Sightline<'_>) -> bool {
    sight
        .entry
        .is_some_and(|entry| matches!(entry.input, Input::Command { .. }))
}

/// Nobody but the engine wants it.
fn is_by_itself(sight: &Sightline<'_>, cause: &Cause) -> bool {
    matches!(cause, Cause::Trigger { .. } | Cause::NotTaken { .. }) && !is_command(sight)
}

macro_rules! hold {
    ($condition:expr, $($sentence:tt)+) => {
        if !$condition {
            return Err(format!($($sentence)+));
        }
    };
}
use hold;
