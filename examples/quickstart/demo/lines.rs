//! What the users saw, second by second, as JSON lines on disk: for people, and for whatever plots it.

use std::io::Write;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::seen::{Experience, Seen, Summary};

/// One line of the load generator's output: one second, by the time of seeing.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Second {
    /// The start of the second.
    pub(crate) at_ms: u64,
    /// What was seen in it.
    pub(crate) releases: Summary,
}

/// The JSON lines on disk.
pub(crate) struct Lines {
    file: std::fs::File,
    second: u64,
    seen: Seen,
}

/// A file that cannot be written.
#[derive(Debug, thiserror::Error)]
#[error("cannot write what users see to {}: {source}", path.display())]
pub(crate) struct NoLines {
    path: PathBuf,
    source: std::io::Error,
}

impl Lines {
    /// Starts the file anew.
    pub(crate) fn create(path: &Path) -> Result<Self, NoLines> {
        let failed = |source| NoLines {
            path: path.to_owned(),
            source,
        };
        let file = std::fs::File::create(path).map_err(failed)?;
        Ok(Self {
            file,
            second: 0,
            seen: Seen::default(),
        })
    }

    /// One more request; writes the line of each second that is over.
    pub(crate) fn add(&mut self, experience: &Experience) {
        let second = experience.seen_ms / 1000;
        if second > self.second {
            self.end_second();
            self.second = second;
        }
        self.seen.add(experience);
    }

    /// Writes the line of the second that is under way.
    pub(crate) fn end_second(&mut self) {
        let seen = std::mem::take(&mut self.seen);
        if seen.is_empty() {
            return;
        }
        let line = Second {
            at_ms: self.second * 1000,
            releases: seen.summary(0),
        };
        if let Ok(mut line) = serde_json::to_string(&line) {
            line.push('\n');
            // A full disk must not stop the users; the results themselves are in memory.
            let _ = self.file.write_all(line.as_bytes());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_second_with_visitors_is_one_line() {
        let path = std::env::temp_dir().join(format!("quickstart-lines-{}", std::process::id()));
        let mut lines = Lines::create(&path).unwrap();
        for seen_ms in [5_001, 5_999, 7_000] {
            lines.add(&Experience {
                release: Some("v1".into()),
                sent_ms: seen_ms - 1,
                seen_ms,
                failure: None,
            });
        }
        lines.end_second();
        lines.end_second();
        let text = std::fs::read_to_string(&path).unwrap();
        std::fs::remove_file(&path).unwrap();
        let lines: Vec<Second> = text
            .lines()
            .map(|line| serde_json::from_str(line).unwrap())
            .collect();
        let counted: Vec<_> = lines
            .iter()
            .map(|line| (line.at_ms, line.releases["v1"].ok))
            .collect();
        assert_eq!(counted, [(5_000, 2), (7_000, 1)]);
    }

    #[test]
    fn a_file_that_cannot_be_written_is_named() {
        let error = Lines::create(Path::new("/nowhere/seen.jsonl"))
            .err()
            .unwrap()
            .to_string();
        assert!(error.contains("/nowhere/seen.jsonl"), "{error}");
    }
}
