//! Which containers that others made are those of a service.

use serde_json::{Value, json};

use super::{
    look::{id_of, label},
    names,
};

/// The containers of a service that runs already, started by `docker run` or by Compose. They are
/// instances of a release whose definition is read from them. Nothing is changed until the first
/// change is asked for.
///
/// ```
/// use rollback_docker::Adopt;
///
/// let web = Adopt::compose("shop", "web").port(8080);
/// let single = Adopt::name("checkout");
/// let labelled = Adopt::label("com.example.service", "checkout");
/// # let _ = (web, single, labelled);
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Adopt {
    by: By,
    pub(crate) port: Option<u16>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum By {
    Name(String),
    Labels(Vec<String>),
}

impl Adopt {
    /// The containers of a service of a Compose project, but none that `docker compose run` made.
    #[must_use]
    pub fn compose(project: impl AsRef<str>, service: impl AsRef<str>) -> Self {
        let labels = vec![
            format!("com.docker.compose.project={}", project.as_ref()),
            format!("com.docker.compose.service={}", service.as_ref()),
        ];
        Self {
            by: By::Labels(labels),
            port: None,
        }
    }

    /// The container of this name.
    #[must_use]
    pub fn name(name: impl Into<String>) -> Self {
        Self {
            by: By::Name(name.into()),
            port: None,
        }
    }

    /// The containers with this label.
    #[must_use]
    pub fn label(name: impl AsRef<str>, value: impl AsRef<str>) -> Self {
        let label = format!("{}={}", name.as_ref(), value.as_ref());
        Self {
            by: By::Labels(vec![label]),
            port: None,
        }
    }

    /// The port inside the containers that serves; else the only TCP port that they expose.
    #[must_use]
    pub const fn port(mut self, port: u16) -> Self {
        self.port = Some(port);
        self
    }

    /// The engine's filters that find at least these containers.
    pub(crate) fn filters(&self) -> Value {
        match &self.by {
            By::Name(name) => json!({ "name": [name] }),
            By::Labels(labels) => json!({ "label": labels }),
        }
    }

    /// Whether a container that was found is one of them.
    pub(crate) fn takes(&self, found: &Value) -> bool {
        let ours = label(found, names::SERVICE).is_some();
        let once = label(found, "com.docker.compose.oneoff") == Some("True");
        let named = match &self.by {
            By::Name(name) => {
                let names = found.get("Names").and_then(Value::as_array);
                let mut names = names.into_iter().flatten().filter_map(Value::as_str);
                names.any(|one| one.trim_start_matches('/') == name)
            }
            By::Labels(_) => true,
        };
        named && !ours && !once
    }

    /// The order of the containers: as Compose numbers them, else by name.
    pub(crate) fn order(&self, container: &Value) -> (u32, String, String) {
        let config = container.get("Config");
        let number = config.and_then(|config| label(config, "com.docker.compose.container-number"));
        let number = number.and_then(|text| text.parse().ok());
        let name = super::carried::name(container);
        (
            number.unwrap_or(0),
            name.to_owned(),
            id_of(container).to_owned(),
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_whole_names_and_nothing_of_ours_are_taken() {
        let found = |name: &str, labels: Value| json!({ "Names": [name], "Labels": labels });
        let (name, compose) = (Adopt::name("web"), Adopt::compose("shop", "web"));
        for (adopt, container, expected) in [
            (&name, found("/web", json!({})), true),
            (&name, found("/web-2", json!({})), false),
            (
                &name,
                found("/web", json!({ "io.rollback.service": "x" })),
                false,
            ),
            (
                &compose,
                found("/x", json!({ "com.docker.compose.oneoff": "False" })),
                true,
            ),
            (
                &compose,
                found("/x", json!({ "com.docker.compose.oneoff": "True" })),
                false,
            ),
        ] {
            assert_eq!(adopt.takes(&container), expected, "{container}");
        }
    }
}
