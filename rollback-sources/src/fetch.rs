//! One bounded HTTP request: bounded in time, in size, in redirects. It retries nothing.

use std::{error::Error as _, time::Duration};

use reqwest::{
    Client, StatusCode,
    header::{CONTENT_ENCODING, HeaderMap, RETRY_AFTER},
    redirect::{Attempt, Policy},
};
use rollback_core::model::{ReadError, Secret, duration_text};

/// What one answer may cost.
///
/// ```
/// use std::time::Duration;
/// use rollback_sources::Limits;
///
/// let limits = Limits::default().total(Duration::from_secs(2)).body_bytes(4 << 20);
/// assert_eq!(limits, Limits::default().body_bytes(4 << 20).total(Duration::from_secs(2)));
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct Limits {
    connect: Duration,
    total: Duration,
    body_bytes: usize,
    redirects: usize,
}

impl Limits {
    /// Longest wait for a connection; 1 s.
    #[must_use]
    pub const fn connect(mut self, limit: Duration) -> Self {
        self.connect = limit;
        self
    }

    /// Longest wait for the whole answer; 3 s.
    #[must_use]
    pub const fn total(mut self, limit: Duration) -> Self {
        self.total = limit;
        self
    }

    /// Largest answer; 1 MiB.
    #[must_use]
    pub const fn body_bytes(mut self, limit: usize) -> Self {
        self.body_bytes = limit;
        self
    }

    /// Most redirects, on the same host and port; 3.
    #[must_use]
    pub const fn redirects(mut self, limit: usize) -> Self {
        self.redirects = limit;
        self
    }
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            connect: Duration::from_secs(1),
            total: Duration::from_secs(3),
            body_bytes: 1 << 20,
            redirects: 3,
        }
    }
}

/// Why a source cannot be made.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SourceError {
    /// Not an address that can be asked.
    #[error("`{url}` cannot be asked: {problem}")]
    Url {
        /// Without what stands before an `@`.
        url: String,
        /// What is wrong, and what to write instead.
        problem: &'static str,
    },
    /// The HTTP client could not be set up.
    #[error("the HTTP client cannot be set up: {0}")]
    Client(String),
}

/// Who asks.
#[derive(Debug, Clone)]
pub(crate) enum Credentials {
    None,
    Bearer(Secret<String>),
    #[cfg_attr(
        not(feature = "prometheus-api"),
        expect(dead_code, reason = "for the API alone")
    )]
    Basic {
        user: String,
        password: Secret<String>,
    },
}

/// An answer, whatever its status.
#[derive(Debug)]
pub(crate) struct Page {
    pub(crate) status: StatusCode,
    pub(crate) body: Vec<u8>,
    pub(crate) retry_after: Option<Duration>,
}

/// Why there is no answer.
#[derive(Debug)]
pub(crate) enum FetchError {
    /// Nobody answers: refused, reset, or too slow.
    Silent(String),
    /// Somebody answers what cannot be used: too much, in circles, not HTTP, cut off.
    Unusable(String),
    /// The address makes no sense.
    Address(String),
}

impl From<FetchError> for ReadError {
    fn from(error: FetchError) -> Self {
        match error {
            FetchError::Silent(why) | FetchError::Unusable(why) => Self::Unreachable {
                why,
                retry_after_ms: None,
            },
            FetchError::Address(why) => Self::BadQuery { why },
        }
    }
}

/// A client with its limits.
#[derive(Debug, Clone)]
pub(crate) struct Fetcher {
    client: Client,
    limits: Limits,
}

impl Fetcher {
    pub(crate) fn new(limits: Limits) -> Result<Self, SourceError> {
        let most = limits.redirects;
        let client = Client::builder()
            // The instances are near; a proxy of the environment would answer in their place.
            .no_proxy()
            .user_agent(concat!("rollback/", env!("CARGO_PKG_VERSION")))
            .connect_timeout(limits.connect)
            .timeout(limits.total)
            .redirect(Policy::custom(move |attempt| follow(attempt, most)))
            .build()
            .map_err(|error| SourceError::Client(error.to_string()))?;
        Ok(Self { client, limits })
    }

    /// Whether a request that took so long without an answer was given up for its time.
    pub(crate) fn is_late(&self, took: Duration) -> bool {
        took >= self.limits.connect.min(self.limits.total)
    }

    /// Gets a page; `accept` says what is understood.
    pub(crate) async fn get(
        &self,
        url: &str,
        accept: &'static str,
        bearer: Option<&Secret<String>>,
    ) -> Result<Page, FetchError> {
        let credentials = bearer.map_or(Credentials::None, |token| {
            Credentials::Bearer(token.clone())
        });
        self.get_as(url, accept, &credentials).await
    }

    /// The same for whoever these are.
    pub(crate) async fn get_as(
        &self,
        url: &str,
        accept: &'static str,
        credentials: &Credentials,
    ) -> Result<Page, FetchError> {
        check_url(url).map_err(|error| FetchError::Address(error.to_string()))?;
        let mut request = self.client.get(url).header("Accept", accept);
        request = match credentials {
            Credentials::None => request,
            Credentials::Bearer(token) => request.bearer_auth(token.expose()),
            Credentials::Basic { user, password } => {
                request.basic_auth(user, Some(password.expose()))
            }
        };
        let answer = request
            .send()
            .await
            .map_err(|error| self.explained(url, &error))?;
        let status = answer.status();
        let retry_after = retry_after(answer.headers());
        if let Some(encoding) = answer
            .headers()
            .get(CONTENT_ENCODING)
            .filter(|e| *e != "identity")
        {
            let encoding = String::from_utf8_lossy(encoding.as_bytes()).into_owned();
            return Err(FetchError::Unusable(format!(
                "{url} answered with {encoding} compression, which was not asked for"
            )));
        }
        let body = self.body(url, answer).await?;
        Ok(Page {
            status,
            body,
            retry_after,
        })
    }

    /// Reads up to the limit and not a chunk more.
    async fn body(&self, url: &str, mut answer: reqwest::Response) -> Result<Vec<u8>, FetchError> {
        let limit = self.limits.body_bytes;
        let too_large = || {
            let why = format!(
                "{url} answered more than {limit} bytes; ask for less, or raise the limit on the body"
            );
            FetchError::Unusable(why)
        };
        if answer
            .content_length()
            .is_some_and(|length| length > limit as u64)
        {
            return Err(too_large());
        }
        let mut body = Vec::new();
        while let Some(chunk) = answer
            .chunk()
            .await
            .map_err(|error| self.explained(url, &error))?
        {
            if body.len() + chunk.len() > limit {
                return Err(too_large());
            }
            body.extend_from_slice(&chunk);
        }
        Ok(body)
    }

    fn explained(&self, url: &str, error: &reqwest::Error) -> FetchError {
        let Limits { connect, total, .. } = self.limits;
        if error.is_timeout() {
            let (what, limit) = if error.is_connect() {
                ("connection", connect)
            } else {
                ("answer", total)
            };
            return FetchError::Silent(format!(
                "no {what} from {url} within {}",
                duration_text(limit)
            ));
        }
        // The innermost cause says what happened; the outer ones repeat the address.
        let mut cause = error.source();
        let mut text = error.to_string();
        let mut is_http = true;
        while let Some(inner) = cause {
            text = inner.to_string();
            is_http &= !inner.downcast_ref().is_some_and(hyper::Error::is_parse);
            cause = inner.source();
        }
        if error.is_redirect() {
            FetchError::Unusable(format!("{url} {text}"))
        } else if !is_http {
            FetchError::Unusable(format!("{url} did not answer in HTTP: {text}"))
        } else if error.is_connect() {
            FetchError::Silent(format!("no connection to {url}: {text}"))
        } else if error.is_request() {
            FetchError::Silent(format!("no answer from {url}: {text}"))
        } else {
            FetchError::Unusable(format!("the answer of {url} was cut off: {text}"))
        }
    }
}

/// What is wrong with an address, if anything.
pub(crate) fn check_url(url: &str) -> Result<(), SourceError> {
    let problem = match reqwest::Url::parse(url) {
        Err(_) => "it is not a URL; write http://HOST:PORT/PATH",
        Ok(parsed) if parsed.scheme() == "https" => {
            "TLS is not built in; ask the instance itself over http, or a proxy that speaks TLS for it"
        }
        Ok(parsed) if parsed.scheme() != "http" => "only http is understood",
        Ok(parsed) if !parsed.username().is_empty() || parsed.password().is_some() => {
            "it holds credentials; give them with `bearer_token` instead"
        }
        Ok(_) => return Ok(()),
    };
    let shown = match url.rsplit_once('@') {
        Some((_, rest)) => format!("***@{rest}"),
        None => url.to_owned(),
    };
    Err(SourceError::Url {
        url: shown,
        problem,
    })
}

/// Follows within the same host and port: numbers of another host are not this instance's.
fn follow(attempt: Attempt<'_>, most: usize) -> reqwest::redirect::Action {
    let first = attempt.previous().first();
    let origin = |url: &reqwest::Url| {
        (
            url.scheme().to_owned(),
            url.host_str().map(str::to_owned),
            url.port_or_known_default(),
        )
    };
    let away = first.is_some_and(|first| origin(first) != origin(attempt.url()));
    if away {
        let host = attempt.url().host_str().unwrap_or("nowhere").to_owned();
        return attempt.error(format!(
            "redirects to {host}, another address, whose answer would not be this one's; ask that address itself"
        ));
    }
    if attempt.previous().len() > most {
        return attempt.error(format!(
            "redirects more than {most} times; correct the path"
        ));
    }
    attempt.follow()
}

/// `Retry-After` in seconds; a date is not worth a clock here.
fn retry_after(headers: &HeaderMap) -> Option<Duration> {
    let seconds = headers
        .get(RETRY_AFTER)?
        .to_str()
        .ok()?
        .trim()
        .parse()
        .ok()?;
    Some(Duration::from_secs(seconds))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_checked_and_shown_without_credentials() {
        for (url, says) in [
            ("metrics", "not a URL"),
            ("https://a/metrics", "TLS"),
            ("ftp://a/metrics", "only http"),
            ("http://user:hunter2@a/metrics", "***@a/metrics"),
        ] {
            let error = check_url(url).unwrap_err().to_string();
            assert!(
                error.contains(says) && !error.contains("hunter2"),
                "{error}"
            );
        }
        check_url("http://127.0.0.1:8080/metrics").unwrap();
    }
}
