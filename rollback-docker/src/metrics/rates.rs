//! Counters at two times: how fast something went.

use std::{collections::BTreeMap, time::Duration};

use rollback_core::model::Timestamp;

use super::seen::Stats;

/// Counters closer together say more about the moment of the look than about the container.
pub(crate) const CLOSEST: Duration = Duration::from_millis(900);
/// What is older is forgotten.
const OLDEST: Duration = Duration::from_secs(600);
/// How many looks at one container are remembered.
const LOOKS: usize = 64;

/// Earlier looks at containers.
#[derive(Debug, Default)]
pub(crate) struct Looks(BTreeMap<String, Looked>);

#[derive(Debug)]
struct Looked {
    /// The start that the counters count from: a container that was started again counts anew.
    started: Option<Timestamp>,
    /// Oldest first.
    stats: Vec<Stats>,
}

impl Looks {
    /// Remembers a look, and forgets what is too old.
    pub(crate) fn remember(&mut self, container: &str, started: Option<Timestamp>, now: Stats) {
        let horizon = now.at.before(OLDEST);
        self.0
            .retain(|_, looked| looked.stats.last().is_some_and(|last| last.at >= horizon));
        let looked = self
            .0
            .entry(container.to_owned())
            .or_insert_with(|| Looked {
                started,
                stats: Vec::new(),
            });
        if looked.started != started {
            looked.started = started;
            looked.stats.clear();
        }
        if looked.stats.last().is_some_and(|last| last.at >= now.at) {
            return;
        }
        looked.stats.push(now);
        let surplus = looked.stats.len().saturating_sub(LOOKS);
        let old = looked.stats.iter().filter(|one| one.at < horizon).count();
        looked.stats.drain(..surplus.max(old));
    }

    /// The look to compare `now` with: of those not too close to it, the one nearest to `from`.
    pub(crate) fn before(
        &self,
        container: &str,
        started: Option<Timestamp>,
        now: Timestamp,
        from: Timestamp,
    ) -> Option<Stats> {
        let looked = self.0.get(container)?;
        if looked.started != started {
            return None;
        }
        let latest = now.before(CLOSEST);
        let apart = |at: Timestamp| at.since(from).max(from.since(at));
        looked
            .stats
            .iter()
            .filter(|one| one.at <= latest)
            .min_by_key(|one| apart(one.at))
            .copied()
    }
}

/// How much a counter rose in a second; none if it fell, or no time passed.
#[expect(
    clippy::cast_precision_loss,
    reason = "bytes and nanoseconds within minutes; 53 bits are plenty"
)]
pub(crate) fn per_second(before: (Timestamp, u64), now: (Timestamp, u64)) -> Option<f64> {
    let rose = now.1.checked_sub(before.1)?;
    let seconds = now.0.since(before.0).as_secs_f64();
    (seconds > 0.0).then(|| rose as f64 / seconds)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(millis: i64) -> Timestamp {
        Timestamp::from_millis(1_000_000 + millis)
    }

    fn stats(millis: i64) -> Stats {
        Stats {
            at: at(millis),
            cpu: None,
            periods: None,
            memory: None,
            network: None,
            processes: None,
        }
    }

    #[test]
    fn the_look_nearest_to_the_begin_of_the_window_is_compared() {
        let mut looks = Looks::default();
        for millis in [0, 5_000, 10_000, 10_500] {
            looks.remember("a", Some(at(0)), stats(millis));
        }
        let before = |now, from| {
            let found = looks.before("a", Some(at(0)), at(now), at(from));
            found.map(|stats| stats.at.as_millis() - 1_000_000)
        };
        for (now, from, found) in [
            (11_000, 1_000, Some(0)),
            (11_000, 4_000, Some(5_000)),
            // The last one is too close to now.
            (11_000, 10_400, Some(10_000)),
            (20_000, 10_400, Some(10_500)),
            (500, 0, None),
        ] {
            assert_eq!(before(now, from), found, "{now} from {from}");
        }
    }

    #[test]
    fn another_start_counts_anew() {
        let mut looks = Looks::default();
        looks.remember("a", Some(at(0)), stats(0));
        assert_eq!(looks.before("a", Some(at(1)), at(9_000), at(0)), None);
        looks.remember("a", Some(at(1)), stats(5_000));
        let found = looks.before("a", Some(at(1)), at(9_000), at(0));
        assert_eq!(found, Some(stats(5_000)));
        assert_eq!(looks.before("b", Some(at(1)), at(9_000), at(0)), None);
    }

    #[test]
    fn memory_is_bounded() {
        let mut looks = Looks::default();
        looks.remember("gone", None, stats(0));
        for second in 0..1_000 {
            looks.remember("a", None, stats(second * 1_000));
        }
        assert!(!looks.0.contains_key("gone"));
        assert_eq!(looks.0["a"].stats.len(), LOOKS);
        // The same look again is no other look.
        looks.remember("a", None, stats(999_000));
        assert_eq!(looks.0["a"].stats.len(), LOOKS);
        // After a long silence nothing old is compared.
        looks.remember("a", None, stats(9_999_000));
        assert_eq!(looks.0["a"].stats.len(), 1);
    }

    #[test]
    fn a_rate_is_a_rise_in_time() {
        for (before, now, rate) in [
            ((0, 100), (2_000, 300), Some(100.0)),
            ((0, 100), (2_000, 100), Some(0.0)),
            ((0, 100), (2_000, 99), None),
            ((0, 100), (0, 300), None),
        ] {
            let (before, now) = ((at(before.0), before.1), (at(now.0), now.1));
            assert_eq!(per_second(before, now), rate);
        }
    }
}
