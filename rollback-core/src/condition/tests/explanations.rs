//! What explanations say, and which comparisons they blame.

use super::*;

fn explained(source: &str, values: &[Value<'_>]) -> ConditionExplanation {
    compiled(source).explain(|slot| values[slot])
}

#[test]
fn explanations() {
    use Value::{Missing as M, Number as N, Text as T};
    for (source, values, text) in [
        (
            "error_rate > 5%",
            &[N(0.062)][..],
            "error_rate > 5% is true: left 0.062, right 0.05; passes when error_rate <= 0.05",
        ),
        (
            "2s < p95",
            &[N(2300.0)],
            "2s < p95 is true: left 2000ms, right 2300ms; passes when p95 <= 2000ms",
        ),
        (
            "conversion_rate < 0.8 * baseline",
            &[N(0.05), N(0.1)],
            "conversion_rate < 0.8 * baseline is true: left 0.05, right 0.08; passes when conversion_rate >= 0.08",
        ),
        (
            "!(error_rate <= 5%)",
            &[N(0.062)],
            "error_rate <= 5% is false: left 0.062, right 0.05; passes when error_rate <= 0.05",
        ),
        (
            "service_status == 'down'",
            &[T("down")],
            "service_status == 'down' is true: left 'down', right 'down'; passes when service_status != 'down'",
        ),
        (
            "errors / requests > 5%",
            &[N(6.0), N(100.0)],
            "errors / requests > 5% is true: left 0.06, right 0.05",
        ),
        (
            "error_rate > 0.3",
            &[N(0.1 + 0.2)],
            "error_rate > 0.3 is true: left 0.30000000000000004, right 0.3; passes when error_rate <= 0.3",
        ),
        (
            "p95 > 2s && error_rate > 5%",
            &[N(2300.0), N(0.01)],
            "error_rate > 5% is false: left 0.01, right 0.05; passes when error_rate <= 0.05",
        ),
        (
            "p95 > 2s || error_rate > 5%",
            &[N(2300.0), M(Missing::NoData)],
            "p95 > 2s is true: left 2300ms, right 2000ms; passes when p95 <= 2000ms",
        ),
        (
            "p95 > stable(p95)",
            &[N(2300.0), M(Missing::Unreachable)],
            "p95 > stable(p95) is unknown: left 2300ms, right unknown (stable(p95): its source could not be reached); passes when stable(p95) >= 2300ms",
        ),
    ] {
        assert_eq!(explained(source, values).to_string(), text);
    }
}

#[test]
fn explanations_mark_what_decided() {
    use Value::Number as N;
    let marks = |source, values: &[f64]| {
        let values: Vec<_> = values.iter().map(|value| N(*value)).collect();
        explained(source, &values)
            .comparisons
            .iter()
            .map(|comparison| (comparison.decisive, comparison.negated))
            .collect::<Vec<_>>()
    };
    let source = "errors > 5 && (p95 > 2s || !(requests > 9))";
    assert_eq!(
        marks(source, &[6.0, 1.0, 3.0]),
        [(true, false), (false, false), (true, true)]
    );
    assert_eq!(
        marks(source, &[4.0, 3000.0, 3.0]),
        [(true, false), (false, false), (false, true)]
    );
    assert_eq!(
        marks(source, &[6.0, 1.0, 10.0]),
        [(false, false), (true, false), (true, true)]
    );
}

#[test]
fn explanations_are_journaled() {
    let explanation = explained(
        "p95 > 2s || service_status == 'down'",
        &[Value::Number(2300.1), Value::Missing(Missing::NotYet)],
    );
    let json = serde_json::to_string(&explanation).unwrap();
    assert_eq!(
        serde_json::from_str::<ConditionExplanation>(&json).unwrap(),
        explanation
    );
}
