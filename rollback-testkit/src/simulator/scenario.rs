//! What a seed stands for: a policy, releases and how they behave, a platform, how much goes wrong.

use std::{sync::Arc, time::Duration};

use rollback_core::{
    model::{
        ChannelId, Explanation, MetricId, ReleaseId, Scope, ServiceId, Timestamp, TriggerId,
        UnknownReason, Verdict,
    },
    policy::Policy,
    ports::{ArmSide, Evidence, MetricNeed, Trigger, WatchStart},
};

use super::random::Random;
use crate::platform::{Behaviour, Temper};

/// Stands for every secret that the engine could come across.
pub(super) const SECRET: &str = "hunter2-must-never-be-shown";

/// The limit of the rule `errors`.
pub(super) const ERROR_LIMIT: f64 = 0.05;

/// The world of one seed.
#[derive(Debug, Clone)]
pub(super) struct Scenario {
    pub(super) service: ServiceId,
    pub(super) bystander: ServiceId,
    pub(super) temper: Temper,
    pub(super) policies: Vec<Arc<Policy>>,
    pub(super) channels: Vec<ChannelId>,
    pub(super) permits: bool,
    pub(super) cumulative: bool,
    pub(super) releases: Vec<(ReleaseId, Kind, Behaviour)>,
    /// How much goes wrong; nothing at 0.
    pub(super) intensity: u64,
    pub(super) chaos: Duration,
    pub(super) stubborn: bool,
}

/// What a release is in truth.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    /// Nothing wrong.
    Good,
    /// Many of its answers are bad, from the start on.
    Errors,
    /// Turns bad while it is watched.
    Turns,
    /// Never becomes ready.
    Stuck,
    /// Ends again and again.
    Crashes,
    /// Slow, which some policies hold for.
    Slow,
    /// Not there.
    Missing,
}

impl Kind {
    pub(super) const fn is_clearly_bad(self) -> bool {
        matches!(self, Self::Errors | Self::Stuck | Self::Crashes)
    }
}

#[expect(clippy::expect_used, reason = "constants that are ids")]
pub(super) fn release_id(number: usize) -> ReleaseId {
    ReleaseId::new(format!("v{number}")).expect("an id")
}

#[expect(clippy::expect_used, reason = "constants that are ids")]
pub(super) fn metric(name: &str) -> MetricId {
    MetricId::new(name).expect("an id")
}

impl Scenario {
    #[expect(clippy::expect_used, reason = "constants that are ids")]
    pub(super) fn of(random: &mut Random) -> Self {
        let temper = match random.below(3) {
            0 => Temper::Strict,
            1 => Temper::Eventual,
            _ => Temper::SelfHealing,
        };
        let intensity = match random.below(4) {
            0 => 0,
            1 => 1,
            2 => 3,
            _ => 8,
        };
        // In some worlds everything is broken, whatever is deployed.
        let outage = random.chance(120);
        let mut releases = Vec::new();
        for number in 1..=8 {
            let kind = match random.below(12) {
                _ if number == 1 => Kind::Good,
                0..=4 => Kind::Good,
                5 | 6 => Kind::Errors,
                7 => Kind::Turns,
                8 => Kind::Stuck,
                9 => Kind::Crashes,
                10 => Kind::Slow,
                _ => Kind::Missing,
            };
            releases.push((release_id(number), kind, behaviour(kind, outage, random)));
        }
        let channels = ["pager", "chat"]
            .into_iter()
            .take(usize::try_from(random.below(3)).unwrap_or(0))
            .map(|name| ChannelId::new(name).expect("an id"))
            .collect();
        Self {
            service: ServiceId::new("checkout").expect("an id"),
            bystander: ServiceId::new("bystander").expect("an id"),
            temper,
            policies: vec![policy(random), policy(random)],
            channels,
            permits: random.chance(250),
            cumulative: random.chance(400),
            releases,
            intensity,
            chaos: random.millis(60_000, 300_000),
            stubborn: random.chance(100),
        }
    }

    /// The first three releases are good, so that they can all be proven; not where everything is
    /// broken.
    pub(super) fn season(&mut self) -> bool {
        let first = self.releases.first();
        if first.is_some_and(|(_, _, behaviour)| behaviour.error_rate > ERROR_LIMIT) {
            return false;
        }
        for (_, kind, behaviour) in self.releases.iter_mut().take(3) {
            if *kind != Kind::Good {
                *kind = Kind::Good;
                *behaviour = Behaviour::good().ready_after(Duration::from_secs(1));
            }
        }
        true
    }

    /// Each policy in another version of it.
    pub(super) fn redraw(&mut self, draw: impl FnMut(&Arc<Policy>) -> Arc<Policy>) {
        self.policies = self.policies.iter().map(draw).collect();
    }

    pub(super) fn kind(&self, release: &ReleaseId) -> Kind {
        self.releases
            .iter()
            .find(|(id, _, _)| id == release)
            .map_or(Kind::Missing, |(_, kind, _)| *kind)
    }

    pub(super) fn behaviour(&self, release: &ReleaseId) -> Option<&Behaviour> {
        self.releases
            .iter()
            .find(|(id, _, _)| id == release)
            .map(|(_, _, behaviour)| behaviour)
    }
}

fn behaviour(kind: Kind, outage: bool, random: &mut Random) -> Behaviour {
    let ready = random.millis(200, 3_000);
    let good = Behaviour::good()
        .ready_after(ready)
        .with_errors(if outage { 0.3 } else { 0.002 });
    match kind {
        Kind::Good => good,
        Kind::Errors => good.with_errors(0.4),
        Kind::Turns => good.turning(random.millis(5_000, 20_000), 0.5),
        Kind::Stuck => {
            let mut stuck = good;
            stuck.ready_after = None;
            stuck
        }
        Kind::Crashes => good
            .ready_after(Duration::from_millis(300))
            .exiting_after(random.millis(600, 1_500)),
        Kind::Slow => good.with_latency(3_000.0),
        Kind::Missing => Behaviour::refused("no such image"),
    }
}

#[expect(clippy::expect_used, reason = "a policy of the simulator's own")]
fn policy(random: &mut Random) -> Arc<Policy> {
    let per = match random.below(3) {
        0 => "arm",
        1 => "instance",
        _ => "service",
    };
    let holdback = if random.chance(400) { "10%" } else { "0%" };
    let poll = random.between(1, 3);
    let bake = random.between(6, 30);
    let delay = match random.below(5) {
        0 => format!(r#","delay":"{}s""#, random.between(1, 6)),
        _ => String::new(),
    };
    let mut triggers = vec![format!(
        r#"{{"name":"errors","when":"errors > 5%",{}{delay}}}"#,
        shape(random, poll)
    )];
    if random.chance(300) {
        triggers.push(r#"{"name":"slow","when":"p95 > 2s","for":"2s","action":"hold"}"#.to_owned());
    }
    if random.chance(200) {
        triggers.push(
            r#"{"name":"watched","when":"p95 > 1s","action":"notify","required":false}"#.to_owned(),
        );
    }
    if random.chance(300) && holdback != "0%" && per != "service" {
        triggers.push(
            r#"{"name":"compared","compare":"errors","max_false_rollback_rate":"1%"}"#.to_owned(),
        );
    }
    if random.chance(200) {
        triggers
            .push(r#"{"name":"own","host":true,"action":"observe","required":false}"#.to_owned());
    }
    let text = format!(
        r#"{{"poll":"{poll}s","bake":"{bake}s","holdback":"{holdback}","check":"{}s",
        "metrics":{{
          "errors":{{"unit":"ratio","per":"{per}","bad":"bad","total":"total"}},
          "p95":{{"unit":"ms","per":"arm","query":"latency"}}}},
        "triggers":[{}],
        "verify":{{"for":"{}s","within":"40s"}},
        "deadlines":{{"preflight":"{}s","converge":"40s","shift":"30s","retire":"30s","apply":"10s","doubt":"60s","permit":"20s"}},
        "budget":{{"rollbacks":{},"per":"20m","cooldown":"{}s"}},
        "blind_budget":"{}s","on_no_data":"{}","on_inconclusive":"{}","bootstrap":"{}",
        "crash_limit":{}}}"#,
        random.below(4),
        triggers.join(","),
        random.between(2, 8),
        random.between(15, 40),
        random.between(1, 3),
        random.below(3) * 60,
        random.between(10, 40),
        if random.chance(150) {
            "roll_back"
        } else {
            "hold"
        },
        if random.chance(500) {
            "promote"
        } else {
            "hold"
        },
        if random.chance(100) {
            "bake"
        } else {
            "trust_running"
        },
        random.between(2, 4),
    );
    serde_json::from_str::<Policy>(&text)
        .expect("a valid policy")
        .shared()
}

/// How often the errors have to be too many.
fn shape(random: &mut Random, poll: u64) -> String {
    match random.below(8) {
        0 => format!(r#""times":"{} of 4""#, random.between(2, 3)),
        1 => format!(r#""consecutive":{}"#, random.between(1, 3)),
        2 => format!(r#""share":"30%","over":"{}s""#, poll * random.between(3, 6)),
        3 => format!(r#""average":"{}s""#, poll * random.between(3, 5)),
        _ => format!(r#""for":"{}s""#, random.below(4)),
    }
}

/// A host's own rule, with a secret inside, that may panic.
#[derive(Debug)]
pub(super) struct OwnRule {
    /// Shown by `Debug`, as a careless host's would be.
    #[expect(dead_code, reason = "only `Debug` reads it")]
    pub(super) token: &'static str,
    pub(super) panics_after: Option<u32>,
}

#[derive(Debug)]
struct OwnEvidence {
    readings: u32,
    panics_after: Option<u32>,
}

impl Trigger for OwnRule {
    fn id(&self) -> TriggerId {
        TriggerId::new("own", 1)
    }
    fn reads(&self) -> Vec<MetricNeed> {
        vec![MetricNeed {
            metric: metric("errors"),
            side: ArmSide::OnTrial,
        }]
    }
    fn begin(&self, _: &WatchStart) -> Box<dyn Evidence> {
        Box::new(OwnEvidence {
            readings: 0,
            panics_after: self.panics_after,
        })
    }
}

impl Evidence for OwnEvidence {
    fn observe(
        &mut self,
        _: Timestamp,
        _: &MetricId,
        _: &Scope,
        _: &rollback_core::model::Reading,
    ) {
        self.readings += 1;
        if Some(self.readings) == self.panics_after {
            // Unlike `panic!` this does not write to the terminal a million times.
            std::panic::resume_unwind(Box::new("the host's own rule failed"));
        }
    }
    fn verdict(&self, _: Timestamp) -> Verdict {
        match self.readings {
            0 => Verdict::Unknown(UnknownReason::NothingYet),
            _ => Verdict::Pass,
        }
    }
    fn next_wake(&self, _: Timestamp) -> Option<Timestamp> {
        None
    }
    fn explain(&self, _: Timestamp) -> Explanation {
        Explanation::default()
    }
}
