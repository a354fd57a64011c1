//! What to make, start and stop next: pure, from what is wanted and what is there. Two controllers
//! that see the same plan the same.

use std::collections::BTreeMap;

use rollback_core::model::{Pace, ReleaseId};

use super::desired::Desired;

/// A container as the planner sees it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Seen {
    pub(crate) id: String,
    pub(crate) release: ReleaseId,
    /// Its place among those of its release.
    pub(crate) index: Option<u32>,
    pub(crate) ready: bool,
    /// Stands still until somebody starts it.
    pub(crate) down: bool,
    pub(crate) stopping: bool,
    /// Made by this adapter: more of those than wanted are stopped.
    pub(crate) ours: bool,
}

/// What is known of a release.
pub(crate) trait Sizes {
    /// How many containers it needs; none: its definition is lost.
    fn replicas(&self, release: &ReleaseId) -> Option<usize>;
    /// Whether both want something for themselves alone.
    fn clash(&self, a: &ReleaseId, b: &ReleaseId) -> bool;
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Step {
    /// Makes the container of this place and starts it.
    Create(ReleaseId, u32),
    /// Starts a container that is there.
    Start(String),
    /// Stops a container and removes it.
    Stop(String),
}

/// The next steps. A release whose definition is lost is neither made nor, while it is wanted,
/// stopped.
pub(crate) fn plan(desired: &Desired, sizes: &impl Sizes, seen: &[Seen]) -> Vec<Step> {
    let mut steps = Vec::new();
    for (release, _) in desired.wanted.iter() {
        start(&mut steps, desired, sizes, seen, release);
    }
    stop(&mut steps, desired, sizes, seen);
    steps
}

fn start(
    steps: &mut Vec<Step>,
    desired: &Desired,
    sizes: &impl Sizes,
    seen: &[Seen],
    release: &ReleaseId,
) {
    let leaving = |one: &&Seen| !desired.wanted.runs(&one.release);
    let replaces = desired.replaced_by.values().any(|new| new == release);
    // Two releases that insist on one port: the old one must be gone before the new one starts.
    let in_the_way = |one: &&Seen| leaving(one) && sizes.clash(&one.release, release);
    let stops_first = replaces && desired.pace == Some(Pace::StopFirst);
    if seen.iter().any(|one| in_the_way(&one))
        || (stops_first && seen.iter().any(|one| leaving(&one)))
    {
        return;
    }
    let there = || seen.iter().filter(|one| one.release == *release);
    let down = there().filter(|one| one.down && !one.stopping);
    steps.extend(down.map(|one| Step::Start(one.id.clone())));

    let Some(replicas) = sizes.replicas(release) else {
        return;
    };
    let missing = replicas.saturating_sub(there().filter(|one| !one.stopping).count());
    let room = match desired.pace {
        Some(Pace::Rolling { max_surge, .. }) if replaces => {
            let most = replicas.saturating_add(max_surge as usize);
            let both = |one: &&Seen| one.release == *release || leaving(one);
            most.saturating_sub(seen.iter().filter(both).count())
        }
        _ => missing,
    };
    let taken: Vec<u32> = there().filter_map(|one| one.index).collect();
    // The name of what is on its way out is free when it is gone.
    let places = 0..u32::try_from(replicas).unwrap_or(u32::MAX);
    let free = places.filter(|index| !taken.contains(index));
    let new = free.take(missing.min(room));
    steps.extend(new.map(|index| Step::Create(release.clone(), index)));
}

fn stop(steps: &mut Vec<Step>, desired: &Desired, sizes: &impl Sizes, seen: &[Seen]) {
    let leaving = |one: &&Seen| !desired.wanted.runs(&one.release);
    let is_ready = |release: &ReleaseId| {
        let ready = seen
            .iter()
            .filter(|one| one.release == *release && one.ready && !one.stopping);
        sizes
            .replicas(release)
            .is_some_and(|replicas| ready.count() >= replicas)
    };
    let mut may_stop: BTreeMap<&ReleaseId, usize> = BTreeMap::new();
    let mut going: Vec<&Seen> = seen
        .iter()
        .filter(leaving)
        .filter(|one| !one.stopping)
        .collect();
    // What serves nobody goes first, and then always in the same order.
    going.sort_by_key(|one| (one.ready, one.release.clone(), one.index, one.id.clone()));
    for one in going {
        let new = desired
            .replaced_by
            .get(&one.release)
            .filter(|new| desired.wanted.runs(new));
        let stays = match (new, desired.pace) {
            (None, _) | (_, Some(Pace::StopFirst)) => false,
            (Some(new), _) if is_ready(new) || sizes.clash(&one.release, new) => false,
            (
                Some(new),
                Some(Pace::Rolling {
                    max_unavailable, ..
                }),
            ) => {
                // What does not serve is not missed.
                one.ready && {
                    let left = may_stop.entry(new).or_insert_with(|| {
                        let needed = sizes.replicas(new).map_or(usize::MAX, |replicas| {
                            replicas.saturating_sub(max_unavailable as usize)
                        });
                        let serves = |one: &&Seen| {
                            one.ready && !one.stopping && (one.release == *new || leaving(one))
                        };
                        seen.iter().filter(serves).count().saturating_sub(needed)
                    });
                    let stays = *left == 0;
                    *left = left.saturating_sub(1);
                    stays
                }
            }
            // Old capacity is not removed before its replacement is ready.
            (Some(_), _) => true,
        };
        if !stays {
            steps.push(Step::Stop(one.id.clone()));
        }
    }
    // More than there should be, such as after a record was lost.
    let beyond = |one: &Seen| {
        let place = one.index.and_then(|index| usize::try_from(index).ok());
        let replicas = sizes.replicas(&one.release);
        one.ours && place.is_some_and(|place| replicas.is_some_and(|all| place >= all))
    };
    for one in seen.iter().filter(|one| beyond(one) && !one.stopping) {
        let others = seen.iter().filter(|other| {
            other.release == one.release && other.ready && !other.stopping && !beyond(other)
        });
        let enough = Some(others.count()) >= sizes.replicas(&one.release);
        if enough && desired.wanted.runs(&one.release) {
            steps.push(Step::Stop(one.id.clone()));
        }
    }
}

#[cfg(test)]
mod tests {
    use rollback_core::model::{Wanted, Weight};

    use super::*;

    /// Each release has two replicas; `v9`'s definition is lost; those that begin with `p` want
    /// one port.
    struct Two;

    impl Sizes for Two {
        fn replicas(&self, release: &ReleaseId) -> Option<usize> {
            (release.as_str() != "v9").then_some(2)
        }
        fn clash(&self, a: &ReleaseId, b: &ReleaseId) -> bool {
            a != b && a.as_str().starts_with('p') && b.as_str().starts_with('p')
        }
    }

    fn release(name: &str) -> ReleaseId {
        ReleaseId::new(name).unwrap()
    }

    fn desired(names: &[&str], replaced: &[(&str, &str)], pace: Option<Pace>) -> Desired {
        Desired {
            wanted: names.iter().fold(Wanted::nothing(), |all, name| {
                all.with(release(name), Weight::NONE)
            }),
            replaced_by: replaced
                .iter()
                .map(|(old, new)| (release(old), release(new)))
                .collect(),
            pace,
            ..Desired::default()
        }
    }

    /// `v1 ready`, `v1 starting`, `v1 down`, `v1 stopping`; the places are counted per release.
    fn seen(all: &[&str]) -> Vec<Seen> {
        let mut counts: BTreeMap<&str, u32> = BTreeMap::new();
        all.iter()
            .map(|text| {
                let (name, state) = text.split_once(' ').unwrap();
                let count = counts.entry(name).or_insert(0);
                *count += 1;
                Seen {
                    id: format!("{name}.{}", *count - 1),
                    release: release(name),
                    index: Some(*count - 1),
                    ready: state == "ready",
                    down: state == "down",
                    stopping: state == "stopping",
                    ours: true,
                }
            })
            .collect()
    }

    fn said(steps: Vec<Step>) -> String {
        let words: Vec<String> = steps
            .into_iter()
            .map(|step| match step {
                Step::Create(release, index) => format!("create {release}.{index}"),
                Step::Start(id) => format!("start {id}"),
                Step::Stop(id) => format!("stop {id}"),
            })
            .collect();
        words.join(", ")
    }

    #[test]
    fn makes_what_is_missing_and_stops_what_is_not_wanted() {
        type Case<'a> = (
            &'a [&'a str],
            &'a [(&'a str, &'a str)],
            &'a [&'a str],
            &'a str,
        );
        let table: [Case<'_>; 15] = [
            (&["v1"], &[], &[], "create v1.0, create v1.1"),
            (&["v1"], &[], &["v1 starting"], "create v1.1"),
            (&["v1"], &[], &["v1 down", "v1 ready"], "start v1.0"),
            (&["v1"], &[], &["v1 ready", "v1 starting"], ""),
            (
                &["v1", "v2"],
                &[],
                &["v1 ready", "v1 ready"],
                "create v2.0, create v2.1",
            ),
            (
                &["v1"],
                &[],
                &["v1 ready", "v1 ready", "v2 ready", "v2 stopping"],
                "stop v2.0",
            ),
            (&["v1"], &[], &["v1 ready", "v1 stopping"], ""),
            (
                &["v1"],
                &[],
                &["v1 ready", "v1 ready", "v1 ready"],
                "stop v1.2",
            ),
            (&["v1"], &[], &["v1 ready", "v1 starting", "v1 ready"], ""),
            // In place: v1 stays until v2 is ready, and goes at once when nobody waits for v2.
            (
                &["v2"],
                &[("v1", "v2")],
                &["v1 ready", "v1 ready", "v2 ready", "v2 starting"],
                "",
            ),
            (
                &["v2"],
                &[("v1", "v2")],
                &["v1 ready", "v1 ready", "v2 ready", "v2 ready"],
                "stop v1.0, stop v1.1",
            ),
            (
                &["v3"],
                &[("v1", "v2")],
                &["v1 ready"],
                "create v3.0, create v3.1, stop v1.0",
            ),
            // Nothing is known of v9: it is left alone while it is wanted.
            (&["v9"], &[], &["v9 ready"], ""),
            (&["v9"], &[], &["v9 down"], "start v9.0"),
            (&[], &[], &["v9 ready", "v9 down"], "stop v9.1, stop v9.0"),
        ];
        for (names, replaced, there, expected) in table {
            let steps = plan(&desired(names, replaced, None), &Two, &seen(there));
            assert_eq!(said(steps), expected, "{names:?} {replaced:?} {there:?}");
        }
    }

    #[test]
    fn one_claim_means_stop_first() {
        let state = desired(&["p2"], &[("p1", "p2")], None);
        let steps = |there: &[&str]| said(plan(&state, &Two, &seen(there)));
        assert_eq!(steps(&["p1 ready"]), "stop p1.0");
        assert_eq!(steps(&["p1 stopping", "p2 down"]), "");
        assert_eq!(steps(&["p2 down"]), "start p2.0, create p2.1");
    }

    #[test]
    fn what_others_started_in_excess_is_left_alone() {
        let mut there = seen(&["v1 ready", "v1 ready", "v1 ready"]);
        for one in &mut there {
            one.ours = false;
        }
        assert_eq!(said(plan(&desired(&["v1"], &[], None), &Two, &there)), "");
    }

    /// Plays a replacement of two by two to its end; answers the least that served and the most
    /// that ran.
    fn played(pace: Pace, good: bool) -> (usize, usize, Vec<Seen>) {
        let state = desired(&["v2"], &[("v1", "v2")], Some(pace));
        let mut there = seen(&["v1 ready", "v1 ready"]);
        let (mut least, mut most) = (2, 2);
        for _ in 0..100 {
            let steps = plan(&state, &Two, &there);
            if steps.is_empty() {
                return (least, most, there);
            }
            for step in steps {
                match step {
                    Step::Create(release, index) => there.push(Seen {
                        id: format!("{release}.{index}"),
                        release,
                        index: Some(index),
                        ready: false,
                        down: false,
                        stopping: false,
                        ours: true,
                    }),
                    Step::Start(id) => panic!("{id} is up"),
                    Step::Stop(id) => there.retain(|one| one.id != id),
                }
                most = most.max(there.len());
                least = least.min(there.iter().filter(|one| one.ready).count());
            }
            for one in &mut there {
                one.ready |= good;
            }
        }
        panic!("it never ends");
    }

    #[test]
    fn a_roll_keeps_its_bounds_and_a_bad_release_takes_nothing_away() {
        for (unavailable, surge, least, most) in
            [(0, 1, 2, 3), (1, 0, 1, 2), (1, 1, 1, 3), (0, 2, 2, 4)]
        {
            let pace = Pace::Rolling {
                max_unavailable: unavailable,
                max_surge: surge,
            };
            let (low, high, end) = played(pace, true);
            assert!(low >= least && high <= most, "{pace}: {low} to {high}");
            let names: Vec<&str> = end.iter().map(|one| one.release.as_str()).collect();
            assert_eq!(names, ["v2", "v2"], "{pace}");
            let (low, _, _) = played(pace, false);
            assert!(low >= least, "{pace}: {low} served");
        }
        assert_eq!(played(Pace::StopFirst, true).0, 0);
        assert_eq!(played(Pace::AtOnce, false).0, 2);
    }
}
