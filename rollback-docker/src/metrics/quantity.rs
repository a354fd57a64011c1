//! What can be asked of a container: the language of [`DockerMetrics`](super::DockerMetrics).

use rollback_core::model::{Query, ReadError};

/// A level of one container, or of all that are in scope.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Quantity {
    /// The word of the health check.
    Health,
    /// `up` or `down`.
    Up,
    /// The engine's word for the state.
    Status,
    /// Health checks that failed in a row.
    FailingStreak,
    /// How often the engine started it again.
    Restarts,
    /// Of a container that ended.
    ExitCode,
    /// Whether it was killed for want of memory.
    OomKilled,
    /// Share of its CPU limit.
    CpuUsage,
    /// CPUs in use.
    Cpus,
    /// Working set in bytes.
    Memory,
    /// Share of its memory limit.
    MemoryUsage,
    /// Bytes a second that came in.
    NetworkReceived,
    /// Bytes a second that went out.
    NetworkSent,
    /// Bytes that it wrote over its image.
    Disk,
    /// Processes and threads.
    Processes,
}

/// Events that the engine counts for a container.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Counted {
    /// Starts by the engine after the first, of all starts.
    Restarts,
    /// Scheduler periods in which it was held back by its CPU limit, of all periods.
    Throttled,
    /// Packets lost or broken, of all packets.
    NetworkErrors,
}

/// How several containers answer as one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Together {
    /// The worst word.
    Worst,
    /// The highest number: one that is in need must not hide behind others that are well.
    Highest,
    /// All of them added up.
    Sum,
}

/// What the engine must be asked for an answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Needs {
    /// Its counters now.
    pub(crate) stats: bool,
    /// Its counters at two times.
    pub(crate) rate: bool,
    /// The size of its writable layer, which the engine measures on the disk.
    pub(crate) size: bool,
}

/// A query as it was understood.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Question {
    /// `query:`
    Value(Quantity),
    /// `bad:` and `total:`
    Counts(Counted),
}

/// Every quantity by its name, with how several containers answer and what it takes.
const QUANTITIES: [(&str, Quantity, Together, Needs); 15] = {
    use Quantity as Q;
    use Together::{Highest, Sum, Worst};
    const STATE: Needs = needs(false, false, false);
    const STATS: Needs = needs(true, false, false);
    const RATE: Needs = needs(true, true, false);
    [
        ("health", Q::Health, Worst, STATE),
        ("up", Q::Up, Worst, STATE),
        ("status", Q::Status, Worst, STATE),
        ("failing_streak", Q::FailingStreak, Highest, STATE),
        ("restarts", Q::Restarts, Sum, STATE),
        ("exit_code", Q::ExitCode, Highest, STATE),
        ("oom_killed", Q::OomKilled, Sum, STATE),
        ("cpu_usage", Q::CpuUsage, Highest, RATE),
        ("cpus", Q::Cpus, Sum, RATE),
        ("memory", Q::Memory, Sum, STATS),
        ("memory_usage", Q::MemoryUsage, Highest, STATS),
        ("network_received", Q::NetworkReceived, Sum, RATE),
        ("network_sent", Q::NetworkSent, Sum, RATE),
        ("disk", Q::Disk, Sum, needs(false, false, true)),
        ("processes", Q::Processes, Sum, STATS),
    ]
};

/// The pairs that can be counted: `bad`, `total`.
const COUNTED: [(&str, &str, Counted, Needs); 3] = [
    (
        "restarts",
        "starts",
        Counted::Restarts,
        needs(false, false, false),
    ),
    (
        "throttled_periods",
        "periods",
        Counted::Throttled,
        needs(true, false, false),
    ),
    (
        "network_errors",
        "network_packets",
        Counted::NetworkErrors,
        needs(true, false, false),
    ),
];

const fn needs(stats: bool, rate: bool, size: bool) -> Needs {
    Needs { stats, rate, size }
}

impl Needs {
    /// What both need.
    pub(crate) const fn and(self, other: Self) -> Self {
        needs(
            self.stats || other.stats,
            self.rate || other.rate,
            self.size || other.size,
        )
    }
}

impl Quantity {
    pub(crate) fn together(self) -> Together {
        QUANTITIES
            .iter()
            .find(|(_, quantity, ..)| *quantity == self)
            .map_or(Together::Worst, |(_, _, together, _)| *together)
    }
}

impl Question {
    /// Reads a query; one that is not known is refused with all that are.
    pub(crate) fn of(query: &Query) -> Result<Self, ReadError> {
        match query {
            Query::Value(name) => QUANTITIES
                .iter()
                .find(|(known, ..)| *known == name.trim())
                .map(|(_, quantity, ..)| Self::Value(*quantity))
                .ok_or_else(|| unknown(name)),
            Query::Counts { bad, total } => COUNTED
                .iter()
                .find(|(known, of, ..)| *known == bad.trim() && *of == total.trim())
                .map(|(_, _, counted, _)| Self::Counts(*counted))
                .ok_or_else(|| uncountable(bad, total)),
        }
    }

    pub(crate) fn needs(self) -> Needs {
        match self {
            Self::Value(asked) => QUANTITIES
                .iter()
                .find(|(_, quantity, ..)| *quantity == asked)
                .map(|(.., needs)| *needs),
            Self::Counts(asked) => COUNTED
                .iter()
                .find(|(_, _, counted, _)| *counted == asked)
                .map(|(.., needs)| *needs),
        }
        .unwrap_or_default()
    }
}

fn unknown(name: &str) -> ReadError {
    let mut known: Vec<&str> = QUANTITIES.iter().map(|(name, ..)| *name).collect();
    known.sort_unstable();
    let hint = match name.trim() {
        "disk_usage" | "disk_free" => {
            "; the engine does not tell how full a disk is, `disk` is what the container wrote over its image"
        }
        _ => "",
    };
    ReadError::BadQuery {
        why: format!(
            "`{name}` is not what the engine tells of a container; there are {}{hint}",
            known.join(", ")
        ),
    }
}

fn uncountable(bad: &str, total: &str) -> ReadError {
    let known: Vec<String> = COUNTED
        .iter()
        .map(|(bad, total, ..)| format!("`{bad}` of `{total}`"))
        .collect();
    ReadError::BadQuery {
        why: format!(
            "`{bad}` of `{total}` is not counted by the engine; there are {}",
            known.join(", ")
        ),
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;

    #[test]
    fn every_name_is_one_quantity() {
        for (index, (name, quantity, together, needs)) in QUANTITIES.iter().enumerate() {
            let query = Query::Value(Arc::from(*name));
            assert_eq!(
                Question::of(&query),
                Ok(Question::Value(*quantity)),
                "{name}"
            );
            assert_eq!(Question::Value(*quantity).needs(), *needs, "{name}");
            assert_eq!(quantity.together(), *together, "{name}");
            assert!(
                !needs.rate || needs.stats,
                "{name}: a rate is made of counters"
            );
            let others = QUANTITIES.iter().skip(index + 1);
            assert!(
                others.into_iter().all(|(other, ..)| other != name),
                "{name}"
            );
        }
    }

    #[test]
    fn what_is_not_known_is_refused_with_what_is() {
        let ask = |query| match Question::of(&query) {
            Err(ReadError::BadQuery { why }) => why,
            other => panic!("{other:?}"),
        };
        for (query, says) in [
            (Query::Value("cpu".into()), "cpu_usage, cpus"),
            (Query::Value("".into()), "there are"),
            (Query::Value("disk_usage".into()), "how full a disk is"),
            (
                Query::Counts {
                    bad: "restarts".into(),
                    total: "periods".into(),
                },
                "`restarts` of `starts`",
            ),
        ] {
            let why = ask(query.clone());
            assert!(why.contains(says), "{query:?}: {why}");
        }
    }

    #[test]
    fn counted_pairs_are_found() {
        for (bad, total, counted, needs) in COUNTED {
            let query = Query::Counts {
                bad: bad.into(),
                total: total.into(),
            };
            let question = Question::Counts(counted);
            assert_eq!(Question::of(&query), Ok(question));
            assert_eq!(question.needs(), needs);
        }
    }
}
