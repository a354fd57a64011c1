//! Docker as a platform of the rollback library, on a Docker Engine (API 1.41 and newer).
//!
//! What must survive exactly, such as a service's specification or a container's configuration, is
//! asked for and sent as the engine's own JSON ([`Engine`]), so that nothing which this crate does
//! not know gets lost, and an unknown word of the engine is an unknown word, not an error. Streams
//! (events, logs, measurements) go through `bollard`.
//!
//! | room | holds |
//! |---|---|
//! | `client` | one engine: how it is reached, one request and its answer |
//! | `wire` | the connection: what is certain about a request that failed |
//! | `error` | the engine's answers in the words of the contract: sent, maybe sent, conflict |
//! | `events` | waiting until something happens |
//! | `image` | an image by what it is, not by a name that may move |
//! | `fetch` | an image out of its registry |
//! | `registry` | [`Registries`]: who may fetch from where |
//! | `build` | an image of a git commit: [`Source`] |
//! | `last_words` | [`last_words`]: what containers left behind, for the explanation |
//! | `metrics` | [`DockerMetrics`]: what the engine knows of containers, as metrics |
//! | `digest` | digests of definitions and of names |
//! | `container` | containers as a platform: [`ContainerDeployer`] |
//! | `swarm` | [`SwarmDeployer`]: Swarm services |

mod build;
mod client;
mod container;
mod digest;
mod error;
mod events;
mod fetch;
mod image;
mod last_words;
mod metrics;
mod registry;
mod swarm;
mod wire;

pub use build::{BuildError, Built, Source};
pub use client::{Engine, Query};
pub use container::{
    Adopt, ContainerDefinition, ContainerDeployer, DefinitionError, Former, Keep, Pruned,
};
pub use error::EngineError;
pub use image::{Image, ImageId};
pub use last_words::last_words;
pub use metrics::DockerMetrics;
pub use registry::{Registries, RegistriesError};
pub use swarm::{SwarmDefinition, SwarmDeployer};
