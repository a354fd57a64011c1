//! What is known of a service from one call to the next: journal, releases, how it is guarded.

use std::{
    env, fmt, fs,
    path::{Path, PathBuf},
    str::FromStr,
    sync::Arc,
    time::{SystemTime, UNIX_EPOCH},
};

use rollback::{
    model::{ServiceId, Timestamp},
    policy::Policy,
    store::{self, SealingKeyError, SealingKeys, SqliteJournal},
    traffic::Socket,
};
use rollback_docker::Adopt;
use serde::{Deserialize, Serialize};

use crate::{
    cli::GuardedArgs,
    exit::{Fallible, Trouble},
};

/// What to do about a key that is gone.
const WITHOUT_KEY: &str = " with --key. If it is lost for good, begin with a new folder (--state): \
     what runs is taken over as it is, and `history` of the old folder needs no key";

/// The folder that everything lies in, and the file with the key.
#[derive(Debug, Clone)]
pub(crate) struct Place {
    folder: PathBuf,
    key: PathBuf,
}

impl Place {
    pub(crate) fn of(state: Option<PathBuf>, key: Option<PathBuf>) -> Fallible<Self> {
        let folder = state.or_else(default_folder).ok_or_else(|| {
            Trouble::asked("there is no home to keep the journal in; name a folder with --state")
        })?;
        let mut made = fs::DirBuilder::new();
        made.recursive(true);
        #[cfg(unix)]
        std::os::unix::fs::DirBuilderExt::mode(&mut made, 0o700);
        made.create(&folder)
            .map_err(|why| Trouble::asked(format!("{}: {why}", folder.display())))?;
        let key = key.unwrap_or_else(|| folder.join("guard.key"));
        Ok(Self { folder, key })
    }

    fn file(&self) -> PathBuf {
        self.folder.join("guard.db")
    }

    /// Journal and releases, which are sealed: they hold what containers are started with.
    pub(crate) fn journal(&self) -> Fallible<Arc<SqliteJournal>> {
        let keys = SealingKeys::of_journal(self.file(), &self.key).map_err(|error| {
            let gone = matches!(error, SealingKeyError::Gone { .. });
            let hint = if gone { WITHOUT_KEY } else { "" };
            Trouble::asked(format!("{error}{hint}"))
        })?;
        let journal = SqliteJournal::open(self.file()).map_err(Trouble::broke)?;
        Ok(Arc::new(journal.sealed(keys)))
    }

    /// The journal without the releases, for which no key is needed; none if there is none yet.
    pub(crate) fn journal_to_read(&self) -> Fallible<Option<SqliteJournal>> {
        let file = self.file();
        let there = file.try_exists();
        if !there.map_err(|why| Trouble::broke(format!("{}: {why}", file.display())))? {
            return Ok(None);
        }
        SqliteJournal::open(self.file())
            .map(Some)
            .map_err(Trouble::broke)
    }

    /// Who works on a service now; none if nobody does.
    pub(crate) fn guard_of(&self, service: &ServiceId) -> Fallible<Option<String>> {
        let since = SystemTime::now().duration_since(UNIX_EPOCH);
        let now = Timestamp::default().after(since.unwrap_or_default());
        let holder = store::holder(self.file(), service).map_err(Trouble::broke)?;
        Ok(holder.filter(|one| one.until > now).map(|one| one.owner))
    }

    pub(crate) fn folder(&self) -> &Path {
        &self.folder
    }

    fn settings(&self, service: &ServiceId) -> PathBuf {
        let plain = |c: char| c.is_ascii_alphanumeric() || "-_.".contains(c);
        let name: String = service
            .as_str()
            .chars()
            .map(|c| {
                if plain(c) {
                    c.to_string()
                } else {
                    format!("%{:02x}", u32::from(c))
                }
            })
            .collect();
        self.folder.join(format!("service-{name}.json"))
    }
}

fn default_folder() -> Option<PathBuf> {
    let set = |name| {
        env::var_os(name)
            .filter(|value| !value.is_empty())
            .map(PathBuf::from)
    };
    let base = set("XDG_STATE_HOME").or_else(|| Some(set("HOME")?.join(".local/state")));
    Some(base?.join("docker_guard"))
}

/// An HAProxy and one of its backends.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub(crate) struct Haproxy {
    pub(crate) socket: Socket,
    pub(crate) backend: String,
}

impl FromStr for Haproxy {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (socket, backend) = text
            .rsplit_once('/')
            .filter(|(socket, backend)| !socket.is_empty() && !backend.is_empty())
            .ok_or(
                "write SOCKET/BACKEND, such as /run/haproxy/admin.sock/shop or 127.0.0.1:9999/shop",
            )?;
        Ok(Self {
            socket: socket.parse().map_err(|error| format!("{error}"))?,
            backend: backend.to_owned(),
        })
    }
}

impl fmt::Display for Haproxy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.socket, self.backend)
    }
}

impl TryFrom<String> for Haproxy {
    type Error = String;
    fn try_from(text: String) -> Result<Self, String> {
        text.parse()
    }
}

impl From<Haproxy> for String {
    fn from(haproxy: Haproxy) -> Self {
        haproxy.to_string()
    }
}

/// How a service is guarded.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Settings {
    /// The policy's text; none: what `docker_guard` does by itself.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) policy: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) haproxy: Option<Haproxy>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) compose: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) container: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) port: Option<u16>,
    /// Where instances tell their numbers.
    #[serde(default = "metrics_path")]
    pub(crate) metrics: String,
}

fn metrics_path() -> String {
    "/metrics".to_owned()
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            policy: None,
            haproxy: None,
            compose: None,
            container: None,
            port: None,
            metrics: metrics_path(),
        }
    }
}

impl Settings {
    /// What was kept, and what is said now.
    pub(crate) fn said(place: &Place, service: &ServiceId, args: &GuardedArgs) -> Fallible<Self> {
        let mut settings = Self::load(place, service)?.unwrap_or_default();
        if let Some(file) = &args.policy {
            let text = fs::read_to_string(file);
            let text =
                text.map_err(|why| Trouble::asked(format!("policy {}: {why}", file.display())))?;
            Policy::from_yaml(&text)
                .map_err(|why| Trouble::asked(format!("{}: {why}", file.display())))?;
            settings.policy = Some(text);
        }
        if args.haproxy.is_some() {
            settings.haproxy.clone_from(&args.haproxy);
        }
        if args.compose.is_some() || args.container.is_some() {
            settings.compose.clone_from(&args.compose);
            settings.container.clone_from(&args.container);
        }
        settings.port = args.port.or(settings.port);
        if args.metrics != metrics_path() {
            settings.metrics.clone_from(&args.metrics);
        }
        Ok(settings)
    }

    /// What was kept; none if the service is not known.
    pub(crate) fn load(place: &Place, service: &ServiceId) -> Fallible<Option<Self>> {
        let file = place.settings(service);
        let text = match fs::read_to_string(&file) {
            Ok(text) => text,
            Err(why) if why.kind() == std::io::ErrorKind::NotFound => return Ok(None),
            Err(why) => return Err(Trouble::broke(format!("{}: {why}", file.display()))),
        };
        let read = serde_json::from_str(&text);
        read.map(Some)
            .map_err(|why| Trouble::broke(format!("{}: {why}", file.display())))
    }

    /// What was kept of a service that must be known.
    pub(crate) fn known(place: &Place, service: &ServiceId) -> Fallible<Self> {
        Self::load(place, service)?.ok_or_else(|| {
            Trouble::asked(format!(
                "nothing is known of {service} in {}; deploy it first, or name its folder with --state",
                place.folder().display()
            ))
        })
    }

    pub(crate) fn keep(&self, place: &Place, service: &ServiceId) -> Fallible<()> {
        let file = place.settings(service);
        let text = serde_json::to_string_pretty(self).map_err(Trouble::broke)?;
        let new = file.with_extension("new");
        let written = fs::write(&new, text + "\n").and_then(|()| fs::rename(&new, &file));
        written.map_err(|why| Trouble::broke(format!("{}: {why}", file.display())))
    }

    /// Whose containers are taken over.
    pub(crate) fn adopt(&self) -> Fallible<Option<Adopt>> {
        let adopt = match (&self.compose, &self.container) {
            (Some(compose), _) => {
                let (project, service) = compose.split_once('/').ok_or_else(|| {
                    Trouble::asked(format!("--compose {compose}: write PROJECT/SERVICE"))
                })?;
                Adopt::compose(project, service)
            }
            (None, Some(name)) => Adopt::name(name),
            (None, None) => return Ok(None),
        };
        Ok(Some(match self.port {
            Some(port) => adopt.port(port),
            None => adopt,
        }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_proxy_is_a_socket_and_a_backend() {
        for (text, backend) in [
            ("/run/h.sock/shop", "shop"),
            ("127.0.0.1:9999/shop_back", "shop_back"),
        ] {
            let proxy: Haproxy = text.parse().unwrap();
            assert_eq!(
                (proxy.backend.as_str(), proxy.to_string().as_str()),
                (backend, text)
            );
        }
        for text in ["", "shop", "/shop", "/run/h.sock/", "nothing/shop"] {
            assert!(text.parse::<Haproxy>().is_err(), "{text}");
        }
    }

    #[test]
    fn what_was_said_once_is_known_later() {
        let folder = tempfile::tempdir().unwrap();
        let place = Place::of(Some(folder.path().join("state")), None).unwrap();
        let shop = ServiceId::new("team/shop").unwrap();
        assert!(Settings::known(&place, &shop).is_err());
        let settings = Settings {
            haproxy: "/run/h.sock/shop".parse().ok(),
            container: Some("shop".to_owned()),
            port: Some(8080),
            ..Settings::default()
        };
        settings.keep(&place, &shop).unwrap();
        assert_eq!(Settings::known(&place, &shop).unwrap(), settings);
    }
}
