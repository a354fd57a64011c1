//! A command as a [`Task`]: a smoke test, a hook, a snapshot.

use std::{
    fmt, fs,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use async_trait::async_trait;
use rollback_core::{
    model::{ChangeId, Secret, ServiceId},
    ports::{Task, TaskError, TaskHandle, TaskStatus},
};

use super::{
    deployer::ScriptError,
    run::{Ended, Order, Progress, Run, end_text, prune},
    settings::Settings,
};
use crate::{
    files::{failed, file_name, lock_file},
    program,
};

/// Runs of a service whose output is kept.
const KEPT_RUNS: usize = 20;

/// A command that a plan runs: it succeeded if it ended with 0.
///
/// It runs in a process group of its own and goes on when the controller dies; the next controller
/// finds it running, or its exit status. Started under an id that it was started under before, it
/// is found, not started again. It is told `SERVICE`, `DEPLOYMENT_ID` and `CHANGE_ID`.
///
/// ```
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// use rollback_core::{model::{ChangeId, DeploymentId, ServiceId}, ports::{Task as _, TaskStatus}};
/// use rollback_process::ScriptTask;
///
/// # let dir = tempfile::tempdir()?;
/// # let state = dir.path();
/// let smoke = ScriptTask::open(state, "sh")?.args(["-c", "test \"$SERVICE\" = shop"]);
/// let id = ChangeId { deployment: DeploymentId::new("d1")?, step: 3, attempt: 1 };
/// let handle = smoke.start(&ServiceId::new("shop")?, &id).await?;
/// while smoke.status(&handle).await? == TaskStatus::Running {
///     tokio::time::sleep(std::time::Duration::from_millis(10)).await;
/// }
/// assert_eq!(smoke.status(&handle).await?, TaskStatus::Succeeded);
/// # Ok(())
/// # }
/// ```
pub struct ScriptTask {
    root: PathBuf,
    args: Vec<String>,
    settings: Arc<Settings>,
}

impl ScriptTask {
    /// A command: an absolute path, or a name that is looked up in `PATH`. `root` keeps what was
    /// started; tasks of different kinds need different ones.
    ///
    /// # Errors
    /// The directory cannot be made, or the command cannot be run.
    pub fn open(root: impl AsRef<Path>, program: impl AsRef<Path>) -> Result<Self, ScriptError> {
        let io = |action| failed(action, root.as_ref());
        let root = std::path::absolute(root.as_ref()).map_err(io("find"))?;
        fs::create_dir_all(&root).map_err(io("create the folder"))?;
        let program = program::find(program.as_ref())?;
        let working_dir = std::env::current_dir().map_err(io("find the working directory for"))?;
        Ok(Self {
            root,
            args: Vec::new(),
            settings: Arc::new(Settings::new(program, working_dir)),
        })
    }

    /// Adds arguments.
    #[must_use]
    pub fn args<A: Into<String>>(mut self, args: impl IntoIterator<Item = A>) -> Self {
        self.args.extend(args.into_iter().map(Into::into));
        self
    }

    /// How long it may take before it is killed, with everything that it started; 10 min.
    #[must_use]
    pub fn time_out(self, limit: Duration) -> Self {
        self.with(|settings| settings.time_out = limit)
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

    /// Sets a variable.
    #[must_use]
    pub fn env(self, name: impl Into<String>, value: impl Into<String>) -> Self {
        self.with(|settings| settings.env.extend([(name.into(), value.into())]))
    }

    /// Sets a variable to a value that is left out of everything shown.
    #[must_use]
    pub fn secret_env(self, name: impl Into<String>, value: Secret<String>) -> Self {
        self.with(|settings| settings.secrets.extend([(name.into(), value)]))
    }

    fn with(mut self, set: impl FnOnce(&mut Settings)) -> Self {
        set(Arc::make_mut(&mut self.settings));
        self
    }

    fn order(&self, service: &ServiceId, id: &ChangeId) -> Result<Order, String> {
        let settings = &self.settings;
        let mut env = settings.environment(None)?;
        for (name, secret) in &settings.secrets {
            env.push((name.into(), secret.expose().into()));
        }
        env.push(("SERVICE".into(), service.as_str().into()));
        env.push(("DEPLOYMENT_ID".into(), id.deployment.as_str().into()));
        env.push(("CHANGE_ID".into(), id.to_string().into()));
        Ok(Order {
            program: settings.program.clone(),
            args: self.args.clone(),
            env,
            working_dir: settings.working_dir.clone(),
            time_out: settings.time_out,
        })
    }

    /// The run that a handle names, which was made by `start` and has no way out of the folder.
    fn run(&self, handle: &TaskHandle) -> Option<Run> {
        let (service, id) = handle.0.split_once('/')?;
        let plain = |name: &str| !name.is_empty() && !name.starts_with('.') && !name.contains('/');
        (plain(service) && plain(id)).then(|| Run::at(self.root.join(service).join(id)))
    }
}

#[async_trait]
impl Task for ScriptTask {
    async fn start(&self, service: &ServiceId, id: &ChangeId) -> Result<TaskHandle, TaskError> {
        let order = self.order(service, id).map_err(not_started)?;
        let dir = self.root.join(file_name(service.as_str()));
        let name = file_name(&id.to_string());
        let handle = TaskHandle(format!("{}/{name}", file_name(service.as_str())));
        blocking(move || {
            fs::create_dir_all(&dir)
                .map_err(|error| failed("create the folder", &dir)(error))
                .map_err(not_started)?;
            // Two that start the same: one starts it, the other finds it.
            let path = dir.join("start.lock");
            let lock = lock_file(&path).map_err(not_started)?;
            lock.lock()
                .map_err(|error| not_started(failed("lock", &path)(error)))?;
            let run = Run::at(dir.join(name));
            match run.progress().map_err(not_started)? {
                Progress::NotStarted => {
                    prune(&dir, KEPT_RUNS);
                    run.start(&order, |_| ()).map_err(not_started)?;
                    Ok(handle)
                }
                Progress::Ended(Ended::Vanished) => Err(TaskError::MaybeStarted {
                    why: format!(
                        "`{}` {}",
                        order.program.display(),
                        end_text(&Ended::Vanished, None)
                    ),
                }),
                Progress::Running { .. } | Progress::Ended(_) => Ok(handle),
            }
        })
        .await
    }

    async fn find(
        &self,
        service: &ServiceId,
        id: &ChangeId,
    ) -> Result<Option<TaskHandle>, TaskError> {
        let (service, id) = (file_name(service.as_str()), file_name(&id.to_string()));
        let handle = TaskHandle(format!("{service}/{id}"));
        let run = self.run(&handle).ok_or_else(|| unknown(&handle))?;
        blocking(move || match run.progress().map_err(maybe)? {
            Progress::NotStarted => Ok(None),
            Progress::Running { .. } | Progress::Ended(_) => Ok(Some(handle)),
        })
        .await
    }

    async fn status(&self, handle: &TaskHandle) -> Result<TaskStatus, TaskError> {
        let run = self.run(handle).ok_or_else(|| unknown(handle))?;
        let (settings, handle) = (Arc::clone(&self.settings), handle.clone());
        blocking(move || {
            let failed = |ended: &Ended| {
                let time_out = run.time_out().ok().flatten();
                let last = run.tail(1, &settings.secrets()).pop();
                let said = last.map(|line| format!(": {line}")).unwrap_or_default();
                format!(
                    "`{}` {}{said}",
                    settings.program.display(),
                    end_text(ended, time_out)
                )
            };
            match run.progress().map_err(maybe)? {
                Progress::Running { .. } => Ok(TaskStatus::Running),
                Progress::Ended(Ended::Exit(0)) => Ok(TaskStatus::Succeeded),
                // Not the verdict of a test: nobody knows what it would have said.
                Progress::Ended(ended @ Ended::Vanished) => Err(maybe(failed(&ended))),
                Progress::Ended(ended) => Ok(TaskStatus::Failed {
                    why: failed(&ended),
                }),
                Progress::NotStarted => Err(unknown(&handle)),
            }
        })
        .await
    }

    async fn cancel(&self, handle: &TaskHandle) -> Result<(), TaskError> {
        let run = self.run(handle).ok_or_else(|| unknown(handle))?;
        blocking(move || run.cancel().map_err(maybe)).await
    }
}

async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, TaskError> + Send + 'static,
) -> Result<T, TaskError> {
    match tokio::task::spawn_blocking(work).await {
        Ok(result) => result,
        Err(error) => Err(maybe(format!("the work was cut off: {error}"))),
    }
}

fn unknown(handle: &TaskHandle) -> TaskError {
    not_started(format!("nothing was started as `{}`", handle.0))
}

fn not_started(why: impl fmt::Display) -> TaskError {
    TaskError::NotStarted {
        why: why.to_string(),
    }
}

fn maybe(why: impl fmt::Display) -> TaskError {
    TaskError::MaybeStarted {
        why: why.to_string(),
    }
}

impl fmt::Debug for ScriptTask {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ScriptTask")
            .field("root", &self.root)
            .field("program", &self.settings.program)
            .finish_non_exhaustive()
    }
}
