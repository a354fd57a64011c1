//! The demo's own programs: what the library guards here, and what plays the world around it.
//!
//! Nothing in here is part of the library. A host has a real service, a real load balancer and real users instead.
//!
//! - [`shop`]: the service that is deployed, with the [`fault`] that a release of it carries and what it [`counted`];
//! - [`release`]: what such a release consists of on disk, in the language of its [`prices`]; [`database`]: what all
//!   releases depend on;
//! - [`switch`]: the weight switch in front of it, over the weights kept in [`routes`], and as the
//!   library's own traffic shifter in [`shifter`];
//! - [`load`]: the users, what they have [`seen`], and the same in [`lines`] on disk;
//! - [`child`]: starts these as processes of their own, so that they outlive a controller that is killed, and
//!   [`remote`] talks to them;
//! - [`wire`]: the HTTP that they all speak.

pub(crate) mod child;
pub(crate) mod counted;
pub(crate) mod database;
pub(crate) mod fault;
pub(crate) mod lines;
pub(crate) mod load;
pub(crate) mod prices;
pub(crate) mod release;
pub(crate) mod remote;
pub(crate) mod routes;
pub(crate) mod seen;
pub(crate) mod shifter;
pub(crate) mod shop;
pub(crate) mod switch;
pub(crate) mod wire;
