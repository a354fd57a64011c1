//! Reads entries back: each is checked against its checksum, its number and the journal's end, so
//! that damage is never taken for the end.

use std::{
    ops::RangeInclusive,
    path::Path,
    sync::{Arc, Mutex, PoisonError, mpsc},
};

use rollback_core::{
    entry::{Entry, SCHEMA},
    model::{ReleaseId, Seq, ServiceId},
    ports::JournalError,
};
use rusqlite::{Connection, OptionalExtension};
use tokio::sync::oneshot;

use super::{
    error::{RESCUE, explain, is_damage},
    marks::Losses,
    record::{RECORD, Record, row_of, seal, seal_release, seq_of},
};

/// What a reader is asked.
pub(super) enum Question {
    Entries {
        service: ServiceId,
        no: i64,
        after: Seq,
        limit: u64,
        answer: oneshot::Sender<Result<Entries, JournalError>>,
    },
    Release {
        service: ServiceId,
        release: ReleaseId,
        answer: oneshot::Sender<Result<Option<Vec<u8>>, JournalError>>,
    },
}

/// Entries in order, and where the journal of the service ended when they were read.
#[derive(Debug)]
pub(super) struct Entries {
    pub(super) entries: Vec<Entry>,
    pub(super) last: Seq,
}

/// Answers questions until nobody can ask any more.
pub(super) struct Reader {
    pub(super) connection: Connection,
    pub(super) path: Arc<Path>,
    pub(super) losses: Arc<Losses>,
    pub(super) questions: Arc<Mutex<mpsc::Receiver<Question>>>,
}

impl Reader {
    pub(super) fn run(self) {
        loop {
            let next = {
                let questions = self.questions.lock();
                questions.unwrap_or_else(PoisonError::into_inner).recv()
            };
            // Who asked may not wait any more.
            match next {
                Ok(Question::Entries {
                    service,
                    no,
                    after,
                    limit,
                    answer,
                }) => {
                    let _ = answer.send(self.entries(&service, no, after, limit));
                }
                Ok(Question::Release {
                    service,
                    release,
                    answer,
                }) => {
                    let _ = answer.send(self.release(&service, &release));
                }
                Err(mpsc::RecvError) => return,
            }
        }
    }

    fn entries(
        &self,
        service: &ServiceId,
        no: i64,
        after: Seq,
        limit: u64,
    ) -> Result<Entries, JournalError> {
        // One transaction: the end of the journal and its entries are of the same moment.
        let snapshot = self
            .connection
            .unchecked_transaction()
            .map_err(|error| explain(&self.path, &error))?;
        let journal = Stretch {
            connection: &snapshot,
            path: &self.path,
            service,
            no,
        };
        let last = journal.last()?;
        let last = self.losses.of(service).map_or(last, |lost| lost.max(last));
        let end = Seq::new(after.get().saturating_add(limit)).min(last);
        let mut entries = Vec::with_capacity(count(after, end));
        journal.walk(after.next()..=end, |seq, body| {
            entries.push(journal.decode(seq, body)?);
            Ok(())
        })?;
        Ok(Entries { entries, last })
    }

    fn release(
        &self,
        service: &ServiceId,
        release: &ReleaseId,
    ) -> Result<Option<Vec<u8>>, JournalError> {
        let found = self
            .connection
            .prepare_cached("SELECT crc, body FROM definition WHERE service = ?1 AND release = ?2")
            .and_then(|mut statement| {
                statement
                    .query_row((service.as_str(), release.as_str()), |row| {
                        Ok((row.get::<_, u32>(0)?, row.get::<_, Vec<u8>>(1)?))
                    })
                    .optional()
            })
            .map_err(|error| explain(&self.path, &error))?;
        let damaged = |what: &str| JournalError::Damaged {
            why: format!(
                "{}: the definition of release `{release}` of `{service}` {what}; put it again into \
                 a salvaged journal: {RESCUE}",
                self.path.display()
            ),
        };
        let Some((crc, body)) = found else {
            return match self.damaged_definition() {
                Ok(None) if self.losses.is_empty() => Ok(None),
                Ok(None) => Err(damaged(
                    "is not there, and commits of this journal are lost",
                )),
                Ok(Some(row)) => Err(damaged(&format!("is not there, unless it is {row}"))),
                Err(error) => Err(explain(&self.path, &error)),
            };
        };
        if crc != seal_release(service.as_str(), release.as_str(), &body) {
            return Err(damaged("does not match its checksum"));
        }
        Ok(Some(body))
    }

    /// A definition that is damaged, since it may be the one that was not found.
    fn damaged_definition(&self) -> rusqlite::Result<Option<String>> {
        let mut statement = self
            .connection
            .prepare_cached("SELECT service, release, crc, body FROM definition")?;
        let mut rows = statement.query([])?;
        while let Some(row) = rows.next()? {
            let (service, release): (String, String) = (row.get(0)?, row.get(1)?);
            let body = row.get_ref(3)?.as_blob().unwrap_or_default();
            if row.get(2).ok() != Some(seal_release(&service, &release, body)) {
                return Ok(Some(format!(
                    "the one under `{release}` of `{service}`, which does not match its checksum"
                )));
            }
        }
        Ok(None)
    }
}

fn count(after: Seq, end: Seq) -> usize {
    usize::try_from(end.get().saturating_sub(after.get())).unwrap_or(0)
}

/// The rows of one service.
pub(super) struct Stretch<'a> {
    pub(super) connection: &'a Connection,
    pub(super) path: &'a Path,
    pub(super) service: &'a ServiceId,
    pub(super) no: i64,
}

impl Stretch<'_> {
    /// The number of the last entry by the service's record.
    fn last(&self) -> Result<Seq, JournalError> {
        let record = self
            .connection
            .prepare_cached(&format!("SELECT {RECORD} FROM service WHERE no = ?1"))
            .and_then(|mut statement| {
                statement
                    .query_row([self.no], |row| Ok(Record::from_row(row)))
                    .optional()
            })
            .map_err(|error| explain(self.path, &error))?;
        match record.flatten() {
            Some(record) if record.service == *self.service => Ok(record.last),
            _ => Err(JournalError::Damaged {
                why: format!(
                    "{}: the record of `{}` is damaged; {RESCUE}",
                    self.path.display(),
                    self.service
                ),
            }),
        }
    }

    /// Hands over the text of every entry of the range, in order.
    ///
    /// # Errors
    /// The first one that is missing or damaged, or what `each` returns.
    pub(super) fn walk(
        &self,
        range: RangeInclusive<Seq>,
        mut each: impl FnMut(Seq, &[u8]) -> Result<(), JournalError>,
    ) -> Result<(), JournalError> {
        let (mut next, end) = range.into_inner();
        if next > end {
            return Ok(());
        }
        let failed = |at: Seq, error: rusqlite::Error| {
            if is_damage(&error) {
                self.damaged(at, end, &error.to_string())
            } else {
                explain(self.path, &error)
            }
        };
        let mut statement = self
            .connection
            .prepare_cached(
                "SELECT row, crc, body FROM entry WHERE row BETWEEN ?1 AND ?2 ORDER BY row",
            )
            .map_err(|error| failed(next, error))?;
        let mut rows = statement
            .query([row_of(self.no, next), row_of(self.no, end)])
            .map_err(|error| failed(next, error))?;
        while let Some(row) = rows.next().map_err(|error| failed(next, error))? {
            let number = row.get(0).map_err(|error| failed(next, error))?;
            let crc: u32 = row.get(1).map_err(|error| failed(next, error))?;
            let body = row.get_ref(2).map_err(|error| failed(next, error))?;
            let body = body
                .as_blob()
                .map_err(|error| self.damaged(next, end, &error.to_string()))?;
            if seq_of(number) != next {
                break;
            }
            if crc != seal(self.service.as_str(), next, body) {
                return Err(self.damaged(next, end, "it does not match its checksum"));
            }
            each(next, body)?;
            next = next.next();
        }
        if next <= end {
            return Err(self.damaged(next, end, "it is missing"));
        }
        Ok(())
    }

    /// The entry of a text whose checksum was right.
    pub(super) fn decode(&self, seq: Seq, body: &[u8]) -> Result<Entry, JournalError> {
        let error = match serde_json::from_slice::<Entry>(body) {
            Ok(entry) if entry.seq == seq => return Ok(entry),
            Ok(entry) => format!("it says that it is entry {}", entry.seq),
            Err(error) => error.to_string(),
        };
        let schema = serde_json::from_slice::<serde_json::Value>(body)
            .ok()
            .and_then(|value| value.get("v")?.as_u64())
            .and_then(|schema| u32::try_from(schema).ok());
        match schema {
            Some(found) if found > u32::from(SCHEMA) => Err(JournalError::OtherVersion {
                found,
                known: u32::from(SCHEMA),
                fix: format!(
                    "{}: entry {seq} of `{}` was written by a newer version; run that one",
                    self.path.display(),
                    self.service
                ),
            }),
            _ => Err(self.damaged(seq, seq, &error)),
        }
    }

    /// The service is damaged from `from` on; the answer was to go to `to`.
    fn damaged(&self, from: Seq, to: Seq, what: &str) -> JournalError {
        let intact = match from.get() {
            0 | 1 => "none before it".to_owned(),
            from => format!(
                "entries 1 to {} before it can be read in smaller parts",
                from - 1
            ),
        };
        JournalError::Damaged {
            why: format!(
                "{}: entry {from} of `{}` cannot be read (asked for up to {to}): {what}; {intact}; \
                 other services are not concerned; {RESCUE}",
                self.path.display(),
                self.service
            ),
        }
    }

    /// The highest number that a row of the service has.
    pub(super) fn highest_row(&self) -> rusqlite::Result<Option<Seq>> {
        let range = [
            row_of(self.no, Seq::default()),
            row_of(self.no, Seq::new(u64::MAX)),
        ];
        self.connection
            .prepare_cached(
                "SELECT row FROM entry WHERE row BETWEEN ?1 AND ?2 ORDER BY row DESC LIMIT 1",
            )?
            .query_row(range, |row| Ok(seq_of(row.get(0)?)))
            .optional()
    }
}
