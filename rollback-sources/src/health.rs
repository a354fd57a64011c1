//! HTTP health checks as a [`MetricSource`].

use std::{
    collections::BTreeMap,
    ops::RangeInclusive,
    sync::Arc,
    time::{Duration, Instant},
};

use async_trait::async_trait;
use rollback_core::{
    model::{Query, ReadError, ReadRequest, Reading, Sample, Secret},
    ports::{MetricSource, SourceCapabilities},
};
use tokio::{sync::Semaphore, task::JoinSet};

use crate::{
    aspect::Aspect,
    fetch::{FetchError, Fetcher, Limits, SourceError},
    places::{addresses, bad_query},
    text::now,
};

/// How many instances are asked at the same time.
const AT_ONCE: usize = 32;

/// Asks a path of each instance whether it is well.
///
/// The query is the path (`/health`), or a whole URL with placeholders
/// (`http://{{address}}/health`, `http://balancer/health`).
///
/// | query | answer |
/// |---|---|
/// | `query: /health` | [`Sample::State`]: `up` if every instance in scope is well, else `down` |
/// | `bad: /health`, `total: /health` | [`Sample::Counts`]: checks that failed, of the checks made now, one per instance |
/// | `answers /` | `up` if there is any answer in HTTP |
/// | `says healthy\|ok /health` | `up` if it is well and one of the words is in the body, upper or lower case |
/// | `status /` | the status code, of several instances the highest |
/// | `response_time /` | milliseconds until all of it was there, of several the longest; a time-out took that long |
/// | `content /` | bytes of the body, of several the fewest |
///
/// *Down* is an instance that refuses the connection, does not answer in time, or answers with
/// another status or body than expected. An answer that is too large, redirects in circles or away,
/// or is no HTTP says nothing about health: it is [`ReadError::Unreachable`], with the reason.
///
/// ```
/// use rollback_sources::{HttpHealth, Limits};
///
/// # fn main() -> Result<(), rollback_sources::SourceError> {
/// let health = HttpHealth::new(Limits::default())?
///     .expect_status(200..=204)
///     .body_contains("\"database\":\"ok\"");
/// # let _ = health;
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Clone)]
pub struct HttpHealth {
    fetcher: Fetcher,
    status: RangeInclusive<u16>,
    contains: Option<Arc<str>>,
    bearer: Option<Secret<String>>,
}

impl HttpHealth {
    /// Any answer from 200 to 299 is well.
    ///
    /// # Errors
    /// The HTTP client cannot be set up.
    pub fn new(limits: Limits) -> Result<Self, SourceError> {
        Ok(Self {
            fetcher: Fetcher::new(limits)?,
            status: 200..=299,
            contains: None,
            bearer: None,
        })
    }

    /// Only these statuses are well.
    #[must_use]
    pub const fn expect_status(mut self, status: RangeInclusive<u16>) -> Self {
        self.status = status;
        self
    }

    /// Only a body with this text in it is well.
    #[must_use]
    pub fn body_contains(mut self, text: impl AsRef<str>) -> Self {
        self.contains = Some(Arc::from(text.as_ref()));
        self
    }

    /// Sends this token with each request.
    #[must_use]
    pub fn bearer_token(mut self, token: Secret<String>) -> Self {
        self.bearer = Some(token);
        self
    }

    /// What is there at `url`.
    async fn look(self, url: String) -> Result<Seen, ReadError> {
        let began = Instant::now();
        match self.fetcher.get(&url, "*/*", self.bearer.as_ref()).await {
            Ok(page) => Ok(Seen::Answer(Answer {
                status: page.status.as_u16(),
                body: page.body,
                took: began.elapsed(),
            })),
            Err(FetchError::Silent(why)) => {
                tracing::debug!(%why, "down");
                let took = began.elapsed();
                Ok(Seen::Silent { why, took })
            }
            Err(error) => Err(error.into()),
        }
    }

    /// Whether an answer is good in one respect.
    fn is_well(&self, aspect: Aspect<'_>, seen: &Seen) -> bool {
        let Seen::Answer(answer) = seen else {
            return false;
        };
        if aspect == Aspect::Answers {
            return true;
        }
        let body = String::from_utf8_lossy(&answer.body);
        let says = match aspect {
            Aspect::Says(words) => {
                let body = body.to_ascii_lowercase();
                words
                    .split('|')
                    .any(|word| body.contains(&word.to_ascii_lowercase()))
            }
            _ => true,
        };
        let contains = self.contains.as_deref().unwrap_or_default();
        self.status.contains(&answer.status) && body.contains(contains) && says
    }
}

/// What was seen at an address.
#[derive(Debug)]
enum Seen {
    Answer(Answer),
    /// Nobody answered, or not in time.
    Silent {
        why: String,
        took: Duration,
    },
}

#[derive(Debug)]
struct Answer {
    status: u16,
    body: Vec<u8>,
    took: Duration,
}

/// What a request looks at, and where.
struct Asked<'a> {
    aspect: Aspect<'a>,
    urls: Vec<String>,
}

#[async_trait]
impl MetricSource for HttpHealth {
    fn capabilities(&self) -> SourceCapabilities {
        SourceCapabilities::live()
    }

    /// One check per address, however many questions.
    async fn read(&self, requests: &[ReadRequest]) -> Vec<Result<Reading, ReadError>> {
        let asked: Vec<_> = requests.iter().map(asked).collect();
        let urls = asked.iter().flatten().flat_map(|asked| &asked.urls);
        let mut seen: BTreeMap<String, Result<Seen, ReadError>> = urls
            .map(|url| (url.clone(), Err(ReadError::NoData)))
            .collect();
        let slots = Arc::new(Semaphore::new(AT_ONCE));
        let mut tasks = JoinSet::new();
        for url in seen.keys().cloned() {
            let (source, slots) = (self.clone(), Arc::clone(&slots));
            tasks.spawn(async move {
                let _slot = slots.acquire().await;
                let look = source.look(url.clone()).await;
                (url, look)
            });
        }
        while let Some(done) = tasks.join_next().await {
            if let Ok((url, look)) = done {
                seen.insert(url, look);
            }
        }
        let at = now();
        let mut readings = Vec::with_capacity(requests.len());
        for (request, asked) in requests.iter().zip(asked) {
            let sample = asked.and_then(|asked| sample(self, &request.query, &asked, &seen));
            readings.push(sample.map(|sample| Reading::new(request.window, sample).seen_at(at)));
        }
        readings
    }
}

/// What a request looks at, and the URLs that it asks.
fn asked(request: &ReadRequest) -> Result<Asked<'_>, ReadError> {
    let query = match &request.query {
        Query::Value(query) => query,
        Query::Counts { bad, total } if bad == total => total,
        Query::Counts { bad, total } => {
            return Err(bad_query(format!(
                "`{bad}` and `{total}` must be the same path: of its checks, those that failed are counted"
            )));
        }
    };
    let (aspect, place) = Aspect::of(query).map_err(bad_query)?;
    let urls = addresses(place, request)?;
    Ok(Asked { aspect, urls })
}

/// What the answers of the URLs say together: the worst of them. One that could not be seen spoils it.
fn sample(
    source: &HttpHealth,
    query: &Query,
    asked: &Asked<'_>,
    seen: &BTreeMap<String, Result<Seen, ReadError>>,
) -> Result<Sample, ReadError> {
    let mut all = Vec::with_capacity(asked.urls.len());
    for url in &asked.urls {
        match seen.get(url) {
            Some(Ok(one)) => all.push(one),
            Some(Err(error)) => return Err(error.clone()),
            None => return Err(ReadError::NoData),
        }
    }
    let number = |of: fn(&Answer) -> f64, worse: fn(f64, f64) -> f64| {
        let mut numbers = Vec::with_capacity(all.len());
        for one in &all {
            match one {
                Seen::Answer(answer) => numbers.push(of(answer)),
                // It took at least that long.
                Seen::Silent { took, .. }
                    if asked.aspect == Aspect::ResponseTime && source.fetcher.is_late(*took) =>
                {
                    numbers.push(millis(*took));
                }
                Seen::Silent { why, .. } => {
                    return Err(ReadError::Unreachable {
                        why: why.clone(),
                        retry_after_ms: None,
                    });
                }
            }
        }
        let worst = numbers.into_iter().reduce(worse);
        worst.map(Sample::Gauge).ok_or(ReadError::NoData)
    };
    match (asked.aspect, query) {
        (Aspect::Status | Aspect::ResponseTime | Aspect::Content, Query::Counts { .. }) => Err(
            bad_query("a number cannot be counted; write it as `query:`".to_owned()),
        ),
        (Aspect::Status, _) => number(|answer| f64::from(answer.status), f64::max),
        (Aspect::ResponseTime, _) => number(|answer| millis(answer.took), f64::max),
        (Aspect::Content, _) => number(|answer| answer.body.len() as f64, f64::min),
        (aspect, query) => {
            let failed = all
                .iter()
                .filter(|one| !source.is_well(aspect, one))
                .count() as u64;
            Ok(match query {
                Query::Value(_) => {
                    Sample::State(Arc::from(if failed == 0 { "up" } else { "down" }))
                }
                Query::Counts { .. } => Sample::Counts {
                    bad: failed,
                    total: all.len() as u64,
                },
            })
        }
    }
}

fn millis(time: Duration) -> f64 {
    time.as_secs_f64() * 1000.0
}
