//! Where a story keeps its things: the journal, and a folder beside it with what `--resume` needs.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use rollback_core::model::Release;
use serde::{Deserialize, Serialize};

use crate::demo::child::Ready;
use crate::scenario::Scenario;

/// The journal and the folder beside it.
#[derive(Debug, Clone)]
pub(crate) struct Place {
    /// The library's journal.
    pub(crate) journal: PathBuf,
    folder: PathBuf,
    /// Nobody asked for this place by name, so nobody misses it.
    ours: bool,
}

/// What of a story is not in the journal: the world around the controller.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Memory {
    /// Which story.
    pub(crate) scenario: Scenario,
    /// The database, which runs on.
    pub(crate) database: Ready,
    /// The switch, which runs on.
    pub(crate) switch: Ready,
    /// The users, who come on.
    pub(crate) users: Ready,
    /// Versions 1, 2 and 3.
    pub(crate) releases: [Release; 3],
}

/// Why a place cannot be used. All of these are for the person at the keyboard.
#[derive(Debug, thiserror::Error)]
pub(crate) enum PlaceError {
    #[error("{} exists already. Go on with its story (--resume), or choose another file (--journal)", .0.display())]
    Taken(PathBuf),
    #[error("there is no story to resume at {}: start one with --journal {} first", .0.display(), .0.display())]
    NoStory(PathBuf),
    #[error("--resume needs the --journal of the story")]
    NoJournal,
    #[error("the story at {} is --scenario {was}, not {asked}: leave --scenario out", journal.display())]
    OtherScenario {
        journal: PathBuf,
        was: Scenario,
        asked: Scenario,
    },
    #[error("cannot write {}: {source}. Choose a folder that can be written (--journal)", path.display())]
    Unwritable { path: PathBuf, source: io::Error },
    #[error("{} cannot be read: {why}. It belongs to the story; without it start anew with another --journal", path.display())]
    Unreadable { path: PathBuf, why: String },
}

impl Place {
    /// A place for a new story; without a journal's name, a folder of its own among the temporary files.
    pub(crate) fn new(journal: Option<&Path>) -> Result<Self, PlaceError> {
        let place = match journal {
            Some(journal) => Self::beside(journal),
            None => {
                let folder = Self::unused_folder();
                Self {
                    journal: folder.join("journal.db"),
                    folder,
                    ours: true,
                }
            }
        };
        if place.journal.exists() || place.memory().exists() {
            return Err(PlaceError::Taken(place.journal));
        }
        let unwritable = |path: &Path, source| PlaceError::Unwritable {
            path: path.to_owned(),
            source,
        };
        fs::create_dir_all(&place.folder).map_err(|source| unwritable(&place.folder, source))?;
        // A folder that exists may still refuse files; say so before anything is started.
        let probe = place.folder.join("probe");
        fs::write(&probe, b"")
            .and_then(|()| fs::remove_file(&probe))
            .map_err(|source| unwritable(&probe, source))?;
        Ok(place)
    }

    /// A folder of this process among the temporary ones. An earlier story may have left one that is worth a look.
    fn unused_folder() -> PathBuf {
        let pid = std::process::id();
        let named =
            |number: u32| std::env::temp_dir().join(format!("rollback-quickstart-{pid}-{number}"));
        let unused = (1..1000).map(named).find(|folder| !folder.exists());
        unused.unwrap_or_else(|| named(0))
    }

    /// The place of a story that was begun.
    pub(crate) fn resume(
        journal: Option<&Path>,
        asked: Option<Scenario>,
    ) -> Result<(Self, Memory), PlaceError> {
        let place = Self::beside(journal.ok_or(PlaceError::NoJournal)?);
        let path = place.memory();
        let text = match fs::read_to_string(&path) {
            Ok(text) => text,
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                return Err(PlaceError::NoStory(place.journal));
            }
            Err(error) => {
                return Err(PlaceError::Unreadable {
                    path,
                    why: error.to_string(),
                });
            }
        };
        let memory: Memory =
            serde_json::from_str(&text).map_err(|error| PlaceError::Unreadable {
                path,
                why: error.to_string(),
            })?;
        match asked.filter(|asked| *asked != memory.scenario) {
            Some(asked) => Err(PlaceError::OtherScenario {
                journal: place.journal,
                was: memory.scenario,
                asked,
            }),
            None => Ok((place, memory)),
        }
    }

    fn beside(journal: &Path) -> Self {
        let mut folder = journal.as_os_str().to_owned();
        folder.push(".story");
        Self {
            journal: journal.to_owned(),
            folder: folder.into(),
            ours: false,
        }
    }

    /// Where the processes of the shop are kept track of.
    pub(crate) fn processes(&self) -> PathBuf {
        self.folder.join("processes")
    }

    /// Where the releases of the shop are unpacked.
    pub(crate) fn releases(&self) -> PathBuf {
        self.folder.join("releases")
    }

    /// What users saw, second by second.
    pub(crate) fn seen(&self) -> PathBuf {
        self.folder.join("users.jsonl")
    }

    fn memory(&self) -> PathBuf {
        self.folder.join("story.json")
    }

    /// Remembers the world around the controller, whole or not at all.
    pub(crate) fn remember(&self, memory: &Memory) -> Result<(), PlaceError> {
        let (path, draft) = (self.memory(), self.folder.join("story.json.draft"));
        let write = || {
            fs::write(&draft, serde_json::to_vec_pretty(memory)?)?;
            fs::rename(&draft, &path)
        };
        write().map_err(|source| PlaceError::Unwritable { path, source })
    }

    /// The story is over: what nobody asked to keep goes, unless it is worth a look. Says what stays.
    pub(crate) fn leave(&self, worth_a_look: bool) -> Option<&Path> {
        if self.ours && !worth_a_look {
            // What cannot be removed is the temporary folder's affair.
            let _ = fs::remove_dir_all(&self.folder);
            return None;
        }
        Some(&self.journal)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rollback_core::model::{Definition, ReleaseId};
    use std::net::SocketAddr;

    fn temporary() -> tempfile::TempDir {
        tempfile::tempdir().unwrap()
    }

    fn memory() -> Memory {
        let ready = Ready {
            pid: 1,
            address: SocketAddr::from(([127, 0, 0, 1], 80)),
            control: None,
        };
        let release =
            |name: &str| Release::new(ReleaseId::new(name).unwrap(), name, Definition::default());
        Memory {
            scenario: Scenario::Hang,
            database: ready,
            switch: ready,
            users: ready,
            releases: [release("v1"), release("v2"), release("v3")],
        }
    }

    #[test]
    fn a_story_is_found_again_and_not_begun_twice() {
        let temporary = temporary();
        let journal = temporary.path().join("demo.db");
        let place = Place::new(Some(&journal)).unwrap();
        place.remember(&memory()).unwrap();
        let (again, found) = Place::resume(Some(&journal), None).unwrap();
        assert_eq!(found.releases[2].name.as_ref(), "v3");
        assert_eq!(again.processes(), place.processes());
        let twice = Place::new(Some(&journal)).unwrap_err().to_string();
        assert!(
            twice.contains("--resume") && twice.contains("demo.db"),
            "{twice}"
        );
        assert_eq!(place.leave(false), Some(journal.as_path()));
    }

    #[test]
    fn what_cannot_be_is_refused_with_what_to_do() {
        let temporary = temporary();
        let journal = temporary.path().join("demo.db");
        let nothing = Place::resume(Some(&journal), None).unwrap_err().to_string();
        assert!(nothing.contains("no story"), "{nothing}");
        let unnamed = Place::resume(None, None).unwrap_err().to_string();
        assert!(unnamed.contains("--journal"), "{unnamed}");
        let place = Place::new(Some(&journal)).unwrap();
        place.remember(&memory()).unwrap();
        let other = Place::resume(Some(&journal), Some(Scenario::Slow))
            .unwrap_err()
            .to_string();
        assert!(other.contains("hang") && other.contains("slow"), "{other}");
        fs::write(place.memory(), "{").unwrap();
        let damaged = Place::resume(Some(&journal), None).unwrap_err().to_string();
        assert!(damaged.contains("story.json"), "{damaged}");
        let file = temporary.path().join("file");
        fs::write(&file, "").unwrap();
        let under = Place::new(Some(&file.join("demo.db")))
            .unwrap_err()
            .to_string();
        assert!(under.contains("cannot write"), "{under}");
    }

    #[test]
    fn a_place_that_nobody_named_goes_unless_it_is_worth_a_look() {
        let place = Place::new(None).unwrap();
        assert!(place.leave(true).is_some() && place.folder.is_dir());
        assert!(place.leave(false).is_none() && !place.folder.exists());
    }
}
