//! A platform that is two scripts: one deploys, one rolls back.

use std::{
    collections::BTreeMap,
    fs,
    io::{Read, Seek, SeekFrom},
    os::unix::process::CommandExt,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    sync::{Mutex, PoisonError},
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use async_trait::async_trait;
use rollback::{
    model::{
        Accepted, ArmObservation, ArmState, Change, ChangeError, ChangeId, ChangeRequest, Etag,
        Instance, InstanceId, InstanceState, Observation, Release, ReleaseId, ServiceId, Timestamp,
        Wanted, Weight,
    },
    ports::{Capabilities, Deployer},
};
use rustix::process::Signal;
use serde::{Deserialize, Serialize};

use crate::errand::{self, Errand};

/// What ran before the service was guarded.
pub(crate) const BEFORE: &str = "before-guard";

/// How a release is brought in, and how it is left again.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct ScriptDefinition {
    /// What people call it.
    pub(crate) name: String,
    /// The deploy command.
    pub(crate) deploy: Vec<String>,
    /// The command that leads back to the release before.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(crate) rollback: Vec<String>,
    /// Where they run.
    pub(crate) directory: PathBuf,
    /// Where the service answers afterwards.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) address: Option<String>,
}

/// Deploy scripts as a platform. One controller at a time uses its folder.
#[derive(Debug)]
pub(crate) struct Scripts {
    folder: PathBuf,
    state: Mutex<State>,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
struct State {
    revision: u64,
    wanted: Wanted,
    /// Which release the last script was run for.
    at: ReleaseId,
    /// For which deployment.
    within: Option<String>,
    /// The record of the last script; none if none ran yet.
    record: Option<PathBuf>,
    since: Timestamp,
    last_change: Option<ChangeId>,
    known: BTreeMap<ReleaseId, ScriptDefinition>,
}

impl Scripts {
    pub(crate) fn open(folder: &Path) -> std::io::Result<Self> {
        let path = folder.join("state.json");
        let state = match fs::read(&path) {
            Ok(text) => serde_json::from_slice(&text)?,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
                let before = ReleaseId::new(BEFORE).map_err(std::io::Error::other)?;
                State {
                    revision: 0,
                    wanted: Wanted::only(before.clone()),
                    at: before,
                    within: None,
                    record: None,
                    since: now(),
                    last_change: None,
                    known: BTreeMap::new(),
                }
            }
            Err(error) => return Err(error),
        };
        Ok(Self {
            folder: folder.to_owned(),
            state: Mutex::new(state),
        })
    }

    fn state(&self) -> State {
        self.state
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    fn keep(&self, state: State) -> std::io::Result<()> {
        let partial = self.folder.join("state.partial");
        fs::write(&partial, serde_json::to_vec(&state)?)?;
        fs::File::open(&partial)?.sync_all()?;
        fs::rename(partial, self.folder.join("state.json"))?;
        *self.state.lock().unwrap_or_else(PoisonError::into_inner) = state;
        Ok(())
    }

    /// Which script leads to `to`, and as what it is told to do so.
    fn script(state: &State, to: &ReleaseId, deployment: &str) -> Result<Vec<String>, ChangeError> {
        let left = state.known.get(&state.at);
        let way_back = state.within.as_deref() == Some(deployment) || to.as_str() == BEFORE;
        let own = state.known.get(to);
        match (way_back, left, own) {
            (true, Some(left), _) if !left.rollback.is_empty() => Ok(left.rollback.clone()),
            (false, _, Some(own)) => Ok(own.deploy.clone()),
            (true, _, Some(own)) => Ok(own.deploy.clone()),
            _ => Err(ChangeError::refused(format!(
                "nothing leads back to {to}: give --rollback-command"
            ))),
        }
    }

    fn start(&self, state: &mut State, to: &ReleaseId, id: &ChangeId) -> Result<(), ChangeError> {
        let script = Self::script(state, to, id.deployment.as_str())?;
        let name = |release: &ReleaseId| match state.known.get(release) {
            Some(known) => known.name.clone(),
            None => release.to_string(),
        };
        let (to_name, from_name) = (name(to), name(&state.at));
        let directory = state
            .known
            .get(to)
            .or_else(|| state.known.get(&state.at))
            .map_or_else(|| PathBuf::from("."), |known| known.directory.clone());
        let record = self.folder.join(format!("{id}.end"));
        let log = fs::File::create(self.log(id)).map_err(ChangeError::not_sent)?;
        let guard = std::env::current_exe().map_err(ChangeError::not_sent)?;
        let filled = |word: &String| word.replace("{{release}}", &to_name);
        Command::new(guard)
            .arg("errand")
            .arg("--record")
            .arg(&record)
            .arg("--")
            .args(script.iter().map(filled))
            .current_dir(directory)
            .env("GUARD_RELEASE", &to_name)
            .env("GUARD_RELEASE_BEFORE", from_name)
            .env("GUARD_DEPLOYMENT", id.deployment.as_str())
            .stdin(Stdio::null())
            .stdout(log.try_clone().map_err(ChangeError::not_sent)?)
            .stderr(log)
            .process_group(0)
            .spawn()
            .map_err(ChangeError::not_sent)?;
        state.at = to.clone();
        state.within = Some(id.deployment.to_string());
        state.record = Some(record);
        state.since = now();
        Ok(())
    }

    fn log(&self, id: &ChangeId) -> PathBuf {
        self.folder.join(format!("{id}.log"))
    }
}

#[async_trait]
impl Deployer for Scripts {
    fn capabilities(&self) -> Capabilities {
        Capabilities::least(Duration::ZERO)
            .with_compare_and_set()
            .with_tags()
            .with_stop_first()
    }

    async fn observe(&self, _: &ServiceId) -> Result<Observation, ChangeError> {
        let state = self.state();
        let errand = match &state.record {
            Some(record) => Some(errand::look(record).map_err(ChangeError::not_sent)?),
            None => None,
        };
        let (at_state, instance_state, carried) = match errand {
            None => (ArmState::Ready, InstanceState::Ready, Weight::ALL),
            Some(Errand::Running) => (ArmState::Converging, InstanceState::Starting, Weight::NONE),
            Some(Errand::Ended(end)) if end.success => {
                (ArmState::Ready, InstanceState::Ready, Weight::ALL)
            }
            Some(Errand::Ended(end)) => (
                ArmState::Failing {
                    why: format!("its script ended with {}", end.how).into(),
                },
                InstanceState::Unhealthy,
                Weight::NONE,
            ),
            Some(Errand::Lost) => (
                ArmState::Failing {
                    why: "its script was killed, and nobody knows how far it was".into(),
                },
                InstanceState::Unhealthy,
                Weight::NONE,
            ),
        };
        // What ran before anybody guarded it answered where its successors do.
        let any = state.known.values().next();
        let arms: Vec<ArmObservation> = state
            .wanted
            .iter()
            .map(|(release, _)| {
                let here = *release == state.at;
                let (arm, weight, one) = if here {
                    (at_state.clone(), carried, instance_state.clone())
                } else {
                    (ArmState::Ready, Weight::NONE, InstanceState::Ready)
                };
                let id = InstanceId::new(format!("{release}-script"));
                let instances: Vec<Instance> = id
                    .into_iter()
                    .map(|id| {
                        let known = state.known.get(release).or(any);
                        let address = known.and_then(|known| known.address.as_deref());
                        let instance = Instance::new(id, state.since, one.clone());
                        match address {
                            Some(address) => instance.at(address),
                            None => instance,
                        }
                    })
                    .collect();
                ArmObservation::new(release.clone(), arm, weight, instances)
            })
            .collect();
        let mut seen = Observation::new(state.wanted, arms);
        seen.etag = Etag::new(state.revision.to_string()).ok();
        seen.last_change = state.last_change;
        Ok(seen)
    }

    async fn apply(&self, _: &ServiceId, asked: &ChangeRequest) -> Result<Accepted, ChangeError> {
        let mut state = self.state();
        if state.wanted != asked.expect.wanted {
            return Err(ChangeError::Conflict { now: None });
        }
        if let Change::Converge { release, .. } = &asked.change
            && let Some(definition) = &asked.definition
        {
            let definition = serde_json::from_value(definition.value().clone())
                .map_err(|why| ChangeError::refused(format!("its definition: {why}")))?;
            state.known.insert(release.clone(), definition);
        }
        let wanted = asked.change.applied_to(&state.wanted);
        if let Change::Converge { release, placement } = &asked.change {
            if !placement.is_in_place() {
                return Err(ChangeError::unsupported(
                    "a script replaces what runs; use `strategy: recreate`",
                ));
            }
            if let Some(record) = &state.record {
                end(record).await?;
            }
            self.start(&mut state, release, &asked.id)?;
        }
        state.wanted = wanted;
        state.revision += 1;
        state.last_change = Some(asked.id.clone());
        let etag = Etag::new(state.revision.to_string()).ok();
        self.keep(state).map_err(ChangeError::maybe_sent)?;
        Ok(Accepted::at(etag))
    }

    async fn check(&self, _: &ServiceId, release: &Release) -> Result<(), ChangeError> {
        if release.id.as_str() == BEFORE {
            return Ok(());
        }
        serde_json::from_value::<ScriptDefinition>(release.definition.value().clone())
            .map(drop)
            .map_err(|why| ChangeError::refused(format!("its definition: {why}")))
    }

    async fn last_words(&self, _: &ServiceId, _: &ReleaseId, lines: usize) -> Vec<String> {
        let state = self.state();
        let Some(record) = state.record else {
            return Vec::new();
        };
        tail(&record.with_extension("log"), lines).unwrap_or_default()
    }
}

/// Ends a script that still runs: two at a time would undo each other's work.
async fn end(record: &Path) -> Result<(), ChangeError> {
    for (signal, looks) in [(Signal::TERM, 100), (Signal::KILL, 40)] {
        for _ in 0..looks {
            match errand::look(record).map_err(ChangeError::not_sent)? {
                Errand::Running => errand::signal(record, signal).map_err(ChangeError::not_sent)?,
                Errand::Ended(_) | Errand::Lost => return Ok(()),
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    }
    Err(ChangeError::not_sent("the script before it does not end"))
}

/// The last lines of a file, without control characters.
fn tail(path: &Path, lines: usize) -> std::io::Result<Vec<String>> {
    const MOST: u64 = 64 * 1024;
    let mut file = fs::File::open(path)?;
    let length = file.metadata()?.len();
    file.seek(SeekFrom::Start(length.saturating_sub(MOST)))?;
    let mut bytes = Vec::new();
    file.take(MOST).read_to_end(&mut bytes)?;
    let text = String::from_utf8_lossy(&bytes);
    let all: Vec<&str> = text.lines().collect();
    let from = all.len().saturating_sub(lines);
    let clean = |line: &&str| line.chars().filter(|c| !c.is_control()).collect();
    Ok(all
        .get(from..)
        .unwrap_or_default()
        .iter()
        .map(clean)
        .collect())
}

fn now() -> Timestamp {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    Timestamp::default().after(since.unwrap_or_default())
}
