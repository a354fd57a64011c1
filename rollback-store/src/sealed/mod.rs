//! Sealed definitions: those with secret values are kept encrypted and authenticated, with
//! AES-256-GCM under keys of the host (NIST SP 800-38D).
//!
//! A sealed record opens as the release that it was sealed as, in the service that it was sealed
//! for, or not at all. Rooms: `keys` (where keys come from and what they are called), `first_use`
//! (the key that is made then), `record` (the form of a sealed record).

mod first_use;
mod keys;
mod record;

pub use keys::{SealingKeyError, SealingKeys};
pub(crate) use record::{Form, Place, form, open, seal};
