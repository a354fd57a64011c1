//! Every key of a policy with what it means, as a policy that can be copied from.

use serde_json::{Map, Value};

/// The JSON Schema (draft-07) of a policy: for editors and validators.
///
/// A policy file says where it is in its first line, for editors with the YAML language server:
/// `# yaml-language-server: $schema=rollback.schema.json`.
pub const SCHEMA: &str = include_str!("../../rollback.schema.json");

/// The annotated policy, or one section of it such as `triggers` or `strategy.canary`; none if there
/// is no such section.
///
/// ```
/// let text = rollback_core::inspect::policy_docs(Some("budget")).unwrap();
/// assert!(text.contains("# Not sooner after the last one than this. Default: `0s`."), "{text}");
/// assert!(text.contains("  cooldown: 0s\n"), "{text}");
/// assert!(rollback_core::inspect::policy_docs(Some("budgte")).is_none());
/// ```
#[must_use]
pub fn policy_docs(section: Option<&str>) -> Option<String> {
    let schema: Value = serde_json::from_str(SCHEMA).ok()?;
    let docs = Docs { root: &schema };
    let mut text = String::new();
    let Some(section) = section else {
        docs.group(&schema, "", &mut text);
        return Some(text);
    };
    let (mut here, mut margin) = (&schema, String::new());
    let steps: Vec<&str> = section.split('.').collect();
    for (number, step) in steps.iter().enumerate() {
        let property = docs.properties(here)?.get(*step)?;
        if number + 1 == steps.len() {
            docs.key(step, property, &margin, &mut text);
        } else {
            text.push_str(&format!("{margin}{step}:\n"));
            margin.push_str("  ");
            here = docs.below(property)?;
        }
    }
    Some(text)
}

/// The sections that there are.
#[must_use]
pub fn policy_sections() -> Vec<String> {
    let schema: Value = serde_json::from_str(SCHEMA).unwrap_or_default();
    let properties = schema.get("properties").and_then(Value::as_object);
    properties
        .into_iter()
        .flat_map(Map::keys)
        .cloned()
        .collect()
}

struct Docs<'s> {
    root: &'s Value,
}

impl<'s> Docs<'s> {
    /// What a `$ref` stands for, through `allOf`, and through what else a value may be.
    fn resolved(&self, schema: &'s Value) -> Vec<&'s Value> {
        if let Some(name) = schema.get("$ref").and_then(Value::as_str) {
            let name = name.trim_start_matches("#/definitions/");
            let found = self.root.get("definitions").and_then(|all| all.get(name));
            return found.map_or_else(Vec::new, |found| self.resolved(found));
        }
        for key in ["allOf", "anyOf", "oneOf"] {
            if let Some(all) = schema.get(key).and_then(Value::as_array) {
                return all.iter().flat_map(|one| self.resolved(one)).collect();
            }
        }
        vec![schema]
    }

    fn properties(&self, schema: &'s Value) -> Option<&'s Map<String, Value>> {
        let mut all = self.resolved(schema).into_iter();
        all.find_map(|one| one.get("properties")?.as_object())
    }

    /// The group below a key: its own, that of each name, or that of each item.
    fn below(&self, property: &'s Value) -> Option<&'s Value> {
        self.resolved(property).into_iter().find_map(|one| {
            if one.get("properties").is_some() {
                return Some(one);
            }
            let each = one
                .get("items")
                .or_else(|| one.get("additionalProperties"))?;
            self.properties(each).map(|_| each)
        })
    }

    fn group(&self, schema: &'s Value, margin: &str, text: &mut String) {
        for (key, property) in self.properties(schema).into_iter().flatten() {
            self.key(key, property, margin, text);
        }
    }

    fn key(&self, key: &str, property: &'s Value, margin: &str, text: &mut String) {
        let words = property
            .get("description")
            .and_then(Value::as_str)
            .unwrap_or_default();
        for line in wrapped(
            &capitalised(words),
            100_usize.saturating_sub(margin.len() + 2),
        ) {
            text.push_str(&format!("{margin}# {line}\n"));
        }
        let example = property.get("examples").and_then(|all| all.get(0));
        let default = property.get("default").filter(|default| {
            !default.is_null()
                && **default != Value::Object(Map::new())
                && **default != Value::Array(Vec::new())
        });
        let below = self.below(property);
        match below {
            Some(group) => {
                let kinds = self.resolved(property);
                let listed = kinds.iter().any(|one| one.get("items").is_some());
                let named = kinds.iter().any(|one| {
                    one.get("additionalProperties")
                        .is_some_and(Value::is_object)
                });
                if let Some(example) = example {
                    text.push_str(&format!("{margin}# For example: {key}: {example}\n"));
                }
                let open = if listed {
                    "  # a list; each item has"
                } else {
                    ""
                };
                text.push_str(&format!("{margin}{key}:{open}\n"));
                let mut deeper = format!("{margin}  ");
                if named {
                    text.push_str(&format!("{deeper}NAME:\n"));
                    deeper.push_str("  ");
                }
                self.group(group, &deeper, text);
            }
            None => {
                let value = default.or(example).cloned().unwrap_or_default();
                text.push_str(&format!("{margin}{key}: {}\n", plain(&value)));
            }
        }
        if margin.is_empty() {
            text.push('\n');
        }
    }
}

fn plain(value: &Value) -> String {
    match value {
        Value::String(text)
            if text.contains([':', '#', '{', '\'', '"', '%', '>', '<']) && !text.ends_with('%') =>
        {
            Value::from(text.as_str()).to_string()
        }
        Value::String(text) => text.clone(),
        other => other.to_string(),
    }
}

fn capitalised(text: &str) -> String {
    let mut letters = text.chars();
    let first = letters.next().map(|c| c.to_uppercase().to_string());
    format!("{}{}", first.unwrap_or_default(), letters.as_str())
}

fn wrapped(text: &str, width: usize) -> Vec<String> {
    let mut lines: Vec<String> = Vec::new();
    for word in text.split_whitespace() {
        match lines.last_mut() {
            Some(line) if line.chars().count() + 1 + word.chars().count() <= width => {
                line.push(' ');
                line.push_str(word);
            }
            _ => lines.push(word.to_owned()),
        }
    }
    lines
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_section_is_told() {
        let sections = policy_sections();
        assert!(sections.len() >= 14, "{sections:?}");
        let whole = policy_docs(None).unwrap();
        for section in &sections {
            let text = policy_docs(Some(section)).unwrap();
            assert!(text.contains(&format!("{section}:")), "{section}: {text}");
            assert!(whole.contains(text.trim_end()), "{section}");
        }
        let canary = policy_docs(Some("strategy.canary.wait")).unwrap();
        assert!(canary.contains("    wait: 5m\n"), "{canary}");
        let metric = policy_docs(Some("metrics")).unwrap();
        assert!(metric.contains("  NAME:\n    # "), "{metric}");
        assert!(
            whole.lines().all(|line| line.chars().count() <= 160),
            "{whole}"
        );
    }
}
