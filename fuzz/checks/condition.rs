//! Whatever stands in a condition: one whose text compiles to an equal one, or an error that can be
//! shown; and an answer for whatever values.

use rollback_core::condition::{Condition, MetricCatalogue, Missing, Unit, Value};

pub fn check(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else {
        return;
    };
    let metrics = MetricCatalogue::new()
        .per_arm("error_rate", Unit::Ratio)
        .per_arm("p95", Unit::Milliseconds)
        .per_arm("share", Unit::Percent)
        .per_service("orders", Unit::Count)
        .per_service("memory", Unit::Bytes)
        .per_arm("service_status", Unit::State);
    match Condition::compile(text, &metrics) {
        Ok(condition) => {
            let canonical = condition.to_string();
            let again = Condition::compile(&canonical, &metrics).expect("its own text");
            assert_eq!(again, condition, "{canonical}");
            for number in [0.0, -1.0, 0.05, 1e300, f64::MIN_POSITIVE] {
                let values = |slot: usize| match condition.slots()[slot].unit {
                    Unit::State => Value::Text("down"),
                    _ => Value::Number(number),
                };
                let _ = condition.evaluate(values);
                assert!(!condition.explain(values).to_string().is_empty());
            }
            let _ = condition.evaluate(|_| Value::Missing(Missing::NoData));
        }
        Err(error) => {
            assert!(!error.to_string().is_empty() && !error.fix().is_empty());
            let span = error.span();
            assert!(span.start <= span.end && span.end <= text.len().max(span.start));
        }
    }
}
