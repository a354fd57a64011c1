//! What conditions answer, and when they cannot.

use super::*;

#[test]
fn answers() {
    use Value::{Number as N, Text as T};
    for (source, values, expected) in [
        ("error_rate > 0.05", &[("error_rate", N(0.06))][..], true),
        ("error_rate > 0.05", &[("error_rate", N(0.05))], false),
        ("error_rate > 5%", &[("error_rate", N(0.051))], true),
        ("error_rate > 5%", &[("error_rate", N(0.05))], false),
        ("cpu > 90%", &[("cpu", N(90.5))], true),
        ("cpu > 90", &[("cpu", N(90.5))], true),
        ("cpu > 90%", &[("cpu", N(0.95))], false),
        ("p95 > 2s", &[("p95", N(2001.0))], true),
        ("p95 > 2s", &[("p95", N(3.0))], false),
        ("p95 > 2000", &[("p95", N(2001.0))], true),
        ("p50 >= 300ms", &[("p50", N(0.3))], true),
        ("p50 > 1m", &[("p50", N(60.5))], true),
        ("1h < p50", &[("p50", N(3599.0))], false),
        ("memory > 512MiB", &[("memory", N(536_870_913.0))], true),
        ("memory > 1GB", &[("memory", N(1e9))], false),
        (
            "db_connection_failures > 5",
            &[("db_connection_failures", N(6.0))],
            true,
        ),
        (
            "db_connection_failures == 6",
            &[("db_connection_failures", N(6.0))],
            true,
        ),
        (
            "service_status == 'down'",
            &[("service_status", T("down"))],
            true,
        ),
        (
            "service_status == \"down\"",
            &[("service_status", T("up"))],
            false,
        ),
        (
            "service_status != 'up'",
            &[("service_status", T("Up"))],
            true,
        ),
        (
            "service_status != last_status",
            &[("service_status", T("a")), ("last_status", T("a"))],
            false,
        ),
        (
            "conversion_rate < 0.8 * baseline",
            &[
                ("conversion_rate", N(0.07)),
                ("baseline(conversion_rate)", N(0.1)),
            ],
            true,
        ),
        (
            "conversion_rate < 80% * baseline",
            &[
                ("conversion_rate", N(0.081)),
                ("baseline(conversion_rate)", N(0.1)),
            ],
            false,
        ),
        (
            "cpu > baseline * 120%",
            &[("cpu", N(61.0)), ("baseline(cpu)", N(50.0))],
            true,
        ),
        (
            "candidate(errors) > 2 * stable(errors)",
            &[("candidate(errors)", N(5.0)), ("stable(errors)", N(2.0))],
            true,
        ),
        (
            "errors / requests > 5%",
            &[("errors", N(6.0)), ("requests", N(100.0))],
            true,
        ),
        (
            "p95 / stable(p95) > 1.5",
            &[("p95", N(300.0)), ("stable(p95)", N(250.0))],
            false,
        ),
        (
            // Different units of one dimension.
            "p95 > 2 * p50",
            &[("p95", N(500.0)), ("p50", N(0.2))],
            true,
        ),
        (
            "cpu > error_rate",
            &[("cpu", N(5.0)), ("error_rate", N(0.1))],
            false,
        ),
        (
            "p95 - baseline > 100ms",
            &[("p95", N(301.0)), ("baseline(p95)", N(200.0))],
            true,
        ),
        ("1 - error_rate < 99%", &[("error_rate", N(0.02))], true),
        ("100% - cpu < 5%", &[("cpu", N(96.0))], true),
        ("-error_rate < -5%", &[("error_rate", N(0.06))], true),
        ("!(error_rate <= 5%)", &[("error_rate", N(0.06))], true),
        ("p50 > 1s + 500ms", &[("p50", N(1.6))], true),
        ("p95 > 500ms + 1s", &[("p95", N(1400.0))], false),
        ("p95 > 2 * 1000", &[("p95", N(2001.0))], true),
        (
            "error_rate > 5% && requests >= 20",
            &[("error_rate", N(0.5)), ("requests", N(19.0))],
            false,
        ),
    ] {
        let expected = if expected { Truth::True } else { Truth::False };
        assert_eq!(truth(source, values), expected, "{source} over {values:?}");
    }
}

#[test]
fn slots_are_resolved_once() {
    let condition =
        compiled("p95 > 2 * baseline && p95 > stable(p95) && candidate(p95) > baseline(p95)");
    let slots: Vec<_> = condition.slots().iter().map(Slot::to_string).collect();
    assert_eq!(
        slots,
        ["p95", "baseline(p95)", "stable(p95)", "candidate(p95)"]
    );
    assert_eq!(condition.slots()[1].unit, Unit::Milliseconds);
    assert_eq!(condition.slots()[1].subject, Subject::Baseline);
}

#[test]
fn kleene() {
    const T: Value<'_> = Value::Number(6.0);
    const F: Value<'_> = Value::Number(4.0);
    const U: Value<'_> = Value::Missing(Missing::Stale);
    let name = |truth| match truth {
        Truth::True => 'T',
        Truth::False => 'F',
        Truth::Unknown(_) => 'U',
    };
    for (a, b, and, or) in [
        (T, T, 'T', 'T'),
        (T, F, 'F', 'T'),
        (T, U, 'U', 'T'),
        (F, T, 'F', 'T'),
        (F, F, 'F', 'F'),
        (F, U, 'F', 'U'),
        (U, T, 'U', 'T'),
        (U, F, 'F', 'U'),
        (U, U, 'U', 'U'),
    ] {
        let values = [("errors", a), ("requests", b)];
        let all = |source| name(truth(source, &values));
        assert_eq!(all("errors > 5 && requests > 5"), and, "{a:?} {b:?}");
        assert_eq!(all("errors > 5 || requests > 5"), or, "{a:?} {b:?}");
        // De Morgan.
        assert_eq!(
            all("!(!(errors > 5) || !(requests > 5))"),
            and,
            "{a:?} {b:?}"
        );
        assert_eq!(
            all("!(!(errors > 5) && !(requests > 5))"),
            or,
            "{a:?} {b:?}"
        );
    }
}

#[test]
fn what_cannot_be_told_is_unknown() {
    use Value::{Missing as M, Number as N, Text as T};
    for (source, values, reason) in [
        (
            "error_rate > 5%",
            &[("error_rate", M(Missing::Unreachable))][..],
            UnknownReason::Missing {
                slot: 0,
                why: Missing::Unreachable,
            },
        ),
        (
            "error_rate > 5%",
            &[("error_rate", N(f64::NAN))],
            UnknownReason::NotFinite { slot: 0 },
        ),
        (
            "error_rate != 5%",
            &[("error_rate", N(f64::NAN))],
            UnknownReason::NotFinite { slot: 0 },
        ),
        (
            "p95 > 2s",
            &[("p95", N(f64::INFINITY))],
            UnknownReason::NotFinite { slot: 0 },
        ),
        (
            "p95 > 2s",
            &[("p95", T("slow"))],
            UnknownReason::WrongKind { slot: 0 },
        ),
        (
            "service_status == 'down'",
            &[("service_status", N(1.0))],
            UnknownReason::WrongKind { slot: 0 },
        ),
        (
            "service_status == 'down'",
            &[],
            UnknownReason::Missing {
                slot: 0,
                why: Missing::NoData,
            },
        ),
        (
            "errors / requests > 5%",
            &[("errors", N(0.0)), ("requests", N(0.0))],
            UnknownReason::DivisionByZero,
        ),
        (
            "errors * requests > 5",
            &[("errors", N(1e200)), ("requests", N(1e200))],
            UnknownReason::Overflow,
        ),
        (
            // The first reason, from left to right.
            "errors > 5 && requests > 5",
            &[("requests", N(f64::NAN))],
            UnknownReason::Missing {
                slot: 0,
                why: Missing::NoData,
            },
        ),
    ] {
        assert_eq!(truth(source, values), Truth::Unknown(reason), "{source}");
    }
}

#[test]
fn values_outside_the_declared_range_are_still_compared() {
    assert_eq!(
        truth("error_rate > 5%", &[("error_rate", Value::Number(1.7))]),
        Truth::True
    );
    assert_eq!(
        truth("error_rate > 5%", &[("error_rate", Value::Number(-1.0))]),
        Truth::False
    );
}
