//! How the state moves: a change begins, its script ends, a doubt is resolved. Pure.

use rollback_core::model::{
    Change, ChangeError, ChangeRequest, ReleaseId, Share, Timestamp, Wanted, Weight,
};

use super::{
    contract::Meaning,
    state::{ArmProgress, ArmRecord, Begun, ScriptState, VerbRecord},
};

impl ScriptState {
    /// The state once the script for `request` has been told to begin.
    pub(crate) fn begin(
        mut self,
        request: &ChangeRequest,
        verb: VerbRecord,
        run: String,
        at: Timestamp,
    ) -> Self {
        let before = self.wanted.clone();
        self.wanted = request.change.applied_to(&before);
        if let Change::Converge { release, .. } = &request.change {
            let arm = ArmRecord {
                since: at,
                state: ArmProgress::Deploying,
                run: run.clone(),
            };
            self.arms.insert(release.clone(), arm);
            if verb == VerbRecord::Deploy {
                self.replaced = before.main().filter(|old| *old != release).cloned();
            }
            self.newest = Some(release.clone());
        }
        self.revision += 1;
        self.change = Some(Begun {
            id: request.id.clone(),
            change: request.change.clone(),
            verb,
            run,
            before,
            accepted: false,
            end: None,
        });
        self
    }

    /// The state once it is known how the script ended.
    pub(crate) fn ended(mut self, meaning: Meaning, at: Timestamp) -> Self {
        let Some(mut begun) = self.change.take() else {
            return self;
        };
        let converges = match &begun.change {
            Change::Converge { release, .. } => Some(release.clone()),
            _ => None,
        };
        // What was refused after it had been taken was begun all the same.
        let meaning = match meaning {
            Meaning::Refused(why) | Meaning::NotSent(why) if begun.accepted => Meaning::Failed(why),
            Meaning::Conflict if begun.accepted => {
                Meaning::Failed("the script found another state than it was told".to_owned())
            }
            other => other,
        };
        match (&meaning, &converges) {
            (Meaning::Done, _) => self.done(&begun, at),
            (Meaning::Failed(why), Some(release)) => {
                self.set_arm(release, ArmProgress::Failed { why: why.clone() });
            }
            // Traffic stays as it was; the engine waits for it in vain, or was told by the answer.
            (Meaning::Failed(_), None) if begun.accepted => {}
            (Meaning::InDoubt(_), _) => {}
            _ => self.undo(&begun),
        }
        begun.end = Some(meaning);
        self.change = Some(begun);
        self
    }

    /// The state once somebody has looked whether a change in doubt was made.
    pub(crate) fn resolved(mut self, made: bool, at: Timestamp) -> Self {
        let Some(mut begun) = self.change.take() else {
            return self;
        };
        if matches!(begun.end, Some(Meaning::InDoubt(_))) {
            begun.end = Some(if made {
                self.done(&begun, at);
                Meaning::Done
            } else {
                self.undo(&begun);
                Meaning::NotSent("somebody looked: it was not made".to_owned())
            });
        }
        self.change = Some(begun);
        self
    }

    fn done(&mut self, begun: &Begun, at: Timestamp) {
        if let Change::Converge { release, .. } = &begun.change {
            if let Some(arm) = self.arms.get_mut(release) {
                arm.state = ArmProgress::Deployed;
                arm.since = at;
            }
            if begun.verb == VerbRecord::Rollback {
                self.replaced = None;
            }
        }
        self.serving = self.wanted.clone();
        let wanted = self.wanted.clone();
        self.arms.retain(|release, _| wanted.runs(release));
    }

    /// Nothing was changed by it.
    fn undo(&mut self, begun: &Begun) {
        self.wanted = begun.before.clone();
        if let Change::Converge { release, .. } = &begun.change
            && !self.wanted.runs(release)
        {
            self.arms.remove(release);
            if self.newest.as_ref() == Some(release) {
                self.newest = self
                    .replaced
                    .take()
                    .or_else(|| begun.before.main().cloned());
            }
        }
    }

    fn set_arm(&mut self, release: &ReleaseId, state: ArmProgress) {
        if let Some(arm) = self.arms.get_mut(release) {
            arm.state = state;
        }
    }
}

/// What is wrong with a division of the traffic, if anything.
pub(crate) fn refuse_shares(wanted: &Wanted, shares: &[Share]) -> Result<(), ChangeError> {
    let sum: u32 = shares
        .iter()
        .map(|share| u32::from(share.weight.basis_points()))
        .sum();
    if sum != u32::from(Weight::ALL.basis_points()) {
        return Err(ChangeError::refused(format!(
            "the shares add up to {sum} of 10000 hundredths of a percent"
        )));
    }
    for share in shares {
        if !wanted.runs(&share.release) {
            return Err(ChangeError::refused(format!(
                "{} does not run; deploy it before it is sent traffic",
                share.release
            )));
        }
    }
    if shares
        .iter()
        .filter(|share| share.weight > Weight::NONE)
        .count()
        > 2
    {
        let why =
            "update-traffic takes one percentage: it divides the traffic between two releases";
        return Err(ChangeError::unsupported(why));
    }
    Ok(())
}
