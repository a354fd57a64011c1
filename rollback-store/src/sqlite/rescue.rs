//! Getting entries out of a journal: as text for people and tools, or into a new journal when the
//! old one is damaged.

use std::{collections::BTreeMap, io::Write, path::Path};

use rollback_core::{
    model::{Seq, ServiceId, Timestamp},
    ports::{Holder, JournalError},
};
use rusqlite::Connection;

use super::{
    audit::{Audit, Examined},
    error::explain,
    marks::Marks,
    record::{Record, row_of, seal},
    schema::{self, Found},
};

/// Writes every intact entry as one line of JSON, `{"service": …, "entry": …}`, service by service
/// and in order; of one service, or of all. What could not be read is in the answer. It changes
/// nothing, and may run beside a controller.
///
/// # Errors
/// As for [`verify`](super::verify()), or `out` does not take the text.
pub fn export(
    path: impl AsRef<Path>,
    service: Option<&ServiceId>,
    mut out: impl Write,
) -> Result<Audit, JournalError> {
    let path = path.as_ref();
    let mut file = Examined::open(path)?;
    if let Some(service) = service {
        file.registry.keep_only(service);
    }
    file.audit(|record, _, body| {
        let mut line = || {
            out.write_all(b"{\"service\":")?;
            serde_json::to_writer(&mut out, &record.service)?;
            out.write_all(b",\"entry\":")?;
            out.write_all(body)?;
            out.write_all(b"}\n")
        };
        line().map_err(|error| JournalError::Unwritable {
            why: format!(
                "the export of {} cannot be written: {error}",
                path.display()
            ),
        })
    })
}

/// Copies what can be continued into a new journal at `to`: of each service the entries from 1 up
/// to the first that is lost, its epoch, and all intact definitions of releases. The damaged file
/// stays as it is. A controller that continues with the copy looks at the platform before it does
/// anything, as after every start; what it decided after the last copied entry it does not know.
///
/// # Errors
/// As for [`verify`](super::verify()), or there is something at `to`, or it cannot be written.
pub fn salvage(path: impl AsRef<Path>, to: impl AsRef<Path>) -> Result<Audit, JournalError> {
    let (path, to) = (path.as_ref(), to.as_ref());
    let file = Examined::open(path)?;
    if schema::inspect(to)? != Found::Nothing {
        return Err(JournalError::Unwritable {
            why: format!("{}: it is there already; name a new file", to.display()),
        });
    }
    let copy = schema::open_to_write(to)?;
    let failed = |error: rusqlite::Error| explain(to, &error);
    let change = copy.unchecked_transaction().map_err(failed)?;
    let mut reached = BTreeMap::new();
    let mut audit = file.audit(|record, seq, body| {
        let last: &mut Seq = reached.entry(record.no).or_default();
        if seq == last.next() {
            put(&change, record, seq, body).map_err(failed)?;
            *last = seq;
        }
        Ok(())
    })?;
    let mut copied = Vec::new();
    for record in file.registry.records() {
        let record = Record {
            last: reached.get(&record.no).copied().unwrap_or_default(),
            // The lease ends: nobody may be writing to a damaged file any more.
            holder: Holder {
                until: Timestamp::default(),
                ..record.holder.clone()
            },
            ..record.clone()
        };
        record.write(&change).map_err(failed)?;
        copied.push(record);
    }
    let define = |service: &str, release: &str, crc: u32, body: &[u8]| {
        change
            .prepare_cached("INSERT INTO definition VALUES (?1, ?2, ?3, ?4)")
            .and_then(|mut insert| insert.execute((service, release, crc, body)))
            .map(drop)
            .map_err(failed)
    };
    file.definitions(define, &mut audit.complaints)?;
    change.commit().map_err(failed)?;
    let mut marks = Marks::open(to, schema::identity(to, &copy)?);
    for record in &copied {
        marks.set(record);
    }
    Ok(audit)
}

fn put(change: &Connection, record: &Record, seq: Seq, body: &[u8]) -> rusqlite::Result<()> {
    let crc = seal(record.service.as_str(), seq, body);
    change
        .prepare_cached("INSERT INTO entry VALUES (?1, ?2, ?3)")?
        .execute((row_of(record.no, seq), crc, body))
        .map(drop)
}
