//! Definitions of releases: kept beside the journal, sealed if the host gave keys.

use std::path::Path;

use async_trait::async_trait;
use rollback_core::{
    model::{Release, ReleaseId, ServiceId},
    ports::{JournalError, ReleaseStore, ReleaseStoreError},
};

use super::{
    audit::Examined,
    journal::SqliteJournal,
    reader::Question,
    schema::{self, Found},
    writer::Ask,
};
use crate::sealed::{Form, Place, form, open, seal};

#[async_trait]
impl ReleaseStore for SqliteJournal {
    async fn put(&self, service: &ServiceId, release: &Release) -> Result<(), ReleaseStoreError> {
        // What cannot be read is as good as not there.
        let kept = self.body(service, &release.id).await.unwrap_or_default();
        let (body, instead) = match &self.keys {
            Some(keys) => {
                let kept = match kept {
                    Some(body) => {
                        let form = form(Some(keys), &body);
                        match self.release(service, &release.id, body) {
                            Ok(_) if form == Form::Sealed => return Ok(()),
                            Ok(kept) => Some(kept),
                            // Another controller's, which it could not read any more.
                            Err(error) if form == Form::KeyMissing => return Err(error),
                            Err(_) => None,
                        }
                    }
                    None => None,
                };
                let text = self.text(service, kept.as_ref().unwrap_or(release))?;
                let body = seal(keys, place(service, &release.id), &text)
                    .map_err(|why| self.about(service, &release.id, &why))?;
                (body, true)
            }
            None => {
                if let Some(body) = kept.filter(|body| form(None, body) != Form::Plain) {
                    // It could not be returned to: said now, before it is deployed.
                    return self.release(service, &release.id, body).map(drop);
                }
                (self.text(service, release)?, false)
            }
        };
        let ask = Ask::Keep {
            service: service.clone(),
            release: release.id.clone(),
            body,
            instead,
        };
        self.ask(ask).await.map(drop).map_err(of_store)
    }

    async fn get(
        &self,
        service: &ServiceId,
        release: &ReleaseId,
    ) -> Result<Option<Release>, ReleaseStoreError> {
        match self.body(service, release).await.map_err(of_store)? {
            Some(body) => self.release(service, release, body).map(Some),
            None => Ok(None),
        }
    }
}

impl SqliteJournal {
    /// What is kept, as it is kept.
    async fn body(
        &self,
        service: &ServiceId,
        release: &ReleaseId,
    ) -> Result<Option<Vec<u8>>, JournalError> {
        let answered = self.question(|answer| Question::Release {
            service: service.clone(),
            release: release.clone(),
            answer,
        })?;
        answered.await.unwrap_or_else(|_| Err(self.stopped()))
    }

    fn text(&self, service: &ServiceId, release: &Release) -> Result<Vec<u8>, ReleaseStoreError> {
        serde_json::to_vec(release).map_err(|error| {
            self.about(service, &release.id, &format!("cannot be written: {error}"))
        })
    }

    fn release(
        &self,
        service: &ServiceId,
        release: &ReleaseId,
        body: Vec<u8>,
    ) -> Result<Release, ReleaseStoreError> {
        let text = open(self.keys.as_ref(), place(service, release), body)
            .map_err(|why| self.about(service, release, &why))?;
        // The error of the parser may show a part of the text.
        let found: Release = serde_json::from_slice(&text).map_err(|error| {
            let at = format!(
                "cannot be read: it stops to make sense at byte {}",
                error.column()
            );
            self.about(service, release, &at)
        })?;
        if found.id != *release {
            let why = format!("is that of `{}`, put in its place", found.id);
            return Err(self.about(service, release, &why));
        }
        Ok(found)
    }

    fn about(&self, service: &ServiceId, release: &ReleaseId, why: &str) -> ReleaseStoreError {
        let file = self.path().display();
        ReleaseStoreError {
            why: format!("{file}: the definition of release `{release}` of `{service}` {why}"),
        }
    }
}

/// Whether a definition in this journal is sealed; none is where there is no journal.
pub(crate) fn holds_sealed(path: &Path) -> Result<bool, JournalError> {
    if matches!(schema::inspect(path)?, Found::Nothing | Found::Empty) {
        return Ok(false);
    }
    let (mut sealed, mut complaints) = (false, Vec::new());
    Examined::open(path)?.definitions(
        |_, _, _, body| {
            sealed |= form(None, body) != Form::Plain;
            Ok(())
        },
        &mut complaints,
    )?;
    match complaints.into_iter().next() {
        Some(why) if !sealed => Err(JournalError::Damaged { why }),
        _ => Ok(sealed),
    }
}

fn place<'a>(service: &'a ServiceId, release: &'a ReleaseId) -> Place<'a> {
    Place {
        service: service.as_str(),
        release: release.as_str(),
    }
}

fn of_store(error: JournalError) -> ReleaseStoreError {
    ReleaseStoreError {
        why: error.to_string(),
    }
}
