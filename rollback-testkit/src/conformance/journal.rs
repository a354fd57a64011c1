//! What a `Journal` promises.

use std::{sync::Arc, time::Duration};

use async_trait::async_trait;
use rollback_core::{
    entry::{ChangeReport, Command, Entry, Fact, Input, SCHEMA},
    model::{
        Accepted, Actor, Answer, ChangeId, DeploymentId, Epoch, MetricId, ReadError, Reading,
        Sample, Scope, Seq, ServiceId, Timestamp, Window,
    },
    ports::{Batch, Durability, Journal, JournalError, Lease},
};

use super::report::{CaseResult, Ran, Report, ensure};

/// What the suite needs to know of the journal behind the trait.
#[async_trait]
pub trait JournalHarness: Send + Sync {
    /// An empty journal of its own.
    async fn fresh(&self) -> Arc<dyn Journal>;

    /// The journal as another process would open it while the first still has it open; none if
    /// only one process can.
    async fn second(&self, journal: &Arc<dyn Journal>) -> Option<Arc<dyn Journal>>;

    /// The journal after its process has ended and another one opened it; none if it does not
    /// outlive its process.
    async fn reopened(&self, journal: Arc<dyn Journal>) -> Option<Arc<dyn Journal>>;

    /// Lets so much time pass for leases.
    async fn pass(&self, time: Duration);

    /// A lease long enough that no case outlasts it, and short enough to wait for.
    fn lease(&self) -> Duration;
}

/// Runs every case, each on a journal of its own.
pub async fn journal(harness: &dyn JournalHarness) -> Report {
    let mut report = Report::of("journal");
    macro_rules! run {
        ($($case:ident),+ $(,)?) => {$(
            report.add(stringify!($case), $case(harness).await);
        )+};
    }
    run!(
        an_empty_journal_answers,
        what_was_appended_is_read_in_order,
        entries_come_back_exactly,
        reading_pages,
        a_gap_is_refused_and_nothing_kept,
        a_repeated_entry_is_refused,
        a_batch_is_kept_whole_or_not_at_all,
        services_are_independent,
        one_failing_batch_does_not_fail_the_others,
        both_kinds_of_durability_are_kept,
        without_a_lease_nothing_is_written,
        a_lease_is_not_shared,
        an_owner_renews_its_lease,
        an_ended_lease_is_taken_and_the_old_owner_fenced,
        a_restart_fences_what_was_before,
        nothing_durable_is_lost,
        epochs_rise_over_restarts,
        services_with_entries_are_listed,
    );
    report
}

struct Writer {
    journal: Arc<dyn Journal>,
    service: ServiceId,
    lease: Lease,
}

impl Writer {
    async fn of(harness: &dyn JournalHarness, journal: Arc<dyn Journal>) -> Result<Self, String> {
        Self::named(harness, journal, "checkout", "a").await
    }

    async fn named(
        harness: &dyn JournalHarness,
        journal: Arc<dyn Journal>,
        service: &str,
        owner: &str,
    ) -> Result<Self, String> {
        let service = id(ServiceId::new(service))?;
        let lease = journal.acquire(&service, owner, harness.lease()).await;
        let lease = lease.map_err(|error| format!("acquire: {error}"))?;
        Ok(Self {
            journal,
            service,
            lease,
        })
    }

    fn entries(&self, numbers: impl IntoIterator<Item = u64>) -> Vec<Entry> {
        let epoch = self.lease.epoch;
        numbers.into_iter().map(|n| entry(n, epoch)).collect()
    }

    fn batch(&self, numbers: impl IntoIterator<Item = u64>) -> Batch {
        Batch {
            service: self.service.clone(),
            epoch: self.lease.epoch,
            entries: self.entries(numbers),
        }
    }

    async fn append(&self, numbers: impl IntoIterator<Item = u64>) -> Result<Seq, JournalError> {
        let batch = self.batch(numbers);
        one(self.journal.append(vec![batch], Durability::Durable).await)
    }

    async fn read(&self, after: u64, limit: usize) -> Result<Vec<Entry>, String> {
        let read = self.journal.read(&self.service, Seq::new(after), limit);
        read.await.map_err(|error| format!("read: {error}"))
    }

    async fn numbers(&self) -> Result<Vec<u64>, String> {
        let entries = self.read(0, 1_000).await?;
        Ok(entries.iter().map(|entry| entry.seq.get()).collect())
    }
}

fn one(mut answers: Vec<Result<Seq, JournalError>>) -> Result<Seq, JournalError> {
    let count = answers.len();
    match answers.pop() {
        Some(answer) if count == 1 => answer,
        _ => Err(JournalError::Damaged {
            why: format!("one batch was answered {count} times"),
        }),
    }
}

fn id<T, E: std::fmt::Display>(result: Result<T, E>) -> Result<T, String> {
    result.map_err(|error| error.to_string())
}

fn at(number: u64) -> Timestamp {
    crate::NOON.after(Duration::from_secs(number))
}

/// Entries of every shape: plain, with readings (numbers that must come back exactly), with facts.
fn entry(number: u64, epoch: Epoch) -> Entry {
    let input = match number % 3 {
        0 => readings(number),
        1 => Input::Woke,
        _ => Input::Command {
            actor: Actor::new("conformance"),
            reason: Arc::from("a \"quoted\" reason\nof two lines, with µ and 改"),
            command: Command::Pause,
        },
    };
    let facts = vec![Fact::Ignored {
        why: Arc::from(format!("entry {number}")),
    }];
    Entry {
        seq: Seq::new(number),
        epoch,
        at: at(number),
        schema: SCHEMA,
        input,
        facts,
    }
}

fn readings(number: u64) -> Input {
    let gauge = |value: f64| {
        let window = Window::new(at(number), at(number + 1));
        Ok(Reading::new(window, Sample::Gauge(value)))
    };
    let answers = [
        gauge(0.1 + 0.2),
        gauge(f64::MIN_POSITIVE),
        gauge(-1.797_693_134_862_315_7e308),
        Err(ReadError::Ambiguous { series: 3 }),
    ];
    Input::Readings {
        answers: answers
            .into_iter()
            .filter_map(|result| {
                Some(Answer {
                    metric: MetricId::new("errors").ok()?,
                    scope: Scope::Service,
                    result,
                })
            })
            .collect(),
    }
}

async fn an_empty_journal_answers(harness: &dyn JournalHarness) -> CaseResult {
    let journal = harness.fresh().await;
    let services = id(journal.services().await)?;
    ensure!(services.is_empty(), "it has services: {services:?}");
    let nobody = id(ServiceId::new("nobody"))?;
    let entries = id(journal.read(&nobody, Seq::new(0), 10).await)?;
    ensure!(entries.is_empty(), "nobody has entries");
    let lease = id(journal.acquire(&nobody, "a", harness.lease()).await)?;
    ensure!(
        lease.last == Seq::new(0),
        "its last entry is {}",
        lease.last
    );
    ensure!(lease.epoch > Epoch::new(0), "the first epoch is 0");
    ensure!(
        journal
            .append(Vec::new(), Durability::Durable)
            .await
            .is_empty(),
        "no batch was answered"
    );
    Ok(Ran::Passed)
}

async fn what_was_appended_is_read_in_order(harness: &dyn JournalHarness) -> CaseResult {
    let writer = Writer::of(harness, harness.fresh().await).await?;
    let last = id(writer.append(1..=3).await)?;
    ensure!(
        last == Seq::new(3),
        "three entries were answered with {last}"
    );
    let last = id(writer.append(4..=4).await)?;
    ensure!(last == Seq::new(4), "the fourth was answered with {last}");
    let numbers = writer.numbers().await?;
    ensure!(numbers == [1, 2, 3, 4], "read back: {numbers:?}");
    Ok(Ran::Passed)
}

async fn entries_come_back_exactly(harness: &dyn JournalHarness) -> CaseResult {
    let writer = Writer::of(harness, harness.fresh().await).await?;
    let mut entries = writer.entries(1..=6);
    if let Some(last) = entries.last_mut() {
        last.input = Input::Reported(ChangeReport {
            id: ChangeId {
                deployment: id(DeploymentId::new("d1-abc"))?,
                step: 7,
                attempt: 2,
            },
            result: Ok(Accepted::default()),
        });
    }
    let batch = Batch {
        service: writer.service.clone(),
        epoch: writer.lease.epoch,
        entries: entries.clone(),
    };
    id(one(writer
        .journal
        .append(vec![batch], Durability::Buffered)
        .await))?;
    let back = writer.read(0, 10).await?;
    for (written, read) in entries.iter().zip(&back) {
        ensure!(written == read, "written {written:?}, read {read:?}");
    }
    ensure!(back.len() == entries.len(), "{} came back", back.len());
    Ok(Ran::Passed)
}

async fn reading_pages(harness: &dyn JournalHarness) -> CaseResult {
    let writer = Writer::of(harness, harness.fresh().await).await?;
    id(writer.append(1..=25).await)?;
    let (mut after, mut pages, mut numbers) = (0, Vec::new(), Vec::new());
    loop {
        let page = writer.read(after, 10).await?;
        let Some(last) = page.last() else { break };
        after = last.seq.get();
        pages.push(page.len());
        numbers.extend(page.iter().map(|entry| entry.seq.get()));
        ensure!(pages.len() < 10, "reading does not end");
    }
    ensure!(pages == [10, 10, 5], "pages of {pages:?}");
    ensure!(numbers == (1..=25).collect::<Vec<_>>(), "read {numbers:?}");
    Ok(Ran::Passed)
}

async fn a_gap_is_refused_and_nothing_kept(harness: &dyn JournalHarness) -> CaseResult {
    let writer = Writer::of(harness, harness.fresh().await).await?;
    id(writer.append(1..=1).await)?;
    let answer = writer.append(3..=3).await;
    ensure!(
        answer
            == Err(JournalError::OutOfOrder {
                got: Seq::new(3),
                last: Seq::new(1)
            }),
        "3 after 1 was answered {answer:?}"
    );
    id(writer.append(2..=2).await)?;
    let numbers = writer.numbers().await?;
    ensure!(numbers == [1, 2], "kept: {numbers:?}");
    Ok(Ran::Passed)
}

async fn a_repeated_entry_is_refused(harness: &dyn JournalHarness) -> CaseResult {
    let writer = Writer::of(harness, harness.fresh().await).await?;
    id(writer.append(1..=2).await)?;
    let answer = writer.append(2..=2).await;
    ensure!(
        matches!(answer, Err(JournalError::OutOfOrder { .. })),
        "2 after 2 was answered {answer:?}"
    );
    Ok(Ran::Passed)
}

async fn a_batch_is_kept_whole_or_not_at_all(harness: &dyn JournalHarness) -> CaseResult {
    let writer = Writer::of(harness, harness.fresh().await).await?;
    let answer = writer.append([1, 2, 4]).await;
    ensure!(
        matches!(answer, Err(JournalError::OutOfOrder { .. })),
        "a batch with a gap was answered {answer:?}"
    );
    let numbers = writer.numbers().await?;
    ensure!(numbers.is_empty(), "part of it was kept: {numbers:?}");
    Ok(Ran::Passed)
}

async fn services_are_independent(harness: &dyn JournalHarness) -> CaseResult {
    let journal = harness.fresh().await;
    let first = Writer::named(harness, Arc::clone(&journal), "first", "a").await?;
    let second = Writer::named(harness, Arc::clone(&journal), "second", "a").await?;
    let batches = vec![first.batch(1..=2), second.batch(1..=3)];
    let answers = journal.append(batches, Durability::Durable).await;
    ensure!(
        answers == [Ok(Seq::new(2)), Ok(Seq::new(3))],
        "two services in one append were answered {answers:?}"
    );
    id(first.append(3..=3).await)?;
    let (a, b) = (first.numbers().await?, second.numbers().await?);
    ensure!(a == [1, 2, 3] && b == [1, 2, 3], "kept: {a:?} and {b:?}");
    Ok(Ran::Passed)
}

async fn one_failing_batch_does_not_fail_the_others(harness: &dyn JournalHarness) -> CaseResult {
    let journal = harness.fresh().await;
    let good = Writer::named(harness, Arc::clone(&journal), "good", "a").await?;
    let bad = Writer::named(harness, Arc::clone(&journal), "bad", "a").await?;
    let batches = vec![bad.batch(7..=7), good.batch(1..=1)];
    let answers = journal.append(batches, Durability::Durable).await;
    ensure!(
        matches!(
            answers.as_slice(),
            [Err(JournalError::OutOfOrder { .. }), Ok(_)]
        ),
        "a bad and a good batch were answered {answers:?}"
    );
    ensure!(good.numbers().await? == [1], "the good one was not kept");
    ensure!(bad.numbers().await?.is_empty(), "the bad one was kept");
    Ok(Ran::Passed)
}

async fn both_kinds_of_durability_are_kept(harness: &dyn JournalHarness) -> CaseResult {
    let writer = Writer::of(harness, harness.fresh().await).await?;
    for (number, durability) in [
        (1, Durability::Buffered),
        (2, Durability::Durable),
        (3, Durability::Buffered),
    ] {
        let batch = writer.batch([number]);
        id(one(writer.journal.append(vec![batch], durability).await))?;
    }
    let numbers = writer.numbers().await?;
    ensure!(numbers == [1, 2, 3], "kept in the order {numbers:?}");
    Ok(Ran::Passed)
}

async fn without_a_lease_nothing_is_written(harness: &dyn JournalHarness) -> CaseResult {
    let journal = harness.fresh().await;
    let writer = Writer {
        journal,
        service: id(ServiceId::new("checkout"))?,
        lease: Lease::new(Epoch::new(1), Seq::new(0), at(0)),
    };
    let answer = writer.append(1..=1).await;
    ensure!(
        matches!(answer, Err(JournalError::Fenced { .. })),
        "an append under a lease that nobody gave was answered {answer:?}"
    );
    Ok(Ran::Passed)
}

async fn a_lease_is_not_shared(harness: &dyn JournalHarness) -> CaseResult {
    let journal = harness.fresh().await;
    let writer = Writer::of(harness, Arc::clone(&journal)).await?;
    let refused = journal.acquire(&writer.service, "b", harness.lease()).await;
    match refused {
        Err(JournalError::Leased { owner, .. }) => {
            ensure!(owner == "a", "the lease is said to be `{owner}`'s");
        }
        other => return Err(format!("a second owner was answered {other:?}")),
    }
    id(writer.append(1..=1).await)?;
    let other = Writer::named(harness, journal, "another", "b").await?;
    id(other.append(1..=1).await)?;
    Ok(Ran::Passed)
}

async fn an_owner_renews_its_lease(harness: &dyn JournalHarness) -> CaseResult {
    let journal = harness.fresh().await;
    let mut writer = Writer::of(harness, Arc::clone(&journal)).await?;
    id(writer.append(1..=1).await)?;
    harness.pass(harness.lease() / 2).await;
    let renewed = id(journal.acquire(&writer.service, "a", harness.lease()).await)?;
    ensure!(
        renewed.until >= writer.lease.until && renewed.epoch >= writer.lease.epoch,
        "{:?} was renewed to {renewed:?}",
        writer.lease
    );
    ensure!(
        renewed.last == Seq::new(1),
        "the last entry is said to be {}",
        renewed.last
    );
    writer.lease = renewed;
    id(writer.append(2..=2).await)?;
    let refused = journal.acquire(&writer.service, "b", harness.lease()).await;
    ensure!(
        matches!(refused, Err(JournalError::Leased { .. })),
        "a renewed lease was given to another: {refused:?}"
    );
    Ok(Ran::Passed)
}

async fn an_ended_lease_is_taken_and_the_old_owner_fenced(
    harness: &dyn JournalHarness,
) -> CaseResult {
    let journal = harness.fresh().await;
    let old = Writer::of(harness, Arc::clone(&journal)).await?;
    id(old.append(1..=2).await)?;
    harness
        .pass(harness.lease() + Duration::from_millis(50))
        .await;
    let new = Writer::named(harness, journal, "checkout", "b").await?;
    ensure!(
        new.lease.epoch > old.lease.epoch,
        "the epoch went from {} to {}",
        old.lease.epoch,
        new.lease.epoch
    );
    ensure!(
        new.lease.last == Seq::new(2),
        "the last entry is said to be {}",
        new.lease.last
    );
    let answer = old.append(3..=3).await;
    ensure!(
        answer
            == Err(JournalError::Fenced {
                ours: old.lease.epoch,
                current: new.lease.epoch
            }),
        "the old owner's append was answered {answer:?}"
    );
    id(new.append(3..=3).await)?;
    let late = old.append(4..=4).await;
    ensure!(
        matches!(late, Err(JournalError::Fenced { .. })),
        "the old owner's next append was answered {late:?}"
    );
    ensure!(new.numbers().await? == [1, 2, 3], "a fenced entry was kept");
    Ok(Ran::Passed)
}

async fn a_restart_fences_what_was_before(harness: &dyn JournalHarness) -> CaseResult {
    let journal = harness.fresh().await;
    let old = Writer::of(harness, Arc::clone(&journal)).await?;
    id(old.append(1..=1).await)?;
    let Some(second) = harness.second(&journal).await else {
        return Ran::skipped("only one process can have it open");
    };
    harness
        .pass(harness.lease() + Duration::from_millis(50))
        .await;
    let new = Writer::named(harness, second, "checkout", "a").await?;
    ensure!(
        new.lease.epoch > old.lease.epoch,
        "an owner that started anew has the epoch {} again",
        new.lease.epoch
    );
    id(new.append(2..=2).await)?;
    let answer = old.append(2..=2).await;
    ensure!(
        matches!(answer, Err(JournalError::Fenced { .. })),
        "its former self's append was answered {answer:?}"
    );
    Ok(Ran::Passed)
}

async fn nothing_durable_is_lost(harness: &dyn JournalHarness) -> CaseResult {
    let writer = Writer::of(harness, harness.fresh().await).await?;
    id(writer.append(1..=5).await)?;
    let Writer {
        journal,
        service,
        lease,
    } = writer;
    let Some(journal) = harness.reopened(journal).await else {
        return Ran::skipped("does not outlive its process");
    };
    let writer = Writer {
        journal,
        service,
        lease,
    };
    let numbers = writer.numbers().await?;
    ensure!(numbers == [1, 2, 3, 4, 5], "after a restart: {numbers:?}");
    Ok(Ran::Passed)
}

async fn epochs_rise_over_restarts(harness: &dyn JournalHarness) -> CaseResult {
    let writer = Writer::of(harness, harness.fresh().await).await?;
    id(writer.append(1..=1).await)?;
    let before = writer.lease.epoch;
    let Some(journal) = harness.reopened(writer.journal).await else {
        return Ran::skipped("does not outlive its process");
    };
    harness
        .pass(harness.lease() + Duration::from_millis(50))
        .await;
    let after = Writer::named(harness, journal, "checkout", "a").await?;
    ensure!(
        after.lease.epoch > before,
        "the epoch went from {before} to {}",
        after.lease.epoch
    );
    ensure!(
        after.lease.last == Seq::new(1),
        "the last entry is said to be {}",
        after.lease.last
    );
    id(after.append(2..=2).await)?;
    Ok(Ran::Passed)
}

async fn services_with_entries_are_listed(harness: &dyn JournalHarness) -> CaseResult {
    let journal = harness.fresh().await;
    for name in ["b", "a"] {
        let writer = Writer::named(harness, Arc::clone(&journal), name, "owner").await?;
        id(writer.append(1..=1).await)?;
    }
    let mut services = id(journal.services().await)?;
    services.sort();
    let names: Vec<_> = services.iter().map(ServiceId::as_str).collect();
    ensure!(names == ["a", "b"], "listed: {names:?}");
    Ok(Ran::Passed)
}
