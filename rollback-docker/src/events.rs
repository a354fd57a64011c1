//! What happens on an engine: hints to look, which carry no fact.

use std::collections::HashMap;

use bollard::{models::EventMessage, query_parameters::EventsOptionsBuilder};
use futures_util::StreamExt;

use crate::{Engine, EngineError};

/// The filters of events, as the engine's API names them: `type`, `label`, `service`, .. each with
/// its values.
pub(crate) type EventFilters<'a> = &'a [(&'a str, &'a [&'a str])];

impl Engine {
    /// Returns at the next event that fits the filters, as the engine's API names them: `type`,
    /// `label`, `service`, .. each with its values.
    ///
    /// # Errors
    /// The engine cannot be asked, or stopped telling.
    pub async fn happened(&self, filters: &[(&str, &[&str])]) -> Result<(), EngineError> {
        self.hear(filters, |_| true).await
    }

    /// Hands each event that fits the filters to `enough`, until that says so. Nothing that happens
    /// between two events is missed.
    pub(crate) async fn hear(
        &self,
        filters: EventFilters<'_>,
        mut enough: impl FnMut(&EventMessage) -> bool + Send,
    ) -> Result<(), EngineError> {
        let filters: HashMap<&str, Vec<&str>> = filters
            .iter()
            .map(|(name, values)| (*name, values.to_vec()))
            .collect();
        let options = EventsOptionsBuilder::new().filters(&filters).build();
        let streams = self.streams().await?;
        let mut events = streams.events(Some(options));
        while let Some(event) = events.next().await {
            let event = event.map_err(|error| EngineError::MaybeSent {
                why: format!("the events of {self}: {error}"),
            })?;
            if enough(&event) {
                return Ok(());
            }
        }
        Err(EngineError::MaybeSent {
            why: format!("{self} stopped telling its events"),
        })
    }
}
