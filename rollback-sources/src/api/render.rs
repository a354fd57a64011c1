//! Placeholders in PromQL: a value is escaped for the string or the pattern in which it stands.

use std::time::Duration;

use crate::subject::Names;

/// The query with its placeholders filled in. `{{window}}` is a duration, and stands in brackets;
/// all others are names, and stand in quoted label values.
pub(crate) fn render(query: &str, names: &Names<'_>, window: Duration) -> Result<String, String> {
    let mut text = String::with_capacity(query.len());
    let mut place = Place::Code { pattern: false };
    let mut rest = query;
    while let Some(c) = rest.chars().next() {
        if let Some(after) = rest.strip_prefix("{{") {
            let (name, after) = after
                .split_once("}}")
                .ok_or_else(|| format!("`{query}`: {{{{ is not closed by }}}}"))?;
            let filled = place.fill(name.trim(), names, window);
            text.push_str(&filled.map_err(|why| format!("`{query}`: {why}"))?);
            rest = after;
            continue;
        }
        text.push(c);
        rest = rest.get(c.len_utf8()..).unwrap_or_default();
        if place.is_escape(c) {
            // The escaped one ends nothing.
            if let Some(next) = rest.chars().next() {
                text.push(next);
                rest = rest.get(next.len_utf8()..).unwrap_or_default();
            }
            continue;
        }
        place = place.after(c, &text);
    }
    Ok(text)
}

/// Where in a query the next character stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Place {
    /// Outside of quotes; `pattern`: right after `=~` or `!~`.
    Code {
        pattern: bool,
    },
    Quoted {
        quote: char,
        pattern: bool,
    },
}

impl Place {
    fn is_escape(self, c: char) -> bool {
        c == '\\' && matches!(self, Self::Quoted { quote, .. } if quote != '`')
    }

    fn after(self, c: char, before: &str) -> Self {
        match self {
            Self::Code { pattern } if matches!(c, '"' | '\'' | '`') => {
                Self::Quoted { quote: c, pattern }
            }
            Self::Code { pattern } if c.is_whitespace() => Self::Code { pattern },
            Self::Code { .. } => Self::Code {
                pattern: before.ends_with("=~") || before.ends_with("!~"),
            },
            Self::Quoted { quote, .. } if c == quote => Self::Code { pattern: false },
            quoted @ Self::Quoted { .. } => quoted,
        }
    }

    fn fill(self, name: &str, names: &Names<'_>, window: Duration) -> Result<String, String> {
        match (self, name) {
            (Self::Code { .. }, "window") => Ok(format!("{}ms", window.as_millis().max(1))),
            (Self::Quoted { .. }, "window") => {
                Err("{{window}} stands in brackets, not in quotes: [{{window}}]".to_owned())
            }
            (Self::Code { .. }, name) => {
                names.value(name)?;
                Err(format!(
                    "{{{{{name}}}}} stands outside of quotes; write it in a label value, as in {{release=\"{{{{release}}}}\"}}"
                ))
            }
            (Self::Quoted { quote, pattern }, name) => {
                let value = names.value(name)?;
                let value = if pattern {
                    regex_lite::escape(value)
                } else {
                    value.to_owned()
                };
                if quote == '`' {
                    return match value.contains('`') {
                        true => Err(format!("{{{{{name}}}}} holds a backtick; use \"quotes\"")),
                        false => Ok(value),
                    };
                }
                let mut escaped = String::with_capacity(value.len());
                for c in value.chars() {
                    if c == '\\' || c == quote {
                        escaped.push('\\');
                    }
                    escaped.push(c);
                }
                Ok(escaped)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NAMES: Names<'static> = Names {
        service: "shop",
        release: Some("v1.2\"+\\x"),
        arm: Some("candidate"),
        instance: None,
        address: None,
    };

    fn rendered(query: &str) -> Result<String, String> {
        render(query, &NAMES, Duration::from_millis(61_500))
    }

    #[test]
    fn a_value_is_escaped_for_where_it_stands() {
        for (query, expected) in [
            ("up", "up"),
            (
                r#"m{a="{{service}}"}[{{window}}]"#,
                r#"m{a="shop"}[61500ms]"#,
            ),
            (r#"m{a="{{ release }}"}"#, r#"m{a="v1.2\"+\\x"}"#),
            (r#"m{a='{{release}}'}"#, r#"m{a='v1.2"+\\x'}"#),
            ("m{a=`{{release}}`}", "m{a=`v1.2\"+\\x`}"),
            // In a pattern, its dots match only dots.
            (r#"m{a=~"{{release}}|y"}"#, r#"m{a=~"v1\\.2\"\\+\\\\x|y"}"#),
            (r#"m{a!~ "{{release}}"}"#, r#"m{a!~ "v1\\.2\"\\+\\\\x"}"#),
            // A quote that is escaped ends nothing, and the next matcher is no pattern.
            (
                r#"m{a=~"\"",b="{{arm}}.x"}"#,
                r#"m{a=~"\"",b="candidate.x"}"#,
            ),
            (r#"sum(a) + sum(b{c="ä"})"#, r#"sum(a) + sum(b{c="ä"})"#),
        ] {
            assert_eq!(rendered(query).as_deref(), Ok(expected), "{query}");
        }
    }

    #[test]
    fn a_placeholder_that_cannot_be_filled_in_is_refused() {
        for (query, says) in [
            ("m{a=\"{{colour}}\"}", "not known"),
            ("m{a=\"{{instance}}\"}", "per:"),
            ("{{service}}_total", "outside of quotes"),
            ("m{a=\"{{window}}\"}", "brackets"),
            ("m{a=\"{{release\"}", "not closed"),
        ] {
            let why = rendered(query).unwrap_err();
            assert!(why.contains(says) && why.contains(query), "{why}");
        }
    }
}
