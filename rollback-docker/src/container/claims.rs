//! What a container takes for itself alone, so that no second one with the same claim can run.

use std::collections::BTreeSet;

use serde_json::{Map, Value};

use super::definition::ContainerDefinition;

/// In words: `port 80/tcp of the host`, `the address 10.0.0.5 in shop`.
pub(crate) fn claims(definition: &ContainerDefinition) -> Vec<String> {
    let mut claims = BTreeSet::new();
    let host = &definition.host_config;
    let mode = host.get("NetworkMode").and_then(Value::as_str);
    if mode == Some("host") {
        if let Some(port) = definition.port {
            claims.insert(format!("port {port}/tcp of the host"));
        }
    } else {
        claims.extend(published(host));
    }
    for (network, endpoint) in &definition.networks {
        let plan = endpoint.get("IPAMConfig");
        for key in ["IPv4Address", "IPv6Address"] {
            let address = plan.and_then(|plan| plan.get(key)).and_then(Value::as_str);
            if let Some(address) = address.filter(|address| !address.is_empty()) {
                claims.insert(format!("the address {address} in {network}"));
            }
        }
    }
    let mac = definition.config.get("MacAddress").and_then(Value::as_str);
    if let Some(mac) = mac.filter(|mac| !mac.is_empty()) {
        claims.insert(format!("the hardware address {mac}"));
    }
    claims.into_iter().collect()
}

/// What both want for themselves.
pub(crate) fn clash(a: &ContainerDefinition, b: &ContainerDefinition) -> Option<String> {
    let of_b = claims(b);
    claims(a).into_iter().find(|claim| of_b.contains(claim))
}

/// Ports of the host that are named; a free one, or one of a range, is no claim. Which address of
/// the host it is published on is not looked at: that errs on the careful side.
fn published(host: &Map<String, Value>) -> impl Iterator<Item = String> {
    let bindings = host.get("PortBindings").and_then(Value::as_object);
    bindings.into_iter().flatten().flat_map(|(port, places)| {
        let protocol = port.split('/').nth(1).unwrap_or("tcp").to_owned();
        let places = places.as_array().into_iter().flatten();
        places.filter_map(move |place| {
            let port = place.get("HostPort")?.as_str()?;
            let port: u16 = port.parse().ok()?;
            (port > 0).then(|| format!("port {port}/{protocol} of the host"))
        })
    })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn ports_and_addresses_that_are_named_are_claims() {
        let plain = || ContainerDefinition::new("x");
        let bound = |bindings: Value| plain().with_host_config("PortBindings", bindings);
        let address = json!({ "IPAMConfig": { "IPv4Address": "10.0.0.5" } });
        let mut fixed = plain();
        fixed.networks.insert("shop".to_owned(), address);
        let host = plain().with_host_config("NetworkMode", json!("host"));
        let table: [(ContainerDefinition, &[&str]); 8] = [
            (plain().port(80), &[]),
            (plain().publish(80, 8080), &["port 80/tcp of the host"]),
            (plain().publish(0, 8080), &[]),
            (
                bound(json!({ "53/udp": [{ "HostPort": "53" }] })),
                &["port 53/udp of the host"],
            ),
            (
                bound(json!({ "53/udp": [{ "HostPort": "" }], "54/tcp": null })),
                &[],
            ),
            (
                bound(json!({ "80/tcp": [{ "HostPort": "8000-8010" }] })),
                &[],
            ),
            (fixed, &["the address 10.0.0.5 in shop"]),
            (host.port(80).publish(81, 80), &["port 80/tcp of the host"]),
        ];
        for (definition, expected) in table {
            assert_eq!(claims(&definition), expected, "{definition:?}");
        }
        let (a, b) = (plain().publish(80, 1), plain().publish(80, 2));
        assert_eq!(clash(&a, &b).as_deref(), Some("port 80/tcp of the host"));
        assert_eq!(clash(&a, &plain().publish(81, 1)), None);
    }
}
