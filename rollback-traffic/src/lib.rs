//! Traffic that is another system than the platform, for the rollback library: HAProxy, through
//! its runtime socket. `WithTraffic` of the crate `rollback` joins it with what runs the releases.
//!
//! | of the contract of [`TrafficShifter`](rollback_core::ports::TrafficShifter) | here |
//! |---|---|
//! | instances | one server each, added while HAProxy runs (`add server`): `rb:RELEASE:INSTANCE` |
//! | weights | whole numbers, 0 to 256 for each server; the [`Division`] with the least error, which is known before anything is sent |
//! | a share of nothing | maintenance: no new request, of users that stick to the server neither; what is being answered is finished |
//! | etag, compare-and-set | a note in HAProxy itself whose number only one can have (`rb-mark:…`, a server in maintenance) |
//! | tag of the last change | in the note; told only while the weights are those of the note |
//! | not sent, maybe sent | before the note, and from then on |
//! | HAProxy is started anew | it has forgotten everything; the next telling of instances says it again |
//!
//! # What HAProxy needs
//!
//! Version 2.6 or newer, a `stats socket` with `level admin`, and for each service a backend of its
//! own, with an algorithm that can take servers while it runs:
//!
//! ```text
//! global
//!     stats socket /run/haproxy/admin.sock mode 660 level admin
//! backend checkout
//!     balance roundrobin          # or leastconn, random
//!     option redispatch
//!     retries 2
//! ```
//!
//! Servers of the configuration are adopted: those that answer where an instance answers hand their
//! share over and go to maintenance. Any other server that gets traffic is refused, since shares
//! could not be kept beside it; a `backup` server is left alone.
//!
//! # What to know
//!
//! - **Shares are of requests** in `mode http`, also within one kept-alive connection, and of
//!   connections in `mode tcp`, where a connection stays where it is until it ends.
//! - **Users that stick** (`stick-table`, `cookie`) are counted where they stick; shares hold among
//!   the others. When a release loses its share, they go too.
//! - **A server that HAProxy sees down** gets nothing, and all others share what was its, by their
//!   weights: HAProxy knows no releases. Instances that the platform sees failing are taken out at
//!   the next telling, and the others of the *same* release take over. Nothing is shifted to a
//!   release whose servers all fail HAProxy's checks.
//! - **Retired instances** leave at once, and their servers are deleted when nothing is being
//!   answered by them any more.
//! - **A reload** (`-sf`) starts a new process, which has forgotten; the old one finishes what it
//!   has. Until the next telling the new one has only the servers of its configuration.
//!
//! Rooms: `socket` (one line, one answer), `answer` (its sentences), `backend` (what is seen),
//! `mark` and `name` (what names say), `division` (shares as weights), `plan` (what is to be said),
//! `memory` and `shifter`.

mod answer;
mod backend;
mod division;
mod mark;
mod memory;
mod name;
mod plan;
mod shifter;
mod socket;

pub use division::{Division, Portion};
pub use shifter::{BadOptions, HaproxyShifter};
pub use socket::{NotASocket, Socket};
