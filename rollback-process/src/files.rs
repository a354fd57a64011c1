//! Files that are replaced in one step, and the names they may have.

use std::{
    fs::{self, File, OpenOptions},
    io::{self, Write as _},
    os::unix::fs::OpenOptionsExt as _,
    path::{Path, PathBuf},
    sync::atomic::{AtomicU64, Ordering},
};

use serde::{Deserialize, Serialize, de::DeserializeOwned};

/// The form of the files; a newer one is refused, not guessed at.
pub(crate) const SCHEMA: u32 = 1;

/// What went wrong in the state directory.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StateError {
    /// The file system said no.
    #[error("cannot {action} `{}`: {source}; the state directory must be writable and on a disk with room", .path.display())]
    Io {
        /// What was tried.
        action: &'static str,
        /// Where.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// A file does not read as what it should be.
    #[error("`{}` is damaged ({why}); processes that run are not touched; restore the file, or remove it and deploy again", .path.display())]
    Damaged {
        /// Which.
        path: PathBuf,
        /// Where and why.
        why: String,
    },
    /// A file of a newer version of this library.
    #[error("`{}` was written by a newer version of this library (form {found}, this one knows {SCHEMA}); use that version", .path.display())]
    Newer {
        /// Which.
        path: PathBuf,
        /// Its form.
        found: u32,
    },
    /// Another controller does not let go.
    #[error("another controller has held `{}` for 2 s; is it paused?", .0.display())]
    Locked(PathBuf),
}

#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Durable {
    Yes,
    No,
}

/// Writes beside, then renames: readers see the old or the new file, never a part.
pub(crate) fn replace<T: Serialize>(
    path: &Path,
    value: &T,
    durable: Durable,
) -> Result<(), StateError> {
    static COUNT: AtomicU64 = AtomicU64::new(0);
    let unique = COUNT.fetch_add(1, Ordering::Relaxed);
    let beside = path.with_extension(format!("{}-{unique}.new", std::process::id()));
    let text =
        serde_json::to_vec_pretty(value).map_err(|error| failed("encode", path)(error.into()))?;
    let write = || {
        let mut file = OpenOptions::new()
            .write(true)
            .create(true)
            .truncate(true)
            .mode(0o600)
            .open(&beside)?;
        file.write_all(&text)?;
        if durable == Durable::Yes {
            file.sync_all()?;
        }
        fs::rename(&beside, path)
    };
    if let Err(error) = write() {
        let _ = fs::remove_file(&beside);
        return Err(failed("write", path)(error));
    }
    match path.parent() {
        Some(dir) if durable == Durable::Yes => File::open(dir)
            .and_then(|dir| dir.sync_all())
            .map_err(failed("flush", dir)),
        _ => Ok(()),
    }
}

pub(crate) fn read<T: DeserializeOwned>(path: &Path) -> Result<Option<T>, StateError> {
    #[derive(Deserialize)]
    struct Form {
        schema: u32,
    }
    match read_plain::<Form>(path)? {
        None => Ok(None),
        Some(Form { schema }) if schema > SCHEMA => Err(StateError::Newer {
            path: path.to_owned(),
            found: schema,
        }),
        Some(_) => read_plain(path),
    }
}

pub(crate) fn read_plain<T: DeserializeOwned>(path: &Path) -> Result<Option<T>, StateError> {
    match fs::read(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(failed("read", path)(error)),
        Ok(bytes) => {
            serde_json::from_slice(&bytes)
                .map(Some)
                .map_err(|error| StateError::Damaged {
                    path: path.to_owned(),
                    why: error.to_string(),
                })
        }
    }
}

pub(crate) fn lock_file(path: &Path) -> Result<File, StateError> {
    OpenOptions::new()
        .read(true)
        .write(true)
        .create(true)
        .truncate(false)
        .mode(0o600)
        .open(path)
        .map_err(failed("open", path))
}

pub(crate) fn failed(action: &'static str, path: &Path) -> impl Fn(io::Error) -> StateError {
    move |source| StateError::Io {
        action,
        path: path.to_owned(),
        source,
    }
}

/// A name as a file's name: everything but letters, digits, `-`, `_` and inner dots is escaped.
pub(crate) fn file_name(text: &str) -> String {
    text.bytes()
        .enumerate()
        .fold(String::new(), |mut name, (at, byte)| {
            match byte {
                b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'_' => name.push(byte.into()),
                b'.' if at > 0 => name.push('.'),
                _ => name.push_str(&format!("%{byte:02x}")),
            }
            name
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_service_cannot_leave_its_root() {
        for (text, name) in [
            ("..", "%2e."),
            ("../../etc", "%2e.%2f..%2fetc"),
            ("shop/checkout", "shop%2fcheckout"),
            ("v1.2_a-b", "v1.2_a-b"),
        ] {
            assert_eq!(file_name(text), name);
        }
    }
}
