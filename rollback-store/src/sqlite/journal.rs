//! The handle that controllers share.

use std::{
    collections::VecDeque,
    fmt,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError, atomic::Ordering, mpsc},
    thread::JoinHandle,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use async_trait::async_trait;
use rollback_core::{
    entry::Entry,
    model::{Seq, ServiceId, Timestamp},
    ports::{Batch, Durability, Journal, JournalError, Lease, ReleaseStore},
};
use tokio::sync::oneshot;

use super::{
    audit::with_remains,
    error::stopped,
    marks::{self, Losses, Marks},
    reader::{Entries, Question, Reader},
    registry::Registry,
    schema,
    writer::{Answer, Ask, Clock, Request, Sealed, Settled, Shared, Writer},
};
use crate::sealed::SealingKeys;

/// Decoding takes longer than reading, so a long answer is decoded on two threads.
const READERS: usize = 2;
/// So many entries are read and decoded in one go.
const SEGMENT: u64 = 1024;

type Segment = oneshot::Receiver<Result<Entries, JournalError>>;

/// A [`Journal`] and [`ReleaseStore`] in one SQLite file; clones share it. Many services of one
/// process share one; several processes may open the same file.
///
/// Dropping the last clone commits what is buffered and waits for that.
///
/// ```
/// use rollback_core::{model::{Epoch, ServiceId}, ports::Journal};
/// use rollback_store::SqliteJournal;
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let directory = tempfile::tempdir()?;
/// # let path = directory.path().join("rollback.db");
/// let journal = SqliteJournal::open(path)?;
/// let checkout = ServiceId::new("checkout")?;
/// let lease = journal
///     .acquire(&checkout, "host-1", std::time::Duration::from_secs(10))
///     .await?;
/// assert_eq!(lease.epoch, Epoch::new(1));
/// # Ok(())
/// # }
/// ```
#[derive(Clone)]
pub struct SqliteJournal {
    inner: Arc<Inner>,
    pub(super) keys: Option<SealingKeys>,
}

struct Inner {
    path: Arc<Path>,
    shared: Arc<Shared>,
    requests: Option<mpsc::Sender<Request>>,
    questions: Option<mpsc::Sender<Question>>,
    readers: Vec<JoinHandle<()>>,
    writer: Option<JoinHandle<()>>,
}

impl fmt::Debug for SqliteJournal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SqliteJournal")
            .field("path", &self.inner.path)
            .field("keys", &self.keys)
            .finish_non_exhaustive()
    }
}

impl Drop for Inner {
    fn drop(&mut self) {
        // The writer ends last: whoever closes the file last tidies it up.
        self.questions = None;
        for reader in self.readers.drain(..) {
            let _ = reader.join();
        }
        self.requests = None;
        if let Some(writer) = self.writer.take() {
            let _ = writer.join();
        }
    }
}

impl SqliteJournal {
    /// Opens the journal, and makes it if there is no file. Blocks for some milliseconds.
    ///
    /// # Errors
    /// The file cannot be read or written, is damaged as a whole, is not a journal, or is of
    /// another version. A file that is not a journal is left untouched.
    pub fn open(path: impl AsRef<Path>) -> Result<Self, JournalError> {
        Self::open_with_clock(path, || {
            let since = SystemTime::now().duration_since(UNIX_EPOCH);
            Timestamp::default().after(since.unwrap_or_default())
        })
    }

    /// Like [`SqliteJournal::open`], with leases that end by this clock.
    ///
    /// # Errors
    /// As [`SqliteJournal::open`].
    pub fn open_with_clock(
        path: impl AsRef<Path>,
        clock: impl Fn() -> Timestamp + Send + Sync + 'static,
    ) -> Result<Self, JournalError> {
        let path: Arc<Path> = absolute(path.as_ref()).into();
        Self::start(&path, Arc::new(clock)).map_err(|error| with_remains(&path, error))
    }

    fn start(path: &Arc<Path>, clock: Clock) -> Result<Self, JournalError> {
        let connection = schema::open_to_write(path)?;
        let id = schema::identity(path, &connection)?;
        let found = marks::read(path, id);
        let registry =
            Registry::load(&connection).map_err(|error| super::error::explain(path, &error))?;
        let losses = Arc::new(Losses::between(&found, &registry));
        let shared = Arc::new(Shared::default());
        let (questions, asked) = mpsc::channel();
        let asked = Arc::new(Mutex::new(asked));
        let mut readers = Vec::new();
        for _ in 0..READERS {
            let reader = Reader {
                connection: schema::open_to_read(path)?,
                path: Arc::clone(path),
                losses: Arc::clone(&losses),
                questions: Arc::clone(&asked),
            };
            readers.push(spawn(path, "journal-reader", move || reader.run())?);
        }
        let writer = Writer::new(
            connection,
            Arc::clone(path),
            clock,
            losses,
            Marks::open(path, id),
            Arc::clone(&shared),
        );
        let (requests, waiting) = mpsc::channel();
        let writer = spawn(path, "journal-writer", move || writer.run(&waiting))?;
        Ok(Self {
            inner: Arc::new(Inner {
                path: Arc::clone(path),
                shared,
                requests: Some(requests),
                questions: Some(questions),
                readers,
                writer: Some(writer),
            }),
            keys: None,
        })
    }

    /// Keeps definitions of releases sealed under the first of these keys, and opens those that
    /// are sealed under any of them. One that was kept plain stays readable, unless the keys refuse
    /// that, and is sealed when its release is put again. Entries of the journal hold no
    /// definitions.
    #[must_use]
    pub fn sealed(mut self, keys: SealingKeys) -> Self {
        self.keys = Some(keys);
        self
    }

    /// The file.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.inner.path
    }

    pub(super) async fn ask(&self, ask: Ask) -> Result<Answer, JournalError> {
        let (answer, answered) = oneshot::channel();
        let sent = self
            .inner
            .requests
            .as_ref()
            .map(|to| to.send((ask, answer)));
        match sent {
            Some(Ok(())) => answered.await.unwrap_or_else(|_| Err(self.stopped())),
            _ => Err(self.stopped()),
        }
    }

    pub(super) fn question<T>(
        &self,
        make: impl FnOnce(oneshot::Sender<T>) -> Question,
    ) -> Result<oneshot::Receiver<T>, JournalError> {
        let (answer, answered) = oneshot::channel();
        let sent = self
            .inner
            .questions
            .as_ref()
            .map(|to| to.send(make(answer)));
        match sent {
            Some(Ok(())) => Ok(answered),
            _ => Err(self.stopped()),
        }
    }

    /// Asks for a stretch in segments, each with its length.
    fn segments(
        &self,
        service: &ServiceId,
        no: i64,
        after: Seq,
        end: Seq,
    ) -> Result<VecDeque<(u64, Segment)>, JournalError> {
        let mut segments = VecDeque::new();
        let mut from = after.get();
        while from < end.get() {
            let limit = SEGMENT.min(end.get() - from);
            let segment = self.question(|answer| Question::Entries {
                service: service.clone(),
                no,
                after: Seq::new(from),
                limit,
                answer,
            })?;
            segments.push_back((limit, segment));
            from += limit;
        }
        Ok(segments)
    }

    /// Where the service is, with all that was answered committed if it can be.
    async fn settle(&self, service: &ServiceId) -> Result<Settled, JournalError> {
        let shared = &self.inner.shared;
        if !shared.uncommitted.load(Ordering::Acquire) {
            let numbers = shared
                .numbers
                .lock()
                .unwrap_or_else(PoisonError::into_inner);
            if let Some(no) = numbers.get(service) {
                return Ok(Settled {
                    no: Some(*no),
                    held: Vec::new(),
                });
            }
        }
        let service = service.clone();
        match self.ask(Ask::Settle { service }).await? {
            Answer::Settled(settled) => Ok(settled),
            _ => Err(self.stopped()),
        }
    }

    pub(super) fn stopped(&self) -> JournalError {
        stopped(&self.inner.path)
    }
}

#[async_trait]
impl Journal for SqliteJournal {
    async fn acquire(
        &self,
        service: &ServiceId,
        owner: &str,
        ttl: Duration,
    ) -> Result<Lease, JournalError> {
        let ask = Ask::Acquire {
            service: service.clone(),
            owner: owner.to_owned(),
            ttl,
        };
        match self.ask(ask).await? {
            Answer::Acquired(lease) => Ok(lease),
            _ => Err(self.stopped()),
        }
    }

    async fn append(
        &self,
        batches: Vec<Batch>,
        durability: Durability,
    ) -> Vec<Result<Seq, JournalError>> {
        let mut answers: Vec<Option<JournalError>> = Vec::with_capacity(batches.len());
        let mut sealed = Vec::with_capacity(batches.len());
        for batch in batches {
            match encode(&batch) {
                Ok(batch) => {
                    sealed.push(batch);
                    answers.push(None);
                }
                Err(error) => answers.push(Some(error)),
            }
        }
        let count = sealed.len();
        let ask = Ask::Append {
            batches: sealed,
            durability,
        };
        let appended = match self.ask(ask).await {
            Ok(Answer::Appended(appended)) => appended,
            Ok(_) => vec![Err(self.stopped()); count],
            Err(error) => vec![Err(error); count],
        };
        let mut appended = appended.into_iter();
        answers
            .into_iter()
            .map(|answer| match answer {
                Some(error) => Err(error),
                None => appended.next().unwrap_or_else(|| Err(self.stopped())),
            })
            .collect()
    }

    async fn read(
        &self,
        service: &ServiceId,
        after: Seq,
        limit: usize,
    ) -> Result<Vec<Entry>, JournalError> {
        let Settled { no, held } = self.settle(service).await?;
        let limit = limit as u64;
        let mut entries = Vec::new();
        if let Some(no) = no {
            // Each reader takes a segment; where the journal ends is known after the first one.
            let ahead = Seq::new(
                after
                    .get()
                    .saturating_add(limit.min(SEGMENT * READERS as u64)),
            );
            let mut segments = self.segments(service, no, after, ahead)?;
            let mut asked = ahead;
            while let Some((length, segment)) = segments.pop_front() {
                let segment = segment.await.unwrap_or_else(|_| Err(self.stopped()))?;
                let short = (segment.entries.len() as u64) < length;
                entries.extend(segment.entries);
                if short {
                    break;
                }
                let end = after.get().saturating_add(limit).min(segment.last.get());
                if asked.get() < end {
                    segments.extend(self.segments(service, no, asked, Seq::new(end))?);
                    asked = Seq::new(end);
                }
            }
        }
        for (seq, body) in held {
            let next = entries
                .last()
                .map_or(after, |entry: &Entry| entry.seq)
                .next();
            if seq == next && (entries.len() as u64) < limit {
                let entry = serde_json::from_slice(&body);
                entries.push(entry.map_err(|error| unfit(&self.inner.path, service, seq, &error))?);
            }
        }
        Ok(entries)
    }

    async fn services(&self) -> Result<Vec<ServiceId>, JournalError> {
        match self.ask(Ask::Services).await? {
            Answer::Services(services) => Ok(services),
            _ => Err(self.stopped()),
        }
    }

    fn release_store(self: Arc<Self>) -> Option<Arc<dyn ReleaseStore>> {
        Some(self)
    }
}

/// A relative path would name another file after a change of directory.
fn absolute(path: &Path) -> PathBuf {
    std::path::absolute(path).unwrap_or_else(|_| path.to_owned())
}

fn spawn(
    path: &Path,
    name: &str,
    work: impl FnOnce() + Send + 'static,
) -> Result<JoinHandle<()>, JournalError> {
    std::thread::Builder::new()
        .name(name.to_owned())
        .spawn(work)
        .map_err(|error| JournalError::Unwritable {
            why: format!(
                "{}: no thread can be started: {error}; raise this user's limit of processes",
                path.display()
            ),
        })
}

fn encode(batch: &Batch) -> Result<Sealed, JournalError> {
    let entries = batch.entries.iter().map(|entry| {
        let mut body = Vec::with_capacity(256);
        match serde_json::to_writer(&mut body, entry) {
            Ok(()) => Ok((entry.seq, body)),
            Err(error) => Err(JournalError::Unwritable {
                why: format!(
                    "entry {} of `{}` has no text form: {error}; this is a defect, please report it",
                    entry.seq, batch.service
                ),
            }),
        }
    });
    Ok(Sealed {
        service: batch.service.clone(),
        epoch: batch.epoch,
        entries: entries.collect::<Result<_, _>>()?,
    })
}

fn unfit(path: &Path, service: &ServiceId, seq: Seq, error: &serde_json::Error) -> JournalError {
    JournalError::Damaged {
        why: format!(
            "{}: entry {seq} of `{service}`, not yet on disk, cannot be read: {error}",
            path.display()
        ),
    }
}
