//! The rows: how an entry and a service are numbered and sealed.

use rollback_core::{
    model::{Epoch, Seq, ServiceId, Timestamp},
    ports::Holder,
};
use rusqlite::{Connection, Row};

/// Entries of a service lie next to each other: the upper bits of a row's number are the
/// service's, the lower ones the entry's.
const SEQ_BITS: u32 = 40;

/// So many services fit.
pub(super) const MOST_SERVICES: i64 = (1 << (63 - SEQ_BITS)) - 1;

/// The row of an entry. Numbers follow each other from 1, so they cannot outgrow their bits.
pub(super) fn row_of(no: i64, seq: Seq) -> i64 {
    (no << SEQ_BITS) | i64::try_from(seq.get()).unwrap_or(i64::MAX) & ((1 << SEQ_BITS) - 1)
}

/// The number of the entry in a row.
pub(super) fn seq_of(row: i64) -> Seq {
    Seq::new((row & ((1 << SEQ_BITS) - 1)).unsigned_abs())
}

/// The checksum over an entry and where it belongs.
pub(super) fn seal(service: &str, seq: Seq, body: &[u8]) -> u32 {
    let mut crc = crc32fast::Hasher::new();
    crc.update(service.as_bytes());
    crc.update(&[0xff]);
    crc.update(&seq.get().to_le_bytes());
    crc.update(body);
    crc.finalize()
}

/// The checksum over a release's definition and where it belongs.
pub(super) fn seal_release(service: &str, release: &str, body: &[u8]) -> u32 {
    let mut crc = crc32fast::Hasher::new();
    for part in [service.as_bytes(), release.as_bytes(), body] {
        crc.update(part);
        crc.update(&[0xff]);
    }
    crc.finalize()
}

/// What is kept of a service beside its entries.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Record {
    /// Its number within the file.
    pub(super) no: i64,
    /// Its name.
    pub(super) service: ServiceId,
    /// Who may append.
    pub(super) holder: Holder,
    /// The last entry.
    pub(super) last: Seq,
}

/// The columns that [`Record::from_row`] reads.
pub(super) const RECORD: &str = "no, name, epoch, owner, until, last, crc";

impl Record {
    fn seal(&self) -> u32 {
        let mut crc = crc32fast::Hasher::new();
        crc.update(self.service.as_str().as_bytes());
        crc.update(&[0xff]);
        crc.update(self.holder.owner.as_bytes());
        crc.update(&[0xff]);
        for number in [
            self.no,
            signed(self.holder.epoch.get()),
            self.holder.until.as_millis(),
            signed(self.last.get()),
        ] {
            crc.update(&number.to_le_bytes());
        }
        crc.finalize()
    }

    /// Puts the record in the place of an older one.
    pub(super) fn write(&self, connection: &Connection) -> rusqlite::Result<()> {
        connection
            .prepare_cached("INSERT OR REPLACE INTO service VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)")?
            .execute((
                self.no,
                self.service.as_str(),
                signed(self.holder.epoch.get()),
                &self.holder.owner,
                self.holder.until.as_millis(),
                signed(self.last.get()),
                self.seal(),
            ))
            .map(drop)
    }

    /// Writes where the journal of the service ends now; nothing else of the record has changed.
    pub(super) fn write_last(&self, connection: &Connection) -> rusqlite::Result<()> {
        connection
            .prepare_cached("UPDATE service SET last = ?2, crc = ?3 WHERE no = ?1")?
            .execute((self.no, signed(self.last.get()), self.seal()))
            .map(drop)
    }

    /// The record of a row whose columns are [`RECORD`]; none if its checksum does not fit.
    pub(super) fn from_row(row: &Row<'_>) -> Option<Self> {
        let name: String = row.get(1).ok()?;
        let record = Self {
            no: row.get(0).ok()?,
            service: ServiceId::new(name).ok()?,
            holder: Holder {
                epoch: Epoch::new(number(row, 2)?),
                owner: row.get(3).ok()?,
                until: Timestamp::from_millis(row.get(4).ok()?),
            },
            last: Seq::new(number(row, 5)?),
        };
        let crc: u32 = row.get(6).ok()?;
        (crc == record.seal()).then_some(record)
    }
}

fn number(row: &Row<'_>, column: usize) -> Option<u64> {
    u64::try_from(row.get::<_, i64>(column).ok()?).ok()
}

/// SQLite's integers are signed; our numbers count from 1 and never come near the sign.
fn signed(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_keep_services_apart_and_entries_in_order() {
        let last = Seq::new((1 << SEQ_BITS) - 1);
        assert!(row_of(1, last) < row_of(2, Seq::default()));
        assert!(row_of(MOST_SERVICES, last) > 0);
        assert_eq!(seq_of(row_of(7, Seq::new(123))), Seq::new(123));
    }

    #[test]
    fn a_seal_is_of_one_place_only() {
        let sealed = seal("checkout", Seq::new(3), b"body");
        assert_ne!(sealed, seal("checkout", Seq::new(4), b"body"));
        assert_ne!(sealed, seal("check", Seq::new(3), b"body"));
        assert_ne!(sealed, seal("checkout", Seq::new(3), b"bodY"));
    }
}
