//! The weights of the switch: which share of the requests each release gets, and on which instances. Pure.
//!
//! Shares are served by smooth weighted round robin (the way nginx spreads load): no dice, and with weights 9 and 1
//! every tenth request goes to the second release.

use std::collections::BTreeMap;
use std::net::SocketAddr;

use serde::{Deserialize, Serialize};

/// How the requests are divided, with the revision that set it.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Routes {
    /// One more with every change of the weights; 0 before the first.
    pub(crate) revision: u64,
    /// What the last change called itself, so that its sender finds it again after a crash.
    pub(crate) change: Option<String>,
    /// Each release's weight against the others; 0 gets nothing.
    pub(crate) weights: BTreeMap<String, u32>,
    /// Where each release's instances listen. A release with a weight and no instance fails its requests: the switch
    /// hides nothing.
    pub(crate) instances: Instances,
}

/// Where each release's instances listen.
pub(crate) type Instances = BTreeMap<String, Vec<SocketAddr>>;

/// A change of all weights at once.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct SetWeights {
    /// Change nothing unless this is still the revision; none changes whatever there is.
    pub(crate) if_revision: Option<u64>,
    /// What this change calls itself.
    pub(crate) change: Option<String>,
    /// The weights from now on.
    pub(crate) weights: BTreeMap<String, u32>,
}

/// Somebody else was faster.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("the routes are at revision {now}, not {expected}: read them again")]
pub(crate) struct Stale {
    expected: u64,
    now: u64,
}

/// The routes, and whose turn it is.
#[derive(Debug, Default)]
pub(crate) struct Balancer {
    routes: Routes,
    turns: BTreeMap<String, Turn>,
}

#[derive(Debug, Clone, Copy, Default)]
struct Turn {
    credit: i64,
    instance: usize,
}

/// Where one request goes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Picked {
    /// The release whose turn it is.
    pub(crate) release: String,
    /// Its instance whose turn it is, if it has any.
    pub(crate) instance: Option<SocketAddr>,
}

impl Balancer {
    /// Sets all weights at once, if the revision is still the expected one.
    pub(crate) fn set(&mut self, set: SetWeights) -> Result<&Routes, Stale> {
        let now = self.routes.revision;
        if let Some(expected) = set.if_revision.filter(|expected| *expected != now) {
            return Err(Stale { expected, now });
        }
        self.turns = set
            .weights
            .keys()
            .map(|release| (release.clone(), Turn::default()))
            .collect();
        self.routes.revision = now + 1;
        self.routes.change = set.change;
        self.routes.weights = set.weights;
        Ok(&self.routes)
    }

    /// Says where instances listen. No change of the weights, so the revision stays: instances come and go.
    pub(crate) fn place(&mut self, instances: Instances) -> &Routes {
        self.routes.instances = instances;
        &self.routes
    }

    /// The routes now.
    pub(crate) fn routes(&self) -> &Routes {
        &self.routes
    }

    /// Whose turn it is; `None` while nobody has a weight.
    pub(crate) fn pick(&mut self) -> Option<Picked> {
        let total: i64 = self
            .routes
            .weights
            .values()
            .map(|weight| i64::from(*weight))
            .sum();
        let mut best: Option<(&String, &mut Turn)> = None;
        // Both maps have the same keys, since weights and turns are only ever set together.
        for ((release, weight), turn) in self.routes.weights.iter().zip(self.turns.values_mut()) {
            if *weight == 0 {
                continue;
            }
            turn.credit += i64::from(*weight);
            if best
                .as_ref()
                .is_none_or(|(_, leader)| turn.credit > leader.credit)
            {
                best = Some((release, turn));
            }
        }
        let (release, turn) = best?;
        turn.credit -= total;
        let instances = self
            .routes
            .instances
            .get(release)
            .map_or(&[][..], Vec::as_slice);
        turn.instance = (turn.instance + 1) % instances.len().max(1);
        let instance = instances.get(turn.instance).copied();
        Some(Picked {
            release: release.clone(),
            instance,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn weights(weights: &[(&str, u32)]) -> BTreeMap<String, u32> {
        weights
            .iter()
            .map(|(release, weight)| ((*release).to_owned(), *weight))
            .collect()
    }

    fn set(if_revision: u64, shares: &[(&str, u32)]) -> SetWeights {
        SetWeights {
            if_revision: Some(if_revision),
            change: Some("c1".into()),
            weights: weights(shares),
        }
    }

    fn turns(balancer: &mut Balancer, count: usize) -> String {
        let releases = (0..count).map(|_| balancer.pick().unwrap().release);
        releases.collect::<Vec<_>>().concat()
    }

    #[test]
    fn turns_are_smooth_and_repeat() {
        let table: [(&[(&str, u32)], &str); 5] = [
            (&[("a", 1), ("b", 1)], "abababab"),
            (&[("a", 3), ("b", 1)], "aabaaaba"),
            (&[("a", 5), ("b", 1), ("c", 1)], "aabacaa"),
            (&[("a", 0), ("b", 7)], "bbb"),
            (&[("a", 1000), ("b", 0)], "aaa"),
        ];
        for (shares, expected) in table {
            let mut balancer = Balancer::default();
            balancer.set(set(0, shares)).unwrap();
            assert_eq!(turns(&mut balancer, expected.len()), expected);
        }
    }

    #[test]
    fn instances_take_turns_and_come_and_go_without_a_revision() {
        let at = |port| SocketAddr::from(([127, 0, 0, 1], port));
        let mut balancer = Balancer::default();
        balancer.set(set(0, &[("a", 1)])).unwrap();
        let nowhere = Picked {
            release: "a".into(),
            instance: None,
        };
        assert_eq!(balancer.pick(), Some(nowhere));
        let instances = Instances::from([("a".into(), vec![at(1), at(2), at(3)])]);
        assert_eq!(balancer.place(instances).revision, 1);
        let mut ports: Vec<_> = (0..6)
            .map(|_| balancer.pick().unwrap().instance.unwrap().port())
            .collect();
        assert_eq!(ports[..3], ports[3..]);
        ports[..3].sort_unstable();
        assert_eq!(ports[..3], [1, 2, 3]);
        balancer.place(Instances::from([("a".into(), vec![at(9)])]));
        assert_eq!(balancer.pick().unwrap().instance, Some(at(9)));
    }

    #[test]
    fn nobody_is_picked_without_a_weight() {
        let mut balancer = Balancer::default();
        assert_eq!(balancer.pick(), None);
        balancer.set(set(0, &[("a", 0)])).unwrap();
        assert_eq!(balancer.pick(), None);
    }

    #[test]
    fn a_stale_change_changes_nothing_and_one_without_a_revision_always_does() {
        let mut balancer = Balancer::default();
        balancer.set(set(0, &[("a", 1)])).unwrap();
        let before = balancer.routes().clone();
        assert_eq!(
            balancer.set(set(0, &[("b", 1)])),
            Err(Stale {
                expected: 0,
                now: 1
            })
        );
        assert_eq!(balancer.routes(), &before);
        let forced = SetWeights {
            if_revision: None,
            change: None,
            weights: weights(&[("b", 1)]),
        };
        assert_eq!(balancer.set(forced).unwrap().revision, 2);
    }

    proptest! {
        #[test]
        fn each_release_gets_its_exact_share_of_a_whole_round(
            weights in prop::collection::vec(0_u32..40, 1..5),
        ) {
            let total: u32 = weights.iter().sum();
            prop_assume!(total > 0);
            let names: Vec<_> = (0..weights.len()).map(|n| n.to_string()).collect();
            let shares: Vec<_> = names.iter().map(String::as_str).zip(weights.iter().copied()).collect();
            let mut balancer = Balancer::default();
            balancer.set(set(0, &shares)).unwrap();
            for _round in 0..2 {
                let mut got = vec![0_u32; weights.len()];
                for _ in 0..total {
                    got[balancer.pick().unwrap().release.parse::<usize>().unwrap()] += 1;
                }
                prop_assert_eq!(&got, &weights);
            }
        }
    }
}
