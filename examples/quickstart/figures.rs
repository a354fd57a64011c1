//! The figures of a story: what users saw, set beside what the controller decided, on one clock.

use std::collections::BTreeMap;

use rollback_core::model::{Cause, HoldReason, Timestamp};
use serde::Serialize;

use crate::chronicle::Chapter;
use crate::demo::seen::{Failure, NOBODY, SeenOf, Summary};

/// What the story comes to. Durations are milliseconds.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(crate) struct Figures {
    /// How the deployment of version 2 ended, in one word.
    pub(crate) outcome: &'static str,
    /// The trigger that decided.
    pub(crate) decided_by: Option<String>,
    /// The trigger for which it waited first, if it did.
    pub(crate) held_by: Option<String>,
    /// From the first bad answer, or the start of the deployment, to when it began to wait.
    pub(crate) held_after_ms: Option<i64>,
    /// What it waited for a person for.
    pub(crate) waited_for: Vec<String>,
    /// From the first bad answer a user of version 2 saw to the decision; without one, from the start of the deployment.
    pub(crate) noticed_after_ms: Option<i64>,
    /// Whether users had seen something bad before the decision.
    pub(crate) users_saw_it_first: bool,
    /// From that first bad answer to the last.
    pub(crate) restored_after_ms: Option<i64>,
    /// From that first bad answer, or the start of the deployment, to the end of the verification.
    pub(crate) verified_after_ms: Option<i64>,
    /// Everything that users asked.
    pub(crate) requests: u64,
    /// Of these, failed.
    pub(crate) failed: u64,
    /// Of these, after the decision.
    pub(crate) failed_after_decision: u64,
    /// How long after the decision the last one failed; 0 if none did.
    pub(crate) last_failure_after_decision_ms: i64,
    /// By who served them.
    pub(crate) by_release: BTreeMap<String, Served>,
}

/// What one release's users saw.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub(crate) struct Served {
    /// Asked.
    pub(crate) requests: u64,
    /// Of these, failed.
    pub(crate) failed: u64,
    /// The 95th percentile of the time they waited.
    pub(crate) p95_ms: u64,
}

impl Figures {
    /// Adds it up. `seen` must have been asked with [`Figures::since_ms`] of the same chapter.
    pub(crate) fn of(chapter: &Chapter, seen: &Summary, name: impl Fn(&str) -> String) -> Self {
        let candidate = seen.get(chapter.candidate.as_str());
        let first = candidate.and_then(|seen| seen.first_failure);
        let last = candidate.and_then(|seen| seen.last_failure);
        let decided = chapter.decided.as_ref().map(|decided| decided.at);
        let since = |from: Timestamp, to: Timestamp| to.as_millis() - from.as_millis();
        let from_first = first.map_or(chapter.opened, seen_at);
        let late = decided.zip(
            seen.values()
                .filter_map(|seen| seen.last_failure)
                .map(seen_at)
                .max(),
        );
        let unfinished = if chapter.held {
            "held"
        } else {
            "still_running"
        };
        Self {
            outcome: chapter
                .ended
                .as_ref()
                .map_or(unfinished, |(_, outcome)| outcome.word()),
            decided_by: chapter
                .decided
                .as_ref()
                .map(|decided| match &decided.cause {
                    Cause::Trigger { trigger, .. } => trigger.name.to_string(),
                    Cause::Command { by, .. } => by.to_string(),
                    _ => "the platform".to_owned(),
                }),
            held_by: chapter.holds.first().and_then(trigger_of),
            held_after_ms: chapter
                .held_first
                .map(|held| since(from_first.min(held), held)),
            waited_for: chapter.holds.iter().map(ToString::to_string).collect(),
            noticed_after_ms: decided.map(|decided| since(from_first, decided)),
            users_saw_it_first: decided
                .is_some_and(|decided| first.is_some_and(|first| seen_at(first) <= decided)),
            restored_after_ms: first
                .zip(last)
                .map(|(first, last)| since(seen_at(first), seen_at(last))),
            verified_after_ms: decided
                .zip(chapter.ended.as_ref())
                .map(|(_, (ended, _))| since(from_first, *ended)),
            requests: seen.values().map(|seen| seen.ok + seen.failed).sum(),
            failed: seen.values().map(|seen| seen.failed).sum(),
            failed_after_decision: decided
                .map_or(0, |_| seen.values().map(|seen| seen.failed_since).sum()),
            last_failure_after_decision_ms: late
                .map_or(0, |(decided, last)| since(decided, last).max(0)),
            by_release: seen
                .iter()
                .map(|(release, seen)| (called(release, &name), Served::of(seen)))
                .collect(),
        }
    }

    /// From when on failures count as "after the decision".
    pub(crate) fn since_ms(chapter: Option<&Chapter>) -> u64 {
        let decided = chapter.and_then(|chapter| chapter.decided.as_ref());
        decided.map_or(0, |decided| {
            u64::try_from(decided.at.as_millis()).unwrap_or(0)
        })
    }
}

impl Served {
    fn of(seen: &SeenOf) -> Self {
        Self {
            requests: seen.ok + seen.failed,
            failed: seen.failed,
            p95_ms: seen.latency.p95_ms,
        }
    }
}

/// The trigger that a hold is about.
fn trigger_of(hold: &HoldReason) -> Option<String> {
    match hold {
        HoldReason::TriggerFailed { trigger, .. }
        | HoldReason::Inconclusive { trigger, .. }
        | HoldReason::Blind { trigger, .. }
        | HoldReason::ExternalCause { trigger, .. } => Some(trigger.name.to_string()),
        _ => None,
    }
}

fn seen_at(failure: Failure) -> Timestamp {
    Timestamp::from_millis(i64::try_from(failure.seen_ms).unwrap_or(i64::MAX))
}

fn called(release: &str, name: impl Fn(&str) -> String) -> String {
    if release == NOBODY {
        "nobody".to_owned()
    } else {
        name(release)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::chronicle::Chronicle;
    use crate::demo::seen::{Experience, Seen, Why};
    use rollback_core::model::ReleaseId;

    /// The chronicle's own sample: opened at 2 s, decided at 4 s, ended at 7 s; v2 is `aaaa`, v1 is `bbbb`.
    fn sample() -> (Chronicle, Chapter) {
        let mut chronicle = Chronicle::default();
        for entry in crate::sample::journal() {
            chronicle.catch_up(&entry);
        }
        let chapter = chronicle
            .of(&ReleaseId::new("aaaa").unwrap())
            .unwrap()
            .clone();
        (chronicle, chapter)
    }

    fn seen(requests: &[(&str, u64, Option<Why>)], since_ms: u64) -> Summary {
        let mut seen = Seen::default();
        for (release, seen_ms, failure) in requests {
            let release = Some((*release).to_owned());
            seen.add(&Experience {
                release,
                sent_ms: seen_ms - 10,
                seen_ms: *seen_ms,
                failure: *failure,
            });
        }
        seen.summary(since_ms)
    }

    #[test]
    fn users_and_controller_are_set_on_one_clock() {
        let (chronicle, chapter) = sample();
        let bad = Some(Why::ServerError(500));
        assert_eq!(Figures::since_ms(Some(&chapter)), 4000);
        let seen = seen(
            &[
                ("bbbb", 1500, None),
                ("aaaa", 2500, None),
                ("aaaa", 2600, bad),
                ("aaaa", 4050, bad),
                ("bbbb", 6000, None),
            ],
            4000,
        );
        let figures = Figures::of(&chapter, &seen, |id| chronicle.named(id));
        let expected = Figures {
            outcome: "rolled_back",
            decided_by: Some("errors".to_owned()),
            held_by: None,
            held_after_ms: None,
            waited_for: Vec::new(),
            noticed_after_ms: Some(1400),
            users_saw_it_first: true,
            restored_after_ms: Some(1450),
            verified_after_ms: Some(4400),
            requests: 5,
            failed: 2,
            failed_after_decision: 1,
            last_failure_after_decision_ms: 50,
            by_release: BTreeMap::from([
                (
                    "v1".to_owned(),
                    Served {
                        requests: 2,
                        failed: 0,
                        p95_ms: 10,
                    },
                ),
                (
                    "v2".to_owned(),
                    Served {
                        requests: 3,
                        failed: 2,
                        p95_ms: 10,
                    },
                ),
            ]),
        };
        assert_eq!(figures, expected);
    }

    #[test]
    fn noticed_before_any_user_is_counted_from_the_start_of_the_deployment() {
        let (chronicle, chapter) = sample();
        let figures = Figures::of(&chapter, &seen(&[("bbbb", 3000, None)], 4000), |id| {
            chronicle.named(id)
        });
        assert_eq!(figures.noticed_after_ms, Some(2000));
        assert!(!figures.users_saw_it_first);
        assert_eq!((figures.restored_after_ms, figures.failed), (None, 0));
    }
}
