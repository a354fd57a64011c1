//! Waiting for a deployment, with what happens meanwhile.

use std::{
    io::{IsTerminal, Read, Seek, SeekFrom, Write},
    path::PathBuf,
    time::Duration,
};

use rollback::{
    Account,
    entry::Fact,
    model::{ChangeId, DeploymentId, Seq, ServiceId, Settled, Timestamp},
    process::ScriptDeployer,
};
use serde::Deserialize;
use serde_json::{Value, json};
use tokio::{
    signal::unix::{SignalKind, signal},
    time::{Instant, interval, sleep_until},
};

use crate::{
    archive::Archive,
    client::{self, Line},
    course::Course,
    exit::{self, Fallible, Trouble},
    orders,
    place::Place,
    settings::Settings,
    wire::{Answer, Ask},
};

/// How a deployment is waited for.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Patience {
    /// No longer than this.
    pub(crate) timeout: Option<Duration>,
    /// A hold is not enough.
    pub(crate) until_ended: bool,
    /// Events on stdout, nothing else.
    pub(crate) json: bool,
    /// Leaving the candidate is what was asked for.
    pub(crate) way_back: bool,
}

/// A controller's event as it comes over the socket.
#[derive(Debug, Deserialize)]
struct Heard {
    seq: Seq,
    at: String,
    event: String,
    #[serde(default)]
    deployment: Option<DeploymentId>,
    text: String,
    #[serde(default)]
    data: Value,
}

/// A connection on which events come; asked for before the deployment is, so that none is missed.
pub(crate) async fn listen(place: &Place) -> Fallible<Line> {
    let mut line = client::ask(place, Ask::Events).await?;
    match line.next().await? {
        Some(Answer::Listening) => Ok(line),
        Some(other) => Err(client::unexpected(&other)),
        None => Err(client::nobody(place)),
    }
}

/// How it came to rest.
#[derive(Debug)]
pub(crate) struct Rest {
    pub(crate) settled: Settled,
    pub(crate) account: Account,
    pub(crate) code: u8,
}

/// Waits, tells, and says how it came to rest.
pub(crate) async fn wait(
    place: &Place,
    deployment: &DeploymentId,
    mut events: Line,
    patience: Patience,
) -> Fallible<Rest> {
    let mut teller = Teller::new(place, deployment, patience.json);
    teller.catch_up(place).await?;
    let question = Ask::Wait {
        deployment: deployment.clone(),
        ended_only: patience.until_ended,
    };
    let mut waiting = client::ask(place, question).await?;
    let until = patience.timeout.map(|timeout| Instant::now() + timeout);
    let mut look = interval(Duration::from_millis(200));
    let mut listening = true;
    // Once: what comes between two turns of the loop must not be missed.
    let mut interrupt = signal(SignalKind::interrupt()).map_err(Trouble::broke)?;
    let settled = loop {
        tokio::select! {
            biased;
            event = events.next(), if listening => match event? {
                Some(Answer::Event(event)) => teller.event(&event),
                Some(Answer::Missed(count)) => teller.say(&format!("{count} events were missed")),
                Some(other) => return Err(client::unexpected(&other)),
                None => listening = false,
            },
            settled = waiting.next() => break match settled? {
                Some(Answer::Ended(outcome)) => Settled::Ended(outcome),
                Some(Answer::Held(hold)) => Settled::Held(hold),
                Some(other) => return Err(client::unexpected(&other)),
                None => {
                    return Err(Trouble::broke(format!(
                        "the controller ended before deployment {deployment} did; go on with `guard attach`"
                    )));
                }
            },
            _ = look.tick() => teller.script_output(),
            _ = interrupt.recv() => {
                return Err(Trouble::with_code(
                    exit::INTERRUPTED,
                    format!("interrupted; deployment {deployment} goes on: `guard attach` watches it, `guard abort` or `guard rollback` end it"),
                ));
            }
            () = reached(until) => {
                return Err(Trouble::with_code(
                    exit::WAITED_OUT,
                    format!("deployment {deployment} did not come to rest in time and goes on: `guard attach` watches it"),
                ));
            }
        }
    };
    // What was told before the end may still be on its way.
    while listening && !teller.ended() {
        match tokio::time::timeout(Duration::from_secs(1), events.next()).await {
            Ok(Ok(Some(Answer::Event(event)))) => teller.event(&event),
            _ => break,
        }
        if matches!(settled, Settled::Held(_)) && teller.held {
            break;
        }
    }
    teller.script_output();
    teller.close();
    let account = Archive::open(place)?.account(Some(deployment)).await?;
    let code = settled.exit_code(patience.way_back);
    let code = told_all(place, deployment, code, patience.json).await?;
    Ok(Rest {
        settled,
        account,
        code,
    })
}

/// How long the last notices may take to be delivered before whoever waits is told of it.
const LAST_NOTICES: Duration = Duration::from_secs(10);

/// The exit code once everybody was told, or could not be.
pub(crate) async fn told_all(
    place: &Place,
    deployment: &DeploymentId,
    code: u8,
    json: bool,
) -> Fallible<u8> {
    if !matches!(code, exit::FINE | exit::ROLLED_BACK) {
        return Ok(code);
    }
    let until = Instant::now() + LAST_NOTICES;
    let mut left = orders::picture(place).await?.pending_notices;
    while left > 0 && Instant::now() < until {
        tokio::time::sleep(Duration::from_millis(200)).await;
        left = orders::picture(place).await?.pending_notices;
    }
    let mut untold = Vec::new();
    let mut ours = false;
    let archive = Archive::open(place)?;
    let each = archive.each(|entry| {
        for fact in &entry.facts {
            match fact {
                Fact::DeploymentOpened {
                    deployment: opened, ..
                } => ours = opened == deployment,
                Fact::NoticeGivenUp { key, why } if ours => {
                    untold.push(format!("notice {key} was not delivered: {why}"));
                }
                _ => {}
            }
        }
    });
    each.await?;
    if left > 0 {
        untold.push(format!(
            "{left} notices are not delivered yet; the controller goes on trying"
        ));
    }
    if !json {
        untold.iter().for_each(|line| eprintln!("{line}"));
    }
    Ok(if untold.is_empty() {
        code
    } else {
        exit::UNTOLD
    })
}

async fn reached(until: Option<Instant>) {
    match until {
        Some(until) => sleep_until(until).await,
        None => std::future::pending().await,
    }
}

/// Tells people on stderr, or programs on stdout.
struct Teller {
    deployment: DeploymentId,
    course: Course,
    json: bool,
    terminal: bool,
    /// Whether the last thing written is a line that is written over.
    live: bool,
    /// Events up to here are known from the journal.
    known: Seq,
    service: ServiceId,
    /// None if nothing is known of them: then their output is not told.
    scripts: Option<ScriptDeployer>,
    script: Option<(PathBuf, u64)>,
    held: bool,
}

/// What of a deployment is told as it happens; the rest is in `guard why`.
const TOLD: [&str; 14] = [
    "deployment_opened",
    "plan_made",
    "change_intended",
    "verdict_changed",
    "held",
    "released",
    "promoted",
    "policy_switched",
    "rollback_decided",
    "rollback_attempt_failed",
    "ledger_changed",
    "command",
    "ended",
    "faulted",
];

impl Teller {
    fn new(place: &Place, deployment: &DeploymentId, json: bool) -> Self {
        Self {
            deployment: deployment.clone(),
            course: Course::new(deployment.clone()),
            json,
            terminal: std::io::stderr().is_terminal(),
            live: false,
            known: Seq::default(),
            service: place.service.clone(),
            scripts: Settings::load(place)
                .and_then(|settings| settings.deployer(place))
                .ok(),
            script: None,
            held: false,
        }
    }

    /// What happened before we listened: not told again, but counted.
    async fn catch_up(&mut self, place: &Place) -> Fallible<()> {
        let archive = Archive::open(place)?;
        let (course, known) = (&mut self.course, &mut self.known);
        archive
            .each(|entry| {
                course.entry(entry);
                *known = entry.seq;
            })
            .await
    }

    fn ended(&self) -> bool {
        self.course.ended
    }

    fn event(&mut self, event: &Value) {
        if self.json {
            let _ = writeln!(std::io::stdout(), "{event}");
        }
        let Ok(heard) = Heard::deserialize(event) else {
            return;
        };
        if heard.deployment.as_ref() != Some(&self.deployment) {
            return;
        }
        let at = moment(&heard.at);
        let fresh = heard.seq > self.known;
        let moved = fresh && self.course.event(at, &heard.event, &heard.data);
        if !fresh && heard.event == "ended" {
            self.course.ended = true;
        }
        match heard.event.as_str() {
            "held" => self.held = true,
            "released" => self.held = false,
            "change_intended" => self.script_of(&heard.data),
            "change_moved" if heard.data.to_string().contains("in_doubt") => self.say(&format!(
                "{}: look what is so, then say it with `guard resolve made` or `guard resolve not-made`",
                heard.text
            )),
            _ => {}
        }
        if self.json {
            return;
        }
        if TOLD.contains(&heard.event.as_str()) {
            self.say(&heard.text);
        }
        if moved {
            let line = self.course.line(at);
            self.progress(&line);
        }
    }

    fn script_of(&mut self, intended: &Value) {
        self.script_output();
        let id = intended.get("id").map(ChangeId::deserialize);
        if let (Some(Ok(id)), Some(scripts)) = (id, &self.scripts) {
            let output = scripts.output_of(&self.service, &id);
            self.script = output.ok().map(|path| (path, 0));
        }
    }

    /// What the script wrote since the last look.
    fn script_output(&mut self) {
        const AT_ONCE: u64 = 64 * 1024;
        let Some((path, read)) = &mut self.script else {
            return;
        };
        let Ok(mut file) = std::fs::File::open(path) else {
            return;
        };
        let mut new = Vec::new();
        if file.seek(SeekFrom::Start(*read)).is_err() {
            return;
        }
        if file.take(AT_ONCE).read_to_end(&mut new).is_err() || new.is_empty() {
            return;
        }
        *read += new.len() as u64;
        if self.json {
            return;
        }
        self.rub_out();
        let text = String::from_utf8_lossy(&new);
        for line in text.lines() {
            eprintln!("  | {line}");
        }
    }

    fn say(&mut self, text: &str) {
        if self.json {
            return;
        }
        self.rub_out();
        eprintln!("{text}");
    }

    fn progress(&mut self, line: &str) {
        self.rub_out();
        if self.terminal {
            eprint!("{line}");
            self.live = true;
        } else {
            eprintln!("{line}");
        }
    }

    fn rub_out(&mut self) {
        if self.live {
            eprint!("\r\x1b[K");
            self.live = false;
        }
    }

    fn close(&mut self) {
        if self.live {
            eprintln!();
            self.live = false;
        }
    }
}

impl Drop for Teller {
    fn drop(&mut self) {
        self.close();
    }
}

/// A time of an event.
fn moment(text: &str) -> Timestamp {
    let time: Option<jiff::Timestamp> = text.parse().ok();
    Timestamp::from_millis(time.map_or(0, jiff::Timestamp::as_millisecond))
}

impl Rest {
    /// The last event of `--json`.
    pub(crate) fn json(&self) -> Value {
        let (state, outcome) = match &self.settled {
            Settled::Ended(outcome) => ("ended", outcome.word()),
            Settled::Held(_) => ("held", "held"),
        };
        json!({
            "event": "settled",
            "service": self.account.service,
            "deployment": self.account.deployment,
            "state": state,
            "outcome": outcome,
            "exit_code": self.code,
            "candidate": self.account.candidate,
            "stable": self.account.stable,
            "text": self.account.verdict,
        })
    }
}
