//! A release: what is deployed, immutable, with the definition that an adapter understands.

use std::{fmt, sync::Arc};

use serde::{Deserialize, Serialize};

use super::ReleaseId;

/// An immutable version of a service.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Release {
    /// Digest over artefact and definition.
    pub id: ReleaseId,
    /// What people call it, for example `v42`.
    pub name: Arc<str>,
    /// What the adapter needs to run it.
    pub definition: Definition,
}

impl Release {
    /// A release whose id the host or an adapter computed.
    #[must_use]
    pub fn new(id: ReleaseId, name: impl AsRef<str>, definition: Definition) -> Self {
        Self {
            id,
            name: Arc::from(name.as_ref()),
            definition,
        }
    }
}

/// What a release does that cannot be taken back, such as a migration that drops a column: the
/// release before it could not live with it, or data would be lost.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Irreversible {
    /// What would be lost by going back; people read it.
    pub why: Arc<str>,
    /// From when on.
    pub from: IrreversibleFrom,
}

impl Irreversible {
    /// As soon as anything of the release runs.
    #[must_use]
    pub fn at_once(why: impl AsRef<str>) -> Self {
        Self {
            why: Arc::from(why.as_ref()),
            from: IrreversibleFrom::Start,
        }
    }

    /// As soon as the release serves users.
    #[must_use]
    pub fn under_traffic(why: impl AsRef<str>) -> Self {
        Self {
            why: Arc::from(why.as_ref()),
            from: IrreversibleFrom::Traffic,
        }
    }
}

/// When a release becomes irreversible.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum IrreversibleFrom {
    /// As soon as anything of it runs.
    Start,
    /// As soon as it serves users.
    Traffic,
}

/// What an adapter needs to run a release, in the adapter's own form. Its `Debug` shows nothing:
/// definitions may name secrets.
#[derive(Clone, PartialEq, Serialize, Deserialize, Default)]
#[serde(transparent)]
pub struct Definition(Arc<serde_json::Value>);

impl Definition {
    /// Wraps the adapter's form.
    #[must_use]
    pub fn new(value: serde_json::Value) -> Self {
        Self(Arc::new(value))
    }

    /// The adapter's form.
    #[must_use]
    pub fn value(&self) -> &serde_json::Value {
        &self.0
    }
}

impl fmt::Debug for Definition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Definition(…)")
    }
}
