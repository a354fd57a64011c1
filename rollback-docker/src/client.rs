//! One Docker Engine: how it is reached, one request and its answer.

use std::{
    env, fmt,
    path::PathBuf,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use hyper::{Method, body::Bytes};
use rollback_core::model::Secret;
use serde_json::Value;

use crate::{
    error::EngineError,
    registry::Registries,
    wire::{Answered, Asked, Place, ask},
};

/// The newest version of the API that this crate was written for.
const NEWEST: ApiVersion = ApiVersion(1, 47);
/// The oldest one: Docker 20.10.
const OLDEST: ApiVersion = ApiVersion(1, 41);
const DEFAULT_SOCKET: &str = "/var/run/docker.sock";
/// One request, with its answer. Stopping a container takes as long as its own grace period: such
/// a request says how long.
const REQUEST: Duration = Duration::from_secs(20);

/// A Docker Engine. Cheap to clone; opening one asks nothing, and each request is made once.
///
/// ```
/// use rollback_docker::Engine;
///
/// let engine = Engine::at("/var/run/docker.sock");
/// assert_eq!(engine.to_string(), "/var/run/docker.sock");
/// assert!(Engine::parse("ssh://somewhere").is_err());
/// ```
#[derive(Clone)]
pub struct Engine {
    place: Place,
    timeout: Duration,
    registries: Registries,
    version: Arc<Mutex<Option<ApiVersion>>>,
}

/// The parameters of a request.
pub type Query<'a> = &'a [(&'a str, &'a str)];

impl Engine {
    /// The engine that `DOCKER_HOST` names, else the one at the usual socket.
    ///
    /// # Errors
    /// `DOCKER_HOST` names a kind of place that is not supported.
    pub fn from_env() -> Result<Self, EngineError> {
        match env::var("DOCKER_HOST") {
            Ok(host) if !host.is_empty() => Self::parse(&host),
            _ => Ok(Self::at(DEFAULT_SOCKET)),
        }
    }

    /// The engine at a socket file.
    #[must_use]
    pub fn at(socket: impl Into<PathBuf>) -> Self {
        Self::new(Place::Unix(Arc::new(socket.into())))
    }

    /// The engine at an address as `DOCKER_HOST` has it: `unix:///path` or `tcp://host:port`
    /// (without encryption: for a network that nobody else is on).
    ///
    /// # Errors
    /// Another kind of place.
    pub fn parse(host: &str) -> Result<Self, EngineError> {
        if let Some(path) = host.strip_prefix("unix://") {
            return Ok(Self::at(path));
        }
        if let Some(address) = host.strip_prefix("tcp://") {
            return Ok(Self::new(Place::Tcp(address.trim_end_matches('/').into())));
        }
        Err(EngineError::NotSent {
            why: format!(
                "an engine at `{host}` is not supported; use unix:///path/of/socket or tcp://host:port"
            ),
        })
    }

    fn new(place: Place) -> Self {
        Self {
            place,
            timeout: REQUEST,
            registries: Registries::none(),
            version: Arc::default(),
        }
    }

    /// The same, giving up on a request after `timeout` instead of 20 seconds.
    #[must_use]
    pub const fn timeout(mut self, timeout: Duration) -> Self {
        self.timeout = timeout;
        self
    }

    /// The same with logins for the registries of its images.
    #[must_use]
    pub fn registries(mut self, registries: Registries) -> Self {
        self.registries = registries;
        self
    }

    /// Asks for a document.
    ///
    /// # Errors
    /// Any [`EngineError`]; nothing was changed.
    pub async fn get(&self, path: &str, query: Query<'_>) -> Result<Value, EngineError> {
        let answered = self.send(Method::GET, path, query, Body::Nothing).await?;
        answered.document(path)
    }

    /// Asks for what is not a document, such as a log.
    ///
    /// # Errors
    /// Any [`EngineError`]; nothing was changed.
    pub async fn get_bytes(&self, path: &str, query: Query<'_>) -> Result<Bytes, EngineError> {
        let answered = self.send(Method::GET, path, query, Body::Nothing).await?;
        Ok(answered.body)
    }

    /// Sends a document. The answer is null if it has no body.
    ///
    /// # Errors
    /// Any [`EngineError`].
    pub async fn post(
        &self,
        path: &str,
        query: Query<'_>,
        document: &Value,
    ) -> Result<Value, EngineError> {
        let body = Body::Json(document);
        let answered = self.send(Method::POST, path, query, body).await?;
        answered.document(path)
    }

    /// Removes what is at `path`.
    ///
    /// # Errors
    /// Any [`EngineError`].
    pub async fn delete(&self, path: &str, query: Query<'_>) -> Result<(), EngineError> {
        let answered = self.send(Method::DELETE, path, query, Body::Nothing);
        answered.await.map(drop)
    }

    /// Sends an archive, and gives the answer as it is: lines of JSON, as the engine tells its
    /// progress.
    ///
    /// # Errors
    /// Any [`EngineError`].
    pub async fn post_archive(
        &self,
        path: &str,
        query: Query<'_>,
        archive: impl Into<Bytes>,
    ) -> Result<Bytes, EngineError> {
        let body = Body::Archive(archive.into());
        Ok(self.send(Method::POST, path, query, body).await?.body)
    }

    /// Where `bollard` finds the same engine, for what is streamed.
    pub(crate) async fn streams(&self) -> Result<bollard::Docker, EngineError> {
        let not_sent = |error: bollard::errors::Error| EngineError::NotSent {
            why: format!("the engine at {}: {error}", self.place),
        };
        let version = self.version().await?;
        let version = bollard::ClientVersion {
            major_version: usize::from(version.0),
            minor_version: usize::from(version.1),
        };
        match &self.place {
            Place::Unix(path) => bollard::Docker::connect_with_unix(
                &path.to_string_lossy(),
                self.timeout.as_secs().max(1),
                &version,
            )
            .map_err(not_sent),
            Place::Tcp(address) => {
                bollard::Docker::connect_with_http(address, self.timeout.as_secs().max(1), &version)
                    .map_err(not_sent)
            }
        }
    }

    async fn send(
        &self,
        method: Method,
        path: &str,
        query: Query<'_>,
        body: Body<'_>,
    ) -> Result<Answered, EngineError> {
        self.send_for(method, path, query, body, None).await
    }

    /// The login for the registry of an image, as it is sent; none if there is none.
    pub(crate) async fn login(&self, image: &str) -> Result<Option<Secret<String>>, EngineError> {
        let header = self.registries.header(image).await;
        header.map_err(|error| EngineError::NotSent {
            why: error.to_string(),
        })
    }

    /// The same without asking a helper, which may take its time.
    pub(crate) fn login_at_hand(&self, image: &str) -> Option<Secret<String>> {
        self.registries.at_hand(image)
    }

    /// Sends what may need an image of a registry.
    pub(crate) async fn send_for(
        &self,
        method: Method,
        path: &str,
        query: Query<'_>,
        body: Body<'_>,
        login: Option<Secret<String>>,
    ) -> Result<Answered, EngineError> {
        let version = self.version().await?;
        let (content_type, body) = body.bytes(path)?;
        let asked = Asked {
            method,
            path: format!("/v{version}{path}{}", rendered(query)),
            content_type,
            login,
            body,
        };
        let answered = self.in_time(ask(&self.place, asked)).await;
        if matches!(answered, Err(EngineError::NotSent { .. })) {
            // What answers next may be another engine.
            *self.version.lock().unwrap_or_else(PoisonError::into_inner) = None;
        }
        answered?.or_error()
    }

    /// The version that both sides speak, asked for once.
    async fn version(&self) -> Result<ApiVersion, EngineError> {
        let known = *self.version.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(known) = known {
            return Ok(known);
        }
        let asked = Asked {
            method: Method::GET,
            path: "/_ping".to_owned(),
            content_type: "text/plain",
            login: None,
            body: Bytes::new(),
        };
        // Whatever became of the ping, the request behind it has not left.
        let not_sent = |error: EngineError| EngineError::NotSent {
            why: error.to_string(),
        };
        let answered = self.in_time(ask(&self.place, asked)).await;
        let answered = answered.and_then(Answered::or_error).map_err(not_sent)?;
        let theirs = answered.headers.get("api-version");
        let theirs = theirs
            .and_then(|value| value.to_str().ok())
            .and_then(ApiVersion::parse)
            .ok_or_else(|| EngineError::NotSent {
                why: format!(
                    "what answers at {} does not say which Docker API it speaks; is it a Docker Engine?",
                    self.place
                ),
            })?;
        if theirs < OLDEST {
            return Err(EngineError::NotSent {
                why: format!(
                    "the engine at {} speaks Docker API {theirs}; at least {OLDEST} (Docker 20.10) is needed",
                    self.place
                ),
            });
        }
        let version = theirs.min(NEWEST);
        *self.version.lock().unwrap_or_else(PoisonError::into_inner) = Some(version);
        Ok(version)
    }

    async fn in_time(
        &self,
        answer: impl Future<Output = Result<Answered, EngineError>>,
    ) -> Result<Answered, EngineError> {
        match tokio::time::timeout(self.timeout, answer).await {
            Ok(answer) => answer,
            Err(_) => Err(EngineError::MaybeSent {
                why: format!(
                    "the engine at {} did not answer within {:?}",
                    self.place, self.timeout
                ),
            }),
        }
    }
}

impl fmt::Debug for Engine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Engine({})", self.place)
    }
}

impl fmt::Display for Engine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.place.fmt(f)
    }
}

pub(crate) enum Body<'a> {
    Nothing,
    Json(&'a Value),
    Archive(Bytes),
}

impl Body<'_> {
    fn bytes(self, path: &str) -> Result<(&'static str, Bytes), EngineError> {
        Ok(match self {
            Self::Nothing => ("application/json", Bytes::new()),
            Self::Json(document) => {
                let bytes = serde_json::to_vec(document);
                let bytes = bytes.map_err(|error| EngineError::NotSent {
                    why: format!("{path}: {error}"),
                })?;
                ("application/json", bytes.into())
            }
            Self::Archive(bytes) => ("application/x-tar", bytes),
        })
    }
}

impl Answered {
    /// An answer that says no is an error, in the engine's words.
    fn or_error(self) -> Result<Self, EngineError> {
        // 304: it is so already.
        if self.status.is_success() || self.status == hyper::StatusCode::NOT_MODIFIED {
            return Ok(self);
        }
        let words = serde_json::from_slice::<Value>(&self.body).ok();
        let words = words
            .as_ref()
            .and_then(|value| value.get("message")?.as_str())
            .map_or_else(
                || String::from_utf8_lossy(&self.body).trim().to_owned(),
                str::to_owned,
            );
        Err(EngineError::Answer {
            status: self.status.as_u16(),
            message: words,
        })
    }

    pub(crate) fn document(&self, path: &str) -> Result<Value, EngineError> {
        if self.body.is_empty() {
            return Ok(Value::Null);
        }
        serde_json::from_slice(&self.body).map_err(|error| EngineError::Garbled {
            path: path.to_owned(),
            why: error.to_string(),
        })
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct ApiVersion(u16, u16);

impl ApiVersion {
    fn parse(text: &str) -> Option<Self> {
        let (major, minor) = text.split_once('.')?;
        Some(Self(major.parse().ok()?, minor.parse().ok()?))
    }
}

impl fmt::Display for ApiVersion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.0, self.1)
    }
}

/// `?a=b&c=d`, with everything escaped that is not a letter, a digit or one of `-._~`.
fn rendered(query: Query<'_>) -> String {
    let mut text = String::new();
    for (name, value) in query {
        text.push(if text.is_empty() { '?' } else { '&' });
        escape_into(&mut text, name);
        text.push('=');
        escape_into(&mut text, value);
    }
    text
}

fn escape_into(text: &mut String, value: &str) {
    for byte in value.bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => {
                text.push(char::from(byte));
            }
            other => text.push_str(&format!("%{other:02X}")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parameters_are_escaped() {
        let filters = [("all", "true"), ("filters", r#"{"label":["a=b c"]}"#)];
        assert_eq!(
            rendered(&filters),
            "?all=true&filters=%7B%22label%22%3A%5B%22a%3Db%20c%22%5D%7D"
        );
        assert_eq!(rendered(&[]), "");
    }

    #[test]
    fn versions_are_compared_as_numbers() {
        assert!(ApiVersion::parse("1.9") < ApiVersion::parse("1.41"));
        assert_eq!(ApiVersion::parse("1"), None);
    }

    #[tokio::test]
    async fn an_engine_that_is_not_there_says_what_to_do() {
        let engine = Engine::at("/nonexistent/docker.sock");
        let error = engine.get("/info", &[]).await.unwrap_err();
        assert!(
            matches!(&error, EngineError::NotSent { why } if why.contains("is Docker running"))
        );
    }
}
