//! The condition language of policies: `error_rate > 5%`, `p95 > 2s && service_status != 'up'`.
//!
//! A condition says when things are *bad*. It is a strict subset of the Common Expression Language (CEL) plus units:
//! numbers, texts in single or double quotes, `+ - * /`, `== != < <= > >=`, `&& || !` and parentheses.
//!
//! | written | means |
//! |---|---|
//! | `p95` | the metric of the arm on trial, or of the service where it has no arms |
//! | `stable(p95)`, `candidate(p95)` | the metric of one arm |
//! | `baseline(p95)`, `baseline` | the metric, or the one it is compared with, before the deployment |
//! | `5%` `300ms` `2s` `1m` `1h` `512MiB` `1GB` | a share, a duration, a size; converted into the metric's unit |
//! | `5` | a number in the unit of the metric that it meets |
//!
//! It is checked when it is loaded ([`Condition::compile`]): names, types, units, and that it can be true at all. It is
//! evaluated with three values ([`Truth`]): a missing value makes it `Unknown` only where the value matters.
//!
//! Rooms: `lexer`, `parser` and `syntax` (text to tree and back), `unit` and `quantity` (units and calculating with
//! them), `catalogue` (what can be named), `names` and `check` (tree to condition), `range` (what can never be true), `eval`,
//! `explain`, `error`.

mod catalogue;
mod check;
mod error;
mod eval;
mod explain;
mod lexer;
mod names;
mod parser;
mod quantity;
mod range;
mod syntax;
mod unit;

#[cfg(test)]
mod tests;

use std::fmt;

pub use catalogue::{MetricCatalogue, Slot, Subject};
pub(crate) use error::closest;
pub use error::{ConditionError, ConditionErrorKind, Span};
pub use eval::{Missing, Truth, UnknownReason, Value};
pub use explain::{ComparisonExplanation, ConditionExplanation, Passing, Seen};
pub use unit::{Unit, UnknownUnit};

/// A checked condition.
///
/// ```
/// use rollback_core::condition::{Condition, MetricCatalogue, Truth, Unit, Value};
///
/// let metrics = MetricCatalogue::new()
///     .per_arm("error_rate", Unit::Ratio)
///     .per_arm("p95", Unit::Milliseconds);
/// let condition = Condition::compile("error_rate > 5% || p95 > 2s", &metrics)?;
/// assert_eq!(condition.slots()[1].metric, "p95");
///
/// let readings = [0.01, 2300.0]; // in the metrics' own units
/// assert_eq!(condition.evaluate(|slot| Value::Number(readings[slot])), Truth::True);
/// assert_eq!(
///     condition.explain(|slot| Value::Number(readings[slot])).to_string(),
///     "p95 > 2s is true: left 2300ms, right 2000ms; passes when p95 <= 2000ms"
/// );
/// # Ok::<(), rollback_core::condition::ConditionError>(())
/// ```
#[derive(Clone, Debug, PartialEq)]
pub struct Condition {
    source: String,
    slots: Vec<Slot>,
    predicate: eval::Predicate,
}

impl Condition {
    /// Reads and checks a condition over the metrics of a catalogue.
    ///
    /// # Errors
    ///
    /// When the text is not a condition, names what the catalogue does not have, mixes types or units, or could never
    /// (or only ever) be true. The error shows the place and a fix.
    pub fn compile(source: &str, metrics: &MetricCatalogue) -> Result<Self, ConditionError> {
        parser::parse(source)
            .and_then(|expr| {
                let (predicate, slots) = check::check(&expr, metrics)?;
                Ok(Self {
                    source: expr.to_string(),
                    slots,
                    predicate,
                })
            })
            .map_err(|problem| ConditionError::new(problem, source))
    }

    /// The values that the condition reads; a value is asked for by its position here.
    #[must_use]
    pub fn slots(&self) -> &[Slot] {
        &self.slots
    }

    /// The answer for these values. Allocates nothing, and asks only for the values that matter.
    pub fn evaluate<'v>(&self, values: impl Fn(usize) -> Value<'v>) -> Truth {
        self.predicate.truth(&values)
    }

    /// The answer for these values, with every comparison's numbers and what would have passed.
    #[must_use]
    pub fn explain<'v>(&self, values: impl Fn(usize) -> Value<'v>) -> ConditionExplanation {
        explain::explain(&self.predicate, &self.slots, &values)
    }
}

/// The canonical text, which compiles to an equal condition.
impl fmt::Display for Condition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.source)
    }
}
