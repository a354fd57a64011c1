//! A rollback as a journal has it, for the tests of whoever reads journals.

use std::time::Duration;

use rollback_core::entry::{
    Deploy, Entry, Fact, Input, LedgerReason, PlanKind, SCHEMA, Standing, Step,
};
use rollback_core::model::{
    Actor, Cause, DeploymentId, Epoch, Explanation, Outcome, ReleaseId, Seq, Timestamp, TriggerId,
    Weight,
};

pub(crate) fn release(text: &str) -> ReleaseId {
    ReleaseId::new(text).unwrap()
}

fn d1() -> DeploymentId {
    DeploymentId::new("d1").unwrap()
}

fn entry(seq: u64, input: Input, facts: Vec<Fact>) -> Entry {
    Entry {
        seq: Seq::new(seq),
        epoch: Epoch::new(1),
        at: Timestamp::from_millis(i64::try_from(seq).unwrap() * 1000),
        schema: SCHEMA,
        input,
        facts,
    }
}

fn cause() -> Cause {
    let explanation = Explanation {
        sentence: "30 % of aaaa's answers are bad".into(),
        ..Explanation::default()
    };
    Cause::Trigger {
        trigger: TriggerId::new("errors", 1),
        explanation,
    }
}

/// v2 (id aaaa) is deployed, gets users, is rolled back to v1 (id bbbb).
pub(crate) fn journal() -> Vec<Entry> {
    let deploy = Deploy::new(release("aaaa"), "v2").into();
    let command = Input::Command {
        actor: Actor::new("quickstart"),
        reason: "".into(),
        command: deploy,
    };
    let steps = |main: &str| {
        let share = rollback_core::model::Share {
            release: release(main),
            weight: Weight::ALL,
        };
        vec![
            Step::Weights {
                shares: vec![share],
            },
            Step::Verify {
                hold_for: Duration::from_secs(3),
            },
        ]
    };
    let plan = |kind, main| Fact::PlanMade {
        deployment: d1(),
        kind,
        stable: Some(release("bbbb")),
        steps: steps(main),
    };
    let enter = |number, index| Fact::StepEntered {
        deployment: d1(),
        number,
        index,
        deadline: Timestamp::default(),
    };
    let done = |number| Fact::StepDone {
        deployment: d1(),
        number,
    };
    let rolled_back = Outcome::RolledBack {
        from: release("aaaa"),
        to: release("bbbb"),
        cause: cause(),
    };
    let adopted = Fact::LedgerChanged {
        release: release("bbbb"),
        name: "v1".into(),
        standing: Standing::Proven,
        because: LedgerReason::Adopted,
    };
    let opened = Fact::DeploymentOpened {
        deployment: d1(),
        candidate: release("aaaa"),
        name: "v2".into(),
        actor: Actor::new("quickstart"),
        policy: rollback_core::model::PolicyDigest::of("p"),
        triggers: Vec::new(),
        engine: "1".into(),
        supersedes: None,
        way_back: None,
        expedited: None,
        irreversible: None,
        adopted: false,
    };
    let decided = Fact::RollbackDecided {
        deployment: d1(),
        target: release("bbbb"),
        attempt: 1,
        cause: cause(),
    };
    let words = Input::LastWords {
        release: release("aaaa"),
        lines: (0..9).map(|n| format!("ERROR {n}")).collect(),
    };
    vec![
        entry(1, Input::Woke, vec![adopted]),
        entry(
            2,
            command,
            vec![opened, plan(PlanKind::Rollout, "aaaa"), enter(1, 0)],
        ),
        entry(3, Input::Woke, vec![done(1)]),
        entry(
            4,
            Input::Woke,
            vec![decided, plan(PlanKind::Rollback, "bbbb"), enter(2, 0)],
        ),
        entry(5, Input::Woke, vec![done(2), enter(3, 1)]),
        entry(6, words, vec![]),
        entry(
            7,
            Input::Woke,
            vec![
                done(3),
                Fact::Ended {
                    deployment: d1(),
                    outcome: rolled_back,
                },
            ],
        ),
    ]
}
