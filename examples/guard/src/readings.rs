//! The numbers of one poll, in the units of document 003's columns.

use rollback::{
    condition::Unit,
    model::{Answer, Sample},
    policy::{Metric, Policy},
};

use crate::course::WELL;

/// What one poll saw.
#[derive(Debug, Clone, PartialEq, Default)]
pub(crate) struct Numbers {
    /// Whether the service says that it is well, if it says so at all.
    pub(crate) well: Option<bool>,
    /// In percent.
    pub(crate) error_rate: Option<f64>,
    /// In percent.
    pub(crate) availability: Option<f64>,
    pub(crate) response_time_ms: Option<f64>,
    /// Where the service was asked.
    pub(crate) endpoint: Option<String>,
}

impl Numbers {
    pub(crate) fn of(answers: &[Answer], policy: Option<&Policy>) -> Self {
        let mut numbers = Self::default();
        for answer in answers {
            let metric = policy.and_then(|policy| policy.metric(&answer.metric));
            let Ok(reading) = &answer.result else {
                if let Some(metric) = metric.filter(|metric| metric.unit == Unit::State) {
                    numbers.endpoint = Some(metric.query.to_string());
                }
                continue;
            };
            if let Some(well) = is_well(&reading.sample) {
                numbers.well = Some(numbers.well.unwrap_or(true) && well);
                numbers.endpoint = metric.map(|metric| metric.query.to_string());
                continue;
            }
            let Some(value) = metric.and_then(|metric| value(metric, &reading.sample)) else {
                continue;
            };
            let name = answer.metric.as_str();
            if name.contains("availab") {
                numbers.availability = Some(value);
            } else if name.contains("error") {
                numbers.error_rate = Some(value);
            } else if metric.is_some_and(|metric| is_time(metric.unit)) {
                numbers.response_time_ms = Some(value);
            }
        }
        numbers
    }
}

/// Whether a sample says that all is well, as far as it is a state.
fn is_well(sample: &Sample) -> Option<bool> {
    match sample {
        Sample::State(word) => Some(WELL.contains(&&**word)),
        _ => None,
    }
}

const fn is_time(unit: Unit) -> bool {
    matches!(unit, Unit::Milliseconds | Unit::Seconds)
}

/// A number in the column's unit: percent, or milliseconds.
fn value(metric: &Metric, sample: &Sample) -> Option<f64> {
    #[expect(clippy::cast_precision_loss, reason = "counts of one poll")]
    let share = |bad: u64, total: u64| (total > 0).then(|| bad as f64 * 100.0 / total as f64);
    match sample {
        Sample::Gauge(value) => Some(scaled(metric.unit, *value)),
        Sample::Counts { bad, total } => share(*bad, *total),
        _ => None,
    }
}

fn scaled(unit: Unit, value: f64) -> f64 {
    match unit {
        Unit::Ratio => value * 100.0,
        Unit::Seconds => value * 1_000.0,
        _ => value,
    }
}

/// A threshold as a condition has it, in the column's unit.
pub(crate) fn in_columns_unit(metric: &str, text: &str, policy: &Policy) -> Option<f64> {
    let digits = text.find(|c: char| !(c.is_ascii_digit() || c == '.' || c == '-'));
    let (number, unit) = text.split_at(digits.unwrap_or(text.len()));
    let number: f64 = number.parse().ok()?;
    Some(match unit {
        "s" => number * 1_000.0,
        "%" | "ms" => number,
        "" => {
            let metric = policy
                .metrics
                .iter()
                .find(|known| known.id.as_str() == metric)?;
            scaled(metric.unit, number)
        }
        _ => return None,
    })
}
