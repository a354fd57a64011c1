//! How one bad deployment went under one system, and the table of all.

use std::time::{Duration, Instant};

use crate::users::Asked;

/// What was seen of one bad deployment. Times are since it was asked for.
#[derive(Debug, Clone, Default)]
pub(crate) struct Course {
    pub(crate) noticed: Option<Duration>,
    pub(crate) restored: Option<Duration>,
    /// How it ended, in the system's own words.
    pub(crate) words: String,
    pub(crate) requests: usize,
    pub(crate) failed: usize,
    /// Of those, not by the bad release: collateral damage.
    pub(crate) others: usize,
    /// When the last one failed.
    pub(crate) last_failed: Option<Duration>,
}

impl Course {
    /// Counts what the users saw.
    pub(crate) fn counted(mut self, began: Instant, asked: &[Asked]) -> Self {
        self.requests = asked.len();
        let failed = || asked.iter().filter(|asked| asked.failed);
        self.failed = failed().count();
        self.others = failed().filter(|asked| !asked.by_the_bad_one).count();
        self.last_failed = failed().map(|asked| asked.at - began).max();
        self
    }

    fn cells(&self) -> [String; 7] {
        let seconds = |time: Option<Duration>| {
            time.map_or_else(|| "-".to_owned(), |t| format!("{:.1} s", t.as_secs_f64()))
        };
        let decided_to_restored = self
            .restored
            .zip(self.noticed)
            .map(|(restored, noticed)| restored.saturating_sub(noticed));
        [
            (if self.noticed.is_some() {
                "yes"
            } else {
                "**no**"
            })
            .to_owned(),
            seconds(self.noticed),
            seconds(self.restored),
            seconds(decided_to_restored),
            format!("{} of {}", self.failed, self.requests),
            self.others.to_string(),
            self.words.clone(),
        ]
    }
}

/// As Markdown.
pub(crate) fn table(rows: &[(&str, &str, Course)]) -> String {
    let mut text = "| fault | under | noticed | after | restored after | since noticed | requests failed | not by the bad release | in its own words |\n|---|---|---|---|---|---|---|---|---|\n".to_owned();
    for (fault, system, course) in rows {
        let cells = course.cells().join(" | ");
        text.push_str(&format!("| {fault} | {system} | {cells} |\n"));
    }
    text
}
