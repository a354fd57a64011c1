//! What an engine must know about the world it is put into.

use std::{collections::BTreeMap, sync::Arc};

use crate::{
    model::{ChannelId, ServiceId},
    ports::{Capabilities, SourceCapabilities, Trigger},
};

/// The constant circumstances of one service's engine.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct EngineConfig {
    /// The service it guards.
    pub service: ServiceId,
    /// What the platform can do.
    pub capabilities: Capabilities,
    /// What each metric source can answer; the nameless one serves metrics without `source:`.
    pub sources: BTreeMap<Option<Arc<str>>, SourceCapabilities>,
    /// Where people are told.
    pub channels: Vec<ChannelId>,
    /// Whether a fleet is asked before a rollback.
    pub permits: bool,
    /// The host's own rules, by name.
    pub host_triggers: Vec<Arc<dyn Trigger>>,
}

impl EngineConfig {
    /// A service on a platform, with one live metric source, nobody told and no fleet.
    #[must_use]
    pub const fn new(service: ServiceId, capabilities: Capabilities) -> Self {
        Self {
            service,
            capabilities,
            sources: BTreeMap::new(),
            channels: Vec::new(),
            permits: false,
            host_triggers: Vec::new(),
        }
    }

    /// The same with people told on these channels.
    #[must_use]
    pub fn with_channels(mut self, channels: Vec<ChannelId>) -> Self {
        self.channels = channels;
        self
    }

    /// The same in a fleet that is asked before a rollback.
    #[must_use]
    pub const fn with_permits(mut self) -> Self {
        self.permits = true;
        self
    }

    /// The same with a rule of the host's own; its name must be that of a `host: true` trigger.
    #[must_use]
    pub fn with_host_trigger(mut self, trigger: Arc<dyn Trigger>) -> Self {
        self.host_triggers.push(trigger);
        self
    }

    /// The same with a metric source.
    #[must_use]
    pub fn with_source(mut self, name: Option<Arc<str>>, capabilities: SourceCapabilities) -> Self {
        self.sources.insert(name, capabilities);
        self
    }

    pub(super) fn source(&self, name: Option<&Arc<str>>) -> SourceCapabilities {
        self.sources
            .get(&name.cloned())
            .copied()
            .unwrap_or_else(SourceCapabilities::live)
    }
}
