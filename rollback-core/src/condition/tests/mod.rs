//! The language as a whole: tables and properties over one catalogue of metrics.

mod answers;
mod explanations;
mod mistakes;
mod properties;

use super::*;

fn metrics() -> MetricCatalogue {
    MetricCatalogue::new()
        .per_arm("error_rate", Unit::Ratio)
        .per_arm("errors", Unit::Count)
        .per_arm("requests", Unit::Count)
        .per_arm("p95", Unit::Milliseconds)
        .per_arm("p50", Unit::Seconds)
        .per_arm("cpu", Unit::Percent)
        .per_service("memory", Unit::Bytes)
        .per_service("conversion_rate", Unit::Ratio)
        .per_service("service_status", Unit::State)
        .per_service("last_status", Unit::State)
        .per_service("db_connection_failures", Unit::Count)
}

fn compiled(source: &str) -> Condition {
    Condition::compile(source, &metrics()).unwrap_or_else(|error| panic!("{error}"))
}

fn refused(source: &str) -> ConditionError {
    match Condition::compile(source, &metrics()) {
        Err(error) => error,
        Ok(condition) => panic!("`{source}` was accepted: {condition:?}"),
    }
}

/// Values by the slot's text, as in `stable(p95)`.
fn truth(source: &str, values: &[(&str, Value<'_>)]) -> Truth {
    let condition = compiled(source);
    condition.evaluate(|slot| {
        let name = condition.slots()[slot].to_string();
        values
            .iter()
            .find(|(known, _)| *known == name)
            .map_or(Value::Missing(Missing::NoData), |(_, value)| *value)
    })
}
