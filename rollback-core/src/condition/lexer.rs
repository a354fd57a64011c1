//! From text to tokens.

use super::error::{ConditionErrorKind, Problem, Span};
use super::unit::Suffix;

/// The longest condition, in bytes.
pub(super) const LONGEST: usize = 4096;

#[derive(Clone, Debug, PartialEq)]
pub(super) struct Token<'a> {
    pub(super) kind: TokenKind<'a>,
    pub(super) span: Span,
}

#[derive(Clone, Debug, PartialEq)]
pub(super) enum TokenKind<'a> {
    Number {
        value: f64,
        suffix: Option<&'static Suffix>,
    },
    Text(String),
    Name(&'a str),
    Symbol(Symbol),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Symbol {
    Open,
    Close,
    Not,
    And,
    Or,
    Equal,
    NotEqual,
    Less,
    LessOrEqual,
    Greater,
    GreaterOrEqual,
    Plus,
    Minus,
    Star,
    Slash,
}

pub(super) fn tokens(source: &str) -> Result<Vec<Token<'_>>, Problem> {
    if source.len() > LONGEST {
        return Err(Problem::new(
            ConditionErrorKind::TooLarge,
            Span::default(),
            format!(
                "a condition has at most {LONGEST} bytes, this one has {}",
                source.len()
            ),
            "split it into several triggers",
        ));
    }
    let mut cursor = Cursor { source, at: 0 };
    let mut tokens = Vec::new();
    while let Some(token) = cursor.token()? {
        tokens.push(token);
    }
    Ok(tokens)
}

struct Cursor<'a> {
    source: &'a str,
    at: usize,
}

impl<'a> Cursor<'a> {
    fn token(&mut self) -> Result<Option<Token<'a>>, Problem> {
        self.take_while(char::is_whitespace);
        let start = self.at;
        let Some(first) = self.peek() else {
            return Ok(None);
        };
        let kind = match first {
            '0'..='9' => self.number()?,
            '.' if self.peek_second().is_some_and(|c| c.is_ascii_digit()) => self.number()?,
            'a'..='z' | 'A'..='Z' | '_' => TokenKind::Name(self.take_while(is_name)),
            '\'' | '"' => self.text(first)?,
            _ => TokenKind::Symbol(self.symbol(first)?),
        };
        Ok(Some(Token {
            kind,
            span: self.since(start),
        }))
    }

    fn number(&mut self) -> Result<TokenKind<'a>, Problem> {
        let start = self.at;
        let digit = |c: char| c.is_ascii_digit();
        self.take_while(digit);
        if self.peek() == Some('.') && self.peek_second().is_some_and(digit) {
            self.bump();
            self.take_while(digit);
        }
        if matches!(self.peek(), Some('e' | 'E')) {
            let mut ahead = self.rest().chars().skip(1);
            let exponent = match ahead.next() {
                Some('+' | '-') => ahead.next(),
                other => other,
            };
            if exponent.is_some_and(digit) {
                self.bump();
                self.bump();
                self.take_while(digit);
            }
        }
        let digits = self.text_since(start);
        let value: f64 = digits.parse().unwrap_or(f64::NAN);
        if !value.is_finite() {
            return Err(Problem::new(
                ConditionErrorKind::NotFinite,
                self.since(start),
                format!("`{digits}` is larger than any number here can be"),
                "write a smaller number",
            ));
        }
        let suffix_start = self.at;
        if self.peek() == Some('%') {
            self.bump();
        } else {
            self.take_while(is_name);
        }
        let text = self.text_since(suffix_start);
        let suffix = if text.is_empty() {
            None
        } else {
            Some(Suffix::find(text).ok_or_else(|| {
                Problem::new(
                    ConditionErrorKind::Syntax,
                    self.since(suffix_start),
                    format!("unknown unit `{text}` behind a number"),
                    format!("the units are {}", Suffix::KNOWN),
                )
            })?)
        };
        Ok(TokenKind::Number { value, suffix })
    }

    fn text(&mut self, quote: char) -> Result<TokenKind<'a>, Problem> {
        let start = self.at;
        self.bump();
        let mut text = String::new();
        loop {
            let at = self.at;
            match self.bump() {
                Some(c) if c == quote => return Ok(TokenKind::Text(text)),
                Some('\\') => text.push(match self.bump() {
                    Some(c @ ('\\' | '\'' | '"')) => c,
                    Some('n') => '\n',
                    Some('r') => '\r',
                    Some('t') => '\t',
                    _ => {
                        return Err(Problem::new(
                            ConditionErrorKind::Syntax,
                            self.since(at),
                            "unknown escape in a text",
                            r#"the escapes are \\ \' \" \n \r and \t; write \\ for a backslash"#,
                        ));
                    }
                }),
                Some('\n' | '\r') | None => {
                    return Err(Problem::new(
                        ConditionErrorKind::Syntax,
                        Span::new(start, at),
                        "this text has no end",
                        format!("close it with {quote}"),
                    ));
                }
                Some(c) => text.push(c),
            }
        }
    }

    fn symbol(&mut self, first: char) -> Result<Symbol, Problem> {
        let start = self.at;
        self.bump();
        let second = self.peek();
        let mut double = |wanted: char, then: Symbol, otherwise: Option<Symbol>| {
            if second == Some(wanted) {
                self.bump();
                Some(then)
            } else {
                otherwise
            }
        };
        let symbol = match first {
            '(' => Some(Symbol::Open),
            ')' => Some(Symbol::Close),
            '+' => Some(Symbol::Plus),
            '-' => Some(Symbol::Minus),
            '*' => Some(Symbol::Star),
            '/' => Some(Symbol::Slash),
            '!' => double('=', Symbol::NotEqual, Some(Symbol::Not)),
            '<' => double('=', Symbol::LessOrEqual, Some(Symbol::Less)),
            '>' => double('=', Symbol::GreaterOrEqual, Some(Symbol::Greater)),
            '=' => double('=', Symbol::Equal, None),
            '&' => double('&', Symbol::And, None),
            '|' => double('|', Symbol::Or, None),
            _ => None,
        };
        symbol.ok_or_else(|| {
            let fix = match first {
                '=' => "write `==` to compare",
                '&' => "write `&&` for \"and\"",
                '|' => "write `||` for \"or\"",
                '%' => "write a percentage without a space, such as `5%`",
                '≤' => "write `<=`",
                '≥' => "write `>=`",
                '≠' => "write `!=`",
                '‘' | '’' | '“' | '”' => "write texts in plain quotes, such as 'down'",
                _ => "remove it; names are made of letters, digits and `_`",
            };
            Problem::new(
                ConditionErrorKind::Syntax,
                self.since(start),
                format!("unexpected `{}`", first.escape_debug()),
                fix,
            )
        })
    }

    fn rest(&self) -> &'a str {
        self.source.get(self.at..).unwrap_or_default()
    }

    fn peek(&self) -> Option<char> {
        self.rest().chars().next()
    }

    fn peek_second(&self) -> Option<char> {
        self.rest().chars().nth(1)
    }

    fn bump(&mut self) -> Option<char> {
        let c = self.peek()?;
        self.at += c.len_utf8();
        Some(c)
    }

    fn take_while(&mut self, belongs: impl Fn(char) -> bool) -> &'a str {
        let start = self.at;
        while self.peek().is_some_and(&belongs) {
            self.bump();
        }
        self.text_since(start)
    }

    fn text_since(&self, start: usize) -> &'a str {
        self.source.get(start..self.at).unwrap_or_default()
    }

    fn since(&self, start: usize) -> Span {
        Span::new(start, self.at)
    }
}

fn is_name(c: char) -> bool {
    c.is_ascii_alphanumeric() || c == '_'
}

#[cfg(test)]
mod tests {
    use super::*;

    fn kinds(source: &str) -> Vec<TokenKind<'_>> {
        tokens(source)
            .unwrap()
            .into_iter()
            .map(|token| token.kind)
            .collect()
    }

    #[test]
    fn numbers() {
        for (source, expected, unit) in [
            ("0", 0.0, None),
            ("12.5", 12.5, None),
            (".5", 0.5, None),
            ("1e3", 1000.0, None),
            ("1E-2", 0.01, None),
            ("1e+2", 100.0, None),
            ("5%", 5.0, Some("%")),
            ("300ms", 300.0, Some("ms")),
            ("1.5h", 1.5, Some("h")),
            ("2e3ms", 2000.0, Some("ms")),
            ("512MiB", 512.0, Some("MiB")),
        ] {
            let read = kinds(source);
            let [TokenKind::Number { value, suffix }] = read.as_slice() else {
                panic!("{source}: {read:?}");
            };
            assert_eq!(*value, expected, "{source}");
            assert_eq!(suffix.map(|s| s.text), unit, "{source}");
        }
    }

    #[test]
    fn texts() {
        for (source, expected) in [
            ("'down'", "down"),
            ("\"it's\"", "it's"),
            (r"'a\'b\\c\n'", "a'b\\c\n"),
            ("''", ""),
            ("'grün'", "grün"),
        ] {
            assert_eq!(kinds(source), [TokenKind::Text(expected.to_owned())]);
        }
    }

    #[test]
    fn symbols_and_spans() {
        use Symbol as S;
        let marks = [
            ("(", S::Open),
            (")", S::Close),
            ("!", S::Not),
            ("&&", S::And),
            ("||", S::Or),
        ];
        let compared = [
            ("==", S::Equal),
            ("!=", S::NotEqual),
            ("<", S::Less),
            (">", S::Greater),
        ];
        let others = [
            ("<=", S::LessOrEqual),
            (">=", S::GreaterOrEqual),
            ("+", S::Plus),
            ("-", S::Minus),
        ];
        let rest = [("*", S::Star), ("/", S::Slash)];
        for (text, symbol) in [&marks[..], &compared, &others, &rest].concat() {
            assert_eq!(kinds(text), [TokenKind::Symbol(symbol)]);
        }
        let spans: Vec<_> = tokens(" p95>=2s ")
            .unwrap()
            .iter()
            .map(|token| (token.span.start, token.span.end))
            .collect();
        assert_eq!(spans, [(1, 4), (4, 6), (6, 8)]);
    }

    #[test]
    fn mistakes() {
        for (source, start, end) in [
            ("a = 1", 2, 3),
            ("a & b", 2, 3),
            ("1m30s", 1, 5),
            ("5 %", 2, 3),
            ("0x10", 1, 4),
            ("'open", 0, 5),
            ("'a\nb'", 0, 2),
            (r"'\q'", 1, 3),
            ("1e999", 0, 5),
            ("a # b", 2, 3),
            ("a ≥ 1", 2, 5),
        ] {
            let error = super::super::ConditionError::new(tokens(source).unwrap_err(), source);
            assert_eq!(error.span(), Span::new(start, end), "{source}: {error}");
        }
        assert!(tokens(&" ".repeat(LONGEST + 1)).is_err());
        assert!(tokens(&" ".repeat(LONGEST)).is_ok());
    }
}
