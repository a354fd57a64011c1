//! The metric source of a simulation: the truth of the platform, told well or badly.

use std::time::Duration;

use rollback_core::model::{
    Answer, Query, ReadError, ReadRequest, Reading, ReleaseId, Sample, Scope, Timestamp, Window,
};

use super::random::Random;
use crate::platform::Model;

#[derive(Debug)]
pub(super) struct Metrics {
    cumulative: bool,
    random: Random,
    blind: Vec<(Timestamp, Timestamp)>,
    /// Something that everybody depends on is down: whoever serves fails.
    outages: Vec<(Timestamp, Timestamp)>,
    /// Running totals began anew here: `since` and what had been counted by then is forgotten.
    reset_at: Option<Timestamp>,
}

impl Metrics {
    pub(super) const fn new(cumulative: bool, seed: u64) -> Self {
        Self {
            cumulative,
            random: Random::seeded(seed),
            blind: Vec::new(),
            outages: Vec::new(),
            reset_at: None,
        }
    }

    pub(super) fn blind_between(&mut self, from: Timestamp, to: Timestamp) {
        self.blind.push((from, to));
    }

    pub(super) fn outage_between(&mut self, from: Timestamp, to: Timestamp) {
        self.outages.push((from, to));
    }

    pub(super) fn heal(&mut self) {
        self.blind.clear();
        self.outages.clear();
    }

    pub(super) fn read(
        &mut self,
        model: &Model,
        requests: &[ReadRequest],
        faults: u64,
    ) -> Vec<Answer> {
        let now = model.now();
        let blind = self
            .blind
            .iter()
            .any(|(from, to)| *from <= now && now < *to);
        if faults > 0 && self.random.chance(4 * faults) {
            self.reset_at = Some(now.before(Duration::from_millis(self.random.below(3_000))));
        }
        requests
            .iter()
            .map(|request| {
                let result = if blind {
                    Err(ReadError::Unreachable {
                        why: "connection refused".to_owned(),
                        retry_after_ms: None,
                    })
                } else {
                    self.answer(model, request, faults)
                };
                Answer {
                    metric: request.metric.clone(),
                    scope: request.scope.clone(),
                    result,
                }
            })
            .collect()
    }

    fn answer(
        &mut self,
        model: &Model,
        request: &ReadRequest,
        faults: u64,
    ) -> Result<Reading, ReadError> {
        let mut request = request.clone();
        // A live source answers up to its own present moment.
        request.window.to = request.window.to.min(model.now());
        request.window.from = request.window.from.min(request.window.to);
        if faults > 0 && self.random.chance(12 * faults) {
            match self.random.below(8) {
                0 => return Err(ReadError::NoData),
                1 => return Err(ReadError::Ambiguous { series: 2 }),
                2 => {
                    return Err(ReadError::BadQuery {
                        why: "parse error".to_owned(),
                    });
                }
                3 => {
                    // Not a number, unasked: the engine must not take it.
                    let sample = Sample::Gauge(f64::NAN);
                    return Ok(Reading::new(request.window, sample).seen_at(model.now()));
                }
                4 => {
                    let retry_at = model.now().after(Duration::from_secs(1));
                    return Err(ReadError::NotYet { retry_at });
                }
                // Stale: the answer to an old question.
                5 => {
                    let long_ago = Duration::from_secs(60);
                    request.window.from = request.window.from.before(long_ago);
                    request.window.to = request.window.to.before(long_ago);
                }
                // Overlapping: it reaches back before what was asked.
                6 => {
                    let back = self.random.millis(500, 5_000);
                    request.window.from = request.window.from.before(back);
                }
                _ => {
                    return Err(ReadError::Unreachable {
                        why: "timed out".to_owned(),
                        retry_after_ms: Some(500),
                    });
                }
            }
        }
        if self.cumulative && matches!(request.query, Query::Counts { .. }) {
            return self.running_total(model, &request);
        }
        let mut reading = model.read(&request)?;
        let down = self
            .outages
            .iter()
            .any(|(from, to)| request.window.from < *to && *from < request.window.to);
        if let (true, Sample::Counts { bad, total }) = (down, &mut reading.sample) {
            *bad = (*bad).max(*total / 3);
        }
        if faults > 0 && self.random.chance(5 * faults) {
            reading = reading.partial();
        }
        Ok(reading)
    }

    fn running_total(&self, model: &Model, request: &ReadRequest) -> Result<Reading, ReadError> {
        // It must have been asked of somebody who is there.
        model.read(request)?;
        let releases: Vec<ReleaseId> = match (&request.scope, &request.subject.release) {
            (Scope::Service, _) | (_, None) => model.releases_with_traffic(&request.service),
            (_, Some(release)) => vec![release.clone()],
        };
        let born = crate::NOON.before(Duration::from_secs(3_600));
        let since = self.reset_at.unwrap_or(born);
        let (mut bad, mut total) = (0, 0);
        for release in &releases {
            let now = model.totals(&request.service, release, request.window.to);
            let then = model.totals(&request.service, release, since);
            bad += now.0.saturating_sub(then.0);
            total += now.1.saturating_sub(then.1);
        }
        if matches!(request.scope, Scope::Instance { .. }) {
            let count = u64::from(model.replicas()).max(1);
            bad /= count;
            total /= count;
        }
        let window = Window::new(request.window.from, request.window.to);
        let sample = Sample::Cumulative { since, bad, total };
        Ok(Reading::new(window, sample).seen_at(model.now()))
    }
}
