//! `HaproxyShifter`: looks, notes down, then says it.

use std::{
    collections::BTreeMap,
    net::SocketAddr,
    path::PathBuf,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use async_trait::async_trait;
use rollback_core::{
    model::{Accepted, ChangeError, ChangeId, Etag, Instance, ReleaseId, ServiceId, Weight},
    ports::{Traffic, TrafficShifter},
};
use tokio::sync::Mutex;

use crate::{
    answer,
    backend::Backend,
    mark::Mark,
    memory::Memory,
    plan::{Ask, Plan, Shares, Told, adopted, in_force, plan},
    socket::{Runtime, Socket},
};

/// Divides the traffic of an HAProxy backend between releases, through HAProxy's runtime socket.
///
/// ```no_run
/// use rollback_traffic::HaproxyShifter;
///
/// let haproxy = HaproxyShifter::new("/run/haproxy/admin.sock".parse()?)
///     .backend("checkout_back")
///     .server_options("check inter 500ms fall 2 rise 1")?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug)]
pub struct HaproxyShifter {
    runtime: Runtime,
    backend: Option<String>,
    options: String,
    largest_error: f64,
    /// One at a time: what one has read is true until it has said what follows from it.
    memory: Mutex<Memory>,
}

/// A text that cannot stand in a command.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` cannot stand behind `add server`: no line break, `;` or backslash")]
pub struct BadOptions(String);

impl HaproxyShifter {
    /// Speaks to HAProxy through `socket`. The backend of a service is called as the service.
    #[must_use]
    pub fn new(socket: Socket) -> Self {
        Self {
            runtime: Runtime {
                socket,
                patience: Duration::from_secs(2),
            },
            backend: None,
            options: String::new(),
            largest_error: 0.01,
            memory: Mutex::default(),
        }
    }

    /// Every service has this backend: for a shifter of one service.
    #[must_use]
    pub fn backend(mut self, name: impl Into<String>) -> Self {
        self.backend = Some(name.into());
        self
    }

    /// How each server is added, in HAProxy's own words: `check inter 1s`, `maxconn 100`,
    /// `slowstart 5s`. Added servers do not take over the backend's `default-server`.
    ///
    /// # Errors
    /// A text that would be more than one command.
    pub fn server_options(mut self, options: impl Into<String>) -> Result<Self, BadOptions> {
        let options = options.into();
        if options.contains(['\n', '\r', ';', '\\', '<']) {
            return Err(BadOptions(options));
        }
        self.options = options;
        Ok(self)
    }

    /// How long one line may take to be answered; 2 s at first.
    #[must_use]
    pub const fn patience(mut self, patience: Duration) -> Self {
        self.runtime.patience = patience;
        self
    }

    /// Shares that cannot be met within this difference are refused; 1 % at first. Weights are
    /// whole numbers up to 256 for each server, so beside one server of the stable release a
    /// candidate's server gets 0.39 % at least.
    #[must_use]
    pub fn largest_error(mut self, error: Weight) -> Self {
        self.largest_error = error.as_ratio();
        self
    }

    /// Keeps the newest note of each service in a file of this folder too, which must exist. An
    /// HAProxy that is started anew forgets everything; a controller that runs meanwhile remembers
    /// by itself, and with this one that is started anew too.
    #[must_use]
    pub fn remember_in(mut self, folder: impl Into<PathBuf>) -> Self {
        self.memory = Mutex::new(Memory::in_folder(folder.into()));
        self
    }

    fn backend_of<'a>(&'a self, service: &'a ServiceId) -> &'a str {
        self.backend.as_deref().unwrap_or(service.as_str())
    }

    async fn look(&self, service: &ServiceId) -> Result<Backend, ChangeError> {
        let backend = self.backend_of(service);
        if let Some(wrong) = backend
            .bytes()
            .find(|b| !b.is_ascii_alphanumeric() && !b"-_.:".contains(b))
        {
            return Err(ChangeError::refused(format_args!(
                "no backend of HAProxy can be called `{backend}` (`{}`); name the service's backend",
                wrong.escape_ascii()
            )));
        }
        let answer = self.runtime.ask(&Backend::question(backend)).await;
        let answer = answer.map_err(|error| error.of_a_look())?;
        Backend::read(&answer).map_err(|told| answer::of_a_look(backend, &told))
    }

    fn ask<'a>(
        &'a self,
        service: &'a ServiceId,
        told: Option<&'a Told>,
        shares: &'a Shares,
        before: &'a Shares,
    ) -> Ask<'a> {
        Ask {
            backend: self.backend_of(service),
            options: &self.options,
            told,
            shares,
            before,
        }
    }

    /// Adds the note; whoever was first has won.
    async fn note(&self, service: &ServiceId, mark: &Mark) -> Result<(), ChangeError> {
        let backend = self.backend_of(service);
        let (name, number) = (mark.name(), mark.number());
        let command = format!("add server {backend}/{name} 127.0.0.1:1 weight 0 id {number}");
        let answer = self.runtime.ask(&command).await;
        let answer = answer.map_err(|error| error.of_a_change())?;
        answer::of_the_note(backend, &answer)
    }

    async fn say(&self, service: &ServiceId, commands: &[String]) -> Result<(), ChangeError> {
        if commands.is_empty() {
            return Ok(());
        }
        let answer = self.runtime.ask_all(commands).await;
        let answer = answer.map_err(|error| error.of_a_change())?;
        answer::of_changes(self.backend_of(service), &answer)
    }

    /// The backend with a note: where there is none, the one that we remember, or what servers of
    /// the configuration say.
    async fn noted(
        &self,
        memory: &mut Memory,
        service: &ServiceId,
        told: &Told,
    ) -> Result<Backend, ChangeError> {
        let seen = self.look(service).await?;
        let shares = adopted(&seen, told).map_err(ChangeError::refused)?;
        if seen.mark.is_some() {
            return Ok(seen);
        }
        let (change, shares) = match memory.recall(service) {
            Some(mark) => {
                tracing::warn!(%service, "HAProxy was started anew and has forgotten how the traffic is divided; telling it again");
                (mark.change, mark.shares)
            }
            None => (None, shares),
        };
        let mark = Mark {
            born: millis(),
            revision: 1,
            change,
            shares,
        };
        match self.note(service, &mark).await {
            // Somebody else was faster: theirs counts.
            Ok(()) | Err(ChangeError::Conflict { .. }) => self.look(service).await,
            Err(error) => Err(error),
        }
    }

    fn refuse(&self, plan: &Plan) -> Result<(), ChangeError> {
        if let Some(release) = plan.nowhere.first() {
            return Err(ChangeError::not_sent(format_args!(
                "{release} has no instance that HAProxy could send to"
            )));
        }
        if let Some(release) = plan.down.first() {
            return Err(ChangeError::not_sent(format_args!(
                "HAProxy's health checks fail on every server of {release}"
            )));
        }
        if plan.error > self.largest_error {
            return Err(ChangeError::refused(format_args!(
                "with so many instances HAProxy's weights miss these shares by {:.2} %, more than {:.2} %; run more instances of the larger release, or ask for another share",
                plan.error * 100.0,
                self.largest_error * 100.0
            )));
        }
        Ok(())
    }
}

#[async_trait]
impl TrafficShifter for HaproxyShifter {
    async fn traffic(&self, service: &ServiceId) -> Result<Traffic, ChangeError> {
        let mut memory = self.memory.lock().await;
        let seen = self.look(service).await?;
        let told = memory.told(service).cloned().unwrap_or_default();
        adopted(&seen, &told).map_err(ChangeError::refused)?;
        let (shares, as_noted) = in_force(&seen);
        let mut traffic = Traffic::new(None, shares);
        for release in seen.releases() {
            let open = seen.of(release).map(|(_, server)| server.open).sum();
            traffic.open.insert(release.clone(), open);
        }
        if let Some(mark) = &seen.mark {
            traffic.etag = mark.etag();
            traffic.last_change = mark.change.clone().filter(|_| as_noted);
            memory.remember(service, mark);
        }
        Ok(traffic)
    }

    async fn shift(
        &self,
        service: &ServiceId,
        id: &ChangeId,
        weights: &BTreeMap<ReleaseId, Weight>,
        expect: Option<&Etag>,
    ) -> Result<Accepted, ChangeError> {
        let shares = with_a_share(weights)?;
        let mut memory = self.memory.lock().await;
        let told = memory.told(service).cloned();
        let seen = match &told {
            Some(told) => self.noted(&mut memory, service, told).await,
            None => self.look(service).await,
        };
        let seen = seen.map_err(not_yet_sent)?;
        let before = seen.mark.clone();
        let moved =
            |expected: &Etag| before.as_ref().and_then(Mark::etag).as_ref() != Some(expected);
        if expect.is_some_and(moved) {
            return Err(ChangeError::Conflict { now: None });
        }
        let before = before.unwrap_or_else(|| Mark {
            born: millis(),
            revision: 0,
            change: None,
            shares: BTreeMap::new(),
        });
        let ask = self.ask(service, told.as_ref(), &shares, &before.shares);
        let plan = plan(&seen, &ask);
        self.refuse(&plan)?;
        if plan.error > 1e-4 {
            tracing::info!(%service, off_by = plan.error, "HAProxy's weights do not meet these shares exactly");
        }
        let mark = before.next(Some(id.clone()), shares.clone());
        self.note(service, &mark).await?;
        // From here on it is noted: whatever happens, the next telling of instances completes it.
        memory.remember(service, &mark);
        let mut commands = plan.commands;
        if before.revision > 0 {
            let (backend, old) = (self.backend_of(service), before.name());
            commands.push(format!("del server {backend}/{old}"));
        }
        let said = self.say(service, &commands).await;
        said.map_err(noted_already)?;
        let after = self.look(service).await.map_err(noted_already)?;
        let ours = after.mark.as_ref() == Some(&mark);
        if ours && !in_force(&after).1 {
            return Err(ChangeError::maybe_sent(
                "HAProxy took the weights, and shows others; somebody else sets them too",
            ));
        }
        Ok(Accepted::at(mark.etag()))
    }

    async fn instances(
        &self,
        service: &ServiceId,
        instances: &BTreeMap<ReleaseId, Vec<Instance>>,
    ) -> Result<(), ChangeError> {
        let addresses = instances
            .values()
            .flatten()
            .filter_map(|i| i.address.as_deref());
        for address in addresses {
            address.parse::<SocketAddr>().map_err(|_| {
                ChangeError::refused(format_args!(
                    "HAProxy is told addresses as IP:port, and an instance answers at `{address}`"
                ))
            })?;
        }
        let mut memory = self.memory.lock().await;
        memory.tell(service, instances);
        // Again if a division came between the look and what was said: then its own counts.
        for _ in 0..3 {
            let seen = self.noted(&mut memory, service, instances).await?;
            let shares = seen.mark.as_ref().map(|mark| mark.shares.clone());
            let shares = shares.unwrap_or_default();
            let ask = self.ask(service, Some(instances), &shares, &shares);
            let plan = plan(&seen, &ask);
            if let Some(mark) = &seen.mark {
                memory.remember(service, mark);
            }
            if plan.commands.is_empty() {
                return Ok(());
            }
            self.say(service, &plan.commands).await?;
            if self.look(service).await?.mark == seen.mark {
                return Ok(());
            }
        }
        Err(ChangeError::not_sent(
            "the traffic is divided anew again and again; does another controller use this backend?",
        ))
    }
}

fn with_a_share(weights: &BTreeMap<ReleaseId, Weight>) -> Result<Shares, ChangeError> {
    let sum: u32 = weights
        .values()
        .map(|weight| u32::from(weight.basis_points()))
        .sum();
    if sum != u32::from(Weight::ALL.basis_points()) {
        return Err(ChangeError::refused(format_args!(
            "the shares add up to {} %, not to 100 %",
            f64::from(sum) / 100.0
        )));
    }
    let some = weights.iter().filter(|(_, weight)| **weight > Weight::NONE);
    Ok(some
        .map(|(release, weight)| (release.clone(), *weight))
        .collect())
}

/// Nothing of the division itself was said.
fn not_yet_sent(error: ChangeError) -> ChangeError {
    match error {
        ChangeError::MaybeSent { why } => ChangeError::not_sent(why),
        other => other,
    }
}

fn noted_already(error: ChangeError) -> ChangeError {
    match error {
        error @ ChangeError::MaybeSent { .. } => error,
        ChangeError::NotSent { why, .. } | ChangeError::Refused { why } => {
            ChangeError::maybe_sent(why)
        }
        other => ChangeError::maybe_sent(other),
    }
}

fn millis() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    since.map_or(0, |since| {
        u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
    })
}
