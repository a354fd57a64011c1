//! What to start and what to stop next: pure, from what is wanted and what is there.

use std::collections::BTreeMap;

use rollback_core::model::{Pace, ReleaseId};

use crate::state::WantedState;

/// An instance as the planner sees it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Seen {
    pub(crate) id: String,
    pub(crate) release: ReleaseId,
    pub(crate) ready: bool,
    pub(crate) stopping: bool,
}

/// How many processes a release needs, and whether they insist on one port.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Size {
    pub(crate) instances: usize,
    pub(crate) fixed_port: Option<u16>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Step {
    Start(ReleaseId),
    Stop(String),
}

/// The next steps. `size` knows nothing of a release whose definition is lost: such a release is
/// neither started nor, while it is wanted, stopped.
pub(crate) fn plan(
    state: &WantedState,
    size: impl Fn(&ReleaseId) -> Option<Size>,
    seen: &[Seen],
) -> Vec<Step> {
    let of = |release: &ReleaseId| {
        let release = release.clone();
        seen.iter()
            .filter(move |instance| instance.release == release)
    };
    let is_ready = |release: &ReleaseId| {
        size(release).is_some_and(|size| {
            of(release).filter(|one| one.ready && !one.stopping).count() >= size.instances
        })
    };
    let clashes = |old: &ReleaseId, new: &ReleaseId| {
        let port = |release| size(release).and_then(|size| size.fixed_port);
        old != new && port(old).is_some() && port(old) == port(new)
    };

    let leaving = |one: &&Seen| !state.wanted.runs(&one.release);
    let replaces = |new: &ReleaseId| state.replaced_by.values().any(|one| one == new);

    let mut steps = Vec::new();
    for (release, _) in state.wanted.iter() {
        let Some(size) = size(release) else { continue };
        // Two releases that insist on one port: the old one must be gone before the new one starts.
        if seen
            .iter()
            .any(|one| leaving(&one) && clashes(&one.release, release))
        {
            continue;
        }
        let there = of(release).filter(|one| !one.stopping).count();
        let missing = size.instances.saturating_sub(there);
        let room = match state.pace {
            Some(Pace::StopFirst) if replaces(release) && seen.iter().any(|one| leaving(&one)) => 0,
            Some(Pace::Rolling { max_surge, .. }) if replaces(release) => {
                let most = size.instances.saturating_add(max_surge as usize);
                let both = |one: &&Seen| one.release == *release || leaving(one);
                most.saturating_sub(seen.iter().filter(both).count())
            }
            _ => missing,
        };
        steps.extend((0..missing.min(room)).map(|_| Step::Start(release.clone())));
    }
    let mut may_stop: BTreeMap<&ReleaseId, usize> = BTreeMap::new();
    let mut going: Vec<&Seen> = seen
        .iter()
        .filter(leaving)
        .filter(|one| !one.stopping)
        .collect();
    // What serves nobody goes first.
    going.sort_by_key(|one| one.ready);
    for one in going {
        let new = state
            .replaced_by
            .get(&one.release)
            .filter(|new| state.wanted.runs(new));
        let stays = match (new, state.pace) {
            (None, _) | (_, Some(Pace::StopFirst)) => false,
            (Some(new), _) if is_ready(new) || clashes(&one.release, new) => false,
            (
                Some(new),
                Some(Pace::Rolling {
                    max_unavailable, ..
                }),
            ) => {
                // What does not serve is not missed.
                one.ready && {
                    let left = may_stop.entry(new).or_insert_with(|| {
                        let needed = size(new).map_or(usize::MAX, |size| {
                            size.instances.saturating_sub(max_unavailable as usize)
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
    steps
}

#[cfg(test)]
mod tests {
    use rollback_core::model::{Wanted, Weight};

    use super::*;

    fn release(name: &str) -> ReleaseId {
        ReleaseId::new(name).unwrap()
    }

    fn wanted(names: &[&str], replaced: &[(&str, &str)]) -> WantedState {
        WantedState {
            wanted: names.iter().fold(Wanted::nothing(), |all, name| {
                all.with(release(name), Weight::NONE)
            }),
            replaced_by: replaced
                .iter()
                .map(|(old, new)| (release(old), release(new)))
                .collect(),
            ..WantedState::default()
        }
    }

    /// `v1 ready`, `v1 starting`, `v1 stopping`.
    fn seen(all: &[&str]) -> Vec<Seen> {
        all.iter()
            .enumerate()
            .map(|(n, text)| {
                let (name, state) = text.split_once(' ').unwrap();
                Seen {
                    id: format!("{name}#{n}"),
                    release: release(name),
                    ready: state == "ready",
                    stopping: state == "stopping",
                }
            })
            .collect()
    }

    fn said(steps: Vec<Step>) -> String {
        let words: Vec<String> = steps
            .into_iter()
            .map(|step| match step {
                Step::Start(release) => format!("start {release}"),
                Step::Stop(id) => format!("stop {id}"),
            })
            .collect();
        words.join(", ")
    }

    #[test]
    fn starts_what_is_missing_and_stops_what_is_not_wanted() {
        type Case<'a> = (
            &'a [&'a str],
            &'a [(&'a str, &'a str)],
            &'a [&'a str],
            &'a str,
        );
        let table: [Case<'_>; 11] = [
            (&["v1"], &[], &[], "start v1, start v1"),
            (&["v1"], &[], &["v1 starting"], "start v1"),
            (&["v1"], &[], &["v1 ready", "v1 starting"], ""),
            (
                &["v1", "v2"],
                &[],
                &["v1 ready", "v1 ready"],
                "start v2, start v2",
            ),
            (
                &["v1"],
                &[],
                &["v1 ready", "v1 ready", "v2 ready", "v2 stopping"],
                "stop v2#2",
            ),
            (&["v1"], &[], &["v1 ready", "v1 stopping"], "start v1"),
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
                "stop v1#0, stop v1#1",
            ),
            (
                &["v3"],
                &[("v1", "v2")],
                &["v1 ready"],
                "start v3, start v3, stop v1#0",
            ),
            // Nothing is known of v9: it is left alone while it is wanted.
            (&["v9"], &[], &["v9 ready"], ""),
            (&[], &[], &["v9 ready"], "stop v9#0"),
        ];
        for (names, replaced, there, expected) in table {
            let size = |release: &ReleaseId| {
                (release.as_str() != "v9").then_some(Size {
                    instances: 2,
                    fixed_port: None,
                })
            };
            let steps = plan(&wanted(names, replaced), size, &seen(there));
            assert_eq!(said(steps), expected, "{names:?} {replaced:?} {there:?}");
        }
    }

    #[test]
    fn one_fixed_port_means_stop_first() {
        let size = |_: &ReleaseId| {
            Some(Size {
                instances: 1,
                fixed_port: Some(80),
            })
        };
        let state = wanted(&["v2"], &[("v1", "v2")]);
        let steps = |there: &[&str]| said(plan(&state, size, &seen(there)));
        assert_eq!(steps(&["v1 ready"]), "stop v1#0");
        assert_eq!(steps(&["v1 stopping"]), "");
        assert_eq!(steps(&[]), "start v2");
    }
    /// Plays a replacement to its end: what is started gets ready if it can, what is stopped goes.
    /// Answers the least that served and the most that ran.
    fn played(pace: Pace, old: usize, new: usize, good: bool) -> (usize, usize, Vec<Seen>) {
        let mut state = wanted(&["v2"], &[("v1", "v2")]);
        state.pace = Some(pace);
        let size = |release: &ReleaseId| {
            Some(Size {
                instances: if release.as_str() == "v2" { new } else { old },
                fixed_port: None,
            })
        };
        let mut there: Vec<Seen> = seen(&vec!["v1 ready"; old]);
        let (mut least, mut most, mut count) = (old, old, 0);
        loop {
            let steps = plan(&state, size, &there);
            if steps.is_empty() {
                return (least, most, there);
            }
            for step in steps {
                match step {
                    Step::Start(release) => {
                        count += 1;
                        assert!(count < 100, "started over and over");
                        there.push(Seen {
                            id: format!("{release}+{count}"),
                            release,
                            ready: false,
                            stopping: false,
                        });
                    }
                    Step::Stop(id) => {
                        let one = there.iter_mut().find(|one| one.id == id).unwrap();
                        one.stopping = true;
                    }
                }
            }
            let serves = |one: &&Seen| one.ready && !one.stopping;
            least = least.min(there.iter().filter(serves).count());
            most = most.max(there.len());
            there.retain(|one| !one.stopping);
            for one in &mut there {
                one.ready |= good;
            }
        }
    }

    const fn rolling(max_unavailable: u32, max_surge: u32) -> Pace {
        Pace::Rolling {
            max_unavailable,
            max_surge,
        }
    }

    #[test]
    fn a_pace_keeps_its_bounds_and_ends_with_the_new_release_alone() {
        for (pace, old, new, least, most) in [
            (rolling(1, 0), 3, 3, 2, 3),
            (rolling(0, 1), 3, 3, 3, 4),
            (rolling(1, 1), 3, 3, 2, 4),
            (rolling(2, 3), 5, 5, 3, 8),
            // Fewer than before, more than before.
            (rolling(0, 1), 4, 2, 2, 4),
            (rolling(0, 1), 1, 3, 1, 4),
            (Pace::StopFirst, 3, 3, 0, 3),
            (Pace::AtOnce, 3, 3, 3, 6),
        ] {
            let (served, ran, end) = played(pace, old, new, true);
            assert!(
                served >= least && ran <= most,
                "{pace}: {served} served, {ran} ran"
            );
            assert!(
                end.len() == new && end.iter().all(|one| one.release.as_str() == "v2"),
                "{pace}: {end:?}"
            );
        }
    }

    #[test]
    fn a_release_that_never_gets_ready_takes_no_more_than_the_bounds_give() {
        for (pace, serving) in [(rolling(1, 0), 2), (rolling(0, 1), 3), (rolling(1, 1), 2)] {
            let (served, _, end) = played(pace, 3, 3, false);
            let old = end
                .iter()
                .filter(|one| one.release.as_str() == "v1")
                .count();
            assert_eq!((served, old), (serving, serving), "{pace}: {end:?}");
        }
    }
}
