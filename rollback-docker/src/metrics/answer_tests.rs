//! Tables: what was seen, and what it answers.

use rollback_core::model::{ReadError, Sample, Timestamp};

use super::{
    answer::{Look, answer},
    quantity::{Counted, Quantity, Question},
    seen::{Container, Health, Network, Stats},
};

fn at(millis: i64) -> Timestamp {
    Timestamp::from_millis(1_000_000 + millis)
}

fn stats(millis: i64, cpu: u64, received: u64) -> Stats {
    Stats {
        at: at(millis),
        cpu: Some(cpu),
        periods: Some((3, 10)),
        memory: Some(30),
        network: Some(Network {
            received,
            sent: received * 2,
            failed: 1,
            packets: 7,
        }),
        processes: Some(2),
    }
}

/// Runs, with all limits, looked at twice within two seconds: half a CPU, 100 bytes a second.
fn look() -> Look {
    Look {
        container: Container {
            id: "c".to_owned(),
            service: None,
            created: Some(at(-9_000)),
            started: Some(at(-5_000)),
            status: Some("running".to_owned()),
            restarts: Some(2),
            exit_code: None,
            oom_killed: Some(true),
            health: Some(Health {
                word: "healthy".to_owned(),
                streak: Some(0),
            }),
            cpu_limit: Some(2.0),
            memory_limit: Some(120),
            written: Some(5),
        },
        now: Some(stats(2_000, 2_000_000_000, 300)),
        before: Some(stats(0, 1_000_000_000, 100)),
    }
}

fn looked(change: impl Fn(&mut Look)) -> Look {
    let mut look = look();
    change(&mut look);
    look
}

fn ended(code: i64) -> Look {
    looked(|look| {
        look.container.status = Some("exited".to_owned());
        look.container.exit_code = Some(code);
        (look.now, look.before) = (None, None);
    })
}

fn ask(quantity: Quantity, looks: &[Look]) -> Result<Sample, ReadError> {
    let looks: Vec<&Look> = looks.iter().collect();
    answer(Question::Value(quantity), &looks)
}

fn word(text: &str) -> Result<Sample, ReadError> {
    Ok(Sample::State(text.into()))
}

fn gauge(number: f64) -> Result<Sample, ReadError> {
    Ok(Sample::Gauge(number))
}

const EVERY: [Quantity; 15] = [
    Quantity::Health,
    Quantity::Up,
    Quantity::Status,
    Quantity::FailingStreak,
    Quantity::Restarts,
    Quantity::ExitCode,
    Quantity::OomKilled,
    Quantity::CpuUsage,
    Quantity::Cpus,
    Quantity::Memory,
    Quantity::MemoryUsage,
    Quantity::NetworkReceived,
    Quantity::NetworkSent,
    Quantity::Disk,
    Quantity::Processes,
];

#[test]
fn one_container_answers_by_itself() {
    let expected = [
        word("healthy"),
        word("up"),
        word("running"),
        gauge(0.0),
        gauge(2.0),
        Err(ReadError::NoData),
        gauge(1.0),
        gauge(0.25),
        gauge(0.5),
        gauge(30.0),
        gauge(0.25),
        gauge(100.0),
        gauge(200.0),
        gauge(5.0),
        gauge(2.0),
    ];
    for (quantity, expected) in EVERY.into_iter().zip(expected) {
        assert_eq!(ask(quantity, &[look()]), expected, "{quantity:?}");
    }
}

#[test]
fn nothing_seen_is_nothing_said() {
    let bare = Look {
        container: Container::default(),
        now: None,
        before: None,
    };
    for quantity in EVERY {
        assert_eq!(ask(quantity, &[]), Err(ReadError::NoData), "{quantity:?}");
        let answer = ask(quantity, std::slice::from_ref(&bare));
        assert!(
            matches!(answer, Err(ReadError::NoData | ReadError::BadQuery { .. })),
            "{quantity:?}: {answer:?}"
        );
        // One of two that could not be seen spoils the answer of both.
        let answer = ask(quantity, &[look(), bare.clone()]);
        assert!(answer.is_err(), "{quantity:?}: {answer:?}");
    }
}

#[test]
fn what_ended_has_no_measurements() {
    for quantity in EVERY {
        let answer = ask(quantity, &[ended(3)]);
        let expected = match quantity {
            Quantity::Health => word("stopped"),
            Quantity::Up => word("down"),
            Quantity::Status => word("exited"),
            Quantity::FailingStreak => gauge(0.0),
            Quantity::Restarts => gauge(2.0),
            Quantity::ExitCode => gauge(3.0),
            Quantity::OomKilled => gauge(1.0),
            Quantity::Disk => gauge(5.0),
            _ => Err(ReadError::NoData),
        };
        assert_eq!(answer, expected, "{quantity:?}");
    }
}

#[test]
fn several_answer_as_the_worst_or_as_their_sum() {
    let sick = looked(|look| {
        look.container.health = Some(Health {
            word: "unhealthy".to_owned(),
            streak: Some(4),
        });
        look.container.cpu_limit = Some(0.5);
        look.container.oom_killed = Some(false);
    });
    let both = [look(), sick];
    for (quantity, expected) in [
        (Quantity::Health, word("unhealthy")),
        (Quantity::Up, word("down")),
        (Quantity::Status, word("running")),
        (Quantity::FailingStreak, gauge(4.0)),
        (Quantity::Restarts, gauge(4.0)),
        (Quantity::OomKilled, gauge(1.0)),
        (Quantity::CpuUsage, gauge(1.0)),
        (Quantity::Cpus, gauge(1.0)),
        (Quantity::Memory, gauge(60.0)),
        (Quantity::NetworkReceived, gauge(200.0)),
    ] {
        assert_eq!(ask(quantity, &both), expected, "{quantity:?}");
    }
    let one_ended = [look(), ended(3), ended(137)];
    assert_eq!(ask(Quantity::ExitCode, &one_ended), gauge(137.0));
    assert_eq!(ask(Quantity::Status, &one_ended), word("exited"));
    assert_eq!(ask(Quantity::Health, &one_ended), word("stopped"));
}

#[test]
fn words_of_health() {
    for (health, health_word, up) in [
        ("starting", "starting", word("starting")),
        ("unhealthy", "unhealthy", word("down")),
        ("drowsy", "drowsy", Err(ReadError::NoData)),
    ] {
        let look = looked(|look| {
            look.container.health = Some(Health {
                word: health.to_owned(),
                streak: None,
            });
        });
        assert_eq!(
            ask(Quantity::Health, std::slice::from_ref(&look)),
            word(health_word)
        );
        assert_eq!(ask(Quantity::Up, std::slice::from_ref(&look)), up);
        assert_eq!(
            ask(Quantity::FailingStreak, &[look]),
            Err(ReadError::NoData)
        );
    }
    let frozen = looked(|look| look.container.status = Some("paused".to_owned()));
    assert_eq!(
        ask(Quantity::Up, std::slice::from_ref(&frozen)),
        word("down")
    );
    assert_eq!(
        ask(Quantity::Memory, std::slice::from_ref(&frozen)),
        gauge(30.0)
    );
    let without = looked(|look| look.container.health = None);
    assert_eq!(
        ask(Quantity::Up, std::slice::from_ref(&without)),
        word("up")
    );
    for quantity in [Quantity::Health, Quantity::FailingStreak] {
        let answer = ask(quantity, std::slice::from_ref(&without));
        assert!(
            matches!(&answer, Err(ReadError::BadQuery { why }) if why.contains("HEALTHCHECK")),
            "{answer:?}"
        );
    }
}

#[test]
fn no_limit_is_no_share() {
    let free = looked(|look| {
        look.container.cpu_limit = None;
        look.container.memory_limit = None;
    });
    for (quantity, says) in [
        (Quantity::CpuUsage, "`cpus`"),
        (Quantity::MemoryUsage, "`memory`"),
    ] {
        let answer = ask(quantity, std::slice::from_ref(&free));
        assert!(
            matches!(&answer, Err(ReadError::BadQuery { why }) if why.contains(says)),
            "{answer:?}"
        );
    }
    assert_eq!(ask(Quantity::Cpus, &[free]), gauge(0.5));
}

#[test]
fn one_look_is_no_rate() {
    let first = looked(|look| look.before = None);
    let later = Err(ReadError::NotYet {
        retry_at: at(2_900),
    });
    for quantity in [
        Quantity::CpuUsage,
        Quantity::Cpus,
        Quantity::NetworkReceived,
        Quantity::NetworkSent,
    ] {
        assert_eq!(
            ask(quantity, std::slice::from_ref(&first)),
            later,
            "{quantity:?}"
        );
    }
    // A container without a network has no rate to wait for.
    let alone = looked(|look| {
        look.before = None;
        look.now = look.now.map(|now| Stats {
            network: None,
            ..now
        });
    });
    assert_eq!(ask(Quantity::NetworkSent, &[alone]), Err(ReadError::NoData));
    // A counter that fell was not read since the same start.
    let fell = looked(|look| look.before = Some(stats(0, 9_000_000_000, 900)));
    assert_eq!(ask(Quantity::Cpus, &[fell]), Err(ReadError::NoData));
}

#[test]
fn counts_are_running_totals_of_one_container() {
    let count = |counted, looks: &[Look]| {
        let looks: Vec<&Look> = looks.iter().collect();
        answer(Question::Counts(counted), &looks)
    };
    for (counted, since, bad, total) in [
        (Counted::Restarts, at(-9_000), 2, 3),
        (Counted::Throttled, at(-5_000), 3, 10),
        (Counted::NetworkErrors, at(-5_000), 1, 7),
    ] {
        let expected = Sample::Cumulative { since, bad, total };
        assert_eq!(count(counted, &[look()]), Ok(expected), "{counted:?}");
        assert_eq!(count(counted, &[]), Err(ReadError::NoData), "{counted:?}");
        let several = count(counted, &[look(), look()]);
        assert!(
            matches!(&several, Err(ReadError::BadQuery { why }) if why.contains("per: instance")),
            "{several:?}"
        );
        let ended = count(counted, &[ended(1)]);
        assert_eq!(ended.is_ok(), counted == Counted::Restarts, "{counted:?}");
    }
}
