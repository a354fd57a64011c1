//! The parsers of this crate for the fuzzer in `fuzz/`. Not a part of the crate's interface.

use crate::{exposition, selector::Expression, subject::Names};

/// A query on the first line, an instance's answer behind it: numbers or errors, never a panic.
pub fn exposition(text: &str) {
    let (query, answer) = text.split_once('\n').unwrap_or((text, ""));
    let names = Names {
        service: "shop",
        release: Some("v1\"}"),
        arm: Some("candidate"),
        instance: Some("a.b"),
        address: None,
    };
    let series = match exposition::parse(answer) {
        Ok(series) => series,
        Err(error) => {
            assert!(!error.to_string().is_empty());
            return;
        }
    };
    if let Ok(query) = Expression::parse(query, &names) {
        if let Ok(value) = query.value(&series) {
            assert!(value.is_finite(), "{text}");
        }
        let _ = (query.count(&series), query.earliest(&series));
    }
}

#[cfg(test)]
mod tests {
    #[test]
    fn the_corpus() {
        let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/../fuzz/corpus/exposition");
        let mut files = 0;
        for file in std::fs::read_dir(folder).unwrap() {
            let bytes = std::fs::read(file.unwrap().path()).unwrap();
            if let Ok(text) = std::str::from_utf8(&bytes) {
                super::exposition(text);
            }
            files += 1;
        }
        assert!(files >= 5, "{files} files");
    }
}
