//! The query API as a [`MetricSource`].

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use async_trait::async_trait;
use rollback_core::{
    model::{Query, ReadError, ReadRequest, Reading, Sample, Scope, Secret, Timestamp, Window},
    ports::{MetricSource, SourceCapabilities},
};
use tokio::{sync::Semaphore, task::JoinSet};

use super::{
    answer::{Number, number},
    render::render,
};
use crate::{
    fetch::{Credentials, Fetcher, Limits, SourceError, check_url},
    places::bad_query,
    subject::{Names, tells_apart},
    text::now,
};

/// Asks a Prometheus, or whatever speaks its query API (Thanos, Mimir, VictoriaMetrics).
///
/// Queries are PromQL with placeholders: `{{service}}`, `{{release}}`, `{{arm}}`, `{{instance}}` and
/// `{{address}}` in quoted label values, escaped for where they stand; `{{window}}` in brackets.
/// Each is an instant query at the end of the window.
///
/// | query | answer |
/// |---|---|
/// | `bad:` and `total:`, such as `sum(increase(requests_total{code=~"5.."}[{{window}}]))` | [`Sample::Counts`], rounded to whole events |
/// | `query:` | [`Sample::Gauge`]; a sample that is older than the window's end is of its own time, and goes stale by it |
///
/// | the API answers | here |
/// |---|---|
/// | no series | [`ReadError::NoData`], never 0. A count that has no series before the first error is written `sum(..) or vector(0)` |
/// | several series | [`ReadError::Ambiguous`] |
/// | `NaN`, `+Inf`, `-Inf` | [`ReadError::NotANumber`] |
/// | warnings | a reading that is not complete: a part of the storage did not answer |
/// | 400, 422 | [`ReadError::BadQuery`] with its words |
/// | 429, 503, other errors, no answer in time | [`ReadError::Unreachable`], with `Retry-After` |
///
/// A counter's increase is extrapolated by Prometheus from the samples within the window: let the
/// policy poll no more often than four scrapes take, and see [`scrape_interval`](Self::scrape_interval).
///
/// ```
/// use std::time::Duration;
/// use rollback_core::model::Secret;
/// use rollback_sources::{Limits, PrometheusApi};
///
/// # fn main() -> Result<(), rollback_sources::SourceError> {
/// let prometheus = PrometheusApi::new("http://prometheus:9090", Limits::default())?
///     .scrape_interval(Duration::from_secs(15))
///     .bearer_token(Secret::new("from the environment".to_owned()));
/// # let _ = prometheus;
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Clone)]
pub struct PrometheusApi {
    fetcher: Fetcher,
    /// Up to and with `/api/v1/query`.
    api: Arc<str>,
    credentials: Credentials,
    scrape_interval: Duration,
    at_once: usize,
}

impl PrometheusApi {
    /// The API at an address such as `http://prometheus:9090`, with the path before `/api/v1` if
    /// there is one.
    ///
    /// # Errors
    /// The URL cannot be asked, or the HTTP client cannot be set up.
    pub fn new(url: impl AsRef<str>, limits: Limits) -> Result<Self, SourceError> {
        let url = url.as_ref().trim_end_matches('/');
        check_url(url)?;
        if url.contains(['?', '#']) {
            return Err(SourceError::Url {
                url: url.to_owned(),
                problem: "it has a query; write the address alone, as http://prometheus:9090",
            });
        }
        Ok(Self {
            fetcher: Fetcher::new(limits)?,
            api: Arc::from(format!("{url}/api/v1/query")),
            credentials: Credentials::None,
            scrape_interval: Duration::from_secs(15),
            at_once: 8,
        })
    }

    /// Sends this token with each request.
    #[must_use]
    pub fn bearer_token(mut self, token: Secret<String>) -> Self {
        self.credentials = Credentials::Bearer(token);
        self
    }

    /// Sends this name and password with each request.
    #[must_use]
    pub fn basic_auth(mut self, user: impl Into<String>, password: Secret<String>) -> Self {
        self.credentials = Credentials::Basic {
            user: user.into(),
            password,
        };
        self
    }

    /// How often Prometheus scrapes; 15 s. A window is complete one scrape after its end, and holds
    /// an increase from four scrapes on.
    #[must_use]
    pub const fn scrape_interval(mut self, interval: Duration) -> Self {
        self.scrape_interval = interval;
        self
    }

    /// How many queries are asked at the same time; 8.
    #[must_use]
    pub const fn at_once(mut self, queries: usize) -> Self {
        self.at_once = if queries == 0 { 1 } else { queries };
        self
    }

    /// What has to be asked for a request.
    fn plan(&self, request: &ReadRequest, at: Timestamp) -> Result<Plan, ReadError> {
        if request.window.to > at {
            let retry_at = request.window.to.after(self.scrape_interval);
            return Err(ReadError::NotYet { retry_at });
        }
        let only = match &*request.subject.instances {
            [only] => Some(only),
            _ => None,
        };
        let names = Names::of(request, only);
        let rendered = |query: &str| {
            if !tells_apart(query, &request.scope) {
                let name = match request.scope {
                    Scope::Arm(_) => "release",
                    _ => "instance",
                };
                return Err(bad_query(format!(
                    "`{query}` gives the same answer for all; select by {{{{{name}}}}}"
                )));
            }
            let text = render(query, &names, request.window.length()).map_err(bad_query)?;
            let at = request.window.to;
            Ok(Question { text, at })
        };
        Ok(match &request.query {
            Query::Value(query) => {
                let value = rendered(query)?;
                // Of a selector the time of its sample; of what is computed, the time asked for.
                let text = format!("timestamp({})", value.text);
                let time = Question { text, at: value.at };
                Plan::Value { value, time }
            }
            Query::Counts { bad, total } => Plan::Counts {
                bad: rendered(bad)?,
                total: rendered(total)?,
            },
        })
    }

    async fn ask(self, question: Question) -> Result<Number, ReadError> {
        let millis = question.at.as_millis();
        let time = format!("{}.{:03}", millis.div_euclid(1000), millis.rem_euclid(1000));
        let url = format!("{}?query={}&time={time}", self.api, encoded(&question.text));
        let page = self
            .fetcher
            .get_as(&url, "application/json", &self.credentials)
            .await?;
        number(&self.api, &question.text, &page)
    }
}

/// A query for a moment.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
struct Question {
    text: String,
    at: Timestamp,
}

/// The questions behind one request.
#[derive(Debug)]
enum Plan {
    Value { value: Question, time: Question },
    Counts { bad: Question, total: Question },
}

impl Plan {
    fn questions(&self) -> [&Question; 2] {
        match self {
            Self::Value { value, time } => [value, time],
            Self::Counts { bad, total } => [bad, total],
        }
    }
}

type Answers = BTreeMap<Question, Result<Number, ReadError>>;

#[async_trait]
impl MetricSource for PrometheusApi {
    fn capabilities(&self) -> SourceCapabilities {
        let mut can = SourceCapabilities::live()
            .settling(self.scrape_interval)
            .with_history();
        can.min_window = self.scrape_interval.saturating_mul(4);
        can
    }

    /// Each different query once, a bounded number at the same time.
    async fn read(&self, requests: &[ReadRequest]) -> Vec<Result<Reading, ReadError>> {
        let at = now();
        let plans: Vec<_> = requests
            .iter()
            .map(|request| self.plan(request, at))
            .collect();
        let mut answers: Answers = plans
            .iter()
            .flatten()
            .flat_map(Plan::questions)
            .map(|question| (question.clone(), Err(ReadError::NoData)))
            .collect();
        let slots = Arc::new(Semaphore::new(self.at_once));
        let mut tasks = JoinSet::new();
        for question in answers.keys().cloned() {
            let (source, slots) = (self.clone(), Arc::clone(&slots));
            tasks.spawn(async move {
                let _slot = slots.acquire().await;
                let answer = source.ask(question.clone()).await;
                (question, answer)
            });
        }
        while let Some(done) = tasks.join_next().await {
            if let Ok((question, answer)) = done {
                answers.insert(question, answer);
            }
        }
        let at = now();
        let mut readings = Vec::with_capacity(requests.len());
        for (request, plan) in requests.iter().zip(plans) {
            readings.push(plan.and_then(|plan| reading(request, &plan, &answers, at)));
        }
        readings
    }
}

fn reading(
    request: &ReadRequest,
    plan: &Plan,
    answers: &Answers,
    at: Timestamp,
) -> Result<Reading, ReadError> {
    let of = |question: &Question| {
        let answer = answers.get(question).cloned();
        answer.unwrap_or(Err(ReadError::NoData))
    };
    let (window, sample, partial) = match plan {
        Plan::Value { value, time } => {
            let value = of(value)?;
            let window = match of(time) {
                Ok(time) => until(request.window, time.value),
                // A scalar has no time of its own.
                Err(ReadError::BadQuery { .. } | ReadError::NoData) => request.window,
                Err(other) => return Err(other),
            };
            (window, Sample::Gauge(value.value), value.partial)
        }
        Plan::Counts { bad, total } => {
            let (bad_count, total_count) = (of(bad)?, of(total)?);
            let (bad_whole, total_whole) = (
                whole(&bad.text, bad_count.value)?,
                whole(&total.text, total_count.value)?,
            );
            // Each is extrapolated and rounded by itself.
            if bad_whole > total_whole.saturating_add(1) {
                return Err(bad_query(format!(
                    "`{}` counts {bad_whole}, more than the {total_whole} of `{}`; `bad` must be a part of `total`",
                    bad.text, total.text
                )));
            }
            let sample = Sample::Counts {
                bad: bad_whole.min(total_whole),
                total: total_whole,
            };
            (
                request.window,
                sample,
                bad_count.partial || total_count.partial,
            )
        }
    };
    let reading = Reading::new(window, sample).seen_at(at);
    Ok(if partial { reading.partial() } else { reading })
}

/// The window up to the time of the sample, in seconds since 1970.
#[expect(clippy::cast_possible_truncation, reason = "saturates")]
fn until(window: Window, seconds: f64) -> Window {
    let sample = Timestamp::from_millis((seconds * 1000.0).round() as i64);
    if sample < window.to {
        Window::new(window.from.min(sample), sample)
    } else {
        window
    }
}

#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "finite and not negative; beyond 2^64 it saturates"
)]
fn whole(query: &str, value: f64) -> Result<u64, ReadError> {
    if value < 0.0 {
        return Err(bad_query(format!(
            "`{query}` is {value}, so it counts nothing"
        )));
    }
    Ok(value.round() as u64)
}

/// Percent-encoded, all but letters, digits and `-._~`.
fn encoded(text: &str) -> String {
    let mut encoded = String::with_capacity(text.len() * 2);
    for byte in text.bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => {
                encoded.push(byte.into());
            }
            _ => encoded.push_str(&format!("%{byte:02X}")),
        }
    }
    encoded
}
