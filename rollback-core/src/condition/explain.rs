//! Why a condition answered as it did: the numbers, what decided, and what would have passed.

use std::fmt;

use serde::{Deserialize, Serialize};

use super::catalogue::Slot;
use super::eval::{Comparison, NumberExpr, Predicate, TextExpr, Truth, UnknownReason, Value};
use super::syntax::{CompareOp, write_text};
use super::unit::Unit;

/// Every comparison of a condition with the values it saw.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct ConditionExplanation {
    /// The answer of the whole condition.
    pub truth: Truth,
    /// In the order of the text.
    pub comparisons: Vec<ComparisonExplanation>,
}

/// One comparison with the values it saw.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct ComparisonExplanation {
    /// The comparison's canonical text.
    pub source: String,
    /// The answer of this comparison alone.
    pub truth: Truth,
    /// Whether the answer of the whole condition rests on this one.
    pub decisive: bool,
    /// Whether the comparison stands below a `!`, so that it is bad when it is false.
    pub negated: bool,
    /// The left side.
    pub left: Seen,
    /// The right side.
    pub right: Seen,
    /// What would have counted as good, where one side is a metric alone and the other side is known.
    pub passing: Option<Passing>,
}

/// The value of one side of a comparison.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Seen {
    /// A number in the comparison's unit.
    Number {
        /// The number.
        value: f64,
        /// Its unit.
        unit: Unit,
    },
    /// A state.
    Text(String),
    /// No value.
    Unknown {
        /// Why.
        reason: UnknownReason,
        /// The same for a person, with the metric's name.
        text: String,
    },
}

/// The values of one slot that would have counted as good.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Passing {
    /// What is compared, as in `p95` or `stable(p95)`.
    pub subject: String,
    /// One of `==`, `!=`, `<`, `<=`, `>`, `>=`.
    pub relation: String,
    /// The bound.
    pub bound: Seen,
}

pub(super) fn explain<'v>(
    predicate: &Predicate,
    slots: &[Slot],
    values: &impl Fn(usize) -> Value<'v>,
) -> ConditionExplanation {
    let mut comparisons = Vec::new();
    let explainer = Explainer { slots, values };
    explainer.visit(predicate, true, false, &mut comparisons);
    ConditionExplanation {
        truth: predicate.truth(values),
        comparisons,
    }
}

struct Explainer<'s, F> {
    slots: &'s [Slot],
    values: &'s F,
}

impl<'v, F: Fn(usize) -> Value<'v>> Explainer<'_, F> {
    fn visit(
        &self,
        predicate: &Predicate,
        decisive: bool,
        negated: bool,
        found: &mut Vec<ComparisonExplanation>,
    ) {
        match predicate {
            Predicate::Not(operand) => self.visit(operand, decisive, !negated, found),
            Predicate::And(left, right) | Predicate::Or(left, right) => {
                let answer = same_kind(predicate.truth(self.values));
                for side in [left, right] {
                    let decisive = decisive && same_kind(side.truth(self.values)) == answer;
                    self.visit(side, decisive, negated, found);
                }
            }
            Predicate::Compare(comparison) => {
                found.push(self.comparison(comparison, decisive, negated));
            }
        }
    }

    fn comparison(
        &self,
        comparison: &Comparison,
        decisive: bool,
        negated: bool,
    ) -> ComparisonExplanation {
        let (source, left, right, op, left_slot, right_slot) = match comparison {
            Comparison::Number {
                op,
                left,
                right,
                unit,
                source,
            } => {
                let slot = |expr: &NumberExpr| match expr {
                    NumberExpr::Slot(slot) => Some(*slot),
                    _ => None,
                };
                let seen = |expr: &NumberExpr| match expr.value(self.values) {
                    Ok(value) => Seen::Number { value, unit: *unit },
                    Err(reason) => self.unknown(reason),
                };
                (
                    source,
                    seen(left),
                    seen(right),
                    *op,
                    slot(left),
                    slot(right),
                )
            }
            Comparison::Text {
                equal,
                left,
                right,
                source,
            } => {
                let slot = |expr: &TextExpr| match expr {
                    TextExpr::Slot(slot) => Some(*slot),
                    TextExpr::Constant(_) => None,
                };
                let seen = |expr: &TextExpr| match expr.value(self.values) {
                    Ok(text) => Seen::Text(text.to_owned()),
                    Err(reason) => self.unknown(reason),
                };
                let op = if *equal {
                    CompareOp::Equal
                } else {
                    CompareOp::NotEqual
                };
                (source, seen(left), seen(right), op, slot(left), slot(right))
            }
        };
        let good = if negated { op } else { op.negated() };
        let passing = self
            .passing(left_slot, good, &right)
            .or_else(|| self.passing(right_slot, good.mirrored(), &left));
        ComparisonExplanation {
            source: source.clone(),
            truth: comparison.truth(self.values),
            decisive,
            negated,
            left,
            right,
            passing,
        }
    }

    fn passing(&self, slot: Option<usize>, relation: CompareOp, bound: &Seen) -> Option<Passing> {
        if matches!(bound, Seen::Unknown { .. }) {
            return None;
        }
        Some(Passing {
            subject: self.slots.get(slot?)?.to_string(),
            relation: relation.sign().to_owned(),
            bound: bound.clone(),
        })
    }

    fn unknown(&self, reason: UnknownReason) -> Seen {
        let name = |slot: usize| {
            self.slots
                .get(slot)
                .map_or_else(|| format!("value {slot}"), Slot::to_string)
        };
        let text = match reason {
            UnknownReason::Missing { slot, why } => format!("{}: {why}", name(slot)),
            UnknownReason::NotFinite { slot } => {
                format!("{}: its value is not a finite number", name(slot))
            }
            UnknownReason::WrongKind { slot } => {
                format!("{}: its value does not fit its unit", name(slot))
            }
            UnknownReason::DivisionByZero => "it divides by zero".to_owned(),
            UnknownReason::Overflow => "its result is too large".to_owned(),
        };
        Seen::Unknown { reason, text }
    }
}

/// Unknown answers are alike, whatever their reason.
fn same_kind(truth: Truth) -> u8 {
    match truth {
        Truth::True => 0,
        Truth::False => 1,
        Truth::Unknown(_) => 2,
    }
}

impl Seen {
    fn write(&self, exact: bool) -> String {
        match self {
            Self::Number { value, unit } => unit.write(*value, exact),
            Self::Text(text) => {
                let mut written = String::new();
                // Writing into a String cannot fail.
                let _ = write_text(&mut written, text);
                written
            }
            Self::Unknown { text, .. } => format!("unknown ({text})"),
        }
    }
}

impl fmt::Display for Seen {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.write(false))
    }
}

impl fmt::Display for ComparisonExplanation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Rounding must not make two different numbers look the same.
        let exact = self.left != self.right && self.left.write(false) == self.right.write(false);
        let answer = match self.truth {
            Truth::True => "true",
            Truth::False => "false",
            Truth::Unknown(_) => "unknown",
        };
        write!(
            f,
            "{} is {answer}: left {}, right {}",
            self.source,
            self.left.write(exact),
            self.right.write(exact)
        )?;
        if let Some(passing) = &self.passing {
            write!(
                f,
                "; passes when {} {} {}",
                passing.subject,
                passing.relation,
                passing.bound.write(exact)
            )?;
        }
        Ok(())
    }
}

/// One line for each comparison that decided.
impl fmt::Display for ConditionExplanation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let decisive = self.comparisons.iter().filter(|c| c.decisive);
        for (position, comparison) in decisive.enumerate() {
            if position > 0 {
                f.write_str("\n")?;
            }
            write!(f, "{comparison}")?;
        }
        Ok(())
    }
}
