//! What happens within one transaction: the fence, the entries, the leases, the releases.

use std::{path::Path, sync::atomic::Ordering, time::Duration};

use rollback_core::{
    model::{ReleaseId, Seq, ServiceId},
    ports::{Holder, JournalError, Lease},
};

use super::{
    error::{RESCUE, is_damage},
    reader::Stretch,
    record::{MOST_SERVICES, Record, row_of, seal, seal_release},
    registry::Registry,
    writer::{Failure, Sealed, Writer},
};

impl Writer {
    pub(super) fn begin(&mut self) -> Result<(), Failure> {
        if !self.connection.is_autocommit() {
            return Ok(());
        }
        self.connection
            .prepare_cached("BEGIN IMMEDIATE")?
            .execute([])?;
        let version = self
            .connection
            .prepare_cached("PRAGMA data_version")?
            .query_row([], |row| row.get(0))?;
        if self.version != Some(version) {
            self.registry = Registry::load(&self.connection)?;
            self.version = Some(version);
            let mut numbers = self.numbers();
            for record in self.registry.records() {
                numbers.insert(record.service.clone(), record.no);
            }
        }
        // What was rolled back after it was answered goes first. Whoever took the service over in
        // the meantime has the right of way: its former writer will hear so with its next append.
        let held = std::mem::take(&mut self.held);
        let mut written = Ok(());
        for batch in &held {
            if let Err(failure) = self.append(batch) {
                written = Err(failure);
                break;
            }
        }
        self.held = held;
        written
    }

    pub(super) fn commit(&mut self) -> Result<(), Failure> {
        for service in &self.touched {
            if let Some(record) = self.registry.get_mut(service) {
                record.write_last(&self.connection)?;
            }
        }
        self.connection.prepare_cached("COMMIT")?.execute([])?;
        if std::mem::take(&mut self.replaced) {
            // What was replaced may have been a definition in plain text: the log forgets it too.
            // While another process reads it stays there until the log is written over.
            let _ = self
                .connection
                .query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |_| Ok(()));
        }
        for service in std::mem::take(&mut self.touched) {
            if let Some(record) = self.registry.get_mut(&service) {
                self.marks.set(record);
            }
        }
        self.held.clear();
        self.commit_at = None;
        self.shared.uncommitted.store(false, Ordering::Release);
        Ok(())
    }

    pub(super) fn roll_back(&mut self) {
        if !self.connection.is_autocommit() {
            // If even this fails, the next BEGIN says so.
            let _ = self.connection.execute_batch("ROLLBACK");
        }
        self.touched.clear();
        self.replaced = false;
        self.version = None;
    }

    /// The service's record, unless something of it is lost or damaged.
    fn find(&self, service: &ServiceId) -> Result<Option<&Record>, JournalError> {
        if let Some(why) = self.broken.get(service) {
            return Err(JournalError::Damaged {
                why: format!(
                    "{}: where `{service}` is written: {why}; other services go on; {RESCUE}",
                    self.path.display()
                ),
            });
        }
        let found = self.registry.find(&self.path, service)?;
        match self.losses.of(service) {
            None => Ok(found),
            Some(lost) => Err(JournalError::Damaged {
                why: lost_text(&self.path, service, found.map(|record| record.last), lost),
            }),
        }
    }

    pub(super) fn append(&mut self, batch: &Sealed) -> Result<Result<Seq, JournalError>, Failure> {
        let (no, last) = {
            let record = match self.find(&batch.service) {
                Ok(record) => record,
                Err(error) => return Ok(Err(error)),
            };
            let holder = record.map(|record| &record.holder);
            let last = record.map_or_else(Seq::default, |record| record.last);
            let seqs = batch.entries.iter().map(|(seq, _)| *seq);
            match (Holder::admit(holder, last, batch.epoch, seqs), record) {
                (Ok(last), Some(record)) => (record.no, last),
                (Ok(last), None) => return Ok(Ok(last)),
                (Err(error), _) => return Ok(Err(error)),
            }
        };
        let write = || {
            let mut insert = self
                .connection
                .prepare_cached("INSERT INTO entry VALUES (?1, ?2, ?3)")?;
            for (seq, body) in &batch.entries {
                let crc = seal(batch.service.as_str(), *seq, body);
                insert.execute((row_of(no, *seq), crc, body))?;
            }
            Ok(())
        };
        write().map_err(|error| of_service(&batch.service, error))?;
        if !batch.entries.is_empty() {
            if let Some(record) = self.registry.get_mut(&batch.service) {
                record.last = last;
            }
            self.touched.insert(batch.service.clone());
        }
        Ok(Ok(last))
    }

    pub(super) fn acquire(
        &mut self,
        service: &ServiceId,
        owner: &str,
        ttl: Duration,
    ) -> Result<Result<Lease, JournalError>, Failure> {
        let now = (self.clock)();
        let record = match self.find(service) {
            Ok(record) => record,
            Err(error) => return Ok(Err(error)),
        };
        let held = self.leases.get(service).copied();
        let current = record.map(|record| &record.holder);
        let holder = match Holder::take(current, held, owner, ttl, now) {
            Ok(holder) => holder,
            Err(error) => return Ok(Err(error)),
        };
        let taken_over = current.is_none_or(|current| current.epoch != holder.epoch);
        let (no, last) = match record {
            Some(record) => (record.no, record.last),
            None => (
                1 + self.registry.highest().max(self.losses.highest()),
                Seq::default(),
            ),
        };
        if no > MOST_SERVICES {
            return Ok(Err(JournalError::Unwritable {
                why: format!("{}: it is full of services", self.path.display()),
            }));
        }
        let record = Record {
            no,
            service: service.clone(),
            holder,
            last,
        };
        if taken_over {
            let stretch = Stretch {
                connection: &self.connection,
                path: &self.path,
                service,
                no,
            };
            let highest = stretch
                .highest_row()
                .map_err(|error| of_service(service, error))?
                .unwrap_or_default();
            if highest != last {
                return Ok(Err(JournalError::Damaged {
                    why: format!(
                        "{}: `{service}` should end with entry {last}, and ends with {highest}; {RESCUE}",
                        self.path.display()
                    ),
                }));
            }
        }
        record
            .write(&self.connection)
            .map_err(|error| of_service(service, error))?;
        let lease = Lease::new(record.holder.epoch, last, record.holder.until);
        self.registry.put(record);
        Ok(Ok(lease))
    }

    /// Keeps a definition, `instead` of what is there of it or if there is nothing.
    pub(super) fn keep(
        &mut self,
        service: &ServiceId,
        release: &ReleaseId,
        body: &[u8],
        instead: bool,
    ) -> Result<Result<(), JournalError>, Failure> {
        if let Some(why) = &self.broken_definitions {
            return Ok(Err(JournalError::Damaged {
                why: format!(
                    "{}: where releases are kept: {why}; journals go on; {RESCUE}",
                    self.path.display()
                ),
            }));
        }
        let crc = seal_release(service.as_str(), release.as_str(), body);
        let insert = if instead {
            "INSERT OR REPLACE INTO definition VALUES (?1, ?2, ?3, ?4)"
        } else {
            "INSERT OR IGNORE INTO definition VALUES (?1, ?2, ?3, ?4)"
        };
        self.replaced |= instead;
        self.connection
            .prepare_cached(insert)
            .and_then(|mut insert| insert.execute((service.as_str(), release.as_str(), crc, body)))
            .map_err(|error| {
                if is_damage(&error) {
                    Failure::Definitions(error)
                } else {
                    Failure::All(error)
                }
            })?;
        Ok(Ok(()))
    }

    pub(super) fn number(&self, service: &ServiceId) -> Result<Option<i64>, JournalError> {
        match self.registry.find(&self.path, service)? {
            Some(record) => Ok(Some(record.no)),
            None => match self.losses.of(service) {
                None => Ok(None),
                Some(lost) => Err(JournalError::Damaged {
                    why: lost_text(&self.path, service, None, lost),
                }),
            },
        }
    }

    pub(super) fn services(&self) -> Vec<ServiceId> {
        self.registry
            .records()
            .filter(|record| {
                record.last > Seq::default() || self.losses.of(&record.service).is_some()
            })
            .map(|record| record.service.clone())
            .collect()
    }
}

fn of_service(service: &ServiceId, error: rusqlite::Error) -> Failure {
    if is_damage(&error) {
        Failure::Service(service.clone(), error)
    } else {
        Failure::All(error)
    }
}

fn lost_text(path: &Path, service: &ServiceId, last: Option<Seq>, lost: Seq) -> String {
    let from = last.unwrap_or_default().next();
    format!(
        "{}: entries {from} to {lost} of `{service}` were committed and are gone: the write-ahead \
         log was cut off, damaged or removed, or an older copy was put in the file's place; those \
         before them can be read; {RESCUE}",
        path.display()
    )
}
