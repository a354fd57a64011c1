//! Entries as an engine writes them.
#![allow(dead_code, reason = "each test file uses its part")]
#![allow(clippy::unwrap_used, reason = "this is test code")]

use std::{ops::RangeInclusive, path::Path, time::Duration};

use rollback_core::{
    entry::{Entry, Input, SCHEMA},
    model::{
        Answer, Arm, Epoch, MetricId, Reading, Sample, Scope, Seq, ServiceId, Timestamp, Window,
    },
    ports::{Batch, Durability, Journal, JournalError},
};

pub(crate) const TTL: Duration = Duration::from_secs(10);

pub(crate) fn service(name: &str) -> ServiceId {
    ServiceId::new(name).unwrap()
}

/// One poll's answer about the candidate.
pub(crate) fn reading(number: u64) -> Input {
    let to = Timestamp::from_millis(1_795_246_132_250 + 1000 * number as i64);
    let window = Window::new(to.before(Duration::from_secs(1)), to);
    let counts = Sample::Counts {
        bad: number % 7,
        total: 100 + number % 13,
    };
    Input::Readings {
        answers: vec![Answer {
            metric: MetricId::new("errors").unwrap(),
            scope: Scope::Arm(Arm::Candidate),
            result: Ok(Reading::new(window, counts)),
        }],
    }
}

pub(crate) fn entry(epoch: u64, number: u64) -> Entry {
    Entry {
        seq: Seq::new(number),
        epoch: Epoch::new(epoch),
        at: Timestamp::from_millis(1_795_246_132_250 + 1000 * number as i64),
        schema: SCHEMA,
        input: reading(number),
        facts: Vec::new(),
    }
}

pub(crate) fn entries(epoch: u64, numbers: RangeInclusive<u64>) -> Vec<Entry> {
    numbers.map(|number| entry(epoch, number)).collect()
}

pub(crate) fn batch(service: &ServiceId, epoch: u64, numbers: RangeInclusive<u64>) -> Batch {
    Batch {
        service: service.clone(),
        epoch: Epoch::new(epoch),
        entries: entries(epoch, numbers),
    }
}

/// Appends one entry durably.
pub(crate) async fn append(
    journal: &impl Journal,
    service: &ServiceId,
    epoch: u64,
    number: u64,
) -> Result<Seq, JournalError> {
    let batch = batch(service, epoch, number..=number);
    let mut answers = journal.append(vec![batch], Durability::Durable).await;
    answers.remove(0)
}

pub(crate) fn name(path: &Path) -> String {
    path.file_name().unwrap().to_string_lossy().into_owned()
}
