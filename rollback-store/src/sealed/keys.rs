//! The host's keys: from a file or a variable, never shown.

use std::{
    fmt,
    fs::File,
    io::{self, Read as _},
    path::{Path, PathBuf},
    sync::Arc,
};

use aes_gcm::{Aes256Gcm, KeyInit as _};
use hmac::{Hmac, Mac as _};
use rollback_core::model::Secret;
use sha2::Sha256;

/// So many bytes has a key.
pub(super) const KEY: usize = 32;
/// So many bytes of its digest name a key.
const NAME: usize = 8;
/// A file of keys is not longer.
const MOST_BYTES: u64 = 64 * 1024;
/// What a key's name is the keyed digest of.
const NAMED_BY: &[u8] = b"rollback: name of a sealing key";

/// The keys that definitions of releases are sealed under.
///
/// New records are sealed under the first; older ones are opened by whichever of them fits. To
/// change the key, put a new one before the old one; a record is sealed anew when its release is
/// put again.
///
/// A key is 64 hexadecimal digits, as `openssl rand -hex 32` prints. Several are separated by white
/// space, for example one on a line.
///
/// ```
/// use rollback_core::model::Secret;
/// use rollback_store::{SealingKeys, SqliteJournal};
///
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let directory = tempfile::tempdir()?;
/// # let path = directory.path().join("rollback.db");
/// # let text = Secret::new("5f".repeat(32));
/// let keys = SealingKeys::from_text(&text)?; // or from_file, from_env, of_journal
/// let journal = SqliteJournal::open(path)?.sealed(keys);
/// # Ok(())
/// # }
/// ```
#[derive(Clone)]
pub struct SealingKeys {
    keys: Arc<[Key]>,
    plain: Plain,
}

/// Whether a record that is not sealed is read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Plain {
    Read,
    Refused,
}

/// The name of a key: a keyed digest, which tells nothing of the key.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) struct KeyName(pub(super) [u8; NAME]);

pub(super) struct Key {
    pub(super) name: KeyName,
    pub(super) cipher: Aes256Gcm,
}

/// Why there are no keys.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum SealingKeyError {
    /// The file cannot be read.
    #[error("the file of sealing keys `{}` cannot be read: {why}", .path.display())]
    Unreadable {
        /// Which.
        path: PathBuf,
        /// What the system said.
        why: String,
    },
    /// Others than its owner may read the file.
    #[error("others than its owner may use the file of sealing keys `{}` (mode {mode:03o}); run `chmod 600` on it, and use new keys if others had access", .path.display())]
    Open {
        /// Which.
        path: PathBuf,
        /// Its permissions.
        mode: u32,
    },
    /// The file is not there, and there are definitions that only its keys open.
    #[error(
        "the file of sealing keys `{}` is not there, and definitions in `{}` are sealed under its keys; put the file back, or name the one that holds them", .path.display(), .journal.display()
    )]
    Gone {
        /// Which.
        path: PathBuf,
        /// Where the definitions are.
        journal: PathBuf,
    },
    /// The file cannot be made.
    #[error("the file of sealing keys `{}` cannot be made: {why}", .path.display())]
    NotMade {
        /// Which.
        path: PathBuf,
        /// What the system said.
        why: String,
    },
    /// The variable is not set.
    #[error(
        "the variable `{name}` is not set; it is to hold the sealing keys, or name a file of keys instead"
    )]
    NotSet {
        /// Its name.
        name: String,
    },
    /// There is no key in the text.
    #[error("there is no sealing key; `openssl rand -hex 32` makes one")]
    None,
    /// A key has another form.
    #[error(
        "sealing key number {number} is not 64 hexadecimal digits; `openssl rand -hex 32` makes such a one"
    )]
    Form {
        /// Which, from 1.
        number: usize,
    },
    /// A key stands there twice.
    #[error("sealing key number {number} stands there twice; remove one")]
    Twice {
        /// The second, from 1.
        number: usize,
    },
}

impl SealingKeys {
    /// Keys from a file that only its owner can use.
    ///
    /// # Errors
    /// It cannot be read, others may read or write it, or it holds something else than keys.
    pub fn from_file(path: impl AsRef<Path>) -> Result<Self, SealingKeyError> {
        let path = path.as_ref();
        let unreadable = |error: io::Error| SealingKeyError::Unreadable {
            path: path.to_owned(),
            why: error.to_string(),
        };
        // The permissions are those of the file that is read, whatever happens to its name.
        let file = File::open(path).map_err(unreadable)?;
        let about = file.metadata().map_err(unreadable)?;
        if !about.is_file() {
            return Err(unreadable(io::Error::other("it is not a plain file")));
        }
        #[cfg(unix)]
        {
            let mode = std::os::unix::fs::PermissionsExt::mode(&about.permissions()) & 0o777;
            if mode & 0o077 != 0 {
                let path = path.to_owned();
                return Err(SealingKeyError::Open { path, mode });
            }
        }
        let mut text = String::new();
        file.take(MOST_BYTES)
            .read_to_string(&mut text)
            .map_err(unreadable)?;
        Self::from_text(&Secret::new(text))
    }

    /// Keys from a variable of the environment.
    ///
    /// # Errors
    /// It is not set, or holds something else than keys.
    pub fn from_env(name: &str) -> Result<Self, SealingKeyError> {
        match std::env::var(name) {
            Ok(text) => Self::from_text(&Secret::new(text)),
            Err(std::env::VarError::NotPresent) => Err(SealingKeyError::NotSet {
                name: name.to_owned(),
            }),
            Err(std::env::VarError::NotUnicode(_)) => Err(SealingKeyError::Form { number: 1 }),
        }
    }

    /// Keys from a text.
    ///
    /// # Errors
    /// It holds something else than keys.
    pub fn from_text(text: &Secret<String>) -> Result<Self, SealingKeyError> {
        let mut keys: Vec<Key> = Vec::new();
        for (at, word) in text.expose().split_whitespace().enumerate() {
            let number = at + 1;
            let key = digits(word).and_then(|bytes| Key::new(&bytes));
            let key = key.ok_or(SealingKeyError::Form { number })?;
            if keys.iter().any(|known| known.name == key.name) {
                return Err(SealingKeyError::Twice { number });
            }
            keys.push(key);
        }
        if keys.is_empty() {
            return Err(SealingKeyError::None);
        }
        Ok(Self {
            keys: keys.into(),
            plain: Plain::Read,
        })
    }

    /// Refuses records that are not sealed. Without this they are read, since a journal of before
    /// holds some; whoever can write to the file could then put one there.
    #[must_use]
    pub const fn refuse_plain(mut self) -> Self {
        self.plain = Plain::Refused;
        self
    }

    /// What the keys are called in errors, the one that seals first; tells nothing of the keys.
    pub fn names(&self) -> impl Iterator<Item = String> {
        self.keys.iter().map(|key| key.name.to_string())
    }

    pub(super) fn first(&self) -> Option<&Key> {
        self.keys.first()
    }

    pub(super) fn named(&self, name: KeyName) -> Option<&Key> {
        self.keys.iter().find(|key| key.name == name)
    }

    pub(super) const fn plain(&self) -> Plain {
        self.plain
    }
}

impl fmt::Debug for SealingKeys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names: Vec<String> = self.names().collect();
        write!(f, "SealingKeys({})", names.join(", "))
    }
}

impl Key {
    fn new(bytes: &[u8; KEY]) -> Option<Self> {
        let mut digest = Hmac::<Sha256>::new_from_slice(bytes).ok()?;
        digest.update(NAMED_BY);
        let digest = digest.finalize().into_bytes();
        Some(Self {
            name: KeyName(digest.get(..NAME)?.try_into().ok()?),
            cipher: Aes256Gcm::new_from_slice(bytes).ok()?,
        })
    }
}

impl fmt::Display for KeyName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

fn digits(word: &str) -> Option<[u8; KEY]> {
    let digits: Vec<u8> = word
        .chars()
        .map(|digit| {
            digit
                .to_digit(16)
                .and_then(|value| u8::try_from(value).ok())
        })
        .collect::<Option<_>>()?;
    if digits.len() != 2 * KEY {
        return None;
    }
    let bytes: Vec<u8> = digits
        .chunks_exact(2)
        .filter_map(|pair| Some(pair.first()? << 4 | pair.get(1)?))
        .collect();
    bytes.try_into().ok()
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "this is test code")]
mod tests {
    use super::*;

    fn keys(text: &str) -> Result<SealingKeys, SealingKeyError> {
        SealingKeys::from_text(&Secret::new(text.to_owned()))
    }

    #[test]
    fn what_is_no_key_is_told_without_showing_it() {
        let (one, other) = ("0a".repeat(32), "B7".repeat(32));
        assert_eq!(keys(" \n").unwrap_err(), SealingKeyError::None);
        for (text, number) in [
            ("hunter2".to_owned(), 1),
            (format!("{one}0"), 1),
            (one[1..].to_owned(), 1),
            (format!("{one}\n{}é", &other[2..]), 2),
            (format!("{one} {}g0", &other[2..]), 2),
            (format!("{one},{other}"), 1),
        ] {
            let error = keys(&text).unwrap_err();
            assert_eq!(error, SealingKeyError::Form { number }, "{text}");
            assert!(!error.to_string().contains(&text));
        }
        let twice = keys(&format!("{other}\n{}", other.to_lowercase()));
        assert_eq!(twice.unwrap_err(), SealingKeyError::Twice { number: 2 });
    }

    #[test]
    fn keys_are_shown_by_names_that_tell_nothing() {
        let (one, other) = ("0a".repeat(32), "b7".repeat(32));
        let keys = keys(&format!("{one}\n{other}\n")).unwrap();
        let names: Vec<String> = keys.names().collect();
        assert_eq!(names.len(), 2);
        let shown = format!("{keys:?}");
        assert_eq!(shown, format!("SealingKeys({}, {})", names[0], names[1]));
        for key in [one, other] {
            assert!(!shown.contains(&key[..8]), "{shown}");
        }
    }

    #[cfg(unix)]
    #[test]
    fn a_file_that_others_may_use_is_refused() {
        use std::os::unix::fs::PermissionsExt as _;
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("keys");
        std::fs::write(&path, format!("{}\n", "0a".repeat(32))).unwrap();
        for (mode, taken) in [
            (0o600, true),
            (0o400, true),
            (0o640, false),
            (0o604, false),
            (0o620, false),
            (0o602, false),
            (0o601, false),
        ] {
            std::fs::set_permissions(&path, std::fs::Permissions::from_mode(mode)).unwrap();
            let found = SealingKeys::from_file(&path);
            let open = SealingKeyError::Open {
                path: path.clone(),
                mode,
            };
            assert_eq!(found.map(drop), if taken { Ok(()) } else { Err(open) });
        }
        for no_file in [directory.path(), &path.with_extension("none")] {
            let error = SealingKeys::from_file(no_file).unwrap_err();
            assert!(
                matches!(error, SealingKeyError::Unreadable { .. }),
                "{error}"
            );
        }
    }

    #[test]
    fn a_variable_that_is_not_set_is_named() {
        let error = SealingKeys::from_env("ROLLBACK_STORE_NO_SUCH_VARIABLE").unwrap_err();
        assert!(
            error
                .to_string()
                .contains("ROLLBACK_STORE_NO_SUCH_VARIABLE")
        );
    }
}
