//! Fields of a JSON body as a [`MetricSource`].

use std::{collections::BTreeMap, sync::Arc};

use async_trait::async_trait;
use rollback_core::{
    model::{Query, ReadError, ReadRequest, Reading, Sample, Secret, Timestamp, Window},
    ports::{MetricSource, SourceCapabilities},
};
use serde_json::Value;
use tokio::{sync::Semaphore, task::JoinSet};

use crate::{
    fetch::{Fetcher, Limits, Page, SourceError, check_url},
    places::{addresses, bad_query},
    text::now,
};

/// How many addresses are asked at the same time.
const AT_ONCE: usize = 32;

/// Reads fields of a JSON body: of a health endpoint, or of metrics that are told in JSON.
///
/// A query is the name of a field (`error_rate`), with dots for fields within fields
/// (`checks.database.status`).
///
/// | the field holds | answer |
/// |---|---|
/// | a number | [`Sample::Gauge`], in the unit that the service writes it in: let the policy's metric say which |
/// | a text, `true` or `false` | [`Sample::State`] |
/// | nothing, `null` | [`ReadError::NoData`], never 0 |
///
/// If the body tells its time ([`timestamp`](Self::timestamp)), the reading is of that time: a body
/// that is told again and again goes stale. A status other than 200 to 299 is read too if its body
/// has the field, as health endpoints answer 503 with the reason.
///
/// ```
/// use rollback_sources::{HttpJson, Limits};
///
/// # fn main() -> Result<(), rollback_sources::SourceError> {
/// // {"status":"healthy","error_rate":1.5,"availability":99.5,"response_time":150,"timestamp":"…"}
/// let health = HttpJson::of_instances("/health", Limits::default())?;
/// let metrics = HttpJson::at("http://{{address}}/metrics", Limits::default())?;
/// # let _ = (health, metrics);
/// # Ok(())
/// # }
/// ```
/// ```yaml
/// metrics:
///   error_rate: { unit: percent, per: instance, source: health, query: error_rate }
///   status:     { unit: state,   per: instance, source: health, query: status }
/// triggers:
///   - { name: errors, when: 'error_rate > 5%' }
///   - { name: unwell, when: "status != 'healthy'", for: 1m }
/// ```
#[derive(Debug, Clone)]
pub struct HttpJson {
    fetcher: Fetcher,
    /// A path of each instance, or a URL with placeholders.
    place: Arc<str>,
    timestamp: Arc<str>,
    bearer: Option<Secret<String>>,
}

impl HttpJson {
    /// Asks a path of each instance at its own address.
    ///
    /// # Errors
    /// The path does not begin with `/`, or the HTTP client cannot be set up.
    pub fn of_instances(path: impl AsRef<str>, limits: Limits) -> Result<Self, SourceError> {
        let path = path.as_ref();
        if !path.starts_with('/') {
            return Err(SourceError::Url {
                url: path.to_owned(),
                problem: "a path begins with /",
            });
        }
        Self::of(path, limits)
    }

    /// Asks one URL, with placeholders (`{{release}}`, `{{address}}`) where it is another for each.
    ///
    /// # Errors
    /// The URL cannot be asked, or the HTTP client cannot be set up.
    pub fn at(url: impl AsRef<str>, limits: Limits) -> Result<Self, SourceError> {
        let url = url.as_ref();
        // What is filled in is part of a name or an address.
        check_url(&url.replace("{{", "").replace("}}", ""))?;
        Self::of(url, limits)
    }

    /// The field that holds the time of the body, in RFC 3339 or in seconds since 1970; `timestamp`.
    #[must_use]
    pub fn timestamp(mut self, field: impl AsRef<str>) -> Self {
        self.timestamp = Arc::from(field.as_ref());
        self
    }

    /// Sends this token with each request.
    #[must_use]
    pub fn bearer_token(mut self, token: Secret<String>) -> Self {
        self.bearer = Some(token);
        self
    }

    fn of(place: &str, limits: Limits) -> Result<Self, SourceError> {
        Ok(Self {
            fetcher: Fetcher::new(limits)?,
            place: Arc::from(place),
            timestamp: Arc::from("timestamp"),
            bearer: None,
        })
    }

    /// The one URL of a request.
    fn url(&self, request: &ReadRequest) -> Result<String, ReadError> {
        let mut urls = addresses(&self.place, request)?;
        match (urls.pop(), urls.len()) {
            (Some(url), 0) => Ok(url),
            (_, more) => Err(ReadError::Ambiguous {
                series: u32::try_from(more + 1).unwrap_or(u32::MAX),
            }),
        }
    }

    async fn get(self, url: String) -> Got {
        let page = self
            .fetcher
            .get(&url, "application/json", self.bearer.as_ref())
            .await?;
        Ok((parse(&url, &page.body), page, now()))
    }

    fn answer(
        &self,
        request: &ReadRequest,
        url: &str,
        (body, page, at): &(Result<Value, ReadError>, Page, Timestamp),
    ) -> Result<Reading, ReadError> {
        let Query::Value(field) = &request.query else {
            return Err(bad_query(
                "a field of JSON is a value, not a count since some time; write it as `query:`"
                    .to_owned(),
            ));
        };
        let refused = || ReadError::Unreachable {
            why: format!("{url} answered {} without `{field}`", page.status),
            retry_after_ms: page
                .retry_after
                .map(|wait| u64::try_from(wait.as_millis()).unwrap_or(u64::MAX)),
        };
        let well = page.status.is_success();
        let body = match body {
            Ok(body) => body,
            Err(_) if !well => return Err(refused()),
            Err(error) => return Err(error.clone()),
        };
        let sample = match sample(url, field, body) {
            Err(ReadError::NoData) if !well => return Err(refused()),
            other => other?,
        };
        let window = match time_of(url, &self.timestamp, body)? {
            Some(old) if old < request.window.to => Window::new(request.window.from.min(old), old),
            _ => request.window,
        };
        Ok(Reading::new(window, sample).seen_at(*at))
    }
}

type Got = Result<(Result<Value, ReadError>, Page, Timestamp), ReadError>;

#[async_trait]
impl MetricSource for HttpJson {
    fn capabilities(&self) -> SourceCapabilities {
        SourceCapabilities::live()
    }

    /// One request per address, however many questions.
    async fn read(&self, requests: &[ReadRequest]) -> Vec<Result<Reading, ReadError>> {
        let urls: Vec<_> = requests.iter().map(|request| self.url(request)).collect();
        let mut bodies: BTreeMap<String, Got> = urls
            .iter()
            .flatten()
            .map(|url| (url.clone(), Err(ReadError::NoData)))
            .collect();
        let slots = Arc::new(Semaphore::new(AT_ONCE));
        let mut tasks = JoinSet::new();
        for url in bodies.keys().cloned() {
            let (source, slots) = (self.clone(), Arc::clone(&slots));
            tasks.spawn(async move {
                let _slot = slots.acquire().await;
                let got = source.get(url.clone()).await;
                (url, got)
            });
        }
        while let Some(done) = tasks.join_next().await {
            if let Ok((url, got)) = done {
                bodies.insert(url, got);
            }
        }
        let mut readings = Vec::with_capacity(requests.len());
        for (request, url) in requests.iter().zip(urls) {
            readings.push(url.and_then(|url| match bodies.get(&url) {
                Some(Ok(got)) => self.answer(request, &url, got),
                Some(Err(error)) => Err(error.clone()),
                None => Err(ReadError::NoData),
            }));
        }
        readings
    }
}

pub(crate) fn parse(url: &str, body: &[u8]) -> Result<Value, ReadError> {
    match serde_json::from_slice(body) {
        Ok(body @ Value::Object(_)) => Ok(body),
        Ok(_) => Err(unreadable(url, "the JSON is not an object")),
        Err(error) => Err(unreadable(url, &format!("not JSON: {error}"))),
    }
}

/// A field, and fields within it.
fn field<'a>(path: &str, body: &'a Value) -> Option<&'a Value> {
    // A field that has the dots in its own name comes first.
    body.get(path).or_else(|| {
        path.split('.')
            .try_fold(body, |inside, name| inside.get(name))
    })
}

pub(crate) fn sample(url: &str, path: &str, body: &Value) -> Result<Sample, ReadError> {
    if path.is_empty() || path.contains(char::is_whitespace) {
        return Err(bad_query(format!(
            "`{path}` is no field; write its name, such as `error_rate`"
        )));
    }
    match field(path, body) {
        None | Some(Value::Null) => Err(ReadError::NoData),
        Some(Value::Number(number)) => match number.as_f64().filter(|value| value.is_finite()) {
            Some(value) => Ok(Sample::Gauge(value)),
            None => Err(ReadError::NotANumber),
        },
        Some(Value::String(text)) => Ok(Sample::State(Arc::from(text.as_str()))),
        Some(Value::Bool(yes)) => Ok(Sample::State(Arc::from(if *yes {
            "true"
        } else {
            "false"
        }))),
        Some(Value::Array(_) | Value::Object(_)) => Err(bad_query(format!(
            "`{path}` of {url} holds more than one value; write the field within it, as `{path}.NAME`"
        ))),
    }
}

/// The time that the body tells; one that cannot be read is no time, and the body no answer.
pub(crate) fn time_of(url: &str, path: &str, body: &Value) -> Result<Option<Timestamp>, ReadError> {
    let wrong = |told: &str| {
        unreadable(
            url,
            &format!("`{path}` is `{told}`, neither RFC 3339 nor seconds since 1970"),
        )
    };
    match field(path, body) {
        None | Some(Value::Null) => Ok(None),
        Some(Value::String(text)) => match text.parse::<jiff::Timestamp>() {
            Ok(time) => Ok(Some(Timestamp::from_millis(time.as_millisecond()))),
            Err(_) => Err(wrong(text)),
        },
        Some(Value::Number(number)) => match number.as_f64() {
            #[expect(clippy::cast_possible_truncation, reason = "within the bounds")]
            Some(seconds) if (0.0..1e11).contains(&seconds) => {
                Ok(Some(Timestamp::from_millis((seconds * 1000.0) as i64)))
            }
            _ => Err(wrong(&number.to_string())),
        },
        Some(other) => Err(wrong(&other.to_string())),
    }
}

fn unreadable(url: &str, why: &str) -> ReadError {
    ReadError::Unreachable {
        why: format!("the answer of {url} cannot be read: {why}"),
        retry_after_ms: None,
    }
}
