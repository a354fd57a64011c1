//! Properties of arbitrary texts.

use proptest::prelude::*;

use super::*;

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
