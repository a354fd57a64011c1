//! The language of the shop's price lists: whole numbers, names, `+ - * / %`, parentheses. Pure.
//!
//! A release of the shop is a price list with its modules. It is a real program, so that it can be really wrong: the
//! scenarios' syntax errors, missing modules and divisions by zero are those of this reader and not a pretence.

use std::collections::BTreeMap;
use std::fmt;

/// A price list that was read.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Program {
    lines: Vec<Line>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct Line {
    place: Place,
    statement: Statement,
}

/// Where in which file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Place {
    file: String,
    line: usize,
}

/// What a line says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Statement {
    /// `import NAME`: a module of the release.
    Import(String),
    /// `secret NAME`: a variable of the environment that must be there.
    Secret(String),
    /// `version 2.1`: of a module.
    Version(String),
    /// `let NAME = EXPRESSION`.
    Let(String, Expression),
}

/// What is computed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Expression {
    Number(i64),
    Name(String),
    Of(Box<Self>, char, Box<Self>),
}

/// What is wrong with a price list.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Mistake {
    #[error("SyntaxError: {place}: {what}")]
    Syntax { place: Place, what: String },
    #[error("RuntimeError: {place}: {what}, with order {order}")]
    Runtime {
        place: Place,
        what: String,
        order: u64,
    },
}

impl Program {
    /// Reads the text of a file.
    pub(crate) fn parse(file: &str, text: &str) -> Result<Self, Mistake> {
        let mut lines = Vec::new();
        for (number, text) in text.lines().enumerate() {
            let text = text.split('#').next().unwrap_or_default();
            let place = Place {
                file: file.to_owned(),
                line: number + 1,
            };
            let tokens = tokens(text).and_then(|tokens| statement(&tokens));
            match tokens {
                Ok(Some(statement)) => lines.push(Line { place, statement }),
                Ok(None) => {}
                Err(what) => return Err(Mistake::Syntax { place, what }),
            }
        }
        Ok(Self { lines })
    }

    /// What its lines say, in order.
    pub(crate) fn statements(&self) -> impl Iterator<Item = (&Place, &Statement)> {
        self.lines.iter().map(|line| (&line.place, &line.statement))
    }

    /// Lets the lines of a module run before its own.
    pub(crate) fn after(mut self, module: Self) -> Self {
        let own = std::mem::replace(&mut self.lines, module.lines);
        self.lines.extend(own);
        self
    }

    /// What the order with this number costs.
    pub(crate) fn price(&self, order: u64) -> Result<i64, Mistake> {
        let mut known = BTreeMap::from([("order", i64::try_from(order).unwrap_or(i64::MAX))]);
        let mut last = None;
        for line in &self.lines {
            last = Some(&line.place);
            if let Statement::Let(name, expression) = &line.statement {
                let value = expression.value(&known).map_err(|what| Mistake::Runtime {
                    place: line.place.clone(),
                    what,
                    order,
                })?;
                known.insert(name, value);
            }
        }
        known.get("price").copied().ok_or_else(|| Mistake::Runtime {
            place: last.cloned().unwrap_or_else(|| Place {
                file: "an empty file".to_owned(),
                line: 1,
            }),
            what: "there is no `price`".to_owned(),
            order,
        })
    }
}

impl Expression {
    fn value(&self, known: &BTreeMap<&str, i64>) -> Result<i64, String> {
        let (left, operator, right) = match self {
            Self::Number(number) => return Ok(*number),
            Self::Name(name) => {
                let value = known.get(name.as_str()).copied();
                return value.ok_or_else(|| format!("`{name}` is not known"));
            }
            Self::Of(left, operator, right) => (left, operator, right),
        };
        let (a, b) = (left.value(known)?, right.value(known)?);
        let result = match operator {
            '+' => a.checked_add(b),
            '-' => a.checked_sub(b),
            '*' => a.checked_mul(b),
            _ if b == 0 => return Err(format!("division by zero in `{self}`")),
            '/' => a.checked_div(b),
            _ => a.checked_rem(b),
        };
        result.ok_or_else(|| format!("`{self}` is too large"))
    }
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Token {
    Number(i64),
    Word(String),
    Sign(char),
}

impl fmt::Display for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Number(number) => write!(f, "{number}"),
            Self::Word(word) => f.write_str(word),
            Self::Sign(sign) => write!(f, "{sign}"),
        }
    }
}

fn tokens(text: &str) -> Result<Vec<Token>, String> {
    let mut found = Vec::new();
    let mut rest = text.trim_start();
    while let Some(first) = rest.chars().next() {
        let of = |part: fn(char) -> bool| rest.find(|c: char| !part(c)).unwrap_or(rest.len());
        let length = if first.is_ascii_digit() {
            let length = of(|c| c.is_ascii_digit());
            let number = rest.get(..length).unwrap_or_default().parse();
            found.push(Token::Number(number.map_err(|_| "a number is too large")?));
            length
        } else if first.is_ascii_alphabetic() {
            let length = of(|c| c.is_ascii_alphanumeric() || c == '_');
            found.push(Token::Word(
                rest.get(..length).unwrap_or_default().to_owned(),
            ));
            length
        } else if "+-*/%()=.".contains(first) {
            found.push(Token::Sign(first));
            1
        } else {
            return Err(format!("`{first}` means nothing here"));
        };
        rest = rest.get(length..).unwrap_or_default().trim_start();
    }
    Ok(found)
}

fn statement(tokens: &[Token]) -> Result<Option<Statement>, String> {
    use Token::{Number, Sign, Word};
    match tokens {
        [] => Ok(None),
        [Word(verb), Word(name)] if verb == "import" => Ok(Some(Statement::Import(name.clone()))),
        [Word(verb), Word(name)] if verb == "secret" => Ok(Some(Statement::Secret(name.clone()))),
        [Word(verb), Number(major), Sign('.'), Number(minor)] if verb == "version" => {
            Ok(Some(Statement::Version(format!("{major}.{minor}"))))
        }
        [Word(verb), Word(name), Sign('='), rest @ ..] if verb == "let" => {
            let mut reader = Reader { rest };
            let expression = reader.sum()?;
            match reader.rest.first() {
                None => Ok(Some(Statement::Let(name.clone(), expression))),
                Some(token) => Err(format!("`{token}` was not expected after `{expression}`")),
            }
        }
        [first, ..] => Err(format!(
            "a line begins with `let NAME =`, `import NAME`, `secret NAME` or `version 1.0`, not so with `{first}`"
        )),
    }
}

/// Reads an expression, the operators that bind closer first.
struct Reader<'t> {
    rest: &'t [Token],
}

impl Reader<'_> {
    fn sum(&mut self) -> Result<Expression, String> {
        self.row("+-", Self::product)
    }

    fn product(&mut self) -> Result<Expression, String> {
        self.row("*/%", Self::one)
    }

    fn row(
        &mut self,
        operators: &str,
        part: fn(&mut Self) -> Result<Expression, String>,
    ) -> Result<Expression, String> {
        let mut left = part(self)?;
        while let [Token::Sign(sign), rest @ ..] = self.rest
            && operators.contains(*sign)
        {
            self.rest = rest;
            left = Expression::Of(Box::new(left), *sign, Box::new(part(self)?));
        }
        Ok(left)
    }

    fn one(&mut self) -> Result<Expression, String> {
        let Some((first, rest)) = self.rest.split_first() else {
            return Err("the line ends where a number, a name or `(` should stand".to_owned());
        };
        self.rest = rest;
        match first {
            Token::Number(number) => Ok(Expression::Number(*number)),
            Token::Word(name) => Ok(Expression::Name(name.clone())),
            Token::Sign('(') => {
                let inner = self.sum()?;
                match self.rest {
                    [Token::Sign(')'), rest @ ..] => {
                        self.rest = rest;
                        Ok(inner)
                    }
                    _ => Err(format!("`(` before `{inner}` was never closed")),
                }
            }
            Token::Sign(sign) => Err(format!(
                "a number, a name or `(` should stand where `{sign}` does"
            )),
        }
    }
}

impl fmt::Display for Expression {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Number(number) => write!(f, "{number}"),
            Self::Name(name) => f.write_str(name),
            Self::Of(left, operator, right) => write!(f, "{left} {operator} {right}"),
        }
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}, line {}", self.file, self.line)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn price(text: &str, order: u64) -> Result<i64, String> {
        Program::parse("p", text)
            .and_then(|program| program.price(order))
            .map_err(|mistake| mistake.to_string())
    }

    #[test]
    fn numbers_are_computed_as_in_school() {
        for (expression, value) in [
            ("1 + 2 * 3", 7),
            ("(1 + 2) * 3", 9),
            ("10 - 2 - 3", 5),
            ("100 / 7 % 5", 4),
            ("order * 7 % 90", 35),
        ] {
            let text = format!("let price = {expression}  # why not");
            assert_eq!(price(&text, 5), Ok(value), "{expression}");
        }
    }

    #[test]
    fn what_is_wrong_is_said_with_its_place() {
        for (text, mistake) in [
            (
                "\nlet price = 2 * (1 + 3",
                "SyntaxError: p, line 2: `(` before `1 + 3` was never closed",
            ),
            (
                "let price = 2 *",
                "SyntaxError: p, line 1: the line ends where a number, a name or `(` should stand",
            ),
            (
                "let price = 2 3",
                "SyntaxError: p, line 1: `3` was not expected after `2`",
            ),
            (
                "price = 2",
                "SyntaxError: p, line 1: a line begins with `let NAME =`, `import NAME`, `secret NAME` or `version 1.0`, not so with `price`",
            ),
            (
                "let price = §",
                "SyntaxError: p, line 1: `§` means nothing here",
            ),
            (
                "let price = 7 / order",
                "RuntimeError: p, line 1: division by zero in `7 / order`, with order 0",
            ),
            (
                "let price = 7 % (order * 2)",
                "RuntimeError: p, line 1: division by zero in `7 % order * 2`, with order 0",
            ),
            (
                "let price = tax",
                "RuntimeError: p, line 1: `tax` is not known, with order 0",
            ),
            (
                "let price = 9223372036854775807 + 1",
                "RuntimeError: p, line 1: `9223372036854775807 + 1` is too large, with order 0",
            ),
            (
                "let prise = 1",
                "RuntimeError: p, line 1: there is no `price`, with order 0",
            ),
        ] {
            assert_eq!(price(text, 0).unwrap_err(), mistake);
        }
    }
}
