//! Two marks as one.

use std::fmt;

use rollback_core::model::Etag;

/// The marks of both systems in one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Etags {
    pub(super) platform: Option<Etag>,
    pub(super) traffic: Option<Etag>,
}

impl Etags {
    pub(super) fn of(joined: &Etag) -> Self {
        let neither = Self {
            platform: None,
            traffic: None,
        };
        let Some((length, rest)) = joined.as_str().split_once(':') else {
            return neither;
        };
        let Ok(length) = length.parse::<usize>() else {
            return neither;
        };
        let (Some(platform), Some(traffic)) = (rest.get(..length), rest.get(length..)) else {
            return neither;
        };
        Self {
            platform: Etag::new(platform).ok(),
            traffic: Etag::new(traffic).ok(),
        }
    }

    /// Whether a change that expects these marks may be sent while those are seen.
    pub(super) fn allows(&self, seen: &Self) -> bool {
        let same = |expected: &Option<Etag>, seen: &Option<Etag>| match (expected, seen) {
            (Some(expected), Some(seen)) => expected == seen,
            // A system without marks is fenced by what is wanted alone.
            _ => true,
        };
        same(&self.platform, &seen.platform) && same(&self.traffic, &seen.traffic)
    }

    /// None if neither has one, or if both together are too long for one: then only the fence on
    /// what is wanted is left.
    pub(super) fn joined(&self) -> Option<Etag> {
        if self.platform.is_none() && self.traffic.is_none() {
            return None;
        }
        Etag::new(self.to_string()).ok()
    }
}

impl fmt::Display for Etags {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let platform = self.platform.as_ref().map_or("", Etag::as_str);
        let traffic = self.traffic.as_ref().map_or("", Etag::as_str);
        write!(f, "{}:{platform}{traffic}", platform.len())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn etag(text: &str) -> Option<Etag> {
        Some(Etag::new(text).unwrap())
    }

    #[test]
    fn two_marks_survive_being_one() {
        for (platform, traffic) in [
            (etag("7"), etag("12")),
            (etag("a:b"), None),
            (None, etag("5:5:5")),
            (None, None),
        ] {
            let both = Etags { platform, traffic };
            match both.joined() {
                Some(joined) => assert_eq!(Etags::of(&joined), both),
                None => assert!(both.platform.is_none() && both.traffic.is_none()),
            }
        }
        let long = Etags {
            platform: etag(&"x".repeat(150)),
            traffic: etag(&"y".repeat(150)),
        };
        assert_eq!(long.joined(), None, "too long for one mark");
    }
}
