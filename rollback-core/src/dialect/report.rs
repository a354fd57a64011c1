//! What became of each key of a source.

use std::fmt;

use serde::Serialize;

/// What became of a key.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Fate {
    /// It means the same here, and is done without a key of its own.
    Applied,
    /// It is written like this in the native policy.
    AppliedAs {
        /// The native key and value, and what it means where that differs.
        native: String,
    },
    /// It does not belong to a policy.
    NotOurs {
        /// Who does it, or why nobody has to.
        why: String,
    },
}

/// A key of the source and what became of it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct KeyReport {
    /// Its path, as in `rollback.triggers.application[0].severity`.
    pub key: String,
    /// The line of the source, from 1.
    pub line: usize,
    /// What became of it.
    #[serde(flatten)]
    pub fate: Fate,
}

impl fmt::Display for KeyReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { key, line, fate } = self;
        match fate {
            Fate::Applied => write!(f, "line {line}, {key}: applied"),
            Fate::AppliedAs { native } => write!(f, "line {line}, {key}: applied as {native}"),
            Fate::NotOurs { why } => write!(f, "line {line}, {key}: not ours: {why}"),
        }
    }
}

/// The lines, keys in one column, and below them what the source does not say.
pub(super) fn text(lines: &[KeyReport], chosen: &[String]) -> String {
    let keys = lines.iter().map(|line| line.key.chars().count());
    let width = keys.max().unwrap_or_default();
    let mut text = String::new();
    for KeyReport { key, fate, .. } in lines {
        let (word, rest) = match fate {
            Fate::Applied => ("applied", ""),
            Fate::AppliedAs { native } => ("applied as", native.as_str()),
            Fate::NotOurs { why } => ("not ours", why.as_str()),
        };
        let line = format!("{key:width$}  {word:10}  {rest}");
        text.push_str(line.trim_end());
        text.push('\n');
    }
    if !chosen.is_empty() {
        text.push_str("\nChosen, since the source does not say it:\n");
        for choice in chosen {
            text.push_str(&format!("- {choice}\n"));
        }
    }
    text
}
