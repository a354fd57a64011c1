//! The world of a story: a platform that does what it is told at once, unless the story says
//! otherwise; readings that the story sets; time that the story moves.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use rollback_core::{
    engine::{Engine, EngineConfig, replay},
    entry::{ChangeReport, Command, Deploy, Effect, Entry, Input, Keep, TaskAnswer, TaskReport},
    model::{
        Accepted, Actor, Arm, ArmState, ChangeError, ChannelId, Epoch, Etag, Irreversible,
        ReleaseId, ServiceId, Timestamp, Wanted, Weight,
    },
    policy::{Policy, parse_duration},
    ports::{Capabilities, Delivered, PermitDecision},
};

use super::{platform::Late, said};

pub(super) const START: i64 = 1_800_000_000_000;

pub(crate) struct World {
    pub(super) engine: Engine,
    pub(super) journal: Vec<Entry>,
    pub(super) epoch: u64,
    pub(super) now: Timestamp,
    pub(super) permits: bool,
    pub(super) permit: Option<PermitDecision>,
    pub(super) wanted: Wanted,
    pub(super) version: u64,
    /// Releases that are not ready though they should run, with their state.
    pub(super) sick: BTreeMap<ReleaseId, ArmState>,
    pub(super) crashes: BTreeMap<ReleaseId, u32>,
    /// What becomes of the next changes: the story's words.
    pub(super) next_results: Vec<String>,
    pub(super) late: Late,
    /// What each metric says of each arm, per second of the story.
    pub(super) values: BTreeMap<(String, Option<Arm>), String>,
    pub(super) blind: bool,
    pub(super) no_look: String,
    /// Releases that cannot be started again.
    gone: Vec<ReleaseId>,
    pub(super) platform_rollback: Option<rollback_core::model::PlatformRollback>,
    /// What of the release before still serves while it is replaced in place.
    pub(super) replaced: Option<(ReleaseId, Weight)>,
    /// How far a release that takes the place of another one gets at once.
    pub(super) takes_over: Weight,
    /// Tasks by the id of their attempt: `runs`, `succeeds` or `fails: why`.
    pub(super) tasks: BTreeMap<String, String>,
    /// What becomes of the next tasks: the story's words.
    pub(super) next_tasks: Vec<String>,
    pub(super) said: Vec<String>,
}

impl World {
    pub(crate) fn new() -> Self {
        let permits = false;
        Self {
            engine: engine(permits),
            journal: Vec::new(),
            epoch: 0,
            now: Timestamp::from_millis(START),
            permits,
            permit: Some(PermitDecision::Granted),
            wanted: Wanted::nothing(),
            version: 1,
            sick: BTreeMap::new(),
            crashes: BTreeMap::new(),
            next_results: Vec::new(),
            late: Late::default(),
            values: BTreeMap::new(),
            blind: false,
            no_look: String::new(),
            gone: Vec::new(),
            platform_rollback: None,
            replaced: None,
            takes_over: Weight::ALL,
            tasks: BTreeMap::new(),
            next_tasks: Vec::new(),
            said: Vec::new(),
        }
    }

    /// The journal once more through the engine gives the same facts.
    pub(crate) fn replays(&self) -> Result<(), String> {
        replay(config(self.permits), &self.journal)
            .map_err(|difference| format!("entry {}: {:?}", difference.seq, difference.first()))
    }

    /// Plays one command and gives what the engine said meanwhile.
    pub(crate) fn play(&mut self, command: &str) -> Result<Vec<String>, String> {
        let (line, block) = command.split_once('\n').unwrap_or((command, ""));
        let words: Vec<&str> = line.split_whitespace().collect();
        match words.as_slice() {
            ["policy"] => {
                let policy: Policy = Policy::from_yaml(block).map_err(|e| e.to_string())?;
                if self.epoch == 0 {
                    self.start();
                }
                self.input(Input::PolicyOffered {
                    digest: policy.digest(),
                    policy: Arc::new(policy),
                });
            }
            ["fleet"] => {
                self.permits = true;
                self.engine = engine(true);
            }
            ["fleet", "says", "yes"] => self.permit = Some(PermitDecision::Granted),
            ["fleet", "says", "nothing"] => self.permit = None,
            ["fleet", "says", "no:", why @ ..] => {
                self.permit = Some(PermitDecision::Denied {
                    why: Arc::from(why.join(" ")),
                });
            }
            ["runs", release] => self.wanted = Wanted::only(id(release)),
            ["deploy", release] => self.command(Deploy::new(id(release), release).into()),
            ["deploy", release, "although", "rejected"] => {
                self.command(Deploy::new(id(release), release).overriding(true).into());
            }
            ["deploy", release, "expedited"] => {
                self.command(Deploy::new(id(release), release).expedited(true).into());
            }
            ["deploy", release, "expedited", "without", "a", "reason"] => {
                self.command_for("", Deploy::new(id(release), release).expedited(true).into())
            }
            [
                "deploy",
                release,
                "which",
                "cannot",
                "be",
                "taken",
                "back:",
                why @ ..,
            ] => {
                let lost = Irreversible::under_traffic(why.join(" "));
                self.command(
                    Deploy::new(id(release), release)
                        .irreversible(Some(lost))
                        .into(),
                );
            }
            ["freeze"] => self.command(Command::Freeze { until: None }),
            ["freeze", "for", time] => {
                let until = Some(self.now.after(parse_duration(time)?));
                self.command(Command::Freeze { until });
            }
            ["unfreeze"] => self.command(Command::Unfreeze),
            ["kill", "switch", on @ ("on" | "off")] => {
                self.command(Command::KillSwitch { on: *on == "on" });
            }
            ["pause"] => self.command(Command::Pause),
            ["resume"] => self.command(Command::Resume),
            ["approve", gate] => self.command(Command::Approve {
                gate: Arc::from(*gate),
            }),
            ["next", "task", result @ ..] => self.next_tasks.push(result.join(" ")),
            ["the", "task", result @ ..] => {
                for task in self.tasks.values_mut() {
                    *task = result.join(" ");
                }
            }
            ["platform", "replaces", share, "at", "first"] => self.takes_over = percent(share)?,
            ["platform", "has", "replaced", share] => self.take_over(percent(share)?),
            ["promote"] => self.command(Command::Promote),
            ["abort"] => self.command(Command::Abort),
            ["rollback"] => self.command(Command::RollBack { to: None }),
            ["rollback", "to", release] => self.command(Command::RollBack {
                to: Some(id(release)),
            }),
            ["wait", time] => self.wait(parse_duration(time)?),
            ["crash"] => self.crash(),
            ["nobody", "for", time] => {
                self.now = self.now.after(parse_duration(time)?);
                self.crash();
            }
            ["metric", metric, "is", value] => self.set(metric, None, value),
            ["metric", metric, "of", arm, "is", value] => {
                let arm = match *arm {
                    "stable" => Arm::Stable,
                    "candidate" => Arm::Candidate,
                    other => return Err(format!("`{other}` is not an arm")),
                };
                self.set(metric, Some(arm), value);
            }
            ["metrics", "unreachable"] => self.blind = true,
            ["metrics", "reachable"] => self.blind = false,
            ["looks", "fail:", why @ ..] => self.no_look = why.join(" "),
            ["platform", "starts", release, "slowly"] => {
                self.sick.insert(id(release), ArmState::Converging);
            }
            ["platform", "gives", "up", release] => {
                self.sick.insert(
                    id(release),
                    ArmState::Failing {
                        why: Arc::from("exit status 1 at start"),
                    },
                );
            }
            ["platform", "has", release, "ready"] => {
                self.sick.remove(&id(release));
            }
            [release, "is", "gone"] => self.gone.push(id(release)),
            [release, "crashes"] => *self.crashes.entry(id(release)).or_default() += 1,
            ["next", "change", result @ ..] => self.next_results.push(result.join(" ")),
            ["somebody", "deploys", release] => {
                self.wanted = Wanted::only(id(release));
                self.version += 1;
            }
            ["platform", "rolls", "back", from, "to", to, state] => {
                let state = match *state {
                    "begins" => rollback_core::model::PlatformRollbackState::Started,
                    "ends" => rollback_core::model::PlatformRollbackState::Completed,
                    other => return Err(format!("`{other}`: begins or ends")),
                };
                self.platform_rollback = Some(rollback_core::model::PlatformRollback::new(
                    id(from),
                    id(to),
                    state,
                    "its circuit breaker",
                ));
                self.wanted = Wanted::only(id(to));
                self.version += 1;
            }
            _ => return Err(format!("no such command: {line}")),
        }
        Ok(std::mem::take(&mut self.said))
    }

    fn set(&mut self, metric: &str, arm: Option<Arm>, value: &str) {
        self.values
            .insert((metric.to_owned(), arm), value.to_owned());
    }

    fn command(&mut self, command: Command) {
        self.command_for("as told", command);
    }

    fn command_for(&mut self, reason: &str, command: Command) {
        self.input(Input::Command {
            actor: Actor::new("alice"),
            reason: Arc::from(reason),
            command,
        });
    }

    fn start(&mut self) {
        self.epoch += 1;
        self.input(Input::Started {
            epoch: Epoch::new(self.epoch),
            owner: Arc::from("story"),
            engine: Arc::from("test"),
        });
    }

    /// The controller dies and another one takes over; what was sent stays sent.
    pub(super) fn crash(&mut self) {
        let mut engine = engine(self.permits);
        for entry in &self.journal {
            // Through its written form, as from a disk.
            let text = serde_json::to_string(entry).unwrap();
            engine.restore(&serde_json::from_str(&text).unwrap());
        }
        self.engine = engine;
        self.start();
    }

    fn wait(&mut self, time: Duration) {
        let end = self.now.after(time);
        let mut rounds = 0;
        while let Some(wake) = self.engine.next_wake() {
            if wake.at > end {
                break;
            }
            rounds += 1;
            assert!(rounds < 10_000, "the engine never sleeps: {wake:?}");
            self.now = self.now.max(wake.at);
            self.input(Input::Woke);
        }
        self.now = end;
        self.input(Input::Woke);
    }

    fn input(&mut self, input: Input) {
        let mut inputs = vec![input];
        while let Some(input) = inputs.pop() {
            let entry = self.engine.handle(self.now, input);
            for fact in &entry.facts {
                self.say(&said::fact(fact));
            }
            if entry.keep() != Keep::No {
                self.journal.push(entry);
            }
            let mut effects = Vec::new();
            while let Some(effect) = self.engine.poll() {
                effects.push(effect);
            }
            let mut results = Vec::new();
            for effect in effects {
                if let Some(said) = said::effect(&effect) {
                    self.say(&said);
                }
                results.extend(self.perform(effect));
            }
            results.reverse();
            inputs.extend(results);
        }
    }

    pub(super) fn say(&mut self, what: &str) {
        let since = self.now.as_millis() - START;
        self.said.push(format!(
            "{:>7.1}s  {what}",
            Duration::from_millis(since as u64).as_secs_f64()
        ));
    }

    fn perform(&mut self, effect: Effect) -> Vec<Input> {
        match effect {
            Effect::Apply(request) => {
                let result = if self.next_results.is_empty() {
                    "is taken".to_owned()
                } else {
                    self.next_results.remove(0)
                };
                let taken = matches!(
                    result.as_str(),
                    "is taken" | "is taken, the answer is lost" | "is taken, the controller dies"
                );
                if taken {
                    self.take(&request.change);
                }
                let reported = match result.as_str() {
                    "is taken" => Ok(Accepted::at(Some(self.etag()))),
                    "is taken late" => self.send_late(&request),
                    "finds the late one" => self.late_arrives(),
                    "is taken, the answer is lost" | "is lost" => {
                        Err(ChangeError::maybe_sent("the connection broke"))
                    }
                    "hangs" => return Vec::new(),
                    "is taken, the controller dies" | "and the controller dies" => {
                        self.say("(the controller dies)");
                        self.crash();
                        return Vec::new();
                    }
                    "is not sent" => Err(ChangeError::not_sent("connection refused")),
                    "is refused" => Err(ChangeError::refused("not allowed")),
                    other => panic!("`next change {other}` is not known"),
                };
                vec![Input::Reported(ChangeReport {
                    id: request.id.clone(),
                    result: reported,
                })]
            }
            Effect::Observe { asked_at } => vec![Input::Observed {
                asked_at,
                result: self.look(),
            }],
            Effect::Read(reads) => vec![Input::Readings {
                answers: reads.requests.iter().map(|ask| self.read(ask)).collect(),
            }],
            Effect::StartTask { id, task, .. } => self
                .start_task(&id)
                .map(|result| {
                    Input::TaskReported(TaskReport {
                        id,
                        task,
                        answer: TaskAnswer::Started(result),
                    })
                })
                .into_iter()
                .collect(),
            Effect::AskTask { id, task, .. } => vec![Input::TaskReported(TaskReport {
                answer: TaskAnswer::Asked(Ok(self.ask_task(&id))),
                id,
                task,
            })],
            Effect::CancelTask { id, task, .. } => {
                self.tasks
                    .insert(id.to_string(), "fails: cancelled".to_owned());
                vec![Input::TaskReported(TaskReport {
                    id,
                    task,
                    answer: TaskAnswer::Cancelled(Ok(())),
                })]
            }
            Effect::Check { release } => vec![Input::Checked {
                result: if self.gone.contains(&release) {
                    Err(ChangeError::refused("its definition is gone"))
                } else {
                    Ok(())
                },
                release,
            }],
            Effect::RequestPermit(request) => self
                .permit
                .clone()
                .map(|decision| Input::Permit {
                    deployment: request.deployment,
                    attempt: request.attempt,
                    decision,
                })
                .into_iter()
                .collect(),
            Effect::CollectLastWords { release, .. } => vec![Input::LastWords {
                release,
                lines: vec!["error: told by the story".to_owned()],
            }],
            Effect::Notify { key, .. } => vec![Input::Notified {
                key,
                result: Ok(Delivered::default()),
            }],
            _ => Vec::new(),
        }
    }

    pub(super) fn etag(&self) -> Etag {
        Etag::new(format!("v{}", self.version)).unwrap()
    }
}

fn engine(permits: bool) -> Engine {
    Engine::new(config(permits))
}

fn config(permits: bool) -> EngineConfig {
    let capabilities = Capabilities::least(Duration::ZERO)
        .with_compare_and_set()
        .with_two_arms()
        .with_weights()
        .with_rolling()
        .with_stop_first();
    let config = EngineConfig::new(ServiceId::new("shop").unwrap(), capabilities)
        .with_channels(vec![ChannelId::new("chat").unwrap()]);
    if permits {
        config.with_permits()
    } else {
        config
    }
}

fn percent(text: &str) -> Result<Weight, String> {
    let number = text.trim_end_matches('%').parse::<u16>();
    let points = number.map_err(|error| error.to_string())? * 100;
    Weight::from_basis_points(points).map_err(|error| error.to_string())
}

fn id(text: &str) -> ReleaseId {
    ReleaseId::new(text).unwrap()
}
