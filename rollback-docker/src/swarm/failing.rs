//! When a release that is wanted will not come to run, by Swarm's word or by what its tasks show.
//! Swarm itself goes on for ever.

use std::collections::BTreeMap;

use super::{
    arms::{Picture, Placed, how},
    read::UpdateState,
};

/// So many ends in the same place, with nothing that is ready, are not an accident.
const AGAIN_AND_AGAIN: usize = 2;

/// Why the wanted release will not get there, if that is known; `ready` of its instances serve.
pub(super) fn failing(picture: &Picture<'_>, ready: usize) -> Option<String> {
    let ended: Vec<&Placed> = picture
        .tasks
        .iter()
        .filter(|placed| placed.release == *picture.wanted)
        .filter(|placed| placed.task.has_ended() && placed.task.created >= picture.began)
        .collect();
    let last = ended.first().map(|placed| how(&placed.task));
    if let Some(update) = &picture.service.update {
        let gave_up = match update.state {
            UpdateState::Paused => Some("the update"),
            UpdateState::RollbackPaused => Some("its own rollback"),
            _ => None,
        };
        if let Some(what) = gave_up {
            let last = last.map_or_else(String::new, |last| format!(" ({last})"));
            return Some(format!("Swarm paused {what}: {}{last}", update.message));
        }
    }
    if let Some(stuck) = &picture.stuck {
        return Some(format!("an instance waits for ever: {stuck}"));
    }
    let last = last?;
    if ready > 0 {
        // What ends now and then is counted against the policy's `crash_limit`.
        return None;
    }
    let mut ends: BTreeMap<&str, usize> = BTreeMap::new();
    for placed in &ended {
        *ends.entry(placed.task.place.as_str()).or_default() += 1;
    }
    let most = ends.values().max().copied().unwrap_or_default();
    if most >= AGAIN_AND_AGAIN {
        let count = ended.len();
        return Some(format!(
            "no instance stays: {count} ended, the last with: {last}"
        ));
    }
    let alone = picture.tasks.iter().all(|placed| {
        placed.release != *picture.wanted || placed.task.has_ended() || placed.task.is_leaving()
    });
    (alone && !picture.service.restarts())
        .then(|| format!("it ended, and its service starts nothing anew: {last}"))
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use serde_json::json;

    use super::{
        super::arms::tests::{id, placed, service},
        *,
    };

    fn why(update: &str, stuck: Option<&str>, ready: usize, lines: &[&str]) -> String {
        let service = service(2, update);
        let picture = Picture {
            service: &service,
            wanted: &id("v2"),
            tasks: &placed(lines),
            began: service.created.after(Duration::from_secs(10)),
            stuck: stuck.map(str::to_owned),
            forgotten: 0,
        };
        failing(&picture, ready).unwrap_or_default()
    }

    #[test]
    fn what_will_not_come_is_told_with_the_reason() {
        let twice = [
            "v2 1 rejected shutdown 12 : No such image: x",
            "v2 1 rejected shutdown 11",
        ];
        let once = [
            "v2 1 ready running 12",
            "v2 1 failed shutdown 11",
            "v2 2 failed shutdown 11",
        ];
        let before = ["v2 1 failed shutdown 11", "v2 1 failed shutdown 05"];
        let another = ["v1 1 failed shutdown 12", "v1 1 failed shutdown 11"];
        type Case<'a> = (&'a str, Option<&'a str>, usize, &'a [&'a str], &'a str);
        let cases: [Case<'_>; 8] = [
            (
                "paused",
                None,
                2,
                &[],
                "Swarm paused the update: in Swarm's words",
            ),
            (
                "paused",
                None,
                0,
                &twice[..1],
                "in Swarm's words (No such image: x)",
            ),
            ("rollback_paused", None, 0, &[], "paused its own rollback"),
            (
                "updating",
                Some("no suitable node"),
                1,
                &[],
                "for ever: no suitable node",
            ),
            (
                "updating",
                None,
                0,
                &twice,
                "2 ended, the last with: No such image: x",
            ),
            ("updating", None, 1, &twice, ""),
            ("updating", None, 0, &once, ""),
            ("updating", None, 0, &before, ""),
        ];
        for (update, stuck, ready, lines, expected) in cases {
            let why = why(update, stuck, ready, lines);
            let fits = if expected.is_empty() {
                why.is_empty()
            } else {
                why.contains(expected)
            };
            assert!(fits, "{update} {lines:?}: {why}");
        }
        assert_eq!(why("updating", None, 0, &another), "", "another release's");
    }

    #[test]
    fn what_is_started_only_once_fails_at_once() {
        let mut service = service(1, "completed");
        service.spec["TaskTemplate"] = json!({"RestartPolicy": {"Condition": "none"}});
        let tasks = placed(&["v2 1 complete shutdown 11"]);
        let picture = Picture {
            service: &service,
            wanted: &id("v2"),
            tasks: &tasks,
            began: service.created,
            stuck: None,
            forgotten: 0,
        };
        assert!(
            failing(&picture, 0)
                .unwrap()
                .contains("nothing anew: complete")
        );
    }
}
