//! From a document to a policy: values that can only be valid. What makes sense together is judged in
//! `check`.

use std::time::Duration;

use super::{
    Blindness, Bootstrap, Budget, Deadlines, Metric, OnInconclusive, OnNoData, PerScope, Policy,
    PolicyDocument, PolicyError, TriggerRule, Verification,
    document::{BootstrapName, MetricDocument, OnInconclusiveName, OnNoDataName, PerName},
    error::Problem,
    trigger::{parts, trigger},
};
use crate::{
    condition::Unit,
    model::{MetricId, Query},
};

/// A policy that is read back, such as from a journal, is taken as it was decided on: its values are
/// checked, and not whether it makes sense by today's rules.
impl TryFrom<PolicyDocument> for Policy {
    type Error = PolicyError;

    fn try_from(document: PolicyDocument) -> Result<Self, PolicyError> {
        Ok(compile(document)?)
    }
}

pub(super) fn compile(document: PolicyDocument) -> Result<Policy, Problem> {
    let mut metrics = document
        .metrics
        .into_iter()
        .map(|(id, document)| metric(id, document))
        .collect::<Result<Vec<_>, _>>()?;
    for (id, document) in document.record {
        let recorded = record(id, document, &metrics).map_err(Problem::of_record)?;
        metrics.push(recorded);
    }
    let poll = above_zero("poll", document.poll.0, "10s")?;
    let parts = parts(&document.triggers);
    let mut triggers: Vec<TriggerRule> = Vec::new();
    for (index, document) in document.triggers.into_iter().enumerate() {
        let part_of = parts.get(&document.name);
        let rule = trigger(index, document, poll, part_of)?;
        if let Some(first) = triggers.iter().position(|other| other.name == rule.name) {
            return Err(Problem::new(
                (index, "name"),
                format!("`{}` is the name of triggers[{first}] too", rule.name),
                "give each trigger its own name",
            ));
        }
        triggers.push(rule);
    }
    let (strategy, bake) = super::strategy_read::read(
        document.strategy,
        document.holdback,
        document.check.0,
        document.bake.map(|bake| bake.0),
    )?;
    let bake = above_zero("bake", bake, "10m")?;
    let tasks = super::task::read(document.tasks, &strategy)?;
    let deadlines = document.deadlines;
    Ok(Policy {
        service: document.service,
        strategy,
        tasks,
        poll,
        metrics,
        triggers,
        bake,
        verify: Verification {
            hold_for: document.verify.for_.0,
            within: above_zero("verify.within", document.verify.within.0, "5m")?,
        },
        deadlines: Deadlines {
            preflight: above_zero("deadlines.preflight", deadlines.preflight.0, "1m")?,
            converge: above_zero("deadlines.converge", deadlines.converge.0, "10m")?,
            shift: above_zero("deadlines.shift", deadlines.shift.0, "2m")?,
            retire: above_zero("deadlines.retire", deadlines.retire.0, "5m")?,
            apply: above_zero("deadlines.apply", deadlines.apply.0, "30s")?,
            doubt: above_zero("deadlines.doubt", deadlines.doubt.0, "2m")?,
            permit: above_zero("deadlines.permit", deadlines.permit.0, "1m")?,
        },
        budget: Budget {
            rollbacks: document.budget.rollbacks,
            per: above_zero("budget.per", document.budget.per.0, "1h")?,
            cooldown: document.budget.cooldown.0,
        },
        blindness: Blindness {
            budget: document.blind_budget.0,
            then: match document.on_no_data {
                OnNoDataName::Hold => OnNoData::Hold,
                OnNoDataName::RollBack => OnNoData::RollBack,
            },
        },
        on_inconclusive: match document.on_inconclusive {
            OnInconclusiveName::Promote => OnInconclusive::Promote,
            OnInconclusiveName::Hold => OnInconclusive::Hold,
        },
        bootstrap: match document.bootstrap {
            BootstrapName::TrustRunning => Bootstrap::TrustRunning,
            BootstrapName::Bake => Bootstrap::Bake,
        },
        mode: document.mode,
        foreign: document.foreign,
        crash_limit: document.crash_limit.0,
    })
}

pub(super) fn above_zero(
    path: &str,
    duration: Duration,
    example: &str,
) -> Result<Duration, Problem> {
    if duration.is_zero() {
        let key = path.rsplit('.').next().unwrap_or(path);
        return Err(Problem::new(
            path,
            format!("`{key}` is zero"),
            format!("give it some time, such as {example}"),
        ));
    }
    Ok(duration)
}

/// A metric that no rule reads.
fn record(id: MetricId, document: MetricDocument, judged: &[Metric]) -> Result<Metric, Problem> {
    if judged.iter().any(|metric| metric.id == id) {
        return Err(Problem::new(
            (&id, ""),
            format!("`{id}` stands under `metrics` too, and is recorded anyway"),
            "remove it here, or give it another name",
        )
        .about_key());
    }
    Ok(metric(id, document)?.only_recorded())
}

fn metric(id: MetricId, document: MetricDocument) -> Result<Metric, Problem> {
    let both = "give either `query`, or both `bad` and `total`";
    let problem = |key, message: &str| Err(Problem::new((&id, key), message, both).about_key());
    let query = match (document.query, document.bad, document.total) {
        (Some(query), None, None) => Query::Value(query),
        (None, Some(bad), Some(total)) => Query::Counts { bad, total },
        (Some(_), Some(_), _) => return problem("bad", "`bad` stands beside `query`"),
        (Some(_), None, Some(_)) => return problem("total", "`total` stands beside `query`"),
        (None, Some(_), None) => return problem("bad", "`bad` stands without `total`"),
        (None, None, Some(_)) => return problem("total", "`total` stands without `bad`"),
        (None, None, None) => return problem("", "nothing says what to ask the source"),
    };
    if matches!(query, Query::Counts { .. })
        && !matches!(document.unit, Unit::Ratio | Unit::Percent | Unit::Count)
    {
        return Err(Problem::new(
            (&id, "unit"),
            format!(
                "`bad` and `total` count events, which are no `{}`",
                document.unit
            ),
            "write `unit: ratio`, `percent` or `count`; or give a `query` for a value",
        ));
    }
    Ok(Metric {
        id,
        unit: document.unit,
        per: match document.per {
            PerName::Service => PerScope::Service,
            PerName::Arm => PerScope::Arm,
            PerName::Instance => PerScope::Instance,
        },
        query,
        source: document.source,
        warmup: document.warmup.0,
        judged: true,
    })
}
