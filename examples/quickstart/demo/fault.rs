//! What can be wrong with a release of the demo's shop, and when it strikes. Pure: the shop brings the clock.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

/// The fault that a release of the shop carries. Written as on the command line: `error-rate:0.3`.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum Fault {
    /// Nothing is wrong.
    Healthy,
    /// This share of the answers is a 500. The health check notices nothing.
    ErrorRate(Share),
    /// The process dies, each time that it was started.
    CrashLoop(Onset),
    /// Connections are accepted and nothing is answered any more, health included.
    Hang(Onset),
    /// Every answer takes between the two.
    Slow { least: Duration, most: Duration },
    /// So many KiB are kept after every request, for ever.
    MemoryLeak(u32),
    /// All answers are a 500 for the first stretch of every so long a time.
    Flapping { bad: Duration, every: Duration },
    /// Only the request with this number fails.
    Once(u64),
}

/// A share in (0, 1].
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Share(f64);

/// From when on a fault strikes: after so long a life, or after so many requests.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Onset {
    Life(Duration),
    Requests(u64),
}

/// What happens to one request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fate {
    Answered,
    AnsweredAfter(Duration),
    Failed,
    NeverAnswered,
    Crashes,
}

/// A fault that cannot be understood.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error(
    "unknown fault {0:?}; write healthy, error-rate:0.3, crash-loop:1.5s or crash-loop:40 (requests), \
     hang:1.5s or hang:40, slow:1s-3s, memory-leak:512 (KiB a request), flapping:1.5s/4s, or once:3 (request)"
)]
pub(crate) struct UnknownFault(String);

impl Fault {
    /// What happens to the request with this number (counted from 0) in a process of this age.
    ///
    /// The same number always meets the same fate; no dice are thrown.
    pub(crate) fn fate(self, number: u64, age: Duration) -> Fate {
        match self {
            Self::Healthy | Self::MemoryLeak(_) => Fate::Answered,
            Self::Flapping { bad, every } if within(age, every) < bad => Fate::Failed,
            Self::Once(unlucky) if unlucky == number => Fate::Failed,
            Self::Flapping { .. } | Self::Once(_) => Fate::Answered,
            Self::ErrorRate(share) if share.strikes(number) => Fate::Failed,
            Self::ErrorRate(_) => Fate::Answered,
            Self::CrashLoop(onset) if onset.reached(number, age) => Fate::Crashes,
            Self::Hang(onset) if onset.reached(number, age) => Fate::NeverAnswered,
            Self::CrashLoop(_) | Self::Hang(_) => Fate::Answered,
            // A stride of 7 in steps of tenths visits every delay between the two before it repeats.
            Self::Slow { least, most } => {
                let tenths = u32::try_from(number.wrapping_mul(7) % 11).unwrap_or(0);
                Fate::AnsweredAfter(least + most.saturating_sub(least) * tenths / 10)
            }
        }
    }

    /// How many bytes stay behind after each request.
    pub(crate) fn leaks(self) -> usize {
        match self {
            Self::MemoryLeak(kib) => usize::try_from(kib).unwrap_or(0) * 1024,
            _ => 0,
        }
    }

    /// After how long a life the process dies without being asked anything.
    pub(crate) fn dies_at(self) -> Option<Duration> {
        match self {
            Self::CrashLoop(Onset::Life(age)) => Some(age),
            _ => None,
        }
    }

    /// Whether a process that has seen this many requests is hung.
    pub(crate) fn hung(self, requests: u64, age: Duration) -> bool {
        matches!(self, Self::Hang(onset) if onset.reached(requests, age))
    }
}

/// How far into the stretch that is under way.
fn within(age: Duration, every: Duration) -> Duration {
    let millis = age.as_millis() % every.as_millis().max(1);
    Duration::from_millis(u64::try_from(millis).unwrap_or(0))
}

impl Share {
    /// Exactly `share` of any long run of numbers, evenly spread.
    fn strikes(self, number: u64) -> bool {
        // Exact up to 2^53 requests.
        let upto = |count: u64| (count as f64 * self.0).floor();
        upto(number.saturating_add(1)) > upto(number)
    }
}

impl Onset {
    fn reached(self, requests: u64, age: Duration) -> bool {
        match self {
            Self::Life(life) => age >= life,
            Self::Requests(limit) => requests >= limit,
        }
    }
}

impl FromStr for Fault {
    type Err = UnknownFault;

    fn from_str(text: &str) -> Result<Self, UnknownFault> {
        let unknown = || UnknownFault(text.to_owned());
        let (name, detail) = match text.split_once(':') {
            Some((name, detail)) => (name, Some(detail)),
            None => (text, None),
        };
        let onset = |detail: Option<&str>| match detail {
            None => Some(Onset::Life(Duration::from_millis(1500))),
            Some(detail) => seconds(detail)
                .map(Onset::Life)
                .or_else(|| detail.parse().ok().map(Onset::Requests)),
        };
        let fault = match (name, detail) {
            ("healthy", None) => Some(Self::Healthy),
            ("error-rate", detail) => detail
                .unwrap_or("0.3")
                .parse()
                .ok()
                .filter(|share| *share > 0.0 && *share <= 1.0)
                .map(|share| Self::ErrorRate(Share(share))),
            ("crash-loop", detail) => onset(detail).map(Self::CrashLoop),
            ("hang", detail) => onset(detail).map(Self::Hang),
            ("slow", detail) => detail
                .unwrap_or("1s-3s")
                .split_once('-')
                .and_then(|(least, most)| Some((seconds(least)?, seconds(most)?)))
                .filter(|(least, most)| least <= most)
                .map(|(least, most)| Self::Slow { least, most }),
            ("memory-leak", Some(kib)) => kib.parse().ok().map(Self::MemoryLeak),
            ("flapping", Some(detail)) => detail
                .split_once('/')
                .and_then(|(bad, every)| Some((seconds(bad)?, seconds(every)?)))
                .filter(|(bad, every)| bad < every)
                .map(|(bad, every)| Self::Flapping { bad, every }),
            ("once", Some(number)) => number.parse().ok().map(Self::Once),
            _ => None,
        };
        fault.ok_or_else(unknown)
    }
}

/// `1.5s` as a duration; anything else is `None`.
fn seconds(text: &str) -> Option<Duration> {
    let number = text.strip_suffix('s')?.parse().ok()?;
    Duration::try_from_secs_f64(number).ok()
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Healthy => f.write_str("healthy"),
            Self::ErrorRate(share) => write!(f, "error-rate:{}", share.0),
            Self::CrashLoop(onset) => write!(f, "crash-loop:{onset}"),
            Self::Hang(onset) => write!(f, "hang:{onset}"),
            Self::Slow { least, most } => {
                write!(f, "slow:{}s-{}s", least.as_secs_f64(), most.as_secs_f64())
            }
            Self::MemoryLeak(kib) => write!(f, "memory-leak:{kib}"),
            Self::Flapping { bad, every } => {
                write!(
                    f,
                    "flapping:{}s/{}s",
                    bad.as_secs_f64(),
                    every.as_secs_f64()
                )
            }
            Self::Once(number) => write!(f, "once:{number}"),
        }
    }
}

impl fmt::Display for Onset {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Life(age) => write!(f, "{}s", age.as_secs_f64()),
            Self::Requests(count) => write!(f, "{count}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const YOUNG: Duration = Duration::ZERO;

    fn fault(text: &str) -> Fault {
        text.parse().unwrap()
    }

    #[test]
    fn every_fault_reads_back_as_it_is_written() {
        for text in [
            "healthy",
            "error-rate:0.3",
            "crash-loop:1.5s",
            "crash-loop:40",
            "hang:2s",
            "hang:40",
            "slow:1s-3s",
            "memory-leak:512",
            "flapping:1.5s/4s",
            "once:3",
        ] {
            assert_eq!(fault(text).to_string(), text);
        }
        assert_eq!(fault("crash-loop"), fault("crash-loop:1.5s"));
        assert_eq!(fault("error-rate"), fault("error-rate:0.3"));
    }

    #[test]
    fn what_makes_no_sense_is_refused_with_the_choices() {
        for text in [
            "",
            "errors",
            "error-rate:0",
            "error-rate:1.5",
            "error-rate:NaN",
            "healthy:1",
            "slow:3s-1s",
            "slow:1s",
            "crash-loop:-1s",
            "hang:soon",
            "crash-loop:1.5",
            "flapping:4s/4s",
            "memory-leak",
            "once:soon",
        ] {
            let error = text.parse::<Fault>().unwrap_err().to_string();
            assert!(
                error.contains(&format!("{text:?}")) && error.contains("slow:1s-3s"),
                "{error}"
            );
        }
    }

    #[test]
    fn an_error_rate_is_exact_in_every_hundred_and_evenly_spread() {
        let failed = |from: u64| {
            (from..from + 100)
                .filter(|n| fault("error-rate:0.3").fate(*n, YOUNG) == Fate::Failed)
                .count()
        };
        for from in [0, 100, 12_300, 1_000_000] {
            assert_eq!(failed(from), 30, "from {from}");
        }
        assert!((0..10).any(|n| fault("error-rate:0.3").fate(n, YOUNG) == Fate::Failed));
        assert_eq!(fault("error-rate:1").fate(0, YOUNG), Fate::Failed);
    }

    #[test]
    fn each_fault_strikes_when_it_should() {
        let old = Duration::from_millis(1500);
        let table = [
            ("crash-loop:3", 2, YOUNG, Fate::Answered),
            ("crash-loop:3", 3, YOUNG, Fate::Crashes),
            (
                "crash-loop:1.5s",
                9,
                old - Duration::from_millis(1),
                Fate::Answered,
            ),
            ("crash-loop:1.5s", 0, old, Fate::Crashes),
            ("hang:3", 2, old, Fate::Answered),
            ("hang:3", 3, YOUNG, Fate::NeverAnswered),
            ("hang:1.5s", 0, old, Fate::NeverAnswered),
            ("flapping:1s/4s", 7, YOUNG, Fate::Failed),
            ("flapping:1s/4s", 7, old, Fate::Answered),
            ("flapping:1s/4s", 7, old * 3, Fate::Failed),
            ("once:2", 2, old, Fate::Failed),
            ("once:2", 3, old, Fate::Answered),
            ("memory-leak:512", 3, old, Fate::Answered),
        ];
        for (text, number, age, fate) in table {
            assert_eq!(
                fault(text).fate(number, age),
                fate,
                "{text} {number} {age:?}"
            );
        }
        assert_eq!(fault("crash-loop:1.5s").dies_at(), Some(old));
        assert_eq!(fault("crash-loop:3").dies_at(), None);
        assert!(fault("hang:3").hung(3, YOUNG) && !fault("hang:3").hung(2, old));
        assert!(!fault("crash-loop:3").hung(9, old));
    }

    #[test]
    fn slow_answers_cover_the_range_between_their_bounds() {
        let delays: std::collections::BTreeSet<_> = (0..11)
            .map(|n| match fault("slow:1s-3s").fate(n, YOUNG) {
                Fate::AnsweredAfter(delay) => delay.as_millis(),
                other => panic!("{other:?}"),
            })
            .collect();
        assert_eq!(delays.len(), 11);
        assert_eq!(delays.first(), Some(&1000));
        assert_eq!(delays.last(), Some(&3000));
    }
}
