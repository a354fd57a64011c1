//! A native policy on its way to text.

use serde_json::{Map, Number, Value};

/// A value of the native policy; keys keep their order.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Native {
    Text(String),
    Number(f64),
    Flag(bool),
    List(Vec<Self>),
    Map(Vec<(String, Self)>),
}

/// The order of the native keys in a text.
const ORDER: [&str; 16] = [
    "service",
    "mode",
    "foreign",
    "strategy",
    "holdback",
    "check",
    "poll",
    "metrics",
    "triggers",
    "tasks",
    "bake",
    "verify",
    "deadlines",
    "budget",
    "blind_budget",
    "on_no_data",
];
/// A line is at most so long, where it can be broken.
const LINE: usize = 120;

impl From<&str> for Native {
    fn from(text: &str) -> Self {
        Self::Text(text.to_owned())
    }
}

impl From<String> for Native {
    fn from(text: String) -> Self {
        Self::Text(text)
    }
}

impl From<u32> for Native {
    fn from(number: u32) -> Self {
        Self::Number(f64::from(number))
    }
}

impl From<bool> for Native {
    fn from(flag: bool) -> Self {
        Self::Flag(flag)
    }
}

impl From<Vec<Self>> for Native {
    fn from(items: Vec<Self>) -> Self {
        Self::List(items)
    }
}

impl From<&Value> for Native {
    fn from(value: &Value) -> Self {
        match value {
            Value::Null => Self::Text(String::new()),
            Value::Bool(flag) => Self::Flag(*flag),
            Value::Number(number) => Self::Number(number.as_f64().unwrap_or_default()),
            Value::String(text) => Self::Text(text.clone()),
            Value::Array(items) => Self::List(items.iter().map(Self::from).collect()),
            Value::Object(entries) => Self::Map(
                entries
                    .iter()
                    .map(|(key, value)| (key.clone(), Self::from(value)))
                    .collect(),
            ),
        }
    }
}

impl Native {
    pub(super) const fn group() -> Self {
        Self::Map(Vec::new())
    }

    /// The value at a path such as `triggers[0].when`, made if it is not there.
    pub(super) fn at(&mut self, path: &str) -> &mut Self {
        let mut here = self;
        for step in path.split('.') {
            let (key, index) = match step.split_once('[') {
                Some((key, index)) => (key, index.trim_end_matches(']').parse::<usize>().ok()),
                None => (step, None),
            };
            here = here.key(key);
            if let Some(index) = index {
                here = here.item(index);
            }
        }
        here
    }

    fn key(&mut self, key: &str) -> &mut Self {
        if !matches!(self, Self::Map(_)) {
            *self = Self::group();
        }
        let Self::Map(entries) = self else {
            return self;
        };
        let position = entries.iter().position(|(known, _)| known == key);
        let position = position.unwrap_or_else(|| {
            entries.push((key.to_owned(), Self::group()));
            entries.len() - 1
        });
        #[expect(clippy::indexing_slicing, reason = "found or pushed just now")]
        &mut entries[position].1
    }

    fn item(&mut self, index: usize) -> &mut Self {
        if !matches!(self, Self::List(_)) {
            *self = Self::List(Vec::new());
        }
        let Self::List(items) = self else {
            return self;
        };
        while items.len() <= index {
            items.push(Self::group());
        }
        #[expect(clippy::indexing_slicing, reason = "long enough: made so just now")]
        &mut items[index]
    }

    /// The value as JSON.
    pub(super) fn json(&self) -> Value {
        match self {
            Self::Text(text) => Value::from(text.as_str()),
            Self::Number(number) => whole(*number).map_or_else(
                || Number::from_f64(*number).map_or(Value::Null, Value::Number),
                Value::from,
            ),
            Self::Flag(flag) => Value::from(*flag),
            Self::List(items) => Value::Array(items.iter().map(Self::json).collect()),
            Self::Map(entries) => Value::Object(
                entries
                    .iter()
                    .map(|(key, value)| (key.clone(), value.json()))
                    .collect::<Map<_, _>>(),
            ),
        }
    }

    /// The value as the YAML that people write.
    pub(super) fn yaml(&self) -> String {
        let Self::Map(entries) = self else {
            return format!("{}\n", self.flow());
        };
        let place = |key: &str| ORDER.iter().position(|known| *known == key);
        let mut entries: Vec<_> = entries.iter().collect();
        entries.sort_by_key(|(key, _)| place(key).unwrap_or(ORDER.len()));
        let mut text = String::new();
        for (key, value) in entries {
            match value {
                Self::Map(own) if matches!(key.as_str(), "metrics" | "tasks") => {
                    text.push_str(&format!("{key}:\n"));
                    for (key, value) in own {
                        line(&mut text, "  ", key, value);
                    }
                }
                Self::List(items) if !items.is_empty() && items.iter().all(Self::is_group) => {
                    text.push_str(&format!("{key}:\n"));
                    for item in items {
                        text.push_str(&item.ordered().listed());
                    }
                }
                value => line(&mut text, "", key, value),
            }
        }
        text
    }

    /// What it is called and when it fails come first.
    fn ordered(&self) -> Self {
        const FIRST: [&str; 5] = ["name", "when", "alarm", "severity", "action"];
        match self {
            Self::Map(entries) => {
                let mut entries = entries.clone();
                entries.sort_by_key(|(key, _)| {
                    let place = FIRST.iter().position(|first| first == key);
                    place.unwrap_or(FIRST.len())
                });
                Self::Map(entries)
            }
            other => other.clone(),
        }
    }

    const fn is_group(&self) -> bool {
        matches!(self, Self::Map(_))
    }

    fn listed(&self) -> String {
        let short = format!("  - {}\n", self.flow());
        match self {
            Self::Map(entries) if short.chars().count() > LINE => {
                let mut text = String::new();
                for (number, (key, value)) in entries.iter().enumerate() {
                    let start = if number == 0 { "  - " } else { "    " };
                    text.push_str(&format!("{start}{key}: {}\n", value.flow()));
                }
                text
            }
            _ => short,
        }
    }

    fn flow(&self) -> String {
        match self {
            Self::Text(text) => scalar(text),
            Self::Number(number) => number.to_string(),
            Self::Flag(flag) => flag.to_string(),
            Self::List(items) => {
                let items: Vec<String> = items.iter().map(Self::flow).collect();
                format!("[{}]", items.join(", "))
            }
            Self::Map(entries) => {
                let entries: Vec<String> = entries
                    .iter()
                    .map(|(key, value)| format!("{key}: {}", value.flow()))
                    .collect();
                format!("{{ {} }}", entries.join(", "))
            }
        }
    }
}

/// `key: value`, broken below the key if that is too long.
fn line(text: &mut String, margin: &str, key: &str, value: &Native) {
    let short = format!("{margin}{key}: {}\n", value.flow());
    match value {
        Native::Map(entries) if short.chars().count() > LINE => {
            text.push_str(&format!("{margin}{key}:\n"));
            for (key, value) in entries {
                line(text, &format!("{margin}  "), key, value);
            }
        }
        Native::List(items) if short.chars().count() > LINE => {
            text.push_str(&format!("{margin}{key}:\n"));
            for item in items {
                text.push_str(&format!("{margin}  - {}\n", item.flow()));
            }
        }
        _ => text.push_str(&short),
    }
}

fn whole(number: f64) -> Option<u64> {
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "checked to be whole, not negative and exact"
    )]
    ((0.0..9e15).contains(&number) && libm::floor(number).to_bits() == number.to_bits())
        .then_some(number as u64)
}

/// A text as YAML: plain where it cannot be taken for anything else.
fn scalar(text: &str) -> String {
    let word = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '-' | '/' | '.');
    let first = text.chars().next();
    let plain = first.is_some_and(|c| c.is_ascii_alphabetic() || c == '_')
        && text.chars().all(word)
        && !matches!(
            text.to_ascii_lowercase().as_str(),
            "true" | "false" | "yes" | "no" | "on" | "off" | "null" | "y" | "n"
        );
    if plain || is_quantity(text) {
        text.to_owned()
    } else if text.chars().any(char::is_control)
        || (text.contains('\'') && !text.contains(['"', '\\']))
    {
        Value::from(text).to_string()
    } else {
        format!("'{}'", text.replace('\'', "''"))
    }
}

/// `30s`, `1m 30s`, `5%`, `0.5%`: never taken for a number.
fn is_quantity(text: &str) -> bool {
    text.split(' ').all(|part| {
        let digits = part.trim_end_matches(|c: char| c.is_ascii_alphabetic() || c == '%');
        let unit = part.get(digits.len()..).unwrap_or_default();
        !digits.is_empty()
            && digits.chars().all(|c| c.is_ascii_digit() || c == '.')
            && matches!(unit, "ms" | "s" | "m" | "h" | "d" | "%")
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read_again() {
        let mut native = Native::group();
        *native.at("poll") = "10s".into();
        *native.at("service") = "no".into();
        *native.at("metrics.health.query") = "http://{{address}}/it's: [a]".into();
        *native.at("triggers[0].name") = "a b".into();
        *native.at("triggers[0].times") = "3 of 5".into();
        *native.at("triggers[1].share") = "5%".into();
        *native.at("triggers[1].text") = "two\nlines".into();
        *native.at("budget.rollbacks") = 3.into();
        *native.at("budget.per") = "1m 30s".into();
        *native.at("strategy.canary.steps") = vec!["10%".into(), "100%".into()].into();
        let yaml = native.yaml();
        assert_eq!(
            yaml,
            concat!(
                "service: 'no'\n",
                "strategy: { canary: { steps: [10%, 100%] } }\n",
                "poll: 10s\n",
                "metrics:\n",
                "  health: { query: \"http://{{address}}/it's: [a]\" }\n",
                "triggers:\n",
                "  - { name: 'a b', times: '3 of 5' }\n",
                "  - { share: 5%, text: \"two\\nlines\" }\n",
                "budget: { rollbacks: 3, per: 1m 30s }\n",
            )
        );
        let read: Value = serde_saphyr::from_str(&yaml).unwrap();
        assert_eq!(read, native.json());
    }

    #[test]
    fn long_groups_are_broken() {
        let mut native = Native::group();
        let long = "x".repeat(60);
        *native.at("triggers[0].name") = long.as_str().into();
        *native.at("triggers[0].when") = long.as_str().into();
        *native.at("strategy.steps[0].task") = long.as_str().into();
        *native.at("strategy.steps[1].task") = long.as_str().into();
        let read: Value = serde_saphyr::from_str(&native.yaml()).unwrap();
        assert_eq!(read, native.json());
        assert!(native.yaml().lines().all(|line| line.len() <= LINE));
    }
}
