//! What of a journal is intact, and what is not: service by service, number by number.

use std::{fmt, ops::RangeInclusive, path::Path};

use rollback_core::{
    model::{Seq, ServiceId},
    ports::{Holder, JournalError},
};
use rusqlite::{Connection, OptionalExtension};

use super::{
    error::{explain, is_damage},
    marks::{self, Losses},
    reader::Stretch,
    record::{Record, row_of, seal, seal_release, seq_of},
    registry::Registry,
    schema::{self, Found},
};

/// So many complaints of SQLite about the file are listed.
const COMPLAINTS: u32 = 20;

/// So many damaged services are named in an error.
const NAMED: usize = 10;

/// What a journal was found to hold.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Audit {
    /// Every service of the journal.
    pub services: Vec<ServiceAudit>,
    /// What is wrong with the file as a whole, and with kept releases.
    pub complaints: Vec<String>,
}

/// What a journal was found to hold of one service.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct ServiceAudit {
    /// Which service.
    pub service: ServiceId,
    /// The last entry it ever had, as far as anything tells.
    pub last: Seq,
    /// What of entries 1 to `last` is lost, in order.
    pub lost: Vec<Lost>,
}

/// Entries that cannot be read.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Lost {
    /// The first.
    pub from: Seq,
    /// The last.
    pub to: Seq,
    /// What is wrong with them.
    pub why: String,
}

impl Audit {
    /// Nothing is lost.
    #[must_use]
    pub fn is_intact(&self) -> bool {
        self.complaints.is_empty() && self.services.iter().all(|service| service.lost.is_empty())
    }

    /// The services that lost something.
    pub fn damaged(&self) -> impl Iterator<Item = &ServiceAudit> {
        self.services
            .iter()
            .filter(|service| !service.lost.is_empty())
    }
}

impl ServiceAudit {
    /// The entries from 1 to this one are all there.
    #[must_use]
    pub fn intact_to(&self) -> Seq {
        self.lost.first().map_or(self.last, |lost| {
            Seq::new(lost.from.get().saturating_sub(1))
        })
    }
}

impl fmt::Display for Audit {
    /// One line for each service and each complaint.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for complaint in &self.complaints {
            writeln!(f, "damaged: {complaint}")?;
        }
        for service in &self.services {
            writeln!(f, "{service}")?;
        }
        Ok(())
    }
}

impl fmt::Display for ServiceAudit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            service,
            last,
            lost,
        } = self;
        if lost.is_empty() {
            return write!(f, "{service}: {last} entries, intact");
        }
        write!(f, "{service}: of {last} entries are lost:")?;
        for lost in lost {
            write!(f, " {lost};")?;
        }
        match self.intact_to().get() {
            0 => f.write_str(" nothing before them"),
            to => write!(f, " intact without a gap: 1 to {to}"),
        }
    }
}

impl fmt::Display for Lost {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.from == self.to {
            write!(f, "{} ({})", self.from, self.why)
        } else {
            write!(f, "{} to {} ({})", self.from, self.to, self.why)
        }
    }
}

/// Reads a whole journal and says what of it is intact. It changes nothing, and may run beside a
/// controller.
///
/// # Errors
/// The file cannot be read, is not a journal, or is of another version. Damage is not an error
/// here: it is the answer.
pub fn verify(path: impl AsRef<Path>) -> Result<Audit, JournalError> {
    let file = Examined::open(path.as_ref())?;
    let mut audit = file.audit(|_, _, _| Ok(()))?;
    file.definitions(|_, _, _, _| Ok(()), &mut audit.complaints)?;
    audit.complaints.extend(file.complaints());
    Ok(audit)
}

/// The services that a journal knows, by name. It changes nothing, and may run beside a controller.
///
/// # Errors
/// As for [`verify`].
pub fn services(path: impl AsRef<Path>) -> Result<Vec<ServiceId>, JournalError> {
    let file = Examined::open(path.as_ref())?;
    let records = file.registry.records();
    Ok(records.map(|record| record.service.clone()).collect())
}

/// Who took the lease of a service last, and until when; none if nobody ever did. It changes
/// nothing, and may run beside a controller.
///
/// # Errors
/// As for [`verify`].
pub fn holder(path: impl AsRef<Path>, service: &ServiceId) -> Result<Option<Holder>, JournalError> {
    let file = Examined::open(path.as_ref())?;
    let record = file.registry.find(path.as_ref(), service)?;
    Ok(record.map(|record| record.holder.clone()))
}

/// Adds to the error of a journal that cannot be opened what of it can still be read.
pub(super) fn with_remains(path: &Path, error: JournalError) -> JournalError {
    let JournalError::Damaged { mut why } = error else {
        return error;
    };
    if let Ok(audit) = verify(path)
        && !audit.services.is_empty()
    {
        let all = audit.services.len();
        let whole = all - audit.damaged().count();
        why.push_str(&format!(". Intact: {whole} of {all} services"));
        for service in audit.damaged().take(NAMED) {
            why.push_str(&format!("; {service}"));
        }
    }
    JournalError::Damaged { why }
}

/// A journal that is only looked at, also when it is damaged.
pub(super) struct Examined<'a> {
    path: &'a Path,
    pub(super) connection: Connection,
    pub(super) registry: Registry,
    losses: Losses,
    unreadable: Option<String>,
}

impl<'a> Examined<'a> {
    pub(super) fn open(path: &'a Path) -> Result<Self, JournalError> {
        match schema::inspect(path)? {
            Found::Journal => {}
            Found::Nothing | Found::Empty => {
                return Err(JournalError::Unwritable {
                    why: format!("{}: there is no journal; name its file", path.display()),
                });
            }
        }
        let connection = schema::open_to_examine(path)?;
        // Marks first: a controller may be writing.
        let found = schema::identity(path, &connection)
            .map(|id| marks::read(path, id))
            .unwrap_or_default();
        let (registry, unreadable) = match Registry::load(&connection) {
            Ok(registry) => (registry, None),
            Err(error) if is_damage(&error) => (
                Registry::default(),
                Some(format!("the list of services cannot be read: {error}")),
            ),
            Err(error) => return Err(explain(path, &error)),
        };
        Ok(Self {
            path,
            losses: Losses::between(&found, &registry),
            connection,
            registry,
            unreadable,
        })
    }

    /// Goes through all entries that are intact, and says which are not.
    pub(super) fn audit(
        &self,
        mut each: impl FnMut(&Record, Seq, &[u8]) -> Result<(), JournalError>,
    ) -> Result<Audit, JournalError> {
        let mut audit = Audit {
            services: Vec::new(),
            complaints: self.unreadable.iter().cloned().collect(),
        };
        audit
            .complaints
            .extend(self.registry.unreadable().map(ToOwned::to_owned));
        if self.losses.unnamed() > 0 {
            audit.complaints.push(format!(
                "{} services that had entries are missing altogether",
                self.losses.unnamed()
            ));
        }
        for record in self.registry.records() {
            let lost = self.losses.of(&record.service);
            let last = lost.map_or(record.last, |lost| lost.max(record.last));
            let stretch = Stretch {
                connection: &self.connection,
                path: self.path,
                service: &record.service,
                no: record.no,
            };
            let mut service = ServiceAudit {
                service: record.service.clone(),
                last,
                lost: Vec::new(),
            };
            survey(
                &stretch,
                Seq::new(1)..=record.last,
                &mut service.lost,
                |seq, body| each(record, seq, body),
            )?;
            if last > record.last {
                service.lose(record.last.next(), last, "their commits are gone");
            }
            audit.services.push(service);
        }
        Ok(audit)
    }

    /// Goes through all kept releases that are intact: service, release, checksum, definition.
    pub(super) fn definitions(
        &self,
        mut each: impl FnMut(&str, &str, u32, &[u8]) -> Result<(), JournalError>,
        complaints: &mut Vec<String>,
    ) -> Result<(), JournalError> {
        let mut go = || {
            let mut statement = self
                .connection
                .prepare("SELECT service, release, crc, body FROM definition")?;
            let mut rows = statement.query([])?;
            while let Some(row) = rows.next()? {
                let (service, release): (String, String) = (row.get(0)?, row.get(1)?);
                let (crc, body): (u32, Vec<u8>) = (row.get(2)?, row.get(3)?);
                if crc != seal_release(&service, &release, &body) {
                    complaints.push(format!(
                        "the definition of release `{release}` of `{service}` does not match its checksum"
                    ));
                } else if let Err(error) = each(&service, &release, crc, &body) {
                    return Ok(Err(error));
                }
            }
            Ok(Ok(()))
        };
        match go() {
            Ok(done) => done,
            Err(error) if is_damage(&error) => {
                complaints.push(format!(
                    "some definitions of releases cannot be read: {error}"
                ));
                Ok(())
            }
            Err(error) => Err(explain(self.path, &error)),
        }
    }

    /// What SQLite itself finds.
    fn complaints(&self) -> Vec<String> {
        let ask = || {
            let sql = format!("PRAGMA quick_check({COMPLAINTS})");
            let mut statement = self.connection.prepare(&sql)?;
            let rows = statement.query_map([], |row| row.get::<_, String>(0))?;
            rows.collect::<Result<Vec<_>, _>>()
        };
        match ask() {
            Ok(lines) => lines
                .iter()
                .flat_map(|lines| lines.lines())
                .filter(|line| *line != "ok")
                .map(ToOwned::to_owned)
                .collect(),
            Err(error) => vec![error.to_string()],
        }
    }
}

impl ServiceAudit {
    fn lose(&mut self, from: Seq, to: Seq, why: &str) {
        self.lost.push(Lost {
            from,
            to,
            why: why.to_owned(),
        });
    }
}

/// Goes through a range as far as it can be read, over all gaps.
fn survey(
    stretch: &Stretch<'_>,
    range: RangeInclusive<Seq>,
    lost: &mut Vec<Lost>,
    mut each: impl FnMut(Seq, &[u8]) -> Result<(), JournalError>,
) -> Result<(), JournalError> {
    let (mut next, end) = range.into_inner();
    while next <= end {
        let stopped = pass(stretch, &mut next, end, lost, &mut each)?;
        if next > end {
            break;
        }
        let (readable, why) = match stopped {
            None => (end.next(), "missing".to_owned()),
            Some(error) if is_damage(&error) => {
                (beyond(stretch, next, end), format!("unreadable: {error}"))
            }
            Some(error) => return Err(explain(stretch.path, &error)),
        };
        lost.push(Lost {
            from: next,
            to: Seq::new(readable.get().saturating_sub(1)),
            why,
        });
        next = readable;
    }
    Ok(())
}

/// Goes on until the range ends or SQLite cannot read; `next` is the first that was not seen.
fn pass(
    stretch: &Stretch<'_>,
    next: &mut Seq,
    end: Seq,
    lost: &mut Vec<Lost>,
    each: &mut impl FnMut(Seq, &[u8]) -> Result<(), JournalError>,
) -> Result<Option<rusqlite::Error>, JournalError> {
    let mut go = || {
        let mut statement = stretch.connection.prepare_cached(
            "SELECT row, crc, body FROM entry WHERE row BETWEEN ?1 AND ?2 ORDER BY row",
        )?;
        let mut rows = statement.query([row_of(stretch.no, *next), row_of(stretch.no, end)])?;
        while let Some(row) = rows.next()? {
            let seq = seq_of(row.get(0)?);
            if seq < *next {
                // Rows that come in no order are those of a damaged tree.
                break;
            }
            if seq > *next {
                lost.push(Lost {
                    from: *next,
                    to: Seq::new(seq.get() - 1),
                    why: "missing".to_owned(),
                });
                *next = seq;
            }
            let body = row.get_ref(2)?.as_blob().unwrap_or_default();
            if row.get(1).ok() != Some(seal(stretch.service.as_str(), seq, body)) {
                lost.push(Lost {
                    from: seq,
                    to: seq,
                    why: "does not match its checksum".to_owned(),
                });
            } else if let Err(error) = each(seq, body) {
                return Ok(Err(error));
            }
            *next = seq.next();
        }
        Ok(Ok(()))
    };
    match go() {
        Ok(done) => done.map(|()| None),
        Err(error) => Ok(Some(error)),
    }
}

/// The first number after an unreadable one from which SQLite can read again.
fn beyond(stretch: &Stretch<'_>, unreadable: Seq, end: Seq) -> Seq {
    let readable = |from: u64| {
        from > end.get()
            || stretch
                .connection
                .prepare_cached(
                    "SELECT body FROM entry WHERE row BETWEEN ?1 AND ?2 ORDER BY row LIMIT 1",
                )
                .and_then(|mut statement| {
                    let range = [row_of(stretch.no, Seq::new(from)), row_of(stretch.no, end)];
                    statement.query_row(range, |_| Ok(())).optional()
                })
                .is_ok()
    };
    let (mut dark, mut step) = (unreadable.get(), 1);
    while !readable(dark.saturating_add(step)) {
        dark = dark.saturating_add(step);
        step = step.saturating_mul(2);
    }
    let mut light = dark.saturating_add(step);
    while light - dark > 1 {
        let middle = dark + (light - dark) / 2;
        if readable(middle) {
            light = middle;
        } else {
            dark = middle;
        }
    }
    Seq::new(light.min(end.get().saturating_add(1)))
}
