//! From a document to a policy: values that can only be valid. What makes sense together is judged in
//! `check`.

use std::{sync::Arc, time::Duration};

use super::{
    Blindness, Bootstrap, Budget, Deadlines, Metric, OnInconclusive, OnNoData, PerScope, Policy,
    PolicyDocument, PolicyError, Rule, TriggerRule, Verification,
    document::{
        BootstrapName, MetricDocument, OnInconclusiveName, OnNoDataName, PerName, Share,
        TriggerDocument,
    },
    error::Problem,
};
use crate::{
    condition::Unit,
    model::{Action, MetricId, Query},
    statistics::{FalseRollbackRate, MinEffect},
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
    let metrics = document
        .metrics
        .into_iter()
        .map(|(id, document)| metric(id, document))
        .collect::<Result<_, _>>()?;
    let mut triggers: Vec<TriggerRule> = Vec::new();
    for (index, document) in document.triggers.into_iter().enumerate() {
        let rule = trigger(index, document)?;
        if let Some(first) = triggers.iter().position(|other| other.name == rule.name) {
            return Err(Problem::new(
                (index, "name"),
                format!("`{}` is the name of triggers[{first}] too", rule.name),
                "give each trigger its own name",
            ));
        }
        triggers.push(rule);
    }
    let poll = above_zero("poll", document.poll.0, "10s")?;
    let (strategy, bake) = super::strategy_read::read(
        document.strategy,
        document.holdback,
        document.check.0,
        document.bake.map(|bake| bake.0),
    )?;
    let bake = above_zero("bake", bake, "10m")?;
    let deadlines = document.deadlines;
    Ok(Policy {
        service: document.service,
        strategy,
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
        crash_limit: document.crash_limit,
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
    })
}

fn trigger(index: usize, document: TriggerDocument) -> Result<TriggerRule, Problem> {
    let name = document.name;
    if name.is_empty() || name.chars().any(|c| c.is_whitespace() || c.is_control()) {
        return Err(Problem::new(
            (index, "name"),
            format!(
                "`{}` is no name: it is empty or has a space in it",
                name.escape_debug()
            ),
            "write one word, such as too_many_errors",
        ));
    }
    let kinds = [
        ("when", document.when.is_some()),
        ("compare", document.compare.is_some()),
        ("host", document.host),
    ];
    let mut given = kinds
        .iter()
        .filter(|(_, given)| *given)
        .map(|(kind, _)| *kind);
    let kind = match (given.next(), given.next()) {
        (Some(kind), None) => kind,
        (Some(first), Some(second)) => {
            return Err(Problem::new(
                (index, second),
                format!("trigger `{name}` has both `{first}` and `{second}`"),
                "keep one of them, and make a second trigger of the other",
            )
            .about_key());
        }
        (None, _) => {
            return Err(Problem::new(
                (index, ""),
                format!("nothing says when trigger `{name}` fails"),
                "give it `when: CONDITION`, `compare: METRIC` or `host: true`",
            ));
        }
    };
    let with = [
        ("for", document.for_.is_some(), "when"),
        (
            "max_false_rollback_rate",
            document.max_false_rollback_rate.is_some(),
            "compare",
        ),
        ("min_effect", document.min_effect.is_some(), "compare"),
    ];
    if let Some((key, _, belongs)) = with.iter().find(|(_, given, with)| *given && *with != kind) {
        return Err(Problem::new(
            (index, *key),
            format!("`{key}` has no meaning with `{kind}`"),
            format!("remove it; it belongs to `{belongs}`"),
        )
        .about_key());
    }
    let rule = match (document.when, document.compare) {
        (Some(condition), _) => Rule::When {
            condition,
            for_: document.for_.unwrap_or_default().0,
        },
        (None, Some(metric)) => compare(
            index,
            metric,
            document.max_false_rollback_rate,
            document.min_effect,
        )?,
        (None, None) => Rule::Host,
    };
    Ok(TriggerRule {
        name: Arc::clone(&name),
        rule,
        action: document.action,
        required: document
            .required
            .unwrap_or(document.action == Action::RollBack),
    })
}

fn compare(
    index: usize,
    metric: MetricId,
    rate: Option<Share>,
    min_effect: Option<f64>,
) -> Result<Rule, Problem> {
    let rate = rate.map_or_else(|| FalseRollbackRate::DEFAULT.share(), |share| share.0);
    if FalseRollbackRate::new(rate).is_err() {
        return Err(Problem::new(
            (index, "max_false_rollback_rate"),
            format!(
                "{} % is no rate that can be kept: no evidence is ever enough for 0 %, and none is \
                 needed for 100 %",
                rate * 100.0
            ),
            "write a share between them, such as 1%",
        ));
    }
    let min_effect = min_effect.unwrap_or_else(|| MinEffect::DEFAULT.ratio());
    if MinEffect::new(min_effect).is_err() {
        return Err(Problem::new(
            (index, "min_effect"),
            if min_effect < 1.0 {
                format!("a candidate that is {min_effect} times as error-prone is not worse")
            } else {
                format!("{min_effect} times as error-prone is beyond all measure")
            },
            "write a number from 1 on, such as 1.25",
        ));
    }
    Ok(Rule::Compare {
        metric,
        max_false_rollback_rate: rate,
        min_effect,
    })
}
