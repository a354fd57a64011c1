//! The parsers of this crate for the fuzzer in `fuzz/`. Not a part of the crate's interface.

use rollback_core::model::{ReadError, Sample};

use crate::{exposition, json, selector::Expression, subject::Names};

const NAMES: Names<'static> = Names {
    service: "shop",
    release: Some("v1\"}\\"),
    arm: Some("candidate"),
    instance: Some("a.b"),
    address: None,
};

/// A query on the first line, an instance's answer behind it: numbers or errors, never a panic.
pub fn exposition(text: &str) {
    let (query, answer) = text.split_once('\n').unwrap_or((text, ""));
    let series = match exposition::parse(answer) {
        Ok(series) => series,
        Err(error) => {
            assert!(!error.to_string().is_empty());
            return;
        }
    };
    if let Ok(query) = Expression::parse(query, &NAMES) {
        if let Ok(value) = query.value(&series) {
            assert!(value.is_finite(), "{text}");
        }
        let _ = (query.count(&series), query.earliest(&series));
    }
}

/// The name of a field on the first line, the body of a health endpoint behind it.
pub fn json(bytes: &[u8]) {
    let Some((path, body)) = lines(bytes) else {
        return;
    };
    let body = match json::parse("http://a/health", body) {
        Ok(body) => body,
        Err(error) => return shown(&error),
    };
    match json::sample("http://a/health", path, &body) {
        Ok(Sample::Gauge(value)) => assert!(value.is_finite(), "{body}"),
        Ok(sample) => assert!(matches!(sample, Sample::State(_)), "{sample:?} of {body}"),
        Err(error) => shown(&error),
    }
    for field in [path, "timestamp"] {
        if let Err(error) = json::time_of("http://a/health", field, &body) {
            shown(&error);
        }
    }
}

/// A status and a query on the first line, what a Prometheus answers behind it.
#[cfg(feature = "prometheus-api")]
pub fn api(bytes: &[u8]) {
    use std::time::Duration;

    use crate::{api, fetch::Page};

    let Some((first, body)) = lines(bytes) else {
        return;
    };
    let (status, query) = first.split_once(' ').unwrap_or((first, ""));
    let rendered = match api::render(query, &NAMES, Duration::from_secs(10)) {
        Ok(rendered) => rendered,
        Err(why) => return assert!(!why.is_empty()),
    };
    // What is filled in ends no string: as many unescaped quotes after it as before.
    assert_eq!(
        quotes(query),
        quotes(&rendered),
        "{query} became {rendered}"
    );
    let page = Page {
        status: status
            .parse()
            .ok()
            .and_then(|status| reqwest::StatusCode::from_u16(status).ok())
            .unwrap_or(reqwest::StatusCode::OK),
        body: body.to_vec(),
        retry_after: None,
    };
    match api::number("http://p", &rendered, &page) {
        Ok(number) => {
            assert!(number.value.is_finite() && page.status.is_success());
        }
        Err(error) => shown(&error),
    }
}

/// Quotes that begin or end a string.
#[cfg(feature = "prometheus-api")]
fn quotes(query: &str) -> usize {
    let (mut open, mut count) = (None, 0);
    let mut rest = query.chars();
    while let Some(c) = rest.next() {
        match (open, c) {
            (Some('"' | '\''), '\\') => {
                rest.next();
            }
            (None, '"' | '\'' | '`') => {
                open = Some(c);
                count += 1;
            }
            (Some(quote), c) if c == quote => {
                open = None;
                count += 1;
            }
            _ => {}
        }
    }
    count
}

/// The first line, if it is a text, and everything behind it.
fn lines(bytes: &[u8]) -> Option<(&str, &[u8])> {
    let end = bytes.iter().position(|byte| *byte == b'\n')?;
    let (first, rest) = bytes.split_at(end);
    let first = std::str::from_utf8(first).ok()?;
    Some((first, rest.get(1..).unwrap_or_default()))
}

/// An error can be shown, and kept: it reads back from a journal as it was.
fn shown(error: &ReadError) {
    assert!(!error.to_string().is_empty());
    let written = serde_json::to_string(error).unwrap_or_default();
    let read = serde_json::from_str::<ReadError>(&written).ok();
    assert_eq!(read.as_ref(), Some(error), "{written}");
}

#[cfg(test)]
mod tests {
    fn each(corpus: &str, check: impl Fn(&[u8])) {
        let folder = format!("{}/../fuzz/corpus/{corpus}", env!("CARGO_MANIFEST_DIR"));
        let mut files = 0;
        for file in std::fs::read_dir(folder).unwrap() {
            let path = file.unwrap().path();
            // The name of the file stands in the output of a test that fails.
            println!("{}", path.display());
            check(&std::fs::read(path).unwrap());
            files += 1;
        }
        assert!(files >= 5, "{files} files");
    }

    #[test]
    fn expositions() {
        each("exposition", |bytes| {
            if let Ok(text) = std::str::from_utf8(bytes) {
                super::exposition(text);
            }
        });
    }

    #[test]
    fn json_bodies() {
        each("json", super::json);
    }

    #[cfg(feature = "prometheus-api")]
    #[test]
    fn prometheus_answers() {
        each("api", super::api);
    }
}
