//! Who may fetch images from which registry: the logins that the `docker` command keeps, or the
//! host's own.

use std::{
    collections::BTreeMap,
    env, fmt,
    path::{Path, PathBuf},
    process::Stdio,
    sync::Arc,
    time::Duration,
};

use base64::{Engine as _, engine::general_purpose::STANDARD, engine::general_purpose::URL_SAFE};
use rollback_core::model::Secret;
use serde::Deserialize;
use serde_json::{Value, json};
use tokio::{io::AsyncWriteExt as _, process::Command, time::timeout};

/// The registry of an image whose name says none, as logins are kept for it.
const HUB: &str = "https://index.docker.io/v1/";
/// So long a helper may take to give a login.
const HELPER: Duration = Duration::from_secs(10);

/// Logins for registries. Without any, only images that everybody may fetch can be fetched.
///
/// Nothing of a login is ever shown: not by `Debug`, not in an error.
///
/// ```
/// use rollback_core::model::Secret;
/// use rollback_docker::{Engine, Registries};
///
/// let logins = Registries::none().login("r.example:5000", "robot", Secret::new("pw".to_owned()));
/// assert_eq!(format!("{logins:?}"), r#"Registries({"r.example:5000"})"#);
/// let engine = Engine::at("/var/run/docker.sock").registries(logins);
/// ```
#[derive(Clone, Default)]
pub struct Registries {
    logins: Arc<BTreeMap<String, Login>>,
    /// Programs that know the login of one registry, and of all others.
    helpers: Arc<BTreeMap<String, String>>,
    helper: Option<Arc<str>>,
}

#[derive(Debug, Clone)]
enum Login {
    Password {
        user: String,
        password: Secret<String>,
    },
    Token(Secret<String>),
}

/// Why the logins of the `docker` command cannot be read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum RegistriesError {
    /// The file is there and cannot be used.
    #[error("the logins in {}: {why}", path.display())]
    File {
        /// Which file.
        path: PathBuf,
        /// What is wrong with it; never its content.
        why: String,
    },
    /// A credential helper did not give a login.
    #[error("the login for {registry} from `{helper}`: {why}")]
    Helper {
        /// The program.
        helper: String,
        /// For which registry.
        registry: String,
        /// What happened.
        why: String,
    },
}

impl Registries {
    /// No login.
    #[must_use]
    pub fn none() -> Self {
        Self::default()
    }

    /// The logins that `docker login` left in `$DOCKER_CONFIG/config.json`, else in
    /// `~/.docker/config.json`, with its credential helpers; none if there is no such file.
    ///
    /// # Errors
    /// The file is there and cannot be read.
    pub fn of_docker() -> Result<Self, RegistriesError> {
        let folder = match (env::var_os("DOCKER_CONFIG"), env::var_os("HOME")) {
            (Some(folder), _) if !folder.is_empty() => PathBuf::from(folder),
            (_, Some(home)) => Path::new(&home).join(".docker"),
            _ => return Ok(Self::none()),
        };
        Self::of_file(&folder.join("config.json"))
    }

    /// The same from another file.
    ///
    /// # Errors
    /// The file is there and cannot be read.
    pub fn of_file(path: &Path) -> Result<Self, RegistriesError> {
        let failed = |why: String| RegistriesError::File {
            path: path.to_owned(),
            why,
        };
        let text = match std::fs::read(path) {
            Ok(text) => text,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Self::none()),
            Err(error) => return Err(failed(error.to_string())),
        };
        // What serde says may quote the file.
        let written: Written = serde_json::from_slice(&text)
            .map_err(|error| failed(format!("no such JSON (line {})", error.line())))?;
        let mut logins = BTreeMap::new();
        for (registry, entry) in written.auths {
            let token = entry.identitytoken.filter(|token| !token.is_empty());
            let login = match (token, entry.auth.as_deref().unwrap_or_default()) {
                (Some(token), _) => Login::Token(Secret::new(token)),
                // A helper has it.
                (None, "") => continue,
                (None, auth) => decoded(auth)
                    .ok_or_else(|| failed(format!("the login for {registry} cannot be decoded")))?,
            };
            logins.insert(host(&registry).to_owned(), login);
        }
        Ok(Self {
            logins: Arc::new(logins),
            helpers: Arc::new(written.cred_helpers),
            helper: written
                .creds_store
                .filter(|name| !name.is_empty())
                .map(Arc::from),
        })
    }

    /// The same with a login for a registry (`host` or `host:port`; `docker.io` for Docker Hub).
    #[must_use]
    pub fn login(
        mut self,
        registry: impl AsRef<str>,
        user: impl Into<String>,
        password: Secret<String>,
    ) -> Self {
        let login = Login::Password {
            user: user.into(),
            password,
        };
        Arc::make_mut(&mut self.logins).insert(host(registry.as_ref()).to_owned(), login);
        self
    }

    /// What `X-Registry-Auth` says for an image; none without a login. A helper is asked.
    pub(crate) async fn header(
        &self,
        image: &str,
    ) -> Result<Option<Secret<String>>, RegistriesError> {
        if let Some(known) = self.at_hand(image) {
            return Ok(Some(known));
        }
        let registry = of_image(image);
        let helper = self.helpers.get(registry).map(String::as_str);
        match helper.or(self.helper.as_deref()) {
            // What is named by its id is in no registry.
            Some(helper) if !image.starts_with("sha256:") => {
                let login = asked(helper, address(registry)).await?;
                Ok(login.map(|login| login.header(registry)))
            }
            _ => Ok(None),
        }
    }

    /// The same without asking anybody.
    pub(crate) fn at_hand(&self, image: &str) -> Option<Secret<String>> {
        let registry = of_image(image);
        let login = self.logins.get(registry)?;
        (!image.starts_with("sha256:")).then(|| login.header(registry))
    }
}

impl Login {
    fn header(&self, registry: &str) -> Secret<String> {
        let address = address(registry);
        let document = match self {
            Self::Password { user, password } => json!({
                "username": user, "password": password.expose(), "serveraddress": address
            }),
            Self::Token(token) => json!({
                "identitytoken": token.expose(), "serveraddress": address
            }),
        };
        Secret::new(URL_SAFE.encode(document.to_string()))
    }
}

/// Of which registries there is a login of their own.
impl fmt::Debug for Registries {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Registries(")?;
        f.debug_set()
            .entries(self.logins.keys().chain(self.helpers.keys()))
            .finish()?;
        f.write_str(")")
    }
}

/// Docker's `config.json`, as far as it is about logins.
#[derive(Deserialize)]
struct Written {
    #[serde(default)]
    auths: BTreeMap<String, Entry>,
    #[serde(default, rename = "credHelpers")]
    cred_helpers: BTreeMap<String, String>,
    #[serde(default, rename = "credsStore")]
    creds_store: Option<String>,
}

#[derive(Deserialize)]
struct Entry {
    auth: Option<String>,
    identitytoken: Option<String>,
}

/// `user:password` in base 64.
fn decoded(auth: &str) -> Option<Login> {
    let text = String::from_utf8(STANDARD.decode(auth).ok()?).ok()?;
    let (user, password) = text.split_once(':')?;
    Some(Login::Password {
        user: user.to_owned(),
        password: Secret::new(password.trim_end_matches('\0').to_owned()),
    })
}

/// What a credential helper says: `docker-credential-NAME get`, the registry on its input. None if
/// it knows no login.
async fn asked(name: &str, registry: &str) -> Result<Option<Login>, RegistriesError> {
    ask(Path::new(&format!("docker-credential-{name}")), registry).await
}

async fn ask(helper: &Path, registry: &str) -> Result<Option<Login>, RegistriesError> {
    let failed = |why: String| RegistriesError::Helper {
        helper: helper.display().to_string(),
        registry: registry.to_owned(),
        why,
    };
    let answer = async {
        let mut running = Command::new(helper)
            .arg("get")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .kill_on_drop(true)
            .spawn()?;
        if let Some(mut input) = running.stdin.take() {
            // One that does not read tells by its answer what is wrong.
            let _ = input.write_all(registry.as_bytes()).await;
        }
        running.wait_with_output().await
    };
    let output = timeout(HELPER, answer)
        .await
        .map_err(|_| failed(format!("no answer within {HELPER:?}")))?
        .map_err(|error| failed(error.to_string()))?;
    said(output.status.success(), &output.stdout).map_err(failed)
}

/// What a helper's answer means. It holds the secret: none of it is shown, whatever it looks like.
fn said(well: bool, answer: &[u8]) -> Result<Option<Login>, String> {
    if !well {
        return if String::from_utf8_lossy(answer).contains("credentials not found") {
            Ok(None)
        } else {
            Err("it failed; run it by hand to see why".to_owned())
        };
    }
    let told: Option<Value> = serde_json::from_slice(answer).ok();
    let text = |key: &str| Some(told.as_ref()?.get(key)?.as_str()?.to_owned());
    match (text("Username"), text("Secret")) {
        (Some(user), Some(secret)) if user == "<token>" => {
            Ok(Some(Login::Token(Secret::new(secret))))
        }
        (Some(user), Some(secret)) => Ok(Some(Login::Password {
            user,
            password: Secret::new(secret),
        })),
        _ => Err("its answer has no `Username` and `Secret`".to_owned()),
    }
}

/// A registry as it is named in an image: `https://index.docker.io/v1/` is `docker.io`.
fn host(registry: &str) -> &str {
    let plain = registry
        .strip_prefix("https://")
        .or_else(|| registry.strip_prefix("http://"));
    let plain = plain.unwrap_or(registry);
    match plain.split('/').next().unwrap_or(plain) {
        "index.docker.io" | "registry-1.docker.io" => "docker.io",
        host => host,
    }
}

/// A registry as logins for it are kept.
fn address(registry: &str) -> &str {
    if registry == "docker.io" {
        HUB
    } else {
        registry
    }
}

/// The registry that an image's name says: its first part, if that can be no one's name on Docker
/// Hub.
fn of_image(image: &str) -> &str {
    match image.split_once('/') {
        Some((first, _)) if first.contains(['.', ':']) || first == "localhost" => host(first),
        _ => "docker.io",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(text: &str) -> (tempfile::TempDir, PathBuf) {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("config.json");
        std::fs::write(&path, text).unwrap();
        (folder, path)
    }

    async fn told(registries: &Registries, image: &str) -> Option<Value> {
        let header = registries.header(image).await.unwrap()?;
        Some(serde_json::from_slice(&URL_SAFE.decode(header.expose()).unwrap()).unwrap())
    }

    #[test]
    fn an_images_name_says_its_registry() {
        for (image, registry) in [
            ("shop", "docker.io"),
            ("team/shop:1", "docker.io"),
            ("docker.io/team/shop", "docker.io"),
            ("index.docker.io/team/shop", "docker.io"),
            ("localhost/shop", "localhost"),
            ("r.example/team/shop@sha256:aa", "r.example"),
            ("127.0.0.1:5000/shop:1", "127.0.0.1:5000"),
        ] {
            assert_eq!(of_image(image), registry, "{image}");
        }
    }

    #[tokio::test]
    async fn a_login_is_told_to_its_own_registry_only() {
        let auth = STANDARD.encode("robot:p:w");
        let (_folder, path) = file(&format!(
            r#"{{"auths": {{"https://index.docker.io/v1/": {{"identitytoken": "t"}},
                "r.example:5000": {{"auth": "{auth}"}}, "helped.example": {{}}}}}}"#
        ));
        let registries = Registries::of_file(&path).unwrap();
        let own = told(&registries, "r.example:5000/shop:1").await.unwrap();
        assert_eq!(
            (&own["username"], &own["password"]),
            (&json!("robot"), &json!("p:w"))
        );
        let hub = told(&registries, "team/shop").await.unwrap();
        assert_eq!(hub, json!({"identitytoken": "t", "serveraddress": HUB}));
        assert_eq!(told(&registries, "r.example/shop:1").await, None);
        assert_eq!(told(&registries, "helped.example/shop").await, None);
        let shown = format!("{registries:?}");
        assert!(
            !shown.contains("p:w") && !shown.contains("robot"),
            "{shown}"
        );
    }

    #[test]
    fn a_file_that_cannot_be_used_is_named_and_not_quoted() {
        for text in [
            r#"{"auths": {"r.example": {"auth": "hush!"}}}"#,
            r#"{"auths": "hush!"#,
        ] {
            let (_folder, path) = file(text);
            let error = Registries::of_file(&path).unwrap_err().to_string();
            assert!(
                error.contains("config.json") && !error.contains("hush"),
                "{error}"
            );
        }
        let (folder, _) = file("{}");
        assert!(Registries::of_file(&folder.path().join("none")).is_ok());
    }

    #[tokio::test]
    async fn a_helper_is_asked_and_what_it_said_is_not_shown() {
        let password = br#"{"Username":"robot","Secret":"hush"}"#;
        assert!(matches!(
            said(true, password),
            Ok(Some(Login::Password { .. }))
        ));
        let token = br#"{"Username":"<token>","Secret":"hush"}"#;
        assert!(matches!(said(true, token), Ok(Some(Login::Token(_)))));
        let none = b"credentials not found in native keychain";
        assert!(matches!(said(false, none), Ok(None)));
        for (well, answer) in [(false, &b"hush"[..]), (true, br#"{"Secret":"hush"}"#)] {
            assert!(!said(well, answer).unwrap_err().contains("hush"));
        }
        // Programs that are there: one ends well and says nothing useful, one does not.
        for (program, why) in [("echo", "has no `Username`"), ("false", "it failed")] {
            let error = ask(Path::new(program), "r.example").await.unwrap_err();
            assert!(error.to_string().contains(why), "{error}");
        }
        let error = asked("there-is-none", "r.example")
            .await
            .unwrap_err()
            .to_string();
        assert!(error.contains("docker-credential-there-is-none"), "{error}");
    }
}
