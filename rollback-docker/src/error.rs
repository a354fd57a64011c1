//! What went wrong between us and an engine, and what that means for a change.

use rollback_core::model::ChangeError;

/// Why a request to an engine did not succeed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum EngineError {
    /// It never left.
    #[error("{why}")]
    NotSent {
        /// What happened and what to do.
        why: String,
    },
    /// It may have been carried out.
    #[error("{why}")]
    MaybeSent {
        /// What happened.
        why: String,
    },
    /// The engine answered that it will not.
    #[error("the engine answers {status}: {message}")]
    Answer {
        /// The HTTP status.
        status: u16,
        /// The engine's own words.
        message: String,
    },
    /// An answer that is not what the engine's API says.
    #[error("{path}: the engine's answer is not what its API says: {why}")]
    Garbled {
        /// What was asked.
        path: String,
        /// What is wrong with it.
        why: String,
    },
}

impl EngineError {
    /// The engine's status, if it answered by an error.
    #[must_use]
    pub const fn status(&self) -> Option<u16> {
        match self {
            Self::Answer { status, .. } => Some(*status),
            _ => None,
        }
    }

    /// What was asked for is not there.
    #[must_use]
    pub const fn is_not_found(&self) -> bool {
        matches!(self, Self::Answer { status: 404, .. })
    }

    /// It collides with what is there: a name in use, a change of state under way.
    #[must_use]
    pub const fn is_conflict(&self) -> bool {
        matches!(self, Self::Answer { status: 409, .. })
    }

    /// As the failure of a look: whatever went wrong, nothing was changed.
    #[must_use]
    pub fn of_look(self) -> ChangeError {
        match self {
            Self::Answer { status: 404, .. } => ChangeError::refused(self),
            other => ChangeError::not_sent(other),
        }
    }

    /// As the failure of a request that changes something.
    ///
    /// | engine | change |
    /// |---|---|
    /// | not connected | not sent |
    /// | connected, and no whole answer | maybe sent |
    /// | 409 | conflict |
    /// | another 4xx | refused, in the engine's words |
    /// | 5xx | maybe sent: the engine says that it does not know how far it came |
    #[must_use]
    pub fn of_change(self) -> ChangeError {
        match &self {
            Self::NotSent { .. } => ChangeError::not_sent(self),
            Self::Answer { status: 409, .. } => ChangeError::Conflict { now: None },
            Self::Answer { status, .. } if *status < 500 => ChangeError::refused(self),
            _ => ChangeError::maybe_sent(self),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answer(status: u16) -> EngineError {
        EngineError::Answer {
            status,
            message: "words".to_owned(),
        }
    }

    #[test]
    fn what_may_have_been_carried_out_is_never_called_not_sent() {
        let lost = EngineError::MaybeSent {
            why: "cut".to_owned(),
        };
        let garbled = EngineError::Garbled {
            path: "/x".to_owned(),
            why: "not JSON".to_owned(),
        };
        for error in [lost, garbled, answer(500), answer(503)] {
            let change = error.clone().of_change();
            assert!(matches!(change, ChangeError::MaybeSent { .. }), "{error}");
            let look = error.clone().of_look();
            assert!(matches!(look, ChangeError::NotSent { .. }), "{error}");
        }
        for (status, conflict) in [(400, false), (403, false), (404, false), (409, true)] {
            let change = answer(status).of_change();
            assert_eq!(matches!(change, ChangeError::Conflict { .. }), conflict);
            assert!(!matches!(change, ChangeError::MaybeSent { .. }));
        }
    }
}
