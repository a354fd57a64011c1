//! A script as a [`Deployer`].

use std::{
    fmt, fs,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use async_trait::async_trait;
use rollback_core::{
    model::{
        Accepted, ChangeError, ChangeRequest, Observation, Release, ReleaseId, Secret, ServiceId,
    },
    ports::{Capabilities, Deployer},
};
use tokio::sync::Notify;

use super::{
    ask::ask,
    change::{Desk, Word},
    contract::Verb,
    observation::{etag, observe},
    release::ScriptRelease,
    settings::Settings,
    state::ScriptDir,
    status::Status,
    tree::{tree, tree_can_be_made},
};
use crate::{
    deployer::blocking,
    files::{StateError, failed},
    git::GitReleases,
    program::{self, ProgramError},
};

/// How long a question to the script (`status`, `check`) may take.
const PATIENCE: Duration = Duration::from_secs(20);

/// A script of your own as a platform: it deploys, it brings back, it divides the traffic.
///
/// It is called with a verb, in an environment that says what is asked:
///
/// | call | asked for |
/// |---|---|
/// | `deploy` | run `RELEASE` in the place of what runs, or beside it |
/// | `rollback` | bring `RELEASE` back, which the running release had replaced |
/// | `update-traffic PERCENTAGE STAGE` | this much to `RELEASE`, the rest to `PREVIOUS_RELEASE`; only if it [says so](Self::with_update_traffic) |
/// | `retire` | stop `RELEASE`, which carries no traffic; only if it [says so](Self::with_retire), else what is retired is only forgotten |
/// | `status` | print what runs, as JSON; only if it [says so](Self::with_status) |
/// | `check` | can `RELEASE` be run? only if it [says so](Self::with_check) |
///
/// | variable | holds |
/// |---|---|
/// | `SERVICE`, `DEPLOYMENT_ID`, `CHANGE_ID` | the service; the deployment; the change, another one for each attempt |
/// | `RELEASE`, `RELEASE_NAME`, `ARTEFACT`, `COMMIT` | the release that the call is about, by its [definition](ScriptRelease), whose own variables are set too |
/// | `PREVIOUS_RELEASE` | the release that serves beside or before it; not set if there is none |
/// | `PLACEMENT`, `PACE` | of `deploy` and `rollback`: `in_place` or `beside`; `at_once`, or what it [says](Self::with_rolling) that it [understands](Self::with_stop_first) |
/// | `PERCENTAGE`, `STAGE` | of `update-traffic`; stages count from 1 in each deployment |
/// | `EXPECTED_ETAG` | the mark that `status` gave when the change was decided |
///
/// | exit status | means |
/// |---|---|
/// | 0 | done |
/// | 64, 126, 127 | not begun: wrong usage, no such program |
/// | 69 | not begun, worth another attempt: something needed is not there now |
/// | 75 | nobody knows: looked at before anything else is done |
/// | 76 | another mark than `EXPECTED_ETAG`: nothing was changed |
/// | others, time-out | begun and failed: after `deploy`, the release is failing, and `rollback` follows |
///
/// A script that takes longer than three seconds is accepted while it runs; it goes on when the
/// controller dies, and the next controller finds it, or its exit status. One change at a time. What
/// was killed from outside left nobody who knows: that is in doubt, too. It is resolved by `status`,
/// or by a person with [`resolve`](Self::resolve); until then nothing is observed.
///
/// The script inherits `PATH`, `HOME`, `LANG`, `TZ`, `TMPDIR`, `USER`, `SHELL` and what it is
/// [given](Self::pass_env). Its output is kept (4 MiB, the last lines are shown, secrets left out).
///
/// ```
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// use rollback_core::{model::ServiceId, ports::Deployer as _};
/// use rollback_process::{ScriptDeployer, ScriptRelease};
///
/// # let dir = tempfile::tempdir()?;
/// # let state = dir.path();
/// let deployer = ScriptDeployer::open(state, "true")?.pass_env("KUBECONFIG");
/// let v42 = ScriptRelease::new("v42", "registry.example/shop:42").release()?;
/// let shop = ServiceId::new("shop")?;
/// deployer.check(&shop, &v42).await?;
/// assert!(deployer.observe(&shop).await?.wanted.is_empty());
/// # Ok(())
/// # }
/// ```
pub struct ScriptDeployer {
    root: PathBuf,
    settings: Arc<Settings>,
    git: Option<GitReleases>,
    news: Arc<Notify>,
}

impl ScriptDeployer {
    /// Opens the state directory, making it if it is not there, for a script: an absolute path, or
    /// a name that is looked up in `PATH`.
    ///
    /// # Errors
    /// The directory cannot be made, or the script cannot be run.
    pub fn open(root: impl AsRef<Path>, script: impl AsRef<Path>) -> Result<Self, ScriptError> {
        let io = |action| failed(action, root.as_ref());
        let root = std::path::absolute(root.as_ref()).map_err(io("find"))?;
        fs::create_dir_all(&root).map_err(io("create the folder"))?;
        let program = program::find(script.as_ref())?;
        let working_dir = std::env::current_dir().map_err(io("find the working directory for"))?;
        Ok(Self {
            root,
            settings: Arc::new(Settings::new(program, working_dir)),
            git: None,
            news: Arc::default(),
        })
    }

    /// Its releases are commits: `deploy` and `rollback` run in a clean tree of the release's own
    /// commit, the other verbs where they always run.
    #[must_use]
    pub fn in_worktrees_of(mut self, releases: GitReleases) -> Self {
        self.git = Some(releases);
        self
    }

    /// It understands `update-traffic PERCENTAGE STAGE`, and `deploy` with `PLACEMENT=beside`.
    #[must_use]
    pub fn with_update_traffic(self) -> Self {
        self.understanding(Verb::UpdateTraffic)
    }

    /// It understands `retire`.
    #[must_use]
    pub fn with_retire(self) -> Self {
        self.understanding(Verb::Retire)
    }

    /// It understands `check`.
    #[must_use]
    pub fn with_check(self) -> Self {
        self.understanding(Verb::Check)
    }

    /// It understands `status`: one JSON object on its output, within 20 s, for example
    /// `{"releases": [{"release": "3f0a…", "percent": 100, "state": "ready"}]}`.
    ///
    /// Each release has `release` (as `RELEASE` was given), `percent`, `state` (`starting`, `ready`,
    /// `failing`, `gone`), and may have `why` and `address`. The object may have `etag`, a mark that
    /// each change moves, and `change`, the `CHANGE_ID` of the last one.
    #[must_use]
    pub fn with_status(self) -> Self {
        self.understanding(Verb::Status)
    }

    /// Its `deploy` and `rollback` understand `PACE=rolling`: instance by instance, with at most
    /// `MAX_UNAVAILABLE` missing and `MAX_SURGE` in excess.
    #[must_use]
    pub fn with_rolling(self) -> Self {
        self.with(|settings| settings.rolls = true)
    }

    /// Its `deploy` and `rollback` understand `PACE=stop_first`: what runs is stopped first.
    #[must_use]
    pub fn with_stop_first(self) -> Self {
        self.with(|settings| settings.stops_first = true)
    }

    /// It changes nothing, and ends with 76, if the mark of its `status` is not `EXPECTED_ETAG`.
    #[must_use]
    pub fn compares_etag(self) -> Self {
        self.with(|settings| settings.compares_etag = true)
    }

    /// A release that is to come ends the call that still runs for another one, with everything that
    /// it started; else it waits for its end. For scripts whose `rollback` undoes what is half done.
    #[must_use]
    pub fn ends_what_runs(self) -> Self {
        self.with(|settings| settings.ends_what_runs = true)
    }

    /// How long one call may take before it is killed, with everything that it started; 10 min.
    #[must_use]
    pub fn time_out(self, limit: Duration) -> Self {
        self.with(|settings| settings.time_out = limit)
    }

    /// A call that takes longer is accepted while it runs; 3 s.
    #[must_use]
    pub fn accepted_after(self, wait: Duration) -> Self {
        self.with(|settings| settings.accepted_after = wait)
    }

    /// How long `status` may show the state before a change after the change is done; not at all.
    #[must_use]
    pub fn settle(self, settle: Duration) -> Self {
        self.with(|settings| settings.settle = settle)
    }

    /// Where it runs; the controller's own folder.
    #[must_use]
    pub fn working_dir(self, dir: impl Into<PathBuf>) -> Self {
        self.with(|settings| settings.working_dir = dir.into())
    }

    /// Hands a variable of the controller's environment on.
    #[must_use]
    pub fn pass_env(self, name: impl Into<String>) -> Self {
        self.with(|settings| settings.passed.extend([name.into()]))
    }

    /// Hands the controller's whole environment on, its credentials included.
    #[must_use]
    pub fn pass_all_env(self) -> Self {
        self.with(|settings| settings.all_passed = true)
    }

    /// Sets a variable for every call.
    #[must_use]
    pub fn env(self, name: impl Into<String>, value: impl Into<String>) -> Self {
        self.with(|settings| settings.env.extend([(name.into(), value.into())]))
    }

    /// Gives the value of a secret that definitions name. It is left out of everything shown.
    #[must_use]
    pub fn secret(self, name: impl Into<String>, value: Secret<String>) -> Self {
        self.with(|settings| settings.secrets.extend([(name.into(), value)]))
    }

    /// Says whether a change in doubt was made, after somebody has looked. Without effect if none
    /// is in doubt.
    ///
    /// # Errors
    /// The state directory cannot be read or written.
    pub async fn resolve(&self, service: &ServiceId, made: bool) -> Result<(), ChangeError> {
        let desk = self.desk(service)?;
        blocking(move || desk.resolve(made)).await?;
        self.news.notify_one();
        Ok(())
    }

    /// Kills the call that runs for a service, if any, with everything that it started. Whether its
    /// change was made is then in doubt.
    ///
    /// # Errors
    /// The state directory cannot be read.
    pub async fn cancel(&self, service: &ServiceId) -> Result<(), ChangeError> {
        let desk = self.desk(service)?;
        blocking(move || desk.cancel()).await
    }

    fn understanding(self, verb: Verb) -> Self {
        self.with(|settings| settings.verbs.extend([verb]))
    }

    fn with(mut self, set: impl FnOnce(&mut Settings)) -> Self {
        set(Arc::make_mut(&mut self.settings));
        self
    }

    pub(super) fn desk(&self, service: &ServiceId) -> Result<Desk, ChangeError> {
        Ok(Desk {
            dir: ScriptDir::open(&self.root, service)?,
            service: service.clone(),
            settings: Arc::clone(&self.settings),
            news: Arc::clone(&self.news),
        })
    }

    /// What the script says of its platform; none if it cannot say.
    async fn ask_status(&self, service: &ServiceId) -> Result<Option<Status>, String> {
        let settings = &self.settings;
        if !settings.can(Verb::Status) {
            return Ok(None);
        }
        let mut env = settings.environment(None)?;
        env.push(("SERVICE".into(), service.as_str().into()));
        let program = &settings.program;
        let word = Verb::Status.word();
        let answer = ask(program, word, &env, &settings.working_dir, PATIENCE).await?;
        if !answer.status.success() {
            let said = settings.clean(&last_line(&answer.err));
            return Err(format!("`status` ended with {}: {said}", answer.status));
        }
        Status::parse(&answer.out).map(Some)
    }

    async fn ask_check(
        &self,
        service: &ServiceId,
        release: &Release,
        definition: &ScriptRelease,
    ) -> Result<(), ChangeError> {
        let settings = &self.settings;
        let env = settings.environment(Some(definition));
        let mut env = env.map_err(ChangeError::refused)?;
        if !settings.can(Verb::Check) {
            return Ok(());
        }
        env.push(("SERVICE".into(), service.as_str().into()));
        env.push(("RELEASE".into(), release.id.as_str().into()));
        let word = Verb::Check.word();
        let asked = ask(
            &settings.program,
            word,
            &env,
            &settings.working_dir,
            PATIENCE,
        );
        let answer = asked.await.map_err(ChangeError::not_sent)?;
        if answer.status.success() {
            return Ok(());
        }
        let said = [last_line(&answer.err), last_line(&answer.out)];
        let said = said.iter().find(|line| !line.is_empty());
        let said = settings.clean(said.map_or("it does not say why", String::as_str));
        Err(match answer.status.code() {
            Some(69 | 75) => ChangeError::not_sent(format!("`check` cannot say: {said}")),
            _ => ChangeError::refused(format!("`check` says no: {said}")),
        })
    }
}

#[async_trait]
impl Deployer for ScriptDeployer {
    fn capabilities(&self) -> Capabilities {
        self.settings.capabilities()
    }

    async fn observe(&self, service: &ServiceId) -> Result<Observation, ChangeError> {
        let status = self.ask_status(service).await;
        let status = status.map_err(ChangeError::not_sent)?;
        // A look makes nothing: a service that was never named has no folder.
        if status.is_none() && !ScriptDir::exists(&self.root, service) {
            let mut nothing = Observation::new(rollback_core::model::Wanted::nothing(), []);
            nothing.etag = etag(&Default::default(), None)?;
            return Ok(nothing);
        }
        let desk = self.desk(service)?;
        blocking(move || {
            let state = desk.current()?;
            observe(&desk.dir, &state, status.as_ref())
        })
        .await
    }

    async fn apply(
        &self,
        service: &ServiceId,
        request: &ChangeRequest,
    ) -> Result<Accepted, ChangeError> {
        let status = self.ask_status(service).await;
        let status = status.map_err(ChangeError::not_sent)?;
        let (desk, request) = (self.desk(service)?, request.clone());
        let tree = match &self.git {
            Some(git) => tree(git, &desk.dir, service, &request).await?,
            None => None,
        };
        let begun = {
            let (desk, request) = (desk.clone(), request.clone());
            blocking(move || desk.begin(&request, status.as_ref(), tree)).await?
        };
        let Some(ended) = begun else {
            // Nothing had to be run.
            return blocking(move || desk.answer(&request.id)).await;
        };
        let _ = tokio::time::timeout(self.settings.accepted_after, ended).await;
        blocking(move || desk.answer(&request.id)).await
    }

    async fn check(&self, service: &ServiceId, release: &Release) -> Result<(), ChangeError> {
        let definition = ScriptRelease::from_release(release).map_err(ChangeError::refused)?;
        let (program, dir) = (
            self.settings.program.clone(),
            self.settings.working_dir.clone(),
        );
        blocking(move || {
            program::check(&program, "", Some(&dir))
                .map(drop)
                .map_err(ChangeError::refused)
        })
        .await?;
        if let Some(git) = &self.git {
            tree_can_be_made(git, &definition).await?;
        }
        self.ask_check(service, release, &definition).await
    }

    async fn last_words(
        &self,
        service: &ServiceId,
        release: &ReleaseId,
        lines: usize,
    ) -> Vec<String> {
        let Ok(desk) = self.desk(service) else {
            return Vec::new();
        };
        let release = release.clone();
        let words = blocking(move || desk.last_words(&Word { release, lines })).await;
        words.unwrap_or_default()
    }

    async fn changed(&self, _: &ServiceId) {
        self.news.notified().await;
    }
}

fn last_line(bytes: &[u8]) -> String {
    let text = String::from_utf8_lossy(bytes);
    let line = text.lines().rfind(|line| !line.trim().is_empty());
    line.unwrap_or_default()
        .chars()
        .filter(|c| !c.is_control())
        .take(500)
        .collect()
}

/// Why a script deployer cannot be made.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ScriptError {
    /// The script cannot be run.
    #[error(transparent)]
    Program(#[from] ProgramError),
    /// The state directory cannot be used.
    #[error(transparent)]
    State(#[from] StateError),
}

impl fmt::Debug for ScriptDeployer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ScriptDeployer")
            .field("root", &self.root)
            .field("script", &self.settings.program)
            .finish_non_exhaustive()
    }
}
