//! What the world of a story runs: releases, and tasks.

use rollback_core::{
    model::{
        ArmObservation, ArmState, Change, ChangeId, Instance, InstanceId, InstanceState,
        Observation, Placement, Timestamp, Weight,
    },
    ports::{TaskError, TaskHandle, TaskStatus},
};

use super::world::{START, World};

impl World {
    pub(super) fn start_task(&mut self, id: &ChangeId) -> Option<Result<TaskHandle, TaskError>> {
        let word = if self.next_tasks.is_empty() {
            "succeeds".to_owned()
        } else {
            self.next_tasks.remove(0)
        };
        assert!(!self.tasks.contains_key(&id.to_string()), "{id} twice");
        let (first, answer) = word.split_once(", ").unwrap_or((&word, ""));
        if first == "is not started" {
            return Some(Err(TaskError::NotStarted {
                why: "no room".to_owned(),
            }));
        }
        if first != "is lost" {
            self.tasks.insert(id.to_string(), first.to_owned());
        }
        match answer {
            "" if first == "is lost" => Some(Err(TaskError::MaybeStarted {
                why: "the connection broke".to_owned(),
            })),
            "" => Some(Ok(TaskHandle(format!("run-{}", self.tasks.len())))),
            "the answer is lost" => Some(Err(TaskError::MaybeStarted {
                why: "the connection broke".to_owned(),
            })),
            "the controller dies" => {
                self.say("(the controller dies)");
                self.crash();
                None
            }
            other => panic!("`next task .., {other}` is not known"),
        }
    }

    pub(super) fn ask_task(&self, id: &ChangeId) -> Option<(TaskHandle, TaskStatus)> {
        let word = self.tasks.get(&id.to_string())?;
        let status = match word.split_once(": ") {
            None if word == "succeeds" => TaskStatus::Succeeded,
            None => TaskStatus::Running,
            Some((_, why)) => TaskStatus::Failed {
                why: why.to_owned(),
            },
        };
        Some((TaskHandle(id.to_string()), status))
    }

    /// The new release has taken over so much of the traffic.
    pub(super) fn take_over(&mut self, share: Weight) {
        if let Some((_, left)) = &mut self.replaced {
            *left = share.rest();
        }
        if share == Weight::ALL {
            self.replaced = None;
        }
    }

    pub(super) fn take(&mut self, change: &Change) {
        if let Change::Converge {
            release,
            placement: Placement::InPlace(_),
        } = change
        {
            let before = self.wanted.main().cloned();
            // What is replaced back takes over from what is left of it.
            let at_first = match &self.replaced {
                Some((old, _)) if old == release => Weight::ALL,
                _ => self.takes_over,
            };
            self.replaced = before
                .filter(|before| before != release)
                .map(|before| (before, Weight::ALL));
            self.take_over(at_first);
        }
        self.wanted = change.applied_to(&self.wanted);
        self.version += 1;
    }

    pub(super) fn observe(&self) -> Observation {
        let arms: Vec<ArmObservation> = self
            .wanted
            .iter()
            .map(|(release, weight)| {
                let left = self
                    .replaced
                    .as_ref()
                    .map_or(Weight::NONE, |(_, left)| *left);
                let (state, weight) = match self.sick.get(release) {
                    Some(state) => (state.clone(), weight),
                    None if left > Weight::NONE => (ArmState::Converging, left.rest()),
                    None => (ArmState::Ready, weight),
                };
                let instance = Instance::new(
                    InstanceId::new(format!("{release}-1")).unwrap(),
                    Timestamp::from_millis(START),
                    InstanceState::Ready,
                )
                .restarted(self.crashes.get(release).copied().unwrap_or(0));
                ArmObservation::new(release.clone(), state, weight, [instance])
            })
            .collect();
        let mut arms = arms;
        if let Some((old, left)) = &self.replaced {
            arms.push(ArmObservation::new(
                old.clone(),
                ArmState::Converging,
                *left,
                [],
            ));
        }
        let mut seen = Observation::new(self.wanted.clone(), arms);
        seen.etag = Some(self.etag());
        seen.platform_rollback.clone_from(&self.platform_rollback);
        seen
    }
}
