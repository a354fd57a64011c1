//! What a health query looks at in an answer.

/// One aspect of an answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Aspect<'a> {
    /// As the source was told: status and body.
    Well,
    /// Any answer in HTTP.
    Answers,
    /// Well, and one of these words in the body, upper or lower case.
    Says(&'a str),
    /// The status code.
    Status,
    /// Milliseconds until the whole answer was there.
    ResponseTime,
    /// Bytes of the body.
    Content,
}

impl<'a> Aspect<'a> {
    /// Splits a query into what is looked at and where: `status /health`, or `/health` alone.
    pub(crate) fn of(query: &'a str) -> Result<(Self, &'a str), String> {
        let mut words = query.split_ascii_whitespace();
        let all: Vec<&str> = words.by_ref().take(4).collect();
        match *all.as_slice() {
            [place] => Ok((Self::Well, place)),
            ["answers", place] => Ok((Self::Answers, place)),
            ["says", words, place] if words.split('|').all(|word| !word.is_empty()) => {
                Ok((Self::Says(words), place))
            }
            ["status", place] => Ok((Self::Status, place)),
            ["response_time", place] => Ok((Self::ResponseTime, place)),
            ["content", place] => Ok((Self::Content, place)),
            _ => Err(format!(
                "`{query}` is not understood; write a path or URL, alone or after `answers`, `says WORD|WORD`, `status`, `response_time` or `content`"
            )),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_query_is_what_and_where() {
        for (query, expected) in [
            ("/health", (Aspect::Well, "/health")),
            (" answers  http://a/ ", (Aspect::Answers, "http://a/")),
            ("says healthy|ok /h", (Aspect::Says("healthy|ok"), "/h")),
            ("status /", (Aspect::Status, "/")),
            ("response_time /", (Aspect::ResponseTime, "/")),
            ("content /", (Aspect::Content, "/")),
        ] {
            assert_eq!(Aspect::of(query), Ok(expected), "{query}");
        }
        for query in ["", "says /health", "says a||b /", "colour /", "status / /"] {
            assert!(Aspect::of(query).is_err(), "{query}");
        }
    }
}
