//! What a policy does with the readings of a recording.

use std::{sync::Arc, time::Duration};

use serde::Serialize;

use super::{
    missing::{self, Missing, Unseen},
    recording::Recording,
    world::{CAPABILITIES, World},
};
use crate::{
    engine::{Engine, EngineConfig, TriggerStatus, VERSION},
    entry::{Deploy, Entry, Fact, Input, LedgerReason},
    model::{
        Action, Actor, Cause, Epoch, Explanation, Hold, HoldReason, MetricId, Outcome, ReleaseId,
        ServiceId, Timestamp, TriggerId, Verdict,
    },
    policy::{Bootstrap, Policy},
    ports::Trigger,
    triggers::{self, BuildError},
};

/// What is not in the recording.
#[derive(Debug, Clone, Default)]
#[non_exhaustive]
pub struct Circumstances {
    /// When the deployment began; else at the first row of the candidate.
    pub deploy_at: Option<Timestamp>,
    /// How often metrics are read; else as often as the policy says, and not more often than rows
    /// were kept.
    pub poll: Option<Duration>,
    /// The host's own rules, by name.
    pub host_triggers: Vec<Arc<dyn Trigger>>,
}

/// How far a deployment came before the recording ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum CourseEnd {
    /// It would have been promoted.
    Promoted,
    /// It would have been rolled back: what follows was never recorded.
    RolledBack,
    /// It would have waited for a person, to the end of the recording.
    Held,
    /// It would not have begun.
    Refused,
    /// A rule reads what is not in the recording, so nobody can say.
    NotComparable,
    /// The recording ends before the deployment does.
    Undecided,
}

impl CourseEnd {
    /// One word, as in the outcomes of deployments where there is one.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Self::Promoted => "promoted",
            Self::RolledBack => "rolled_back",
            Self::Held => "held",
            Self::Refused => "refused",
            Self::NotComparable => "not_comparable",
            Self::Undecided => "undecided",
        }
    }
}

/// What a policy did with a recording, and why.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[non_exhaustive]
pub struct Course {
    /// When the deployment began.
    pub began: Timestamp,
    /// How often metrics were read.
    pub poll: Duration,
    /// How far it came.
    pub end: CourseEnd,
    /// When that was decided; none if nothing was.
    pub decided_at: Option<Timestamp>,
    /// The rule that decided, or stood in the way.
    pub trigger: Option<TriggerId>,
    /// The numbers behind it.
    pub evidence: Explanation,
    /// What rules that may act, or must pass, read and the recording does not have.
    pub missing: Vec<Missing>,
    /// What rules that may not act said, and holds that ended by themselves: when, and what.
    pub remarks: Vec<(Timestamp, String)>,
    /// Metrics of the recording that the policy does not read.
    pub not_read: Vec<MetricId>,
    /// What every rule said when it was decided.
    pub triggers: Vec<TriggerStatus>,
}

/// Why a recording cannot be played.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum CourseError {
    /// A rule of the policy cannot be run.
    #[error(transparent)]
    Policy(#[from] BuildError),
    /// Nothing says when the deployment began.
    #[error(
        "no row is about the candidate, so nothing says when the deployment began; write `candidate` in `arm`, or give `--deploy-at`"
    )]
    NoCandidate,
    /// The deployment begins after the last row.
    #[error(
        "the deployment begins at {deploy_at}, and the last row is of {last}; give a time before it"
    )]
    AfterTheEnd {
        /// When it begins.
        deploy_at: Timestamp,
        /// The last row.
        last: Timestamp,
    },
}

impl Recording {
    /// Plays the recording to a policy, in a world in which the platform does at once what it is
    /// told: what would it have decided, and when?
    ///
    /// A row tells of the time before it, so the candidate's first row marks the begin and is not
    /// judged. The recording is not changed by what the policy does: after a rollback there is nothing to
    /// play, and a share of the traffic that the policy would have sent is the one that was
    /// recorded.
    ///
    /// ```
    /// use rollback_core::{backtest::{CourseEnd, Recording}, policy::Policy};
    /// let policy = Policy::from_json(r#"{"bake": "10m",
    ///     "metrics": {"errors": {"unit": "ratio", "bad": "b", "total": "t"}},
    ///     "triggers": [{"name": "many", "when": "errors > 5%", "for": "20s"}]}"#)?;
    /// let mut csv = "time,metric,arm,bad,total\n".to_owned();
    /// for poll in 0..60 {
    ///     csv += &format!("{},errors,candidate,{},100\n", poll * 10, if poll < 12 { 0 } else { 9 });
    /// }
    /// let course = Recording::from_csv(&csv)?.play(&policy, &Default::default())?;
    /// assert_eq!(course.end, CourseEnd::RolledBack);
    /// assert_eq!(course.decided_after().unwrap().as_secs(), 140);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    /// [`CourseError`] says what is missing.
    pub fn play(&self, policy: &Policy, around: &Circumstances) -> Result<Course, CourseError> {
        self.play_to(policy, around, |_| {})
    }

    /// The same, and every entry that a controller would have journaled is handed to `journal`.
    ///
    /// # Errors
    /// [`CourseError`] says what is missing.
    pub fn play_to(
        &self,
        policy: &Policy,
        around: &Circumstances,
        mut journal: impl FnMut(Entry),
    ) -> Result<Course, CourseError> {
        let rules = triggers::build(policy, &around.host_triggers)?;
        let last = self.last().unwrap_or_default();
        let deploy_at = around
            .deploy_at
            .or_else(|| self.first_of_candidate())
            .ok_or(CourseError::NoCandidate)?;
        if deploy_at > last {
            return Err(CourseError::AfterTheEnd { deploy_at, last });
        }
        let policy = self.playable(policy, around);
        let unseen = missing::unseen(&policy, &rules, |metric, arm| self.answers(metric, arm));
        let mut seen = Seen::new(deploy_at, policy.poll, unseen);
        let metrics = self.metrics().into_iter();
        let not_read = metrics.filter(|metric| policy.read(metric).is_none());
        seen.course.not_read = not_read.cloned().collect();
        let mut world = self.world(&policy, around, deploy_at);
        let mut tell = |engine: &Engine, entry: Entry, seen: &mut Seen| {
            for fact in &entry.facts {
                seen.take(engine, entry.at, fact);
            }
            if entry.keep() != crate::entry::Keep::No {
                journal(entry);
            }
        };
        for input in opening(&policy) {
            world.happens(input, |engine, entry| tell(engine, entry, &mut seen));
        }
        // The last row is believed until the next one would have been missing.
        let end = last.after(policy.poll + policy.poll / 2);
        while seen.end.is_none()
            && let Some(input) = world.sleep(end)
        {
            world.happens(input, |engine, entry| tell(engine, entry, &mut seen));
        }
        Ok(seen.conclude(&world.engine))
    }

    /// The policy at a pace at which the recording can answer; what serves was proven.
    fn playable(&self, policy: &Policy, around: &Circumstances) -> Policy {
        let mut policy = policy.clone();
        let pace = self.pace().unwrap_or_default();
        policy.poll = around.poll.unwrap_or_else(|| policy.poll.max(pace));
        policy.bootstrap = Bootstrap::TrustRunning;
        policy
    }

    fn world<'a>(
        &'a self,
        policy: &'a Policy,
        around: &Circumstances,
        deploy_at: Timestamp,
    ) -> World<'a> {
        let service = policy
            .service
            .clone()
            .unwrap_or_else(|| fixed(ServiceId::new("service")));
        let mut config = EngineConfig::new(service, CAPABILITIES);
        config.host_triggers.clone_from(&around.host_triggers);
        let stable = fixed(ReleaseId::new("stable"));
        World::new(config, policy, self, stable, deploy_at)
    }
}

impl Course {
    /// How long after its begin the deployment was decided.
    #[must_use]
    pub fn decided_after(&self) -> Option<Duration> {
        Some(tenths(self.decided_at?.since(self.began)))
    }
}

/// The steps before the watch take a millisecond each, since a look in the very millisecond of a
/// change does not count; they are none of the recording's.
fn tenths(duration: Duration) -> Duration {
    let millis = u64::try_from(duration.as_millis()).unwrap_or(u64::MAX);
    Duration::from_millis(millis - millis % 100)
}

/// What begins the deployment.
fn opening(policy: &Policy) -> [Input; 3] {
    [
        Input::Started {
            epoch: Epoch::new(1),
            owner: Arc::from("backtest"),
            engine: Arc::from(VERSION),
        },
        Input::PolicyOffered {
            digest: policy.digest(),
            policy: Arc::new(policy.clone()),
        },
        Input::Command {
            actor: Actor::new("backtest"),
            reason: Arc::from("a recording is played"),
            command: Deploy::new(fixed(ReleaseId::new("candidate")), "candidate").into(),
        },
    ]
}

#[expect(clippy::expect_used, reason = "a word of this file, which is an id")]
fn fixed<T>(id: Result<T, crate::model::IdError>) -> T {
    id.expect("an id")
}

/// What was decided so far.
#[derive(Debug)]
struct Seen {
    course: Course,
    end: Option<CourseEnd>,
    hold: Option<Hold>,
    unseen: Vec<Unseen>,
}

impl Seen {
    fn new(began: Timestamp, poll: Duration, unseen: Vec<Unseen>) -> Self {
        Self {
            course: Course {
                began,
                poll,
                end: CourseEnd::Undecided,
                decided_at: None,
                trigger: None,
                evidence: Explanation::default(),
                missing: unseen
                    .iter()
                    .flat_map(|rule| rule.missing.clone())
                    .collect(),
                remarks: Vec::new(),
                not_read: Vec::new(),
                triggers: Vec::new(),
            },
            end: None,
            hold: None,
            unseen,
        }
    }

    fn take(&mut self, engine: &Engine, at: Timestamp, fact: &Fact) {
        match fact {
            Fact::VerdictChanged {
                trigger,
                verdict: Verdict::Fail,
                action: action @ (Action::Observe | Action::Notify),
                explanation,
                ..
            } => {
                let why = explanation.as_ref().map_or("", |why| why.sentence.as_str());
                let remark = format!("{}, which may only {action}, failed: {why}", trigger.name);
                self.course.remarks.push((at, remark));
            }
            Fact::Held { reason, exits, .. } => {
                self.look(engine);
                self.hold = Some(Hold {
                    reason: reason.clone(),
                    since: at,
                    exits: exits.clone(),
                });
            }
            Fact::Released { exit, .. } => {
                if let Some(hold) = self.hold.take() {
                    let remark = format!("held since {}: {}; {exit}", hold.since, hold.reason);
                    self.course.remarks.push((at, remark));
                }
            }
            Fact::RollbackDecided { cause, .. } => {
                self.look(engine);
                self.decide(at, CourseEnd::RolledBack);
                if let Cause::Trigger {
                    trigger,
                    explanation,
                } = cause
                {
                    self.course.trigger = Some(trigger.clone());
                    self.course.evidence = explanation.clone();
                }
            }
            Fact::LedgerChanged {
                because: LedgerReason::Baked,
                ..
            } => self.look(engine),
            Fact::Ended { outcome, .. } if self.end.is_none() => match outcome {
                Outcome::Promoted { .. } => {
                    self.decide(at, CourseEnd::Promoted);
                    self.course.evidence.sentence = self.passed();
                }
                other => {
                    self.decide(at, CourseEnd::Refused);
                    self.course.evidence.sentence = other.to_string();
                }
            },
            _ => {}
        }
    }

    fn decide(&mut self, at: Timestamp, end: CourseEnd) {
        self.end = Some(end);
        self.course.end = end;
        self.course.decided_at = Some(at);
    }

    /// What the rules say now; kept if there are any.
    fn look(&mut self, engine: &Engine) {
        if let Some(active) = engine.status().active
            && !active.triggers.is_empty()
        {
            self.course.triggers = active.triggers;
        }
    }

    fn passed(&self) -> String {
        let passed = self
            .course
            .triggers
            .iter()
            .filter(|rule| rule.verdict == Verdict::Pass);
        let told: Vec<_> = passed
            .map(|rule| format!("{}: {}", rule.trigger.name, rule.explanation.sentence))
            .collect();
        format!(
            "the bake is over and the required triggers passed: {}",
            told.join("; ")
        )
    }

    fn conclude(mut self, engine: &Engine) -> Course {
        if self.end.is_none() {
            if self.hold.is_none() {
                self.look(engine);
            }
            self.course.evidence.sentence =
                "the recording ends before anything was decided".to_owned();
            if let Some(hold) = self.hold.take() {
                self.held(&hold);
            }
        }
        self.without_a_sight();
        self.course
    }

    fn held(&mut self, hold: &Hold) {
        self.decide(hold.since, CourseEnd::Held);
        self.course.trigger = match &hold.reason {
            HoldReason::TriggerFailed { trigger, .. }
            | HoldReason::Inconclusive { trigger, .. }
            | HoldReason::Blind { trigger, .. }
            | HoldReason::ExternalCause { trigger, .. } => Some(trigger.clone()),
            _ => None,
        };
        let rules = &self.course.triggers;
        let rule = rules
            .iter()
            .find(|rule| Some(&rule.trigger) == self.course.trigger.as_ref());
        if let Some(rule) = rule {
            self.course.evidence = rule.explanation.clone();
        }
        self.course.evidence.sentence = hold.reason.to_string();
    }

    /// A rule that saw nothing could have decided otherwise, unless another one went back before.
    fn without_a_sight(&mut self) {
        let decided_by = |rule: &Unseen| Some(&rule.trigger) == self.course.trigger.as_ref();
        let stands = match self.course.end {
            CourseEnd::RolledBack | CourseEnd::Held => {
                self.course.trigger.is_some() && !self.unseen.iter().any(decided_by)
            }
            CourseEnd::Refused => true,
            _ => false,
        };
        if let (false, Some(rule)) = (stands, self.unseen.first()) {
            self.course.end = CourseEnd::NotComparable;
            self.course.decided_at = None;
            self.course.trigger = Some(rule.trigger.clone());
            self.course.evidence = Explanation {
                sentence: rule.sentence(),
                ..Explanation::default()
            };
        }
    }
}
