//! What the builder takes: a value, or one that is shared behind an `Arc`.

use std::sync::Arc;

use rollback_core::ports::{
    Deployer, Journal, MetricSource, Notifier, ReleaseStore, Task, Trigger,
};

/// A value of a trait, by itself or shared: `T`, `Arc<T>` or `Arc<dyn Trait>`. The second
/// parameter only keeps the three apart; it is always inferred.
#[diagnostic::on_unimplemented(
    message = "`{Self}` cannot be given here",
    label = "neither this type nor what its `Arc` holds implements the trait that is asked for"
)]
pub trait Given<Port: ?Sized, Kind> {
    /// As it is kept.
    fn shared(self) -> Arc<Port>;
}

/// A value by itself.
#[derive(Debug)]
pub struct ByValue;
/// Behind an `Arc`.
#[derive(Debug)]
pub struct ByArc;
/// Behind an `Arc`, its type forgotten.
#[derive(Debug)]
pub struct ByDyn;

macro_rules! given {
    ($($port:ident),+) => {
        $(
            impl<T: $port> Given<dyn $port, ByValue> for T {
                fn shared(self) -> Arc<dyn $port> {
                    Arc::new(self)
                }
            }
            impl<T: $port> Given<dyn $port, ByArc> for Arc<T> {
                fn shared(self) -> Arc<dyn $port> {
                    self
                }
            }
            impl Given<dyn $port, ByDyn> for Arc<dyn $port> {
                fn shared(self) -> Self {
                    self
                }
            }
        )+
    };
}

given!(
    Deployer,
    Journal,
    MetricSource,
    Notifier,
    ReleaseStore,
    Task,
    Trigger
);
