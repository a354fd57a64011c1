//! Files that are replaced in one step, names that stay in their folder, and what a disk has room
//! for.

use std::{
    fmt::Write as _,
    fs::{self, DirBuilder, File, OpenOptions},
    io::{self, Write as _},
    os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _},
    path::Path,
    time::{SystemTime, UNIX_EPOCH},
};

use rollback_core::model::Timestamp;
use serde::{Serialize, de::DeserializeOwned};
use sha2::{Digest as _, Sha256};

/// Makes a folder for its owner alone, with those above it.
pub(crate) fn make(dir: &Path) -> Result<(), String> {
    DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(dir)
        .map_err(|error| failed("make the folder", dir, &error))
}

/// Writes beside, then renames: readers see the old or the new file, never a part.
pub(crate) fn replace<T: Serialize>(path: &Path, value: &T) -> Result<(), String> {
    let beside = path.with_extension(format!("{}.new", std::process::id()));
    let write = || {
        let mut file = OpenOptions::new()
            .write(true)
            .create(true)
            .truncate(true)
            .mode(0o600)
            .open(&beside)?;
        file.write_all(&serde_json::to_vec_pretty(value)?)?;
        file.sync_all()?;
        fs::rename(&beside, path)?;
        sync_folder_of(path)
    };
    write().map_err(|error| failed("write", path, &error))
}

pub(crate) fn read<T: DeserializeOwned>(path: &Path) -> Result<Option<T>, String> {
    match fs::read(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(failed("read", path, &error)),
        Ok(bytes) => serde_json::from_slice(&bytes)
            .map(Some)
            .map_err(|error| format!("`{}` is damaged: {error}", path.display())),
    }
}

/// Makes a rename, or a new name, survive a loss of power.
pub(crate) fn sync_folder_of(path: &Path) -> io::Result<()> {
    match path.parent() {
        Some(dir) => File::open(dir)?.sync_all(),
        None => Ok(()),
    }
}

/// Removes a folder with all that is in it; that there is none is no error.
pub(crate) fn remove(dir: &Path) -> Result<(), String> {
    match fs::remove_dir_all(dir) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(failed("remove", dir, &error)),
        _ => Ok(()),
    }
}

pub(crate) fn failed(action: &str, path: &Path, error: &dyn std::fmt::Display) -> String {
    format!("cannot {action} `{}`: {error}", path.display())
}

/// The length and the SHA-256 digest of a file.
pub(crate) fn digest(path: &Path) -> Result<(u64, String), String> {
    let mut file = File::open(path).map_err(|error| failed("open", path, &error))?;
    let mut hash = Sha256::new();
    let length = feed(&mut file, &mut hash).map_err(|error| failed("read", path, &error))?;
    Ok((length, hex(&hash.finalize())))
}

/// Adds all that a reader gives, and says how much that was.
pub(crate) fn feed(from: &mut dyn io::Read, hash: &mut Sha256) -> io::Result<u64> {
    let mut buffer = vec![0; 64 * 1024];
    let mut length = 0;
    loop {
        match from.read(&mut buffer) {
            Ok(0) => return Ok(length),
            Ok(count) => {
                hash.update(buffer.get(..count).unwrap_or_default());
                length += count as u64;
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
}

pub(crate) fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    })
}

/// Refuses what does not fit, before it fills the disk.
pub(crate) fn has_room(dir: &Path, bytes: u64, of: &str) -> Result<(), String> {
    let about =
        rustix::fs::statvfs(dir).map_err(|error| failed("look at the disk of", dir, &error))?;
    let free = about.f_bavail.saturating_mul(about.f_frsize);
    if free < bytes {
        return Err(format!(
            "{of} takes up to {bytes} bytes, and the disk of `{}` has {free} free; make room there",
            dir.display()
        ));
    }
    Ok(())
}

pub(crate) fn now() -> Timestamp {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    Timestamp::default().after(since.unwrap_or_default())
}

/// A name as a file's name: everything but letters, digits, `-`, `_` and inner dots is escaped.
pub(crate) fn file_name(text: &str) -> String {
    let mut name = String::new();
    for (at, byte) in text.bytes().enumerate() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'_' => name.push(byte.into()),
            b'.' if at > 0 => name.push('.'),
            _ => {
                let _ = write!(name, "%{byte:02x}");
            }
        }
    }
    name
}
