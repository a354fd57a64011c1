//! The other end of the demo's running programs: what the story asks the switch and the users.

use std::collections::BTreeMap;
use std::net::SocketAddr;

use hyper::Method;

use super::routes::{Instances, Routes, SetWeights};
use super::seen::Summary;
use super::switch::Count;
use super::wire::{self, AskError};

/// The controller's end: reads and sets the weights of a running switch.
#[derive(Debug, Clone, Copy)]
pub(crate) struct SwitchHandle {
    control: SocketAddr,
}

impl SwitchHandle {
    /// The switch whose control address this is.
    pub(crate) fn new(control: SocketAddr) -> Self {
        Self { control }
    }

    /// The routes now.
    pub(crate) async fn routes(self) -> Result<Routes, AskError> {
        wire::ask_json(self.control, Method::GET, "/routes", None::<&()>).await
    }

    /// Sets the weights if the revision is still the expected one; a conflict is an answer with status 409.
    pub(crate) async fn set(self, set: &SetWeights) -> Result<Routes, AskError> {
        wire::ask_json(self.control, Method::PUT, "/weights", Some(set)).await
    }

    /// Says where instances listen.
    pub(crate) async fn place(self, instances: &Instances) -> Result<Routes, AskError> {
        wire::ask_json(self.control, Method::PUT, "/instances", Some(instances)).await
    }

    /// What was counted, by release. Of what went wrong the story asks the users instead; people may ask with curl.
    pub(crate) async fn counts(self) -> Result<BTreeMap<String, Count>, AskError> {
        wire::ask_json(self.control, Method::GET, "/counts", None::<&()>).await
    }

    /// Whether every release that gets no more requests has answered those that it had.
    pub(crate) async fn is_at_rest(self) -> Result<bool, AskError> {
        let weights = self.routes().await?.weights;
        let serves = |release: &String| weights.get(release).is_some_and(|weight| *weight > 0);
        let counts = self.counts().await?;
        Ok(counts
            .iter()
            .all(|(release, count)| serves(release) || count.under_way == 0))
    }

    /// Ends the switch.
    pub(crate) async fn stop(self) -> Result<(), AskError> {
        wire::ask_json(self.control, Method::POST, "/stop", None::<&()>).await
    }
}

/// The story's end: asks running users what they saw.
#[derive(Debug, Clone, Copy)]
pub(crate) struct LoadHandle {
    control: SocketAddr,
}

impl LoadHandle {
    /// The users whose control address this is.
    pub(crate) fn new(control: SocketAddr) -> Self {
        Self { control }
    }

    /// What was seen so far, by release; failures are also counted from `since_ms` on.
    pub(crate) async fn seen(self, since_ms: u64) -> Result<Summary, AskError> {
        wire::ask_json(
            self.control,
            Method::GET,
            &format!("/seen?since={since_ms}"),
            None::<&()>,
        )
        .await
    }

    /// Sends the users home.
    pub(crate) async fn stop(self) -> Result<(), AskError> {
        wire::ask_json(self.control, Method::POST, "/stop", None::<&()>).await
    }
}

/// The story's end: makes a running database sick, and well again.
#[derive(Debug, Clone, Copy)]
pub(crate) struct DatabaseHandle {
    address: SocketAddr,
}

impl DatabaseHandle {
    /// The database that listens there.
    pub(crate) fn new(address: SocketAddr) -> Self {
        Self { address }
    }

    /// From now on it fails more than half of what it is asked.
    pub(crate) async fn sick(self) -> Result<(), AskError> {
        wire::ask_json(self.address, Method::POST, "/sick", None::<&()>).await
    }

    /// It is well again.
    pub(crate) async fn well(self) -> Result<(), AskError> {
        wire::ask_json(self.address, Method::POST, "/well", None::<&()>).await
    }

    /// Ends it.
    pub(crate) async fn stop(self) -> Result<(), AskError> {
        wire::ask_json(self.address, Method::POST, "/stop", None::<&()>).await
    }
}
