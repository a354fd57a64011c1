//! Calculating with units: which quantities can be compared, added, multiplied, and in which unit the result is.

use super::check::constant_problem;
use super::error::{ConditionErrorKind, Problem, Span};
use super::eval::{NumberExpr, TextExpr, UnknownReason};
use super::syntax::{ArithmeticOp, Expr};
use super::unit::{Conversion, Dimension, Suffix, Unit};

/// A number and the unit that it is in; a number without a unit takes that of what it meets.
#[derive(Clone, Debug)]
pub(super) struct Quantity {
    pub(super) expr: NumberExpr,
    pub(super) unit: Option<Unit>,
}

/// One side of an operator.
#[derive(Clone, Debug)]
pub(super) enum Operand {
    Number(Quantity),
    Text(TextExpr),
}

impl Operand {
    pub(super) fn is_constant(&self) -> bool {
        match self {
            Self::Number(quantity) => quantity.is_constant(),
            Self::Text(text) => matches!(text, TextExpr::Constant(_)),
        }
    }

    /// For messages.
    pub(super) fn kind(&self) -> String {
        match self {
            Self::Number(quantity) => quantity.kind(),
            Self::Text(TextExpr::Constant(_)) => "a text".to_owned(),
            Self::Text(TextExpr::Slot(_)) => "a state".to_owned(),
        }
    }
}

/// The two sides of an operator as they were written, for messages.
type Sides<'e> = (&'e Expr, &'e Expr);

impl Quantity {
    pub(super) fn literal(
        value: f64,
        suffix: Option<&Suffix>,
        span: Span,
    ) -> Result<Self, Problem> {
        let value = suffix.map_or(value, |suffix| value * suffix.factor);
        if !value.is_finite() {
            return Err(constant_problem(UnknownReason::Overflow, span));
        }
        Ok(Self {
            expr: NumberExpr::Constant(value),
            unit: suffix.map(|suffix| suffix.unit),
        })
    }

    pub(super) fn negated(self) -> Self {
        let expr = match self.expr {
            NumberExpr::Constant(value) => NumberExpr::Constant(-value),
            other => NumberExpr::Negate(Box::new(other)),
        };
        Self { expr, ..self }
    }

    /// Both in one unit, as comparing and adding need it.
    ///
    /// A constant is converted into the unit of the metric, so that evaluation converts nothing.
    pub(super) fn alike(
        left: Self,
        right: Self,
        verb: &str,
        sides: Sides<'_>,
        span: Span,
    ) -> Result<(Self, Self), Problem> {
        let (Some(l), Some(r)) = (left.unit, right.unit) else {
            // Only a metric lends its unit: `1 - 95%` is meant to be 5 %, never 1 % - 95 %.
            if left.unit != right.unit && left.is_constant() && right.is_constant() {
                return Err(mismatch(verb, &left, &right, sides, span));
            }
            let unit = left.unit.or(right.unit);
            return Ok((Self { unit, ..left }, Self { unit, ..right }));
        };
        if l.dimension() != r.dimension() {
            return Err(mismatch(verb, &left, &right, sides, span));
        }
        if left.is_constant() && !right.is_constant() {
            Ok((left.converted_to(r, span)?, right))
        } else {
            Ok((left, right.converted_to(l, span)?))
        }
    }

    pub(super) fn calculated(
        op: ArithmeticOp,
        left: Self,
        right: Self,
        sides: Sides<'_>,
        span: Span,
    ) -> Result<Self, Problem> {
        match op {
            ArithmeticOp::Add => {
                let (left, right) = Self::alike(left, right, "add", sides, span)?;
                left.joined(op, right, span)
            }
            ArithmeticOp::Subtract => {
                let (left, right) = Self::alike(left, right, "subtract", sides, span)?;
                left.joined(op, right, span)
            }
            ArithmeticOp::Multiply => Self::product(left, right, sides, span),
            ArithmeticOp::Divide => Self::quotient(left, right, sides, span),
        }
    }

    fn product(left: Self, right: Self, sides: Sides<'_>, span: Span) -> Result<Self, Problem> {
        let (left, right, unit) = match (left.dimension(), right.dimension()) {
            (Some(Dimension::Share), Some(Dimension::Share)) if !left.is_constant() => {
                let unit = left.unit;
                (left, right.converted_to(Unit::Ratio, span)?, unit)
            }
            (Some(Dimension::Share), Some(_)) => {
                let unit = right.unit;
                (left.converted_to(Unit::Ratio, span)?, right, unit)
            }
            (Some(_), Some(Dimension::Share)) => {
                let unit = left.unit;
                (left, right.converted_to(Unit::Ratio, span)?, unit)
            }
            (None | Some(Dimension::Count), Some(_)) => {
                let unit = right.unit;
                (left, right, unit)
            }
            (_, None) | (Some(_), Some(Dimension::Count)) => {
                let unit = left.unit;
                (left, right, unit)
            }
            _ => return Err(mismatch("multiply", &left, &right, sides, span)),
        };
        let product = left.joined(ArithmeticOp::Multiply, right, span)?;
        Ok(Self { unit, ..product })
    }

    fn quotient(left: Self, right: Self, sides: Sides<'_>, span: Span) -> Result<Self, Problem> {
        let (left, right, unit) = match (left.unit, right.unit) {
            (unit, None) => (left, right, unit),
            (Some(l), Some(r)) if l.dimension() == r.dimension() => {
                (left, right.converted_to(l, span)?, Some(Unit::Ratio))
            }
            (unit, Some(r)) if r.dimension() == Dimension::Share => (
                left,
                right.converted_to(Unit::Ratio, span)?,
                unit.or(Some(Unit::Ratio)),
            ),
            (unit, Some(Unit::Count)) => (left, right, unit.or(Some(Unit::Ratio))),
            _ => return Err(mismatch("divide", &left, &right, sides, span)),
        };
        let quotient = left.joined(ArithmeticOp::Divide, right, span)?;
        Ok(Self { unit, ..quotient })
    }

    /// The operation itself, done now where both sides are constant.
    fn joined(self, op: ArithmeticOp, other: Self, span: Span) -> Result<Self, Problem> {
        let unit = self.unit;
        let expr = match (self.expr, other.expr) {
            (NumberExpr::Constant(left), NumberExpr::Constant(right)) => NumberExpr::Constant(
                op.apply(left, right)
                    .map_err(|reason| constant_problem(reason, span))?,
            ),
            (_, NumberExpr::Constant(0.0)) if op == ArithmeticOp::Divide => {
                return Err(constant_problem(UnknownReason::DivisionByZero, span));
            }
            (left, right) => NumberExpr::Binary(op, Box::new(left), Box::new(right)),
        };
        Ok(Self { expr, unit })
    }

    /// `target` has the same dimension.
    fn converted_to(self, target: Unit, span: Span) -> Result<Self, Problem> {
        let conversion = self
            .unit
            .map_or(Conversion::Same, |unit| unit.conversion_to(target));
        let expr = match (self.expr, conversion) {
            (expr, Conversion::Same) => expr,
            (NumberExpr::Constant(value), conversion) => {
                let value = conversion.apply(value);
                if !value.is_finite() {
                    return Err(constant_problem(UnknownReason::Overflow, span));
                }
                NumberExpr::Constant(value)
            }
            (expr, Conversion::Times(factor)) => NumberExpr::Binary(
                ArithmeticOp::Multiply,
                Box::new(expr),
                Box::new(NumberExpr::Constant(factor)),
            ),
            (expr, Conversion::DividedBy(divisor)) => NumberExpr::Binary(
                ArithmeticOp::Divide,
                Box::new(expr),
                Box::new(NumberExpr::Constant(divisor)),
            ),
        };
        Ok(Self {
            expr,
            unit: Some(target),
        })
    }

    fn is_constant(&self) -> bool {
        // Whatever reads no metric was calculated when it was built.
        matches!(self.expr, NumberExpr::Constant(_))
    }

    fn dimension(&self) -> Option<Dimension> {
        self.unit.map(Unit::dimension)
    }

    fn kind(&self) -> String {
        match self.unit {
            None => "a number".to_owned(),
            Some(unit) => unit.dimension().to_string(),
        }
    }
}

fn mismatch(
    verb: &str,
    left: &Quantity,
    right: &Quantity,
    (left_source, right_source): Sides<'_>,
    span: Span,
) -> Problem {
    let joint = match verb {
        "add" | "compare" | "multiply" => "and",
        "subtract" => "minus",
        _ => "by",
    };
    let fix = match (
        left.unit,
        right.unit,
        left.is_constant(),
        right.is_constant(),
    ) {
        _ if verb == "multiply" || verb == "divide" => {
            "multiply or divide by a number, a share or a count, such as `0.8 * baseline`"
                .to_owned()
        }
        (None, _, true, true) | (_, None, true, true) => {
            "give the number a unit, such as `5%` or `300ms`".to_owned()
        }
        (Some(unit), _, false, _) | (_, Some(unit), true, false) => {
            format!(
                "the metric is in {unit}: write a value like {}",
                unit.example()
            )
        }
        _ => "write both in the same unit".to_owned(),
    };
    Problem::new(
        ConditionErrorKind::WrongUnit,
        span,
        format!(
            "cannot {verb} `{left_source}` ({}) {joint} `{right_source}` ({})",
            left.kind(),
            right.kind()
        ),
        fix,
    )
}
