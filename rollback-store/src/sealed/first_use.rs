//! The key that is made when a journal is used for the first time.

use std::{
    fs::{self, OpenOptions},
    io::{self, Write as _},
    path::Path,
};

use aes_gcm::aead::Generate as _;

use super::keys::{KEY, SealingKeyError, SealingKeys};
use crate::sqlite::holds_sealed;

impl SealingKeys {
    /// The keys of a journal from a file that only its owner can use. If there is no such file, one
    /// is made with a random key, unless the journal holds definitions that are sealed already: for
    /// those another key would be of no use.
    ///
    /// ```
    /// use rollback_store::{SealingKeys, SqliteJournal};
    ///
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let directory = tempfile::tempdir()?;
    /// # let (path, keys) = (directory.path().join("rollback.db"), directory.path().join("key"));
    /// let journal = SqliteJournal::open(&path)?.sealed(SealingKeys::of_journal(&path, keys)?);
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// As [`SealingKeys::from_file`]; the file is gone, or cannot be made.
    pub fn of_journal(
        journal: impl AsRef<Path>,
        keys: impl AsRef<Path>,
    ) -> Result<Self, SealingKeyError> {
        let (journal, path) = (journal.as_ref(), keys.as_ref());
        let missing = fs::metadata(path).is_err_and(|why| why.kind() == io::ErrorKind::NotFound);
        if missing {
            let not_made = |why: String| SealingKeyError::NotMade {
                path: path.to_owned(),
                why,
            };
            if holds_sealed(journal).map_err(|error| not_made(error.to_string()))? {
                return Err(SealingKeyError::Gone {
                    path: path.to_owned(),
                    journal: journal.to_owned(),
                });
            }
            make(path).map_err(|error| not_made(error.to_string()))?;
        }
        Self::from_file(path)
    }
}

/// Makes a file with one key, whole and on disk, or none. If somebody was faster, theirs stays.
fn make(path: &Path) -> io::Result<()> {
    let none = |error| io::Error::other(format!("the system gives no random number: {error}"));
    let key = <[u8; KEY]>::try_generate().map_err(none)?;
    let mut new = path.as_os_str().to_owned();
    // Nobody else writes there.
    new.push(format!(
        ".{}",
        digits(&<[u8; 8]>::try_generate().map_err(none)?)
    ));
    let written = write(new.as_ref(), &digits(&key)).and_then(|()| fs::hard_link(&new, path));
    let removed = fs::remove_file(&new);
    match written {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return Err(error),
        _ => removed?,
    }
    let folder = path
        .parent()
        .filter(|folder| !folder.as_os_str().is_empty());
    fs::File::open(folder.unwrap_or_else(|| Path::new(".")))?.sync_all()
}

fn digits(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn write(path: &Path, digits: &str) -> io::Result<()> {
    let mut options = OpenOptions::new();
    options.write(true).create_new(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    let mut file = options.open(path)?;
    writeln!(file, "{digits}")?;
    file.sync_all()
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "this is test code")]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn all_who_come_first_at_once_have_the_same_key() {
        let directory = tempfile::tempdir().unwrap();
        let (journal, path) = (directory.path().join("db"), directory.path().join("key"));
        let found: BTreeSet<String> = std::thread::scope(|scope| {
            let threads: Vec<_> = (0..8)
                .map(|_| scope.spawn(|| SealingKeys::of_journal(&journal, &path)))
                .collect();
            let keys = threads.into_iter().map(|one| one.join().unwrap().unwrap());
            keys.map(|keys| format!("{keys:?}")).collect()
        });
        assert_eq!(found.len(), 1, "{found:?}");
        let files = fs::read_dir(directory.path()).unwrap();
        let files: Vec<_> = files.map(|file| file.unwrap().file_name()).collect();
        assert_eq!(files, ["key"]);
        #[cfg(unix)]
        {
            let mode = fs::metadata(&path).unwrap().permissions();
            let mode = std::os::unix::fs::PermissionsExt::mode(&mode) & 0o777;
            assert_eq!(mode, 0o600);
        }
    }

    #[test]
    fn a_key_that_cannot_be_made_is_told() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("none/key");
        let told = SealingKeys::of_journal(directory.path().join("db"), &path).unwrap_err();
        assert!(told.to_string().contains("none/key"), "{told}");
    }
}
