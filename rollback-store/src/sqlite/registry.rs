//! What the file says of each service, in memory.

use std::{collections::BTreeMap, path::Path};

use rollback_core::{model::ServiceId, ports::JournalError};
use rusqlite::Connection;

use super::{
    error::RESCUE,
    record::{RECORD, Record},
};

/// The services of a journal.
#[derive(Debug, Default)]
pub(super) struct Registry {
    records: BTreeMap<ServiceId, Record>,
    highest: i64,
    /// A row that cannot be read may be that of any service we do not know.
    unreadable: Option<String>,
}

impl Registry {
    /// Reads all of it. Damage is remembered, not returned: it must not hide the other services.
    pub(super) fn load(connection: &Connection) -> rusqlite::Result<Self> {
        let mut registry = Self::default();
        let sql = format!("SELECT {RECORD} FROM service ORDER BY no");
        let mut statement = connection.prepare_cached(&sql)?;
        let mut rows = statement.query([])?;
        loop {
            match rows.next() {
                Ok(None) => break,
                Ok(Some(row)) => {
                    let no = row.get(0).unwrap_or(registry.highest);
                    registry.highest = registry.highest.max(no);
                    match Record::from_row(row) {
                        Some(record) => registry.put(record),
                        None => {
                            registry.unreadable =
                                Some(format!("the record of service number {no} is damaged"));
                        }
                    }
                }
                Err(error) if super::error::is_damage(&error) => {
                    registry.unreadable = Some(format!(
                        "the records of services after number {} cannot be read: {error}",
                        registry.highest
                    ));
                    break;
                }
                Err(error) => return Err(error),
            }
        }
        Ok(registry)
    }

    pub(super) fn records(&self) -> impl Iterator<Item = &Record> {
        self.records.values()
    }

    /// The service's record, if it has one.
    ///
    /// # Errors
    /// It cannot be told, since some records are damaged.
    pub(super) fn find(
        &self,
        path: &Path,
        service: &ServiceId,
    ) -> Result<Option<&Record>, JournalError> {
        match (self.records.get(service), &self.unreadable) {
            (Some(record), _) => Ok(Some(record)),
            (None, None) => Ok(None),
            (None, Some(why)) => Err(JournalError::Damaged {
                why: format!(
                    "{}: {why}, and it may be that of `{service}`; {RESCUE}",
                    path.display()
                ),
            }),
        }
    }

    pub(super) fn get_mut(&mut self, service: &ServiceId) -> Option<&mut Record> {
        self.records.get_mut(service)
    }

    pub(super) fn put(&mut self, record: Record) {
        self.highest = self.highest.max(record.no);
        self.records.insert(record.service.clone(), record);
    }

    /// What could not be read.
    pub(super) fn unreadable(&self) -> Option<&str> {
        self.unreadable.as_deref()
    }

    /// Forgets all other services.
    pub(super) fn keep_only(&mut self, service: &ServiceId) {
        self.records.retain(|known, _| known == service);
    }

    /// The highest number that a service has in the file.
    pub(super) const fn highest(&self) -> i64 {
        self.highest
    }
}
