//! Errors of the candidate against the stable release at the same time (R3).
//!
//! - A step is taken when both arms have answered for the same stretch of time. An arm that answers
//!   late, or for several polls at once, is waited for; what only one arm was seen in is left out.
//!   Both depend on when answers come and not on what they say, so the guarantee stands.
//! - `Fail`: the evidence has crossed, and both arms were seen within three polls.
//! - `Pass` is no certificate: not crossed, and enough traffic that a candidate [`PASS_RATIO`](super::PASS_RATIO) times
//!   as error-prone, or one with [`PASS_SHARE`](super::PASS_SHARE) errors where that is more, would probably have been
//!   noticed. With less it is `Inconclusive`, with the smallest ratio that could have been noticed.
//! - `Unknown` while an arm gives no data. While a rollback is verified there is no second arm, so
//!   the rule takes no part (its need is [`ArmSide::Both`]).

use std::{num::NonZeroU32, sync::Arc, time::Duration};

use super::{
    held::{Counts, believed},
    noticeable::Noticeable,
    pairing::{Pairing, Told},
    wording::short,
};
use crate::{
    model::{
        Arm, ArmCounts, Explanation, Figure, MetricId, ReadError, Reading, Sample, Scope,
        Timestamp, TriggerId, UnknownReason, Verdict, Window,
    },
    policy::Metric,
    ports::{ArmSide, Evidence, MetricNeed, Trigger, WatchStart},
    statistics::{self, EProcess, FalseRollbackRate, METHOD, MinEffect, RatioBound, RatioEstimate},
};

/// The version of this rule's code.
const VERSION: u32 = 1;
#[derive(Debug)]
struct Terms {
    name: Arc<str>,
    metric: Metric,
    rate: FalseRollbackRate,
    min_effect: MinEffect,
}

/// `compare: METRIC`.
#[derive(Debug)]
pub struct ErrorVsBaseline(Arc<Terms>);

impl ErrorVsBaseline {
    /// A rule over a metric with counts.
    ///
    /// # Errors
    /// The rate or the effect is not one.
    pub fn new(
        name: Arc<str>,
        metric: Metric,
        max_false_rollback_rate: f64,
        min_effect: f64,
    ) -> Result<Self, statistics::InvalidSetting> {
        Ok(Self(Arc::new(Terms {
            name,
            metric,
            rate: FalseRollbackRate::new(max_false_rollback_rate)?,
            min_effect: MinEffect::new(min_effect)?,
        })))
    }
}

impl Trigger for ErrorVsBaseline {
    fn id(&self) -> TriggerId {
        TriggerId {
            name: Arc::clone(&self.0.name),
            version: VERSION,
        }
    }

    fn reads(&self) -> Vec<MetricNeed> {
        vec![MetricNeed {
            metric: self.0.metric.id.clone(),
            side: ArmSide::Both,
        }]
    }

    fn begin(&self, watch: &WatchStart) -> Box<dyn Evidence> {
        Box::new(Compared::new(Arc::clone(&self.0), watch))
    }
}

/// The evidence of one watch.
#[derive(Debug)]
struct Compared {
    terms: Arc<Terms>,
    on_trial: Arm,
    poll: Duration,
    pairing: Pairing,
    process: EProcess,
    estimate: RatioEstimate,
    bound: RatioBound,
    window: Option<Window>,
    stepped: Option<Timestamp>,
    crossed_at: Option<Timestamp>,
    noticeable: Noticeable,
}

impl Compared {
    fn new(terms: Arc<Terms>, watch: &WatchStart) -> Self {
        let polls = watch.planned.as_millis() / watch.poll.as_millis().max(1);
        let horizon = u32::try_from(polls).unwrap_or(u32::MAX);
        let horizon = NonZeroU32::new(horizon).unwrap_or(NonZeroU32::MIN);
        Self {
            on_trial: watch.on_trial,
            poll: watch.poll,
            pairing: Pairing::default(),
            process: EProcess::new(terms.min_effect, horizon),
            estimate: RatioEstimate::new(),
            bound: RatioBound::new(),
            window: None,
            stepped: None,
            crossed_at: None,
            noticeable: Noticeable::nothing(),
            terms,
        }
    }

    fn step(&mut self, at: Timestamp, candidate: Told, stable: Told) {
        let counted = |told: Told| {
            // Checked when it was told: never more bad events than events.
            statistics::ArmCounts::new(told.counts.total, told.counts.bad).ok()
        };
        let (Some(c), Some(s)) = (counted(candidate), counted(stable)) else {
            return;
        };
        self.process.step(c, s);
        self.bound.step(&self.process, c, s);
        self.estimate.step(c, s);
        let from = self.window.map_or_else(
            || candidate.window.from.min(stable.window.from),
            |window| window.from,
        );
        let to = candidate.window.to.max(stable.window.to);
        self.window = Some(Window::new(from, to));
        self.stepped = Some(at);
        if self.crossed_at.is_none() && self.process.crossed(self.terms.rate) {
            self.crossed_at = Some(to);
        }
        self.noticeable
            .grow(&self.estimate, self.terms.min_effect, self.terms.rate);
    }

    fn blind(&self, at: Timestamp) -> Option<UnknownReason> {
        let metric = &self.terms.metric.id;
        let sides = [
            (Arm::Candidate, &self.pairing.candidate),
            (Arm::Stable, &self.pairing.stable),
        ];
        if sides
            .iter()
            .all(|(_, side)| side.seen_to.is_none() && side.error.is_none())
        {
            return Some(UnknownReason::NothingYet);
        }
        for (arm, side) in sides {
            if let Some(error) = &side.error {
                return Some(UnknownReason::Unreadable {
                    metric: metric.clone(),
                    error: error.clone(),
                });
            }
            if side.seen_to.is_none() {
                return Some(UnknownReason::NoArm(arm));
            }
        }
        match self.ages() {
            None => Some(UnknownReason::NothingYet),
            Some(too_old) if at >= too_old => Some(UnknownReason::Stale {
                metric: metric.clone(),
            }),
            Some(_) if self.process.polls() == 0 => Some(if !self.pairing.stable.any {
                UnknownReason::NoArm(Arm::Stable)
            } else if !self.pairing.candidate.any {
                UnknownReason::NoArm(Arm::Candidate)
            } else {
                UnknownReason::TooFew
            }),
            Some(_) => None,
        }
    }

    /// When what was compared last is too old to be believed.
    fn ages(&self) -> Option<Timestamp> {
        let length = self
            .pairing
            .stable
            .newest
            .map_or(Duration::ZERO, |t| t.window.length());
        let believed = believed(self.poll, length) + Duration::from_millis(1);
        Some(self.stepped?.after(believed))
    }

    fn sentence(&self, at: Timestamp) -> String {
        if let Some(reason) = self.blind(at) {
            return format!("{} cannot tell: {reason}", self.terms.name);
        }
        let (candidate, stable) = (self.estimate.candidate(), self.estimate.stable());
        let limit = one_in(self.terms.rate.share());
        let Some(_) = self.crossed_at else {
            return format!(
                "{} of {} requests failed on the candidate and {} of {} on the stable release; the \
                 evidence is {} and {} would be needed",
                candidate.bad(),
                candidate.total(),
                stable.bad(),
                stable.total(),
                short(libm::exp(self.process.log_max())),
                short(1.0 / self.terms.rate.share()),
            );
        };
        let ratio = match self.estimate.ratio() {
            Some(ratio) => format!("Estimated ratio {}", short(ratio)),
            None => "None failed on the stable release".to_owned(),
        };
        let bound = self.bound.lower_bound(&self.process, self.terms.rate);
        let bound = bound.map_or_else(String::new, |bound| {
            let confidence = short((1.0 - self.terms.rate.share()) * 100.0);
            format!(", with {confidence} % confidence at least {}", short(bound))
        });
        format!(
            "Since the watch began {} requests failed; {} of them on the candidate, which served \
             {} % of the traffic ({} expected). If the candidate were at most {} times as \
             error-prone as the stable release, evidence this strong would ever appear in fewer \
             than {} deployments (limit: {limit}). {ratio}{bound}.",
            candidate.bad() + stable.bad(),
            candidate.bad(),
            short(self.share_of_traffic() * 100.0),
            short(self.estimate.expected_bad()),
            short(self.terms.min_effect.ratio()),
            one_in(self.process.p_value()),
        )
    }

    fn share_of_traffic(&self) -> f64 {
        let (candidate, stable) = (self.estimate.candidate(), self.estimate.stable());
        Counts {
            bad: candidate.total(),
            total: candidate.total().saturating_add(stable.total()),
        }
        .ratio()
    }
}

/// `1 in 1792`
fn one_in(share: f64) -> String {
    let times = 1.0 / share.max(1e-12);
    format!("1 in {:.0}", libm::floor(times + 1e-6))
}

impl Evidence for Compared {
    fn observe(&mut self, at: Timestamp, metric: &MetricId, scope: &Scope, reading: &Reading) {
        if self.terms.metric.id != *metric {
            return;
        }
        let Scope::Arm(arm) = scope else { return };
        let side = self.pairing.side(*arm);
        if side.seen_to.is_some_and(|seen| reading.window.to <= seen) {
            return;
        }
        side.seen_to = Some(reading.window.to);
        match reading.sample {
            Sample::Counts { bad, total } if bad <= total => {
                side.error = None;
                let told = Told {
                    window: reading.window,
                    counts: Counts { bad, total },
                };
                if let Some((candidate, stable)) = self.pairing.tell(*arm, told, self.poll) {
                    self.step(at, candidate, stable);
                }
            }
            _ => side.error = Some(ReadError::NotANumber),
        }
    }

    fn unreadable(&mut self, _: Timestamp, metric: &MetricId, scope: &Scope, error: &ReadError) {
        if self.terms.metric.id != *metric || matches!(error, ReadError::NotYet { .. }) {
            return;
        }
        let Scope::Arm(arm) = scope else { return };
        let side = self.pairing.side(*arm);
        if side.error.as_ref() != Some(error) {
            side.error = Some(error.clone());
        }
    }

    fn verdict(&self, at: Timestamp) -> Verdict {
        if self.on_trial == Arm::Stable {
            return Verdict::Unknown(UnknownReason::NoArm(Arm::Candidate));
        }
        if let Some(reason) = self.blind(at) {
            return Verdict::Unknown(reason);
        }
        if self.crossed_at.is_some() {
            Verdict::Fail
        } else if self.noticeable.enough {
            Verdict::Pass
        } else {
            Verdict::Inconclusive(Arc::clone(&self.noticeable.words))
        }
    }

    fn next_wake(&self, at: Timestamp) -> Option<Timestamp> {
        self.ages().filter(|too_old| *too_old > at)
    }

    fn explain(&self, at: Timestamp) -> Explanation {
        let terms = &self.terms;
        let (candidate, stable) = (self.estimate.candidate(), self.estimate.stable());
        let rate = terms.rate.share();
        let mut figures = vec![
            Figure::new("evidence", libm::exp(self.process.log_max()), ""),
            Figure::new("p_value", self.process.p_value(), ""),
            Figure::new(
                "expected_bad_of_candidate",
                self.estimate.expected_bad(),
                "",
            ),
            Figure::new("traffic_of_candidate", self.share_of_traffic(), "ratio"),
            Figure::new("min_effect", terms.min_effect.ratio(), ""),
            Figure::new("polls", f64::from(self.process.polls()), ""),
            Figure::new("polls_left_out", f64::from(self.pairing.left_out), ""),
        ];
        let optional = [
            ("estimated_ratio", self.estimate.ratio()),
            (
                "ratio_at_least",
                self.bound.lower_bound(&self.process, terms.rate),
            ),
            ("smallest_noticeable_ratio", self.noticeable.ratio),
        ];
        figures.extend(
            optional
                .into_iter()
                .filter_map(|(name, value)| Some(Figure::new(name, value?, ""))),
        );
        Explanation {
            rule: format!(
                "{} of the candidate more than {} times those of the stable release ({METHOD}, \
                 false rollbacks at most {})",
                terms.metric.id,
                short(terms.min_effect.ratio()),
                one_in(rate),
            ),
            queries: vec![format!("{}: {}", terms.metric.id, terms.metric.query)],
            window: self.window,
            counts: [(Arm::Candidate, candidate), (Arm::Stable, stable)]
                .into_iter()
                .map(|(arm, counts)| ArmCounts {
                    arm: Some(arm),
                    bad: counts.bad(),
                    total: counts.total(),
                })
                .collect(),
            figures,
            threshold: Some(Figure::new("evidence", 1.0 / rate, "")),
            would_pass: Some(format!("evidence below {}", short(1.0 / rate))),
            sentence: self.sentence(at),
        }
    }
}
