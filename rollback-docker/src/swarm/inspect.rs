//! What the engine of this node knows about a task beyond Swarm's word: what its container really
//! runs, and where it answers.

use std::{collections::BTreeMap, sync::PoisonError};

use rollback_core::model::{ChangeError, ServiceId};
use serde_json::Value;

use super::{
    SwarmDeployer,
    memory::Inspected,
    read::{ServiceSeen, TaskSeen, text},
    release::{content_in_name, content_of, image_of},
};

impl SwarmDeployer {
    /// What the containers of this node run, and where they answer. Those of other nodes are not
    /// found: their tasks count by name.
    pub(super) async fn inspect(
        &self,
        of: &ServiceId,
        service: &ServiceSeen,
        tasks: &[TaskSeen],
    ) -> Result<(), ChangeError> {
        for task in tasks {
            let Some(container) = &task.container else {
                continue;
            };
            let named = content_in_name(image_of(&task.spec)).is_some();
            let reachable = match task.node_ports.len() {
                0 => !task.addresses.is_empty() && service.port().is_some(),
                // One port each for IPv4 and IPv6: only the engine knows which is which.
                ports => ports == 1,
            };
            let known = self.remembered(of, |memory| memory.containers.contains_key(&task.id));
            let settled = task.state == "running" || task.has_ended() || task.is_gone();
            if known || !settled || (named && reachable) {
                continue;
            }
            let path = format!("/containers/{container}/json");
            let inspected = match self.engine.get(&path, &[]).await {
                Ok(found) => self.inspected(&task.spec, &found).await?,
                Err(error) if error.is_not_found() => Inspected::default(),
                Err(error) => return Err(error.of_look()),
            };
            self.remembered(of, |memory| {
                memory.containers.insert(task.id.clone(), inspected);
            });
        }
        Ok(())
    }

    async fn inspected(&self, template: &Value, found: &Value) -> Result<Inspected, ChangeError> {
        let name = image_of(template);
        let content = match (content_in_name(name), text(found, "/Image")) {
            (None, Some(id)) => Some(match self.engine.image(id).await {
                Ok(image) => content_of(&image, name),
                Err(error) if error.is_not_found() => id.to_owned(),
                Err(error) => return Err(error.of_look()),
            }),
            _ => None,
        };
        let networks = found.pointer("/NetworkSettings/Networks");
        let networks = networks.and_then(Value::as_object);
        let mut addresses = networks.into_iter().flatten().filter_map(|(_, network)| {
            let address = text(network, "/IPAddress")?;
            (!address.is_empty()).then(|| address.to_owned())
        });
        let node_ports = found.pointer("/NetworkSettings/Ports");
        let node_ports = node_ports.and_then(Value::as_object).into_iter().flatten();
        let mut node_ports = node_ports
            .filter_map(|(_, bindings)| bindings.as_array())
            .flatten()
            .filter(|binding| !text(binding, "/HostIp").unwrap_or_default().contains(':'))
            .filter_map(|binding| text(binding, "/HostPort")?.parse().ok());
        let ports = found.pointer("/Config/ExposedPorts");
        let mut ports = ports.and_then(Value::as_object).into_iter().flatten();
        Ok(Inspected {
            content,
            address: addresses.next(),
            node_port: node_ports.next(),
            port: ports.find_map(|(port, _)| port.strip_suffix("/tcp")?.parse().ok()),
        })
    }

    /// The addresses of nodes whose ports are taken by instances.
    pub(super) async fn node_addresses(&self, tasks: &[TaskSeen]) -> BTreeMap<String, String> {
        let mut addresses = BTreeMap::new();
        for task in tasks.iter().filter(|task| !task.node_ports.is_empty()) {
            let Some(node) = &task.node else { continue };
            if addresses.contains_key(node) {
                continue;
            }
            if let Some(address) = self.node_address(node).await {
                addresses.insert(node.clone(), address);
            }
        }
        addresses
    }

    async fn node_address(&self, node: &str) -> Option<String> {
        let known = {
            let nodes = self.nodes.lock().unwrap_or_else(PoisonError::into_inner);
            nodes.get(node).cloned()
        };
        if known.is_some() {
            return known;
        }
        let found = self.engine.get(&format!("/nodes/{node}"), &[]).await.ok()?;
        let told = text(&found, "/Status/Addr").unwrap_or_default();
        // A swarm of one node may not know where it is.
        let address = match told {
            "" | "0.0.0.0" => "127.0.0.1",
            told => told,
        };
        let mut nodes = self.nodes.lock().unwrap_or_else(PoisonError::into_inner);
        nodes.insert(node.to_owned(), address.to_owned());
        Some(address.to_owned())
    }
}

/// Where an instance answers.
pub(super) fn address(
    service: &ServiceSeen,
    task: &TaskSeen,
    inspected: Option<&Inspected>,
    nodes: &BTreeMap<String, String>,
) -> Option<String> {
    let node_port = inspected.and_then(|inspected| inspected.node_port);
    let told = task.node_ports.first().copied();
    if let (Some(told), Some(node)) = (told, &task.node) {
        let port = node_port.unwrap_or(told);
        return Some(format!("{}:{port}", nodes.get(node)?));
    }
    let own = inspected.and_then(|inspected| inspected.address.as_ref());
    let address = task.addresses.first().or(own)?;
    let port = service
        .port()
        .or_else(|| inspected.and_then(|inspected| inspected.port));
    Some(match port {
        Some(port) => format!("{address}:{port}"),
        None => address.clone(),
    })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn an_instance_answers_at_its_nodes_port_or_at_its_own_address() {
        let service = |spec: Value| {
            ServiceSeen::of(&json!({"ID": "s", "Version": {"Index": 1}, "Spec": spec})).unwrap()
        };
        let task = |more: Value| {
            let mut task = json!({"ID": "t", "CreatedAt": "2026-01-01T00:00:00Z", "Spec": {},
                "NodeID": "n"});
            let map = task.as_object_mut().unwrap();
            map.extend(more.as_object().unwrap().clone());
            TaskSeen::of(&task).unwrap()
        };
        let nodes = BTreeMap::from([("n".to_owned(), "10.1.1.1".to_owned())]);
        let published = service(json!({"EndpointSpec": {"Ports": [{"TargetPort": 80}]}}));
        let plain = service(json!({}));
        let on_node = task(json!({"Status": {"PortStatus": {"Ports": [
            {"PublishMode": "host", "PublishedPort": 8081}]}}}));
        let in_network = task(json!({"NetworksAttachments": [
            {"Network": {"Spec": {"Name": "mine"}}, "Addresses": ["10.0.1.2/24"]}]}));
        let nowhere = task(json!({}));
        let inspected = Inspected {
            content: None,
            address: Some("172.17.0.2".to_owned()),
            node_port: Some(32_808),
            port: Some(8080),
        };
        let cases = [
            (
                &published,
                &on_node,
                Some(&inspected),
                Some("10.1.1.1:32808"),
            ),
            (&published, &on_node, None, Some("10.1.1.1:8081")),
            (&published, &in_network, None, Some("10.0.1.2:80")),
            (&plain, &in_network, None, Some("10.0.1.2")),
            (&plain, &nowhere, Some(&inspected), Some("172.17.0.2:8080")),
            (
                &published,
                &nowhere,
                Some(&inspected),
                Some("172.17.0.2:80"),
            ),
            (&published, &nowhere, None, None),
        ];
        for (service, task, inspected, expected) in cases {
            let found = address(service, task, inspected, &nodes);
            assert_eq!(found.as_deref(), expected);
        }
    }
}
