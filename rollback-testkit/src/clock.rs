//! A clock that moves only when a test says so.

use std::{sync::Arc, time::Duration};

use rollback_core::model::Timestamp;
use tokio::sync::watch;

/// A clock that stands still until it is moved. Clones show the same time.
///
/// ```
/// use std::time::Duration;
/// let clock = rollback_testkit::ManualClock::starting_at(rollback_testkit::NOON);
/// let other = clock.clone();
/// clock.advance(Duration::from_secs(2));
/// assert_eq!(other.now().since(rollback_testkit::NOON), Duration::from_secs(2));
/// ```
#[derive(Debug, Clone)]
pub struct ManualClock(Arc<watch::Sender<Timestamp>>);

/// 2026-11-21T12:00:00Z, where most tests begin.
pub const NOON: Timestamp = Timestamp::from_millis(1_795_262_400_000);

impl Default for ManualClock {
    fn default() -> Self {
        Self::starting_at(NOON)
    }
}

impl ManualClock {
    /// A clock that shows `now`.
    #[must_use]
    pub fn starting_at(now: Timestamp) -> Self {
        Self(Arc::new(watch::Sender::new(now)))
    }

    /// Moves the clock forward.
    pub fn advance(&self, by: Duration) {
        self.0.send_modify(|now| *now = now.after(by));
    }

    /// Sets the clock, backwards too: clocks of real machines do that.
    pub fn set(&self, to: Timestamp) {
        self.0.send_replace(to);
    }

    /// The time it shows.
    #[must_use]
    pub fn now(&self) -> Timestamp {
        *self.0.borrow()
    }

    /// Returns once the clock shows `at` or later.
    pub async fn reached(&self, at: Timestamp) {
        let mut watcher = self.0.subscribe();
        // The sender lives as long as `self`: waiting cannot fail.
        let _ = watcher.wait_for(|now| *now >= at).await;
    }

    /// Returns when the clock is moved the next time.
    pub async fn moved(&self) {
        let mut watcher = self.0.subscribe();
        let _ = watcher.changed().await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn whoever_waits_is_woken_by_the_moment() {
        let clock = ManualClock::default();
        let waiting = tokio::spawn({
            let clock = clock.clone();
            async move { clock.reached(NOON.after(Duration::from_secs(5))).await }
        });
        clock.advance(Duration::from_secs(4));
        tokio::task::yield_now().await;
        assert!(!waiting.is_finished());
        clock.advance(Duration::from_secs(1));
        waiting.await.unwrap();
    }
}
