//! Who asked, and what must not be printed.

use std::{fmt, sync::Arc};

use serde::{Deserialize, Serialize};

use super::Timestamp;

/// Who gave a command: kept with the command in the journal.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Actor {
    /// For example `alice`, `ci:run-42`, `quickstart`.
    pub name: Arc<str>,
}

impl Actor {
    /// An actor by name.
    #[must_use]
    pub fn new(name: impl AsRef<str>) -> Self {
        Self {
            name: Arc::from(name.as_ref()),
        }
    }
}

impl fmt::Display for Actor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.name)
    }
}

/// A standing order of a person, such as a freeze.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Order {
    /// Whose.
    pub by: Actor,
    /// Why, in the person's words.
    pub why: Arc<str>,
    /// Since when.
    pub since: Timestamp,
    /// Until when; else until somebody ends it.
    pub until: Option<Timestamp>,
}

impl Order {
    /// An order.
    #[must_use]
    pub fn new(by: Actor, why: impl AsRef<str>, since: Timestamp) -> Self {
        Self {
            by,
            why: Arc::from(why.as_ref()),
            since,
            until: None,
        }
    }

    /// The same until a moment.
    #[must_use]
    pub const fn until(mut self, until: Option<Timestamp>) -> Self {
        self.until = until;
        self
    }

    /// Whether it was given already, by the same person for the same reason and time.
    #[must_use]
    pub fn is_again(&self, other: &Self) -> bool {
        (&self.by, &self.why, self.until) == (&other.by, &other.why, other.until)
    }

    /// Whether it holds at this moment.
    #[must_use]
    pub fn holds(&self, at: Timestamp) -> bool {
        self.until.is_none_or(|until| at < until)
    }
}

impl fmt::Display for Order {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.by, self.why)?;
        match self.until {
            Some(until) => write!(f, "; until {until}"),
            None => Ok(()),
        }
    }
}

/// A value that no log, error, journal or `Debug` shows. It cannot be serialised.
///
/// ```
/// let token = rollback_core::model::Secret::new("hunter2".to_owned());
/// assert_eq!(format!("{token:?}"), "Secret(***)");
/// assert_eq!(token.expose(), "hunter2");
/// ```
#[derive(Clone, PartialEq, Eq)]
pub struct Secret<T>(T);

impl<T> Secret<T> {
    /// Hides a value.
    pub const fn new(value: T) -> Self {
        Self(value)
    }

    /// The value, at the one place that sends it.
    pub const fn expose(&self) -> &T {
        &self.0
    }
}

impl<T> fmt::Debug for Secret<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(***)")
    }
}
