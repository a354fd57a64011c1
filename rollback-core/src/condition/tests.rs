//! The language as a whole: tables and properties.

use proptest::prelude::*;

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
fn mistakes_are_named_placed_and_mended() {
    use ConditionErrorKind::*;
    for (source, kind, at, fix) in [
        (
            "eror_rate > 5%",
            UnknownMetric,
            "eror_rate",
            "did you mean `error_rate`?",
        ),
        (
            "xyz > 5%",
            UnknownMetric,
            "xyz",
            "declare it under `metrics`",
        ),
        ("stable > 5", UnknownMetric, "stable", "stable(error_rate)"),
        (
            "stabel(p95) > 2s",
            UnknownFunction,
            "stabel",
            "did you mean `stable(..)`?",
        ),
        (
            "rate(p95) > 2s",
            UnknownFunction,
            "rate",
            "stable(..), candidate(..) and baseline(..)",
        ),
        ("stable(memory) > 1GB", NoArms, "memory", "per: arm"),
        (
            "candidate(conversion_rate) < 1%",
            NoArms,
            "conversion_rate",
            "per: arm",
        ),
        (
            "p95 > 2 * baseline + p50",
            AmbiguousBaseline,
            "baseline",
            "baseline(p50)",
        ),
        (
            "5 > baseline",
            AmbiguousBaseline,
            "baseline",
            "baseline(error_rate)",
        ),
        (
            "baseline",
            AmbiguousBaseline,
            "baseline",
            "baseline(error_rate)",
        ),
        (
            "error_rate > 2s",
            WrongUnit,
            "error_rate > 2s",
            "in ratio: write a value like `5%`",
        ),
        ("2s < error_rate", WrongUnit, "2s < error_rate", "in ratio"),
        ("p95 > 5%", WrongUnit, "p95 > 5%", "`2s`"),
        ("errors > 5%", WrongUnit, "errors > 5%", "`5`"),
        ("memory > p95", WrongUnit, "memory > p95", "in bytes"),
        ("p95 + memory > 2s", WrongUnit, "p95 + memory", "in ms"),
        (
            "p95 * p95 > 2s",
            WrongUnit,
            "p95 * p95",
            "multiply or divide by",
        ),
        (
            "memory / p95 > 2s",
            WrongUnit,
            "memory / p95",
            "multiply or divide by",
        ),
        ("1 / p95 > 2", WrongUnit, "1 / p95", "multiply or divide by"),
        (
            "p95 > 300ms + 5",
            WrongUnit,
            "300ms + 5",
            "give the number a unit",
        ),
        (
            "error_rate > 1 - 95%",
            WrongUnit,
            "1 - 95%",
            "give the number a unit",
        ),
        (
            "error_rate",
            WrongType,
            "error_rate",
            "compare it, such as with `5%`",
        ),
        (
            "service_status",
            WrongType,
            "service_status",
            "service_status == 'down'",
        ),
        ("error_rate * 2", WrongType, "error_rate * 2", "compare it"),
        (
            "error_rate && p95 > 2s",
            WrongType,
            "error_rate",
            "compare it",
        ),
        ("!error_rate", WrongType, "error_rate", "compare it"),
        (
            "service_status == 0",
            WrongType,
            "service_status == 0",
            "a text, such as 'down'",
        ),
        (
            "error_rate == 'down'",
            WrongType,
            "error_rate == 'down'",
            "`unit: state`",
        ),
        (
            "service_status < 'up'",
            WrongType,
            "service_status < 'up'",
            "`==` or `!=`",
        ),
        (
            "service_status + 1 > 2",
            WrongType,
            "service_status",
            "`==` or `!=`",
        ),
        ("1% < error_rate < 5%", WrongType, "1% < error_rate", "`&&`"),
        ("(p95 > 2s) == (p50 > 1s)", WrongType, "(p95 > 2s)", "`&&`"),
        ("-'a' == service_status", WrongType, "'a'", "`==`"),
        ("2 > 1", NoMetric, "2 > 1", "compare a metric"),
        (
            "error_rate > 5% || 2s > 1s",
            NoMetric,
            "2s > 1s",
            "compare a metric",
        ),
        ("'a' == 'a'", NoMetric, "'a' == 'a'", "compare a metric"),
        ("true", NoMetric, "true", "compare a metric"),
        ("not error_rate > 5%", Syntax, "error_rate", "&&"),
        (
            "error_rate / 0 > 1",
            DivisionByZero,
            "error_rate / 0",
            "another number",
        ),
        (
            "error_rate / (1 - 1) > 1",
            DivisionByZero,
            "error_rate / (1 - 1)",
            "another number",
        ),
        (
            "error_rate > 1 / 0",
            DivisionByZero,
            "1 / 0",
            "another number",
        ),
        ("errors > 1e308 * 10", NotFinite, "1e308 * 10", "smaller"),
        ("p50 > 1e308h", NotFinite, "1e308h", "smaller"),
    ] {
        let error = refused(source);
        let span = error.span();
        assert_eq!(error.kind(), kind, "{source}: {error}");
        assert_eq!(&source[span.start..span.end], at, "{source}: {error}");
        assert!(error.fix().contains(fix), "{source}: {error}");
        assert!(error.to_string().contains('^'), "{source}: {error}");
    }
    let named_baseline = MetricCatalogue::new().per_service("baseline", Unit::Count);
    assert_eq!(
        Condition::compile("baseline > 5", &named_baseline)
            .unwrap_err()
            .kind(),
        AmbiguousBaseline
    );
}

#[test]
fn a_trigger_that_can_never_fire_is_refused() {
    for (source, why) in [
        ("error_rate > 100%", "a metric in ratio is between 0 and 1"),
        ("error_rate > 5", "a metric in ratio is between 0 and 1"),
        ("cpu > 100", "a metric in percent is between 0% and 100%"),
        ("p95 < 0s", "a metric in ms is at least 0ms"),
        ("0s > p95", "a metric in ms is at least 0ms"),
        ("errors == -1", "a metric in count is at least 0"),
        (
            "error_rate > 200% - 50%",
            "a metric in ratio is between 0 and 1",
        ),
        ("error_rate + 1 < 1", "its left side is between 1 and 2"),
        ("errors + requests < 0", "its left side is at least 0"),
        ("error_rate > error_rate", "both sides are the same"),
        (
            "service_status != service_status",
            "both sides are the same",
        ),
        (
            "p95 > 2s && error_rate > 100%",
            "a metric in ratio is between 0 and 1",
        ),
        (
            "p95 > 2s || error_rate > 100%",
            "a metric in ratio is between 0 and 1",
        ),
        ("!(error_rate <= 100%)", "is always true: a metric in ratio"),
        (
            "p95 > 2s && p95 < 1s",
            "no value of `p95` meets all of its limits",
        ),
        (
            "p95 > 2s && error_rate > 5% && p95 <= 2s",
            "no value of `p95`",
        ),
        ("errors == 5 && 5 < errors", "no value of `errors`"),
        ("errors > 1 || (p95 > 2s && p95 < 1s)", "no value of `p95`"),
    ] {
        let error = refused(source);
        assert_eq!(
            error.kind(),
            ConditionErrorKind::NeverTrue,
            "{source}: {error}"
        );
        assert!(error.message().contains(why), "{source}: {error}");
        assert!(
            error.message().contains("could never fire"),
            "{source}: {error}"
        );
    }
    for source in [
        "error_rate >= 0",
        "errors > -1",
        "!(p95 < 0s)",
        "p95 == p95",
    ] {
        let error = refused(source);
        assert_eq!(
            error.kind(),
            ConditionErrorKind::AlwaysTrue,
            "{source}: {error}"
        );
    }
    for source in [
        "error_rate >= 100%",
        "p95 <= 0s",
        "p95 - baseline < 0s",
        "errors / requests > 200%",
        "error_rate / baseline > 20",
        "!(error_rate > 5% && error_rate < 1%)",
        "p95 > 1s && p95 < 2s",
        "errors >= 5 && errors <= 5",
        "errors / (requests - errors) > 1",
        "p95 > 2s && (p95 < 1s || errors > 5)",
    ] {
        let _ = compiled(source);
    }
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

/// Source texts that are made of the language's own pieces, so that a good part of them compiles.
fn sources() -> impl Strategy<Value = String> {
    let metric = prop_oneof![
        Just("error_rate"),
        Just("p95"),
        Just("p50"),
        Just("cpu"),
        Just("errors"),
        Just("stable(p95)"),
        Just("candidate(errors)"),
        Just("baseline(p50)"),
        Just("baseline"),
    ];
    let literal = prop_oneof![
        (0.0..200.0).prop_map(|value: f64| value.to_string()),
        prop::num::f64::POSITIVE.prop_map(|value| format!("{value:e}")),
        (0u16..100).prop_map(|value| format!("{value}%")),
        (0u16..5000).prop_map(|value| format!("{value}ms")),
        (0u16..50).prop_map(|value| format!("{value}s")),
    ];
    let number =
        prop_oneof![metric.prop_map(str::to_owned), literal].prop_recursive(3, 12, 2, |inner| {
            (inner.clone(), "[-+*/]", inner)
                .prop_map(|(left, op, right)| format!("({left}) {op} ({right})"))
        });
    let relation = prop_oneof![
        Just("=="),
        Just("!="),
        Just("<"),
        Just("<="),
        Just(">"),
        Just(">=")
    ];
    let comparison = prop_oneof![
        4 => (number.clone(), relation, number)
            .prop_map(|(left, op, right)| format!("{left} {op} {right}")),
        1 => "[a-z'\\\\\"]{0,4}".prop_map(|text| {
            let text = text.replace('\\', "\\\\").replace('"', "\\\"");
            format!("service_status == \"{text}\"")
        }),
    ];
    comparison.prop_recursive(4, 16, 2, |inner| {
        prop_oneof![
            (inner.clone(), inner.clone()).prop_map(|(l, r)| format!("({l}) && ({r})")),
            (inner.clone(), inner.clone()).prop_map(|(l, r)| format!("({l}) || ({r})")),
            inner.prop_map(|operand| format!("!({operand})")),
        ]
    })
}

proptest! {
    #[test]
    fn any_text_gets_an_answer(source in ".{0,200}") {
        if let Err(error) = Condition::compile(&source, &metrics()) {
            prop_assert!(source.get(error.span().start..error.span().end).is_some());
            prop_assert!(error.to_string().contains("fix: "));
        }
    }

    #[test]
    fn any_tokens_get_an_answer(
        pieces in prop::collection::vec(
            prop_oneof![
                Just("error_rate"), Just("p95"), Just("baseline"), Just("stable"), Just("5%"), Just("2s"), Just("'a'"),
                Just("("), Just(")"), Just("!"), Just("-"), Just("*"), Just("/"), Just("=="), Just("<"), Just("&&"),
                Just("||"), Just("1e308"), Just("0"), Just("service_status"),
            ],
            0..40,
        )
    ) {
        let source = pieces.join(" ");
        if let Err(error) = Condition::compile(&source, &metrics()) {
            prop_assert!(source.get(error.span().start..error.span().end).is_some());
        }
    }

    #[test]
    fn canonical_text_compiles_to_the_same_condition(
        source in sources(),
        numbers in prop::collection::vec(prop::num::f64::ANY, 9),
    ) {
        if let Ok(condition) = Condition::compile(&source, &metrics()) {
            let canonical = condition.to_string();
            let again = Condition::compile(&canonical, &metrics())
                .map_err(|error| TestCaseError::fail(error.to_string()))?;
            prop_assert_eq!(&again, &condition);
            let values = |slot: usize| Value::Number(numbers[slot % 9]);
            prop_assert_eq!(condition.explain(values).truth, condition.evaluate(values));
        }
    }
}
