//! An image that is not on the engine is fetched beside: who asks meanwhile is told to ask again.

use std::collections::btree_map::Entry;

use rollback_core::model::ChangeError;
use tokio::task::JoinHandle;

use super::{
    change::not_looked,
    definition::ContainerDefinition,
    look::{Shared, locked},
};
use crate::{EngineError, Image};

/// So long after the first answer one may ask again, in milliseconds.
const AGAIN: u64 = 1_000;

/// A fetch that goes on, or has ended.
pub(crate) type Fetch = JoinHandle<Result<Image, EngineError>>;

/// Whether the image of a definition is on the engine. If not, and a registry may have it, it is
/// being fetched when this returns.
pub(crate) async fn have_image(
    shared: &Shared,
    definition: &ContainerDefinition,
) -> Result<(), ChangeError> {
    let from = definition.in_registry();
    match shared.engine.image(&definition.image).await {
        Ok(_) => {
            // What was fetched then says nothing of what will be here later.
            from.map(|from| locked(&shared.fetches).remove(from));
            return Ok(());
        }
        Err(error) if error.is_not_found() => {}
        Err(error) => return Err(not_looked(error)),
    }
    let called = match definition.image_name.as_str() {
        "" => definition.image.clone(),
        name => format!("{} ({name})", definition.image),
    };
    let Some(from) = from else {
        return Err(ChangeError::refused(format!(
            "the image {called} is not on the engine, and was in no registry when it was \
             deployed; build or load it again"
        )));
    };
    let fetch = match locked(&shared.fetches).entry(from.to_owned()) {
        Entry::Vacant(vacant) => {
            let (engine, from) = (shared.engine.clone(), from.to_owned());
            vacant.insert(tokio::spawn(async move { engine.fetch(&from).await }));
            None
        }
        Entry::Occupied(fetch) if fetch.get().is_finished() => Some(fetch.remove()),
        Entry::Occupied(_) => None,
    };
    let Some(fetch) = fetch else {
        return Err(ChangeError::NotSent {
            why: format!("the image {called} is being fetched from its registry"),
            retry_after_ms: Some(AGAIN),
        });
    };
    let fetched = fetch.await.map_err(ChangeError::not_sent)?;
    let fetched = fetched.map_err(|error| match error.status() {
        Some(403 | 404) => ChangeError::refused(error),
        _ => ChangeError::not_sent(error),
    })?;
    if definition.image == fetched.id.as_str() || definition.image.contains('@') {
        Ok(())
    } else {
        Err(ChangeError::refused(format!(
            "{from} is the image {} here, and not {called}: this engine counts images in another \
             way; load it again, or deploy {from}",
            fetched.id
        )))
    }
}
