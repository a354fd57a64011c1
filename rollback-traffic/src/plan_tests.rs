//! What is said to HAProxy in which case: tables.

use rollback_core::model::Timestamp;

use super::*;

fn release(text: &str) -> ReleaseId {
    ReleaseId::new(text).unwrap()
}

fn instance(name: &str, state: InstanceState) -> Instance {
    let id = InstanceId::new(name).unwrap();
    // The instance `a7` answers at port 7.
    let port: u16 = name
        .trim_start_matches(char::is_alphabetic)
        .parse()
        .unwrap();
    Instance::new(id, Timestamp::default(), state).at(format!("127.0.0.1:{port}"))
}

fn exited() -> InstanceState {
    InstanceState::Exited {
        how: "exit status 1".into(),
    }
}

fn told(instances: &[(&str, &str, InstanceState)]) -> Told {
    let mut told = Told::new();
    for (of, name, state) in instances {
        told.entry(release(of))
            .or_default()
            .push(instance(name, state.clone()));
    }
    told
}

fn shares(text: &str) -> Shares {
    let share = |word: &str| {
        let (of, points) = word.split_once('=').unwrap();
        let share = Weight::from_basis_points(points.parse().unwrap()).unwrap();
        (release(of), share)
    };
    text.split_whitespace().map(share).collect()
}

/// `v1/a1 ready 9` and so on; `+3` behind it: three requests are open.
fn backend(text: &str) -> Backend {
    let mut seen = Backend::default();
    for line in text.lines().map(str::trim).filter(|line| !line.is_empty()) {
        let words: Vec<&str> = line.split_whitespace().collect();
        let admin = match words[1] {
            "ready" => Admin::Ready,
            "drain" => Admin::Drain,
            _ => Admin::Maintenance,
        };
        let mut server = Server {
            name: words[0].to_owned(),
            address: String::new(),
            admin,
            weight: words[2].parse().unwrap(),
            down: false,
            backup: false,
            open: words.get(3).map_or(0, |open| open[1..].parse().unwrap()),
        };
        let Some((of, name)) = words[0].split_once('/') else {
            server.address = "127.0.0.1:9".to_owned();
            seen.strangers.push(server);
            continue;
        };
        let id = InstanceId::new(name).unwrap();
        server.name = of_server(&release(of), &id);
        server.address = instance(name, InstanceState::Ready)
            .address
            .unwrap()
            .to_string();
        seen.ours.insert((release(of), id), server);
    }
    seen
}

fn said(seen: &Backend, told: Option<&Told>, before: &str, after: &str) -> Vec<String> {
    let (before, after) = (shares(before), shares(after));
    let ask = Ask {
        backend: "web",
        options: "",
        told,
        shares: &after,
        before: &before,
    };
    plan(seen, &ask).commands
}

#[test]
fn each_case_is_said_in_this_order() {
    use InstanceState::{Ready, Starting, Unhealthy};
    for (case, seen, told, before, after, expected) in [
        (
            "nothing to say",
            "v1/a1 ready 1\nv2/b2 maint 1",
            told(&[("v1", "a1", Ready), ("v2", "b2", Ready)]),
            "v1=10000",
            "v1=10000",
            &[][..],
        ),
        (
            "a candidate is added, drained",
            "v1/a1 ready 1",
            told(&[("v1", "a1", Ready), ("v2", "b2", Ready)]),
            "v1=10000",
            "v1=10000",
            &[
                "add server web/rb:v2:b2 127.0.0.1:2 weight 1",
                "set server web/rb:v2:b2 state drain",
            ],
        ),
        (
            "who gains is let in before who loses is let go",
            "v1/a1 ready 1\nv2/b2 drain 1",
            told(&[("v1", "a1", Ready), ("v2", "b2", Ready)]),
            "v1=10000",
            "v2=10000",
            &[
                "set server web/rb:v2:b2 state ready",
                "set server web/rb:v1:a1 state maint",
            ],
        ),
        (
            "a canary",
            "v1/a1 ready 1\nv2/b2 drain 1",
            told(&[("v1", "a1", Ready), ("v2", "b2", Ready)]),
            "v1=10000",
            "v1=9000 v2=1000",
            &[
                "set server web/rb:v1:a1 weight 9",
                "set server web/rb:v2:b2 state ready",
            ],
        ),
        (
            "who starts and who fails waits while others are ready",
            "v1/a1 ready 1\nv1/a2 ready 1\nv1/a3 ready 1",
            told(&[
                ("v1", "a1", Ready),
                ("v1", "a2", Unhealthy),
                ("v1", "a3", Starting),
            ]),
            "v1=10000",
            "v1=10000",
            &[
                "set server web/rb:v1:a2 state drain",
                "set server web/rb:v1:a3 state drain",
            ],
        ),
        (
            "if none is ready, all serve",
            "v1/a1 ready 1\nv1/a2 ready 1",
            told(&[("v1", "a1", Unhealthy), ("v1", "a2", Starting)]),
            "v1=10000",
            "v1=10000",
            &[],
        ),
        (
            "the dead go at once; while they answer they only leave",
            "v1/a1 ready 1\nv1/a2 ready 1\nv1/a3 ready 1 +2",
            told(&[("v1", "a1", Ready), ("v1", "a2", exited())]),
            "v1=10000",
            "v1=10000",
            &[
                "set server web/rb:v1:a2 weight 0",
                "set server web/rb:v1:a2 state maint",
                "del server web/rb:v1:a2",
                "set server web/rb:v1:a3 weight 0",
                "set server web/rb:v1:a3 state maint",
            ],
        ),
        (
            "the last one of a release with a share stays, drained, and the others share the whole",
            "v1/a1 ready 9\nv2/b2 ready 1",
            told(&[("v1", "a1", Ready), ("v2", "b2", exited())]),
            "v1=9000 v2=1000",
            "v1=9000 v2=1000",
            &[
                "set server web/rb:v1:a1 weight 1",
                "set server web/rb:v2:b2 state drain",
            ],
        ),
        (
            "who lost the share while failing is let go too",
            "v1/a1 ready 9\nv2/b2 drain 1",
            told(&[("v1", "a1", Ready), ("v2", "b2", Unhealthy)]),
            "v1=9000 v2=1000",
            "v1=10000",
            &[
                "set server web/rb:v1:a1 weight 1",
                "set server web/rb:v2:b2 state maint",
            ],
        ),
        (
            "a server of the configuration hands over",
            "web1 ready 1",
            told(&[("v1", "a9", Ready)]),
            "v1=10000",
            "v1=10000",
            &[
                "add server web/rb:v1:a9 127.0.0.1:9 weight 1",
                "set server web/rb:v1:a9 state ready",
                "set server web/web1 state maint",
            ],
        ),
    ] {
        assert_eq!(
            said(&backend(seen), Some(&told), before, after),
            expected,
            "{case}"
        );
    }
}

#[test]
fn without_a_telling_who_is_there_stays() {
    let seen = backend("v1/a1 ready 1\nv2/b2 drain 1\nv2/b3 maint 0 +1");
    let commands = said(&seen, None, "v1=10000", "v2=10000");
    assert_eq!(
        commands,
        [
            "set server web/rb:v2:b2 state ready",
            "set server web/rb:v1:a1 state maint"
        ],
        "b3 is leaving"
    );
}

#[test]
fn added_servers_are_watched_if_the_options_say_so() {
    let (seen, after) = (Backend::default(), shares("v1=10000"));
    let told = told(&[("v1", "a1", InstanceState::Ready)]);
    let ask = Ask {
        backend: "web",
        options: "check inter 1s",
        told: Some(&told),
        shares: &after,
        before: &after,
    };
    assert_eq!(
        plan(&seen, &ask).commands,
        [
            "add server web/rb:v1:a1 127.0.0.1:1 weight 1 check inter 1s",
            "enable health web/rb:v1:a1",
            "set server web/rb:v1:a1 state ready",
        ]
    );
}

#[test]
fn what_is_missing_is_known_before_anything_is_said() {
    let told = told(&[("v1", "a1", InstanceState::Ready), ("v2", "b2", exited())]);
    let mut seen = backend("v1/a1 ready 1");
    for server in seen.ours.values_mut() {
        server.down = true;
    }
    let after = shares("v1=9999 v2=1");
    let ask = Ask {
        backend: "web",
        options: "",
        told: Some(&told),
        shares: &after,
        before: &after,
    };
    let plan = plan(&seen, &ask);
    assert_eq!(
        (plan.nowhere, plan.down),
        (vec![release("v2")], vec![release("v1")])
    );
}

#[test]
fn a_note_is_in_force_only_with_its_weights() {
    for (noted, seen, told, as_noted) in [
        (
            "v1=9000 v2=1000",
            "v1/a1 ready 9\nv2/b2 ready 1",
            "v1=9000 v2=1000",
            true,
        ),
        // Nine of ten, in other numbers: not what we would have said.
        (
            "v1=9000 v2=1000",
            "v1/a1 ready 18\nv2/b2 ready 2",
            "v1=9000 v2=1000",
            false,
        ),
        (
            "v1=9999 v2=1",
            "v1/a1 ready 256\nv2/b2 ready 1",
            "v1=9999 v2=1",
            true,
        ),
        ("v1=10000", "v1/a1 ready 1\nv2/b2 maint 1", "v1=10000", true),
        (
            "v2=10000",
            "v1/a1 ready 1\nv2/b2 drain 1",
            "v1=10000",
            false,
        ),
        (
            "v1=9000 v2=1000",
            "v1/a1 ready 1\nv2/b2 drain 1",
            "v1=9000 v2=1000",
            true,
        ),
        (
            "v1=9000 v2=1000",
            "v1/a1 ready 1\nv2/b2 maint 1",
            "v1=10000",
            false,
        ),
        ("v1=9000 v2=1000", "", "", false),
        ("", "", "", true),
    ] {
        let mut backend = backend(seen);
        let mark = Mark {
            born: 1,
            revision: 1,
            change: None,
            shares: shares(noted),
        };
        backend.mark = Some(mark);
        assert_eq!(
            in_force(&backend),
            (shares(told), as_noted),
            "{noted} with {seen}"
        );
    }
}

#[test]
fn a_backend_without_a_note_is_adopted_or_refused() {
    use InstanceState::Ready;
    let two = told(&[("v1", "a9", Ready), ("v2", "b2", Ready)]);
    let one = told(&[("v1", "a1", Ready)]);
    for (seen, told, expected) in [
        ("", &Told::new(), Ok(shares(""))),
        ("", &one, Ok(shares("v1=10000"))),
        ("", &two, Ok(shares(""))),
        ("web1 ready 5", &two, Ok(shares("v1=10000"))),
        ("web1 maint 5", &one, Ok(shares("v1=10000"))),
        ("web1 ready 5", &one, Err("`web1` (127.0.0.1:9)")),
    ] {
        match (adopted(&backend(seen), told), expected) {
            (Ok(seen), Ok(expected)) => assert_eq!(seen, expected),
            (Err(told), Err(words)) => assert!(told.contains(words), "{told}"),
            (answer, expected) => panic!("{seen}: {answer:?}, not {expected:?}"),
        }
    }
}
