//! What a query means for the series of an answer: a sum, or one value, or the reason why neither.

use regex_lite::Regex;
use rollback_core::model::ReadError;

use crate::exposition::Series;

/// A parsed query.
#[derive(Debug)]
pub(crate) enum Expression {
    Series(Selector),
    /// Events of the histogram that lie above the bound.
    Above {
        bound: f64,
        histogram: Selector,
    },
}

/// Series by name and labels.
#[derive(Debug)]
pub(crate) struct Selector {
    pub(crate) name: String,
    pub(crate) matchers: Vec<Matcher>,
}

#[derive(Debug)]
pub(crate) struct Matcher {
    pub(crate) label: String,
    pub(crate) test: Test,
}

#[derive(Debug)]
pub(crate) enum Test {
    Is(String),
    IsNot(String),
    /// Anchored at both ends, as in Prometheus.
    Like(Regex),
    NotLike(Regex),
}

impl Expression {
    /// The sum of what the query counts.
    ///
    /// Nothing matching is no data, unless series of the same metric with the labels asked for are
    /// there and just none with these values: then it did not happen yet, which is 0.
    pub(crate) fn count(&self, all: &[Series<'_>]) -> Result<u64, ReadError> {
        match self {
            Self::Series(selector) => selector.count(&selector.name, all),
            Self::Above { bound, histogram } => histogram.count_above(*bound, all),
        }
    }

    /// The one value of the query.
    pub(crate) fn value(&self, all: &[Series<'_>]) -> Result<f64, ReadError> {
        match self {
            Self::Series(selector) => selector.value(all),
            Self::Above { .. } => self.count(all).map(|count| count as f64),
        }
    }

    /// The earliest time that a matching series carries.
    pub(crate) fn earliest(&self, all: &[Series<'_>]) -> Option<i64> {
        match self {
            Self::Series(selector) => selector
                .matching(&selector.name, all)
                .filter_map(|one| one.at)
                .min(),
            Self::Above { histogram, .. } => {
                let count = format!("{}_count", histogram.name);
                histogram
                    .matching(&count, all)
                    .filter_map(|one| one.at)
                    .min()
            }
        }
    }
}

impl Selector {
    fn matching<'a>(
        &'a self,
        name: &'a str,
        all: &'a [Series<'a>],
    ) -> impl Iterator<Item = &'a Series<'a>> {
        all.iter()
            .filter(move |one| one.name == name && self.matchers.iter().all(|m| m.matches(one)))
    }

    fn value(&self, all: &[Series<'_>]) -> Result<f64, ReadError> {
        let mut found = self.matching(&self.name, all);
        let Some(first) = found.next() else {
            return Err(ReadError::NoData);
        };
        let more = found.count();
        if more > 0 {
            let series = u32::try_from(more + 1).unwrap_or(u32::MAX);
            return Err(ReadError::Ambiguous { series });
        }
        finite(first.value)
    }

    fn count(&self, name: &str, all: &[Series<'_>]) -> Result<u64, ReadError> {
        let found: Vec<&Series<'_>> = self.matching(name, all).collect();
        if found.is_empty() {
            return self.none_yet(name, all);
        }
        if let Some(twice) = doubled(&found) {
            return Err(ReadError::Ambiguous { series: twice });
        }
        let sum: f64 = found.iter().map(|one| one.value).sum();
        whole(name, sum)
    }

    /// What it means that no series matches.
    fn none_yet(&self, name: &str, all: &[Series<'_>]) -> Result<u64, ReadError> {
        let asked: Vec<&str> = self
            .matchers
            .iter()
            .filter(|matcher| !matcher.test.accepts(""))
            .map(|matcher| matcher.label.as_str())
            .collect();
        let has_labels = |one: &Series<'_>| asked.iter().all(|label| !one.label(label).is_empty());
        let known = !asked.is_empty() && all.iter().any(|one| one.name == name && has_labels(one));
        if known { Ok(0) } else { Err(ReadError::NoData) }
    }

    fn count_above(&self, bound: f64, all: &[Series<'_>]) -> Result<u64, ReadError> {
        let all_events = self.count(&format!("{}_count", self.name), all)?;
        let bucket = format!("{}_bucket", self.name);
        let buckets: Vec<&Series<'_>> = self.matching(&bucket, all).collect();
        let le = |one: &Series<'_>| one.label("le").parse::<f64>().ok();
        let below: Vec<&Series<'_>> = buckets
            .iter()
            .copied()
            .filter(|one| le(one) == Some(bound))
            .collect();
        if below.is_empty() && all_events > 0 {
            let mut bounds: Vec<f64> = buckets.iter().filter_map(|one| le(one)).collect();
            bounds.retain(|bound| bound.is_finite());
            bounds.sort_by(f64::total_cmp);
            bounds.dedup();
            return Err(ReadError::BadQuery {
                why: format!(
                    "the histogram `{}` has no bucket at {bound}; it has {bounds:?}",
                    self.name
                ),
            });
        }
        if let Some(twice) = doubled(&below) {
            return Err(ReadError::Ambiguous { series: twice });
        }
        let below: f64 = below.iter().map(|one| one.value).sum();
        Ok(all_events.saturating_sub(whole(&bucket, below)?))
    }
}

/// How many series there are, if one is there twice.
fn doubled(found: &[&Series<'_>]) -> Option<u32> {
    let mut labels: Vec<Vec<(&str, &str)>> = found
        .iter()
        .map(|one| {
            let mut labels: Vec<_> = one
                .labels
                .iter()
                .map(|(name, value)| (*name, &**value))
                .collect();
            labels.sort_unstable();
            labels
        })
        .collect();
    labels.sort_unstable();
    let different = {
        labels.dedup();
        labels.len()
    };
    (different < found.len()).then(|| u32::try_from(found.len()).unwrap_or(u32::MAX))
}

impl Matcher {
    fn matches(&self, series: &Series<'_>) -> bool {
        self.test.accepts(series.label(&self.label))
    }
}

impl Test {
    fn accepts(&self, value: &str) -> bool {
        match self {
            Self::Is(wanted) => value == wanted,
            Self::IsNot(unwanted) => value != unwanted,
            Self::Like(pattern) => pattern.is_match(value),
            Self::NotLike(pattern) => !pattern.is_match(value),
        }
    }
}

fn finite(value: f64) -> Result<f64, ReadError> {
    if value.is_finite() {
        Ok(value)
    } else {
        Err(ReadError::NotANumber)
    }
}

#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "finite and not negative; beyond 2^64 it saturates"
)]
fn whole(name: &str, value: f64) -> Result<u64, ReadError> {
    let value = finite(value)?;
    if value < 0.0 {
        return Err(ReadError::BadQuery {
            why: format!("`{name}` is negative, so it counts nothing"),
        });
    }
    Ok(value as u64)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{exposition::parse, subject::Names};

    const TEXT: &str = r#"
requests_total{code="200",method="GET"} 90
requests_total{code="500",method="GET"} 7
requests_total{code="503",method="POST"} 3
temperature 21.5
broken NaN
sinking -1
twice{a="b"} 1
twice{a="b"} 1
took_bucket{route="/a",le="0.1"} 5
took_bucket{route="/a",le="0.5"} 8
took_bucket{route="/a",le="+Inf"} 10
took_count{route="/a"} 10
took_bucket{route="/b",le="0.1"} 1
took_bucket{route="/b",le="0.5"} 1
took_bucket{route="/b",le="+Inf"} 4
took_count{route="/b"} 4
by_release{release="v1.2",path="a.b"} 4
"#;

    fn names() -> Names<'static> {
        Names {
            service: "shop",
            release: Some("v1.2"),
            arm: Some("candidate"),
            instance: None,
            address: None,
        }
    }

    fn count(query: &str) -> Result<u64, ReadError> {
        Expression::parse(query, &names())?.count(&parse(TEXT).unwrap())
    }

    fn value(query: &str) -> Result<f64, ReadError> {
        Expression::parse(query, &names())?.value(&parse(TEXT).unwrap())
    }

    #[test]
    fn counts_are_sums_of_what_matches() {
        let table = [
            ("requests_total", 100),
            ("requests_total{}", 100),
            (r#"requests_total{code=~"5.."}"#, 10),
            (r#"requests_total{code=~"5..", method!="POST"}"#, 7),
            (r#"requests_total{code!~"2.."}"#, 10),
            (r#"requests_total{code="500",}"#, 7),
            (r#"requests_total{nothere=""}"#, 100),
            // Patterns are anchored: 5 alone matches nothing, which did not happen yet.
            (r#"requests_total{code=~"5"}"#, 0),
            (r#"requests_total{code="404"}"#, 0),
            ("above(0.5, took)", 2 + 3),
            (r#"above(0.1, took{route="/a"})"#, 5),
            (r#"by_release{release="{{release}}"}"#, 4),
            // A name in a pattern stands for itself: its dots match only dots.
            (r#"by_release{release=~"{{release}}|x",path=~"a.b"}"#, 4),
        ];
        for (query, expected) in table {
            assert_eq!(count(query), Ok(expected), "{query}");
        }
    }

    #[test]
    fn what_is_not_there_is_not_zero() {
        for query in [
            "requests",
            r#"requests_total{status=~"5.."}"#,
            r#"requests_totl{code="500"}"#,
            "above(0.5, nothere)",
            "temperature_total",
        ] {
            assert_eq!(count(query), Err(ReadError::NoData), "{query}");
        }
        assert_eq!(value("nothere"), Err(ReadError::NoData));
    }

    #[test]
    fn a_value_is_one_finite_series() {
        assert_eq!(value("temperature"), Ok(21.5));
        assert_eq!(
            value("requests_total"),
            Err(ReadError::Ambiguous { series: 3 })
        );
        assert_eq!(value("broken"), Err(ReadError::NotANumber));
        assert_eq!(count("broken"), Err(ReadError::NotANumber));
        assert_eq!(count("twice"), Err(ReadError::Ambiguous { series: 2 }));
        assert!(matches!(count("sinking"), Err(ReadError::BadQuery { .. })));
    }

    #[test]
    fn a_bound_that_is_not_there_is_answered_with_those_that_are() {
        let Err(ReadError::BadQuery { why }) = count("above(0.25, took)") else {
            panic!("0.25 is no bound")
        };
        assert!(why.contains("[0.1, 0.5]"), "{why}");
    }
}
