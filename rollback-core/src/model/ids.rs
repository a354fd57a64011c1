//! Ids: short texts that were checked once, cheap to clone, ordered, printed as they are.

use std::{borrow::Borrow, fmt, sync::Arc};

use serde::{
    Deserialize, Deserializer, Serialize,
    de::{self, Visitor},
};

/// Why a text is not an id.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{kind} `{text}` {problem}; use 1 to 200 printable characters without spaces")]
pub struct IdError {
    kind: &'static str,
    text: String,
    problem: &'static str,
}

macro_rules! text_id {
    ($(#[$doc:meta])* $name:ident, $kind:literal) => {
        $(#[$doc])*
        #[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
        #[serde(transparent)]
        pub struct $name(Arc<str>);

        // By hand: journals are full of ids, and this takes one allocation for each.
        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
                from.deserialize_str(Checked($kind)).map(Self)
            }
        }

        impl $name {
            /// Checks the text: 1 to 200 printable characters, no white space.
            ///
            /// # Errors
            /// [`IdError`] names the text and what is wrong with it.
            pub fn new(text: impl AsRef<str>) -> Result<Self, IdError> {
                let text = text.as_ref();
                check($kind, text)?;
                Ok(Self(Arc::from(text)))
            }

            /// The text of the id.
            #[must_use]
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.pad(&self.0)
            }
        }

        impl TryFrom<Arc<str>> for $name {
            type Error = IdError;
            fn try_from(text: Arc<str>) -> Result<Self, IdError> {
                check($kind, &text)?;
                Ok(Self(text))
            }
        }

        impl TryFrom<&str> for $name {
            type Error = IdError;
            fn try_from(text: &str) -> Result<Self, IdError> {
                Self::new(text)
            }
        }

        impl std::str::FromStr for $name {
            type Err = IdError;
            fn from_str(text: &str) -> Result<Self, IdError> {
                Self::new(text)
            }
        }

        impl From<$name> for Arc<str> {
            fn from(id: $name) -> Self {
                id.0
            }
        }

        impl Borrow<str> for $name {
            fn borrow(&self) -> &str {
                &self.0
            }
        }
    };
}

text_id!(
    /// What is deployed; one engine guards one service.
    ServiceId, "service"
);
text_id!(
    /// A digest over artefact and definition: the name of an immutable release.
    ReleaseId, "release"
);
text_id!(
    /// One running unit of a release, named by the platform.
    InstanceId, "instance"
);
text_id!(
    /// A metric of the policy.
    MetricId, "metric"
);
text_id!(
    /// Where people are told: one notifier.
    ChannelId, "channel"
);
text_id!(
    /// The platform's own mark of a version of its state; compared, never interpreted.
    Etag, "etag"
);
text_id!(
    /// Identifies a policy's text; not a cryptographic digest.
    PolicyDigest, "policy digest"
);
text_id!(
    /// One attempt to move a service from its stable release to a candidate.
    DeploymentId, "deployment"
);

impl DeploymentId {
    /// The id of the deployment that the entry `seq` at `at` opens: the same inputs give the same
    /// id, and another journal of the same service gives another.
    #[must_use]
    pub(crate) fn structural(seq: Seq, at: super::Timestamp) -> Self {
        Self(Arc::from(format!("d{}-{:x}", seq.get(), at.as_millis())))
    }
}

impl PolicyDigest {
    /// FNV-1a over 128 bits of the canonical text of a policy.
    #[must_use]
    pub fn of(canonical: &str) -> Self {
        let mut hash: u128 = 0x6c62_272e_07bb_0142_62b8_2175_6295_c58d;
        for byte in canonical.bytes() {
            hash ^= u128::from(byte);
            hash = hash.wrapping_mul(0x0000_0000_0100_0000_0000_0000_0000_013b);
        }
        Self(Arc::from(format!("{hash:032x}")))
    }
}

/// A trigger's name and version: a deployment is pinned to both.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct TriggerId {
    /// The name in the policy.
    pub name: Arc<str>,
    /// The version of the rule's code.
    pub version: u32,
}

impl TriggerId {
    /// A trigger's id.
    #[must_use]
    pub fn new(name: impl AsRef<str>, version: u32) -> Self {
        Self {
            name: Arc::from(name.as_ref()),
            version,
        }
    }
}

impl fmt::Display for TriggerId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}@{}", self.name, self.version)
    }
}

macro_rules! number_id {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(
            Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize,
        )]
        #[serde(transparent)]
        pub struct $name(u64);

        impl $name {
            /// Wraps the number.
            #[must_use]
            pub const fn new(number: u64) -> Self {
                Self(number)
            }
            /// The number.
            #[must_use]
            pub const fn get(self) -> u64 {
                self.0
            }
            /// The next one.
            #[must_use]
            pub const fn next(self) -> Self {
                Self(self.0.saturating_add(1))
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.fmt(f)
            }
        }
    };
}

number_id!(
    /// The position of an entry in a service's journal; the first entry has 1.
    Seq
);
number_id!(
    /// Who may write: each taking over of a journal raises it, older writers are refused.
    Epoch
);

/// Reads a text and checks it as an id of this kind.
struct Checked(&'static str);

impl Visitor<'_> for Checked {
    type Value = Arc<str>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "a {}", self.0)
    }

    fn visit_str<E: de::Error>(self, text: &str) -> Result<Arc<str>, E> {
        check(self.0, text).map_err(E::custom)?;
        Ok(Arc::from(text))
    }
}

fn check(kind: &'static str, text: &str) -> Result<(), IdError> {
    if (1..=200).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_graphic()) {
        return Ok(());
    }
    let problem = if text.is_empty() {
        "is empty"
    } else if text.chars().count() > 200 {
        "is too long"
    } else if text.chars().any(|c| c.is_whitespace() || c.is_control()) {
        "has a space or a control character in it"
    } else {
        return Ok(());
    };
    Err(IdError {
        kind,
        text: text.chars().take(60).collect(),
        problem,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bad_texts_are_refused_with_the_reason() {
        for (text, why) in [("", "empty"), ("a b", "space"), ("a\n", "space")] {
            let error = ServiceId::new(text).unwrap_err().to_string();
            assert!(error.contains(why), "{error}");
        }
        assert!(ServiceId::new("x".repeat(201)).is_err());
    }

    #[test]
    fn a_bad_id_in_a_document_is_refused() {
        assert!(serde_json::from_str::<ReleaseId>("\"v 1\"").is_err());
        assert_eq!(
            serde_json::from_str::<ReleaseId>("\"v1\"")
                .unwrap()
                .as_str(),
            "v1"
        );
    }

    #[test]
    fn fnv_of_nothing_is_the_offset_basis() {
        assert_eq!(
            PolicyDigest::of("").as_str(),
            "6c62272e07bb014262b821756295c58d"
        );
        assert_ne!(PolicyDigest::of("a"), PolicyDigest::of("b"));
    }
}
