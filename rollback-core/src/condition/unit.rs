//! Units: what a metric is declared in, what a literal is written in, and how one becomes the other.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// The unit that a metric is declared in.
///
/// The unit decides what the metric may be compared with and between which limits its values can lie.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Unit {
    /// A share from 0 to 1.
    Ratio,
    /// A share from 0 to 100.
    Percent,
    /// A duration in milliseconds.
    #[serde(rename = "ms")]
    Milliseconds,
    /// A duration in seconds.
    #[serde(rename = "s")]
    Seconds,
    /// A number of things, never negative.
    Count,
    /// A size in bytes.
    Bytes,
    /// A word, such as `down`; it can be equal or different, never more or less.
    State,
}

/// What can be compared with, added to and converted into each other.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Dimension {
    Share,
    Time,
    Count,
    Size,
    Word,
}

impl fmt::Display for Dimension {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Share => "a share",
            Self::Time => "a duration",
            Self::Count => "a count",
            Self::Size => "a size",
            Self::Word => "a state",
        })
    }
}

impl Unit {
    /// Every unit, in the order in which messages list them.
    pub const ALL: [Self; 7] = [
        Self::Ratio,
        Self::Percent,
        Self::Milliseconds,
        Self::Seconds,
        Self::Count,
        Self::Bytes,
        Self::State,
    ];

    /// The unit's name as a policy writes it.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Ratio => "ratio",
            Self::Percent => "percent",
            Self::Milliseconds => "ms",
            Self::Seconds => "s",
            Self::Count => "count",
            Self::Bytes => "bytes",
            Self::State => "state",
        }
    }

    pub(super) const fn dimension(self) -> Dimension {
        match self {
            Self::Ratio | Self::Percent => Dimension::Share,
            Self::Milliseconds | Self::Seconds => Dimension::Time,
            Self::Count => Dimension::Count,
            Self::Bytes => Dimension::Size,
            Self::State => Dimension::Word,
        }
    }

    /// The largest value that a metric of this unit can have.
    pub(super) const fn largest(self) -> f64 {
        match self {
            Self::Ratio => 1.0,
            Self::Percent => 100.0,
            _ => f64::INFINITY,
        }
    }

    /// How many of the dimension's smallest unit one of this unit is; a whole number, so that conversions round once.
    const fn scale(self) -> f64 {
        match self {
            Self::Ratio => 100.0,
            Self::Seconds => 1000.0,
            _ => 1.0,
        }
    }

    /// How to turn a value of this unit into `target`, which has the same dimension.
    pub(super) fn conversion_to(self, target: Self) -> Conversion {
        if self == target {
            Conversion::Same
        } else if self.scale() >= target.scale() {
            Conversion::Times(self.scale() / target.scale())
        } else {
            Conversion::DividedBy(target.scale() / self.scale())
        }
    }

    /// A literal of this dimension, for messages that say how to write one.
    pub(super) const fn example(self) -> &'static str {
        match self {
            Self::Ratio => "`5%` or `0.05`",
            Self::Percent => "`5%` or `5`",
            Self::Milliseconds => "`300ms`, `2s` or `2000`",
            Self::Seconds => "`300ms`, `2s` or `2`",
            Self::Count => "`5`",
            Self::Bytes => "`512MiB` or `536870912`",
            Self::State => "`'down'`",
        }
    }

    /// Writes a value of this unit for a person, rounded to six significant digits unless `exact`.
    pub(super) fn write(self, value: f64, exact: bool) -> String {
        let shown = if exact { value } else { rounded(value) };
        let number = plain(shown);
        match self {
            Self::Percent => format!("{number}%"),
            Self::Milliseconds => format!("{number}ms"),
            Self::Seconds => format!("{number}s"),
            Self::Bytes => format!("{number}B"),
            Self::Ratio | Self::Count | Self::State => number,
        }
    }
}

impl fmt::Display for Unit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// The text is not the name of a unit.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("unknown unit `{text}`; use one of ratio, percent, ms, s, count, bytes, state")]
pub struct UnknownUnit {
    text: String,
}

impl FromStr for Unit {
    type Err = UnknownUnit;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Self::ALL
            .into_iter()
            .find(|unit| unit.name() == text)
            .ok_or_else(|| UnknownUnit {
                text: text.to_owned(),
            })
    }
}

/// A change of unit within one dimension.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Conversion {
    Same,
    Times(f64),
    DividedBy(f64),
}

impl Conversion {
    pub(super) fn apply(self, value: f64) -> f64 {
        match self {
            Self::Same => value,
            Self::Times(factor) => value * factor,
            Self::DividedBy(divisor) => value / divisor,
        }
    }
}

/// A unit written right behind a number.
#[derive(Debug, PartialEq)]
pub(super) struct Suffix {
    pub(super) text: &'static str,
    /// The unit that the number is in after multiplication by `factor`.
    pub(super) unit: Unit,
    pub(super) factor: f64,
}

const fn suffix(text: &'static str, unit: Unit, factor: f64) -> Suffix {
    Suffix { text, unit, factor }
}

const KIB: f64 = 1024.0;

static SUFFIXES: [Suffix; 15] = [
    suffix("%", Unit::Percent, 1.0),
    suffix("ms", Unit::Milliseconds, 1.0),
    suffix("s", Unit::Seconds, 1.0),
    suffix("m", Unit::Seconds, 60.0),
    suffix("h", Unit::Seconds, 3600.0),
    suffix("B", Unit::Bytes, 1.0),
    suffix("kB", Unit::Bytes, 1e3),
    suffix("KB", Unit::Bytes, 1e3),
    suffix("MB", Unit::Bytes, 1e6),
    suffix("GB", Unit::Bytes, 1e9),
    suffix("TB", Unit::Bytes, 1e12),
    suffix("KiB", Unit::Bytes, KIB),
    suffix("MiB", Unit::Bytes, KIB * KIB),
    suffix("GiB", Unit::Bytes, KIB * KIB * KIB),
    suffix("TiB", Unit::Bytes, KIB * KIB * KIB * KIB),
];

impl Suffix {
    pub(super) fn find(text: &str) -> Option<&'static Self> {
        SUFFIXES.iter().find(|suffix| suffix.text == text)
    }

    pub(super) const KNOWN: &'static str =
        "%, ms, s, m, h, B, kB, MB, GB, TB, KiB, MiB, GiB and TiB";
}

/// A number without an exponent where that is short, with one where it is not; always read back to the same bits.
pub(super) fn plain(value: f64) -> String {
    let size = value.abs();
    if size != 0.0 && !(1e-6..1e16).contains(&size) {
        format!("{value:e}")
    } else {
        format!("{value}")
    }
}

fn rounded(value: f64) -> f64 {
    format!("{value:.5e}").parse().unwrap_or(value)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn conversions_round_once() {
        let convert = |value: f64, from: Unit, to: Unit| from.conversion_to(to).apply(value);
        assert_eq!(convert(5.0, Unit::Percent, Unit::Ratio), 0.05);
        assert_eq!(convert(0.1, Unit::Percent, Unit::Ratio), 0.001);
        assert_eq!(convert(5.0, Unit::Percent, Unit::Percent), 5.0);
        assert_eq!(convert(0.05, Unit::Ratio, Unit::Percent), 5.0);
        assert_eq!(convert(300.0, Unit::Milliseconds, Unit::Seconds), 0.3);
        assert_eq!(convert(2.0, Unit::Seconds, Unit::Milliseconds), 2000.0);
    }

    #[test]
    fn names_read_back() {
        for unit in Unit::ALL {
            assert_eq!(unit.name().parse::<Unit>(), Ok(unit));
            assert_eq!(
                serde_json::to_string(&unit).unwrap(),
                format!("\"{}\"", unit.name())
            );
        }
        let error = "seconds".parse::<Unit>().unwrap_err();
        assert!(error.to_string().contains("unknown unit `seconds`"));
    }

    #[test]
    fn values_are_written_short() {
        assert_eq!(Unit::Ratio.write(0.1 + 0.2, false), "0.3");
        assert_eq!(Unit::Ratio.write(0.1 + 0.2, true), "0.30000000000000004");
        assert_eq!(Unit::Milliseconds.write(2300.0, false), "2300ms");
        assert_eq!(Unit::Percent.write(6.25, false), "6.25%");
        assert_eq!(plain(1e300), "1e300");
        assert_eq!(plain(0.0), "0");
    }
}
