//! The checked condition, and its three-valued evaluation.

use std::fmt;

use serde::{Deserialize, Serialize};

use super::syntax::{ArithmeticOp, CompareOp};
use super::unit::Unit;

/// What a caller provides for a slot.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Value<'a> {
    /// A number in the slot's unit.
    Number(f64),
    /// A text, for a slot of unit `state`.
    Text(&'a str),
    /// Nothing, and why.
    Missing(Missing),
}

/// Why there is no value.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Missing {
    /// The source answered that it has nothing for the window.
    NoData,
    /// The window is not complete yet.
    NotYet,
    /// The last reading is too old to decide on.
    Stale,
    /// The source answered with something that is not a number.
    NotANumber,
    /// The source answered with several series where one was expected.
    Ambiguous,
    /// The source could not be reached.
    Unreachable,
    /// The source refused the query.
    BadQuery,
    /// The value was never recorded.
    NotRecorded,
}

impl fmt::Display for Missing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::NoData => "there is no data",
            Self::NotYet => "its window is not complete yet",
            Self::Stale => "its last reading is too old",
            Self::NotANumber => "its reading is not a number",
            Self::Ambiguous => "its source answered with several series",
            Self::Unreachable => "its source could not be reached",
            Self::BadQuery => "its source refused the query",
            Self::NotRecorded => "it was never recorded",
        })
    }
}

/// The answer of a condition: things are bad, things are not bad, or nobody can tell.
///
/// `&&`, `||` and `!` follow Kleene's logic: `Unknown` is the answer only where the missing value could have changed it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[must_use]
pub enum Truth {
    /// The condition holds: things are bad.
    True,
    /// The condition does not hold.
    False,
    /// The values do not tell, for this reason (the first one, from left to right).
    Unknown(UnknownReason),
}

/// Why a condition has no answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum UnknownReason {
    /// A slot has no value.
    Missing {
        /// The slot's position.
        slot: usize,
        /// Why it has no value.
        why: Missing,
    },
    /// A slot has a value that is not finite.
    NotFinite {
        /// The slot's position.
        slot: usize,
    },
    /// A number was provided for a text, or the reverse.
    WrongKind {
        /// The slot's position.
        slot: usize,
    },
    /// A division by zero.
    DivisionByZero,
    /// A result too large to be represented.
    Overflow,
}

/// A truth value made of comparisons.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Predicate {
    And(Box<Self>, Box<Self>),
    Or(Box<Self>, Box<Self>),
    Not(Box<Self>),
    Compare(Comparison),
}

#[derive(Clone, Debug, PartialEq)]
pub(super) enum Comparison {
    Number {
        op: CompareOp,
        left: NumberExpr,
        right: NumberExpr,
        /// The unit of both sides.
        unit: Unit,
        /// Canonical.
        source: String,
    },
    Text {
        equal: bool,
        left: TextExpr,
        right: TextExpr,
        /// Canonical.
        source: String,
    },
}

#[derive(Clone, Debug, PartialEq)]
pub(super) enum NumberExpr {
    Constant(f64),
    Slot(usize),
    Negate(Box<Self>),
    Binary(ArithmeticOp, Box<Self>, Box<Self>),
}

#[derive(Clone, Debug, PartialEq)]
pub(super) enum TextExpr {
    Constant(String),
    Slot(usize),
}

impl Predicate {
    pub(super) fn truth<'v>(&self, values: &impl Fn(usize) -> Value<'v>) -> Truth {
        match self {
            Self::Compare(comparison) => comparison.truth(values),
            Self::Not(operand) => match operand.truth(values) {
                Truth::True => Truth::False,
                Truth::False => Truth::True,
                unknown @ Truth::Unknown(_) => unknown,
            },
            Self::And(left, right) => match left.truth(values) {
                Truth::True => right.truth(values),
                Truth::False => Truth::False,
                unknown @ Truth::Unknown(_) => match right.truth(values) {
                    Truth::False => Truth::False,
                    Truth::True | Truth::Unknown(_) => unknown,
                },
            },
            Self::Or(left, right) => match left.truth(values) {
                Truth::False => right.truth(values),
                Truth::True => Truth::True,
                unknown @ Truth::Unknown(_) => match right.truth(values) {
                    Truth::True => Truth::True,
                    Truth::False | Truth::Unknown(_) => unknown,
                },
            },
        }
    }
}

impl Comparison {
    pub(super) fn truth<'v>(&self, values: &impl Fn(usize) -> Value<'v>) -> Truth {
        let holds = match self {
            Self::Number {
                op, left, right, ..
            } => left
                .value(values)
                .and_then(|left| Ok(op.holds(left, right.value(values)?))),
            Self::Text {
                equal, left, right, ..
            } => left
                .value(values)
                .and_then(|left| Ok((left == right.value(values)?) == *equal)),
        };
        match holds {
            Ok(true) => Truth::True,
            Ok(false) => Truth::False,
            Err(reason) => Truth::Unknown(reason),
        }
    }
}

impl NumberExpr {
    pub(super) fn value<'v>(
        &self,
        values: &impl Fn(usize) -> Value<'v>,
    ) -> Result<f64, UnknownReason> {
        match self {
            Self::Constant(value) => Ok(*value),
            Self::Slot(slot) => match values(*slot) {
                Value::Number(value) if value.is_finite() => Ok(value),
                Value::Number(_) => Err(UnknownReason::NotFinite { slot: *slot }),
                Value::Text(_) => Err(UnknownReason::WrongKind { slot: *slot }),
                Value::Missing(why) => Err(UnknownReason::Missing { slot: *slot, why }),
            },
            Self::Negate(operand) => Ok(-operand.value(values)?),
            Self::Binary(op, left, right) => op.apply(left.value(values)?, right.value(values)?),
        }
    }
}

impl TextExpr {
    pub(super) fn value<'a, 'v: 'a>(
        &'a self,
        values: &impl Fn(usize) -> Value<'v>,
    ) -> Result<&'a str, UnknownReason> {
        match self {
            Self::Constant(text) => Ok(text),
            Self::Slot(slot) => match values(*slot) {
                Value::Text(text) => Ok(text),
                Value::Number(_) => Err(UnknownReason::WrongKind { slot: *slot }),
                Value::Missing(why) => Err(UnknownReason::Missing { slot: *slot, why }),
            },
        }
    }
}

impl ArithmeticOp {
    /// Both operands are finite.
    pub(super) fn apply(self, left: f64, right: f64) -> Result<f64, UnknownReason> {
        let result = match self {
            Self::Add => left + right,
            Self::Subtract => left - right,
            Self::Multiply => left * right,
            Self::Divide if right == 0.0 => return Err(UnknownReason::DivisionByZero),
            Self::Divide => left / right,
        };
        if result.is_finite() {
            Ok(result)
        } else {
            Err(UnknownReason::Overflow)
        }
    }
}
