//! Durations and shares as a document holds them.

use std::{fmt, time::Duration};

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

use super::duration::parse_duration;
use crate::model::duration_text;

/// A value that is written as text.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Text<T>(pub T);

impl Serialize for Text<Duration> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&duration_text(self.0))
    }
}

impl<'de> Deserialize<'de> for Text<Duration> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Visitor;
        impl de::Visitor<'_> for Visitor {
            type Value = Duration;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a duration such as 30s")
            }
            fn visit_str<E: de::Error>(self, text: &str) -> Result<Duration, E> {
                parse_duration(text).map_err(E::custom)
            }
            fn visit_u64<E: de::Error>(self, number: u64) -> Result<Duration, E> {
                Err(E::custom(format!(
                    "`{number}` is a duration without its unit; write {number}s or {number}ms"
                )))
            }
            fn visit_i64<E: de::Error>(self, number: i64) -> Result<Duration, E> {
                Err(E::custom(format!(
                    "a duration is never negative, as `{number}` is; write it like 30s"
                )))
            }
            fn visit_f64<E: de::Error>(self, number: f64) -> Result<Duration, E> {
                Err(E::custom(format!(
                    "`{number}` is not a duration; write whole numbers with a unit, like 1500ms"
                )))
            }
        }
        deserializer.deserialize_any(Visitor).map(Self)
    }
}

/// So many of so many, written `3 of 5`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TimesOf {
    /// So many …
    pub bad: u32,
    /// … of so many.
    pub of: u32,
}

impl Serialize for Text<TimesOf> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(&format_args!("{} of {}", self.0.bad, self.0.of))
    }
}

impl<'de> Deserialize<'de> for Text<TimesOf> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Visitor;
        impl de::Visitor<'_> for Visitor {
            type Value = TimesOf;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("polls such as 3 of 5")
            }
            fn visit_str<E: de::Error>(self, text: &str) -> Result<TimesOf, E> {
                let number = |text: &str| text.trim().parse::<u32>().ok();
                text.split_once("of")
                    .and_then(|(bad, of)| {
                        let (bad, of) = (number(bad)?, number(of)?);
                        Some(TimesOf { bad, of })
                    })
                    .ok_or_else(|| {
                        E::custom(format!(
                            "`{text}` is no number of polls; write it like 3 of 5"
                        ))
                    })
            }
        }
        deserializer.deserialize_any(Visitor).map(Self)
    }
}

/// A share, written `5%` or `0.05`; kept as a fraction of 1.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct Share(pub f64);

impl Serialize for Share {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let text = percent(self.0);
        // What is written must be read as the same number.
        if parse(&text).is_ok_and(|read| read.to_bits() == self.0.to_bits()) {
            serializer.serialize_str(&text)
        } else {
            serializer.serialize_f64(self.0)
        }
    }
}

impl<'de> Deserialize<'de> for Share {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Visitor;
        impl de::Visitor<'_> for Visitor {
            type Value = f64;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a share such as 5%")
            }
            fn visit_str<E: de::Error>(self, text: &str) -> Result<f64, E> {
                parse(text).map_err(E::custom)
            }
            fn visit_f64<E: de::Error>(self, ratio: f64) -> Result<f64, E> {
                if (0.0..=1.0).contains(&ratio) {
                    Ok(ratio)
                } else {
                    Err(E::custom(format!(
                        "`{ratio}` is not a share; write it like 5% or 0.05"
                    )))
                }
            }
            fn visit_u64<E: de::Error>(self, whole: u64) -> Result<f64, E> {
                match whole {
                    0 => Ok(0.0),
                    1 => Err(E::custom("`1` could be 1% or everything; write 1% or 100%")),
                    2..=100 => Err(E::custom(format!(
                        "`{whole}` is not a share; write {whole}%"
                    ))),
                    _ => Err(E::custom(format!(
                        "`{whole}` is not a share; write it like 5% or 0.05"
                    ))),
                }
            }
            fn visit_i64<E: de::Error>(self, number: i64) -> Result<f64, E> {
                Err(E::custom(format!(
                    "a share is never negative, as `{number}` is; write it like 5%"
                )))
            }
        }
        deserializer.deserialize_any(Visitor).map(Self)
    }
}

fn parse(text: &str) -> Result<f64, String> {
    // Moving the point is exact where dividing by 100 is not.
    let number = |text: &str, exponent: &str| {
        let digits = |c: char| c.is_ascii_digit() || matches!(c, '.' | '-');
        text.chars()
            .all(digits)
            .then(|| format!("{text}{exponent}").parse::<f64>().ok())?
    };
    let ratio = match text.trim().strip_suffix('%') {
        Some(percent) => number(percent.trim(), "e-2"),
        None => number(text.trim(), ""),
    };
    match ratio {
        Some(ratio) if (0.0..=1.0).contains(&ratio) => Ok(ratio),
        Some(_) => Err(format!(
            "`{text}` is not between 0 and 100 %; write it like 5% or 0.05"
        )),
        None => Err(format!("`{text}` is not a share; write it like 5% or 0.05")),
    }
}

/// The share in percent with as few digits as give the same number.
pub(super) fn percent(ratio: f64) -> String {
    let percent = ratio * 100.0;
    (0..15)
        .map(|decimals| format!("{percent:.decimals$}%"))
        .find(|text| parse(text).is_ok_and(|read| read.to_bits() == ratio.to_bits()))
        .unwrap_or_else(|| format!("{percent}%"))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn shares_are_written_the_way_people_do() {
        for (ratio, text) in [
            (0.0, "\"0%\""),
            (0.07, "\"7%\""),
            (0.01, "\"1%\""),
            (0.000_1, "\"0.01%\""),
            (1.0, "\"100%\""),
        ] {
            assert_eq!(serde_json::to_string(&Share(ratio)).unwrap(), text);
        }
    }

    #[test]
    fn what_is_not_a_share_says_how_to_write_one() {
        for (text, words) in [
            ("\"five\"", "is not a share"),
            ("\"101%\"", "not between 0 and 100 %"),
            ("\"-5%\"", "not between"),
            ("\"nan%\"", "is not a share"),
            ("\"inf\"", "is not a share"),
            ("5", "write 5%"),
            ("1", "1% or everything"),
            ("-1", "never negative"),
            ("1.5", "is not a share"),
            ("true", "a share such as 5%"),
        ] {
            let error = serde_json::from_str::<Share>(text).unwrap_err().to_string();
            assert!(error.contains(words), "{text}: {error}");
        }
    }

    proptest! {
        #[test]
        fn a_share_that_is_written_is_read_again(ratio in 0.0..=1.0_f64) {
            let text = serde_json::to_string(&Share(ratio)).unwrap();
            let read: Share = serde_json::from_str(&text).unwrap();
            prop_assert_eq!(read.0.to_bits(), ratio.to_bits());
        }

        #[test]
        fn weights_are_written_in_percent(points in 0_u16..=10_000) {
            let text = serde_json::to_string(&Share(f64::from(points) / 10_000.0)).unwrap();
            prop_assert!(text.ends_with("%\"") && text.len() <= 8, "{}", text);
        }
    }
}
