//! What a real HAProxy refuses, sees down, or was configured with; and sockets that answer badly.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test")]

#[allow(dead_code, reason = "each test file uses a part")]
mod support;

use std::{collections::BTreeMap, time::Duration};

use rollback_core::{
    model::{
        ChangeError, ChangeId, Instance, InstanceId, InstanceState, ReleaseId, ServiceId,
        Timestamp, Weight,
    },
    ports::TrafficShifter,
};
use rollback_traffic::{HaproxyShifter, Socket};
use support::{Haproxy, Instances};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::UnixListener,
};

fn service(text: &str) -> ServiceId {
    ServiceId::new(text).unwrap()
}

fn release(text: &str) -> ReleaseId {
    ReleaseId::new(text).unwrap()
}

fn change() -> ChangeId {
    ChangeId::try_from("d7-19a.s1.a1".to_owned()).unwrap()
}

fn all(release: &ReleaseId) -> BTreeMap<ReleaseId, Weight> {
    BTreeMap::from([(release.clone(), Weight::ALL)])
}

fn nobody_at(address: &str) -> Instance {
    let id = InstanceId::new("i").unwrap();
    Instance::new(id, Timestamp::default(), InstanceState::Ready).at(address)
}

#[tokio::test]
async fn every_refusal_says_what_to_do() {
    let haproxy = Haproxy::start("backend fixed\n  balance static-rr").await;
    let places = BTreeMap::from([(release("v1"), vec![nobody_at("127.0.0.1:1")])]);
    let at = |path: &str| HaproxyShifter::new(Socket::Unix(haproxy.folder.path().join(path)));
    let closed = Socket::Tcp("127.0.0.1:1".to_owned());
    for (shifter, name, sent, words) in [
        (
            at("admin.sock"),
            "nowhere",
            "refused",
            "HAProxy has no backend `nowhere`; add `backend nowhere`",
        ),
        (
            at("admin.sock"),
            "a;b",
            "refused",
            "no backend of HAProxy can be called `a;b`",
        ),
        (
            at("admin.sock"),
            "fixed",
            "refused",
            "give it `balance roundrobin`",
        ),
        (at("low.sock"), "s0", "refused", "has the level `operator`"),
        (
            at("none.sock"),
            "s0",
            "not sent",
            "is not there; does HAProxy run",
        ),
        (
            HaproxyShifter::new(closed),
            "s0",
            "not sent",
            "nobody answers there",
        ),
        (
            at("admin.sock").server_options("wieght 5").unwrap(),
            "s1",
            "may have been sent",
            "wieght",
        ),
    ] {
        let told = shifter
            .instances(&service(name), &places)
            .await
            .unwrap_err()
            .to_string();
        assert!(
            told.contains(words) && told.contains(sent),
            "{name}: {told}"
        );
    }
    let named = BTreeMap::from([(release("v1"), vec![nobody_at("web:80")])]);
    let told = at("admin.sock")
        .instances(&service("s2"), &named)
        .await
        .unwrap_err();
    assert!(told.to_string().contains("IP:port"), "{told}");
    assert!(at("admin.sock").server_options("check;shutdown").is_err());
}

#[tokio::test]
async fn nothing_is_sent_to_a_release_that_haproxy_sees_down() {
    let haproxy = Haproxy::start("").await;
    let (instances, s0) = (Instances::default(), service("s0"));
    let (v1, v2) = (release("v1"), release("v2"));
    let shifter = haproxy
        .shifter()
        .server_options("check inter 50 fall 2 rise 1")
        .unwrap();
    let up = instances.start(&v1).await;
    let places = BTreeMap::from([
        (v1.clone(), vec![up]),
        (v2.clone(), vec![nobody_at("127.0.0.1:1")]),
    ]);
    shifter.instances(&s0, &places).await.unwrap();
    shifter
        .shift(&s0, &change(), &all(&v1), None)
        .await
        .unwrap();
    let mut answer = Ok(());
    for _ in 0..100 {
        // Drained, so that it is watched before it serves.
        if haproxy
            .say("show stat s0 4 -1")
            .await
            .lines()
            .any(|line| line.contains("rb:v2:") && line.contains("DOWN"))
        {
            answer = shifter
                .shift(&s0, &change(), &all(&v2), None)
                .await
                .map(|_| ());
            break;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    assert!(
        matches!(&answer, Err(ChangeError::NotSent { why, .. }) if why.contains("health checks fail")),
        "{answer:?}"
    );
    assert_eq!(shifter.traffic(&s0).await.unwrap().weights, all(&v1));
    assert_eq!(haproxy.ask("s0", 10).await.by.get(&v1), Some(&10));
}

#[tokio::test]
async fn shares_that_weights_cannot_meet_are_refused() {
    let haproxy = Haproxy::start("").await;
    let (s0, v1, v2) = (service("s0"), release("v1"), release("v2"));
    let places = BTreeMap::from([
        (v1.clone(), vec![nobody_at("127.0.0.1:1")]),
        (v2.clone(), vec![nobody_at("127.0.0.1:2")]),
    ]);
    let exact = haproxy
        .shifter()
        .largest_error(Weight::from_basis_points(10).unwrap());
    exact.instances(&s0, &places).await.unwrap();
    let one = Weight::from_basis_points(1).unwrap();
    let asked = BTreeMap::from([(v1, one.rest()), (v2, one)]);
    let told = exact
        .shift(&s0, &change(), &asked, None)
        .await
        .unwrap_err()
        .to_string();
    assert!(told.contains("miss these shares by 0.38 %"), "{told}");
    haproxy
        .shifter()
        .shift(&s0, &change(), &asked, None)
        .await
        .unwrap();
}

#[tokio::test]
async fn servers_of_the_configuration_hand_their_share_over() {
    let instances = Instances::default();
    let (v1, v2) = (release("v1"), release("v2"));
    let (one, other) = (instances.start(&v1).await, instances.start(&v2).await);
    let of = |instance: &Instance| instance.address.clone().unwrap();
    let haproxy = Haproxy::start(&format!(
        "backend web\n  balance roundrobin\n  server web1 {} weight 30\n  server web2 {} weight 10\n  server sorry 127.0.0.1:1 backup\n",
        of(&one), of(&other),
    ))
    .await;
    let web = service("web");
    let shifter = haproxy.shifter();
    let told = shifter.traffic(&web).await.unwrap_err().to_string();
    assert!(
        told.contains("`web1`") && told.contains("a backend of its own"),
        "{told}"
    );
    let only_one = BTreeMap::from([(v1.clone(), vec![one.clone()])]);
    let told = shifter
        .instances(&web, &only_one)
        .await
        .unwrap_err()
        .to_string();
    assert!(told.contains("`web2`"), "{told}");
    assert_eq!(
        haproxy.servers("web").await,
        ["web1", "web2", "sorry"],
        "nothing was touched"
    );

    let places = BTreeMap::from([(v1.clone(), vec![one]), (v2.clone(), vec![other])]);
    let (told, answered) = tokio::join!(shifter.instances(&web, &places), haproxy.ask("web", 100));
    told.unwrap();
    assert_eq!(answered.failed, 0, "nobody noticed");
    let seen = shifter.traffic(&web).await.unwrap();
    let points = |points| Weight::from_basis_points(points).unwrap();
    assert_eq!(
        seen.weights,
        BTreeMap::from([(v1.clone(), points(7_500)), (v2, points(2_500))])
    );
    shifter
        .shift(&web, &change(), &all(&v1), seen.etag.as_ref())
        .await
        .unwrap();
    assert_eq!(haproxy.ask("web", 20).await.by.get(&v1), Some(&20));
}

#[tokio::test]
async fn the_only_release_of_a_fresh_backend_gets_everything() {
    let (haproxy, instances) = (Haproxy::start("").await, Instances::default());
    let (s0, v1) = (service("s0"), release("v1"));
    let places = BTreeMap::from([(v1.clone(), vec![instances.start(&v1).await])]);
    haproxy.shifter().instances(&s0, &places).await.unwrap();
    assert_eq!(
        haproxy.shifter().traffic(&s0).await.unwrap().weights,
        all(&v1)
    );
    assert_eq!(haproxy.ask("s0", 5).await.by.get(&v1), Some(&5));
}

/// A socket that reads one line and answers this, and then stays open or not.
fn badly(path: &std::path::Path, answer: &'static str, stays: bool) -> HaproxyShifter {
    let listener = UnixListener::bind(path).unwrap();
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let mut line = [0; 4096];
            let _ = stream.read(&mut line).await;
            let _ = stream.write_all(answer.as_bytes()).await;
            if stays {
                tokio::time::sleep(Duration::from_secs(60)).await;
            }
        }
    });
    HaproxyShifter::new(Socket::Unix(path.to_owned())).patience(Duration::from_millis(100))
}

#[tokio::test]
async fn half_an_answer_is_no_answer_and_a_slow_socket_is_left() {
    let folder = tempfile::tempdir().unwrap();
    for (number, (answer, stays, words)) in [
        ("", false, "broke off"),
        ("1\n# be_id be_name\n", false, "broke off"),
        ("", true, "no answer within"),
        ("1\n# be_id be_name\n", true, "no answer within"),
        ("\u{1}\nadmin\n\n", false, "says:"),
    ]
    .into_iter()
    .enumerate()
    {
        let shifter = badly(&folder.path().join(number.to_string()), answer, stays);
        let told = shifter.traffic(&service("s0")).await.unwrap_err();
        assert!(
            matches!(&told, ChangeError::NotSent { why, .. } if why.contains(words)),
            "{told}"
        );
    }
}
