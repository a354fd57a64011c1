//! What we know that HAProxy may forget: who was told, and the newest note.

use std::{collections::BTreeMap, fs, path::PathBuf};

use rollback_core::model::ServiceId;

use crate::{mark::Mark, name::escaped, plan::Told};

/// Of each service the instances that were told last, and the newest note that was seen.
#[derive(Debug, Default)]
pub(crate) struct Memory {
    told: BTreeMap<ServiceId, Told>,
    marks: BTreeMap<ServiceId, Mark>,
    folder: Option<PathBuf>,
}

impl Memory {
    pub(crate) fn in_folder(folder: PathBuf) -> Self {
        Self {
            folder: Some(folder),
            ..Self::default()
        }
    }

    pub(crate) fn told(&self, service: &ServiceId) -> Option<&Told> {
        self.told.get(service)
    }

    pub(crate) fn tell(&mut self, service: &ServiceId, told: &Told) {
        self.told.insert(service.clone(), told.clone());
    }

    /// The newest note of before; the file's if we have just been started.
    pub(crate) fn recall(&self, service: &ServiceId) -> Option<Mark> {
        let known = self.marks.get(service).cloned();
        known.or_else(|| {
            let text = fs::read_to_string(self.file(service)?).ok()?;
            Mark::of(text.trim_end())
        })
    }

    pub(crate) fn remember(&mut self, service: &ServiceId, mark: &Mark) {
        if self.marks.get(service) == Some(mark) {
            return;
        }
        self.marks.insert(service.clone(), mark.clone());
        let Some(file) = self.file(service) else {
            return;
        };
        let new = file.with_extension("new");
        let written = fs::write(&new, mark.name() + "\n").and_then(|()| fs::rename(&new, &file));
        if let Err(error) = written {
            // HAProxy has it; only both forgetting at once would show.
            tracing::warn!(%service, file = %file.display(), %error, "cannot remember how the traffic is divided");
        }
    }

    fn file(&self, service: &ServiceId) -> Option<PathBuf> {
        let name = format!("{}.traffic", escaped(service.as_str()));
        self.folder.as_ref().map(|folder| folder.join(name))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_note_is_there_again_after_a_restart() {
        let folder = tempfile::tempdir().unwrap();
        let service = ServiceId::new("shop/checkout").unwrap();
        let mark = Mark::of("rb-mark:19a:7:d17-19a.s3.a1:10000-v1").unwrap();
        let mut memory = Memory::in_folder(folder.path().to_owned());
        assert_eq!(memory.recall(&service), None);
        memory.remember(&service, &mark);
        let again = Memory::in_folder(folder.path().to_owned());
        assert_eq!(again.recall(&service), Some(mark));
        fs::write(
            folder.path().join("shop_2fcheckout.traffic"),
            "rb-mark:19a:",
        )
        .unwrap();
        assert_eq!(again.recall(&service), None, "half a note is none");
    }
}
