//! The model's answers to questions about metrics.

use rollback_core::model::{
    Query, ReadError, ReadRequest, Reading, ReleaseId, Sample, Scope, ServiceId, Window,
};

use super::Model;

impl Model {
    /// Answers one question about what runs here.
    ///
    /// # Errors
    /// As a `MetricSource` has to: nothing that was not seen is a zero.
    pub fn read(&self, request: &ReadRequest) -> Result<Reading, ReadError> {
        let window = request.window;
        if window.to > self.now() {
            return Err(ReadError::NotYet {
                retry_at: window.to,
            });
        }
        let sample = match &request.query {
            Query::Counts { .. } => {
                let (bad, total) = self.answers(request, window)?;
                Sample::Counts { bad, total }
            }
            Query::Value(query) => match query.as_ref() {
                "error_rate" => {
                    let (bad, total) = self.answers(request, window)?;
                    if total == 0 {
                        return Err(ReadError::NotANumber);
                    }
                    #[expect(clippy::cast_precision_loss, reason = "counts of a test")]
                    Sample::Gauge(bad as f64 / total as f64)
                }
                "latency" => {
                    self.answers(request, window)?;
                    let release = self.subject_of(request).ok_or(ReadError::NoData)?;
                    let behaviour = self.behaviour(&release).ok_or(ReadError::NoData)?;
                    Sample::Gauge(behaviour.latency_ms)
                }
                "status" => {
                    let release = self.subject_of(request).ok_or(ReadError::NoData)?;
                    let seen = self
                        .truth(&request.service)
                        .map_err(|_| ReadError::NoData)?;
                    let up = seen.is_ready(&release);
                    Sample::State(if up { "up" } else { "down" }.into())
                }
                other => {
                    return Err(ReadError::BadQuery {
                        why: format!("`{other}`: ask for error_rate, latency or status"),
                    });
                }
            },
        };
        Ok(Reading::new(window, sample).seen_at(self.now()))
    }

    fn subject_of(&self, request: &ReadRequest) -> Option<ReleaseId> {
        request.subject.release.clone().or_else(|| {
            let seen = self.truth(&request.service).ok()?;
            seen.wanted.main().cloned()
        })
    }

    fn answers(&self, request: &ReadRequest, window: Window) -> Result<(u64, u64), ReadError> {
        let service = &request.service;
        let of_release = |window| match (&request.scope, &request.subject.release) {
            (Scope::Service, _) | (_, None) => self
                .releases_with_traffic(service)
                .iter()
                .filter_map(|release| self.counts(service, release, window))
                .reduce(|a, b| (a.0 + b.0, a.1 + b.1)),
            (_, Some(release)) => self.counts(service, release, window),
        };
        let (bad, total) = of_release(window).ok_or(ReadError::NoData)?;
        if matches!(request.scope, Scope::Instance { .. }) {
            // The first instance takes what does not divide evenly.
            let count = u64::from(self.replicas()).max(1);
            let first = self.is_first_instance(service, request);
            let part = |all: u64| all / count + if first { all % count } else { 0 };
            return Ok((part(bad), part(total)));
        }
        Ok((bad, total))
    }

    fn is_first_instance(&self, service: &ServiceId, request: &ReadRequest) -> bool {
        let (Scope::Instance { instance, .. }, Some(release)) =
            (&request.scope, &request.subject.release)
        else {
            return false;
        };
        self.truth(service).is_ok_and(|seen| {
            seen.arm(release)
                .and_then(|arm| arm.instances.first())
                .is_some_and(|first| first.id == *instance)
        })
    }
}
