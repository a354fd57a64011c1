//! A deployment is followed to its end, or left before: with a word on how it stands and how to go
//! on.

use std::time::Duration;

use rollback::{
    Deployment, Event,
    engine::Status,
    model::{ServiceId, Settled, Wanted, duration_text},
};
use serde_json::json;
use tokio::{
    sync::broadcast::error::RecvError,
    time::{Instant, timeout},
};

use crate::{
    exit::{Fallible, INTERRUPTED, Trouble, WAITED_OUT},
    guarding::Guarding,
    lines::{data, progress},
    signals::Signals,
};

/// So long the controller may take to say how it stands when the program is told to end.
const LAST_LOOK: Duration = Duration::from_secs(2);

/// Follows a deployment: progress to stderr, or everything as JSON to stdout.
pub(crate) struct Follow {
    events: tokio::sync::broadcast::Receiver<std::sync::Arc<Event>>,
    json: bool,
    began: Instant,
}

/// What only machines want to know.
const QUIET: [&str; 8] = [
    "readings",
    "observed",
    "step_entered",
    "ignored",
    "reported",
    "change_moved",
    "policy_adopted",
    "notified",
];

impl Follow {
    pub(crate) fn of(guarding: &Guarding, json: bool) -> Self {
        Self {
            events: guarding.controller.events(),
            json,
            began: Instant::now(),
        }
    }

    fn say(&self, event: &Event) {
        if self.json {
            if let Ok(line) = serde_json::to_string(event) {
                data(line);
            }
        } else if !QUIET.contains(&&*event.event) {
            progress(format_args!(
                "{:>7.1}s  {}",
                self.began.elapsed().as_secs_f64(),
                event.text
            ));
        }
    }

    /// Until the deployment came to rest; none if that took longer.
    pub(crate) async fn settled(
        &mut self,
        deployment: &Deployment,
        patience: Option<Duration>,
    ) -> Fallible<Option<Settled>> {
        let ending = deployment.settled();
        tokio::pin!(ending);
        let deadline = patience.map(|patience| self.began + patience);
        let waited_out = async {
            match deadline {
                Some(deadline) => tokio::time::sleep_until(deadline).await,
                None => std::future::pending().await,
            }
        };
        tokio::pin!(waited_out);
        loop {
            tokio::select! {
                biased;
                event = self.events.recv() => match event {
                    Ok(event) => self.say(&event),
                    Err(RecvError::Lagged(count)) => progress(format_args!("{count} events were missed")),
                    Err(RecvError::Closed) => return Err(Trouble::broke("the controller ended")),
                },
                settled = &mut ending => {
                    while let Ok(event) = self.events.try_recv() {
                        self.say(&event);
                    }
                    return Ok(Some(settled?));
                }
                () = &mut waited_out => return Ok(None),
            }
        }
    }

    pub(crate) async fn until_its_end(
        mut self,
        guarding: Guarding,
        deployment: &Deployment,
        patience: Option<Duration>,
        signals: &mut Signals,
        way_back: bool,
    ) -> Fallible<u8> {
        let (code, why) = tokio::select! {
            settled = self.settled(deployment, patience) => match settled? {
                Some(settled) => {
                    let code = settled.exit_code(way_back);
                    self.ended(deployment, code).await?;
                    (code, None)
                }
                None => (WAITED_OUT, Some("not waited for any longer (--timeout)")),
            },
            why = signals.next() => (INTERRUPTED, Some(why)),
        };
        if let Some(why) = why {
            self.left(&guarding, why, code).await;
        }
        // Changes that are being sent are waited for; whoever asks a second time need not.
        tokio::select! {
            () = guarding.controller.shutdown() => {}
            _ = signals.next() => {}
        }
        Ok(code)
    }

    async fn ended(&self, deployment: &Deployment, code: u8) -> Fallible<()> {
        let account = deployment.explain().await.map_err(Trouble::broke)?;
        if self.json {
            data(json!({
                "event": "settled",
                "deployment": deployment.id(),
                "exit_code": code,
                "account": account,
            }));
        } else {
            data(account.verdict);
        }
        Ok(())
    }

    /// Tells how it stands now that nobody guards it.
    async fn left(&self, guarding: &Guarding, why: &str, code: u8) {
        let status = timeout(LAST_LOOK, guarding.controller.status()).await;
        let status = status.ok().and_then(Result::ok);
        if self.json {
            let active = status.as_ref().and_then(|status| status.active.as_ref());
            data(json!({
                "event": "left",
                "service": guarding.service,
                "why": why,
                "exit_code": code,
                "active": active,
            }));
            return;
        }
        let after = duration_text(Duration::from_secs(self.began.elapsed().as_secs()));
        progress(format_args!("{why} after {after}"));
        if let Some(status) = status {
            progress(standing(&status));
            if status.active.is_some() {
                progress(go_on(&guarding.service));
            }
        }
    }
}

/// How to go on with what nobody works on.
pub(crate) fn go_on(service: &ServiceId) -> String {
    format!(
        "  nobody watches it: what runs goes on running, and nothing is changed, until\n    \
             `docker_guard resume {service}` goes on, or\n    \
             `docker_guard rollback {service} --reason '…'` goes back"
    )
}

/// How a deployment stands that nobody works on any longer.
fn standing(status: &Status) -> String {
    let Some(active) = &status.active else {
        return "nothing is being deployed".to_owned();
    };
    let name = |release| {
        let found = status.ledger.iter().find(|one| one.release == release);
        match found {
            Some(record) => record.name.to_string(),
            None if release == active.candidate => active.name.to_string(),
            None => release.to_string(),
        }
    };
    let shares = |wanted: &Wanted| {
        let shares = wanted
            .iter()
            .map(|(release, share)| format!("{} at {share}", name(release.clone())));
        shares.collect::<Vec<_>>().join(", ")
    };
    let wanted = status.wanted.as_ref().map(shares).unwrap_or_default();
    format!(
        "deployment {} of {} stops where it is ({}, step {} of {}: {}), with {wanted}",
        active.deployment,
        active.name,
        active.phase,
        active.step + 1,
        active.steps.len(),
        active.step_word,
    )
}
