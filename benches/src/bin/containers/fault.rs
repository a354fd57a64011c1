//! What is wrong with the image that is deployed.

use rollback_specimen::Image;

/// A way in which a release can be bad.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fault {
    CannotStart,
    Exits,
    Unhealthy,
    Errors,
    Slow,
    Leak,
}

impl Fault {
    pub(crate) const ALL: [Self; 6] = [
        Self::CannotStart,
        Self::Exits,
        Self::Unhealthy,
        Self::Errors,
        Self::Slow,
        Self::Leak,
    ];

    /// As an argument and in the table.
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::CannotStart => "cannot-start",
            Self::Exits => "exits-after-2-s",
            Self::Unhealthy => "health-check-fails",
            Self::Errors => "30-percent-errors",
            Self::Slow => "slow",
            Self::Leak => "leak",
        }
    }

    /// The bad release.
    pub(crate) fn image(self) -> Image {
        let bad = Image::new(BAD);
        match self {
            Self::CannotStart => bad.that_cannot_start(),
            Self::Exits => bad.env("EXIT_AFTER", 2_000),
            Self::Unhealthy => bad.env("READY_AFTER", "never"),
            Self::Errors => bad.env("FAIL_PERCENT", 30),
            Self::Slow => bad.env("SLOW", 2_000),
            Self::Leak => bad.env("LEAK", 20),
        }
    }
}

/// What the releases call themselves in their answers.
pub(crate) const GOOD: &str = "good";
pub(crate) const BAD: &str = "bad";

/// All images have the same health check: so often, and two bad answers are too many.
pub(crate) const HEALTH_EVERY_MS: u64 = 1_000;

/// Each container may take so much memory: a leak of 20 MB a second fills it in about six.
pub(crate) const MEMORY: i64 = 128 << 20;
