//! A translation under way: the native policy, the report, and what was chosen.

use std::{sync::Arc, time::Duration};

use super::{
    native::Native,
    reading::{Field, Trouble, joined},
    report::{Fate, KeyReport},
};
use crate::{
    condition::{Condition, MetricCatalogue},
    model::duration_text,
    policy::{Place, tree::Value},
};

/// What a translation has found out so far.
#[derive(Debug)]
pub(super) struct Draft {
    pub(super) native: Native,
    pub(super) lines: Vec<KeyReport>,
    pub(super) chosen: Vec<String>,
    /// Native paths and the places that they come from.
    origins: Vec<(String, String, Place)>,
    triggers: usize,
}

impl Draft {
    pub(super) const fn new() -> Self {
        Self {
            native: Native::group(),
            lines: Vec::new(),
            chosen: Vec::new(),
            origins: Vec::new(),
            triggers: 0,
        }
    }

    /// Writes a native value that comes from a key of the source.
    pub(super) fn set(&mut self, path: &str, value: impl Into<Native>, from: &Field<'_>) {
        let place = match from.node.value {
            Value::Map(_) | Value::List(_) => from.place,
            _ => from.node.place,
        };
        self.origins
            .push((path.to_owned(), from.path.clone(), place));
        *self.native.at(path) = value.into();
    }

    /// Writes it, and reports it as `key: value`.
    pub(super) fn apply(&mut self, path: &str, value: impl Into<Native>, from: &Field<'_>) {
        let value = value.into();
        let text = match &value {
            Native::Text(text) => text.clone(),
            other => other.json().to_string(),
        };
        self.applied_as(from, format!("`{path}: {text}`"));
        self.set(path, value, from);
    }

    /// A duration of the source.
    pub(super) fn apply_time(&mut self, path: &str, time: Duration, from: &Field<'_>) {
        self.apply(path, duration_text(time), from);
    }

    /// Writes a value that the source does not give, and says why.
    pub(super) fn choose(&mut self, path: &str, value: impl Into<Native>, why: &str) {
        let value = value.into();
        if let Native::Text(text) = &value {
            self.chosen.push(format!("`{path}: {text}`: {why}"));
        } else {
            self.chosen.push(format!("`{path}`: {why}"));
        }
        *self.native.at(path) = value;
    }

    /// The metrics that the policy declares.
    pub(super) fn declared(&self) -> Vec<String> {
        match &self.native {
            Native::Map(entries) => entries
                .iter()
                .filter(|(key, _)| key == "metrics")
                .flat_map(|(_, metrics)| match metrics {
                    Native::Map(metrics) => metrics.iter().map(|(name, _)| name.clone()).collect(),
                    _ => Vec::new(),
                })
                .collect(),
            _ => Vec::new(),
        }
    }

    /// Whether the policy has the key.
    pub(super) fn has(&self, key: &str) -> bool {
        matches!(&self.native, Native::Map(entries) if entries.iter().any(|(known, _)| known == key))
    }

    /// The path of a new trigger.
    pub(super) fn trigger(&mut self, name: &str) -> String {
        let path = format!("triggers[{}]", self.triggers);
        self.triggers += 1;
        *self.native.at(&format!("{path}.name")) = name.into();
        path
    }

    pub(super) fn applied(&mut self, field: &Field<'_>) {
        self.report(field, Fate::Applied);
    }

    pub(super) fn applied_as(&mut self, field: &Field<'_>, native: impl Into<String>) {
        let native = native.into();
        self.report(field, Fate::AppliedAs { native });
    }

    pub(super) fn not_ours(&mut self, field: &Field<'_>, why: impl Into<String>) {
        let why = why.into();
        self.report(field, Fate::NotOurs { why });
    }

    /// The same for a key and everything below it.
    pub(super) fn all_not_ours(&mut self, field: &Field<'_>, why: &str) {
        match &field.node.value {
            Value::Map(entries) => {
                for entry in entries {
                    let below = Field {
                        path: joined(&field.path, &entry.key),
                        place: entry.place,
                        node: &entry.node,
                    };
                    self.all_not_ours(&below, why);
                }
            }
            _ => self.not_ours(field, why),
        }
    }

    fn report(&mut self, field: &Field<'_>, fate: Fate) {
        self.lines.push(KeyReport {
            key: field.path.clone(),
            line: field.place.line,
            fate,
        });
    }

    /// A condition that is kept as it stands, after it was checked where it stands.
    pub(super) fn condition(
        &mut self,
        path: &str,
        from: &Field<'_>,
        metrics: &MetricCatalogue,
    ) -> Result<Vec<Arc<str>>, Trouble> {
        let text = from.text()?;
        let condition = Condition::compile(text, metrics).map_err(|error| {
            let part = (error.span().start, error.span().end);
            from.trouble(error.message(), error.fix())
                .about_part(text, part)
        })?;
        self.apply(path, text, from);
        Ok(condition
            .slots()
            .iter()
            .map(|slot| Arc::from(slot.metric.as_str()))
            .collect())
    }

    /// Every key of the source has its line; a key without one would be dropped silently.
    pub(super) fn nothing_dropped(&self, root: &Field<'_>) -> Result<(), Trouble> {
        let reported = |path: &str| {
            self.lines.iter().any(|line| {
                path.strip_prefix(line.key.as_str())
                    .is_some_and(|rest| rest.is_empty() || rest.starts_with(['.', '[']))
            })
        };
        let mut open = vec![root.clone()];
        while let Some(field) = open.pop() {
            if !field.path.is_empty() && reported(&field.path) {
                continue;
            }
            match &field.node.value {
                Value::Map(entries) => {
                    open.extend(entries.iter().map(|entry| Field {
                        path: joined(&field.path, &entry.key),
                        place: entry.place,
                        node: &entry.node,
                    }));
                }
                Value::List(_) => open.extend(field.list()?),
                _ => {
                    return Err(field.trouble(
                        "this has no meaning here, and nothing is dropped silently",
                        "remove it",
                    ));
                }
            }
        }
        Ok(())
    }

    /// The place that a mistake in the native policy comes from.
    pub(super) fn blame(&self, native_path: &str, message: &str, fix: &str) -> Trouble {
        let origin = self
            .origins
            .iter()
            .filter(|(path, ..)| {
                native_path.starts_with(path.as_str()) || path.starts_with(native_path)
            })
            .max_by_key(|(path, ..)| common(path, native_path));
        let message = match native_path {
            "" => message.to_owned(),
            path => format!("{message} (it becomes `{path}`)"),
        };
        match origin {
            Some((_, path, place)) => Trouble::at(path.clone(), *place, message, fix),
            None => Trouble::at(
                "",
                Place {
                    line: 1,
                    column: 1,
                    width: 1,
                },
                message,
                fix,
            ),
        }
    }
}

fn common(a: &str, b: &str) -> usize {
    a.bytes().zip(b.bytes()).take_while(|(a, b)| a == b).count()
}
