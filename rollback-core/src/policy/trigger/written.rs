//! From a rule back to the document of its trigger.

use super::{SeverityName, TriggerDocument, shape};
use crate::{
    model::Severity,
    policy::{
        Rule, TriggerRule,
        document::{Share, Text},
    },
};

impl From<TriggerRule> for TriggerDocument {
    fn from(rule: TriggerRule) -> Self {
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
            host: false,
            action: rule.action,
            severity: (rule.severity != TriggerRule::default_severity(rule.action)).then_some(
                match rule.severity {
                    Severity::Page => SeverityName::Critical,
                    Severity::Warning => SeverityName::Warning,
                    Severity::Info => SeverityName::Info,
                },
            ),
            delay: (!rule.delay.is_zero()).then_some(Text(rule.delay)),
            blind_budget: rule.blind_budget.map(Text),
            required: Some(rule.required),
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
            Rule::Host => document.host = true,
        }
        document
    }
}
