//! The Prometheus text exposition format (0.0.4), read strictly: one bad line spoils the answer, as
//! it does for Prometheus itself, for what was cut off or mixed up cannot be counted.

use std::borrow::Cow;

/// One line with a value.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Series<'a> {
    pub(crate) name: &'a str,
    pub(crate) labels: Vec<(&'a str, Cow<'a, str>)>,
    pub(crate) value: f64,
    /// In milliseconds since 1970, where the exporter gives one.
    pub(crate) at: Option<i64>,
}

impl Series<'_> {
    /// A label's value; one that is not there is empty, as everywhere in Prometheus.
    pub(crate) fn label(&self, name: &str) -> &str {
        let found = self.labels.iter().find(|(label, _)| *label == name);
        found.map_or("", |(_, value)| value)
    }
}

/// Where a text stops being of the format.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("line {line}: {problem}")]
pub(crate) struct FormatError {
    line: usize,
    problem: &'static str,
}

/// All series of a text, in its order.
pub(crate) fn parse(text: &str) -> Result<Vec<Series<'_>>, FormatError> {
    let mut series = Vec::new();
    for (index, line) in text.split_inclusive('\n').enumerate() {
        let at = |problem| FormatError {
            line: index + 1,
            problem,
        };
        let Some(line) = line.strip_suffix('\n') else {
            return Err(at("the last line does not end; the answer was cut off"));
        };
        let line = line.trim_matches([' ', '\t', '\r']);
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        series.push(parse_series(line).map_err(at)?);
    }
    Ok(series)
}

fn parse_series(line: &str) -> Result<Series<'_>, &'static str> {
    let (name, rest) = take_name(line, true).ok_or("no metric name at its beginning")?;
    let (labels, rest) = match rest.trim_start().strip_prefix('{') {
        Some(inside) => parse_labels(inside)?,
        None if rest.starts_with([' ', '\t']) => (Vec::new(), rest),
        None => return Err("something other than a label or a space follows the metric name"),
    };
    let mut words = rest.split_ascii_whitespace();
    let value = words.next().ok_or("no value")?;
    let value = value.parse().map_err(|_| "the value is not a number")?;
    let at = match words.next() {
        None => None,
        // An exemplar.
        Some(word) if word.starts_with('#') => None,
        Some(word) => Some(
            word.parse()
                .map_err(|_| "the time is not in milliseconds")?,
        ),
    };
    Ok(Series {
        name,
        labels,
        value,
        at,
    })
}

type Labels<'a> = Vec<(&'a str, Cow<'a, str>)>;

/// Labels up to the closing brace, and what follows it.
fn parse_labels(mut rest: &str) -> Result<(Labels<'_>, &str), &'static str> {
    let mut labels = Vec::new();
    loop {
        rest = rest.trim_start();
        if let Some(rest) = rest.strip_prefix('}') {
            return Ok((labels, rest));
        }
        let (name, after) = take_name(rest, false).ok_or("no label name")?;
        let after = after
            .trim_start()
            .strip_prefix('=')
            .ok_or("no = after a label name")?;
        let after = after
            .trim_start()
            .strip_prefix('"')
            .ok_or("a label value is not quoted")?;
        let (value, after) = take_quoted(after).ok_or("a quoted label value does not end")?;
        labels.push((name, value));
        rest = after.trim_start();
        match rest.strip_prefix(',') {
            Some(after) => rest = after,
            None if rest.starts_with('}') => {}
            None => return Err("no comma between labels"),
        }
    }
}

/// A name at the beginning; `colons` may be in metric names, not in label names.
pub(crate) fn take_name(text: &str, colons: bool) -> Option<(&str, &str)> {
    let part_of_name = |c: char| c.is_ascii_alphanumeric() || c == '_' || colons && c == ':';
    let end = text.find(|c| !part_of_name(c)).unwrap_or(text.len());
    let (name, rest) = text.split_at(end);
    (!name.is_empty() && !name.starts_with(|c: char| c.is_ascii_digit())).then_some((name, rest))
}

/// A value up to its closing quote, unescaped, and what follows the quote.
pub(crate) fn take_quoted(text: &str) -> Option<(Cow<'_, str>, &str)> {
    let end = text.find(['"', '\\'])?;
    if let (plain, Some(rest)) = (text.get(..end)?, text.get(end..)?.strip_prefix('"')) {
        return Some((Cow::Borrowed(plain), rest));
    }
    let mut value = String::new();
    let mut chars = text.chars();
    loop {
        match chars.next()? {
            '"' => return Some((Cow::Owned(value), chars.as_str())),
            '\\' => match chars.next()? {
                'n' => value.push('\n'),
                c @ ('\\' | '"') => value.push(c),
                // Kept as it is, as Prometheus does.
                c => value.extend(['\\', c]),
            },
            c => value.push(c),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn one(line: &str) -> Series<'_> {
        parse_series(line).unwrap()
    }

    #[test]
    fn lines_as_exporters_write_them() {
        assert_eq!(one("up 1").value, 1.0);
        let full = one(r#"http_requests_total{method="post",code="400",} 3 1395066363000"#);
        assert_eq!(full.name, "http_requests_total");
        assert_eq!((full.label("code"), full.label("none")), ("400", ""));
        assert_eq!((full.value, full.at), (3.0, Some(1_395_066_363_000)));
        let escaped = one(r#"m{path="C:\\DIR\n\"x\" \d"} 1.4e+04"#);
        assert_eq!(escaped.label("path"), "C:\\DIR\n\"x\" \\d");
        assert!(one("rpc:ratio NaN").value.is_nan());
        assert_eq!(one("b{le=\"+Inf\"} +Inf").value, f64::INFINITY);
        assert_eq!(one("b -Inf").value, f64::NEG_INFINITY);
        assert_eq!(
            one("m { a = \"b\" , c=\"}\" } 2 # {trace=\"1\"} 0.5").label("c"),
            "}"
        );
    }

    #[test]
    fn a_text_with_comments_and_windows_line_ends() {
        let text =
            "# HELP up Whether\n# TYPE up gauge\n\nup{job=\"a\"} 1\r\n  up{job=\"b\"} 0\n# EOF\n";
        let series = parse(text).unwrap();
        let jobs: Vec<&str> = series.iter().map(|one| one.label("job")).collect();
        assert_eq!(jobs, ["a", "b"]);
        assert_eq!(parse(""), Ok(vec![]));
    }

    #[test]
    fn what_is_not_of_the_format_is_told_by_line() {
        let table = [
            ("up 1\nup", "line 2: the last line does not end"),
            ("up 1\nrequests_total 12", "cut off"),
            ("<html>\n", "line 1: no metric name"),
            ("up one\n", "not a number"),
            ("up\n", "follows the metric name"),
            ("up{a=b} 1\n", "not quoted"),
            ("up{a=\"b} 1\n", "does not end"),
            ("up{a=\"b\" c=\"d\"} 1\n", "no comma"),
            ("up{a\"b\"} 1\n", "no ="),
            ("up{9=\"b\"} 1\n", "no label name"),
            ("up{a=\"b\"}\n", "no value"),
            ("up 1 soon\n", "milliseconds"),
            ("{\"error\": \"no\"}\n", "line 1: no metric name"),
        ];
        for (text, says) in table {
            let error = parse(text).unwrap_err().to_string();
            assert!(error.contains(says), "{text:?}: {error}");
        }
    }

    proptest! {
        #[test]
        fn no_text_makes_it_panic(text in "(?s)[a-z{}=\",\\\\\n 0-9#.äN]{0,80}") {
            let _ = parse(&text);
        }

        #[test]
        fn any_label_value_survives(value in "(?s).{0,20}") {
            let escaped = value.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n");
            let text = format!("m{{a=\"{escaped}\"}} 1\n");
            let series = parse(&text).unwrap();
            prop_assert_eq!(series[0].label("a"), value);
        }
    }
}
