//! Reading a source key by key, so that none is passed over.

use std::time::Duration;

use crate::{
    condition::closest,
    policy::{
        Place, PolicyError, PolicyProblem as Problem, PolicyStep as Step,
        tree::{Entry, Node, Value},
    },
};

/// A value of the source, with its path and place.
#[derive(Debug, Clone)]
pub(super) struct Field<'n> {
    pub(super) path: String,
    /// Where its key stands.
    pub(super) place: Place,
    pub(super) node: &'n Node,
}

/// A group of keys that are all known.
#[derive(Debug)]
pub(super) struct Group<'n> {
    path: String,
    entries: &'n [Entry],
}

/// What is wrong with a source, and where.
#[derive(Debug)]
pub(super) struct Trouble(Box<What>);

#[derive(Debug)]
struct What {
    path: String,
    place: Place,
    part: Option<(String, (usize, usize))>,
    message: String,
    fix: String,
}

impl Trouble {
    pub(super) fn at(
        path: impl Into<String>,
        place: Place,
        message: impl Into<String>,
        fix: impl Into<String>,
    ) -> Self {
        Self(Box::new(What {
            path: path.into(),
            place,
            part: None,
            message: message.into(),
            fix: fix.into(),
        }))
    }

    /// The same about a part of that value, in bytes.
    pub(super) fn about_part(mut self, value: &str, part: (usize, usize)) -> Self {
        self.0.part = Some((value.to_owned(), part));
        self
    }

    /// As an error about this text.
    pub(super) fn in_text(self, text: &str) -> PolicyError {
        let What {
            path,
            place,
            part,
            message,
            fix,
        } = *self.0;
        let place = match &part {
            Some((value, part)) => place.part(text, value, *part),
            None => place,
        };
        let path = match path {
            path if path.is_empty() => Vec::new(),
            path => vec![Step::Key(path)],
        };
        PolicyError::new(Problem::new(path, message, fix), Some(place), Some(text))
    }
}

impl<'n> Field<'n> {
    pub(super) fn root(node: &'n Node) -> Self {
        Self {
            path: String::new(),
            place: Place {
                width: 1,
                ..node.place
            },
            node,
        }
    }

    pub(super) fn trouble(&self, message: impl Into<String>, fix: impl Into<String>) -> Trouble {
        let place = match self.node.value {
            Value::Map(_) | Value::List(_) => self.place,
            _ => self.node.place,
        };
        Trouble::at(self.path.clone(), place, message, fix)
    }

    fn unexpected(&self, expected: &str, fix: &str) -> Trouble {
        let found = match &self.node.value {
            Value::Map(_) => "a group of keys".to_owned(),
            Value::List(_) => "a list".to_owned(),
            Value::Text(text) => format!("`{}`", text.escape_debug()),
            Value::Number(number) => format!("`{number}`"),
            Value::Flag(flag) => format!("`{flag}`"),
            Value::Nothing => "nothing".to_owned(),
        };
        self.trouble(format!("expected {expected}, found {found}"), fix)
    }

    /// Its keys, each of which has to be one of these.
    pub(super) fn group(&self, known: &[&str]) -> Result<Group<'n>, Trouble> {
        let Value::Map(entries) = &self.node.value else {
            let fix = format!("the keys here are {}", known.join(", "));
            return Err(self.unexpected("a group of keys", &fix));
        };
        for entry in entries {
            if !known.contains(&entry.key.as_str()) {
                let fix = match closest(&entry.key, known.iter().copied()) {
                    Some(near) => format!("did you mean `{near}`?"),
                    None => format!("the keys here are {}", known.join(", ")),
                };
                return Err(Trouble::at(
                    joined(&self.path, &entry.key),
                    entry.place,
                    format!("unknown key `{}`", entry.key),
                    fix,
                ));
            }
        }
        Ok(Group {
            path: self.path.clone(),
            entries,
        })
    }

    /// The items of a list.
    pub(super) fn list(&self) -> Result<Vec<Self>, Trouble> {
        let Value::List(items) = &self.node.value else {
            return Err(self.unexpected("a list", "write each item behind `- `, or all in [ ]"));
        };
        Ok(items
            .iter()
            .enumerate()
            .map(|(index, node)| Field {
                path: format!("{}[{index}]", self.path),
                place: Place {
                    width: 1,
                    ..node.place
                },
                node,
            })
            .collect())
    }

    pub(super) fn flag(&self) -> Result<bool, Trouble> {
        match self.node.value {
            Value::Flag(flag) => Ok(flag),
            _ => Err(self.unexpected("`true` or `false`", "write true or false")),
        }
    }

    pub(super) fn text(&self) -> Result<&'n str, Trouble> {
        match &self.node.value {
            Value::Text(text) => Ok(text),
            _ => Err(self.unexpected("a text", "write a text, in quotes")),
        }
    }

    pub(super) fn number(&self, what: &str, example: &str) -> Result<f64, Trouble> {
        match self.node.value {
            Value::Number(number) if number >= 0.0 && number.is_finite() => Ok(number),
            _ => Err(self.unexpected(what, &format!("write {what}, such as {example}"))),
        }
    }

    pub(super) fn count(&self) -> Result<u32, Trouble> {
        let number = self.number("a whole number", "3")?;
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "in range and whole: checked"
        )]
        if number <= f64::from(u32::MAX) && libm::floor(number).to_bits() == number.to_bits() {
            Ok(number as u32)
        } else {
            Err(self.unexpected("a whole number", "write a whole number, such as 3"))
        }
    }

    /// A number of seconds.
    pub(super) fn seconds(&self) -> Result<Duration, Trouble> {
        let what = "a number of seconds";
        self.duration(self.number(what, "60")? * 1_000.0, what)
    }

    /// A number of milliseconds.
    pub(super) fn millis(&self) -> Result<Duration, Trouble> {
        let what = "a number of milliseconds";
        self.duration(self.number(what, "2000")?, what)
    }

    fn duration(&self, millis: f64, what: &str) -> Result<Duration, Trouble> {
        const YEAR: f64 = 366.0 * 86_400_000.0;
        if millis > YEAR {
            return Err(self.trouble(
                "that is longer than a year",
                format!("write {what}, at most a year"),
            ));
        }
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "between zero and a year"
        )]
        Ok(Duration::from_millis(libm::round(millis) as u64))
    }

    /// A share of 1, as percent.
    pub(super) fn ratio(&self) -> Result<String, Trouble> {
        let what = "a share from 0 to 1";
        let ratio = self.number(what, "0.05")?;
        if ratio > 1.0 {
            return Err(self.unexpected(what, "write a share from 0 to 1, such as 0.05"));
        }
        Ok(percent(ratio * 100.0))
    }

    /// A share of 100, as percent.
    pub(super) fn percent(&self) -> Result<String, Trouble> {
        let what = "a percentage from 0 to 100";
        let number = self.number(what, "5")?;
        if number > 100.0 {
            return Err(self.unexpected(what, "write a percentage from 0 to 100, such as 5"));
        }
        Ok(percent(number))
    }
}

/// `7%` for 7.000000000000001, which is 0.07 × 100.
fn percent(number: f64) -> String {
    format!("{}%", libm::round(number * 1e9) / 1e9)
}

impl<'n> Group<'n> {
    /// The key, if it is given.
    pub(super) fn get(&self, key: &str) -> Option<Field<'n>> {
        self.entries
            .iter()
            .find(|entry| entry.key == key)
            .map(|entry| Field {
                path: joined(&self.path, key),
                place: entry.place,
                node: &entry.node,
            })
    }

    /// The keys that are given, in the order of the text.
    pub(super) fn fields(&self) -> impl Iterator<Item = Field<'n>> {
        let path = self.path.clone();
        self.entries.iter().map(move |entry| Field {
            path: joined(&path, &entry.key),
            place: entry.place,
            node: &entry.node,
        })
    }
}

pub(super) fn joined(path: &str, key: &str) -> String {
    if path.is_empty() {
        key.to_owned()
    } else {
        format!("{path}.{key}")
    }
}
