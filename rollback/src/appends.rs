//! Appends to the journal: one service's own, or those of a fleet put together.

use std::{
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use rollback_core::{
    model::Seq,
    ports::{Batch, Durability, Journal, JournalError},
};
use tokio::sync::oneshot;

use crate::caught::caught;

/// A journal that does not answer for so long is taken for one that cannot be written.
const PATIENCE: Duration = Duration::from_secs(30);

/// At most so many batches go into one call.
const GROUP: usize = 1_024;

/// The way of a service's entries into the journal.
#[derive(Debug, Clone)]
pub(crate) enum Appends {
    /// Each for itself.
    Alone(Arc<dyn Journal>),
    /// While one call is under way the next ones gather: one call, one `fsync` for all of them.
    Grouped(Arc<Group>),
}

#[derive(Debug)]
pub(crate) struct Group {
    journal: Arc<dyn Journal>,
    gathered: Mutex<Gathered>,
}

#[derive(Debug, Default)]
struct Gathered {
    waiting: Vec<Waiting>,
    under_way: bool,
}

#[derive(Debug)]
struct Waiting {
    batch: Batch,
    durability: Durability,
    answer: oneshot::Sender<Result<Seq, JournalError>>,
}

impl Appends {
    pub(crate) fn grouped(journal: Arc<dyn Journal>) -> Self {
        Self::Grouped(Arc::new(Group {
            journal,
            gathered: Mutex::default(),
        }))
    }

    /// Appends one batch and returns when it is as safe as asked.
    pub(crate) async fn append(
        &self,
        batch: Batch,
        durability: Durability,
    ) -> Result<Seq, JournalError> {
        match self {
            Self::Alone(journal) => send(journal, vec![batch], durability)
                .await
                .pop()
                .unwrap_or_else(|| Err(silent("it gave no answer"))),
            Self::Grouped(group) => {
                let answer = Group::enter(group, batch, durability);
                answer
                    .await
                    .unwrap_or_else(|_| Err(silent("the append was given up")))
            }
        }
    }
}

impl Group {
    fn enter(
        group: &Arc<Self>,
        batch: Batch,
        durability: Durability,
    ) -> oneshot::Receiver<Result<Seq, JournalError>> {
        let (answer, answered) = oneshot::channel();
        let mut gathered = group.lock();
        gathered.waiting.push(Waiting {
            batch,
            durability,
            answer,
        });
        if !gathered.under_way {
            gathered.under_way = true;
            tokio::spawn(Arc::clone(group).drain());
        }
        answered
    }

    async fn drain(self: Arc<Self>) {
        // Whoever is ready to append now gets in first.
        tokio::task::yield_now().await;
        while let Some(waiting) = self.next() {
            let durability = waiting.iter().map(|one| one.durability).max();
            let (batches, answers): (Vec<_>, Vec<_>) = waiting
                .into_iter()
                .map(|one| (one.batch, one.answer))
                .unzip();
            let count = batches.len();
            let mut results = send(
                &self.journal,
                batches,
                durability.unwrap_or(Durability::Durable),
            )
            .await;
            results.resize_with(count, || Err(silent("it gave too few answers")));
            for (answer, result) in answers.into_iter().zip(results) {
                // The service may be gone by now.
                let _ = answer.send(result);
            }
        }
    }

    fn next(&self) -> Option<Vec<Waiting>> {
        let mut gathered = self.lock();
        if gathered.waiting.is_empty() {
            gathered.under_way = false;
            return None;
        }
        let count = gathered.waiting.len().min(GROUP);
        Some(gathered.waiting.drain(..count).collect())
    }

    fn lock(&self) -> MutexGuard<'_, Gathered> {
        // Nothing panics while the lock is held.
        self.gathered.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

async fn send(
    journal: &Arc<dyn Journal>,
    batches: Vec<Batch>,
    durability: Durability,
) -> Vec<Result<Seq, JournalError>> {
    let count = batches.len();
    let failed = |why: &str| -> Vec<_> { (0..count).map(|_| Err(silent(why))).collect() };
    match tokio::time::timeout(PATIENCE, caught(journal.append(batches, durability))).await {
        Ok(Ok(results)) => results,
        Ok(Err(panic)) => failed(&format!("its code failed: {panic}")),
        Err(_) => failed("no answer within 30 s; look at the disk it is on"),
    }
}

fn silent(why: &str) -> JournalError {
    JournalError::Unwritable {
        why: why.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use rollback_core::{
        entry::{Entry, Input, SCHEMA},
        memory::MemoryJournal,
        model::{Epoch, ServiceId, Timestamp},
    };

    use super::*;

    fn batch(service: &str, seq: u64) -> Batch {
        Batch {
            service: ServiceId::new(service).unwrap(),
            epoch: Epoch::new(1),
            entries: vec![Entry {
                seq: Seq::new(seq),
                epoch: Epoch::new(1),
                at: Timestamp::from_millis(0),
                schema: SCHEMA,
                input: Input::Woke,
                facts: vec![],
            }],
        }
    }

    #[tokio::test(start_paused = true)]
    async fn many_services_share_calls_and_each_gets_its_own_answer() {
        let journal = Arc::new(MemoryJournal::new());
        for name in ["a", "b"] {
            let service = ServiceId::new(name).unwrap();
            journal
                .acquire(&service, "me", Duration::from_secs(60))
                .await
                .unwrap();
        }
        let appends = Appends::grouped(journal);
        let (a, b, wrong) = tokio::join!(
            appends.append(batch("a", 1), Durability::Durable),
            appends.append(batch("b", 1), Durability::Buffered),
            appends.append(batch("b", 7), Durability::Buffered),
        );
        assert_eq!(a, Ok(Seq::new(1)));
        assert_eq!(b, Ok(Seq::new(1)));
        assert!(matches!(wrong, Err(JournalError::OutOfOrder { .. })));
        assert_eq!(
            appends.append(batch("a", 2), Durability::Durable).await,
            Ok(Seq::new(2)),
            "the group works again after it was empty"
        );
    }
}
