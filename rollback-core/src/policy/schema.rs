//! The JSON Schema (draft-07) of a policy: for editors, and for checks without this library.
//!
//! Descriptions are the documents' own doc comments; a default that stands there is the schema's
//! default too.

use schemars::{JsonSchema, Schema, SchemaGenerator, generate::SchemaSettings, json_schema};
use serde_json::{Map, Value, json};

use super::{
    PolicyDocument,
    authority::CrashLimit,
    document::{Share, Text, TimesOf},
};

/// The schema of a policy, as it is kept in `rollback.schema.json`.
///
/// ```
/// let schema = rollback_core::policy::schema();
/// assert_eq!(schema["properties"]["poll"]["default"], "10s");
/// ```
#[must_use]
pub fn schema() -> Value {
    let generator = SchemaSettings::draft07().into_generator();
    let mut schema = generator
        .into_root_schema_for::<PolicyDocument>()
        .to_value();
    if let Some(root) = schema.as_object_mut() {
        root.insert("title".to_owned(), json!("Rollback policy"));
    }
    polish(&mut schema, "policy");
    schema
}

/// Every group of keys, wherever it is: descriptions without the key, defaults, examples.
fn polish(schema: &mut Value, group: &str) {
    match schema {
        Value::Object(map) => {
            if let Some(Value::Object(properties)) = map.get_mut("properties") {
                for (key, property) in properties {
                    finish(group, key, property);
                }
            }
            if let Some(Value::String(words)) = map.get_mut("description") {
                *words = one_line(words);
            }
            for (key, value) in map {
                let group = if key == "definitions" { "" } else { group };
                match value {
                    Value::Object(all) if key == "definitions" => {
                        for (name, definition) in all {
                            polish(definition, name);
                        }
                    }
                    Value::Object(_) | Value::Array(_) => polish(value, group),
                    _ => {}
                }
            }
        }
        Value::Array(items) => items.iter_mut().for_each(|item| polish(item, group)),
        _ => {}
    }
}

fn finish(group: &str, key: &str, property: &mut Value) {
    let Some(map) = property.as_object_mut() else {
        return;
    };
    let description = map
        .get("description")
        .and_then(Value::as_str)
        .unwrap_or_default();
    let description = one_line(description);
    let description = description
        .strip_prefix(&format!("`{key}:` "))
        .unwrap_or(&description)
        .to_owned();
    if !map.contains_key("default")
        && let Some(default) = default_in(&description)
    {
        map.insert("default".to_owned(), default);
    }
    if let Some(examples) = examples(group, key) {
        map.insert("examples".to_owned(), examples);
    }
    map.insert("description".to_owned(), json!(description));
}

fn one_line(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

/// `Default: `10s`.` as the value that it is.
fn default_in(description: &str) -> Option<Value> {
    let (_, rest) = description.rsplit_once("Default: `")?;
    let (value, _) = rest.split_once('`')?;
    Some(serde_json::from_str(value).unwrap_or_else(|_| json!(value)))
}

/// What people write there.
fn examples(group: &str, key: &str) -> Option<Value> {
    Some(match (group, key) {
        ("policy", "service") => json!(["checkout"]),
        ("policy", "strategy") => {
            json!(["canary", {"canary": {"steps": ["10%", "50%", "100%"], "wait": "5m"}}])
        }
        ("policy", "metrics") => {
            json!([{"errors": {"unit": "ratio", "per": "instance", "bad": "http_requests_total{code=~\"5..\"}", "total": "http_requests_total"}}])
        }
        ("policy", "record") => {
            json!([{"queue_length": {"unit": "count", "per": "service", "query": "queue_length"}}])
        }
        ("policy", "triggers") => {
            json!([[{"name": "too_many_errors", "when": "errors > 5%", "for": "30s"}]])
        }
        ("policy", "tasks") => {
            json!([{"smoke": {"when": "ready", "within": "5m", "on_failure": "roll_back"}}])
        }
        ("policy", "verify") => json!([{"for": "1m", "within": "10m"}]),
        ("policy", "deadlines") => json!([{"converge": "20m"}]),
        ("policy", "budget") => json!([{"rollbacks": 3, "per": "1d", "cooldown": "5m"}]),
        (_, "holdback" | "share") => json!(["5%"]),
        (_, "max_false_rollback_rate") => json!(["1%"]),
        (_, "min_effect") => json!([1.25]),
        (_, "weight") => json!(["10%"]),
        (_, "bake" | "per" | "over") if group != "MetricDocument" => json!(["10m", "1h"]),
        (_, "poll") => json!(["10s"]),
        (
            _,
            "check" | "for" | "warmup" | "cooldown" | "within" | "wait" | "average" | "delay"
            | "blind_budget",
        ) => json!(["30s", "5m"]),
        ("DeadlinesDocument", _) => json!(["2m"]),
        (_, "name") => json!(["too_many_errors"]),
        (_, "when") if group == "TaskDocument" => json!(["ready"]),
        (_, "when") => json!(["errors > 5%", "p95 > 2 * baseline", "health == 'down'"]),
        (_, "times") => json!(["3 of 5"]),
        (_, "consecutive" | "crash_limit" | "rollbacks") => json!([3]),
        (_, "min_samples") => json!([20]),
        (_, "max_unavailable" | "max_surge") => json!([1]),
        (_, "compare") => json!(["errors"]),
        (_, "alarm") => json!(["cpu_alarm"]),
        (_, "any" | "all" | "of") => json!([["errors_high", "too_slow"]]),
        (_, "at_least") => json!([2]),
        (_, "task") => json!(["smoke"]),
        (_, "gate") => json!(["approve"]),
        (_, "then") => json!(["hold"]),
        (_, "health") => {
            json!([{"checks": [{"name": "answers", "when": "health == 'down'", "critical": true}], "healthy": "80%", "degraded": "60%"}])
        }
        (_, "checks") => {
            json!([[{"name": "answers", "when": "health == 'down'", "critical": true}]])
        }
        (_, "healthy") => json!(["80%"]),
        (_, "degraded") => json!(["60%"]),
        (_, "fails_at") => json!(["unhealthy"]),
        (_, "critical" | "host" | "required") => json!([true]),
        (_, "action" | "on_no_data") => json!(["hold"]),
        (_, "on_failure") => json!(["roll_back"]),
        (_, "loses") => json!(["orders written since the snapshot"]),
        (_, "consent") => json!(["given"]),
        (_, "severity") => json!(["warning"]),
        (_, "mode") => json!(["observe"]),
        (_, "foreign") => json!(["hold"]),
        (_, "on_inconclusive") => json!(["hold"]),
        (_, "bootstrap") => json!(["bake"]),
        (_, "unit") => json!(["ratio", "ms"]),
        (_, "per") => json!(["instance"]),
        (_, "query") => json!(["/health", "process_resident_memory_bytes"]),
        (_, "bad") => json!(["http_requests_total{code=~\"5..\"}"]),
        (_, "total") => json!(["http_requests_total"]),
        (_, "source") => json!(["prometheus"]),
        (_, "canary") => json!([{"steps": ["10%", "50%", "100%"], "wait": "5m"}]),
        (_, "rolling") => json!([{"max_unavailable": 1, "max_surge": 1}]),
        ("StrategySettings", "steps") => {
            json!([[{"converge": "beside"}, {"check": "30s"}, {"weight": "100%"}, {"bake": "10m"}, {"retire": "stable"}]])
        }
        (_, "steps" | "rollback_steps") => json!([["25%", "50%", "100%"]]),
        (_, "rollback") => json!([{"max_unavailable": 0, "max_surge": 20}]),
        (_, "converge") => json!(["beside"]),
        (_, "retire") => json!(["stable"]),
        _ => return None,
    })
}

impl JsonSchema for Text<std::time::Duration> {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "Duration".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "type": "string",
            "description": "A duration: 500ms, 2s, 1m 30s, 2h, 1d.",
            "pattern": r"^\s*(\d+\s*(ms|s|m|h|d)\s*)+$",
        })
    }
}

impl JsonSchema for Text<TimesOf> {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "TimesOf".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "type": "string",
            "description": "So many of so many: 3 of 5.",
            "pattern": r"^\s*\d+\s+of\s+\d+\s*$",
        })
    }
}

impl JsonSchema for Share {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "Share".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "description": "A share: 5%, or 0.05.",
            "anyOf": [
                {"type": "string", "pattern": r"^\s*\d*(\.\d+)?\s*%?\s*$"},
                {"type": "number", "minimum": 0, "maximum": 1, "not": {"const": 1}},
            ],
        })
    }
}

impl JsonSchema for CrashLimit {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "CrashLimit".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "description": "A number of crashes, or off.",
            "anyOf": [
                {"type": "integer", "minimum": 1, "maximum": u32::MAX},
                {"const": "off"},
            ],
        })
    }
}

/// A name in a document; where it names a key, the form is checked when the policy is read.
macro_rules! named {
    ($type:ty, $name:literal, $words:literal) => {
        impl JsonSchema for $type {
            fn schema_name() -> std::borrow::Cow<'static, str> {
                $name.into()
            }

            fn json_schema(_: &mut SchemaGenerator) -> Schema {
                json_schema!({"type": "string", "minLength": 1, "description": $words})
            }
        }
    };
}

named!(
    crate::model::MetricId,
    "MetricName",
    "The name of a metric: letters, digits and _."
);
named!(
    crate::model::ServiceId,
    "ServiceName",
    "The name of a service."
);

/// Words, as their type writes them.
fn words(description: &str, words: &[String]) -> Schema {
    let mut map = Map::new();
    map.insert("type".to_owned(), json!("string"));
    map.insert("description".to_owned(), json!(description));
    map.insert("enum".to_owned(), json!(words));
    map.into()
}

impl JsonSchema for crate::model::Action {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "Action".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        let all = [Self::Observe, Self::Notify, Self::Hold, Self::RollBack];
        words(
            "What a failing trigger may do.",
            &all.map(|one| one.to_string()),
        )
    }
}

impl JsonSchema for crate::condition::Unit {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "Unit".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        words(
            "In what a metric is answered.",
            &Self::ALL.map(|one| one.to_string()),
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn each_property(schema: &Value, at: &str, seen: &mut dyn FnMut(&str, &str, &Value, bool)) {
        let required = |key: &str| {
            let list = schema.get("required").and_then(Value::as_array);
            list.is_some_and(|list| list.contains(&json!(key)))
        };
        for (key, property) in schema
            .get("properties")
            .and_then(Value::as_object)
            .into_iter()
            .flatten()
        {
            seen(at, key, property, required(key));
        }
        for (name, definition) in schema
            .get("definitions")
            .and_then(Value::as_object)
            .into_iter()
            .flatten()
        {
            each_property(definition, name, seen);
        }
        for one in schema
            .get("anyOf")
            .and_then(Value::as_array)
            .into_iter()
            .flatten()
        {
            each_property(one, at, seen);
        }
    }

    #[test]
    fn every_key_says_what_it_is_what_it_is_otherwise_and_how_it_is_written() {
        let (mut missing, mut count) = (Vec::new(), 0);
        each_property(
            &schema(),
            "policy",
            &mut |group, key, property, required| {
                count += 1;
                let description = property["description"].as_str().unwrap_or_default();
                if description.len() < 8 {
                    missing.push(format!("{group}.{key}: a description"));
                }
                let optional = property
                    .get("default")
                    .is_some_and(|default| !default.is_null())
                    || description.contains("Default")
                    || description.contains("No default");
                // One of several keys that exclude each other has none.
                let alternative = matches!(
                    group,
                    "TriggerDocument" | "StepDocument" | "MetricDocument" | "StrategySettings"
                );
                if !(required || optional || alternative) {
                    missing.push(format!("{group}.{key}: a default"));
                }
                if property.get("examples").is_none() {
                    missing.push(format!("{group}.{key}: an example"));
                }
            },
        );
        assert!(missing.is_empty(), "{missing:#?}");
        assert!(count >= 50, "{count} keys");
    }

    /// `UPDATE=1` writes the file anew, to be reviewed as a diff.
    #[test]
    fn the_file_is_current() {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/rollback.schema.json");
        let now = format!("{:#}\n", schema());
        if std::env::var_os("UPDATE").is_some() {
            std::fs::write(path, now).unwrap();
        } else {
            let kept = std::fs::read_to_string(path).unwrap();
            assert!(
                kept == now,
                "rollback.schema.json is old: UPDATE=1 cargo test -p rollback-core --features schema --lib schema"
            );
        }
    }
}
