//! What the users saw, folded from single requests: pure counting, no clock.
//!
//! Times are milliseconds since the Unix epoch, so that they stand beside the controller's.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// One request of one user, over.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Experience {
    /// Who answered; `None` when nobody did.
    pub(crate) release: Option<String>,
    /// When it was due to be sent. An open loop sends on time, however slow the answers are.
    pub(crate) sent_ms: u64,
    /// When the user had the answer, or gave up.
    pub(crate) seen_ms: u64,
    /// What went wrong, if anything did.
    pub(crate) failure: Option<Why>,
}

/// Why a request counts as failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Why {
    /// A 5xx answer.
    ServerError(u16),
    /// No answer within the user's patience.
    TimedOut,
    /// No connection, or one that broke.
    Disconnected,
}

/// One failed request.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Failure {
    /// When it was sent.
    pub(crate) sent_ms: u64,
    /// When the user knew.
    pub(crate) seen_ms: u64,
    /// What went wrong.
    pub(crate) why: Why,
}

/// What was seen of one release.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct SeenOf {
    /// Answers below 500.
    pub(crate) ok: u64,
    /// Everything else.
    pub(crate) failed: u64,
    /// Of these, seen at or after the asked time.
    pub(crate) failed_since: u64,
    /// The first by the time it was seen.
    pub(crate) first_failure: Option<Failure>,
    /// The last by the time it was seen.
    pub(crate) last_failure: Option<Failure>,
    /// How long the answers took, in milliseconds.
    pub(crate) latency: Quantiles,
}

/// Nearest-rank quantiles of the latency of everything seen, failed requests included, in milliseconds.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Quantiles {
    pub(crate) p50_ms: u64,
    pub(crate) p95_ms: u64,
    pub(crate) p99_ms: u64,
}

/// What all users saw, by release; `-` is "nobody answered".
pub(crate) type Summary = BTreeMap<String, SeenOf>;

/// The name under which requests stand that nobody answered.
pub(crate) const NOBODY: &str = "-";

/// Everything seen so far.
#[derive(Debug, Default)]
pub(crate) struct Seen {
    releases: BTreeMap<String, Log>,
}

#[derive(Debug, Default)]
struct Log {
    ok: u64,
    failures: Vec<Failure>,
    latencies_ms: Vec<u64>,
}

impl Seen {
    /// Takes in one more request.
    pub(crate) fn add(&mut self, experience: &Experience) {
        let release = experience.release.as_deref().unwrap_or(NOBODY);
        if !self.releases.contains_key(release) {
            self.releases.insert(release.to_owned(), Log::default());
        }
        let Some(log) = self.releases.get_mut(release) else {
            return;
        };
        let &Experience {
            sent_ms, seen_ms, ..
        } = experience;
        log.latencies_ms.push(seen_ms.saturating_sub(sent_ms));
        match experience.failure {
            None => log.ok += 1,
            Some(why) => log.failures.push(Failure {
                sent_ms,
                seen_ms,
                why,
            }),
        }
    }

    /// What was seen of every release; `since_ms` is where [`SeenOf::failed_since`] starts to count.
    pub(crate) fn summary(&self, since_ms: u64) -> Summary {
        let of = |(release, log): (&String, &Log)| (release.clone(), log.summary(since_ms));
        self.releases.iter().map(of).collect()
    }

    /// Whether nothing was seen at all.
    pub(crate) fn is_empty(&self) -> bool {
        self.releases.is_empty()
    }
}

impl Log {
    fn summary(&self, since_ms: u64) -> SeenOf {
        let failures = &self.failures;
        SeenOf {
            ok: self.ok,
            failed: failures.len() as u64,
            failed_since: failures
                .iter()
                .filter(|failure| failure.seen_ms >= since_ms)
                .count() as u64,
            first_failure: failures
                .iter()
                .min_by_key(|failure| failure.seen_ms)
                .copied(),
            last_failure: failures
                .iter()
                .max_by_key(|failure| failure.seen_ms)
                .copied(),
            latency: Quantiles::of(&self.latencies_ms),
        }
    }
}

impl Quantiles {
    fn of(latencies_ms: &[u64]) -> Self {
        let mut sorted = latencies_ms.to_vec();
        sorted.sort_unstable();
        let rank = |percent: usize| {
            let rank = (sorted.len() * percent).div_ceil(100).saturating_sub(1);
            sorted.get(rank).copied().unwrap_or(0)
        };
        Self {
            p50_ms: rank(50),
            p95_ms: rank(95),
            p99_ms: rank(99),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn request(release: &str, sent_ms: u64, took_ms: u64, failure: Option<Why>) -> Experience {
        let release = (release != NOBODY).then(|| release.to_owned());
        Experience {
            release,
            sent_ms,
            seen_ms: sent_ms + took_ms,
            failure,
        }
    }

    #[test]
    fn failures_are_counted_by_release_and_by_the_time_they_were_seen() {
        let mut seen = Seen::default();
        assert!(seen.is_empty());
        for experience in [
            request("v1", 1000, 5, None),
            // Sent first, seen last: a time-out.
            request("v2", 1010, 2000, Some(Why::TimedOut)),
            request("v2", 1020, 4, Some(Why::ServerError(500))),
            request("v2", 1030, 6, None),
            request("-", 1040, 1, Some(Why::Disconnected)),
        ] {
            seen.add(&experience);
        }
        let summary = seen.summary(1500);
        assert_eq!(summary.keys().collect::<Vec<_>>(), ["-", "v1", "v2"]);
        assert_eq!(
            (
                summary["v1"].ok,
                summary["v1"].failed,
                summary["v1"].first_failure
            ),
            (1, 0, None)
        );
        let v2 = &summary["v2"];
        assert_eq!((v2.ok, v2.failed, v2.failed_since), (1, 2, 1));
        assert_eq!(v2.first_failure.unwrap().seen_ms, 1024);
        assert_eq!(
            v2.last_failure,
            Some(Failure {
                sent_ms: 1010,
                seen_ms: 3010,
                why: Why::TimedOut
            })
        );
        assert_eq!(seen.summary(0)["v2"].failed_since, 2);
        assert_eq!(seen.summary(3010)["v2"].failed_since, 1);
        assert_eq!(seen.summary(3011)["v2"].failed_since, 0);
    }

    #[test]
    fn quantiles_are_nearest_rank() {
        let table: [(Vec<u64>, [u64; 3]); 4] = [
            (vec![], [0, 0, 0]),
            (vec![7], [7, 7, 7]),
            ((1..=100).rev().collect(), [50, 95, 99]),
            (vec![10, 20, 30], [20, 30, 30]),
        ];
        for (latencies, [p50_ms, p95_ms, p99_ms]) in table {
            assert_eq!(
                Quantiles::of(&latencies),
                Quantiles {
                    p50_ms,
                    p95_ms,
                    p99_ms
                }
            );
        }
    }
}
