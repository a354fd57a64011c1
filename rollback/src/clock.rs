//! The clock of a controller: the wall clock looked at once, and monotonic time from there.

use std::{
    fmt::Debug,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use async_trait::async_trait;
use rollback_core::model::Timestamp;
use tokio::time::Instant;

/// A journal whose last entry lies further in our future than this is not taken over.
pub(crate) const FUTURE_TOLERANCE: Duration = Duration::from_secs(30);

/// What a controller takes the time from. Hosts inject their own in tests.
#[async_trait]
pub trait Clock: Debug + Send + Sync + 'static {
    /// The time now; it should not go backwards (the engine clamps it if it does).
    fn now(&self) -> Timestamp;

    /// Returns once `now` is `at` or later.
    async fn reached(&self, at: Timestamp);
}

/// The wall clock as it was when this value was made, moved on by monotonic time: a wall clock
/// that is set while a deployment is watched changes nothing.
#[derive(Debug, Clone, Copy)]
pub struct AnchoredClock {
    anchor: Timestamp,
    since: Instant,
}

impl AnchoredClock {
    /// Looks at the wall clock.
    #[must_use]
    pub fn anchored_now() -> Self {
        let since_1970 = SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .unwrap_or_default();
        Self::anchored_at(Timestamp::default().after(since_1970))
    }

    /// A clock that shows `anchor` now.
    #[must_use]
    pub fn anchored_at(anchor: Timestamp) -> Self {
        Self {
            anchor,
            since: Instant::now(),
        }
    }
}

#[async_trait]
impl Clock for AnchoredClock {
    fn now(&self) -> Timestamp {
        self.anchor.after(self.since.elapsed())
    }

    async fn reached(&self, at: Timestamp) {
        // One timer wheel takes about two years; longer waits are cut up.
        const LONGEST: Duration = Duration::from_secs(86_400);
        loop {
            let left = at.since(self.now());
            if left.is_zero() {
                return;
            }
            tokio::time::sleep(left.min(LONGEST)).await;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn it_moves_with_monotonic_time_and_wakes_not_too_early() {
        let clock = AnchoredClock::anchored_at(Timestamp::from_millis(1_000));
        let at = Timestamp::from_millis(3_500);
        clock.reached(at).await;
        assert_eq!(clock.now(), at);
        clock.reached(Timestamp::from_millis(0)).await;
        assert_eq!(
            clock.now(),
            at,
            "a moment that has passed is not waited for"
        );
    }
}
