//! From a policy back to its document, which reads as the same policy.

use std::collections::BTreeMap;

use super::{
    Bootstrap, Metric, OnInconclusive, OnNoData, PerScope, Policy, PolicyDocument,
    document::{
        BootstrapName, BudgetDocument, CrashLimit, DeadlinesDocument, MetricDocument,
        OnInconclusiveName, OnNoDataName, PerName, Share, Text, VerifyDocument,
    },
};

use crate::model::{MetricId, Query};

impl From<Policy> for PolicyDocument {
    fn from(policy: Policy) -> Self {
        let (strategy, arms) = super::strategy_read::written(&policy.strategy, policy.bake);
        let (judged, recorded) = policy.metrics.into_iter().partition(|metric| metric.judged);
        Self {
            service: policy.service,
            strategy,
            tasks: super::task::written(policy.tasks),
            holdback: Share(arms.holdback.as_ratio()),
            check: Text(arms.check),
            poll: Text(policy.poll),
            metrics: documents(judged),
            record: documents(recorded),
            triggers: policy.triggers.into_iter().map(Into::into).collect(),
            bake: Some(Text(policy.bake)),
            verify: VerifyDocument {
                for_: Text(policy.verify.hold_for),
                within: Text(policy.verify.within),
            },
            deadlines: DeadlinesDocument {
                preflight: Text(policy.deadlines.preflight),
                converge: Text(policy.deadlines.converge),
                shift: Text(policy.deadlines.shift),
                retire: Text(policy.deadlines.retire),
                apply: Text(policy.deadlines.apply),
                doubt: Text(policy.deadlines.doubt),
                permit: Text(policy.deadlines.permit),
            },
            budget: BudgetDocument {
                rollbacks: policy.budget.rollbacks,
                per: Text(policy.budget.per),
                cooldown: Text(policy.budget.cooldown),
            },
            blind_budget: Text(policy.blindness.budget),
            on_no_data: match policy.blindness.then {
                OnNoData::Hold => OnNoDataName::Hold,
                OnNoData::RollBack => OnNoDataName::RollBack,
            },
            on_inconclusive: match policy.on_inconclusive {
                OnInconclusive::Promote => OnInconclusiveName::Promote,
                OnInconclusive::Hold => OnInconclusiveName::Hold,
            },
            bootstrap: match policy.bootstrap {
                Bootstrap::TrustRunning => BootstrapName::TrustRunning,
                Bootstrap::Bake => BootstrapName::Bake,
            },
            mode: policy.mode,
            foreign: policy.foreign,
            crash_limit: CrashLimit(policy.crash_limit),
        }
    }
}

fn documents(metrics: Vec<Metric>) -> BTreeMap<MetricId, MetricDocument> {
    let named = metrics
        .into_iter()
        .map(|metric| (metric.id.clone(), metric.into()));
    named.collect()
}

impl From<Metric> for MetricDocument {
    fn from(metric: Metric) -> Self {
        let (query, bad, total) = match metric.query {
            Query::Value(query) => (Some(query), None, None),
            Query::Counts { bad, total } => (None, Some(bad), Some(total)),
        };
        Self {
            unit: metric.unit,
            per: match metric.per {
                PerScope::Service => PerName::Service,
                PerScope::Arm => PerName::Arm,
                PerScope::Instance => PerName::Instance,
            },
            query,
            bad,
            total,
            source: metric.source,
            warmup: Text(metric.warmup),
        }
    }
}
