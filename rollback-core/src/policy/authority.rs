//! What the engine may do by itself, and what follows when somebody else acts.

use std::fmt;

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

/// `mode:` whether the engine acts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
pub enum Mode {
    /// `act`: it deploys and rolls back.
    #[default]
    Act,
    /// `observe`: it watches what others deploy, decides, says what it would have done, and never
    /// changes anything.
    Observe,
}

/// `foreign:` what follows when somebody else deploys while nothing of ours is under way.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
pub enum Foreign {
    /// `ignore`: nobody looks.
    #[default]
    Ignore,
    /// `adopt`: it is watched like a deployment of ours, and rolled back when it fails.
    Adopt,
    /// `hold`: a person is asked first.
    Hold,
}

/// `crash_limit:` a number above zero, or `off`. Zero would be reached before anything crashed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CrashLimit(pub Option<u32>);

impl Serialize for CrashLimit {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self.0 {
            Some(limit) => serializer.serialize_u32(limit),
            None => serializer.serialize_str("off"),
        }
    }
}

impl<'de> Deserialize<'de> for CrashLimit {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Visitor;
        impl de::Visitor<'_> for Visitor {
            type Value = CrashLimit;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a whole number from 1 to 4294967295, or off")
            }
            fn visit_u64<E: de::Error>(self, limit: u64) -> Result<CrashLimit, E> {
                u32::try_from(limit)
                    .ok()
                    .filter(|limit| *limit > 0)
                    .map(|limit| CrashLimit(Some(limit)))
                    .ok_or_else(|| E::invalid_value(de::Unexpected::Unsigned(limit), &self))
            }
            fn visit_i64<E: de::Error>(self, limit: i64) -> Result<CrashLimit, E> {
                match u64::try_from(limit) {
                    Ok(limit) => self.visit_u64(limit),
                    Err(_) => Err(E::invalid_value(de::Unexpected::Signed(limit), &self)),
                }
            }
            fn visit_str<E: de::Error>(self, text: &str) -> Result<CrashLimit, E> {
                match (text, text.parse()) {
                    ("off", _) => Ok(CrashLimit(None)),
                    (_, Ok(limit @ 1..)) => Ok(CrashLimit(Some(limit))),
                    _ => Err(E::invalid_value(de::Unexpected::Str(text), &self)),
                }
            }
        }
        deserializer.deserialize_any(Visitor)
    }
}
