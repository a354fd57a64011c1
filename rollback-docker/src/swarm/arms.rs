//! The tasks of a service as arms: which instances belong to which release, and how they are.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use rollback_core::model::{
    ArmObservation, ArmState, Instance, InstanceId, InstanceState, ReleaseId, Timestamp, Weight,
};

use super::{
    failing::failing,
    read::{ServiceSeen, TaskSeen, UpdateState},
};

/// A task and what it is a task of.
#[derive(Debug, Clone)]
pub(super) struct Placed {
    pub(super) task: TaskSeen,
    pub(super) release: ReleaseId,
    pub(super) address: Option<String>,
}

/// Everything that arms are made of.
#[derive(Debug)]
pub(super) struct Picture<'a> {
    pub(super) service: &'a ServiceSeen,
    /// What the service wants.
    pub(super) wanted: &'a ReleaseId,
    /// Newest first.
    pub(super) tasks: &'a [Placed],
    /// When the last update began. What ended before is not this update's doing.
    pub(super) began: Timestamp,
    /// Why a task of the wanted release will never start.
    pub(super) stuck: Option<String>,
    /// Tasks of this update that ended, and that Swarm's history has dropped since.
    pub(super) forgotten: u32,
}

/// | Swarm's task | instance |
/// |---|---|
/// | `new` … `starting` | starting |
/// | `running` | ready: Swarm calls it so when its health check passed |
/// | any of these, not wanted any more | stopping |
/// | `failed`, `rejected`, `complete` | exited, if this update made it |
/// | `shutdown`, `remove`, `orphaned` | none |
/// | a word of tomorrow | starting: never ready |
fn instance(placed: &Placed, began: Timestamp) -> Option<Instance> {
    let task = &placed.task;
    let state = if task.is_gone() {
        return None;
    } else if task.has_ended() {
        if task.created < began {
            return None;
        }
        InstanceState::Exited {
            how: Arc::from(how(task)),
        }
    } else if task.is_leaving() {
        InstanceState::Stopping
    } else if task.state == "running" {
        InstanceState::Ready
    } else {
        InstanceState::Starting
    };
    let id = InstanceId::new(&task.id).ok()?;
    // What ended answers nowhere, though its address may be somebody else's by now.
    let address = placed.address.as_ref().filter(|_| !task.has_ended());
    let instance = Instance::new(id, task.created, state);
    Some(match address {
        Some(address) => instance.at(address),
        None => instance,
    })
}

/// How a task ended, in Swarm's words.
pub(super) fn how(task: &TaskSeen) -> String {
    match (&task.error, task.exit) {
        (Some(error), _) => error.clone(),
        (None, Some(code)) => format!("exit status {code}"),
        (None, None) => task.state.clone(),
    }
}

/// One arm for each release that has an instance, and one for the wanted release.
pub(super) fn arms(picture: &Picture<'_>) -> Vec<ArmObservation> {
    let mut by_release: BTreeMap<&ReleaseId, Vec<Instance>> = BTreeMap::new();
    by_release.entry(picture.wanted).or_default();
    for placed in picture.tasks {
        if let Some(instance) = instance(placed, picture.began) {
            by_release
                .entry(&placed.release)
                .or_default()
                .push(instance);
        }
    }
    if let Some(newest) = by_release
        .get_mut(picture.wanted)
        .and_then(|instances| instances.first_mut())
    {
        newest.restarts = picture.forgotten;
    }
    let serving = |instances: &[Instance]| {
        let ready = instances.iter().filter(|i| i.state == InstanceState::Ready);
        ready.count()
    };
    let all: usize = by_release
        .values()
        .map(|instances| serving(instances))
        .sum();
    let mut rest = Weight::ALL.basis_points();
    let mut left = all;
    by_release
        .into_iter()
        .map(|(release, instances)| {
            // Swarm divides traffic evenly among the instances that are ready.
            let ready = serving(&instances);
            let points = u16::try_from(usize::from(rest) * ready / left.max(1)).unwrap_or(rest);
            rest -= points;
            left -= ready;
            let weight = Weight::from_basis_points(points).unwrap_or(Weight::NONE);
            let state = if release == picture.wanted {
                wanted_state(picture, ready)
            } else {
                other_state(&instances, ready)
            };
            ArmObservation::new(release.clone(), state, weight, instances)
        })
        .collect()
}

fn wanted_state(picture: &Picture<'_>, ready: usize) -> ArmState {
    if let Some(why) = failing(picture, ready) {
        return ArmState::Failing {
            why: Arc::from(why),
        };
    }
    let (served, coming) = places(picture);
    // A service that was scaled to nothing is not ready: nothing of it answers.
    let enough = served > 0 && u64::try_from(served).ok() >= picture.service.replicas();
    if enough && !coming {
        return ArmState::Ready;
    }
    match &picture.service.update {
        Some(update) => match &update.state {
            UpdateState::Other(word) => ArmState::Unknown {
                word: Arc::from(word.as_str()),
            },
            _ => ArmState::Converging,
        },
        None => ArmState::Converging,
    }
}

/// In how many places an instance is ready, and whether one is on its way to another place. Where an old one dies while it
/// is replaced, Swarm starts a second one in its place, seconds later, and stops one of the two.
fn places(picture: &Picture<'_>) -> (usize, bool) {
    let of_wanted = picture
        .tasks
        .iter()
        .filter(|placed| placed.release == *picture.wanted);
    let (mut ready, mut coming) = (BTreeSet::new(), BTreeSet::new());
    for placed in of_wanted {
        let place = placed.task.place.as_str();
        match instance(placed, picture.began).map(|one| one.state) {
            Some(InstanceState::Ready) => ready.insert(place),
            Some(InstanceState::Starting) => coming.insert(place),
            _ => continue,
        };
    }
    (ready.len(), !coming.is_subset(&ready))
}

fn other_state(instances: &[Instance], ready: usize) -> ArmState {
    let mut alive = instances
        .iter()
        .filter(|one| !matches!(one.state, InstanceState::Exited { .. }))
        .peekable();
    if alive.peek().is_none() {
        ArmState::Gone
    } else if ready > 0 && alive.all(|one| one.state == InstanceState::Ready) {
        ArmState::Ready
    } else {
        ArmState::Converging
    }
}

#[cfg(test)]
pub(super) mod tests {
    use serde_json::json;

    use super::*;

    pub(crate) fn id(text: &str) -> ReleaseId {
        ReleaseId::new(text).unwrap()
    }

    pub(crate) fn service(replicas: u64, update: &str) -> ServiceSeen {
        ServiceSeen::of(&json!({
            "ID": "s", "Version": {"Index": 1}, "CreatedAt": "2026-01-01T00:00:00Z",
            "Spec": {"Mode": {"Replicated": {"Replicas": replicas}}},
            "UpdateStatus": {"State": update, "Message": "in Swarm's words"},
        }))
        .unwrap()
    }

    /// `release place state desired second [error]`, newest first.
    pub(crate) fn placed(lines: &[&str]) -> Vec<Placed> {
        let parse = |(number, line): (usize, &&str)| {
            let (line, error) = line
                .split_once(" : ")
                .map_or((*line, None), |(l, e)| (l, Some(e)));
            let words: Vec<&str> = line.split(' ').collect();
            let [release, place, state, desired, second] = words[..] else {
                panic!("{line}")
            };
            let task = TaskSeen::of(&json!({
                "ID": format!("t{number}"), "CreatedAt": format!("2026-01-01T00:00:{second}Z"),
                "Spec": {}, "Slot": place.parse::<u64>().unwrap(), "DesiredState": desired,
                "Status": {"State": state, "Err": error.unwrap_or_default()},
            }));
            Placed {
                task: task.unwrap(),
                release: id(release),
                address: None,
            }
        };
        lines.iter().enumerate().map(parse).collect()
    }

    fn seen(replicas: u64, update: &str, lines: &[&str]) -> String {
        let service = service(replicas, update);
        let tasks = placed(lines);
        let picture = Picture {
            service: &service,
            wanted: &id("v2"),
            tasks: &tasks,
            began: service.created.after(std::time::Duration::from_secs(10)),
            stuck: None,
            forgotten: 0,
        };
        let told = arms(&picture).into_iter().map(|arm| {
            let state = match arm.state {
                ArmState::Failing { .. } => "failing".to_owned(),
                other => format!("{other:?}").to_lowercase(),
            };
            let count = arm.instances.len();
            format!("{} {state} {count} at {}", arm.release, arm.weight)
        });
        told.collect::<Vec<_>>().join("; ")
    }

    #[test]
    fn arms_follow_from_tasks() {
        let old = "v1 1 running running 01";
        let cases: [(&str, &[&str], &str); 11] = [
            // An old one died while it was replaced: a second one comes in its place.
            (
                "updating",
                &["v2 1 ready ready 12", "v2 1 running running 11"],
                "v2 ready 2 at 100 %",
            ),
            (
                "updating",
                &["v2 2 starting running 12", "v2 1 running running 11"],
                "v2 converging 2 at 100 %",
            ),
            (
                "completed",
                &["v2 1 running running 11"],
                "v2 ready 1 at 100 %",
            ),
            (
                "updating",
                &["v2 1 starting running 11", old],
                "v1 ready 1 at 100 %; v2 converging 1 at 0 %",
            ),
            (
                "updating",
                &["v2 1 running running 11", old],
                "v1 ready 1 at 50 %; v2 ready 1 at 50 %",
            ),
            (
                "completed",
                &["v2 1 running running 11", "v1 1 running shutdown 01"],
                "v1 converging 1 at 0 %; v2 ready 1 at 100 %",
            ),
            (
                "completed",
                &["v2 1 running running 11", "v1 1 shutdown shutdown 01"],
                "v2 ready 1 at 100 %",
            ),
            (
                "updating",
                &["v2 1 ready ready 12", "v2 1 failed shutdown 11", old],
                "v1 ready 1 at 100 %; v2 converging 2 at 0 %",
            ),
            // What ended before this update began is not its doing.
            (
                "updating",
                &["v2 1 starting running 11", "v2 1 failed shutdown 05"],
                "v2 converging 1 at 0 %",
            ),
            (
                "updating",
                &["v2 1 hovering running 11"],
                "v2 converging 1 at 0 %",
            ),
            (
                "sideways",
                &[],
                "v2 unknown { word: \"sideways\" } 0 at 0 %",
            ),
        ];
        for (update, lines, expected) in cases {
            assert_eq!(seen(1, update, lines), expected, "{lines:?}");
        }
    }

    #[test]
    fn ready_is_all_that_are_wanted_and_something() {
        let one = ["v2 1 running running 11"];
        assert_eq!(seen(2, "updating", &one), "v2 converging 1 at 100 %");
        assert_eq!(seen(0, "completed", &[]), "v2 converging 0 at 0 %");
    }

    #[test]
    fn weights_add_up() {
        let lines = [
            "v1 1 running running 01",
            "v1 2 running running 01",
            "v2 3 running running 11",
        ];
        assert_eq!(
            seen(3, "updating", &lines),
            "v1 ready 2 at 66.66 %; v2 converging 1 at 33.34 %"
        );
    }
}
