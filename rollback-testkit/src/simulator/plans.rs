//! Rollouts of every kind: strategies, gates and tasks drawn for a policy, and the people at the
//! gates.

use std::{sync::Arc, time::Duration};

use rollback_core::{
    entry::{Command, Step},
    policy::Policy,
};
use serde_json::{Value, json};

use super::{
    random::Random,
    world::{Event, World},
};

/// The same policy with a rollout of another kind.
#[expect(clippy::expect_used, reason = "policies of the simulator's own")]
pub(super) fn with_plan(policy: &Policy, random: &mut Random) -> Arc<Policy> {
    let mut text = serde_json::to_value(policy).expect("a policy can be written");
    let keys = text.as_object_mut().expect("a policy is an object");
    let holdback = keys.remove("holdback").unwrap_or_default();
    let check = keys.remove("check").unwrap_or_default();
    let bake = keys.get("bake").cloned().unwrap_or_default();
    let mut two_arms = true;
    let strategy = match random.below(6) {
        0 => {
            keys.insert("holdback".to_owned(), holdback);
            keys.insert("check".to_owned(), check);
            json!("blue_green")
        }
        1 | 2 => {
            keys.insert("check".to_owned(), check);
            let (shares, wait) = (["10%", "50%", "100%"], format!("{}s", random.between(1, 6)));
            if random.chance(400) {
                let back = ["50%", "100%"];
                json!({ "canary": { "steps": shares, "wait": wait, "rollback_steps": back } })
            } else {
                json!({ "canary": { "steps": shares, "wait": wait } })
            }
        }
        3 => {
            two_arms = false;
            json!("recreate")
        }
        _ => json!({ "steps": steps(&bake, random) }),
    };
    keys.insert("tasks".to_owned(), tasks(&strategy, random));
    keys.insert("strategy".to_owned(), strategy);
    if !two_arms && let Some(Value::Array(triggers)) = keys.get_mut("triggers") {
        triggers.retain(|rule| rule.get("name") != Some(&json!("compared")));
    }
    serde_json::from_value::<Policy>(text)
        .expect("a valid policy")
        .shared()
}

fn steps(bake: &Value, random: &mut Random) -> Value {
    let gate = |name: &str, random: &mut Random| {
        let then = match random.below(3) {
            0 => "hold",
            1 => "roll_back",
            _ => "promote",
        };
        json!({ "gate": name, "within": format!("{}s", random.between(5, 40)), "then": then })
    };
    let mut steps = vec![json!({ "converge": "beside" }), json!({ "check": "1s" })];
    if random.chance(500) {
        steps.push(json!({ "task": "smoke" }));
    }
    if random.chance(500) {
        steps.push(gate("ready", random));
    }
    steps.push(json!({ "weight": "20%" }));
    steps.push(json!({ "wait": format!("{}s", random.between(1, 5)) }));
    if random.chance(500) {
        steps.push(gate("more", random));
    }
    if random.chance(300) {
        steps.push(json!({ "task": "load" }));
    }
    steps.push(json!({ "weight": "90%" }));
    steps.push(json!({ "bake": bake }));
    steps.push(json!({ "weight": "100%" }));
    steps.push(json!({ "retire": "stable" }));
    Value::Array(steps)
}

/// Those that the steps name, and some that run at their own time.
fn tasks(strategy: &Value, random: &mut Random) -> Value {
    let named = strategy.to_string();
    let mut tasks = serde_json::Map::new();
    for name in ["smoke", "load"] {
        if named.contains(&format!(r#"{{"task":"{name}"}}"#)) {
            tasks.insert(name.to_owned(), task(None, random));
        }
    }
    for when in ["before", "ready", "after"] {
        if random.chance(350) {
            tasks.insert(format!("task_{when}"), task(Some(when), random));
        }
    }
    if random.chance(350) {
        tasks.insert("restore".to_owned(), restore(random));
    }
    Value::Object(tasks)
}

fn restore(random: &mut Random) -> Value {
    let consent = if random.chance(500) { "given" } else { "ask" };
    let then = if random.chance(500) { "hold" } else { "go_on" };
    let within = format!("{}s", random.between(15, 60));
    json!({
        "when": "restore", "loses": "orders", "consent": consent, "within": within,
        "on_failure": then,
    })
}

fn task(when: Option<&str>, random: &mut Random) -> Value {
    let then = match random.below(3) {
        // After everything nothing is left to go back to.
        0 if when != Some("after") => "roll_back",
        1 => "go_on",
        _ => "hold",
    };
    let mut task = json!({ "within": format!("{}s", random.between(15, 60)), "on_failure": then });
    if let (Some(when), Some(keys)) = (when, task.as_object_mut()) {
        keys.insert("when".to_owned(), json!(when));
    }
    task
}

/// How long gates, tasks and waits of a rollout may take, and the tasks after a rollback.
pub(super) fn longest(policy: &Policy) -> Duration {
    use rollback_core::policy::PlannedStep;
    let tasks: Duration = policy.tasks.iter().map(|task| task.within * 2).sum();
    let steps: Duration = policy
        .strategy
        .steps()
        .iter()
        .map(|step| match step {
            PlannedStep::Gate { within, .. } => *within,
            PlannedStep::Wait(length) | PlannedStep::Check(length) => *length,
            PlannedStep::Weight(_) => policy.deadlines.shift,
            _ => Duration::ZERO,
        })
        .sum();
    let back = u32::try_from(policy.strategy.shares_back().len()).unwrap_or(0);
    tasks + steps + policy.deadlines.shift * back
}

impl World<'_> {
    /// Somebody opens the gate that the rollout waits at, if it waits at one.
    pub(super) fn approve(&mut self) {
        let gate = self
            .known
            .open
            .as_ref()
            .and_then(|open| match open.running()? {
                Step::Gate { name, .. } => Some(Arc::clone(name)),
                _ => None,
            });
        if let Some(gate) = gate {
            self.happen(Event::Command(Command::Approve { gate }));
        }
    }
}
