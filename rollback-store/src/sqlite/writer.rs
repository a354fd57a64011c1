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
    ports::{Durability, JournalError, Lease},
};
use rusqlite::Connection;
use tokio::sync::oneshot;

use super::{
    error::explain,
    marks::{Losses, Marks},
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
        /// In the place of what is there.
        instead: bool,
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
    pub(super) connection: Connection,
    pub(super) path: Arc<Path>,
    pub(super) clock: Clock,
    pub(super) losses: Arc<Losses>,
    pub(super) marks: Marks,
    pub(super) shared: Arc<Shared>,
    pub(super) registry: Registry,
    /// The state of the file that the registry was read from; none if it must be read again.
    pub(super) version: Option<i64>,
    /// Leases that were taken through this journal.
    pub(super) leases: BTreeMap<ServiceId, Epoch>,
    /// Answered, and not yet committed.
    pub(super) held: Vec<Sealed>,
    pub(super) commit_at: Option<Instant>,
    pub(super) touched: BTreeSet<ServiceId>,
    /// Services that could not be written since the file is damaged.
    pub(super) broken: BTreeMap<ServiceId, String>,
    pub(super) broken_definitions: Option<String>,
    /// A definition was replaced in this transaction.
    pub(super) replaced: bool,
}

/// Why a whole transaction came to nothing.
pub(super) enum Failure {
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
            replaced: false,
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
                    instead,
                } => self
                    .keep(service, release, body, *instead)?
                    .map(|()| Answer::Kept),
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

    pub(super) fn numbers(&self) -> std::sync::MutexGuard<'_, BTreeMap<ServiceId, i64>> {
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
