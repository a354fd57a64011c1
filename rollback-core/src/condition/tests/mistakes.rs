//! Every mistake is named, placed, and comes with a fix.

use super::*;

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
        ("p95 > 2s && 1s > p95", "no value of `p95`"),
        ("p95 >= 2s && p95 < 2s", "no value of `p95`"),
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
