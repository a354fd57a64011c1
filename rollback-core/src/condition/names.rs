//! What the names in a condition stand for: metrics, arms and the baseline.

use std::collections::BTreeSet;

use super::catalogue::{MetricCatalogue, Slot, Subject};
use super::error::{ConditionErrorKind, Problem, Span, closest};
use super::eval::{NumberExpr, TextExpr};
use super::quantity::{Operand, Quantity};
use super::syntax::{Expr, ExprKind};
use super::unit::Unit;

pub(super) const BASELINE: &str = "baseline";
const FUNCTIONS: [(&str, Subject); 3] = [
    ("stable", Subject::Stable),
    ("candidate", Subject::Candidate),
    (BASELINE, Subject::Baseline),
];

/// The metrics that a comparison names: what the word `baseline` can mean in it.
pub(super) type Compared<'e> = BTreeSet<&'e str>;

/// The catalogue, and the slots given to what was read from it.
pub(super) struct Names<'c> {
    catalogue: &'c MetricCatalogue,
    slots: Vec<Slot>,
}

impl<'c> Names<'c> {
    pub(super) const fn new(catalogue: &'c MetricCatalogue) -> Self {
        Self {
            catalogue,
            slots: Vec::new(),
        }
    }

    pub(super) fn slots(&self) -> &[Slot] {
        &self.slots
    }

    pub(super) fn into_slots(self) -> Vec<Slot> {
        self.slots
    }

    pub(super) fn read(
        &mut self,
        metric: &str,
        span: Span,
        subject: Subject,
    ) -> Result<Operand, Problem> {
        let Some(declared) = self.catalogue.get(metric) else {
            return Err(self.unknown_metric(metric, span));
        };
        if !declared.per_arm && matches!(subject, Subject::Stable | Subject::Candidate) {
            return Err(Problem::new(
                ConditionErrorKind::NoArms,
                span,
                format!("`{metric}` is measured for the service as a whole, not for each arm"),
                format!("declare the metric with `per: arm`, or write just `{metric}`"),
            ));
        }
        let unit = declared.unit;
        let slot = Slot {
            metric: metric.to_owned(),
            subject,
            unit,
        };
        let position = self
            .slots
            .iter()
            .position(|known| *known == slot)
            .unwrap_or_else(|| {
                self.slots.push(slot);
                self.slots.len() - 1
            });
        Ok(if unit == Unit::State {
            Operand::Text(TextExpr::Slot(position))
        } else {
            Operand::Number(Quantity {
                expr: NumberExpr::Slot(position),
                unit: Some(unit),
            })
        })
    }

    fn unknown_metric(&self, metric: &str, span: Span) -> Problem {
        if FUNCTIONS.iter().any(|(function, _)| *function == metric) {
            return Problem::new(
                ConditionErrorKind::UnknownMetric,
                span,
                format!("`{metric}` is a function, not a metric"),
                format!("say of which metric: `{metric}(error_rate)`"),
            );
        }
        if matches!(metric, "true" | "false") {
            return Problem::new(
                ConditionErrorKind::NoMetric,
                span,
                format!("`{metric}` reads no metric, so its answer never changes"),
                "compare a metric, such as `error_rate > 5%`",
            );
        }
        if matches!(metric, "not" | "NOT") {
            return Problem::new(
                ConditionErrorKind::Syntax,
                span,
                "`not` is not an operator",
                "write `!(..)`",
            );
        }
        let fix = match closest(metric, self.catalogue.names()) {
            Some(near) => format!("did you mean `{near}`?"),
            None => match self.catalogue.names().collect::<Vec<_>>().as_slice() {
                [] => "declare it under `metrics`; none is declared yet".to_owned(),
                names if names.len() <= 8 => {
                    format!(
                        "declare it under `metrics`, or use one of: {}",
                        names.join(", ")
                    )
                }
                _ => "declare it under `metrics`".to_owned(),
            },
        };
        // What a state is compared with is a text.
        let fix = match self.catalogue.has_states() && !fix.starts_with("did") {
            true => format!("{fix}; if it is a word that a metric answers, quote it: '{metric}'"),
            false => fix,
        };
        Problem::new(
            ConditionErrorKind::UnknownMetric,
            span,
            format!("unknown metric `{metric}`"),
            fix,
        )
    }

    pub(super) fn subject(&self, function: &str, span: Span) -> Result<Subject, Problem> {
        FUNCTIONS
            .iter()
            .find(|(name, _)| *name == function)
            .map(|(_, subject)| *subject)
            .ok_or_else(|| {
                let fix = match closest(function, FUNCTIONS.iter().map(|(name, _)| *name)) {
                    Some(near) => format!("did you mean `{near}(..)`?"),
                    None => {
                        "the functions are stable(..), candidate(..) and baseline(..)".to_owned()
                    }
                };
                Problem::new(
                    ConditionErrorKind::UnknownFunction,
                    span,
                    format!("unknown function `{function}`"),
                    fix,
                )
            })
    }

    pub(super) fn baseline_metric<'e>(
        &self,
        span: Span,
        compared: &Compared<'e>,
    ) -> Result<&'e str, Problem> {
        let problem = |message: String, fix: String| {
            Err(Problem::new(
                ConditionErrorKind::AmbiguousBaseline,
                span,
                message,
                fix,
            ))
        };
        if self.catalogue.get(BASELINE).is_some() {
            return problem(
                "`baseline` is a word of the language, and also the name of a metric".to_owned(),
                "rename the metric".to_owned(),
            );
        }
        let mut names = compared.iter();
        match (names.next(), names.next()) {
            (Some(metric), None) => Ok(metric),
            (None, _) => problem(
                "`baseline` stands for the metric that it is compared with, and there is none"
                    .to_owned(),
                "say which metric: `baseline(error_rate)`".to_owned(),
            ),
            (Some(first), Some(second)) => problem(
                format!("`baseline` could mean `{first}` or `{second}` here"),
                format!("say which one: `baseline({first})`"),
            ),
        }
    }
}

/// The metrics that an expression names, except through the bare word `baseline`.
pub(super) fn metrics_of<'e>(expr: &'e Expr, found: &mut Compared<'e>) {
    match &expr.kind {
        ExprKind::Name(name) if name != BASELINE => {
            found.insert(name);
        }
        ExprKind::Call { name, .. } => {
            found.insert(name);
        }
        ExprKind::Unary(_, operand) => metrics_of(operand, found),
        ExprKind::Binary(_, left, right) => {
            metrics_of(left, found);
            metrics_of(right, found);
        }
        ExprKind::Name(_) | ExprKind::Number { .. } | ExprKind::Text(_) => {}
    }
}
