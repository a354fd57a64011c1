//! A controller's process is killed at any moment; what it was answered is there.

#![allow(clippy::unwrap_used, clippy::panic, reason = "this is test code")]

mod support;

use std::{
    collections::BTreeMap,
    io::{BufRead, BufReader, Write},
    path::Path,
    process::{Command, Stdio},
    time::{Duration, Instant},
};

use rollback_core::{
    model::{Seq, ServiceId},
    ports::{Durability, Journal},
};
use rollback_store::{SqliteJournal, verify};
use support::{TTL, batch, entry, service};

const FILE: &str = "ROLLBACK_STORE_CRASH_FILE";
const SERVICES: [&str; 3] = ["a", "b", "c"];

/// Not a test by itself: the process that is killed. It appends for ever and says on stdout which
/// durable appends were answered.
#[tokio::test]
async fn the_process_that_is_killed() {
    let Some(file) = std::env::var_os(FILE) else {
        return;
    };
    let journal = SqliteJournal::open(file).unwrap();
    let mut writers = Vec::new();
    for name in SERVICES {
        let (journal, of) = (journal.clone(), service(name));
        writers.push(async move {
            let lease = journal.acquire(&of, "me", TTL).await.unwrap();
            let (epoch, mut next) = (lease.epoch.get(), lease.last.get() + 1);
            loop {
                let durability = [Durability::Durable, Durability::Buffered][next as usize % 2];
                let last = next + next % 3;
                let appended = vec![batch(&of, epoch, next..=last)];
                assert_eq!(
                    journal.append(appended, durability).await,
                    [Ok(Seq::new(last))]
                );
                if durability == Durability::Durable {
                    let line = format!("\nanswered {of} {last}\n");
                    std::io::stdout().lock().write_all(line.as_bytes()).unwrap();
                }
                next = last + 1;
            }
        });
    }
    for writer in writers {
        tokio::spawn(writer);
    }
    std::future::pending().await
}

fn spawn(file: &Path) -> std::process::Child {
    Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "the_process_that_is_killed", "--nocapture"])
        .env(FILE, file)
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap()
}

/// A small generator, so that a failure can be repeated from the number it prints.
fn random(state: &mut u64) -> u64 {
    *state = state
        .wrapping_mul(6_364_136_223_846_793_005)
        .wrapping_add(1_442_695_040_888_963_407);
    *state >> 33
}

fn answered(line: &str) -> Option<(ServiceId, Seq)> {
    let mut words = line.strip_prefix("answered ")?.split(' ');
    Some((
        service(words.next()?),
        Seq::new(words.next()?.parse().ok()?),
    ))
}

#[tokio::test]
async fn every_answered_durable_append_survives_a_kill() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("rollback.db");
    let mut seed = u64::from(std::process::id());
    println!("seed {seed}");
    let mut known: BTreeMap<ServiceId, Seq> = BTreeMap::new();
    for round in 0..32 {
        let mut child = spawn(&file);
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let mut note = |line: &str| {
            answered(line)
                .map(|(of, last)| known.insert(of, last))
                .is_some()
        };
        let mut wanted = 1 + random(&mut seed) % 60;
        while wanted > 0 {
            let line = lines
                .next()
                .expect("the process runs until it is killed")
                .unwrap();
            wanted -= u64::from(note(&line));
        }
        let until = Instant::now() + Duration::from_micros(random(&mut seed) % 2000);
        while Instant::now() < until {}
        child.kill().unwrap();
        child.wait().unwrap();
        for line in lines {
            note(&line.unwrap());
        }
        let audit = verify(&file).unwrap();
        assert!(audit.is_intact(), "round {round}: {audit}");
        let journal = SqliteJournal::open(&file).unwrap();
        for (of, last) in &known {
            let read = journal.read(of, Seq::new(0), usize::MAX).await.unwrap();
            assert!(
                read.len() as u64 >= last.get(),
                "round {round}: {of} ends with {}",
                read.len()
            );
            for (found, number) in read.iter().zip(1..) {
                assert_eq!(*found, entry(found.epoch.get(), number));
            }
            assert!(read.is_sorted_by_key(|entry| entry.epoch));
        }
    }
    assert_eq!(known.len(), SERVICES.len());
}

#[tokio::test]
async fn a_kill_while_the_file_is_made_leaves_one_that_opens() {
    let mut seed = u64::from(std::process::id());
    println!("seed {seed}");
    let mut made = 0;
    for round in 0..16 {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("rollback.db");
        let mut child = spawn(&file);
        let start = Instant::now();
        while !file.exists() && start.elapsed() < Duration::from_secs(10) {}
        let until = Instant::now() + Duration::from_micros(random(&mut seed) % 6000);
        while Instant::now() < until {}
        child.kill().unwrap();
        child.wait().unwrap();
        made += usize::from(file.exists());
        let journal =
            SqliteJournal::open(&file).unwrap_or_else(|error| panic!("round {round}: {error}"));
        journal.acquire(&service("a"), "me", TTL).await.unwrap();
        drop(journal);
        assert!(verify(&file).unwrap().is_intact());
    }
    assert_eq!(made, 16);
}
