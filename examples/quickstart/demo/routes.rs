//! The weights of the switch: which share of the requests each release gets, and on which instances. Pure.
//!
//! Shares are served by smooth weighted round robin (the way nginx spreads load): no dice, and with weights 9 and 1
//! every tenth request goes to the second release.

use std::net::SocketAddr;

use serde::{Deserialize, Serialize};

/// One release's share of the traffic.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Share {
    /// The release, as users see it.
    pub(crate) release: String,
    /// Its weight against the others; 0 gets nothing.
    pub(crate) weight: u32,
    /// Where its instances listen. With a weight and no instance, its requests fail: the switch hides nothing.
    pub(crate) instances: Vec<SocketAddr>,
}

/// All shares, with the revision that set them.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Routes {
    /// One more with every change; 0 before the first.
    pub(crate) revision: u64,
    /// What the last change called itself, so that its sender finds it again after a crash.
    pub(crate) change: Option<String>,
    /// The shares as set.
    pub(crate) shares: Vec<Share>,
}

/// A change of all shares at once.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct SetRoutes {
    /// Change nothing unless this is still the revision.
    pub(crate) if_revision: u64,
    /// What this change calls itself.
    pub(crate) change: Option<String>,
    /// The shares from now on.
    pub(crate) shares: Vec<Share>,
}

/// Why shares were not set.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum NotSet {
    /// Somebody else was faster.
    #[error("the routes are at revision {now}, not {expected}: read them again")]
    Stale { expected: u64, now: u64 },
    /// The shares make no sense.
    #[error("release {0:?} is listed twice")]
    Twice(String),
}

/// The routes, and whose turn it is.
#[derive(Debug)]
pub(crate) struct Balancer {
    routes: Routes,
    turns: Vec<Turn>,
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
    /// No shares yet.
    pub(crate) fn new() -> Self {
        Self {
            routes: Routes {
                revision: 0,
                change: None,
                shares: Vec::new(),
            },
            turns: Vec::new(),
        }
    }

    /// Sets all shares at once, if the revision is still the expected one.
    pub(crate) fn set(&mut self, set: SetRoutes) -> Result<&Routes, NotSet> {
        if set.if_revision != self.routes.revision {
            return Err(NotSet::Stale {
                expected: set.if_revision,
                now: self.routes.revision,
            });
        }
        for (index, share) in set.shares.iter().enumerate() {
            if set
                .shares
                .iter()
                .take(index)
                .any(|other| other.release == share.release)
            {
                return Err(NotSet::Twice(share.release.clone()));
            }
        }
        self.turns = vec![Turn::default(); set.shares.len()];
        self.routes = Routes {
            revision: self.routes.revision + 1,
            change: set.change,
            shares: set.shares,
        };
        Ok(&self.routes)
    }

    /// The shares now.
    pub(crate) fn routes(&self) -> &Routes {
        &self.routes
    }

    /// Whose turn it is; `None` while nobody has a weight.
    pub(crate) fn pick(&mut self) -> Option<Picked> {
        let total: i64 = self
            .routes
            .shares
            .iter()
            .map(|share| i64::from(share.weight))
            .sum();
        let mut best: Option<(&Share, &mut Turn)> = None;
        for (share, turn) in self.routes.shares.iter().zip(&mut self.turns) {
            if share.weight == 0 {
                continue;
            }
            turn.credit += i64::from(share.weight);
            if best
                .as_ref()
                .is_none_or(|(_, leader)| turn.credit > leader.credit)
            {
                best = Some((share, turn));
            }
        }
        let (share, turn) = best?;
        turn.credit -= total;
        let instance = share.instances.iter().cycle().nth(turn.instance).copied();
        turn.instance = (turn.instance + 1) % share.instances.len().max(1);
        Some(Picked {
            release: share.release.clone(),
            instance,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn share(release: &str, weight: u32, ports: &[u16]) -> Share {
        let instances = ports
            .iter()
            .map(|port| SocketAddr::from(([127, 0, 0, 1], *port)));
        Share {
            release: release.into(),
            weight,
            instances: instances.collect(),
        }
    }

    fn set(if_revision: u64, shares: Vec<Share>) -> SetRoutes {
        SetRoutes {
            if_revision,
            change: Some("c1".into()),
            shares,
        }
    }

    fn turns(balancer: &mut Balancer, count: usize) -> String {
        let releases = (0..count).map(|_| balancer.pick().unwrap().release);
        releases.collect::<Vec<_>>().concat()
    }

    #[test]
    fn turns_are_smooth_and_repeat() {
        let table = [
            (vec![("a", 1), ("b", 1)], "abababab"),
            (vec![("a", 3), ("b", 1)], "aabaaaba"),
            (vec![("a", 5), ("b", 1), ("c", 1)], "aabacaa"),
            (vec![("a", 0), ("b", 7)], "bbb"),
            (vec![("a", 1000), ("b", 0)], "aaa"),
        ];
        for (weights, expected) in table {
            let shares = weights
                .iter()
                .map(|(name, weight)| share(name, *weight, &[1]))
                .collect();
            let mut balancer = Balancer::new();
            balancer.set(set(0, shares)).unwrap();
            assert_eq!(turns(&mut balancer, expected.len()), expected);
        }
    }

    #[test]
    fn instances_of_a_release_take_turns() {
        let mut balancer = Balancer::new();
        balancer
            .set(set(0, vec![share("a", 1, &[1, 2, 3])]))
            .unwrap();
        let ports: Vec<_> = (0..5)
            .map(|_| balancer.pick().unwrap().instance.unwrap().port())
            .collect();
        assert_eq!(ports, [1, 2, 3, 1, 2]);
    }

    #[test]
    fn a_weight_without_an_instance_is_picked_and_shown_as_such() {
        let mut balancer = Balancer::new();
        assert_eq!(balancer.pick(), None);
        balancer.set(set(0, vec![share("a", 1, &[])])).unwrap();
        let nowhere = Picked {
            release: "a".into(),
            instance: None,
        };
        assert_eq!(balancer.pick(), Some(nowhere));
        balancer.set(set(1, vec![share("a", 0, &[1])])).unwrap();
        assert_eq!(balancer.pick(), None);
    }

    #[test]
    fn a_stale_or_senseless_change_changes_nothing() {
        let mut balancer = Balancer::new();
        balancer.set(set(0, vec![share("a", 1, &[1])])).unwrap();
        let before = balancer.routes().clone();
        assert_eq!(
            balancer.set(set(0, vec![share("b", 1, &[2])])),
            Err(NotSet::Stale {
                expected: 0,
                now: 1
            })
        );
        assert_eq!(
            balancer.set(set(1, vec![share("b", 1, &[2]), share("b", 2, &[3])])),
            Err(NotSet::Twice("b".into()))
        );
        assert_eq!(balancer.routes(), &before);
        assert_eq!(before.revision, 1);
    }

    proptest! {
        #[test]
        fn each_release_gets_its_exact_share_of_a_whole_round(weights in prop::collection::vec(0_u32..40, 1..5)) {
            let total: u32 = weights.iter().sum();
            prop_assume!(total > 0);
            let shares = weights.iter().enumerate().map(|(n, w)| share(&n.to_string(), *w, &[1])).collect();
            let mut balancer = Balancer::new();
            balancer.set(set(0, shares)).unwrap();
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
