//! The metrics as `prometheus-client` knows them.

use std::{sync::atomic::AtomicU64, time::Duration};

use prometheus_client::{
    encoding::EncodeLabelSet,
    metrics::{counter::Counter, family::Family, gauge::Gauge, histogram::Histogram, info::Info},
    registry::Registry,
};
use rollback_core::model::ServiceId;

use super::Change;

type Seconds = Gauge<f64, AtomicU64>;
type Histograms<L> = Family<L, Histogram, fn() -> Histogram>;

macro_rules! labels {
    ($($name:ident { $($label:ident),+ })+) => {
        $(
            #[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
            struct $name { $($label: String),+ }
        )+
    };
}

labels! {
    OfService { service }
    OfInfo { service, strategy, stable, candidate, policy }
    OfOutcome { service, strategy, outcome }
    OfDuration { service, outcome }
    OfPhase { service, phase }
    OfTrigger { service, trigger }
    OfVerdict { service, trigger, verdict }
    OfReading { service, source, reason }
    OfEffect { effect, result }
    OfNotice { channel, result }
}

#[derive(Debug)]
pub(super) struct Families {
    info: Family<OfInfo, Gauge>,
    deployments: Family<OfOutcome, Counter>,
    phase: Family<OfPhase, Gauge>,
    duration: Histograms<OfDuration>,
    held: Histograms<OfService>,
    detection: Histograms<OfTrigger>,
    restore: Histograms<OfService>,
    verdict: Family<OfVerdict, Gauge>,
    reading_errors: Family<OfReading, Counter>,
    blind: Family<OfService, Seconds>,
    effects: Family<OfEffect, Counter>,
    effect_duration: Histograms<OfEffect>,
    notices: Family<OfNotice, Counter>,
    append_duration: Histogram,
    journal_errors: Counter,
}

const LONG: [f64; 8] = [
    30.0, 60.0, 300.0, 900.0, 1_800.0, 3_600.0, 10_800.0, 28_800.0,
];
const DETECT: [f64; 10] = [
    1.0, 2.0, 5.0, 10.0, 30.0, 60.0, 120.0, 300.0, 900.0, 3_600.0,
];
const RESTORE: [f64; 9] = [0.1, 0.5, 1.0, 5.0, 10.0, 30.0, 60.0, 300.0, 600.0];
const SHORT: [f64; 9] = [0.001, 0.005, 0.01, 0.05, 0.1, 0.5, 1.0, 5.0, 30.0];

fn long() -> Histogram {
    Histogram::new(LONG)
}
fn detect() -> Histogram {
    Histogram::new(DETECT)
}
fn restore() -> Histogram {
    Histogram::new(RESTORE)
}
fn short() -> Histogram {
    Histogram::new(SHORT)
}

impl Families {
    pub(super) fn register(registry: &mut Registry) -> Self {
        let families = Self {
            info: Family::default(),
            deployments: Family::default(),
            phase: Family::default(),
            duration: Family::new_with_constructor(long),
            held: Family::new_with_constructor(long),
            detection: Family::new_with_constructor(detect),
            restore: Family::new_with_constructor(restore),
            verdict: Family::default(),
            reading_errors: Family::default(),
            blind: Family::default(),
            effects: Family::default(),
            effect_duration: Family::new_with_constructor(short),
            notices: Family::default(),
            append_duration: short(),
            journal_errors: Counter::default(),
        };
        let build = Info::new(vec![("version", env!("CARGO_PKG_VERSION"))]);
        registry.register("rollback_build", "The version of the library", build);
        families.register_services(registry);
        families.register_machinery(registry);
        families
    }

    fn register_services(&self, registry: &mut Registry) {
        registry.register(
            "rollback_service_info",
            "What a service runs and by which policy it is guarded",
            self.info.clone(),
        );
        registry.register(
            "rollback_deployments",
            "Deployments that ended, by outcome",
            self.deployments.clone(),
        );
        registry.register(
            "rollback_deployment_phase",
            "1 for the phase that the service's deployment is in",
            self.phase.clone(),
        );
        registry.register(
            "rollback_deployment_duration_seconds",
            "From the opening of a deployment to its outcome",
            self.duration.clone(),
        );
        registry.register(
            "rollback_deployment_held_seconds",
            "How long a deployment waited for a person",
            self.held.clone(),
        );
        registry.register(
            "rollback_detection_duration_seconds",
            "From the candidate's first traffic (or the opening, if it had none) to the decision to roll back",
            self.detection.clone(),
        );
        registry.register(
            "rollback_restore_duration_seconds",
            "From the decision to roll back until the traffic was back (or the rollback ended)",
            self.restore.clone(),
        );
        registry.register(
            "rollback_trigger_verdict",
            "1 for what a trigger says now",
            self.verdict.clone(),
        );
        registry.register(
            "rollback_blind_seconds",
            "How long a trigger of the open watch has not been able to see; 0 if all see",
            self.blind.clone(),
        );
    }

    fn register_machinery(&self, registry: &mut Registry) {
        registry.register(
            "rollback_reading_errors",
            "Readings that failed",
            self.reading_errors.clone(),
        );
        registry.register(
            "rollback_effects",
            "What the controller did, by result",
            self.effects.clone(),
        );
        registry.register(
            "rollback_effect_duration_seconds",
            "How long it took",
            self.effect_duration.clone(),
        );
        registry.register(
            "rollback_notices",
            "Notices to people, by result",
            self.notices.clone(),
        );
        registry.register(
            "rollback_journal_append_duration_seconds",
            "How long an append to the journal took",
            self.append_duration.clone(),
        );
        registry.register(
            "rollback_journal_errors",
            "Appends that failed",
            self.journal_errors.clone(),
        );
    }

    pub(super) fn appended(&self, took: Duration, ok: bool) {
        self.append_duration.observe(took.as_secs_f64());
        if !ok {
            self.journal_errors.inc();
        }
    }

    pub(super) fn effect(&self, effect: &str, result: &str, took: Duration) {
        let labels = OfEffect {
            effect: effect.to_owned(),
            result: result.to_owned(),
        };
        self.effects.get_or_create(&labels).inc();
        self.effect_duration
            .get_or_create(&labels)
            .observe(took.as_secs_f64());
    }

    pub(super) fn notice(&self, channel: &str, result: &str) {
        let labels = OfNotice {
            channel: channel.to_owned(),
            result: result.to_owned(),
        };
        self.notices.get_or_create(&labels).inc();
    }

    pub(super) fn reading_error(&self, service: &ServiceId, source: &str, reason: &str) {
        let labels = OfReading {
            service: service.to_string(),
            source: source.to_owned(),
            reason: reason.to_owned(),
        };
        self.reading_errors.get_or_create(&labels).inc();
    }

    pub(super) fn changed(&self, service: &ServiceId, change: &Change<'_>) {
        let service = service.to_string();
        match *change {
            Change::Phase { word, on } => {
                let phase = word.to_owned();
                self.phase
                    .get_or_create(&OfPhase { service, phase })
                    .set(i64::from(on));
            }
            Change::Detected { trigger, after } => {
                let trigger = trigger.to_owned();
                self.detection
                    .get_or_create(&OfTrigger { service, trigger })
                    .observe(after.as_secs_f64());
            }
            Change::Restored { after } => self
                .restore
                .get_or_create(&OfService { service })
                .observe(after.as_secs_f64()),
            Change::Held { length } => self
                .held
                .get_or_create(&OfService { service })
                .observe(length.as_secs_f64()),
            Change::Verdict {
                trigger,
                verdict,
                on,
            } => {
                let labels = OfVerdict {
                    service,
                    trigger: trigger.to_owned(),
                    verdict: verdict.to_owned(),
                };
                self.verdict.get_or_create(&labels).set(i64::from(on));
            }
            Change::Blind { length } => {
                self.blind
                    .get_or_create(&OfService { service })
                    .set(length.as_secs_f64());
            }
            Change::Ended {
                outcome,
                strategy,
                length,
            } => {
                let word = outcome.word().to_owned();
                self.deployments
                    .get_or_create(&OfOutcome {
                        service: service.clone(),
                        strategy: strategy.to_owned(),
                        outcome: word.clone(),
                    })
                    .inc();
                self.duration
                    .get_or_create(&OfDuration {
                        service,
                        outcome: word,
                    })
                    .observe(length.as_secs_f64());
            }
            Change::Info {
                strategy,
                stable,
                candidate,
                policy,
                on,
            } => {
                let labels = OfInfo {
                    service,
                    strategy: strategy.to_owned(),
                    stable: stable.to_owned(),
                    candidate: candidate.to_owned(),
                    policy: policy.to_owned(),
                };
                if on {
                    self.info.get_or_create(&labels).set(1);
                } else {
                    self.info.remove(&labels);
                }
            }
        }
    }
}
