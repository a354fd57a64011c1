//! Containers of one engine as a platform.
//!
//! | of the contract | here |
//! |---|---|
//! | release | a [`ContainerDefinition`]: an image that cannot change, and the engine's own configuration of a container; its id is a digest over both |
//! | instance | one container, named by service, release and place: the engine gives a name once, so none is made twice |
//! | `wanted`, tag | a record: a container that is never started, whose labels say what should run |
//! | etag | the record's id; its name has the revision, so making the next one is the compare-and-set |
//! | weights | not here: join with a traffic shifter |
//! | converge beside | made and started, nothing else is touched; refused if both want one port of the host |
//! | converge in place, at once | started first; what it replaces goes when it is ready (first, if both want one port) |
//! | converge in place, rolling | as many are started as may run in excess, as many stopped as may be missing |
//! | converge in place, stop first | everything is stopped, then it is started |
//! | retire | the container's own stop signal, its grace period, then it is removed |
//! | ready | the health check says `healthy`; without one, it has run for a moment |
//! | failing | it cannot be made or started; it was started again twice and is not ready; or of all that run none passes its health check (Swarm would end them too): what needs long to start needs a start period |
//!
//! The definition of each release is kept on the engine beside the record, in the environment of
//! another container that is never started, which also keeps the image from being removed: values
//! of variables are there in the clear, as they are in the container itself, for whoever may inspect
//! containers of this engine (they are in no label, and so in no list). When
//! records were removed by hand (`docker container prune`), what runs is what is wanted, and
//! nothing is done before the next change.
//!
//! Containers that others made ([`Adopt`]) are seen as instances of a release whose definition is
//! read from them. What is made again in their place has everything that they were started with
//! (compared field by field in the tests); it differs in name, id, addresses that nobody chose and
//! our labels, and answers in its networks for the old name too.
//!
//! A name that several containers have in a network (`Aliases`) is answered by all of them, at
//! once: arms whose traffic is divided by a load balancer are reached by their own addresses.

mod act;
mod adoption;
mod building;
mod busy;
mod carried;
mod change;
mod claims;
mod definition;
mod deployer;
mod desired;
mod facts;
mod fetching;
mod look;
mod names;
mod observation;
mod plan;
mod prune;
mod record;
mod supervisor;

pub use adoption::Adopt;
pub use definition::{ContainerDefinition, DefinitionError, Former};
pub use deployer::ContainerDeployer;
pub use prune::{Keep, Pruned};
