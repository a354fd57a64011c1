//! What to start and what to stop next: pure, from what is wanted and what is there.

use rollback_core::model::ReleaseId;

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

    let mut steps = Vec::new();
    for (release, _) in state.wanted.iter() {
        let Some(size) = size(release) else { continue };
        // Two releases that insist on one port: the old one must be gone before the new one starts.
        if seen
            .iter()
            .any(|one| !state.wanted.runs(&one.release) && clashes(&one.release, release))
        {
            continue;
        }
        let there = of(release).filter(|one| !one.stopping).count();
        let missing = size.instances.saturating_sub(there);
        steps.extend((0..missing).map(|_| Step::Start(release.clone())));
    }
    for one in seen
        .iter()
        .filter(|one| !one.stopping && !state.wanted.runs(&one.release))
    {
        // Old capacity is not removed before its replacement is ready.
        let waits = state.replaced_by.get(&one.release).is_some_and(|new| {
            state.wanted.runs(new) && !is_ready(new) && !clashes(&one.release, new)
        });
        if !waits {
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
}
