//! HTTP health checks as a [`MetricSource`].

use std::{collections::BTreeMap, ops::RangeInclusive, sync::Arc};

use async_trait::async_trait;
use rollback_core::{
    model::{Query, ReadError, ReadRequest, Reading, Sample, Scope, Secret},
    ports::{MetricSource, SourceCapabilities},
};
use tokio::{sync::Semaphore, task::JoinSet};

use crate::{
    fetch::{FetchError, Fetcher, Limits, SourceError},
    subject::{Names, tells_apart},
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

    /// Whether what answers at `url` is well.
    async fn check(self, url: String) -> Result<bool, ReadError> {
        let page = match self.fetcher.get(&url, "*/*", self.bearer.as_ref()).await {
            Ok(page) => page,
            Err(FetchError::Silent(why)) => {
                tracing::debug!(%why, "down");
                return Ok(false);
            }
            Err(error) => return Err(error.into()),
        };
        let status = page.status.as_u16();
        let contains = self.contains.as_deref().unwrap_or_default();
        let body = String::from_utf8_lossy(&page.body);
        let well = self.status.contains(&status) && body.contains(contains);
        if !well {
            tracing::debug!(%url, status, "down");
        }
        Ok(well)
    }
}

#[async_trait]
impl MetricSource for HttpHealth {
    fn capabilities(&self) -> SourceCapabilities {
        SourceCapabilities::live()
    }

    /// One check per address, however many questions.
    async fn read(&self, requests: &[ReadRequest]) -> Vec<Result<Reading, ReadError>> {
        let asked: Vec<_> = requests.iter().map(addresses).collect();
        let urls = asked.iter().flatten().flatten();
        let mut checks: BTreeMap<String, Result<bool, ReadError>> = urls
            .map(|url| (url.clone(), Err(ReadError::NoData)))
            .collect();
        let slots = Arc::new(Semaphore::new(AT_ONCE));
        let mut tasks = JoinSet::new();
        for url in checks.keys().cloned() {
            let (source, slots) = (self.clone(), Arc::clone(&slots));
            tasks.spawn(async move {
                let _slot = slots.acquire().await;
                let check = source.check(url.clone()).await;
                (url, check)
            });
        }
        while let Some(done) = tasks.join_next().await {
            if let Ok((url, check)) = done {
                checks.insert(url, check);
            }
        }
        let at = now();
        let mut readings = Vec::with_capacity(requests.len());
        for (request, urls) in requests.iter().zip(asked) {
            let sample = urls.and_then(|urls| sample(&request.query, &urls, &checks));
            readings.push(sample.map(|sample| Reading::new(request.window, sample).seen_at(at)));
        }
        readings
    }
}

/// The URLs that a request asks, one per instance in scope.
fn addresses(request: &ReadRequest) -> Result<Vec<String>, ReadError> {
    let bad_query = |why: String| ReadError::BadQuery { why };
    let path = match &request.query {
        Query::Value(path) => path,
        Query::Counts { bad, total } if bad == total => total,
        Query::Counts { bad, total } => {
            return Err(bad_query(format!(
                "`bad: {bad}` and `total: {total}` must be the same path: of its checks, those that failed are counted"
            )));
        }
    };
    let fill_in = |names: Names<'_>| {
        let filled = names.fill_in(path, str::to_owned);
        filled.map_err(|why| bad_query(format!("`{path}`: {why}")))
    };
    let instances = &request.subject.instances;
    if path.starts_with('/') {
        if request.scope == Scope::Service && instances.is_empty() {
            return Err(bad_query(format!(
                "`{path}` is asked of instances, and this metric is of the service as a whole; write a whole URL, or `per: instance`"
            )));
        }
        if instances.is_empty() {
            return Err(ReadError::NoData);
        }
        let url = |instance| {
            let names = Names::of(request, Some(instance));
            let Some(address) = names.address else {
                return Err(ReadError::Unreachable {
                    why: format!(
                        "the platform tells no address of the instance {}",
                        instance.id
                    ),
                    retry_after_ms: None,
                });
            };
            Ok(format!("http://{address}{}", fill_in(names)?))
        };
        return instances.iter().map(url).collect();
    }
    if !path.starts_with("http://") && !path.starts_with("https://") {
        return Err(bad_query(format!(
            "`{path}` is neither a path (/health) nor a URL"
        )));
    }
    let of_each = ["instance", "address"]
        .iter()
        .any(|name| path.contains(name) && path.contains("{{"));
    if of_each && !instances.is_empty() {
        return instances
            .iter()
            .map(|one| fill_in(Names::of(request, Some(one))))
            .collect();
    }
    if !tells_apart(path, &request.scope) {
        return Err(bad_query(format!(
            "`{path}` is the same for all; use {{{{address}}}} or {{{{release}}}} in it, or write `per: service`"
        )));
    }
    Ok(vec![fill_in(Names::of(request, None))?])
}

/// What the checks of the URLs say together. One that could not be made spoils the answer.
fn sample(
    query: &Query,
    urls: &[String],
    checks: &BTreeMap<String, Result<bool, ReadError>>,
) -> Result<Sample, ReadError> {
    let mut failed = 0;
    for url in urls {
        match checks.get(url) {
            Some(Ok(true)) => {}
            Some(Ok(false)) => failed += 1,
            Some(Err(error)) => return Err(error.clone()),
            None => return Err(ReadError::NoData),
        }
    }
    Ok(match query {
        Query::Value(_) => Sample::State(Arc::from(if failed == 0 { "up" } else { "down" })),
        Query::Counts { .. } => Sample::Counts {
            bad: failed,
            total: urls.len() as u64,
        },
    })
}
