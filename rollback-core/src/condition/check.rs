//! Names, types and units: from the syntax tree to a condition that can only be evaluated, not misunderstood.

use super::catalogue::{MetricCatalogue, Slot, Subject};
use super::error::{ConditionErrorKind, Problem, Span};
use super::eval::{Comparison, NumberExpr, Predicate, TextExpr, UnknownReason};
use super::names::{BASELINE, Compared, Names, metrics_of};
use super::quantity::{Operand, Quantity};
use super::range;
use super::syntax::{BinaryOp, CompareOp, Expr, ExprKind, UnaryOp};
use super::unit::Unit;

pub(super) fn check(
    expr: &Expr,
    catalogue: &MetricCatalogue,
) -> Result<(Predicate, Vec<Slot>), Problem> {
    let mut checker = Checker {
        names: Names::new(catalogue),
    };
    let predicate = checker.predicate(expr, true)?;
    Ok((predicate, checker.names.into_slots()))
}

struct Checker<'c> {
    names: Names<'c>,
}

impl Checker<'_> {
    /// `wanted` is the answer that makes things bad: `false` below an odd number of `!`.
    fn predicate(&mut self, expr: &Expr, wanted: bool) -> Result<Predicate, Problem> {
        match &expr.kind {
            ExprKind::Unary(UnaryOp::Not, operand) => {
                Ok(Predicate::Not(Box::new(self.predicate(operand, !wanted)?)))
            }
            ExprKind::Binary(BinaryOp::And, left, right) => {
                let left = Box::new(self.predicate(left, wanted)?);
                let right = Box::new(self.predicate(right, wanted)?);
                let both = Predicate::And(left, right);
                if wanted {
                    self.refuse_contradiction(&both, expr.span)?;
                }
                Ok(both)
            }
            ExprKind::Binary(BinaryOp::Or, left, right) => Ok(Predicate::Or(
                Box::new(self.predicate(left, wanted)?),
                Box::new(self.predicate(right, wanted)?),
            )),
            ExprKind::Binary(BinaryOp::Compare(op), left, right) => {
                let comparison = self.comparison(expr, *op, left, right)?;
                self.refuse_foregone(&comparison, expr.span, wanted)?;
                Ok(Predicate::Compare(comparison))
            }
            _ => {
                let operand = self.operand(expr, &Compared::new())?;
                Err(Problem::new(
                    ConditionErrorKind::WrongType,
                    expr.span,
                    format!(
                        "`{expr}` is {}, and a condition is true or false",
                        operand.kind()
                    ),
                    match operand {
                        Operand::Number(Quantity { unit: None, .. }) => {
                            "compare a metric with it, such as `error_rate > 5%`".to_owned()
                        }
                        Operand::Number(Quantity {
                            unit: Some(unit), ..
                        }) => format!("compare it, such as with {}", unit.example()),
                        Operand::Text(_) => format!("compare it, such as `{expr} == 'down'`"),
                    },
                ))
            }
        }
    }

    fn comparison(
        &mut self,
        whole: &Expr,
        op: CompareOp,
        left: &Expr,
        right: &Expr,
    ) -> Result<Comparison, Problem> {
        let mut compared = Compared::new();
        metrics_of(left, &mut compared);
        metrics_of(right, &mut compared);
        let l = self.operand(left, &compared)?;
        let r = self.operand(right, &compared)?;
        if l.is_constant() && r.is_constant() {
            return Err(Problem::new(
                ConditionErrorKind::NoMetric,
                whole.span,
                format!("`{whole}` reads no metric, so its answer never changes"),
                "compare a metric, such as `error_rate > 5%`",
            ));
        }
        match (l, r) {
            (Operand::Number(l), Operand::Number(r)) => {
                let (l, r) = Quantity::alike(l, r, "compare", (left, right), whole.span)?;
                Ok(Comparison::Number {
                    op,
                    // Both sides are alike, and one of them reads a metric, so there is a unit.
                    unit: l.unit.or(r.unit).unwrap_or(Unit::Count),
                    left: l.expr,
                    right: r.expr,
                    source: whole.to_string(),
                })
            }
            (Operand::Text(l), Operand::Text(r)) => {
                let equal = match op {
                    CompareOp::Equal => true,
                    CompareOp::NotEqual => false,
                    _ => {
                        return Err(Problem::new(
                            ConditionErrorKind::WrongType,
                            whole.span,
                            format!(
                                "a state is never more or less than another, so `{}` has no meaning here",
                                op.sign()
                            ),
                            "compare it with `==` or `!=`",
                        ));
                    }
                };
                Ok(Comparison::Text {
                    equal,
                    left: l,
                    right: r,
                    source: whole.to_string(),
                })
            }
            (l, r) => {
                let fix = match (&l, &r) {
                    (Operand::Text(TextExpr::Slot(_)), _)
                    | (_, Operand::Text(TextExpr::Slot(_))) => {
                        "compare a state with a text, such as 'down'".to_owned()
                    }
                    (Operand::Number(q), _) | (_, Operand::Number(q)) => format!(
                        "compare it with a number, such as {}; a metric whose values are words has `unit: state`",
                        q.unit.unwrap_or(Unit::Count).example()
                    ),
                    (Operand::Text(_), Operand::Text(_)) => "compare a metric".to_owned(),
                };
                Err(Problem::new(
                    ConditionErrorKind::WrongType,
                    whole.span,
                    format!("`{left}` is {}, but `{right}` is {}", l.kind(), r.kind()),
                    fix,
                ))
            }
        }
    }

    fn operand(&mut self, expr: &Expr, compared: &Compared<'_>) -> Result<Operand, Problem> {
        match &expr.kind {
            ExprKind::Number { value, suffix } => {
                Quantity::literal(*value, *suffix, expr.span).map(Operand::Number)
            }
            ExprKind::Text(text) => Ok(Operand::Text(TextExpr::Constant(text.clone()))),
            ExprKind::Name(name) if name == BASELINE => {
                let metric = self.names.baseline_metric(expr.span, compared)?.to_owned();
                self.names.read(&metric, expr.span, Subject::Baseline)
            }
            ExprKind::Name(name) => self.names.read(name, expr.span, Subject::OnTrial),
            ExprKind::Call {
                function,
                function_span,
                name,
                name_span,
            } => {
                let subject = self.names.subject(function, *function_span)?;
                self.names.read(name, *name_span, subject)
            }
            ExprKind::Unary(UnaryOp::Negate, inner) => {
                let quantity = self.number(inner, compared)?;
                Ok(Operand::Number(quantity.negated()))
            }
            ExprKind::Binary(BinaryOp::Arithmetic(op), left, right) => {
                let l = self.number(left, compared)?;
                let r = self.number(right, compared)?;
                Quantity::calculated(*op, l, r, (left, right), expr.span).map(Operand::Number)
            }
            ExprKind::Unary(UnaryOp::Not, _)
            | ExprKind::Binary(BinaryOp::And | BinaryOp::Or | BinaryOp::Compare(_), ..) => {
                Err(Problem::new(
                    ConditionErrorKind::WrongType,
                    expr.span,
                    format!(
                        "`{expr}` is true or false, and can be neither compared nor calculated with"
                    ),
                    "join comparisons with `&&` and `||`: `5% < a && a < 10%`",
                ))
            }
        }
    }

    fn number(&mut self, expr: &Expr, compared: &Compared<'_>) -> Result<Quantity, Problem> {
        match self.operand(expr, compared)? {
            Operand::Number(quantity) => Ok(quantity),
            text @ Operand::Text(_) => Err(Problem::new(
                ConditionErrorKind::WrongType,
                expr.span,
                format!(
                    "`{expr}` is {}, which cannot be calculated with",
                    text.kind()
                ),
                "compare it with `==` or `!=`",
            )),
        }
    }

    fn refuse_foregone(
        &self,
        comparison: &Comparison,
        span: Span,
        wanted: bool,
    ) -> Result<(), Problem> {
        let Comparison::Number {
            op,
            left,
            right,
            unit,
            source,
        } = comparison
        else {
            return self.refuse_same_text(comparison, span, wanted);
        };
        let Some(answer) = range::only_answer(*op, left, right, self.names.slots()) else {
            return Ok(());
        };
        let why = if left == right {
            "both sides are the same".to_owned()
        } else {
            let side = |name: &str, expr: &NumberExpr| match expr {
                NumberExpr::Slot(_) => {
                    let range = range::of_expression(expr, self.names.slots());
                    Some(format!("a metric in {unit} is {}", range.describe(*unit)))
                }
                NumberExpr::Constant(_) => None,
                _ => {
                    let range = range::of_expression(expr, self.names.slots());
                    Some(format!("its {name} side is {}", range.describe(*unit)))
                }
            };
            let sides: Vec<_> = [side("left", left), side("right", right)]
                .into_iter()
                .flatten()
                .collect();
            sides.join(", and ")
        };
        let fix = if unit.largest().is_finite() && left != right {
            "compare with a value inside that range; a share that can exceed 100% has `unit: count`"
        } else if left != right {
            "compare with a value inside that range"
        } else {
            "compare it with something else, such as a number or `baseline`"
        };
        Err(foregone(source, answer, wanted, &why, span, fix))
    }

    fn refuse_same_text(
        &self,
        comparison: &Comparison,
        span: Span,
        wanted: bool,
    ) -> Result<(), Problem> {
        match comparison {
            Comparison::Text {
                equal,
                left,
                right,
                source,
            } if left == right => Err(foregone(
                source,
                *equal,
                wanted,
                "both sides are the same",
                span,
                "compare it with a text, such as 'down'",
            )),
            _ => Ok(()),
        }
    }

    fn refuse_contradiction(&self, both: &Predicate, span: Span) -> Result<(), Problem> {
        let Some(slot) = range::contradiction(both, self.names.slots()) else {
            return Ok(());
        };
        let metric = self
            .names
            .slots()
            .get(slot)
            .map_or_else(String::new, Slot::to_string);
        Err(Problem::new(
            ConditionErrorKind::NeverTrue,
            span,
            format!(
                "this can never be true: no value of `{metric}` meets all of its limits here, so the trigger could never fire"
            ),
            "widen the limits, or join them with `||`",
        ))
    }
}

fn foregone(source: &str, answer: bool, wanted: bool, why: &str, span: Span, fix: &str) -> Problem {
    let (kind, consequence) = if answer == wanted {
        (
            ConditionErrorKind::AlwaysTrue,
            "the trigger would fire on a healthy release",
        )
    } else {
        (
            ConditionErrorKind::NeverTrue,
            "the trigger could never fire because of it",
        )
    };
    let answer = if answer {
        "is always true"
    } else {
        "can never be true"
    };
    Problem::new(
        kind,
        span,
        format!("`{source}` {answer}: {why}, so {consequence}"),
        fix,
    )
}

/// An error that evaluation would meet every time.
pub(super) fn constant_problem(reason: UnknownReason, span: Span) -> Problem {
    match reason {
        UnknownReason::DivisionByZero => Problem::new(
            ConditionErrorKind::DivisionByZero,
            span,
            "this divides by zero, which has no result",
            "divide by another number",
        ),
        _ => Problem::new(
            ConditionErrorKind::NotFinite,
            span,
            "this number is larger than any number here can be",
            "write a smaller number",
        ),
    }
}
