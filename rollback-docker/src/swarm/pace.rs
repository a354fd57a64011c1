//! A pace in Swarm's words: the update settings that one update borrows, and gives back.

use rollback_core::model::{ChangeError, Pace};
use serde_json::{Map, Value, json};

/// The service label that says what an update borrowed: the user's own settings, and ours.
pub(super) const LENT_LABEL: &str = "io.rollback.lent";

/// The settings that a pace demands. Everything else of the user's own stays.
const DEMANDED: [(&str, Demanded); 4] = [
    ("Parallelism", Demanded::Number(1)),
    ("Delay", Demanded::Number(0)),
    ("FailureAction", Demanded::Word("pause")),
    ("Order", Demanded::Word("stop-first")),
];

/// What Swarm takes for a setting that is not given.
#[derive(Clone, Copy)]
enum Demanded {
    Number(u64),
    Word(&'static str),
}

/// How an update is to go.
#[derive(Debug, Clone, Copy)]
pub(super) struct Manner {
    pub(super) pace: Pace,
    /// What served before is restored.
    pub(super) rolls_back: bool,
    /// Instances take ports of their nodes: a new one does not fit beside an old one.
    pub(super) node_ports: bool,
    /// The user's own failure action is left in place.
    pub(super) native_rollback: bool,
}

/// The update settings for one update, on the basis of the user's own.
///
/// | pace | order | parallelism | failure action |
/// |---|---|---|---|
/// | at once | start first (with ports of the node: stop first) | all | pause |
/// | rolling, `max_surge` | start first | `max_surge` | pause |
/// | rolling, `max_surge: 0` or ports of the node | stop first | `max_unavailable` | pause |
/// | stop first | stop first | all | pause |
/// | the same on the way back | the same; with ports of the node what cannot be rolled is stopped first, all of it | the same | continue |
///
/// No delay. On the way back Swarm goes on though an instance fails: it would leave the rest of
/// the bad release where it is.
pub(super) fn settings(own: &Value, manner: Manner) -> Result<Value, ChangeError> {
    let (start_first, parallelism) = match manner.pace {
        Pace::StopFirst => (false, 0),
        Pace::AtOnce => (!manner.node_ports, 0),
        Pace::Rolling { max_surge, .. } if max_surge > 0 && !manner.node_ports => {
            (true, if max_surge >= Pace::ALL { 0 } else { max_surge })
        }
        Pace::Rolling {
            max_unavailable, ..
        } if max_unavailable > 0 => (false, max_unavailable),
        // Better a gap than the bad release.
        Pace::Rolling { .. } if manner.rolls_back => (false, 0),
        Pace::Rolling { .. } => {
            return Err(ChangeError::refused(
                "instances take ports of their nodes, so that a new one cannot start beside an old \
                 one; allow `max_unavailable: 1`, or publish the ports through the ingress network",
            ));
        }
        other => {
            return Err(ChangeError::unsupported(format_args!(
                "Swarm cannot replace a release {other}"
            )));
        }
    };
    let mut settings = own.as_object().cloned().unwrap_or_default();
    let mut set = |name: &str, value: Value| settings.insert(name.to_owned(), value);
    set("Parallelism", json!(parallelism));
    set("Delay", json!(0));
    set(
        "Order",
        json!(if start_first {
            "start-first"
        } else {
            "stop-first"
        }),
    );
    if manner.rolls_back {
        set("FailureAction", json!("continue"));
    } else if !manner.native_rollback {
        set("FailureAction", json!("pause"));
    }
    Ok(Value::Object(settings))
}

/// The label for what an update borrows.
pub(super) fn lent(own: &Value, settings: &Value) -> String {
    json!({ "own": own, "lent": settings }).to_string()
}

/// The user's own settings: what a label says was borrowed from, unless somebody changed them
/// since; null if the user gave none.
pub(super) fn own(current: &Value, label: Option<&str>) -> Value {
    let lent: Option<Map<String, Value>> = label.and_then(|text| serde_json::from_str(text).ok());
    match lent {
        Some(mut lent) if is_same(current, lent.get("lent").unwrap_or(&Value::Null)) => {
            lent.remove("own").unwrap_or(Value::Null)
        }
        _ => current.clone(),
    }
}

fn is_same(one: &Value, other: &Value) -> bool {
    DEMANDED.iter().all(|(name, default)| {
        let of = |settings: &Value| {
            let given = settings.get(name).cloned();
            given.unwrap_or_else(|| match default {
                Demanded::Number(number) => json!(number),
                Demanded::Word(word) => json!(word),
            })
        };
        of(one) == of(other)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rolling(max_unavailable: u32, max_surge: u32) -> Pace {
        Pace::Rolling {
            max_unavailable,
            max_surge,
        }
    }

    fn told(own: &Value, pace: Pace, rolls_back: bool, node_ports: bool) -> String {
        let manner = Manner {
            pace,
            rolls_back,
            node_ports,
            native_rollback: false,
        };
        match settings(own, manner) {
            Ok(it) => format!(
                "{} {} {}",
                it["Order"], it["Parallelism"], it["FailureAction"]
            ),
            Err(error) => error.to_string(),
        }
    }

    #[test]
    fn each_pace_has_its_settings() {
        let cases = [
            (Pace::AtOnce, false, false, "start-first 0 pause"),
            (Pace::AtOnce, false, true, "stop-first 0 pause"),
            (rolling(0, 2), false, false, "start-first 2 pause"),
            (rolling(1, 2), false, false, "start-first 2 pause"),
            (rolling(3, 0), false, false, "stop-first 3 pause"),
            (rolling(1, 2), false, true, "stop-first 1 pause"),
            (Pace::StopFirst, false, false, "stop-first 0 pause"),
            (rolling(0, 2), true, false, "start-first 2 continue"),
            (rolling(0, Pace::ALL), true, false, "start-first 0 continue"),
            (rolling(0, Pace::ALL), true, true, "stop-first 0 continue"),
            (rolling(1, 0), true, true, "stop-first 1 continue"),
            (Pace::StopFirst, true, false, "stop-first 0 continue"),
        ];
        for (pace, back, ports, expected) in cases {
            let told = told(&Value::Null, pace, back, ports).replace('"', "");
            assert_eq!(told, expected, "{pace} back {back} ports {ports}");
        }
        let refused = told(&Value::Null, rolling(0, 1), false, true);
        assert!(refused.contains("max_unavailable: 1"), "{refused}");
    }

    #[test]
    fn what_a_pace_does_not_demand_stays_the_users() {
        let own = json!({"Monitor": 7, "MaxFailureRatio": 0.5, "Delay": 9, "New": {"a": 1},
            "FailureAction": "rollback"});
        let manner = |native_rollback| Manner {
            pace: Pace::AtOnce,
            rolls_back: false,
            node_ports: false,
            native_rollback,
        };
        let ours = settings(&own, manner(false)).unwrap();
        assert_eq!(
            ours,
            json!({"Monitor": 7, "MaxFailureRatio": 0.5, "Delay": 0, "New": {"a": 1},
                "FailureAction": "pause", "Order": "start-first", "Parallelism": 0})
        );
        let left = settings(&own, manner(true)).unwrap();
        assert_eq!(left["FailureAction"], "rollback");
    }

    #[test]
    fn what_was_borrowed_is_known_until_somebody_else_sets_it() {
        let users = json!({"Parallelism": 2, "FailureAction": "rollback", "Order": "stop-first"});
        let manner = Manner {
            pace: Pace::AtOnce,
            rolls_back: true,
            node_ports: false,
            native_rollback: false,
        };
        let ours = settings(&users, manner).unwrap();
        let label = lent(&users, &ours);
        // As the engine gives it back: without what is its own default.
        let mut told = ours.clone();
        told.as_object_mut().unwrap().remove("Delay");
        assert_eq!(own(&told, Some(&label)), users);
        told["Parallelism"] = json!(5);
        assert_eq!(own(&told, Some(&label)), told, "somebody set it");
        assert_eq!(own(&users, None), users);
        assert_eq!(own(&Value::Null, None), Value::Null);
        assert_eq!(own(&ours, Some(&lent(&Value::Null, &ours))), Value::Null);
    }
}
