//! Shares of releases as HAProxy's weights of servers: whole numbers from 0 to 256, each relative
//! to the sum of its backend.

use rollback_core::model::Weight;

/// HAProxy's largest weight of a server.
const HEAVIEST: u32 = 256;
const WHOLE: u64 = 10_000;

/// One release in a division: its share, and how many servers it is spread over.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Portion {
    /// The share of all requests that the release should get.
    pub share: Weight,
    /// How many servers it has, at least one.
    pub servers: u32,
}

/// Weights for the servers of each release, and how far what they give is from what was asked.
///
/// ```
/// use rollback_core::model::Weight;
/// use rollback_traffic::{Division, Portion};
///
/// let share = |points| Weight::from_basis_points(points).unwrap();
/// let asked = [
///     Portion { share: share(9_000), servers: 3 },
///     Portion { share: share(1_000), servers: 1 },
/// ];
/// let division = Division::of(&asked);
/// assert_eq!(division.weights(0), [3, 3, 3]);
/// assert_eq!(division.weights(1), [1]);
/// assert_eq!(division.error(), 0.0);
/// ```
#[derive(Debug, Clone, PartialEq)]
pub struct Division {
    totals: Vec<u32>,
    servers: Vec<u32>,
    error: f64,
}

/// How good a division is; less is better, from the first field on.
#[derive(PartialEq, Eq, PartialOrd, Ord)]
struct Badness {
    /// How far off, in basis points: nobody can ask for less than one.
    points_off: u64,
    /// How unequal the servers of one release are, in millionths.
    uneven: u64,
    /// How far off, in billionths.
    off: u64,
    /// Small weights make a short round.
    sum: u64,
}

impl Division {
    /// The division with the least error: among those within the same basis point the one that
    /// treats the servers of a release most equally. Each release that has a share gets something.
    /// Releases without a share, or without a server, get nothing, and the others share the whole.
    #[must_use]
    pub fn of(asked: &[Portion]) -> Self {
        let takes_part = |p: &Portion| p.share > Weight::NONE && p.servers > 0;
        let whole: u64 = asked.iter().filter(|p| takes_part(p)).map(points).sum();
        let most: u32 = asked.iter().map(|p| p.servers).sum::<u32>().min(1_000) * HEAVIEST;
        let try_sum = |sum: u32| -> Vec<u32> {
            let total = |p: &Portion| {
                if !takes_part(p) {
                    return 0;
                }
                let exact = (points(p) * u64::from(sum) + whole / 2) / whole;
                let most = p.servers.saturating_mul(HEAVIEST);
                u32::try_from(exact).unwrap_or(most).clamp(1, most)
            };
            asked.iter().map(total).collect()
        };
        let judged = (1..=most.max(1)).map(|sum| {
            let totals = try_sum(sum);
            (badness(asked, &totals, whole), totals)
        });
        let best = judged.min_by(|(a, _), (b, _)| a.cmp(b));
        let (badness, totals) = best.map_or((None, Vec::new()), |(b, t)| (Some(b), t));
        Self {
            totals,
            servers: asked.iter().map(|p| p.servers).collect(),
            #[expect(clippy::cast_precision_loss, reason = "at most 1e9")]
            error: badness.map_or(0.0, |b| b.off as f64 / 1e9),
        }
    }

    /// The weights of the servers of the release at this place; they differ by one at most.
    #[must_use]
    pub fn weights(&self, place: usize) -> Vec<u16> {
        let (total, servers) = (self.total(place), self.servers.get(place).copied());
        let servers = servers.unwrap_or_default();
        let (Some(each), Some(more)) = (total.checked_div(servers), total.checked_rem(servers))
        else {
            return Vec::new();
        };
        let weight = |i: u32| u16::try_from(each + u32::from(i < more)).unwrap_or(u16::MAX);
        (0..servers).map(weight).collect()
    }

    /// The sum of the weights of the release at this place.
    #[must_use]
    pub fn total(&self, place: usize) -> u32 {
        self.totals.get(place).copied().unwrap_or_default()
    }

    /// The largest difference between a share as it is and as it was asked for: 0.01 is one of a
    /// hundred requests.
    #[must_use]
    pub const fn error(&self) -> f64 {
        self.error
    }
}

fn points(portion: &Portion) -> u64 {
    u64::from(portion.share.basis_points())
}

fn badness(asked: &[Portion], totals: &[u32], whole: u64) -> Badness {
    let sum: u64 = totals.iter().map(|total| u64::from(*total)).sum();
    let mut worst = Badness {
        points_off: 0,
        uneven: 0,
        off: 0,
        sum,
    };
    for (portion, total) in asked.iter().zip(totals).filter(|(_, total)| **total > 0) {
        let total = u64::from(*total);
        let off = (total * whole).abs_diff(points(portion) * sum) * 1_000_000_000 / (sum * whole);
        worst.off = worst.off.max(off);
        let (servers, each) = (
            u64::from(portion.servers),
            total / u64::from(portion.servers),
        );
        let uneven = match (total % servers, each) {
            (0, _) => 0,
            (_, 0) => 1_000_000,
            (_, each) => 1_000_000 / each,
        };
        worst.uneven = worst.uneven.max(uneven);
    }
    worst.points_off = worst.off / 100_000;
    worst
}

/// Shares that the sums of the weights give, to the nearest basis point; they add up to the whole.
pub(crate) fn shares(totals: &[u32]) -> Vec<Weight> {
    let sum: u64 = totals.iter().map(|total| u64::from(*total)).sum();
    if sum == 0 {
        return vec![Weight::NONE; totals.len()];
    }
    let exact = |total: &u32| u64::from(*total) * WHOLE;
    let mut points: Vec<u64> = totals.iter().map(|total| exact(total) / sum).collect();
    let mut order: Vec<usize> = (0..totals.len()).collect();
    let rest = |i: &usize| totals.get(*i).map_or(0, |total| exact(total) % sum);
    order.sort_by_key(|i| std::cmp::Reverse(rest(i)));
    let missing = WHOLE - points.iter().sum::<u64>();
    for i in order
        .into_iter()
        .take(usize::try_from(missing).unwrap_or(0))
    {
        if let Some(points) = points.get_mut(i) {
            *points += 1;
        }
    }
    let weight = |points: u64| {
        u16::try_from(points)
            .ok()
            .and_then(|p| Weight::try_from(p).ok())
    };
    points
        .into_iter()
        .map(|p| weight(p).unwrap_or(Weight::ALL))
        .collect()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn portions(asked: &[(u16, u32)]) -> Vec<Portion> {
        let portion = |(points, servers): &(u16, u32)| Portion {
            share: Weight::from_basis_points(*points).unwrap(),
            servers: *servers,
        };
        asked.iter().map(portion).collect()
    }

    #[test]
    fn shares_become_weights_with_least_error() {
        for (asked, weights, error) in [
            (&[(10_000, 1)][..], &[&[1][..]][..], 0.0),
            (&[(10_000, 3)], &[&[1, 1, 1]], 0.0),
            (&[(10_000, 2), (0, 2)], &[&[1, 1], &[0, 0]], 0.0),
            (&[(9_000, 1), (1_000, 1)], &[&[9], &[1]], 0.0),
            (&[(9_000, 3), (1_000, 1)], &[&[3, 3, 3], &[1]], 0.0),
            // Nine by four do not go; thirty-six do.
            (&[(9_000, 4), (1_000, 1)], &[&[9, 9, 9, 9], &[4]], 0.0),
            (&[(5_000, 3), (5_000, 2)], &[&[2, 2, 2], &[3, 3]], 0.0),
            (&[(9_950, 1), (50, 1)], &[&[199], &[1]], 0.0),
            // The least share of one server beside another: 1 of 257, not the 1 of 10 000 asked for.
            (&[(9_999, 1), (1, 1)], &[&[256], &[1]], 0.003_791_050),
            // A candidate of four beside one: three of them wait rather than four times the share.
            (
                &[(9_999, 1), (1, 4)],
                &[&[256], &[1, 0, 0, 0]],
                0.003_791_050,
            ),
            (&[(9_999, 40), (1, 1)], &[&[250; 40], &[1]], 0.000_000_01),
            // Nobody is there to take the half of the second.
            (&[(5_000, 2), (5_000, 0)], &[&[1, 1], &[]], 0.0),
        ] {
            let division = Division::of(&portions(asked));
            for (place, expected) in weights.iter().enumerate() {
                assert_eq!(division.weights(place), *expected, "{asked:?}");
            }
            assert!(
                (division.error() - error).abs() < 1e-7,
                "{asked:?}: {}",
                division.error()
            );
        }
    }

    proptest! {
        #[test]
        fn a_division_is_as_asked_as_far_as_weights_allow(
            points in 1..10_000_u16, stable in 1..12_u32, candidate in 1..6_u32,
        ) {
            let asked = portions(&[(10_000 - points, stable), (points, candidate)]);
            let division = Division::of(&asked);
            for place in [0, 1] {
                prop_assert!(division.weights(place).iter().all(|w| u32::from(*w) <= HEAVIEST));
                prop_assert!(division.total(place) > 0, "a share, and nothing of it");
            }
            // One step of a weight in the worst case: 1 of 257 beside one server.
            prop_assert!(division.error() <= 1.0 / 256.0, "{}", division.error());
        }

        #[test]
        fn whole_percents_are_met_within_a_basis_point(
            percent in 1..100_u16, stable in 1..12_u32, candidate in 1..6_u32,
        ) {
            let asked = portions(&[((100 - percent) * 100, stable), (percent * 100, candidate)]);
            prop_assert!(Division::of(&asked).error() < 1e-4);
        }

        #[test]
        fn shares_read_back_add_up(totals in prop::collection::vec(0..2_560_u32, 1..6)) {
            let sum: u32 = shares(&totals).iter().map(|w| u32::from(w.basis_points())).sum();
            prop_assert_eq!(sum, if totals.iter().all(|t| *t == 0) { 0 } else { 10_000 });
        }
    }
}
