//! How far each service had come, in a small file of its own.
//!
//! SQLite takes a write-ahead log that was cut off, damaged or deleted for one that simply ends
//! there: commits would vanish without a word. So after each commit the last number of every
//! service in it is also written here. A mark is never ahead of a commit; if it is ahead of what
//! the journal holds, then the journal has lost something. The file is never synced: it costs
//! next to nothing, and a mark that is behind does no harm.

use std::{
    collections::BTreeMap,
    ffi::OsString,
    fs::{self, File},
    io::Write,
    path::{Path, PathBuf},
};

use rollback_core::model::{Seq, ServiceId};

use super::{record::Record, registry::Registry};

const MAGIC: [u8; 8] = *b"RLBKMRK1";
const SLOT: u64 = 16;

/// The marks' file beside a journal.
pub(super) fn path_of(journal: &Path) -> PathBuf {
    let mut name = OsString::from(journal);
    name.push("-marks");
    PathBuf::from(name)
}

/// One service's mark.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Mark {
    last: Seq,
    name: u32,
}

/// The marks as they were found, by the number of the service.
#[derive(Debug, Default)]
pub(super) struct Found(BTreeMap<i64, Mark>);

/// Reads the marks of the journal with this identity; damaged ones are as good as none.
pub(super) fn read(journal: &Path, id: [u8; 8]) -> Found {
    let bytes = fs::read(path_of(journal)).unwrap_or_default();
    let (slots, rest) = bytes.as_chunks::<{ SLOT as usize }>();
    debug_assert!(rest.len() < SLOT as usize);
    let mut slots = slots.iter().zip(0i64..);
    match slots.next() {
        Some((head, _)) if *head == header(id) => {}
        _ => return Found::default(),
    }
    Found(
        slots
            .filter_map(|(slot, no)| Some((no, mark(slot, no, id)?)))
            .collect(),
    )
}

fn header(id: [u8; 8]) -> [u8; SLOT as usize] {
    (u128::from(u64::from_be_bytes(MAGIC)) << 64 | u128::from(u64::from_be_bytes(id))).to_be_bytes()
}

/// A slot holds the last number, a checksum of the service's name, and a checksum of the slot.
fn slot(no: i64, id: [u8; 8], mark: Mark) -> [u8; SLOT as usize] {
    let head = u128::from(mark.last.get()) << 64 | u128::from(mark.name) << 32;
    let mut crc = crc32fast::Hasher::new();
    crc.update(&id);
    crc.update(&no.to_be_bytes());
    crc.update(&head.to_be_bytes());
    (head | u128::from(crc.finalize())).to_be_bytes()
}

fn mark(bytes: &[u8; SLOT as usize], no: i64, id: [u8; 8]) -> Option<Mark> {
    let number = u128::from_be_bytes(*bytes);
    let mark = Mark {
        last: Seq::new((number >> 64) as u64),
        name: (number >> 32) as u32,
    };
    (*bytes == slot(no, id, mark)).then_some(mark)
}

fn name_of(service: &ServiceId) -> u32 {
    crc32fast::hash(service.as_str().as_bytes())
}

/// Where marks are set.
#[derive(Debug)]
pub(super) struct Marks {
    file: Option<File>,
    id: [u8; 8],
}

impl Marks {
    /// Opens the file; what stands in it for another journal is thrown away.
    pub(super) fn open(journal: &Path, id: [u8; 8]) -> Self {
        let open = || {
            let path = path_of(journal);
            let mut options = fs::OpenOptions::new();
            options.write(true).create(true).truncate(false);
            #[cfg(unix)]
            std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
            let mut file = options.open(&path)?;
            let ours = fs::read(&path)?.starts_with(&header(id));
            if !ours {
                file.set_len(0)?;
                file.write_all(&header(id))?;
            }
            std::io::Result::Ok(file)
        };
        Self {
            // Without marks only the loss of whole commits goes unnoticed.
            file: open().ok(),
            id,
        }
    }

    /// Sets the mark of a service whose entries were committed.
    pub(super) fn set(&mut self, record: &Record) {
        let mark = Mark {
            last: record.last,
            name: name_of(&record.service),
        };
        let Some(file) = &mut self.file else { return };
        let at = record.no.unsigned_abs().saturating_mul(SLOT);
        // A mark that could not be set is behind, which does no harm.
        let _ = write_at(file, &slot(record.no, self.id, mark), at);
    }
}

#[cfg(unix)]
fn write_at(file: &mut File, bytes: &[u8], at: u64) -> std::io::Result<()> {
    std::os::unix::fs::FileExt::write_all_at(file, bytes, at)
}

#[cfg(not(unix))]
fn write_at(file: &mut File, bytes: &[u8], at: u64) -> std::io::Result<()> {
    std::io::Seek::seek(file, std::io::SeekFrom::Start(at))?;
    file.write_all(bytes)
}

/// What the marks say is missing from the journal.
#[derive(Debug, Default)]
pub(super) struct Losses {
    services: BTreeMap<ServiceId, Seq>,
    unnamed: BTreeMap<u32, Seq>,
    highest: i64,
}

impl Losses {
    /// Compares marks with the journal. The marks must have been read first: another process may
    /// be writing.
    pub(super) fn between(found: &Found, registry: &Registry) -> Self {
        let mut losses = Self::default();
        let by_number: BTreeMap<i64, &Record> = registry
            .records()
            .map(|record| (record.no, record))
            .collect();
        for (no, mark) in &found.0 {
            losses.highest = losses.highest.max(*no);
            match by_number.get(no) {
                Some(record) if record.last >= mark.last => {}
                Some(record) => {
                    losses.services.insert(record.service.clone(), mark.last);
                }
                None => {
                    losses.unnamed.insert(mark.name, mark.last);
                }
            }
        }
        losses
    }

    /// The last number that the service once had, if the journal ends before it.
    pub(super) fn of(&self, service: &ServiceId) -> Option<Seq> {
        self.services
            .get(service)
            .or_else(|| self.unnamed.get(&name_of(service)))
            .copied()
    }

    /// Nothing is missing.
    pub(super) fn is_empty(&self) -> bool {
        self.services.is_empty() && self.unnamed.is_empty()
    }

    /// How many services are missing altogether: only checksums of their names are known.
    pub(super) fn unnamed(&self) -> usize {
        self.unnamed.len()
    }

    /// The highest number of a service that has a mark.
    pub(super) const fn highest(&self) -> i64 {
        self.highest
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mark_is_of_one_place_and_one_journal() {
        let (id, mark_) = (
            [7; 8],
            Mark {
                last: Seq::new(9),
                name: 4,
            },
        );
        let bytes = slot(3, id, mark_);
        assert_eq!(mark(&bytes, 3, id), Some(mark_));
        assert_eq!(mark(&bytes, 4, id), None);
        assert_eq!(mark(&bytes, 3, [8; 8]), None);
        for at in 0..bytes.len() {
            let mut flipped = bytes;
            flipped[at] ^= 1;
            assert_eq!(mark(&flipped, 3, id), None);
        }
    }
}
