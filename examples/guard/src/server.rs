//! The controller's end of the socket: who asks is known from the kernel, not from what they say.

use std::{
    fs::{self, Permissions},
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use rollback::{
    Controller, DeployOptions,
    entry::{Command, Fact},
    model::{Actor, Settled},
};
use tokio::{
    io::{AsyncWriteExt, BufReader},
    net::{UnixListener, UnixStream, unix::OwnedWriteHalf},
    sync::{Semaphore, broadcast::error::RecvError, watch},
    time::timeout,
};

use crate::{
    exit::{Fallible, Trouble, USAGE},
    picture::Picture,
    wire::{self, Answer, Ask, Hello, LONGEST_QUESTION, Question, VERSION},
};

/// How many may be connected at the same time.
const CONNECTIONS: usize = 64;

/// How long a question may take to arrive.
const PATIENCE: Duration = Duration::from_secs(5);

/// The socket of a running controller. Dropping it takes the file away.
#[derive(Debug)]
pub(crate) struct Listener {
    listener: UnixListener,
    path: PathBuf,
}

impl Drop for Listener {
    fn drop(&mut self) {
        // The lock, not this file, says whether a controller runs.
        let _ = fs::remove_file(&self.path);
    }
}

impl Listener {
    /// Listens. Whoever calls it holds the lock, so a socket that is there is a dead one's.
    pub(crate) fn bind(path: &Path) -> Fallible<Self> {
        let failed = |why| Trouble::broke(format!("the socket {}: {why}", path.display()));
        match fs::remove_file(path) {
            Err(why) if why.kind() != std::io::ErrorKind::NotFound => return Err(failed(why)),
            _ => {}
        }
        let listener = UnixListener::bind(path).map_err(failed)?;
        fs::set_permissions(path, Permissions::from_mode(0o600)).map_err(failed)?;
        Ok(Self {
            listener,
            path: path.to_owned(),
        })
    }

    /// Answers until the task is dropped.
    pub(crate) async fn serve(self, desk: Arc<Desk>) {
        let slots = Arc::new(Semaphore::new(CONNECTIONS));
        loop {
            // The semaphore is never closed.
            let Ok(slot) = Arc::clone(&slots).acquire_owned().await else {
                return;
            };
            let Ok((stream, _)) = self.listener.accept().await else {
                tokio::time::sleep(Duration::from_millis(100)).await;
                continue;
            };
            let desk = Arc::clone(&desk);
            tokio::spawn(async move {
                desk.connections.fetch_add(1, Ordering::SeqCst);
                desk.serve(stream).await;
                desk.connections.fetch_sub(1, Ordering::SeqCst);
                desk.served.send_modify(|served| *served += 1);
                drop(slot);
            });
        }
    }
}

/// Answers questions about one controller.
#[derive(Debug)]
pub(crate) struct Desk {
    pub(crate) controller: Controller,
    pub(crate) until_idle: bool,
    pub(crate) script: bool,
    pub(crate) policy: String,
    /// Somebody asked it to end.
    pub(crate) stop: watch::Sender<bool>,
    /// How many are connected now.
    pub(crate) connections: AtomicU64,
    /// How many were answered so far.
    pub(crate) served: watch::Sender<u64>,
}

impl Desk {
    async fn serve(&self, stream: UnixStream) {
        let you = peer(&stream);
        let (from, mut to) = stream.into_split();
        let mut from = BufReader::new(from);
        let question = timeout(PATIENCE, wire::read(&mut from, LONGEST_QUESTION)).await;
        let answer = match question {
            Ok(Ok(Some(question))) => self.answer(question, you, &mut to, &mut from).await,
            Ok(Ok(None)) => None,
            Ok(Err(trouble)) => Some(failed(&trouble)),
            Err(_) => Some(failed(&Trouble::asked("no question came"))),
        };
        if let Some(answer) = answer {
            // Whoever asked may be gone.
            let _ = wire::write(&mut to, &answer).await;
        }
        let _ = to.shutdown().await;
    }

    async fn answer(
        &self,
        question: Question,
        you: Actor,
        to: &mut OwnedWriteHalf,
        from: &mut (impl tokio::io::AsyncBufRead + Unpin),
    ) -> Option<Answer> {
        if question.v != VERSION {
            return Some(Answer::Failed {
                code: USAGE,
                why: format!(
                    "the controller speaks version {VERSION} of the protocol, you {}: use the same version of guard, or `guard stop` the controller with its own",
                    question.v
                ),
            });
        }
        let answered = match question.ask {
            Ask::Events => {
                self.events(to, from).await;
                return None;
            }
            // Whoever waits and goes away must not be waited for.
            Ask::Wait { .. } => tokio::select! {
                answered = self.ask(question.ask, you) => answered,
                () = gone(from) => return None,
            },
            ask => self.ask(ask, you).await,
        };
        Some(answered.unwrap_or_else(|trouble| failed(&trouble)))
    }

    async fn ask(&self, ask: Ask, you: Actor) -> Fallible<Answer> {
        let controller = &self.controller;
        Ok(match ask {
            Ask::Hello => Answer::Hello(Hello {
                pid: std::process::id(),
                guard: env!("CARGO_PKG_VERSION").to_owned(),
                until_idle: self.until_idle,
                script: self.script,
                policy: self.policy.clone(),
                you,
            }),
            Ask::Status => {
                let status = controller.status().await?;
                Answer::Status(Box::new(Picture::of(status, true)))
            }
            Ask::Deploy {
                release,
                reason,
                override_rejection,
                expedite,
            } => {
                let mut options = DeployOptions::by(you, reason);
                if override_rejection {
                    options = options.override_rejection();
                }
                if expedite {
                    options = options.expedite();
                }
                let deployment = controller.deploy_with(release, options).await?;
                Answer::Accepted {
                    deployment: Some(deployment.id().clone()),
                }
            }
            Ask::Order { order, reason } => self.order(order, you, &reason).await?,
            Ask::Wait {
                deployment,
                ended_only,
            } => {
                let handle = controller.attach(deployment);
                let settled = if ended_only {
                    Settled::Ended(handle.ended().await?)
                } else {
                    handle.settled().await?
                };
                match settled {
                    Settled::Ended(outcome) => Answer::Ended(outcome),
                    Settled::Held(hold) => Answer::Held(hold),
                }
            }
            Ask::Stop => {
                self.stop.send_replace(true);
                Answer::Accepted { deployment: None }
            }
            Ask::Events => Answer::Listening,
        })
    }

    /// The answer names the deployment that the command was about or opened.
    async fn order(&self, order: Command, you: Actor, reason: &str) -> Fallible<Answer> {
        if matches!(order, Command::Deploy(_)) {
            return Err(Trouble::asked("to deploy, send the release too"));
        }
        let facts = self.controller.command(you, reason, order).await?;
        let opened = facts
            .iter()
            .find(|fact| matches!(fact, Fact::DeploymentOpened { .. }));
        let about = opened.or_else(|| facts.iter().find(|fact| fact.deployment().is_some()));
        let deployment = about.and_then(Fact::deployment).cloned();
        Ok(Answer::Accepted { deployment })
    }

    async fn events(
        &self,
        to: &mut OwnedWriteHalf,
        from: &mut (impl tokio::io::AsyncBufRead + Unpin),
    ) {
        let mut events = self.controller.events();
        if wire::write(to, &Answer::Listening).await.is_err() {
            return;
        }
        loop {
            let event = tokio::select! {
                event = events.recv() => event,
                () = gone(from) => return,
            };
            let line = match event {
                Ok(event) => match serde_json::to_value(&*event) {
                    Ok(event) => Answer::Event(event),
                    Err(_) => continue,
                },
                Err(RecvError::Lagged(missed)) => Answer::Missed(missed),
                Err(RecvError::Closed) => return,
            };
            if wire::write(to, &line).await.is_err() {
                return;
            }
        }
    }
}

/// Returns when the other side has gone; it has nothing more to say.
async fn gone(from: &mut (impl tokio::io::AsyncBufRead + Unpin)) {
    use tokio::io::AsyncBufReadExt;
    loop {
        match from.fill_buf().await {
            Ok([]) | Err(_) => return,
            Ok(more) => {
                let length = more.len();
                from.consume(length);
            }
        }
    }
}

fn failed(trouble: &Trouble) -> Answer {
    Answer::Failed {
        code: trouble.code,
        why: trouble.to_string(),
    }
}

/// Who is at the other end, by the kernel's word: `alice(1000)`.
fn peer(stream: &UnixStream) -> Actor {
    match stream.peer_cred() {
        Ok(peer) => {
            let uid = peer.uid();
            let users = fs::read_to_string("/etc/passwd").unwrap_or_default();
            let name = name_of(&users, uid).unwrap_or("uid");
            Actor::new(format!("{name}({uid})"))
        }
        Err(_) => Actor::new("unknown"),
    }
}

/// The name of a user in the text of `/etc/passwd`.
fn name_of(users: &str, uid: u32) -> Option<&str> {
    users.lines().find_map(|line| {
        let mut parts = line.split(':');
        let (name, _, id) = (parts.next()?, parts.next()?, parts.next()?);
        (id.parse() == Ok(uid)).then_some(name)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn users_have_names() {
        let users = "root:x:0:0:root:/root:/bin/sh\nalice:x:1000:1000::/home/alice:/bin/sh\n";
        assert_eq!(name_of(users, 1000), Some("alice"));
        assert_eq!(name_of(users, 7), None);
    }
}
