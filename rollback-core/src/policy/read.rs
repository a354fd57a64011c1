//! From text to a policy, with errors that point at the place.

use std::fmt;

use serde::{Deserialize, Deserializer, de};
use serde_json::{Map, Value};
use serde_path_to_error::Segment;

use super::{
    Policy, PolicyDocument, PolicyError, check, compile,
    error::{IntoPath as _, Problem},
    place::{Place, Step},
};
use crate::condition::closest;

/// No policy that people write is longer.
const LONGEST: usize = 1 << 20;

impl Policy {
    /// Reads and checks a policy written in YAML.
    ///
    /// # Errors
    /// The first mistake: unknown keys, wrong types, impossible values, conditions that do not fit
    /// the metrics, triggers that can never fire. With line, key and fix.
    #[cfg(feature = "yaml")]
    pub fn from_yaml(text: &str) -> Result<Self, PolicyError> {
        refuse_long(text)?;
        let Strict(value) = super::tree::parse(text).map_err(|error| {
            let place = error.location().map(|at| super::tree::here(at, 1));
            let message = error.without_snippet().to_string();
            PolicyError::new(unreadable("YAML", &message), place, Some(text))
        })?;
        read(value).map_err(|problem| located(problem, text))
    }

    /// Reads and checks a policy written in JSON.
    ///
    /// # Errors
    /// Like `from_yaml`; line and column of what is valid JSON and no valid policy are known with the
    /// feature `yaml`.
    pub fn from_json(text: &str) -> Result<Self, PolicyError> {
        refuse_long(text)?;
        let Strict(value) = serde_json::from_str(text).map_err(|error| {
            let place = Place {
                line: error.line().max(1),
                column: error.column().max(1),
                width: 1,
            };
            let problem = unreadable("JSON", &error.to_string());
            PolicyError::new(problem, Some(place), Some(text))
        })?;
        read(value).map_err(|problem| located(problem, text))
    }
}

fn refuse_long(text: &str) -> Result<(), PolicyError> {
    if text.len() > LONGEST {
        return Err(Problem::new(
            Vec::new(),
            format!(
                "the text has {} bytes; a policy has at most {LONGEST}",
                text.len()
            ),
            "check that this is the right file",
        )
        .into());
    }
    Ok(())
}

/// What a parser says, in the words of people who write policies.
fn unreadable(language: &str, message: &str) -> Problem {
    let message = strip_place(message);
    let twice = message
        .strip_prefix("duplicate mapping key: ")
        .and_then(|rest| rest.split(',').next())
        .or_else(|| message.strip_prefix(TWICE)?.split('`').nth(1));
    let (message, fix) = if let Some(key) = twice {
        (format!("{TWICE} `{key}`"), "keep one of them")
    } else if ["non-finite", "number out of range", NOT_FINITE]
        .iter()
        .any(|start| message.starts_with(start))
    {
        (NOT_FINITE.to_owned(), "write a number with digits")
    } else if message.contains("tabs disallowed") {
        (
            "a tab stands where YAML wants spaces".to_owned(),
            "indent with spaces",
        )
    } else {
        (
            format!("this is not {language}: {message}"),
            "check quotes, commas, colons, braces and indentation here and on the line before",
        )
    };
    Problem::new(Vec::new(), message, fix)
}

impl Problem {
    /// What a parser of that language says.
    #[cfg(feature = "yaml")]
    pub(crate) fn unreadable(language: &str, message: &str) -> Self {
        unreadable(language, message)
    }
}

const TWICE: &str = "a key stands here for the second time:";
const NOT_FINITE: &str = "this is not a number to calculate with";

/// serde would take a list for a group of keys, value by value.
fn refuse_lists(value: &Value) -> Result<(), Problem> {
    let refuse = |value: &Value, path: &dyn Fn() -> Vec<Step>| match value {
        Value::Array(_) => Err(Problem::new(
            path(),
            "expected a group of keys, found a list",
            "write `key: value` on each line, without `- `",
        )),
        _ => Ok(()),
    };
    refuse(value, &Vec::new)?;
    for key in ["verify", "deadlines", "budget"] {
        refuse(value.get(key).unwrap_or(&Value::Null), &|| key.into_path())?;
    }
    let strategy = value.get("strategy").unwrap_or(&Value::Null);
    refuse(strategy, &|| "strategy".into_path())?;
    for key in ["canary", "rolling"] {
        let path = || format!("strategy.{key}").as_str().into_path();
        refuse(strategy.get(key).unwrap_or(&Value::Null), &path)?;
    }
    let steps = strategy.get("steps").and_then(Value::as_array);
    for (index, step) in steps.into_iter().flatten().enumerate() {
        refuse(step, &|| {
            let mut path = "strategy.steps".into_path();
            path.push(Step::Index(index));
            path
        })?;
    }
    for group in ["metrics", "record", "tasks"] {
        let named = value.get(group).and_then(Value::as_object);
        for (name, one) in named.into_iter().flatten() {
            refuse(one, &|| {
                vec![Step::Key(group.to_owned()), Step::Key(name.clone())]
            })?;
        }
    }
    let triggers = value.get("triggers").and_then(Value::as_array);
    for (index, trigger) in triggers.into_iter().flatten().enumerate() {
        refuse(trigger, &|| (index, "").into_path())?;
    }
    Ok(())
}

pub(crate) fn read(value: Value) -> Result<Policy, Problem> {
    if value.is_null() {
        return Err(Problem::new(
            Vec::new(),
            "the policy is empty",
            "begin with `bake`, `metrics` and `triggers`",
        ));
    }
    refuse_lists(&value)?;
    let document: PolicyDocument =
        serde_path_to_error::deserialize(value).map_err(|error| mistake(&error))?;
    let policy = compile::compile(document)?;
    check::check(&policy)?;
    Ok(policy)
}

#[cfg(feature = "yaml")]
fn located(problem: Problem, text: &str) -> PolicyError {
    let place = super::place::find(text, &problem.path, problem.key, problem.part);
    PolicyError::new(problem, place, Some(text))
}

#[cfg(not(feature = "yaml"))]
fn located(problem: Problem, _: &str) -> PolicyError {
    PolicyError::new(problem, None, None)
}

/// `… at line 3 column 5` and `line 3 column 5: …` are told by the place.
fn strip_place(message: &str) -> &str {
    let message = message.split(" at line ").next().unwrap_or(message);
    match message.split_once(": ") {
        Some((start, rest)) if start.contains("line ") && start.contains("column ") => rest,
        _ => message,
    }
}

/// serde's words in the words of people who write policies.
fn mistake(error: &serde_path_to_error::Error<serde_json::Error>) -> Problem {
    let mut path: Vec<Step> = error
        .path()
        .iter()
        .filter_map(|segment| match segment {
            Segment::Seq { index } => Some(Step::Index(*index)),
            Segment::Map { key } => Some(Step::Key(key.clone())),
            Segment::Enum { .. } | Segment::Unknown => None,
        })
        .collect();
    let message = error.inner().to_string();
    let message = strip_place(&message);
    let mut names = message.split('`').skip(1).step_by(2);
    let first = names.next().unwrap_or_default();
    let known: Vec<&str> = names.collect();
    if message.starts_with("unknown field") {
        if path.last() != Some(&Step::Key(first.to_owned())) {
            path.push(Step::Key(first.to_owned()));
        }
        let fix = one_of(first, &known, "the keys here are");
        return Problem::new(path, format!("unknown key `{first}`"), fix).about_key();
    }
    if message.starts_with("unknown variant") {
        let fix = one_of(first, &known, "it can be");
        return Problem::new(path, format!("`{first}` is not possible here"), fix);
    }
    if message.starts_with("missing field") {
        let example = match first {
            "bake" => "bake: 10m",
            "unit" => "unit: ratio",
            "name" => "name: too_many_errors",
            _ => first,
        };
        return Problem::new(
            path,
            format!("`{first}` is missing"),
            format!("add `{example}`"),
        )
        .about_key();
    }
    if let Some((found, expected)) = message
        .strip_prefix("invalid type: ")
        .or_else(|| message.strip_prefix("invalid value: "))
        .and_then(|rest| rest.split_once(", expected "))
    {
        let expected = plain_type(expected);
        return Problem::new(
            path,
            format!("expected {expected}, found {}", plain_found(found)),
            match expected {
                "a text" => "write a text, in quotes if it looks like a number".to_owned(),
                _ => format!("write {expected}"),
            },
        );
    }
    match message.split_once("; ") {
        Some((message, fix)) => Problem::new(path, message, fix),
        None => Problem::new(path, message, ""),
    }
}

pub(crate) fn one_of(word: &str, known: &[&str], all: &str) -> String {
    match closest(word, known.iter().copied()) {
        Some(near) => format!("did you mean `{near}`?"),
        None => format!("{all} {}", known.join(", ")),
    }
}

fn plain_type(expected: &str) -> &str {
    match expected {
        "a string" | "string" | "a borrowed string" => "a text",
        "u32" => "a whole number from 0 to 4294967295",
        "f64" => "a number",
        "a boolean" => "`true` or `false`",
        "a sequence" => "a list, each line beginning with `- `",
        "a map" => "names, each with its keys below it",
        _ if expected.starts_with("struct PolicyDocument") => "keys such as `bake: 10m`",
        _ if expected.starts_with("struct ") => "a group of keys",
        _ if expected.starts_with("enum ") || expected.contains("variant") => "one word",
        _ => expected,
    }
}

fn plain_found(found: &str) -> String {
    let quoted = found.split('`').nth(1).or_else(|| found.split('"').nth(1));
    match (found, quoted) {
        (_, Some(value)) => format!("`{value}`"),
        ("null" | "unit value", None) => "nothing".to_owned(),
        ("map", None) => "a group of keys".to_owned(),
        ("sequence", None) => "a list".to_owned(),
        _ => found.to_owned(),
    }
}

/// A value in which no key was written twice and every number is finite.
struct Strict(Value);

impl<'de> Deserialize<'de> for Strict {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Visitor;
        impl<'de> de::Visitor<'de> for Visitor {
            type Value = Value;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("keys and values")
            }
            fn visit_map<A: de::MapAccess<'de>>(self, mut map: A) -> Result<Value, A::Error> {
                let mut entries = Map::new();
                while let Some(key) = map.next_key::<String>()? {
                    if entries.contains_key(&key) {
                        return Err(de::Error::custom(format!("{TWICE} `{key}`")));
                    }
                    let Strict(value) = map.next_value()?;
                    entries.insert(key, value);
                }
                Ok(Value::Object(entries))
            }
            fn visit_seq<A: de::SeqAccess<'de>>(self, mut seq: A) -> Result<Value, A::Error> {
                let mut items = Vec::new();
                while let Some(Strict(item)) = seq.next_element()? {
                    items.push(item);
                }
                Ok(Value::Array(items))
            }
            fn visit_str<E>(self, text: &str) -> Result<Value, E> {
                Ok(Value::from(text))
            }
            fn visit_bool<E>(self, value: bool) -> Result<Value, E> {
                Ok(Value::from(value))
            }
            fn visit_i64<E>(self, number: i64) -> Result<Value, E> {
                Ok(Value::from(number))
            }
            fn visit_u64<E>(self, number: u64) -> Result<Value, E> {
                Ok(Value::from(number))
            }
            fn visit_f64<E: de::Error>(self, number: f64) -> Result<Value, E> {
                if number.is_finite() {
                    Ok(Value::from(number))
                } else {
                    Err(E::custom(format!(
                        "`{number}` is not a number that can be used"
                    )))
                }
            }
            fn visit_unit<E>(self) -> Result<Value, E> {
                Ok(Value::Null)
            }
            fn visit_none<E>(self) -> Result<Value, E> {
                Ok(Value::Null)
            }
            fn visit_some<D: Deserializer<'de>>(self, inner: D) -> Result<Value, D::Error> {
                inner.deserialize_any(self)
            }
        }
        deserializer.deserialize_any(Visitor).map(Self)
    }
}
