//! What the loop and its handles share.

use std::sync::OnceLock;

use tokio::sync::watch;

use crate::{error::Stopped, event::Events};

#[derive(Debug)]
pub(crate) struct Shared {
    pub(crate) events: Events,
    stopped: OnceLock<Stopped>,
    gone: watch::Sender<bool>,
}

impl Default for Shared {
    fn default() -> Self {
        Self {
            events: Events::default(),
            stopped: OnceLock::new(),
            gone: watch::Sender::new(false),
        }
    }
}

impl Shared {
    /// The loop has ended.
    pub(crate) fn stopped(&self, why: Stopped) {
        // The first reason is the one that counts.
        let _ = self.stopped.set(why);
        self.gone.send_replace(true);
    }

    /// Why the loop has ended, once it has.
    pub(crate) fn why(&self) -> Stopped {
        self.stopped.get().cloned().unwrap_or(Stopped::Dropped)
    }

    /// Returns once the loop has ended.
    pub(crate) async fn ended(&self) -> Stopped {
        let mut gone = self.gone.subscribe();
        // The sender lives as long as we do.
        let _ = gone.wait_for(|gone| *gone).await;
        self.why()
    }
}
