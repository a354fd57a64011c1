//! Which values an expression can have: the reason why a comparison can never, or must always, be true.

use super::catalogue::Slot;
use super::eval::{Comparison, NumberExpr, Predicate};
use super::syntax::{ArithmeticOp, CompareOp};
use super::unit::Unit;

/// All values from `low` to `high`, both included.
///
/// Every operation of the evaluator is monotone in each operand, rounding included, so computing with the ends of
/// ranges loses no value.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Range {
    low: f64,
    high: f64,
}

const EVERYTHING: Range = Range {
    low: f64::NEG_INFINITY,
    high: f64::INFINITY,
};

impl Range {
    fn of_unit(unit: Unit) -> Self {
        Self {
            low: 0.0,
            high: unit.largest(),
        }
    }

    fn of_ends(ends: [f64; 4]) -> Self {
        if ends.iter().any(|end| end.is_nan()) {
            return EVERYTHING;
        }
        Self {
            low: ends.into_iter().fold(f64::INFINITY, f64::min),
            high: ends.into_iter().fold(f64::NEG_INFINITY, f64::max),
        }
    }

    fn combine(self, op: ArithmeticOp, other: Self) -> Self {
        let pairs = |f: fn(f64, f64) -> f64| {
            [
                f(self.low, other.low),
                f(self.low, other.high),
                f(self.high, other.low),
                f(self.high, other.high),
            ]
        };
        match op {
            ArithmeticOp::Add => Self::of_ends(pairs(|a, b| a + b)),
            ArithmeticOp::Subtract => Self::of_ends(pairs(|a, b| a - b)),
            ArithmeticOp::Multiply => Self::of_ends(pairs(product)),
            ArithmeticOp::Divide if other.low > 0.0 || other.high < 0.0 => {
                Self::of_ends(pairs(quotient))
            }
            // A divisor of exactly zero gives no value, but one near zero gives any size.
            ArithmeticOp::Divide if other.low == 0.0 => Self::of_ends([
                divided_by_almost_nothing(self.low),
                divided_by_almost_nothing(self.high),
                quotient(self.low, other.high),
                quotient(self.high, other.high),
            ]),
            ArithmeticOp::Divide => EVERYTHING,
        }
    }

    fn is_empty(self) -> bool {
        self.low > self.high
    }

    /// Keeps the values for which `op` holds against `limit`.
    fn restricted(self, op: CompareOp, limit: f64) -> Self {
        let (low, high) = match op {
            CompareOp::Equal => (limit, limit),
            CompareOp::NotEqual => return self,
            CompareOp::Less => (f64::NEG_INFINITY, limit.next_down()),
            CompareOp::LessOrEqual => (f64::NEG_INFINITY, limit),
            CompareOp::Greater => (limit.next_up(), f64::INFINITY),
            CompareOp::GreaterOrEqual => (limit, f64::INFINITY),
        };
        Self {
            low: self.low.max(low),
            high: self.high.min(high),
        }
    }

    /// Written for a person.
    pub(super) fn describe(self, unit: Unit) -> String {
        let number = |value: f64| unit.write(value, false);
        match (self.low.is_finite(), self.high.is_finite()) {
            (true, true) => format!("between {} and {}", number(self.low), number(self.high)),
            (true, false) => format!("at least {}", number(self.low)),
            (false, true) => format!("at most {}", number(self.high)),
            (false, false) => "any number".to_owned(),
        }
    }
}

fn product(a: f64, b: f64) -> f64 {
    if a == 0.0 || b == 0.0 { 0.0 } else { a * b }
}

/// The quotient that lies nearest to zero where both ends are unlimited; the other ends give the larger ones.
fn quotient(a: f64, b: f64) -> f64 {
    if a == 0.0 || b.is_infinite() {
        0.0
    } else {
        a / b
    }
}

fn divided_by_almost_nothing(a: f64) -> f64 {
    if a == 0.0 { 0.0 } else { a * f64::INFINITY }
}

pub(super) fn of_expression(expr: &NumberExpr, slots: &[Slot]) -> Range {
    match expr {
        NumberExpr::Constant(value) => Range {
            low: *value,
            high: *value,
        },
        NumberExpr::Slot(slot) => slots
            .get(*slot)
            .map_or(EVERYTHING, |slot| Range::of_unit(slot.unit)),
        NumberExpr::Negate(operand) => {
            let operand = of_expression(operand, slots);
            Range {
                low: -operand.high,
                high: -operand.low,
            }
        }
        NumberExpr::Binary(op, left, right) => {
            of_expression(left, slots).combine(*op, of_expression(right, slots))
        }
    }
}

/// The only answer that this comparison can give, if there is only one.
pub(super) fn only_answer(
    op: CompareOp,
    left: &NumberExpr,
    right: &NumberExpr,
    slots: &[Slot],
) -> Option<bool> {
    if left == right {
        return Some(op.holds(0.0, 0.0));
    }
    let l = of_expression(left, slots);
    let r = of_expression(right, slots);
    if can_hold(op, l, r) {
        (!can_hold(op.negated(), l, r)).then_some(true)
    } else {
        Some(false)
    }
}

fn can_hold(op: CompareOp, l: Range, r: Range) -> bool {
    match op {
        CompareOp::Less => l.low < r.high,
        CompareOp::LessOrEqual => l.low <= r.high,
        CompareOp::Greater => l.high > r.low,
        CompareOp::GreaterOrEqual => l.high >= r.low,
        CompareOp::Equal => l.low <= r.high && r.low <= l.high,
        CompareOp::NotEqual => l.low < l.high || r.low < r.high || l.low != r.low,
    }
}

/// The slot whose limits in a chain of `&&` contradict each other.
pub(super) fn contradiction(predicate: &Predicate, slots: &[Slot]) -> Option<usize> {
    let mut ranges: Vec<Range> = slots.iter().map(|slot| Range::of_unit(slot.unit)).collect();
    narrow(predicate, &mut ranges);
    ranges
        .iter()
        .zip(slots)
        .position(|(range, slot)| slot.unit != Unit::State && range.is_empty())
}

fn narrow(predicate: &Predicate, ranges: &mut [Range]) {
    match predicate {
        Predicate::And(left, right) => {
            narrow(left, ranges);
            narrow(right, ranges);
        }
        Predicate::Compare(Comparison::Number {
            op, left, right, ..
        }) => {
            let (slot, op, limit) = match (left, right) {
                (NumberExpr::Slot(slot), NumberExpr::Constant(limit)) => (*slot, *op, *limit),
                (NumberExpr::Constant(limit), NumberExpr::Slot(slot)) => {
                    (*slot, op.mirrored(), *limit)
                }
                _ => return,
            };
            if let Some(range) = ranges.get_mut(slot) {
                *range = range.restricted(op, limit);
            }
        }
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::catalogue::Subject;
    use super::super::eval::Value;
    use super::*;

    fn range(low: f64, high: f64) -> Range {
        Range { low, high }
    }

    #[test]
    fn arithmetic_on_ranges() {
        use ArithmeticOp::*;
        let inf = f64::INFINITY;
        let share = range(0.0, 1.0);
        let count = range(0.0, inf);
        for (left, op, right, expected) in [
            (share, Add, share, range(0.0, 2.0)),
            (share, Subtract, share, range(-1.0, 1.0)),
            (count, Subtract, count, range(-inf, inf)),
            (share, Multiply, count, range(0.0, inf)),
            (share, Multiply, range(-2.0, -1.0), range(-2.0, 0.0)),
            (share, Divide, range(2.0, 4.0), range(0.0, 0.5)),
            (count, Divide, count, range(0.0, inf)),
            (range(1.0, 2.0), Divide, share, range(1.0, inf)),
            (range(-1.0, 2.0), Divide, share, range(-inf, inf)),
            (share, Divide, range(-1.0, 1.0), EVERYTHING),
        ] {
            assert_eq!(
                left.combine(op, right),
                expected,
                "{left:?} {op:?} {right:?}"
            );
        }
    }

    #[test]
    fn touching_ranges() {
        let share = range(0.0, 1.0);
        let one = range(1.0, 1.0);
        assert!(!can_hold(CompareOp::Greater, share, one));
        assert!(can_hold(CompareOp::GreaterOrEqual, share, one));
        assert!(can_hold(CompareOp::Equal, share, one));
        assert!(can_hold(CompareOp::NotEqual, share, one));
        assert!(!can_hold(CompareOp::NotEqual, one, one));
    }

    const UNITS: [Unit; 4] = [Unit::Ratio, Unit::Percent, Unit::Milliseconds, Unit::Count];

    fn slots() -> Vec<Slot> {
        UNITS
            .iter()
            .map(|unit| Slot {
                metric: unit.to_string(),
                subject: Subject::OnTrial,
                unit: *unit,
            })
            .collect()
    }

    fn expressions() -> impl Strategy<Value = NumberExpr> {
        let leaf = prop_oneof![
            2 => (0..UNITS.len()).prop_map(NumberExpr::Slot),
            1 => (-3i8..=3).prop_map(|value| NumberExpr::Constant(f64::from(value))),
            1 => (-200.0..200.0).prop_map(NumberExpr::Constant),
        ];
        leaf.prop_recursive(4, 12, 2, |inner| {
            let op = prop_oneof![
                Just(ArithmeticOp::Add),
                Just(ArithmeticOp::Subtract),
                Just(ArithmeticOp::Multiply),
                Just(ArithmeticOp::Divide),
            ];
            prop_oneof![
                1 => inner.clone().prop_map(|operand| NumberExpr::Negate(Box::new(operand))),
                4 => (op, inner.clone(), inner).prop_map(|(op, left, right)| {
                    NumberExpr::Binary(op, Box::new(left), Box::new(right))
                }),
            ]
        })
    }

    /// Values of the four slots, each within its unit, often at an end.
    fn readings() -> impl Strategy<Value = [f64; 4]> {
        let part = || prop_oneof![Just(0.0), Just(1.0), Just(1e-300), 0.0..=1.0];
        [part(), part(), part(), part()].prop_map(|[a, b, c, d]: [f64; 4]| {
            let unlimited = |part: f64| if part == 1.0 { 1e300 } else { part * 1e4 };
            [a, b * 100.0, unlimited(c), unlimited(d)]
        })
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(2000))]

        #[test]
        fn a_range_holds_every_value(expr in expressions(), readings in readings()) {
            if let Ok(value) = expr.value(&|slot| Value::Number(readings[slot])) {
                let range = of_expression(&expr, &slots());
                prop_assert!(range.low <= value && value <= range.high, "{value} outside {range:?}");
            }
        }

        #[test]
        fn the_only_answer_is_the_answer(
            (left, right) in (expressions(), expressions()),
            readings in readings(),
        ) {
            let values = |slot| Value::Number(readings[slot]);
            if let (Ok(l), Ok(r)) = (left.value(&values), right.value(&values)) {
                for op in [
                    CompareOp::Equal,
                    CompareOp::NotEqual,
                    CompareOp::Less,
                    CompareOp::LessOrEqual,
                    CompareOp::Greater,
                    CompareOp::GreaterOrEqual,
                ] {
                    if let Some(answer) = only_answer(op, &left, &right, &slots()) {
                        prop_assert_eq!(op.holds(l, r), answer);
                    }
                }
            }
        }
    }
}
