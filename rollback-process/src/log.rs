//! What an instance prints. It writes to a file of its own, not to a pipe of the controller's:
//! a process whose reader died would die of `SIGPIPE` at its next line.

use std::{
    fs::{self, File, OpenOptions},
    io::{self, Read as _, Seek as _, SeekFrom, Write as _},
    os::unix::fs::OpenOptionsExt as _,
    path::{Path, PathBuf},
};

use rollback_core::model::Secret;

use crate::definition::LogLimits;

/// The log file of one instance, and the older half that was cut off beside it.
#[derive(Debug, Clone)]
pub(crate) struct Log {
    path: PathBuf,
    limits: LogLimits,
}

impl Log {
    pub(crate) const fn new(path: PathBuf, limits: LogLimits) -> Self {
        Self { path, limits }
    }

    /// Where an instance writes; always to the end, also after the file was cut.
    pub(crate) fn for_process(&self) -> io::Result<File> {
        open(&self.path)
    }

    /// Adds a line of the supervisor's own, so that the story of an instance is in one place.
    pub(crate) fn note(&self, line: &str) {
        let _ = open(&self.path).and_then(|mut file| writeln!(file, "[supervisor] {line}"));
    }

    /// Cuts the file when it is too large: its last half is copied beside it, then it is emptied.
    /// What is printed between the copy and the cut is lost, which is why there is a lot of room.
    pub(crate) fn cut(&self) -> io::Result<()> {
        let limit = self.limits.file_bytes;
        if fs::metadata(&self.path)?.len() <= limit {
            return Ok(());
        }
        let file = OpenOptions::new().read(true).write(true).open(&self.path)?;
        let kept = last_bytes(&file, limit / 2)?;
        let older = self.older();
        let new = older.with_extension("new");
        let _ = fs::remove_file(&new);
        open(&new)?.write_all(&kept)?;
        fs::rename(&new, &older)?;
        file.set_len(0)
    }

    /// The last lines, oldest first: bounded in number and length, without control characters and
    /// without `secrets`.
    pub(crate) fn tail(&self, lines: usize, secrets: &[Secret<String>]) -> Vec<String> {
        let most = lines
            .saturating_mul(self.limits.line_bytes)
            .clamp(64 << 10, 1 << 20) as u64;
        let read = |path: &Path| File::open(path).and_then(|file| last_bytes(&file, most));
        let mut bytes = read(&self.older()).unwrap_or_default();
        bytes.extend(read(&self.path).unwrap_or_default());
        let mut text = String::from_utf8_lossy(&bytes).into_owned();
        for secret in secrets.iter().map(Secret::expose).filter(|s| !s.is_empty()) {
            text = text.replace(secret.as_str(), "***");
        }
        let all: Vec<&str> = text.lines().collect();
        all.iter()
            .skip(all.len().saturating_sub(lines))
            .map(|line| self.shown(line))
            .collect()
    }

    /// Removes both files.
    pub(crate) fn remove(&self) {
        let _ = fs::remove_file(&self.path);
        let _ = fs::remove_file(self.older());
    }

    fn shown(&self, line: &str) -> String {
        let mut shown = String::new();
        for c in line.chars().filter(|c| *c == '\t' || !c.is_control()) {
            if shown.len() + c.len_utf8() > self.limits.line_bytes {
                shown.push('…');
                break;
            }
            shown.push(c);
        }
        shown
    }

    fn older(&self) -> PathBuf {
        self.path.with_extension("log.1")
    }
}

/// Readable by its owner alone: a process may print anything.
fn open(path: &Path) -> io::Result<File> {
    OpenOptions::new()
        .append(true)
        .create(true)
        .mode(0o600)
        .open(path)
}

/// Up to `most` bytes from the end, from the beginning of a line if anything was left out.
fn last_bytes(mut file: &File, most: u64) -> io::Result<Vec<u8>> {
    let length = file.metadata()?.len();
    let skipped = length.saturating_sub(most);
    file.seek(SeekFrom::Start(skipped))?;
    let mut bytes = Vec::new();
    file.take(most).read_to_end(&mut bytes)?;
    if skipped > 0
        && let Some(end) = bytes.iter().position(|byte| *byte == b'\n')
    {
        bytes.drain(..=end);
    }
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn log(dir: &tempfile::TempDir) -> Log {
        Log::new(dir.path().join("a.log"), LogLimits::new(4096, 80))
    }

    #[test]
    fn stays_within_its_bound_and_keeps_the_last_lines() {
        let dir = tempfile::tempdir().unwrap();
        let log = log(&dir);
        let mut process = log.for_process().unwrap();
        for n in 0..3000 {
            writeln!(process, "line {n}").unwrap();
            log.cut().unwrap();
        }
        let size: u64 = [log.path.clone(), log.older()]
            .iter()
            .map(|path| fs::metadata(path).unwrap().len())
            .sum();
        assert!(size <= 4096 + 2048 + 20, "{size}");
        let tail = log.tail(100, &[]);
        let expected: Vec<String> = (2900..3000).map(|n| format!("line {n}")).collect();
        assert_eq!(tail, expected);
    }

    #[test]
    fn a_shown_line_is_short_clean_and_keeps_no_secret() {
        let dir = tempfile::tempdir().unwrap();
        let log = log(&dir);
        let mut process = log.for_process().unwrap();
        writeln!(process, "{}", "ä".repeat(500)).unwrap();
        process.write_all(b"\x1b[31mred\x1b[0m \xff\n").unwrap();
        writeln!(process, "connecting with hunter2").unwrap();
        let tail = log.tail(3, &[Secret::new("hunter2".to_owned())]);
        assert_eq!(tail[0], format!("{}…", "ä".repeat(40)));
        assert_eq!(tail[1], "[31mred[0m \u{fffd}");
        assert_eq!(tail[2], "connecting with ***");
    }

    #[test]
    fn one_endless_line_is_bounded_too() {
        let dir = tempfile::tempdir().unwrap();
        let log = log(&dir);
        let mut process = log.for_process().unwrap();
        process.write_all(&vec![b'x'; 100_000]).unwrap();
        log.cut().unwrap();
        assert!(fs::metadata(&log.path).unwrap().len() == 0);
        assert!(fs::metadata(log.older()).unwrap().len() <= 2048);
        assert!(log.tail(5, &[]).iter().all(|line| line.len() <= 84));
    }
}
