//! Errors of the candidate against the stable release at the same time (R3).
//!
//! - A step is taken when both arms have answered for the same stretch of time. An arm that answers
//!   late, or for several polls at once, is waited for; what only one arm was seen in is left out.
//!   Both depend on when answers come and not on what they say, so the guarantee stands.
//! - `Fail`: the evidence has crossed, and both arms were seen within three polls.
//! - `Pass` is no certificate: not crossed, and enough traffic that a candidate [`PASS_RATIO`] times
//!   as error-prone, or one with [`PASS_SHARE`] errors where that is more, would probably have been
//!   noticed. With less it is `Inconclusive`, with the smallest ratio that could have been noticed.
//! - `Unknown` while an arm gives no data. While a rollback is verified there is no second arm, so
//!   the rule takes no part (its need is [`ArmSide::Both`]).

use std::{num::NonZeroU32, sync::Arc, time::Duration};

use super::{
    held::{Counts, believed},
    wording::short,
};
use crate::{
    model::{
        Arm, ArmCounts, Explanation, Figure, MetricId, ReadError, Reading, Sample, Scope,
        Timestamp, TriggerId, UnknownReason, Verdict, Window,
    },
    policy::Metric,
    ports::{ArmSide, Evidence, MetricNeed, Trigger, WatchStart},
    statistics::{
        self, EProcess, FalseRollbackRate, METHOD, MinEffect, RatioBound, RatioEstimate,
        smallest_detectable_ratio,
    },
};

/// The version of this rule's code.
const VERSION: u32 = 1;
/// A candidate this many times as error-prone should not go unnoticed before a pass.
pub const PASS_RATIO: f64 = 3.0;
/// And where errors are so rare that this is next to nothing: a candidate with this share of errors.
pub const PASS_SHARE: f64 = 0.01;
/// What can be noticed is computed again when there is so much more traffic.
const MORE_TRAFFIC: f64 = 1.5;

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

/// What one arm has told and the other has not matched yet.
#[derive(Debug, Clone, Copy)]
struct Told {
    window: Window,
    counts: Counts,
}

/// One arm's side of the comparison.
#[derive(Debug, Clone, Default)]
struct Side {
    seen_to: Option<Timestamp>,
    /// Everything since the last step.
    all: Option<Told>,
    /// The newest window alone.
    newest: Option<Told>,
    error: Option<ReadError>,
    any: bool,
}

impl Side {
    fn tell(&mut self, window: Window, counts: Counts, slack: Duration) {
        let told = Told { window, counts };
        self.all = Some(match self.all {
            // Something is missing in between: what was before it has no counterpart.
            Some(known) if window.from.since(known.window.to) > slack => told,
            Some(known) => Told {
                window: Window::new(known.window.from, window.to),
                counts: known.counts.plus(counts),
            },
            None => told,
        });
        self.newest = Some(told);
        self.any |= counts.total > 0;
    }
}

/// The evidence of one watch.
#[derive(Debug)]
struct Compared {
    terms: Arc<Terms>,
    on_trial: Arm,
    poll: Duration,
    candidate: Side,
    stable: Side,
    process: EProcess,
    estimate: RatioEstimate,
    bound: RatioBound,
    window: Option<Window>,
    stepped: Option<Timestamp>,
    crossed_at: Option<Timestamp>,
    /// Windows that only one arm was seen in.
    left_out: u32,
    noticeable: Noticeable,
}

/// What could have been noticed so far; computed anew only when the traffic has grown.
#[derive(Debug)]
struct Noticeable {
    /// Requests of both arms when it was computed.
    at_total: u64,
    ratio: Option<f64>,
    enough: bool,
    words: Arc<str>,
}

impl Compared {
    fn new(terms: Arc<Terms>, watch: &WatchStart) -> Self {
        let polls = watch.planned.as_millis() / watch.poll.as_millis().max(1);
        let horizon = u32::try_from(polls).unwrap_or(u32::MAX);
        let horizon = NonZeroU32::new(horizon).unwrap_or(NonZeroU32::MIN);
        Self {
            on_trial: watch.on_trial,
            poll: watch.poll,
            candidate: Side::default(),
            stable: Side::default(),
            process: EProcess::new(terms.min_effect, horizon),
            estimate: RatioEstimate::new(),
            bound: RatioBound::new(),
            window: None,
            stepped: None,
            crossed_at: None,
            left_out: 0,
            noticeable: Noticeable {
                at_total: 0,
                ratio: None,
                enough: false,
                words: Arc::from("no requests yet that could be compared"),
            },
            terms,
        }
    }

    fn step_if_both(&mut self, at: Timestamp) {
        // Less than half a poll apart is the same poll.
        let slack = self.poll / 2;
        let apart = |a: Timestamp, b: Timestamp| a.since(b).max(b.since(a)) > slack;
        let (Some(candidate), Some(stable)) = (self.candidate.all, self.stable.all) else {
            return;
        };
        if apart(candidate.window.to, stable.window.to) {
            return;
        }
        let pair = if !apart(candidate.window.from, stable.window.from) {
            Some((candidate, stable))
        } else {
            self.left_out = self.left_out.saturating_add(1);
            match (self.candidate.newest, self.stable.newest) {
                (Some(candidate), Some(stable))
                    if !apart(candidate.window.from, stable.window.from) =>
                {
                    Some((candidate, stable))
                }
                _ => None,
            }
        };
        self.candidate.all = None;
        self.stable.all = None;
        if let Some((candidate, stable)) = pair {
            self.step(at, candidate, stable);
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
        self.notice_more();
    }

    #[expect(clippy::cast_precision_loss, reason = "counts of requests")]
    fn notice_more(&mut self) {
        let (candidate, stable) = (self.estimate.candidate(), self.estimate.stable());
        let total = candidate.total().saturating_add(stable.total());
        if (total as f64) < self.noticeable.at_total as f64 * MORE_TRAFFIC || total == 0 {
            return;
        }
        // A share that was never seen is not zero: half an event more than was seen.
        let share = (stable.bad() as f64 + 0.5) / (stable.total() as f64 + 1.0);
        let ratio = smallest_detectable_ratio(
            candidate.total(),
            stable.total(),
            share,
            self.terms.min_effect,
            self.terms.rate,
        );
        let requests = candidate.total();
        self.noticeable = Noticeable {
            at_total: total,
            ratio,
            enough: ratio.is_some_and(|ratio| ratio <= PASS_RATIO.max(PASS_SHARE / share)),
            words: match ratio {
                Some(ratio) => format!(
                    "with {requests} requests of the candidate only {} times as many errors could \
                     have been noticed",
                    short(ratio)
                ),
                None => format!(
                    "with {requests} requests of the candidate no number of errors could have been \
                     noticed"
                ),
            }
            .into(),
        };
    }

    fn blind(&self, at: Timestamp) -> Option<UnknownReason> {
        let metric = &self.terms.metric.id;
        let sides = [
            (Arm::Candidate, &self.candidate),
            (Arm::Stable, &self.stable),
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
            Some(_) if self.process.polls() == 0 => Some(if !self.stable.any {
                UnknownReason::NoArm(Arm::Stable)
            } else if !self.candidate.any {
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
        let slack = self.poll / 2;
        let side = match scope {
            Scope::Arm(Arm::Candidate) => &mut self.candidate,
            Scope::Arm(Arm::Stable) => &mut self.stable,
            _ => return,
        };
        if side.seen_to.is_some_and(|seen| reading.window.to <= seen) {
            return;
        }
        side.seen_to = Some(reading.window.to);
        match reading.sample {
            Sample::Counts { bad, total } if bad <= total => {
                side.error = None;
                side.tell(reading.window, Counts { bad, total }, slack);
                self.step_if_both(at);
            }
            _ => side.error = Some(ReadError::NotANumber),
        }
    }

    fn unreadable(&mut self, _: Timestamp, metric: &MetricId, scope: &Scope, error: &ReadError) {
        if self.terms.metric.id != *metric || matches!(error, ReadError::NotYet { .. }) {
            return;
        }
        let side = match scope {
            Scope::Arm(Arm::Candidate) => &mut self.candidate,
            Scope::Arm(Arm::Stable) => &mut self.stable,
            _ => return,
        };
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
            Figure::new("polls_left_out", f64::from(self.left_out), ""),
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        condition::Unit,
        model::{DeploymentId, Query, ReleaseId},
        policy::PerScope,
    };

    const CANDIDATE: Scope = Scope::Arm(Arm::Candidate);
    const STABLE: Scope = Scope::Arm(Arm::Stable);

    fn id() -> MetricId {
        MetricId::new("errors").unwrap()
    }

    fn rule() -> ErrorVsBaseline {
        let query = Query::Counts {
            bad: "bad_total".into(),
            total: "all_total".into(),
        };
        let metric = Metric::new(id(), Unit::Ratio, PerScope::Arm, query);
        ErrorVsBaseline::new("against_stable".into(), metric, 0.01, 1.25).unwrap()
    }

    fn at(seconds: i64) -> Timestamp {
        Timestamp::from_millis(seconds * 1_000)
    }

    fn start() -> WatchStart {
        WatchStart::new(
            at(0),
            DeploymentId::new("d1").unwrap(),
            ReleaseId::new("v1").unwrap(),
            ReleaseId::new("v2").unwrap(),
            Duration::from_secs(10),
            Duration::from_secs(1_800),
        )
    }

    fn reading(from: i64, to: i64, (bad, total): (u64, u64)) -> Reading {
        Reading::new(Window::new(at(from), at(to)), Sample::Counts { bad, total })
    }

    /// One poll of ten seconds.
    fn tell(evidence: &mut dyn Evidence, poll: i64, scope: &Scope, counts: (u64, u64)) {
        let reading = reading(poll * 10 - 10, poll * 10, counts);
        evidence.observe(at(poll * 10), &id(), scope, &reading);
    }

    fn run(polls: i64, candidate: (u64, u64), stable: (u64, u64)) -> Box<dyn Evidence> {
        let mut evidence = rule().begin(&start());
        for poll in 1..=polls {
            tell(&mut *evidence, poll, &CANDIDATE, candidate);
            tell(&mut *evidence, poll, &STABLE, stable);
        }
        evidence
    }

    #[test]
    fn a_bad_candidate_fails_and_the_sentence_has_the_numbers() {
        let evidence = run(6, (4, 100), (4, 900));
        assert_eq!(evidence.verdict(at(60)), Verdict::Fail);
        let explanation = evidence.explain(at(60));
        let start = "Since the watch began 48 requests failed; 24 of them on the candidate, which \
                     served 10 % of the traffic (4.8 expected). If the candidate were at most 1.25 \
                     times as error-prone as the stable release, evidence this strong would ever \
                     appear in fewer than 1 in ";
        let end =
            " deployments (limit: 1 in 100). Estimated ratio 9.33, with 99 % confidence at least ";
        assert!(
            explanation.sentence.starts_with(start),
            "{}",
            explanation.sentence
        );
        assert!(
            explanation.sentence.contains(end),
            "{}",
            explanation.sentence
        );
        assert_eq!(explanation.window, Some(Window::new(at(0), at(60))));
        assert_eq!(explanation.counts.len(), 2);
        // Crossed, and blind since: nobody may act on it any more.
        assert_eq!(
            evidence.verdict(at(91)),
            Verdict::Unknown(UnknownReason::Stale { metric: id() })
        );
        assert_eq!(
            evidence.next_wake(at(60)),
            Some(Timestamp::from_millis(90_001))
        );
    }

    #[test]
    fn trouble_of_both_arms_is_nobodys_fault() {
        let evidence = run(100, (20, 100), (180, 900));
        assert_eq!(evidence.verdict(at(1_000)), Verdict::Pass);
    }

    #[test]
    fn a_pass_takes_traffic_in_which_it_would_have_been_noticed() {
        let evidence = run(3, (0, 20), (1, 180));
        let Verdict::Inconclusive(words) = evidence.verdict(at(30)) else {
            panic!("{}", evidence.verdict(at(30)));
        };
        assert!(words.contains("of the candidate"), "{words}");
        assert_eq!(
            run(100, (0, 100), (4, 900)).verdict(at(1_000)),
            Verdict::Pass
        );
        // Errors are so rare that three times as many are next to nothing: 1 % would be noticed.
        assert_eq!(run(30, (0, 100), (0, 900)).verdict(at(300)), Verdict::Pass);
    }

    #[test]
    fn no_verdict_without_both_arms() {
        let mut evidence = rule().begin(&start());
        let unknown = |evidence: &dyn Evidence, second| match evidence.verdict(at(second)) {
            Verdict::Unknown(reason) => reason,
            verdict => panic!("{verdict}"),
        };
        assert_eq!(unknown(&*evidence, 0), UnknownReason::NothingYet);
        tell(&mut *evidence, 1, &CANDIDATE, (9, 10));
        assert_eq!(unknown(&*evidence, 10), UnknownReason::NoArm(Arm::Stable));
        tell(&mut *evidence, 1, &STABLE, (0, 0));
        assert_eq!(unknown(&*evidence, 10), UnknownReason::NoArm(Arm::Stable));
        tell(&mut *evidence, 2, &STABLE, (0, 10));
        tell(&mut *evidence, 2, &CANDIDATE, (9, 10));
        assert_eq!(evidence.verdict(at(20)).word(), "inconclusive");
        let error = ReadError::NoData;
        evidence.unreadable(at(30), &id(), &STABLE, &error);
        assert_eq!(
            unknown(&*evidence, 30),
            UnknownReason::Unreadable {
                metric: id(),
                error
            }
        );
        let verifying = rule().begin(&start().verifying());
        assert_eq!(
            unknown(&*verifying, 0),
            UnknownReason::NoArm(Arm::Candidate)
        );
    }

    #[test]
    fn only_the_same_stretch_of_time_is_compared() {
        let compared = |told: &[(&Scope, i64, i64)]| {
            let mut evidence = rule().begin(&start());
            for (scope, from, to) in told {
                evidence.observe(at(*to), &id(), scope, &reading(*from, *to, (1, 100)));
            }
            let explanation = evidence.explain(at(100));
            let of = |arm| {
                explanation
                    .counts
                    .iter()
                    .find(|c| c.arm == Some(arm))
                    .unwrap()
                    .total
            };
            (of(Arm::Candidate), of(Arm::Stable))
        };
        for (told, expected) in [
            (&[(&CANDIDATE, 0, 10), (&STABLE, 0, 10)][..], (100, 100)),
            // The stable arm answers for two polls at once.
            (
                &[(&CANDIDATE, 0, 10), (&CANDIDATE, 10, 20), (&STABLE, 0, 20)],
                (200, 100),
            ),
            // It was not seen in the first poll: the candidate's first poll is left out.
            (
                &[(&CANDIDATE, 0, 10), (&CANDIDATE, 10, 20), (&STABLE, 10, 20)],
                (100, 100),
            ),
            (&[(&CANDIDATE, 0, 10), (&STABLE, 10, 20)], (0, 0)),
            // The candidate answers for two polls at once, and the stable arm poll by poll.
            (&[(&CANDIDATE, 0, 20), (&STABLE, 0, 10)], (0, 0)),
            (
                &[(&CANDIDATE, 0, 20), (&STABLE, 0, 10), (&STABLE, 10, 20)],
                (100, 200),
            ),
            // Once more the same window, and one from the past.
            (
                &[
                    (&CANDIDATE, 0, 10),
                    (&STABLE, 0, 10),
                    (&CANDIDATE, 0, 10),
                    (&STABLE, 0, 10),
                ],
                (100, 100),
            ),
        ] {
            assert_eq!(compared(told), expected, "{told:?}");
        }
    }

    #[test]
    fn impossible_counts_are_not_evidence() {
        let mut evidence = rule().begin(&start());
        tell(&mut *evidence, 1, &CANDIDATE, (11, 10));
        tell(&mut *evidence, 1, &STABLE, (0, 10));
        assert_eq!(evidence.verdict(at(10)).word(), "unknown");
    }
}
