//! Replay: the recorded inputs once more through the engine, its facts compared with the recorded
//! ones.

use std::sync::Arc;

use super::{Engine, EngineConfig};
use crate::{
    entry::{Entry, Fact},
    model::Seq,
};

/// The first entry on which the engine decides otherwise than it was recorded.
#[derive(Debug, Clone, PartialEq)]
pub struct Difference {
    /// Which entry.
    pub seq: Seq,
    /// What was recorded.
    pub recorded: Vec<Fact>,
    /// What this engine decides.
    pub decided: Vec<Fact>,
}

/// Handles the inputs of a journal again and compares.
///
/// The configuration must be that of the recorded controller, its host triggers included. A
/// difference means another version of the engine, another configuration, or a damaged record.
///
/// # Errors
/// The first [`Difference`].
///
/// ```
/// use rollback_core::{engine::*, entry::Input, model::*, ports::Capabilities};
///
/// let config = || EngineConfig::new(
///     ServiceId::new("checkout").unwrap(),
///     Capabilities::least(std::time::Duration::ZERO),
/// );
/// let mut engine = Engine::new(config());
/// let entry = engine.handle(Timestamp::from_millis(1), Input::Started {
///     epoch: Epoch::new(1), owner: "me".into(), engine: VERSION.into(),
/// });
/// assert_eq!(replay(config(), &[entry]), Ok(()));
/// ```
pub fn replay(config: EngineConfig, entries: &[Entry]) -> Result<(), Box<Difference>> {
    let mut engine = Engine::new(config);
    for recorded in entries {
        let entry = engine.handle(recorded.at, recorded.input.clone());
        while engine.poll().is_some() {}
        if entry.facts != recorded.facts || entry.seq != recorded.seq {
            return Err(Box::new(Difference {
                seq: recorded.seq,
                recorded: recorded.facts.clone(),
                decided: entry.facts,
            }));
        }
    }
    Ok(())
}

impl Difference {
    /// The first fact that differs, in the words of its type, for people.
    #[must_use]
    pub fn first(&self) -> (Arc<str>, Arc<str>) {
        let at = self
            .recorded
            .iter()
            .zip(&self.decided)
            .position(|(recorded, decided)| recorded != decided)
            .unwrap_or_else(|| self.recorded.len().min(self.decided.len()));
        let word = |facts: &[Fact]| match facts.get(at) {
            Some(fact) => Arc::from(format!("{fact:?}")),
            None => Arc::from("nothing"),
        };
        (word(&self.recorded), word(&self.decided))
    }
}
