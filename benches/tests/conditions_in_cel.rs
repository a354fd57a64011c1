//! Conditions are a strict subset of CEL plus units: what they answer is what another implementation of CEL answers.
//!
//! Each case is written twice, as a policy writes it and as CEL with the units calculated away (shares as ratios, times
//! in milliseconds). A missing value is a variable that CEL does not have, so that its errors are our `Unknown`: both must
//! let them through only where they matter. Numbers are such that no operation rounds; then the order of conversions
//! cannot matter. In CEL a division by zero is infinite, here it has no result: the translation says so.

#![expect(
    clippy::indexing_slicing,
    clippy::panic,
    reason = "a test: what cannot happen must fail it"
)]

use std::collections::BTreeMap;

use cel::{Context, Program, Value as CelValue};
use proptest::{
    prelude::*,
    test_runner::{Config, TestRunner},
};
use rollback_core::condition::{
    Condition, ConditionErrorKind, MetricCatalogue, Missing, Truth, Unit, Value,
};

/// The same expression in both languages.
#[derive(Debug, Clone)]
struct Pair {
    ours: String,
    cel: String,
}

/// What can be compared.
#[derive(Debug, Clone, Copy)]
enum Dimension {
    Share,
    Time,
    Count,
}

/// The metrics, and how a value of one becomes the unit of the translation.
const METRICS: [(&str, Unit, &str); 7] = [
    ("error_rate", Unit::Ratio, ""),
    ("cpu", Unit::Percent, " / 100.0"),
    ("p95", Unit::Milliseconds, ""),
    ("p50", Unit::Seconds, " * 1000.0"),
    ("errors", Unit::Count, ""),
    ("requests", Unit::Count, ""),
    ("status", Unit::State, ""),
];

const SUBJECTS: [&str; 4] = ["", "stable", "candidate", "baseline"];

fn catalogue() -> MetricCatalogue {
    let catalogue = MetricCatalogue::new();
    METRICS
        .iter()
        .fold(catalogue, |all, (name, unit, _)| all.per_arm(*name, *unit))
}

/// A metric of a subject: `stable(p95)`, and its variable `stable_p95`.
fn named(subject: &str, metric: &str) -> Pair {
    if subject.is_empty() {
        return Pair {
            ours: metric.to_owned(),
            cel: metric.to_owned(),
        };
    }
    Pair {
        ours: format!("{subject}({metric})"),
        cel: format!("{subject}_{metric}"),
    }
}

fn metric(names: &'static [usize]) -> impl Strategy<Value = Pair> {
    let name = prop::sample::select(names);
    (prop::sample::select(&SUBJECTS[..]), name).prop_map(|(subject, at)| {
        let (metric, _, conversion) = METRICS[at];
        let pair = named(subject, metric);
        Pair {
            cel: format!("({}{conversion})", pair.cel),
            ..pair
        }
    })
}

/// A number whose text is the same in both languages, once it has a point.
fn plain(number: f64) -> String {
    format!("{number:?}")
}

fn literal(dimension: Dimension) -> BoxedStrategy<Pair> {
    let pair = |ours: String, cel: String| Pair { ours, cel };
    match dimension {
        Dimension::Share => (0_u32..=64)
            .prop_map(move |part| f64::from(part) * 100.0 / 64.0)
            .prop_map(move |share| pair(format!("{share}%"), format!("({} / 100.0)", plain(share))))
            .boxed(),
        Dimension::Time => prop_oneof![
            (0_u32..200)
                .prop_map(move |n| pair(format!("{}ms", n * 125), format!("{}.0", n * 125))),
            (0_u32..30).prop_map(move |n| pair(format!("{n}s"), format!("{n}000.0"))),
            (1_u32..3).prop_map(move |n| pair(format!("{n}m"), format!("{}.0", n * 60_000))),
        ]
        .boxed(),
        Dimension::Count => (0_u32..100)
            .prop_map(move |n| pair(n.to_string(), format!("{n}.0")))
            .boxed(),
    }
}

fn joined(left: Pair, sign: &str, right: Pair) -> Pair {
    Pair {
        ours: format!("({} {sign} {})", left.ours, right.ours),
        cel: format!("({} {sign} {})", left.cel, right.cel),
    }
}

/// A number that reads at least one metric.
fn number(dimension: Dimension) -> BoxedStrategy<Pair> {
    let one = match dimension {
        Dimension::Share => prop_oneof![
            3 => metric(&[0, 1]),
            1 => metric(&[4]).prop_map(over_requests),
        ]
        .boxed(),
        Dimension::Time => metric(&[2, 3]).boxed(),
        Dimension::Count => metric(&[4, 5]).boxed(),
    };
    let factor = prop::sample::select(&[0.25, 0.5, 0.75, 1.25, 2.0, 3.0][..]);
    one.prop_recursive(2, 6, 2, move |inner| {
        let share = (1_u32..=64).prop_map(|part| f64::from(part) * 100.0 / 64.0);
        prop_oneof![
            (
                inner.clone(),
                prop::sample::select(&["+", "-"][..]),
                inner.clone()
            )
                .prop_map(|(left, sign, right)| joined(left, sign, right)),
            (
                inner.clone(),
                prop::sample::select(&["+", "-"][..]),
                literal(dimension)
            )
                .prop_map(|(left, sign, right)| joined(left, sign, right)),
            (factor.clone(), inner.clone()).prop_map(|(factor, right)| Pair {
                ours: format!("{factor} * {}", right.ours),
                cel: format!("{} * {}", plain(factor), right.cel),
            }),
            (inner.clone(), prop::sample::select(&[2.0, 4.0, 8.0][..])).prop_map(
                |(left, divisor)| Pair {
                    ours: format!("{} / {divisor}", left.ours),
                    cel: format!("{} / {}", left.cel, plain(divisor)),
                }
            ),
            (share, inner.clone()).prop_map(|(share, right)| Pair {
                ours: format!("{share}% * {}", right.ours),
                cel: format!("({} / 100.0) * {}", plain(share), right.cel),
            }),
            // A count divided by a count is a share.
            inner.clone().prop_map(move |left| match dimension {
                Dimension::Count => left,
                _ => over_requests(left),
            }),
            inner.prop_map(|of| Pair {
                ours: format!("-({})", of.ours),
                cel: format!("-({})", of.cel),
            }),
        ]
        .prop_map(|pair| Pair {
            ours: format!("({})", pair.ours),
            cel: format!("({})", pair.cel),
        })
    })
    .boxed()
}

/// Divided by a metric that may be zero: then it has no result.
fn over_requests(left: Pair) -> Pair {
    Pair {
        ours: format!("({} / requests)", left.ours),
        cel: format!("({} / (requests == 0.0 ? no_result : requests))", left.cel),
    }
}

fn comparison() -> impl Strategy<Value = Pair> {
    let signs = &["==", "!=", "<", "<=", ">", ">="][..];
    let sign = prop::sample::select(signs);
    let numbers = prop::sample::select(&[Dimension::Share, Dimension::Time, Dimension::Count][..])
        .prop_flat_map(|dimension| {
            let other = prop_oneof![number(dimension), literal(dimension)];
            (number(dimension), other)
        });
    let compared = (numbers, sign, any::<bool>()).prop_map(|((left, right), sign, swapped)| {
        let (left, right) = if swapped {
            (right, left)
        } else {
            (left, right)
        };
        joined(left, sign, right)
    });
    // A number without a unit has that of its metric.
    let bare = (
        metric(&[0, 1, 2, 3, 4, 5]),
        prop::sample::select(signs),
        0_u32..64,
    )
        .prop_map(|(metric, sign, n)| {
            let raw = metric.ours.replace('(', "_").replace(')', "");
            let number = f64::from(n) / 64.0;
            Pair {
                ours: format!("{} {sign} {number}", metric.ours),
                cel: format!("{raw} {sign} {}", plain(number)),
            }
        });
    let word = "[ab'\"\\\\é]{0,2}".prop_map(|word: String| {
        let word = word.replace('\\', "\\\\").replace('\'', "\\'");
        let text = format!("'{word}'");
        Pair {
            ours: text.clone(),
            cel: text,
        }
    });
    let words = (
        metric(&[6]),
        prop::sample::select(&["==", "!="][..]),
        prop_oneof![word.boxed(), metric(&[6]).boxed()],
    )
        .prop_map(|(left, sign, right)| joined(left, sign, right));
    prop_oneof![4 => compared, 1 => bare, 1 => words]
}

fn condition() -> impl Strategy<Value = Pair> {
    comparison().prop_recursive(3, 12, 2, |inner| {
        prop_oneof![
            (
                inner.clone(),
                prop::sample::select(&["&&", "||"][..]),
                inner.clone()
            )
                .prop_map(|(left, sign, right)| joined(left, sign, right)),
            inner.prop_map(|of| Pair {
                ours: format!("!({})", of.ours),
                cel: format!("!({})", of.cel),
            }),
        ]
    })
}

/// What was read of a metric; one in eight is missing.
#[derive(Debug, Clone, PartialEq)]
enum Reading {
    Number(f64),
    Word(String),
    None,
}

fn reading(unit: Unit) -> impl Strategy<Value = Reading> {
    let parts = move |part: u32| {
        let part = f64::from(part);
        match unit {
            Unit::Ratio => part / 64.0,
            Unit::Percent => part * 100.0 / 64.0,
            Unit::Milliseconds => part * 125.0,
            Unit::Seconds => part / 8.0,
            _ => part,
        }
    };
    let number = (0_u32..=64).prop_map(move |part| Reading::Number(parts(part)));
    let value = if unit == Unit::State {
        "[ab'\"\\\\é]{0,2}".prop_map(Reading::Word).boxed()
    } else {
        number.boxed()
    };
    prop_oneof![7 => value, 1 => Just(Reading::None)]
}

/// By the name in a policy. What is divided by is nothing or a power of two.
fn readings() -> impl Strategy<Value = BTreeMap<String, (String, Reading)>> {
    let names: Vec<(Pair, BoxedStrategy<Reading>)> = SUBJECTS
        .iter()
        .flat_map(|subject| {
            METRICS.iter().map(move |(metric, unit, _)| {
                let reading = if *metric == "requests" {
                    let powers = prop::sample::select(&[0.0, 1.0, 2.0, 8.0, 64.0][..]);
                    prop_oneof![7 => powers.prop_map(Reading::Number), 1 => Just(Reading::None)]
                        .boxed()
                } else {
                    reading(*unit).boxed()
                };
                (named(subject, metric), reading)
            })
        })
        .collect();
    let (pairs, values): (Vec<Pair>, Vec<_>) = names.into_iter().unzip();
    values.prop_map(move |values| {
        let all = pairs.iter().cloned().zip(values);
        all.map(|(pair, value)| (pair.ours, (pair.cel, value)))
            .collect()
    })
}

fn in_cel(source: &str, readings: &BTreeMap<String, (String, Reading)>) -> Option<bool> {
    let program = Program::compile(source).unwrap_or_else(|why| panic!("`{source}`: {why:?}"));
    let mut context = Context::default();
    for (name, reading) in readings.values() {
        match reading {
            Reading::Number(number) => {
                context.add_variable_from_value(name.as_str(), *number);
            }
            Reading::Word(word) => context.add_variable_from_value(name.as_str(), word.as_str()),
            Reading::None => {}
        }
    }
    match program.execute(&context) {
        Ok(CelValue::Bool(answer)) => Some(answer),
        Ok(other) => panic!("`{source}` is {other:?}"),
        Err(_) => None,
    }
}

fn here(condition: &Condition, readings: &BTreeMap<String, (String, Reading)>) -> Option<bool> {
    let truth = condition.evaluate(|slot| {
        let name = condition.slots()[slot].to_string();
        match readings.get(&name) {
            Some((_, Reading::Number(number))) => Value::Number(*number),
            Some((_, Reading::Word(word))) => Value::Text(word),
            Some((_, Reading::None)) => Value::Missing(Missing::NoData),
            None => panic!("nobody knows {name}"),
        }
    });
    match truth {
        Truth::True => Some(true),
        Truth::False => Some(false),
        Truth::Unknown(_) => None,
    }
}

#[test]
fn conditions_answer_as_cel_does() {
    let mut runner = TestRunner::new(Config {
        cases: 1_000,
        failure_persistence: None,
        ..Config::default()
    });
    let answers = std::cell::RefCell::new(BTreeMap::<Option<bool>, u32>::new());
    let metrics = catalogue();
    let done = runner.run(&(condition(), readings()), |(pair, readings)| {
        let condition = match Condition::compile(&pair.ours, &metrics) {
            Ok(condition) => condition,
            // What can have one answer only is refused before it is evaluated.
            Err(why)
                if matches!(
                    why.kind(),
                    ConditionErrorKind::NeverTrue | ConditionErrorKind::AlwaysTrue
                ) =>
            {
                return Ok(());
            }
            Err(why) => return Err(TestCaseError::fail(why.to_string())),
        };
        let answer = here(&condition, &readings);
        prop_assert_eq!(
            answer,
            in_cel(&pair.cel, &readings),
            "{} and {}",
            pair.ours,
            pair.cel
        );
        *answers.borrow_mut().entry(answer).or_default() += 1;
        Ok(())
    });
    if let Err(why) = done {
        panic!("{why}");
    }
    // Each answer was given often enough to mean something.
    let answers = answers.into_inner();
    for answer in [None, Some(true), Some(false)] {
        let often = answers.get(&answer).copied().unwrap_or(0);
        assert!(often >= 100, "{answer:?} only {often} times: {answers:?}");
    }
}
