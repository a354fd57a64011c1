//! Which port an instance is given.

use std::{
    collections::BTreeSet,
    net::{Ipv4Addr, TcpListener},
    sync::{Mutex, PoisonError},
};

use crate::definition::PortPlan;

/// Why no port can be given.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum PortError {
    /// Somebody listens there.
    #[error("port {0} is in use by another program; stop it, or give the release another port")]
    InUse(u16),
    /// All of a range are taken.
    #[error("no port from {first} to {last} is free; stop what uses them, or widen the range")]
    NoneFree {
        /// The lowest.
        first: u16,
        /// The highest.
        last: u16,
    },
    /// The kernel has none.
    #[error("the system gave no free port: {0}")]
    System(String),
}

/// The ports that instances of this deployer hold, also while they do not listen yet.
#[derive(Debug, Default)]
pub(crate) struct PortBook(Mutex<BTreeSet<u16>>);

impl PortBook {
    /// A port for one instance, `before` if it is still free.
    pub(crate) fn give(
        &self,
        plan: PortPlan,
        before: Option<u16>,
    ) -> Result<Option<u16>, PortError> {
        let mut held = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let mut take = |port: u16| {
            (!held.contains(&port) && is_free(port)).then(|| {
                held.insert(port);
                port
            })
        };
        match plan {
            PortPlan::None => Ok(None),
            PortPlan::Fixed(port) => take(port).map(Some).ok_or(PortError::InUse(port)),
            PortPlan::Range { first, last } => before
                .filter(|port| (first..=last).contains(port))
                .into_iter()
                .chain(first..=last)
                .find_map(take)
                .map(Some)
                .ok_or(PortError::NoneFree { first, last }),
            PortPlan::Any => {
                if let Some(port) = before.and_then(&mut take) {
                    return Ok(Some(port));
                }
                let system = |error: std::io::Error| PortError::System(error.to_string());
                // A port that another instance holds without listening yet is asked for anew.
                for _ in 0..64 {
                    let listener = TcpListener::bind((Ipv4Addr::UNSPECIFIED, 0)).map_err(system)?;
                    let port = listener.local_addr().map_err(system)?.port();
                    drop(listener);
                    if let Some(port) = take(port) {
                        return Ok(Some(port));
                    }
                }
                Err(PortError::System("64 tries found none".to_owned()))
            }
        }
    }

    /// Notes the port of an instance that was found running.
    pub(crate) fn hold(&self, port: Option<u16>) {
        let mut held = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        held.extend(port);
    }

    /// Takes a port back.
    pub(crate) fn release(&self, port: Option<u16>) {
        let mut held = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(port) = port {
            held.remove(&port);
        }
    }
}

/// Whether nobody listens on `port`, on any address.
pub(crate) fn is_free(port: u16) -> bool {
    TcpListener::bind((Ipv4Addr::UNSPECIFIED, port)).is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_port_in_use_is_named_and_a_range_walks_past_it() {
        let taken = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let port = taken.local_addr().unwrap().port();
        let book = PortBook::default();
        assert_eq!(
            book.give(PortPlan::Fixed(port), None),
            Err(PortError::InUse(port))
        );
        let only = PortPlan::Range {
            first: port,
            last: port,
        };
        assert!(matches!(
            book.give(only, None),
            Err(PortError::NoneFree { .. })
        ));
        drop(taken);
        assert_eq!(book.give(only, None), Ok(Some(port)));
        assert!(book.give(only, None).is_err(), "one port was given twice");
        book.release(Some(port));
        assert_eq!(book.give(PortPlan::Any, Some(port)), Ok(Some(port)));
        assert_ne!(book.give(PortPlan::Any, Some(port)), Ok(Some(port)));
        assert_eq!(book.give(PortPlan::None, None), Ok(None));
    }
}
