//! How far one container is like another.

use std::collections::BTreeSet;

use serde_json::{Value, json};

/// Every field that differs between two documents, as `/path: before → after`.
pub(crate) fn differences(path: &str, before: &Value, after: &Value, found: &mut Vec<String>) {
    match (before, after) {
        (Value::Object(a), Value::Object(b)) => {
            let keys: BTreeSet<&String> = a.keys().chain(b.keys()).collect();
            for key in keys {
                let (a, b) = (a.get(key), b.get(key));
                let nothing = Value::Null;
                let (a, b) = (a.unwrap_or(&nothing), b.unwrap_or(&nothing));
                differences(&format!("{path}/{key}"), a, b, found);
            }
        }
        (Value::Array(a), Value::Array(b)) => {
            // The engine lists variables and mounts in an order of its own.
            let text = |list: &[Value]| {
                let mut text: Vec<String> = list.iter().map(Value::to_string).collect();
                text.sort();
                text
            };
            if text(a) != text(b) {
                found.push(format!("{path}: {before} → {after}"));
            }
        }
        _ if before == after => {}
        _ => found.push(format!("{path}: {before} → {after}")),
    }
}

/// What a person chose of a container: not its state, nor what the engine gave it.
pub(crate) fn chosen(container: &Value) -> Value {
    let networks = container["NetworkSettings"]["Networks"]
        .as_object()
        .unwrap();
    let networks: serde_json::Map<String, Value> = networks
        .iter()
        .map(|(name, endpoint)| {
            let keys = ["IPAMConfig", "Links", "DriverOpts", "Aliases"];
            let nothing = |value: &Value| *value == json!({}) || *value == json!([]);
            let kept = keys
                .map(|key| (key.to_owned(), endpoint[key].clone()))
                .map(|(key, value)| (key, if nothing(&value) { Value::Null } else { value }));
            (name.clone(), Value::Object(kept.into_iter().collect()))
        })
        .collect();
    let mut mounts = container["Mounts"].clone();
    for mount in mounts.as_array_mut().unwrap() {
        // Of a volume that was given a name the engine says `z`, which means nothing for a volume.
        if mount["Mode"] == "z" {
            mount["Mode"] = json!("");
        }
    }
    json!({
        "Config": container["Config"], "HostConfig": container["HostConfig"],
        "Mounts": mounts, "Path": container["Path"], "Args": container["Args"],
        "Image": container["Image"], "Networks": networks,
    })
}
