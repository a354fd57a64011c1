//! Waiting until something happens on an engine: a hint to look, which carries no fact.

use std::collections::HashMap;

use bollard::query_parameters::EventsOptionsBuilder;
use futures_util::StreamExt;

use crate::{Engine, EngineError};

impl Engine {
    /// Returns at the next event that fits the filters, as the engine's API names them: `type`,
    /// `label`, `service`, .. each with its values.
    ///
    /// # Errors
    /// The engine cannot be asked, or stopped telling.
    pub async fn happened(&self, filters: &[(&str, &[&str])]) -> Result<(), EngineError> {
        let filters: HashMap<&str, Vec<&str>> = filters
            .iter()
            .map(|(name, values)| (*name, values.to_vec()))
            .collect();
        let options = EventsOptionsBuilder::new().filters(&filters).build();
        let streams = self.streams().await?;
        let mut events = streams.events(Some(options));
        match events.next().await {
            Some(Ok(_)) => Ok(()),
            Some(Err(error)) => Err(EngineError::MaybeSent {
                why: format!("the events of {self}: {error}"),
            }),
            None => Err(EngineError::MaybeSent {
                why: format!("{self} stopped telling its events"),
            }),
        }
    }
}
