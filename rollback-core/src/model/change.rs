//! Changes asked of a platform, and the ways in which asking can fail.

use std::fmt;

use serde::{Deserialize, Serialize};

use super::{Definition, DeploymentId, Etag, Observation, ReleaseId, Timestamp, Wanted, Weight};

/// The structural id of one attempt at one change: the same decision always has the same id.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct ChangeId {
    /// The deployment that decided it.
    pub deployment: DeploymentId,
    /// The position of the step within the deployment, rollback steps included.
    pub step: u32,
    /// 1 for the first attempt.
    pub attempt: u32,
}

impl fmt::Display for ChangeId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.s{}.a{}", self.deployment, self.step, self.attempt)
    }
}

/// A tag that is not one of ours.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is not the tag of a change (deployment.sN.aN)")]
pub struct NotAChangeId(String);

impl TryFrom<String> for ChangeId {
    type Error = NotAChangeId;
    fn try_from(text: String) -> Result<Self, NotAChangeId> {
        let parse = || {
            let (rest, attempt) = text.rsplit_once(".a")?;
            let (deployment, step) = rest.rsplit_once(".s")?;
            Some(Self {
                deployment: DeploymentId::new(deployment).ok()?,
                step: step.parse().ok()?,
                attempt: attempt.parse().ok()?,
            })
        };
        parse().ok_or_else(|| NotAChangeId(text.clone()))
    }
}

impl From<ChangeId> for String {
    fn from(id: ChangeId) -> Self {
        id.to_string()
    }
}

/// Where new capacity goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Placement {
    /// Beside what runs, without traffic.
    Beside,
    /// In the place of what runs, taking its traffic over as it comes.
    InPlace(Pace),
}

impl Placement {
    /// Whether it takes the place of what runs.
    #[must_use]
    pub const fn is_in_place(self) -> bool {
        matches!(self, Self::InPlace(_))
    }
}

/// How what runs makes room for its replacement.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Pace {
    /// All of the replacement is started first, and takes over when all of it is ready.
    AtOnce,
    /// Instance by instance; the next one only while those before it are ready.
    Rolling {
        /// So many instances may be missing meanwhile.
        max_unavailable: u32,
        /// So many instances may run in excess meanwhile.
        max_surge: u32,
    },
    /// Everything that runs is stopped before the replacement is started.
    StopFirst,
}

impl Pace {
    /// As many instances as there are: more than a service has.
    pub const ALL: u32 = 10_000;
}

impl fmt::Display for Pace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::AtOnce => f.write_str("at once"),
            Self::Rolling {
                max_unavailable,
                max_surge,
            } => {
                write!(
                    f,
                    "instance by instance, at most {max_unavailable} missing and "
                )?;
                if *max_surge >= Self::ALL {
                    f.write_str("any number in excess")
                } else {
                    write!(f, "{max_surge} in excess")
                }
            }
            Self::StopFirst => f.write_str("stopping it first"),
        }
    }
}

/// A release's share of the traffic.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Share {
    /// Which release.
    pub release: ReleaseId,
    /// How much.
    pub weight: Weight,
}

/// What is asked of a platform.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Change {
    /// Run this release.
    Converge {
        /// Which.
        release: ReleaseId,
        /// Where.
        placement: Placement,
    },
    /// Divide the traffic like this; releases not named get none.
    Weights {
        /// Shares that add up to everything.
        shares: Vec<Share>,
    },
    /// Stop running this release; refused by an adapter while it carries traffic.
    Retire {
        /// Which.
        release: ReleaseId,
    },
    /// Stop the platform's own rollout.
    CancelPlatformRollout,
}

impl Change {
    /// What the platform wants once the change is in.
    #[must_use]
    pub fn applied_to(&self, wanted: &Wanted) -> Wanted {
        match self {
            Self::Converge {
                release,
                placement: Placement::Beside,
            } => {
                let weight = wanted.weight(release);
                wanted.clone().with(release.clone(), weight)
            }
            Self::Converge { release, .. } => Wanted::only(release.clone()),
            Self::Weights { shares } => {
                let mut after = Wanted::nothing();
                for (release, _) in wanted.iter() {
                    after = after.with(release.clone(), Weight::NONE);
                }
                for share in shares {
                    after = after.with(share.release.clone(), share.weight);
                }
                after
            }
            Self::Retire { release } => wanted.clone().without(release),
            Self::CancelPlatformRollout => wanted.clone(),
        }
    }

    /// One word.
    #[must_use]
    pub const fn word(&self) -> &'static str {
        match self {
            Self::Converge { .. } => "converge",
            Self::Weights { .. } => "weights",
            Self::Retire { .. } => "retire",
            Self::CancelPlatformRollout => "cancel_platform_rollout",
        }
    }
}

impl fmt::Display for Change {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Converge { release, placement } => match placement {
                Placement::Beside => write!(f, "start {release} beside what runs"),
                Placement::InPlace(Pace::AtOnce) => write!(f, "replace what runs by {release}"),
                Placement::InPlace(pace) => write!(f, "replace what runs by {release}, {pace}"),
            },
            Self::Weights { shares } => {
                f.write_str("send the traffic to")?;
                for (i, share) in shares.iter().enumerate() {
                    let comma = if i > 0 { "," } else { "" };
                    write!(f, "{comma} {} {}", share.release, share.weight)?;
                }
                Ok(())
            }
            Self::Retire { release } => write!(f, "retire {release}"),
            Self::CancelPlatformRollout => f.write_str("stop the platform's own rollout"),
        }
    }
}

/// The state of the world that a change was decided for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Expectation {
    /// The fence: the change is not sent if the platform wants anything else by now.
    pub wanted: Wanted,
    /// The compare-and-set on the wire, where the platform has one.
    pub etag: Option<Etag>,
}

/// One attempt at a change.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct ChangeRequest {
    /// Structural; platforms that can carry a tag carry this.
    pub id: ChangeId,
    /// What to do.
    pub change: Change,
    /// What it was decided for.
    pub expect: Expectation,
    /// Not sent after this moment.
    pub not_after: Timestamp,
    /// The definition of the release that the change names, where it names one.
    pub definition: Option<Definition>,
    /// Whether it is a step of a rollback: what is restored served before, and users wait for it.
    pub rolls_back: bool,
}

impl ChangeRequest {
    /// A request without a definition.
    #[must_use]
    pub const fn new(
        id: ChangeId,
        change: Change,
        expect: Expectation,
        not_after: Timestamp,
    ) -> Self {
        Self {
            id,
            change,
            expect,
            not_after,
            definition: None,
            rolls_back: false,
        }
    }

    /// The same as a step of a rollback, or not.
    #[must_use]
    pub const fn rolling_back(mut self, rolls_back: bool) -> Self {
        self.rolls_back = rolls_back;
        self
    }

    /// The same with the release's definition.
    #[must_use]
    pub fn with_definition(mut self, definition: Option<Definition>) -> Self {
        self.definition = definition;
        self
    }
}

/// The platform took a change. It is in when an observation says so.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Accepted {
    /// The platform's mark after the change.
    pub etag: Option<Etag>,
}

impl Accepted {
    /// Accepted, with the platform's new mark.
    #[must_use]
    pub const fn at(etag: Option<Etag>) -> Self {
        Self { etag }
    }
}

/// Why a change (or a look) did not succeed, by what it means for the next step.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum ChangeError {
    /// It never left: may be tried again as it is.
    #[error("not sent: {why}")]
    NotSent {
        /// What happened, without secrets.
        why: String,
        /// How long the platform asked to be left alone, in milliseconds.
        retry_after_ms: Option<u64>,
    },
    /// It may have been taken: look before anything else is done.
    #[error("it may have been sent: {why}")]
    MaybeSent {
        /// What happened, without secrets.
        why: String,
    },
    /// The platform is not as expected; nothing was changed.
    #[error("the platform is not as it was when this was decided")]
    Conflict {
        /// The platform as it is now, if it said so.
        now: Option<Box<Observation>>,
    },
    /// The platform will not do it, now or later.
    #[error("refused: {why}")]
    Refused {
        /// The platform's words and what to do.
        why: String,
    },
    /// The adapter cannot do it.
    #[error("not supported here: {why}")]
    Unsupported {
        /// What is missing.
        why: String,
    },
}

impl ChangeError {
    /// Never left.
    pub fn not_sent(why: impl fmt::Display) -> Self {
        Self::NotSent {
            why: why.to_string(),
            retry_after_ms: None,
        }
    }

    /// May have been taken.
    pub fn maybe_sent(why: impl fmt::Display) -> Self {
        Self::MaybeSent {
            why: why.to_string(),
        }
    }

    /// Will not be done.
    pub fn refused(why: impl fmt::Display) -> Self {
        Self::Refused {
            why: why.to_string(),
        }
    }

    /// Cannot be done.
    pub fn unsupported(why: impl fmt::Display) -> Self {
        Self::Unsupported {
            why: why.to_string(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn release(text: &str) -> ReleaseId {
        ReleaseId::new(text).unwrap()
    }

    #[test]
    fn a_change_says_what_will_be_wanted() {
        let before = Wanted::only(release("v1"));
        let beside = Change::Converge {
            release: release("v2"),
            placement: Placement::Beside,
        }
        .applied_to(&before);
        assert_eq!(beside.to_string(), "v1 at 100 % + v2 at 0 %");
        let shifted = Change::Weights {
            shares: vec![Share {
                release: release("v2"),
                weight: Weight::ALL,
            }],
        }
        .applied_to(&beside);
        assert_eq!(shifted.to_string(), "v1 at 0 % + v2 at 100 %");
        let retired = Change::Retire {
            release: release("v1"),
        }
        .applied_to(&shifted);
        assert_eq!(retired, Wanted::only(release("v2")));
    }

    #[test]
    fn a_change_id_survives_being_a_tag() {
        let id = ChangeId {
            deployment: DeploymentId::new("d17-19a").unwrap(),
            step: 2,
            attempt: 1,
        };
        assert_eq!(ChangeId::try_from(id.to_string()), Ok(id));
        assert!(ChangeId::try_from("somebody else's".to_owned()).is_err());
    }
}
