//! Writing a definition by hand: each method is one key, or a few, of the engine's own.

use std::time::Duration;

use serde_json::{Map, Value, json};

use super::definition::{ContainerDefinition, variable};

impl ContainerDefinition {
    /// How many containers.
    #[must_use]
    pub const fn replicas(mut self, count: u16) -> Self {
        self.replicas = count;
        self
    }

    /// The port inside the container that serves.
    #[must_use]
    pub const fn port(mut self, port: u16) -> Self {
        self.port = Some(port);
        self
    }

    /// Sets a variable, or replaces it.
    #[must_use]
    pub fn env(mut self, name: impl AsRef<str>, value: impl AsRef<str>) -> Self {
        let (name, value) = (name.as_ref(), value.as_ref());
        let mut variables = list(&mut self.config, "Env");
        variables.retain(|one| variable(one) != Some(name));
        variables.push(json!(format!("{name}={value}")));
        self.with_config("Env", Value::Array(variables))
    }

    /// What is run instead of the image's own command.
    #[must_use]
    pub fn cmd<A: Into<String>>(mut self, words: impl IntoIterator<Item = A>) -> Self {
        let words: Vec<String> = words.into_iter().map(Into::into).collect();
        self.config.insert("Cmd".to_owned(), json!(words));
        self
    }

    /// A label.
    #[must_use]
    pub fn label(mut self, name: impl Into<String>, value: impl Into<String>) -> Self {
        put(
            &mut self.config,
            "Labels",
            name,
            Value::String(value.into()),
        );
        self
    }

    /// Time between the friendly signal and the unfriendly one, in whole seconds.
    #[must_use]
    pub fn stop_grace(self, grace: Duration) -> Self {
        self.with_config("StopTimeout", json!(grace.as_secs()))
    }

    /// A path of the host, or a named volume, at a path of the container: `data:/var/lib/shop:ro`.
    #[must_use]
    pub fn bind(mut self, bind: impl Into<String>) -> Self {
        let mut binds = list(&mut self.host_config, "Binds");
        binds.push(Value::String(bind.into()));
        self.with_host_config("Binds", Value::Array(binds))
    }

    /// A TCP port of the container on a port of the host; 0: any that is free. With a port of their
    /// own two releases cannot run beside each other.
    #[must_use]
    pub fn publish(mut self, host: u16, container: u16) -> Self {
        let (port, host) = (format!("{container}/tcp"), host.to_string());
        put(&mut self.config, "ExposedPorts", &port, json!({}));
        let place = json!([{ "HostPort": host }]);
        put(&mut self.host_config, "PortBindings", &port, place);
        self
    }

    /// A network that is there, and by which names the container is found in it. A container with
    /// the name answers for it at once, also while it runs beside another without traffic.
    #[must_use]
    pub fn network<A: Into<String>>(
        mut self,
        name: impl Into<String>,
        aliases: impl IntoIterator<Item = A>,
    ) -> Self {
        let (name, aliases): (String, Vec<String>) =
            (name.into(), aliases.into_iter().map(Into::into).collect());
        self.host_config
            .entry("NetworkMode")
            .or_insert_with(|| json!(name));
        self.networks.insert(name, json!({ "Aliases": aliases }));
        self
    }

    /// `no`, `always`, `unless-stopped` or `on-failure`.
    #[must_use]
    pub fn restart(self, policy: impl AsRef<str>) -> Self {
        self.with_host_config("RestartPolicy", json!({ "Name": policy.as_ref() }))
    }

    /// The most memory that it may use, in bytes.
    #[must_use]
    pub fn memory(self, bytes: u64) -> Self {
        self.with_host_config("Memory", json!(bytes))
            .with_host_config("MemorySwap", json!(bytes))
    }

    /// A health check: `command` is run in the container each `every`; after `failures` that failed
    /// in a row it is unhealthy.
    #[must_use]
    pub fn health<A: Into<String>>(
        self,
        command: impl IntoIterator<Item = A>,
        every: Duration,
        failures: u32,
    ) -> Self {
        let words = command.into_iter().map(Into::into);
        let test: Vec<String> = std::iter::once("CMD".to_owned()).chain(words).collect();
        let nanos = u64::try_from(every.as_nanos()).unwrap_or(u64::MAX);
        let check = json!({
            "Test": test, "Interval": nanos, "Timeout": nanos.max(1_000_000_000), "Retries": failures,
        });
        self.with_config("Healthcheck", check)
    }

    /// Any key of the engine's container configuration.
    #[must_use]
    pub fn with_config(mut self, key: impl Into<String>, value: Value) -> Self {
        self.config.insert(key.into(), value);
        self
    }

    /// Any key of the engine's host configuration.
    #[must_use]
    pub fn with_host_config(mut self, key: impl Into<String>, value: Value) -> Self {
        self.host_config.insert(key.into(), value);
        self
    }
}

/// Takes a list out, to be put back.
fn list(map: &mut Map<String, Value>, key: &str) -> Vec<Value> {
    match map.remove(key) {
        Some(Value::Array(list)) => list,
        _ => Vec::new(),
    }
}

/// Puts a value under a name of an object.
fn put(map: &mut Map<String, Value>, key: &str, name: impl Into<String>, value: Value) {
    let mut object = match map.remove(key) {
        Some(Value::Object(object)) => object,
        _ => Map::new(),
    };
    object.insert(name.into(), value);
    map.insert(key.to_owned(), Value::Object(object));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_word_becomes_the_engines_own() {
        let definition = ContainerDefinition::new("x")
            .env("A", "1")
            .env("A", "2=3")
            .publish(0, 8080)
            .network("shop", ["web"])
            .network("back", [""; 0])
            .stop_grace(Duration::from_secs(7))
            .memory(64)
            .restart("always")
            .health(["/probe"], Duration::from_millis(500), 3);
        let expected = json!({
            "Env": ["A=2=3"], "ExposedPorts": { "8080/tcp": {} }, "StopTimeout": 7,
            "Healthcheck": {
                "Test": ["CMD", "/probe"], "Interval": 500_000_000, "Timeout": 1_000_000_000,
                "Retries": 3,
            },
        });
        assert_eq!(Value::Object(definition.config), expected);
        let expected = json!({
            "PortBindings": { "8080/tcp": [{ "HostPort": "0" }] }, "NetworkMode": "shop",
            "Memory": 64, "MemorySwap": 64, "RestartPolicy": { "Name": "always" },
        });
        assert_eq!(Value::Object(definition.host_config), expected);
        assert_eq!(definition.networks.len(), 2);
    }
}
