//! Where things lie: the journal, the folder beside it, the socket.

use std::{
    fs::{self, File, TryLockError},
    io::{Read, Seek, Write},
    os::unix::fs::{DirBuilderExt, MetadataExt, PermissionsExt},
    path::{Path, PathBuf},
};

use rollback::model::ServiceId;

use crate::exit::{Fallible, Trouble};

/// The paths of one service.
#[derive(Debug, Clone)]
pub(crate) struct Place {
    /// The journal, as an absolute path.
    pub(crate) journal: PathBuf,
    /// The service.
    pub(crate) service: ServiceId,
    folder: PathBuf,
}

impl Place {
    pub(crate) fn new(journal: &Path, service: ServiceId) -> Fallible<Self> {
        let journal = std::path::absolute(journal)
            .map_err(|why| Trouble::asked(format!("--journal {}: {why}", journal.display())))?;
        let mut name = journal.clone().into_os_string();
        name.push(".guard");
        let folder = PathBuf::from(name).join(file_name(service.as_str()));
        Ok(Self {
            journal,
            service,
            folder,
        })
    }

    /// What the controller of this service has to know besides the journal.
    pub(crate) fn settings(&self) -> PathBuf {
        self.folder.join("settings.json")
    }

    /// What the deploy scripts did.
    pub(crate) fn scripts(&self) -> PathBuf {
        self.folder.join("scripts")
    }

    /// What a task of the policy did.
    pub(crate) fn task(&self, name: &str) -> PathBuf {
        self.folder.join("tasks").join(file_name(name))
    }

    /// What a controller in the background says.
    pub(crate) fn controller_log(&self) -> PathBuf {
        self.folder.join("controller.log")
    }

    /// Makes the folders, for their owner alone.
    pub(crate) fn prepare(&self) -> Fallible<()> {
        for folder in [self.folder.as_path(), &self.scripts()] {
            private_folder(folder)?;
        }
        Ok(())
    }

    /// The socket of the controller of this journal and service. A path of its own, since a
    /// socket's path may have only some hundred bytes.
    pub(crate) fn socket(&self) -> Fallible<PathBuf> {
        let name = format!("{}\n{}", self.journal.display(), self.service);
        let folder = runtime_folder()?;
        Ok(folder.join(format!("{:016x}.sock", fnv1a(name.as_bytes()))))
    }

    /// Becomes the one controller of this journal and service, or says who is.
    pub(crate) fn lock(&self) -> Fallible<Locked> {
        self.prepare()?;
        let path = self.folder.join("controller.lock");
        let failed = |why| Trouble::broke(format!("{}: {why}", path.display()));
        let mut file = File::options()
            .create(true)
            .read(true)
            .write(true)
            .truncate(false)
            .open(&path)
            .map_err(failed)?;
        match file.try_lock() {
            Ok(()) => {
                file.set_len(0).map_err(failed)?;
                file.rewind().map_err(failed)?;
                write!(file, "{}", std::process::id()).map_err(failed)?;
                Ok(Locked { _file: file })
            }
            Err(TryLockError::WouldBlock) => {
                let mut pid = String::new();
                // Only for the message.
                let _ = file.read_to_string(&mut pid);
                Err(Trouble::asked(format!(
                    "service {} of {} has a controller already (process {pid}): use `guard status`, or end it with `guard stop`",
                    self.service,
                    self.journal.display(),
                )))
            }
            Err(TryLockError::Error(why)) => Err(failed(why)),
        }
    }
}

/// As long as it lives, no other controller starts.
#[derive(Debug)]
pub(crate) struct Locked {
    _file: File,
}

/// A journal that a person did not name.
pub(crate) fn default_journal() -> PathBuf {
    let state = std::env::var_os("XDG_STATE_HOME").filter(|folder| !folder.is_empty());
    let state = state.map(PathBuf::from).or_else(|| {
        let home = std::env::var_os("HOME")?;
        Some(PathBuf::from(home).join(".local/state"))
    });
    state
        .unwrap_or_else(|| PathBuf::from("."))
        .join("rollback-guard/guard.db")
}

/// Makes a folder for its owner alone; one that is there already stays as it is.
pub(crate) fn private_folder(folder: &Path) -> Fallible<()> {
    let mut builder = fs::DirBuilder::new();
    let made = builder.recursive(true).mode(0o700).create(folder);
    made.map_err(|why| {
        Trouble::asked(format!(
            "{}: {why}. Name another place with --journal",
            folder.display()
        ))
    })
}

/// Where sockets lie. Nobody else may put one there.
fn runtime_folder() -> Fallible<PathBuf> {
    let folder = match std::env::var_os("XDG_RUNTIME_DIR").filter(|folder| !folder.is_empty()) {
        Some(runtime) => PathBuf::from(runtime).join("rollback-guard"),
        None => std::env::temp_dir().join(format!("rollback-guard-{}", our_uid())),
    };
    private_folder(&folder)?;
    let seen = fs::symlink_metadata(&folder)
        .map_err(|why| Trouble::broke(format!("{}: {why}", folder.display())))?;
    let ours = seen.is_dir() && seen.uid() == our_uid() && seen.permissions().mode() & 0o077 == 0;
    if !ours {
        return Err(Trouble::broke(format!(
            "{}: it belongs to somebody else or others may write there; set XDG_RUNTIME_DIR to a folder of your own",
            folder.display()
        )));
    }
    Ok(folder)
}

pub(crate) fn our_uid() -> u32 {
    rustix::process::geteuid().as_raw()
}

/// A name that is one part of a path.
fn file_name(text: &str) -> String {
    let safe = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_');
    let mut name: String = text
        .chars()
        .map(|c| if safe(c) { c } else { '_' })
        .collect();
    if name != text {
        name.push_str(&format!("-{:08x}", fnv1a(text.as_bytes()) >> 32));
    }
    name
}

/// FNV-1a, 64 bits: a short name for a long one; nothing rests on it being hard to guess.
fn fnv1a(bytes: &[u8]) -> u64 {
    bytes.iter().fold(0xcbf2_9ce4_8422_2325, |hash, byte| {
        (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn services_do_not_share_a_folder() {
        assert_eq!(file_name("checkout-2"), "checkout-2");
        assert_ne!(file_name("a.b"), file_name("a_b"));
        assert!(!file_name("../up").contains('/'));
    }

    #[test]
    fn a_second_controller_is_told_of_the_first() {
        let folder = tempfile::tempdir().unwrap();
        let service = ServiceId::new("checkout").unwrap();
        let place = Place::new(&folder.path().join("guard.db"), service).unwrap();
        let first = place.lock().unwrap();
        let second = place.lock().unwrap_err().to_string();
        assert!(second.contains(&std::process::id().to_string()), "{second}");
        assert!(second.contains("guard stop"), "{second}");
        drop(first);
        place.lock().unwrap();
    }
}
