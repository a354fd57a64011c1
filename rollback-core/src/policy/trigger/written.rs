//! From a rule back to the document of its trigger.

use super::{SeverityName, TriggerDocument, composition, shape};
use crate::{
    model::Severity,
    policy::{
        Rule, TriggerRule,
        document::{Share, Text},
    },
};

impl From<TriggerRule> for TriggerDocument {
    fn from(rule: TriggerRule) -> Self {
        // A part has nothing to say about what follows.
        let acts = !rule.is_part;
        let mut document = Self {
            name: rule.name,
            when: None,
            for_: None,
            times: None,
            consecutive: None,
            within: None,
            share: None,
            over: None,
            average: None,
            min_samples: None,
            compare: None,
            max_false_rollback_rate: None,
            min_effect: None,
            alarm: None,
            health: None,
            any: None,
            all: None,
            at_least: None,
            of: None,
            task: None,
            host: false,
            action: acts.then_some(rule.action),
            severity: (acts && rule.severity != TriggerRule::default_severity(rule.action))
                .then_some(match rule.severity {
                    Severity::Page => SeverityName::Critical,
                    Severity::Warning => SeverityName::Warning,
                    Severity::Info => SeverityName::Info,
                }),
            delay: (acts && !rule.delay.is_zero()).then_some(Text(rule.delay)),
            blind_budget: rule.blind_budget.filter(|_| acts).map(Text),
            required: acts.then_some(rule.required),
        };
        match rule.rule {
            Rule::When { condition, shape } => {
                document.when = Some(condition);
                shape::write(shape, &mut document);
            }
            Rule::Compare {
                metric,
                max_false_rollback_rate,
                min_effect,
            } => {
                document.compare = Some(metric);
                document.max_false_rollback_rate = Some(Share(max_false_rollback_rate));
                document.min_effect = Some(min_effect);
            }
            Rule::Alarm { metric } => document.alarm = Some(metric),
            Rule::Health { health, shape } => {
                document.health = Some(health.into());
                shape::write(shape, &mut document);
            }
            Rule::Composite { needs, of } => composition::write(needs, of, &mut document),
            Rule::Task { task } => document.task = Some(task),
            Rule::Host => document.host = true,
        }
        document
    }
}
