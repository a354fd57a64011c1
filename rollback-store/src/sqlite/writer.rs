//! The one thread that writes. It takes everything that waits, writes it into one transaction and
//! commits once; each service is answered for itself.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::Path,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
        mpsc::{self, RecvTimeoutError},
    },
    time::{Duration, Instant},
};

use rollback_core::{
    model::{Epoch, ReleaseId, Seq, ServiceId, Timestamp},
    ports::{Durability, Holder, JournalError, Lease},
};
use rusqlite::Connection;
use tokio::sync::oneshot;

use super::{
    error::{RESCUE, explain, is_damage},
    marks::{Losses, Marks},
    reader::Stretch,
    record::{MOST_SERVICES, Record, row_of, seal, seal_release, signed},
    registry::Registry,
};

/// A buffered append is committed after this time at the latest.
const COMMIT_WITHIN: Duration = Duration::from_millis(50);
/// What could not be committed is tried again after this time.
const TRY_AGAIN: Duration = Duration::from_secs(1);
/// So many requests share a commit at most.
const GROUP: usize = 4096;

pub(super) type Clock = Arc<dyn Fn() -> Timestamp + Send + Sync>;

/// Entries of one service as they are stored.
#[derive(Debug)]
pub(super) struct Sealed {
    pub(super) service: ServiceId,
    pub(super) epoch: Epoch,
    pub(super) entries: Vec<(Seq, Vec<u8>)>,
}

/// What the writer is asked.
#[derive(Debug)]
pub(super) enum Ask {
    Append {
        batches: Vec<Sealed>,
        durability: Durability,
    },
    Acquire {
        service: ServiceId,
        owner: String,
        ttl: Duration,
    },
    /// Commit what was answered, and say what of the service could not be.
    Settle {
        service: ServiceId,
    },
    Services,
    Keep {
        service: ServiceId,
        release: ReleaseId,
        body: Vec<u8>,
    },
}

/// What it answers.
#[derive(Debug)]
pub(super) enum Answer {
    Appended(Vec<Result<Seq, JournalError>>),
    Acquired(Lease),
    Settled(Settled),
    Services(Vec<ServiceId>),
    Kept,
}

/// Where a service's entries are.
#[derive(Debug, Default)]
pub(super) struct Settled {
    /// Its number in the file; none if the file does not have it.
    pub(super) no: Option<i64>,
    /// Entries that were answered and could not be committed yet.
    pub(super) held: Vec<(Seq, Vec<u8>)>,
}

/// A question and where its answer goes.
pub(super) type Request = (Ask, oneshot::Sender<Result<Answer, JournalError>>);

/// What writer and handle share.
#[derive(Debug, Default)]
pub(super) struct Shared {
    /// Something was answered that is not committed.
    pub(super) uncommitted: AtomicBool,
    /// The services' numbers in the file.
    pub(super) numbers: Mutex<BTreeMap<ServiceId, i64>>,
}

/// The writer's state.
pub(super) struct Writer {
    connection: Connection,
    path: Arc<Path>,
    clock: Clock,
    losses: Arc<Losses>,
    marks: Marks,
    shared: Arc<Shared>,
    registry: Registry,
    /// The state of the file that the registry was read from; none if it must be read again.
    version: Option<i64>,
    /// Leases that were taken through this journal.
    leases: BTreeMap<ServiceId, Epoch>,
    /// Answered, and not yet committed.
    held: Vec<Sealed>,
    commit_at: Option<Instant>,
    touched: BTreeSet<ServiceId>,
    /// Services that could not be written since the file is damaged.
    broken: BTreeMap<ServiceId, String>,
    broken_definitions: Option<String>,
}

/// Why a whole transaction came to nothing.
enum Failure {
    /// One service's part of the file is damaged; without it the others can go on.
    Service(ServiceId, rusqlite::Error),
    /// The definitions' part of the file is damaged; without it the services can go on.
    Definitions(rusqlite::Error),
    All(rusqlite::Error),
}

impl From<rusqlite::Error> for Failure {
    fn from(error: rusqlite::Error) -> Self {
        Self::All(error)
    }
}

impl Writer {
    pub(super) fn new(
        connection: Connection,
        path: Arc<Path>,
        clock: Clock,
        losses: Arc<Losses>,
        marks: Marks,
        shared: Arc<Shared>,
    ) -> Self {
        Self {
            connection,
            path,
            clock,
            losses,
            marks,
            shared,
            registry: Registry::default(),
            version: None,
            leases: BTreeMap::new(),
            held: Vec::new(),
            commit_at: None,
            touched: BTreeSet::new(),
            broken: BTreeMap::new(),
            broken_definitions: None,
        }
    }

    /// Works until nobody can ask any more, and commits what is left.
    pub(super) fn run(mut self, requests: &mpsc::Receiver<Request>) {
        loop {
            let first = match self.commit_at {
                None => requests.recv().map_err(|_| RecvTimeoutError::Disconnected),
                Some(at) => requests.recv_timeout(at.saturating_duration_since(Instant::now())),
            };
            match first {
                Ok(first) => {
                    let waiting = requests.try_iter().take(GROUP - 1);
                    let group = std::iter::once(first).chain(waiting).collect();
                    self.serve(group);
                }
                Err(RecvTimeoutError::Timeout) => self.serve(Vec::new()),
                Err(RecvTimeoutError::Disconnected) => {
                    self.serve(Vec::new());
                    return;
                }
            }
        }
    }

    /// One transaction for all of them, and an answer to each.
    fn serve(&mut self, group: Vec<Request>) {
        let (asks, whom): (Vec<Ask>, Vec<_>) = group.into_iter().unzip();
        let overdue = self.commit_at.is_some_and(|at| at <= Instant::now());
        let commits = asks.is_empty() || overdue || asks.iter().any(Ask::commits);
        let answers = loop {
            match self.transact(&asks, commits) {
                Ok(answers) => break answers,
                Err(failure) => {
                    self.roll_back();
                    match failure {
                        Failure::Service(service, error) => {
                            self.broken.insert(service, error.to_string());
                        }
                        Failure::Definitions(error) => {
                            self.broken_definitions = Some(error.to_string());
                        }
                        Failure::All(error) => {
                            if !self.held.is_empty() {
                                self.commit_at = Some(Instant::now() + TRY_AGAIN);
                            }
                            break asks.iter().map(|ask| self.refuse(ask, &error)).collect();
                        }
                    }
                }
            }
        };
        if !commits {
            self.hold(asks, &answers);
        }
        for (answer, whom) in answers.into_iter().zip(whom) {
            // Who asked may not wait any more.
            let _ = whom.send(answer);
        }
    }

    /// Keeps what is about to be answered although it is not committed.
    fn hold(&mut self, asks: Vec<Ask>, answers: &[Result<Answer, JournalError>]) {
        for (ask, answer) in asks.into_iter().zip(answers) {
            let (Ask::Append { batches, .. }, Ok(Answer::Appended(results))) = (ask, answer) else {
                continue;
            };
            let accepted = batches.into_iter().zip(results);
            self.held.extend(
                accepted
                    .filter(|(batch, result)| result.is_ok() && !batch.entries.is_empty())
                    .map(|(batch, _)| batch),
            );
        }
        if !self.held.is_empty() {
            self.shared.uncommitted.store(true, Ordering::Release);
            self.commit_at
                .get_or_insert_with(|| Instant::now() + COMMIT_WITHIN);
        }
    }

    fn transact(
        &mut self,
        asks: &[Ask],
        commits: bool,
    ) -> Result<Vec<Result<Answer, JournalError>>, Failure> {
        if asks.is_empty() && self.held.is_empty() {
            return Ok(Vec::new());
        }
        self.begin()?;
        let mut answers = Vec::with_capacity(asks.len());
        let mut leases = Vec::new();
        for ask in asks {
            answers.push(match ask {
                Ask::Append { batches, .. } => {
                    let appended: Result<Vec<_>, Failure> =
                        batches.iter().map(|batch| self.append(batch)).collect();
                    Ok(Answer::Appended(appended?))
                }
                Ask::Acquire {
                    service,
                    owner,
                    ttl,
                } => self.acquire(service, owner, *ttl)?.map(|lease| {
                    leases.push((service.clone(), lease.epoch));
                    Answer::Acquired(lease)
                }),
                Ask::Settle { service } => self.number(service).map(|no| {
                    let held = Vec::new();
                    Answer::Settled(Settled { no, held })
                }),
                Ask::Services => Ok(Answer::Services(self.services())),
                Ask::Keep {
                    service,
                    release,
                    body,
                } => self.keep(service, release, body)?.map(|()| Answer::Kept),
            });
        }
        if commits {
            self.commit()?;
            for (service, epoch) in leases {
                if let Some(record) = self.registry.get_mut(&service) {
                    let no = record.no;
                    self.numbers().insert(service.clone(), no);
                }
                self.leases.insert(service, epoch);
            }
        }
        Ok(answers)
    }

    fn begin(&mut self) -> Result<(), Failure> {
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

    fn commit(&mut self) -> Result<(), Failure> {
        for service in &self.touched {
            if let Some(record) = self.registry.get_mut(service) {
                self.connection
                    .prepare_cached("UPDATE service SET last = ?2, crc = ?3 WHERE no = ?1")?
                    .execute((record.no, signed(record.last.get()), record.seal()))?;
            }
        }
        self.connection.prepare_cached("COMMIT")?.execute([])?;
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

    fn roll_back(&mut self) {
        if !self.connection.is_autocommit() {
            // If even this fails, the next BEGIN says so.
            let _ = self.connection.execute_batch("ROLLBACK");
        }
        self.touched.clear();
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

    fn append(&mut self, batch: &Sealed) -> Result<Result<Seq, JournalError>, Failure> {
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

    fn acquire(
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
        let crc = record.seal();
        self.connection
            .prepare_cached("INSERT OR REPLACE INTO service VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)")
            .and_then(|mut statement| {
                statement.execute((
                    no,
                    service.as_str(),
                    signed(record.holder.epoch.get()),
                    &record.holder.owner,
                    record.holder.until.as_millis(),
                    signed(last.get()),
                    crc,
                ))
            })
            .map_err(|error| of_service(service, error))?;
        let lease = Lease::new(record.holder.epoch, last, record.holder.until);
        self.registry.put(record);
        Ok(Ok(lease))
    }

    fn keep(
        &self,
        service: &ServiceId,
        release: &ReleaseId,
        body: &[u8],
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
        self.connection
            .prepare_cached("INSERT OR IGNORE INTO definition VALUES (?1, ?2, ?3, ?4)")
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

    fn number(&self, service: &ServiceId) -> Result<Option<i64>, JournalError> {
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

    fn services(&self) -> Vec<ServiceId> {
        self.registry
            .records()
            .filter(|record| {
                record.last > Seq::default() || self.losses.of(&record.service).is_some()
            })
            .map(|record| record.service.clone())
            .collect()
    }

    /// The answer when the transaction came to nothing.
    fn refuse(&self, ask: &Ask, error: &rusqlite::Error) -> Result<Answer, JournalError> {
        let error = explain(&self.path, error);
        match ask {
            Ask::Append { batches, .. } => Ok(Answer::Appended(
                batches.iter().map(|_| Err(error.clone())).collect(),
            )),
            // What was answered can be read, although it could not be written.
            Ask::Settle { service } => Ok(Answer::Settled(Settled {
                no: self.numbers().get(service).copied(),
                held: self
                    .held
                    .iter()
                    .filter(|batch| batch.service == *service)
                    .flat_map(|batch| batch.entries.iter().cloned())
                    .collect(),
            })),
            Ask::Acquire { .. } | Ask::Services | Ask::Keep { .. } => Err(error),
        }
    }

    fn numbers(&self) -> std::sync::MutexGuard<'_, BTreeMap<ServiceId, i64>> {
        let numbers = self.shared.numbers.lock();
        numbers.unwrap_or_else(PoisonError::into_inner)
    }
}

impl Ask {
    fn commits(&self) -> bool {
        !matches!(
            self,
            Self::Append {
                durability: Durability::Buffered,
                ..
            }
        )
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
