//! The Prometheus text format as a [`MetricSource`]: numbers from the instances themselves.

use std::{
    collections::BTreeMap,
    sync::Arc,
    time::{SystemTime, UNIX_EPOCH},
};

use async_trait::async_trait;
use rollback_core::{
    model::{
        Instance, Query, ReadError, ReadRequest, Reading, Sample, Scope, Secret, Timestamp, Window,
    },
    ports::{MetricSource, SourceCapabilities},
};
use tokio::{sync::Semaphore, task::JoinSet};

use crate::{
    exposition::{self, Series},
    fetch::{FetchError, Fetcher, Limits, SourceError, check_url},
    selector::Expression,
    subject::{Names, tells_apart},
};

/// What this source understands; the version asks for the format and not for its successors.
const ACCEPT: &str = "text/plain;version=0.0.4";

/// How many instances are asked at the same time.
const AT_ONCE: usize = 32;

/// The series that says when a process began, in seconds since 1970.
const PROCESS_START: &str = "process_start_time_seconds";

/// Scrapes the Prometheus text format, from each instance or from one address.
///
/// Queries are selectors (`http_requests_total{code=~"5.."}`) or `above(0.5, HISTOGRAM)`, the
/// events of a histogram above one of its bounds. Not PromQL: rates, sums over time and resets
/// belong to the engine, which is given running totals since the process's start.
///
/// | query | answer |
/// |---|---|
/// | `bad:` and `total:` | the sums of all matching series, as [`Sample::Cumulative`]; ask it `per: instance` |
/// | `query:` | the one matching series, as [`Sample::Gauge`]; several are [`ReadError::Ambiguous`] |
///
/// A series that is not there is [`ReadError::NoData`]. One exception: if the metric is there with
/// the labels that the query names, and only none with these values (no `code="500"` beside
/// `code="200"`), then that did not happen yet, and counts 0.
///
/// ```
/// use rollback_sources::{Limits, PrometheusText};
///
/// # fn main() -> Result<(), rollback_sources::SourceError> {
/// let instances = PrometheusText::of_instances("/metrics", Limits::default())?;
/// let proxy = PrometheusText::at("http://127.0.0.1:8404/metrics", Limits::default())?;
/// # let _ = (instances, proxy);
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Clone)]
pub struct PrometheusText {
    fetcher: Fetcher,
    target: Target,
    bearer: Option<Secret<String>>,
}

#[derive(Debug, Clone)]
enum Target {
    /// This path of each instance.
    Instances(String),
    /// One address, whoever is asked about.
    One(String),
}

impl PrometheusText {
    /// Asks each instance at its own address.
    ///
    /// # Errors
    /// The path does not begin with `/`, or the HTTP client cannot be set up.
    pub fn of_instances(path: impl Into<String>, limits: Limits) -> Result<Self, SourceError> {
        let path = path.into();
        if !path.starts_with('/') {
            return Err(SourceError::Url {
                url: path,
                problem: "a path begins with /",
            });
        }
        Self::of(Target::Instances(path), limits)
    }

    /// Asks one address, for example a proxy that counts for all. A metric `per: arm` or `per:
    /// instance` must then tell them apart in its query, by `{{release}}` or `{{instance}}`.
    ///
    /// # Errors
    /// The URL cannot be asked, or the HTTP client cannot be set up.
    pub fn at(url: impl Into<String>, limits: Limits) -> Result<Self, SourceError> {
        let url = url.into();
        check_url(&url)?;
        Self::of(Target::One(url), limits)
    }

    /// Sends this token with each request.
    #[must_use]
    pub fn bearer_token(mut self, token: Secret<String>) -> Self {
        self.bearer = Some(token);
        self
    }

    fn of(target: Target, limits: Limits) -> Result<Self, SourceError> {
        Ok(Self {
            fetcher: Fetcher::new(limits)?,
            target,
            bearer: None,
        })
    }

    /// Where a request is answered, and by whom.
    fn place<'a>(
        &self,
        request: &'a ReadRequest,
    ) -> Result<(String, Option<&'a Instance>), ReadError> {
        let instances = &request.subject.instances;
        match &self.target {
            Target::One(url) => {
                let queries = match &request.query {
                    Query::Value(query) => vec![query],
                    Query::Counts { bad, total } => vec![bad, total],
                };
                if let Some(query) = queries.iter().find(|q| !tells_apart(q, &request.scope)) {
                    let name = if matches!(request.scope, Scope::Arm(_)) { "release" } else { "instance" };
                    return Err(bad_query(format!(
                        "`{query}` gives {url} the same answer for all; select by {{{{{name}}}}}"
                    )));
                }
                // With one instance in scope its names can be filled in.
                let only = match &**instances {
                    [only] => Some(only),
                    _ => None,
                };
                Ok((url.clone(), only))
            }
            Target::Instances(path) => match (&**instances, &request.query) {
                ([only], _) => match &only.address {
                    Some(address) => Ok((format!("http://{address}{path}"), Some(only))),
                    None => Err(ReadError::Unreachable {
                        why: format!("the platform tells no address of the instance {}", only.id),
                        retry_after_ms: None,
                    }),
                },
                ([], _) if request.scope == Scope::Service => Err(bad_query(
                    "the instances are asked, and this metric is of the service as a whole; write `per: instance`, or scrape one address".to_owned(),
                )),
                ([], _) => Err(ReadError::NoData),
                (several, Query::Counts { .. }) => Err(bad_query(format!(
                    "{} instances count each for itself, and running totals cannot be added up across restarts; write `per: instance`",
                    several.len()
                ))),
                (several, Query::Value(_)) => Err(ReadError::Ambiguous {
                    series: u32::try_from(several.len()).unwrap_or(u32::MAX),
                }),
            },
        }
    }

    /// The text behind an address, and when it was read.
    async fn scrape(self, url: String) -> Result<(String, Timestamp), ReadError> {
        let page = self.fetcher.get(&url, ACCEPT, self.bearer.as_ref()).await?;
        if !page.status.is_success() {
            return Err(ReadError::Unreachable {
                why: format!(
                    "{url} answered {}, not 200; is it the path of the metrics?",
                    page.status
                ),
                retry_after_ms: page
                    .retry_after
                    .map(|wait| u64::try_from(wait.as_millis()).unwrap_or(u64::MAX)),
            });
        }
        let text = String::from_utf8(page.body).map_err(|_| {
            FetchError::Unusable(format!(
                "{url} did not answer in the Prometheus text format: not UTF-8"
            ))
        })?;
        Ok((text, now()))
    }
}

#[async_trait]
impl MetricSource for PrometheusText {
    fn capabilities(&self) -> SourceCapabilities {
        SourceCapabilities::live()
    }

    /// One request per address, however many questions.
    async fn read(&self, requests: &[ReadRequest]) -> Vec<Result<Reading, ReadError>> {
        let places: Vec<_> = requests.iter().map(|request| self.place(request)).collect();
        let urls = places
            .iter()
            .filter_map(|place| Some(place.as_ref().ok()?.0.clone()));
        let mut pages: BTreeMap<String, Scraped> =
            urls.map(|url| (url, Err(ReadError::NoData))).collect();
        let slots = Arc::new(Semaphore::new(AT_ONCE));
        let mut tasks = JoinSet::new();
        for url in pages.keys().cloned() {
            let (source, slots) = (self.clone(), Arc::clone(&slots));
            tasks.spawn(async move {
                let _slot = slots.acquire().await;
                let scraped = source.scrape(url.clone()).await;
                (url, scraped)
            });
        }
        while let Some(done) = tasks.join_next().await {
            if let Ok((url, scraped)) = done {
                pages.insert(url, scraped);
            }
        }
        let parsed: BTreeMap<&str, _> = pages
            .iter()
            .map(|(url, scraped)| (url.as_str(), parsed(url, scraped)))
            .collect();
        let mut readings = Vec::with_capacity(requests.len());
        for (request, place) in requests.iter().zip(places) {
            readings.push(
                place.and_then(|(url, instance)| match parsed.get(url.as_str()) {
                    Some(Ok((series, at))) => answer(request, instance, series, *at),
                    Some(Err(error)) => Err(error.clone()),
                    None => Err(ReadError::NoData),
                }),
            );
        }
        readings
    }
}

type Scraped = Result<(String, Timestamp), ReadError>;

fn parsed<'a>(url: &str, scraped: &'a Scraped) -> Result<(Vec<Series<'a>>, Timestamp), ReadError> {
    let (text, at) = scraped.as_ref().map_err(Clone::clone)?;
    let series = exposition::parse(text).map_err(|error| ReadError::Unreachable {
        why: format!("{url} did not answer in the Prometheus text format: {error}"),
        retry_after_ms: None,
    })?;
    Ok((series, *at))
}

fn answer(
    request: &ReadRequest,
    instance: Option<&Instance>,
    series: &[Series<'_>],
    at: Timestamp,
) -> Result<Reading, ReadError> {
    let names = Names::of(request, instance);
    let (sample, earliest) = match &request.query {
        Query::Value(query) => {
            let query = Expression::parse(query, &names)?;
            (Sample::Gauge(query.value(series)?), query.earliest(series))
        }
        Query::Counts { bad, total } => {
            let (bad_query_text, total_text) = (bad, total);
            let bad = Expression::parse(bad_query_text, &names)?;
            let total = Expression::parse(total_text, &names)?;
            let (bad_count, total_count) = (bad.count(series)?, total.count(series)?);
            if bad_count > total_count {
                return Err(bad_query(format!(
                    "`{bad_query_text}` counts {bad_count}, more than the {total_count} of `{total_text}`; `bad` must be a part of `total`"
                )));
            }
            let sample = Sample::Cumulative {
                since: since(series, instance, request),
                bad: bad_count,
                total: total_count,
            };
            let earliest = bad
                .earliest(series)
                .into_iter()
                .chain(total.earliest(series))
                .min();
            (sample, earliest)
        }
    };
    // Numbers that carry an older time are of that time, and go stale by it.
    let window = match earliest.map(Timestamp::from_millis) {
        Some(old) if old < request.window.to => Window::new(request.window.from.min(old), old),
        _ => request.window,
    };
    Ok(Reading::new(window, sample).seen_at(at))
}

/// When the totals began: the process says it itself, else the platform does.
fn since(series: &[Series<'_>], instance: Option<&Instance>, request: &ReadRequest) -> Timestamp {
    let mut starts = series
        .iter()
        .filter(|one| one.name == PROCESS_START && one.labels.is_empty());
    let said = starts
        .next()
        .map(|one| one.value * 1000.0)
        .filter(|ms| ms.is_finite() && *ms > 0.0);
    match (said, instance) {
        #[expect(
            clippy::cast_possible_truncation,
            reason = "saturates, and such a time is in no one's log"
        )]
        (Some(millis), _) => Timestamp::from_millis(millis as i64),
        (None, Some(instance)) => instance.since,
        (None, None) => request.window.from.min(Timestamp::default()),
    }
}

const fn bad_query(why: String) -> ReadError {
    ReadError::BadQuery { why }
}

pub(crate) fn now() -> Timestamp {
    let since = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default();
    Timestamp::from_millis(i64::try_from(since.as_millis()).unwrap_or(i64::MAX))
}
