//! The query language of the text format: selectors as in Prometheus, and one function.
//!
//! ```text
//! http_requests_total{code=~"5..", method!="OPTIONS"}     series by name and labels
//! above(0.5, http_request_duration_seconds{route="/pay"}) events of a histogram above a bound
//! ```

use std::borrow::Cow;

use regex_lite::Regex;
use rollback_core::model::ReadError;

use crate::{
    exposition::{take_name, take_quoted},
    selector::{Expression, Matcher, Selector, Test},
    subject::Names,
};

impl Expression {
    /// Parses a query; placeholders in label values are filled in from `names`, escaped where they
    /// stand in a regular expression.
    pub(crate) fn parse(text: &str, names: &Names<'_>) -> Result<Self, ReadError> {
        let parsed = match text.trim().strip_prefix("above(") {
            Some(inside) => parse_above(inside, names),
            None => parse_selector(text.trim(), names).map(Self::Series),
        };
        parsed.map_err(|why| ReadError::BadQuery {
            why: format!("`{text}`: {why}"),
        })
    }
}

fn parse_above(inside: &str, names: &Names<'_>) -> Result<Expression, Cow<'static, str>> {
    let (bound, rest) = inside
        .split_once(',')
        .ok_or("write above(BOUND, HISTOGRAM)")?;
    let rest = rest
        .trim_end()
        .strip_suffix(')')
        .ok_or("above( is not closed")?;
    let bound: f64 = bound
        .trim()
        .parse()
        .map_err(|_| "the bound of above() is not a number")?;
    if !bound.is_finite() {
        return Err("the bound of above() must be finite".into());
    }
    let histogram = parse_selector(rest.trim(), names)?;
    if ["_bucket", "_count", "_sum"]
        .iter()
        .any(|end| histogram.name.ends_with(end))
    {
        return Err(
            "above() takes the histogram's own name, without _bucket, _count or _sum".into(),
        );
    }
    Ok(Expression::Above { bound, histogram })
}

fn parse_selector(text: &str, names: &Names<'_>) -> Result<Selector, Cow<'static, str>> {
    let (name, rest) = take_name(text, true).ok_or("no metric name at its beginning")?;
    let mut matchers = Vec::new();
    let mut rest = rest.trim_start();
    if let Some(inside) = rest.strip_prefix('{') {
        rest = inside.trim_start();
        loop {
            if let Some(after) = rest.strip_prefix('}') {
                rest = after;
                break;
            }
            let (matcher, after) = parse_matcher(rest, names)?;
            matchers.push(matcher);
            rest = after.trim_start();
            match rest.strip_prefix(',') {
                Some(after) => rest = after.trim_start(),
                None if rest.starts_with('}') => {}
                None => return Err("no comma or } after a label".into()),
            }
        }
    }
    if !rest.is_empty() {
        let why = format!(
            "`{rest}` is not understood; this source takes a selector or above(BOUND, HISTOGRAM), no PromQL"
        );
        return Err(why.into());
    }
    Ok(Selector {
        name: name.to_owned(),
        matchers,
    })
}

fn parse_matcher<'a>(
    text: &'a str,
    names: &Names<'_>,
) -> Result<(Matcher, &'a str), Cow<'static, str>> {
    let (label, rest) = take_name(text, false).ok_or("no label name")?;
    let rest = rest.trim_start();
    let operators = ["=~", "!~", "!=", "="];
    let (operator, rest) = operators
        .iter()
        .find_map(|operator| Some((*operator, rest.strip_prefix(operator)?)))
        .ok_or("no =, !=, =~ or !~ after a label name")?;
    let rest = rest
        .trim_start()
        .strip_prefix('"')
        .ok_or("a label value is not quoted")?;
    let (value, rest) = take_quoted(rest).ok_or("a quoted label value does not end")?;
    let test = match operator {
        "=" => Test::Is(names.fill_in(&value, str::to_owned)?),
        "!=" => Test::IsNot(names.fill_in(&value, str::to_owned)?),
        operator => {
            let value = names.fill_in(&value, regex_lite::escape)?;
            let pattern = Regex::new(&format!("^(?s:{value})$"))
                .map_err(|error| format!("the pattern of `{label}` is not one: {error}"))?;
            if operator == "=~" {
                Test::Like(pattern)
            } else {
                Test::NotLike(pattern)
            }
        }
    };
    let label = label.to_owned();
    Ok((Matcher { label, test }, rest))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bad_query_says_what_is_wrong() {
        let names = Names {
            service: "shop",
            release: None,
            arm: None,
            instance: None,
            address: None,
        };
        let table = [
            ("", "no metric name"),
            ("sum(requests_total)", "no PromQL"),
            ("requests_total{code=500}", "not quoted"),
            ("requests_total{code~\"5\"}", "no =, !="),
            ("requests_total{code=\"5}", "does not end"),
            ("requests_total{code=\"5\" method=\"x\"}", "no comma"),
            ("requests_total{code=~\"(\"}", "not one"),
            ("requests_total[5m]", "no PromQL"),
            ("above(x, took)", "not a number"),
            ("above(0.5, took", "not closed"),
            ("above(0.5, took_bucket)", "without _bucket"),
            ("m{a=\"{{colour}}\"}", "{{colour}}"),
            ("m{a=\"{{instance}}\"}", "{{instance}}"),
        ];
        for (query, says) in table {
            let error = Expression::parse(query, &names).unwrap_err();
            assert!(
                matches!(error, ReadError::BadQuery { .. }),
                "{query}: {error}"
            );
            let text = error.to_string();
            assert!(text.contains(says), "{query}: {text}");
        }
    }
}
