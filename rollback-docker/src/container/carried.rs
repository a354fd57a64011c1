//! From a container to its definition and back: what the engine says of a container, less what its
//! image says anyhow, is what the engine has to be told to make the same container again.

use std::collections::BTreeMap;

use serde_json::{Map, Value, json};

use super::{
    definition::{ContainerDefinition, Former},
    names::OURS,
};

/// Labels by which Compose numbers and replaces containers of one service.
const NUMBER: &str = "com.docker.compose.container-number";
const OF_ONE: [&str; 3] = [
    NUMBER,
    "com.docker.compose.slug",
    "com.docker.compose.replace",
];

/// The definition of a container that somebody else made. `image` is the image's own `Config`.
pub(crate) fn carried(container: &Value, image: &Value) -> ContainerDefinition {
    let text = |path: &str| container.pointer(path).and_then(Value::as_str);
    let mut definition = ContainerDefinition::new(text("/Image").unwrap_or_default());
    let named = text("/Config/Image").unwrap_or_default();
    if named != definition.image {
        definition.image_name = named.to_owned();
    }
    definition.config = config(container, image);
    definition.host_config = host_config(container);
    definition.networks = networks(container);
    definition.former.push(Former {
        name: name(container).to_owned(),
        volumes: nameless_volumes(container),
    });
    definition
}

/// A container's name, without its slash.
pub(crate) fn name(container: &Value) -> &str {
    let name = container.get("Name").and_then(Value::as_str);
    name.unwrap_or_default().trim_start_matches('/')
}

/// What the release's id is a digest of: not how many there are, nor what each has for itself.
pub(crate) fn common(definition: &ContainerDefinition) -> ContainerDefinition {
    let mut common = definition.clone();
    common.former.clear();
    common.replicas = 1;
    common
}

fn config(container: &Value, image: &Value) -> Map<String, Value> {
    let mut config = object(container.get("Config"));
    config.remove("Image");
    let id = container.get("Id").and_then(Value::as_str);
    let mode = container.pointer("/HostConfig/NetworkMode");
    let mode = mode.and_then(Value::as_str).unwrap_or_default();
    let uts = container.pointer("/HostConfig/UTSMode");
    let hostname = config.get("Hostname").and_then(Value::as_str);
    // The engine names a container by its id, or by whose name it shares.
    let given = hostname.is_some_and(|name| !id.unwrap_or_default().starts_with(name))
        && !mode.starts_with("container:")
        && mode != "host"
        && uts.and_then(Value::as_str) != Some("host");
    if !given {
        config.remove("Hostname");
    }
    less_list(&mut config, "Env", image);
    for key in ["Labels", "ExposedPorts", "Volumes"] {
        less_object(&mut config, key, image);
    }
    if let Some(Value::Object(labels)) = config.get_mut("Labels") {
        labels.retain(|label, _| !OF_ONE.contains(&label.as_str()) && !label.starts_with(OURS));
    }
    for key in [
        "Healthcheck",
        "WorkingDir",
        "User",
        "StopSignal",
        "Shell",
        "OnBuild",
    ] {
        if config.get(key) == image.get(key) {
            config.remove(key);
        }
    }
    less_command(&mut config, image);
    config.retain(|_, value| !value.is_null());
    config
}

/// The engine takes the image's command only along with the image's entry point.
fn less_command(config: &mut Map<String, Value>, image: &Value) {
    let of_image = |key: &str| image.get(key).filter(|value| !is_nothing(value));
    let own = |key: &str| config.get(key).filter(|value| !is_nothing(value));
    let same_entry = own("Entrypoint") == of_image("Entrypoint");
    let same_command = own("Cmd") == of_image("Cmd");
    match (same_entry, same_command) {
        (true, true) => {
            config.remove("Entrypoint");
            config.remove("Cmd");
        }
        // A command that was taken away stays away: the entry point is said again.
        (true, false) if own("Cmd").is_some() => {
            config.remove("Entrypoint");
        }
        _ => {}
    }
}

fn host_config(container: &Value) -> Map<String, Value> {
    let mut host = object(container.get("HostConfig"));
    if let Some(Value::Array(links)) = host.get_mut("Links") {
        for link in links {
            // It tells `/db:/web/alias`, and is told `db:alias`.
            let told = link.as_str().and_then(|text| {
                let (target, alias) = text.split_once(':')?;
                let alias = alias.rsplit('/').next()?;
                Some(format!("{}:{alias}", target.trim_start_matches('/')))
            });
            if let Some(told) = told {
                *link = Value::String(told);
            }
        }
    }
    host.retain(|_, value| !value.is_null());
    host
}

fn networks(container: &Value) -> BTreeMap<String, Value> {
    let mode = container.pointer("/HostConfig/NetworkMode");
    let mode = mode.and_then(Value::as_str).unwrap_or_default();
    if mode == "host" || mode == "none" || mode.starts_with("container:") {
        return BTreeMap::new();
    }
    let id = container
        .get("Id")
        .and_then(Value::as_str)
        .unwrap_or_default();
    let name = name(container);
    let all = object(container.pointer("/NetworkSettings/Networks"));
    let mut networks: BTreeMap<String, Value> = all
        .into_iter()
        .map(|(network, endpoint)| {
            let mut kept = Map::new();
            for key in ["IPAMConfig", "Links", "Aliases", "DriverOpts"] {
                let Some(mut value) = endpoint.get(key).cloned().filter(|v| !is_nothing(v)) else {
                    continue;
                };
                if let Value::Array(aliases) = &mut value
                    && key == "Aliases"
                {
                    let own =
                        |alias: &str| alias == name || (alias.len() == 12 && id.starts_with(alias));
                    aliases.retain(|alias| !alias.as_str().is_some_and(own));
                }
                if !is_nothing(&value) {
                    kept.insert(key.to_owned(), value);
                }
            }
            (network, Value::Object(kept))
        })
        .collect();
    let plain = |value: &Value| is_nothing(value);
    if networks.len() == 1 && networks.get("bridge").is_some_and(plain) {
        networks.clear();
    }
    networks
}

/// Volumes that the engine named for this container alone: their data would stay behind.
fn nameless_volumes(container: &Value) -> BTreeMap<String, String> {
    let mounts = container.get("Mounts").and_then(Value::as_array);
    let nameless = |name: &&str| name.len() == 64 && name.bytes().all(|b| b.is_ascii_hexdigit());
    let mounts = mounts.into_iter().flatten().filter_map(|mount| {
        let text = |key: &str| mount.get(key).and_then(Value::as_str);
        let name = text("Name").filter(nameless)?;
        (text("Type") == Some("volume")).then_some(())?;
        Some((text("Destination")?.to_owned(), name.to_owned()))
    });
    mounts.collect()
}

/// What the engine is told to make instance `index`: the body, and the networks that it joins
/// before it starts (an engine of API 1.41 takes one at creation).
pub(crate) fn told(
    definition: &ContainerDefinition,
    index: u32,
    labels: &[(&str, &str)],
) -> (Value, BTreeMap<String, Value>) {
    let mut body = definition.config.clone();
    let mut all = object(body.get("Labels"));
    if all.contains_key("com.docker.compose.service") {
        all.insert(NUMBER.to_owned(), json!((index + 1).to_string()));
    }
    all.extend(
        labels
            .iter()
            .map(|(label, value)| ((*label).to_owned(), json!(value))),
    );
    body.insert("Labels".to_owned(), Value::Object(all));
    body.insert("Image".to_owned(), json!(definition.image));

    let former = definition.former.get(index as usize);
    let mut host = definition.host_config.clone();
    if let Some(former) = former.filter(|former| !former.volumes.is_empty()) {
        let mut binds = list(host.get("Binds"));
        let taken = |destination: &str| {
            let text = format!(":{destination}");
            let at = |bind: &Value| bind.as_str().is_some_and(|bind| bind.contains(&text));
            list(definition.host_config.get("Binds")).iter().any(at)
        };
        for (destination, volume) in former.volumes.iter().filter(|(to, _)| !taken(to)) {
            binds.push(json!(format!("{volume}:{destination}")));
        }
        host.insert("Binds".to_owned(), Value::Array(binds));
    }
    let mode = host
        .get("NetworkMode")
        .and_then(Value::as_str)
        .map(str::to_owned);
    body.insert("HostConfig".to_owned(), Value::Object(host));

    let mut networks = definition.networks.clone();
    for (network, endpoint) in &mut networks {
        // Only networks that people made know names.
        let Some(former) = former.filter(|_| network != "bridge") else {
            continue;
        };
        let mut kept = object(Some(endpoint));
        let mut aliases = list(kept.get("Aliases"));
        aliases.push(json!(former.name));
        kept.insert("Aliases".to_owned(), Value::Array(aliases));
        *endpoint = Value::Object(kept);
    }
    let first = match mode.as_deref() {
        None | Some("default" | "") => "bridge".to_owned(),
        Some(mode) => mode.to_owned(),
    };
    if let Some(endpoint) = networks.remove(&first) {
        let config = json!({ "EndpointsConfig": { first: endpoint } });
        body.insert("NetworkingConfig".to_owned(), config);
    }
    (Value::Object(body), networks)
}

fn less_list(config: &mut Map<String, Value>, key: &str, image: &Value) {
    let of_image = list(image.get(key));
    if let Some(Value::Array(own)) = config.get_mut(key) {
        own.retain(|one| !of_image.contains(one));
        if own.is_empty() {
            config.remove(key);
        }
    }
}

fn less_object(config: &mut Map<String, Value>, key: &str, image: &Value) {
    let of_image = object(image.get(key));
    if let Some(Value::Object(own)) = config.get_mut(key) {
        own.retain(|name, value| of_image.get(name) != Some(value));
        if own.is_empty() {
            config.remove(key);
        }
    }
}

fn is_nothing(value: &Value) -> bool {
    match value {
        Value::Null => true,
        Value::Array(list) => list.is_empty(),
        Value::Object(map) => map.is_empty(),
        _ => false,
    }
}

fn object(value: Option<&Value>) -> Map<String, Value> {
    value
        .and_then(Value::as_object)
        .cloned()
        .unwrap_or_default()
}

fn list(value: Option<&Value>) -> Vec<Value> {
    value.and_then(Value::as_array).cloned().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    const ID: &str = "8de23fc34c8426d2fe8af871d735365c0f014f9d7bcd9ecdac5d2faadd59e97f";

    fn container(config: Value, host: Value, networks: Value) -> Value {
        json!({
            "Id": ID, "Name": "/shop-web-1", "Image": "sha256:1",
            "Config": config, "HostConfig": host, "NetworkSettings": { "Networks": networks },
        })
    }

    #[test]
    fn what_the_image_says_is_not_said_again() {
        let image = json!({
            "Env": ["PATH=/bin", "A=1"], "Labels": { "maker": "us" }, "Cmd": ["serve"],
            "Entrypoint": ["/web"], "ExposedPorts": { "80/tcp": {} }, "User": "", "WorkingDir": "/w",
        });
        let config = json!({
            "Hostname": "8de23fc34c84", "Image": "web:1", "User": "", "WorkingDir": "/w",
            "Env": ["A=2", "B=3", "PATH=/bin"], "Cmd": ["serve"], "Entrypoint": ["/web"],
            "Labels": { "maker": "us", "team": "shop", NUMBER: "1" },
            "ExposedPorts": { "80/tcp": {}, "81/tcp": {} }, "OnBuild": null, "Tty": true,
        });
        let carried = carried(
            &container(config, json!({ "Binds": null }), json!({})),
            &image,
        );
        let expected = json!({
            "Env": ["A=2", "B=3"], "Labels": { "team": "shop" }, "ExposedPorts": { "81/tcp": {} },
            "Tty": true,
        });
        assert_eq!(Value::Object(carried.config), expected);
        assert_eq!(
            (carried.image_name.as_str(), carried.host_config.len()),
            ("web:1", 0)
        );
    }

    #[test]
    fn a_command_is_the_images_only_with_the_images_entry_point() {
        let image = json!({ "Cmd": ["serve"], "Entrypoint": ["/web"] });
        // Entry point and command of the container, and what has to be said.
        for (entry, command, expected) in [
            (json!(["/web"]), json!(["serve"]), json!({})),
            (json!(["/web"]), json!(["try"]), json!({ "Cmd": ["try"] })),
            (
                json!(["/web"]),
                json!(null),
                json!({ "Entrypoint": ["/web"] }),
            ),
            (
                json!(["/sh"]),
                json!(["serve"]),
                json!({ "Entrypoint": ["/sh"], "Cmd": ["serve"] }),
            ),
            (
                json!(["/sh"]),
                json!(null),
                json!({ "Entrypoint": ["/sh"] }),
            ),
        ] {
            let config = json!({ "Entrypoint": entry, "Cmd": command });
            let carried = carried(&container(config, json!({}), json!({})), &image);
            assert_eq!(Value::Object(carried.config), expected, "{entry} {command}");
        }
    }

    #[test]
    fn replicas_are_one_release_and_each_keeps_what_is_its_own() {
        let volume = "ab".repeat(32);
        let one = |number: &str, id: &str| {
            let mut one = container(
                json!({ "Hostname": id.get(..12), "Labels": {
                    "com.docker.compose.service": "web", NUMBER: number,
                } }),
                json!({ "NetworkMode": "shop_default" }),
                json!({ "shop_default": {
                    "Aliases": [format!("shop-web-{number}"), "web", id.get(..12)],
                    "IPAddress": "10.0.0.7", "IPAMConfig": {},
                }, "front": { "Aliases": null } }),
            );
            one["Id"] = json!(id);
            one["Name"] = json!(format!("/shop-web-{number}"));
            one["Mounts"] = json!([
                { "Type": "volume", "Name": volume, "Destination": "/data" },
                { "Type": "volume", "Name": "named", "Destination": "/named" },
            ]);
            carried(&one, &Value::Null)
        };
        let (first, second) = (one("1", ID), one("2", &"cd".repeat(32)));
        assert_eq!(common(&first), common(&second));
        assert_eq!(
            first.networks["shop_default"],
            json!({ "Aliases": ["web"] })
        );

        let mut both = first;
        both.former.extend(second.former);
        let (body, others) = told(&both, 1, &[("io.rollback.index", "1")]);
        assert_eq!(body["Labels"][NUMBER], "2");
        assert_eq!(body["Labels"]["io.rollback.index"], "1");
        assert_eq!(
            body["HostConfig"]["Binds"],
            json!([format!("{volume}:/data")])
        );
        let joined = &body["NetworkingConfig"]["EndpointsConfig"];
        assert_eq!(
            joined["shop_default"]["Aliases"],
            json!(["web", "shop-web-2"])
        );
        assert_eq!(others["front"], json!({ "Aliases": ["shop-web-2"] }));
    }

    #[test]
    fn a_link_is_told_as_it_was_asked_for() {
        let host = json!({ "Links": ["/db:/web/database"], "NetworkMode": "default" });
        let plain = json!({ "bridge": { "Aliases": null, "IPAddress": "172.17.0.2" } });
        let carried = carried(&container(json!({}), host, plain), &Value::Null);
        assert_eq!(carried.host_config["Links"], json!(["db:database"]));
        assert!(carried.networks.is_empty());
    }
}
