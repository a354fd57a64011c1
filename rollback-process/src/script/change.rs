//! How a change is taken: fenced, written down, then the script is started.

use std::{ffi::OsString, path::PathBuf, sync::Arc};

use rollback_core::model::{
    Accepted, Change, ChangeError, ChangeId, ChangeRequest, Pace, Placement, ReleaseId, ServiceId,
    Share, Wanted, Weight,
};
use tokio::sync::{Notify, oneshot};

use super::{
    contract::{Meaning, Verb, meaning, percentage},
    course::refuse_shares,
    observation::{etag, wanted},
    release::ScriptRelease,
    run::{Ended, Order, Progress, prune},
    settings::Settings,
    state::{Begun, ScriptDir, ScriptState, VerbRecord},
    status::Status,
};
use crate::{
    files::{StateError, file_name},
    instance::now,
};

/// Runs of a service whose output is kept.
const KEPT_RUNS: usize = 20;

/// One service's state and script. Its methods block: not for the async runtime's threads.
#[derive(Debug, Clone)]
pub(crate) struct Desk {
    pub(crate) dir: ScriptDir,
    pub(crate) service: ServiceId,
    pub(crate) settings: Arc<Settings>,
    pub(crate) news: Arc<Notify>,
}

/// Whose last lines, and how many.
pub(crate) struct Word {
    pub(crate) release: ReleaseId,
    pub(crate) lines: usize,
}

/// What a change becomes for the script.
struct Call {
    verb: VerbRecord,
    /// The release that the call is about.
    release: ReleaseId,
    args: Vec<String>,
    env: Vec<(&'static str, String)>,
}

impl Desk {
    /// The state as it is now, the end of a script that ended meanwhile included.
    pub(crate) fn current(&self) -> Result<ScriptState, StateError> {
        let state = self.dir.state()?;
        if state
            .change
            .as_ref()
            .is_none_or(|begun| begun.end.is_some())
        {
            return Ok(state);
        }
        let _lock = self.dir.lock()?;
        self.settled()
    }

    /// The same, for whoever holds the lock.
    fn settled(&self) -> Result<ScriptState, StateError> {
        let state = self.dir.state()?;
        let Some(begun) = state.change.as_ref().filter(|begun| begun.end.is_none()) else {
            return Ok(state);
        };
        let meaning = match self.dir.run(&begun.run).progress()? {
            Progress::Running { .. } => return Ok(state),
            // The controller died before it started the script.
            Progress::NotStarted => Meaning::NotSent("the script was not started".to_owned()),
            Progress::Ended(ended) => self.meaning(begun, &ended),
        };
        let state = state.ended(meaning, now());
        self.dir.keep(&state)?;
        Ok(state)
    }

    /// Begins the change, in `tree` if it is to run there. Tells when its script has ended; none if no script has to be run.
    pub(crate) fn begin(
        &self,
        request: &ChangeRequest,
        status: Option<&Status>,
        tree: Option<PathBuf>,
    ) -> Result<Option<oneshot::Receiver<()>>, ChangeError> {
        let _lock = self.dir.lock()?;
        let state = self.fenced(self.settled()?, request, status)?;
        let mut next = state.clone();
        let call = self.call(request, &mut next)?;
        let definition = self.definition(&call.release, request)?;
        let mut order = self.order(&call, definition.as_ref(), request)?;
        order.working_dir = tree.unwrap_or(order.working_dir);

        prune(&self.dir.runs(), KEPT_RUNS);
        let name = file_name(&request.id.to_string());
        let run = self.dir.run(&name);
        if run.progress()? != Progress::NotStarted {
            return Err(ChangeError::refused(format!(
                "the change {} was made before; a new attempt has a new number",
                request.id
            )));
        }
        let next = next.begin(request, call.verb, name, now());
        self.dir.keep(&next)?;
        let undo = |error: ChangeError| {
            let why = Meaning::NotSent(error.to_string());
            self.dir.keep(&next.clone().ended(why, now()))?;
            Err(error)
        };
        if !self.needs_script(call.verb) {
            let done = next.ended(Meaning::Done, now());
            self.dir.keep(&done)?;
            return Ok(None);
        }
        // Writing may have taken its time.
        if now() > request.not_after {
            return undo(ChangeError::not_sent("its time had passed"));
        }
        let (sender, ended) = oneshot::channel();
        let desk = self.clone();
        let id = request.id.clone();
        let started = run.start(&order, move |_| {
            desk.script_ended(&id);
            let _ = sender.send(());
        });
        match started {
            Ok(()) => Ok(Some(ended)),
            Err(error) => undo(ChangeError::not_sent(error)),
        }
    }

    /// What is answered to whoever asked for the change: taken, unless it is known otherwise.
    pub(crate) fn answer(&self, id: &ChangeId) -> Result<Accepted, ChangeError> {
        let _lock = self.dir.lock().map_err(ChangeError::maybe_sent)?;
        let state = self.settled().map_err(ChangeError::maybe_sent)?;
        let accepted = |state: &ScriptState| {
            let etag = if self.settings.can(Verb::Status) {
                None
            } else {
                etag(state, None)?
            };
            Ok(Accepted::at(etag))
        };
        let Some(begun) = state.change.as_ref().filter(|begun| begun.id == *id) else {
            return Err(ChangeError::maybe_sent("another change followed at once"));
        };
        match &begun.end {
            None => {
                let mut taken = state.clone();
                if let Some(begun) = &mut taken.change {
                    begun.accepted = true;
                }
                self.dir.keep(&taken).map_err(ChangeError::maybe_sent)?;
                accepted(&taken)
            }
            Some(Meaning::Done) => accepted(&state),
            // Begun: that the release fails is seen, and rolled back.
            Some(Meaning::Failed(_)) if matches!(begun.change, Change::Converge { .. }) => {
                accepted(&state)
            }
            Some(Meaning::Failed(why) | Meaning::Refused(why)) => Err(ChangeError::refused(why)),
            Some(Meaning::NotSent(why)) => Err(ChangeError::not_sent(why)),
            Some(Meaning::Conflict) => Err(ChangeError::Conflict { now: None }),
            Some(Meaning::InDoubt(why)) => Err(ChangeError::maybe_sent(why)),
        }
    }

    pub(crate) fn resolve(&self, made: bool) -> Result<(), ChangeError> {
        let _lock = self.dir.lock()?;
        let state = self.settled()?.resolved(made, now());
        Ok(self.dir.keep(&state)?)
    }

    pub(crate) fn cancel(&self) -> Result<(), ChangeError> {
        let state = self.dir.state()?;
        match state.change.filter(|begun| begun.end.is_none()) {
            Some(begun) => Ok(self.dir.run(&begun.run).cancel()?),
            None => Ok(()),
        }
    }

    pub(crate) fn last_words(&self, word: &Word) -> Result<Vec<String>, ChangeError> {
        let state = self.dir.state()?;
        let of_change = state.change.as_ref().filter(|begun| match &begun.change {
            Change::Converge { release, .. } | Change::Retire { release } => {
                *release == word.release
            }
            _ => true,
        });
        let of_arm = state.arms.get(&word.release).map(|arm| arm.run.as_str());
        let run = of_change.map(|begun| begun.run.as_str()).or(of_arm);
        Ok(run.map_or_else(Vec::new, |run| {
            self.dir.run(run).tail(word.lines, &self.settings.secrets())
        }))
    }

    fn script_ended(&self, id: &ChangeId) {
        let settled = self.dir.lock().and_then(|_lock| self.settled());
        if let Err(error) = settled {
            tracing::warn!(%error, change = %id, "the end of a script is written down at the next look");
        }
        self.news.notify_one();
    }

    fn meaning(&self, begun: &Begun, ended: &Ended) -> Meaning {
        let run = self.dir.run(&begun.run);
        let last = run.tail(1, &self.settings.secrets());
        let time_out = run.time_out().ok().flatten();
        meaning(ended, time_out, last.last().map(String::as_str))
    }

    /// The state that the change is decided for, or why it is another one.
    fn fenced(
        &self,
        mut state: ScriptState,
        request: &ChangeRequest,
        status: Option<&Status>,
    ) -> Result<ScriptState, ChangeError> {
        if let Some(begun) = state.change.as_ref().filter(|begun| begun.end.is_none()) {
            let converges = matches!(request.change, Change::Converge { .. });
            if self.settings.ends_what_runs && converges {
                self.dir.run(&begun.run).cancel()?;
                let why = Meaning::Failed("the script was ended for another release".to_owned());
                state = state.ended(why, now());
                self.dir.keep(&state)?;
                return self.fenced(state, request, status);
            }
            return Err(ChangeError::NotSent {
                why: format!("the script still runs for the change {}", begun.id),
                retry_after_ms: Some(1000),
            });
        }
        let now_wanted = wanted(&state, status)?;
        let mark = etag(&state, status)?;
        let same_mark =
            request.expect.etag.is_none() || mark.is_none() || request.expect.etag == mark;
        if now_wanted != request.expect.wanted || !same_mark {
            return Err(ChangeError::Conflict {
                now: super::observation::observe(&self.dir, &state, status)
                    .ok()
                    .map(Box::new),
            });
        }
        if let Some((begun, _)) = state.doubt() {
            let made = begun.change.applied_to(&begun.before) == now_wanted;
            state = state.resolved(made, now());
        }
        state.wanted = now_wanted;
        Ok(state)
    }

    /// The call for a change; `state` keeps which stage it is.
    fn call(&self, request: &ChangeRequest, state: &mut ScriptState) -> Result<Call, ChangeError> {
        let two_arms = self.settings.can(Verb::UpdateTraffic);
        match &request.change {
            Change::Converge { release, placement } => {
                let beside = *placement == Placement::Beside;
                if beside && !two_arms {
                    let why = "the script runs one release at a time: replace in place, or let it understand `update-traffic`";
                    return Err(ChangeError::unsupported(why));
                }
                let env = self.placement(*placement)?;
                Ok(Call {
                    verb: state.verb_for(release),
                    release: release.clone(),
                    args: Vec::new(),
                    env,
                })
            }
            Change::Weights { shares } if two_arms => {
                refuse_shares(&state.wanted, shares)?;
                let release = subject(state, shares).ok_or_else(|| {
                    ChangeError::refused("the traffic is divided between no releases")
                })?;
                let share = shares.iter().find(|share| share.release == release);
                let percent = percentage(share.map_or(Weight::NONE, |share| share.weight));
                let stage = state.stages.of(&request.id).to_string();
                Ok(Call {
                    verb: VerbRecord::UpdateTraffic,
                    release,
                    args: vec![percent.clone(), stage.clone()],
                    env: vec![("PERCENTAGE", percent), ("STAGE", stage)],
                })
            }
            Change::Retire { release } => {
                if state.wanted.weight(release) > Weight::NONE {
                    return Err(ChangeError::refused(format!(
                        "{release} carries {} of the traffic; move it away first",
                        state.wanted.weight(release)
                    )));
                }
                Ok(Call {
                    verb: VerbRecord::Retire,
                    release: release.clone(),
                    args: Vec::new(),
                    env: Vec::new(),
                })
            }
            other => Err(ChangeError::unsupported(format!(
                "the script cannot {other}; it understands no verb for that"
            ))),
        }
    }

    /// How the script is told where and how fast, if it says that it understands that.
    fn placement(&self, placement: Placement) -> Result<Vec<(&'static str, String)>, ChangeError> {
        let pace = match placement {
            Placement::Beside => return Ok(vec![("PLACEMENT", "beside".to_owned())]),
            Placement::InPlace(pace) => pace,
        };
        let (word, mut env) = match pace {
            Pace::AtOnce => ("at_once", Vec::new()),
            Pace::StopFirst if self.settings.stops_first => ("stop_first", Vec::new()),
            Pace::Rolling {
                max_unavailable,
                max_surge,
            } if self.settings.rolls => (
                "rolling",
                vec![
                    ("MAX_UNAVAILABLE", max_unavailable.to_string()),
                    ("MAX_SURGE", max_surge.to_string()),
                ],
            ),
            other => {
                return Err(ChangeError::unsupported(format!(
                    "the script does not say that it replaces {other}"
                )));
            }
        };
        env.push(("PLACEMENT", "in_place".to_owned()));
        env.push(("PACE", word.to_owned()));
        Ok(env)
    }

    fn needs_script(&self, verb: VerbRecord) -> bool {
        self.settings.can(verb.into())
    }

    /// The definition of the release, kept for a later rollback to it.
    fn definition(
        &self,
        release: &ReleaseId,
        request: &ChangeRequest,
    ) -> Result<Option<ScriptRelease>, ChangeError> {
        let kept = self.dir.definition(release)?;
        let given = match &request.change {
            Change::Converge { release: one, .. } if one == release => request.definition.clone(),
            _ => None,
        };
        if let (Some(kept), Some(given)) = (&kept, &given)
            && kept != given
        {
            return Err(ChangeError::refused(format!(
                "the release {release} is known with another definition; a release never changes: give the new one another id"
            )));
        }
        let converges = matches!(request.change, Change::Converge { .. });
        let Some(definition) = kept.clone().or(given) else {
            if !converges {
                return Ok(None);
            }
            let why = format!("nothing is known of the release {release}; send its definition");
            return Err(ChangeError::refused(why));
        };
        let parsed = ScriptRelease::from_definition(&definition).map_err(ChangeError::refused)?;
        if kept.is_none() {
            self.dir.keep_definition(release, &definition)?;
        }
        Ok(Some(parsed))
    }

    fn order(
        &self,
        call: &Call,
        definition: Option<&ScriptRelease>,
        request: &ChangeRequest,
    ) -> Result<Order, ChangeError> {
        let settings = &self.settings;
        let env = settings.environment(definition);
        let mut env = env.map_err(ChangeError::refused)?;
        let mut set = |name: &str, value: &str| env.push((OsString::from(name), value.into()));
        set("SERVICE", self.service.as_str());
        set("RELEASE", call.release.as_str());
        set("DEPLOYMENT_ID", request.id.deployment.as_str());
        set("CHANGE_ID", &request.id.to_string());
        if let Some(previous) = previous(&request.expect.wanted, &call.release) {
            set("PREVIOUS_RELEASE", previous.as_str());
        }
        if let Some(etag) = &request.expect.etag {
            set("EXPECTED_ETAG", etag.as_str());
        }
        for (name, value) in &call.env {
            set(name, value);
        }
        let mut args = vec![Verb::from(call.verb).word().to_owned()];
        args.extend(call.args.iter().cloned());
        Ok(Order {
            program: settings.program.clone(),
            args,
            env,
            working_dir: settings.working_dir.clone(),
            time_out: settings.time_out,
        })
    }
}

/// The release that a division of the traffic is about: the one deployed last, if it has a share or
/// runs; the other one has the rest.
fn subject(state: &ScriptState, shares: &[Share]) -> Option<ReleaseId> {
    let newest = state.newest.as_ref().filter(|one| state.wanted.runs(one));
    let main = shares.iter().max_by_key(|share| share.weight);
    newest.or_else(|| main.map(|share| &share.release)).cloned()
}

/// The release with the most traffic beside this one, else any other.
fn previous<'a>(wanted: &'a Wanted, release: &ReleaseId) -> Option<&'a ReleaseId> {
    let others = wanted.iter().filter(|(one, _)| *one != release);
    others.max_by_key(|(_, weight)| *weight).map(|(one, _)| one)
}
