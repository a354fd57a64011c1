//! What a deployer remembers of a service between two looks. Losing it costs time, never truth:
//! everything in it is either seen again or only makes an answer prompter.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::{Duration, Instant},
};

use rollback_core::model::{ReleaseId, Timestamp};

use super::read::TaskSeen;

/// The shortest and the longest pause between two looks while a task is on its way.
const SOONEST: Duration = Duration::from_millis(100);
const LATEST: Duration = Duration::from_secs(10);

/// What the engine of this node says about a task's container.
#[derive(Debug, Clone, Default)]
pub(super) struct Inspected {
    /// What its image is.
    pub(super) content: Option<String>,
    pub(super) address: Option<String>,
    /// The port of the node that stands for its first one, under IPv4.
    pub(super) node_port: Option<u64>,
    pub(super) port: Option<u64>,
}

#[derive(Debug, Default)]
pub(super) struct Memory {
    /// By task.
    pub(super) containers: BTreeMap<String, Inspected>,
    /// What the image of a template was when the template was first seen, by its fingerprint: a
    /// name that is fetched or moves later does not make another release of what runs.
    pub(super) templates: BTreeMap<String, String>,
    /// Releases whose definitions the store has.
    pub(super) kept: BTreeSet<ReleaseId>,
    waiting: BTreeMap<String, Instant>,
    /// Since when a task is on its way.
    on_its_way: Option<Instant>,
    began: Option<(ReleaseId, Timestamp)>,
    wanted: Option<ReleaseId>,
    wanted_before: Option<ReleaseId>,
    ended: BTreeSet<String>,
}

impl Memory {
    /// Follows what is wanted.
    pub(super) fn wants(&mut self, release: &ReleaseId) {
        if self.wanted.as_ref() != Some(release) {
            self.wanted_before = self.wanted.replace(release.clone());
        }
    }

    /// What was wanted before.
    pub(super) fn wanted_before(&self) -> Option<&ReleaseId> {
        self.wanted_before.as_ref()
    }

    /// When the update to `release` began: by Swarm's word, which a later scaling takes away; by
    /// our label; by what we saw; else when the service was made.
    pub(super) fn began(
        &mut self,
        release: &ReleaseId,
        told: Option<Timestamp>,
        labelled: Option<Timestamp>,
        created: Timestamp,
    ) -> Timestamp {
        let seen = self.began.as_ref();
        let seen = seen.filter(|(of, _)| of == release).map(|(_, at)| *at);
        let began = told.or_else(|| labelled.max(seen)).unwrap_or(created);
        if self.began.as_ref() != Some(&(release.clone(), began)) {
            self.began = Some((release.clone(), began));
            self.ended.clear();
        }
        began
    }

    /// How many tasks that ended are not in Swarm's history any more.
    pub(super) fn forgotten(&mut self, ended: &[&str]) -> u32 {
        self.ended.extend(ended.iter().map(|id| (*id).to_owned()));
        u32::try_from(self.ended.len().saturating_sub(ended.len())).unwrap_or(u32::MAX)
    }

    /// Why a task waits, if one has waited for so long that nobody believes in it any more.
    pub(super) fn stuck<'a>(
        &mut self,
        waiting: impl Iterator<Item = &'a TaskSeen>,
        patience: Duration,
    ) -> Option<String> {
        let now = Instant::now();
        let mut still = BTreeMap::new();
        let mut stuck = None;
        for task in waiting {
            let since = self.waiting.get(&task.id).copied().unwrap_or(now);
            still.insert(task.id.clone(), since);
            if now.duration_since(since) >= patience {
                stuck = stuck.or_else(|| task.error.clone());
            }
        }
        self.waiting = still;
        stuck
    }

    /// How soon to look again while a task is on its way: no event tells that one cannot be started,
    /// nor what happens on other nodes. The longer it takes, the more rarely.
    pub(super) fn on_its_way(&mut self, tasks: &[TaskSeen]) -> Option<Duration> {
        let comes = |task: &TaskSeen| {
            let ends = task.has_ended() || task.is_leaving() || task.is_gone();
            !ends && task.state != "running"
        };
        if !tasks.iter().any(comes) {
            self.on_its_way = None;
            return None;
        }
        let since = self.on_its_way.get_or_insert_with(Instant::now).elapsed();
        // In steps, so that a wait that has begun is not begun anew by each look.
        let steps = u32::try_from(since.as_secs() / 5).unwrap_or(u32::MAX);
        let soon = SOONEST.saturating_mul(steps.saturating_add(1));
        Some(soon.min(LATEST))
    }

    /// Forgets what is not seen any more.
    pub(super) fn prune(&mut self, tasks: &BTreeSet<&str>, templates: &BTreeSet<&str>) {
        self.containers.retain(|id, _| tasks.contains(id.as_str()));
        self.templates
            .retain(|of, _| templates.contains(of.as_str()));
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn id(text: &str) -> ReleaseId {
        ReleaseId::new(text).unwrap()
    }

    #[test]
    fn the_beginning_of_an_update_outlives_swarms_word() {
        let at = |millis| Timestamp::from_millis(millis);
        let mut memory = Memory::default();
        assert_eq!(memory.began(&id("v1"), None, None, at(1)), at(1));
        assert_eq!(
            memory.began(&id("v2"), Some(at(5)), Some(at(2)), at(1)),
            at(5)
        );
        assert_eq!(memory.forgotten(&["a", "b"]), 0);
        assert_eq!(
            memory.forgotten(&["b", "c"]),
            1,
            "one dropped out of the history"
        );
        assert_eq!(memory.began(&id("v2"), None, None, at(1)), at(5), "scaled");
        assert_eq!(memory.forgotten(&["c"]), 2);
        assert_eq!(memory.began(&id("v2"), None, Some(at(7)), at(1)), at(7));
        assert_eq!(memory.forgotten(&["d"]), 0, "another update");
        assert_eq!(memory.began(&id("v3"), None, None, at(1)), at(1));
    }

    #[test]
    fn what_was_wanted_before_is_remembered() {
        let mut memory = Memory::default();
        for release in ["v1", "v2", "v2", "v1"] {
            memory.wants(&id(release));
        }
        assert_eq!(memory.wanted_before(), Some(&id("v2")));
    }

    #[test]
    fn a_task_is_stuck_when_it_waited_for_long_and_not_before() {
        let task = TaskSeen::of(&json!({"ID": "t", "CreatedAt": "2026-01-01T00:00:00Z",
            "Spec": {}, "Status": {"State": "pending", "Err": "no suitable node"}}));
        let tasks = [task.unwrap()];
        let mut memory = Memory::default();
        let minute = Duration::from_secs(60);
        assert_eq!(memory.stuck(tasks.iter(), minute), None);
        let stuck = memory.stuck(tasks.iter(), Duration::ZERO);
        assert_eq!(stuck.as_deref(), Some("no suitable node"));
        assert_eq!(memory.stuck([].iter(), Duration::ZERO), None);
        assert!(memory.waiting.is_empty(), "it went on");
    }
}
