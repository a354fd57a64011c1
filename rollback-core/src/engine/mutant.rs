//! Deliberate defects of the engine. They exist only with the private feature `__mutants`, so that
//! the simulator can show, one by one, that it would notice them; without it every question is
//! answered `false` while compiling.

use super::Engine;

/// A deliberate defect.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
#[cfg_attr(not(feature = "__mutants"), expect(unreachable_pub))]
pub enum Mutant {
    /// A change may be sent for ever.
    SendsForEver,
    /// A change is intended although the platform has moved.
    IgnoresTheFence,
    /// A rollback's target need not be proven.
    TakesAnyTarget,
    /// A rollback's target may be the candidate.
    ReturnsToTheCandidate,
    /// A change is sent twice.
    SendsTwice,
    /// After a restart a change is repeated instead of looked for.
    RepeatsAfterRestart,
    /// A change is intended while another one is under way.
    DoesNotWait,
    /// People are told the same twice.
    TellsTwice,
    /// A report about one change counts for another one.
    TakesAnyReport,
    /// What is ignored is not recorded.
    IgnoresSilently,
    /// A restart empties the count of rollbacks.
    ForgetsTheBudget,
    /// Failed attempts are not counted.
    FailedAttemptsAreFree,
    /// The cooldown is not kept.
    NoCooldown,
    /// A bake passes although nothing was seen.
    BakesOnNothing,
    /// A rollback is verified without waiting.
    VerifiesAtOnce,
    /// What cannot be seen is taken for bad.
    RollsBackBlind,
    /// A rule that is made of others takes what it cannot see for bad.
    GuessesThePart,
    /// A failure's action does not wait for its `delay`.
    IgnoresTheDelay,
    /// Blindness has no time budget.
    BlindForEver,
    /// A target that did not work is tried again.
    TriesTheSameAgain,
    /// A superseded deployment is not ended.
    SupersedesSilently,
    /// The candidate is blamed for what is broken elsewhere.
    BlamesAnyway,
    /// Steps have no deadline.
    NoDeadline,
    /// A change that is never answered is waited for.
    WaitsForEver,
    /// Nothing wakes the engine while a step runs.
    ForgetsToWake,
    /// A hold has no exits.
    HoldsWithoutExit,
    /// A decision depends on an address.
    DecidesByAddress,
    /// Restoring forgets the ledger.
    RestoresHalf,
    /// A rollback has no numbers.
    DoesNotExplain,
    /// A notice shows what the host's rules keep to themselves.
    ShowsSecrets,
    /// A failing rule has no consequence.
    NeverRollsBack,
    /// A bake never ends.
    NeverPromotes,
    /// Retires the release that has to serve.
    RetiresTheWrongOne,
    /// The kill switch is not obeyed.
    ActsWhileKilled,
    /// A freeze is not obeyed.
    DeploysWhileFrozen,
    /// `mode: observe` is not obeyed.
    ActsInObserveMode,
    /// A rejected release that somebody brings back is rolled back at once.
    FightsTheContested,
    /// What cannot be taken back is rolled back without a person.
    RollsBackTheIrreversible,
    /// Data is brought back although nobody accepted what that loses.
    RestoresWithoutConsent,
    /// A gate opens by itself.
    PassesTheGate,
    /// A task is started again before its start is answered.
    StartsTasksTwice,
    /// A failed task counts as done.
    IgnoresFailedTasks,
    /// A task that nobody waits for any more is not asked to stop.
    LeavesTasksRunning,
    /// A wait ends at once.
    WaitsForNothing,
}

#[cfg(feature = "__mutants")]
impl Mutant {
    /// All of them.
    pub const ALL: [Self; 44] = [
        Self::SendsForEver,
        Self::IgnoresTheFence,
        Self::TakesAnyTarget,
        Self::ReturnsToTheCandidate,
        Self::SendsTwice,
        Self::RepeatsAfterRestart,
        Self::DoesNotWait,
        Self::TellsTwice,
        Self::TakesAnyReport,
        Self::IgnoresSilently,
        Self::ForgetsTheBudget,
        Self::FailedAttemptsAreFree,
        Self::NoCooldown,
        Self::BakesOnNothing,
        Self::VerifiesAtOnce,
        Self::RollsBackBlind,
        Self::GuessesThePart,
        Self::IgnoresTheDelay,
        Self::BlindForEver,
        Self::TriesTheSameAgain,
        Self::SupersedesSilently,
        Self::BlamesAnyway,
        Self::NoDeadline,
        Self::WaitsForEver,
        Self::ForgetsToWake,
        Self::HoldsWithoutExit,
        Self::DecidesByAddress,
        Self::RestoresHalf,
        Self::DoesNotExplain,
        Self::ShowsSecrets,
        Self::NeverRollsBack,
        Self::NeverPromotes,
        Self::RetiresTheWrongOne,
        Self::ActsWhileKilled,
        Self::DeploysWhileFrozen,
        Self::ActsInObserveMode,
        Self::FightsTheContested,
        Self::RollsBackTheIrreversible,
        Self::RestoresWithoutConsent,
        Self::PassesTheGate,
        Self::StartsTasksTwice,
        Self::IgnoresFailedTasks,
        Self::LeavesTasksRunning,
        Self::WaitsForNothing,
    ];
}

#[cfg(feature = "__mutants")]
impl Engine {
    /// An engine with a deliberate defect.
    #[must_use]
    pub fn with_mutant(config: super::EngineConfig, mutant: Mutant) -> Self {
        let mut engine = Self::new(config);
        engine.mutant = Some(mutant);
        engine
    }

    pub(super) fn mutant(&self, mutant: Mutant) -> bool {
        self.mutant == Some(mutant)
    }
}

#[cfg(not(feature = "__mutants"))]
impl Engine {
    #[expect(clippy::unused_self, reason = "as with the feature")]
    pub(super) const fn mutant(&self, _: Mutant) -> bool {
        false
    }
}
