//! What goes wrong around containers on a real engine: always a release that runs or a reason, and
//! nothing doubled, nothing orphaned.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "only tests use it"
)]

#[allow(dead_code, reason = "each test file uses a part")]
mod support;

use std::{net::TcpListener, time::Duration};

use futures_util::future::join_all;
use rollback_core::{
    model::{
        ArmState, ChangeError, InstanceState, Observation, Pace, Placement, Release, ServiceId,
        Weight,
    },
    ports::Deployer as _,
};
use rollback_docker::{ContainerDefinition, ContainerDeployer, Engine, Keep};
use rollback_specimen::Image;
use serde_json::json;
use support::{
    TEST,
    cut::{Cut, Wire},
    engine,
    ground::{AT_ONCE, alone, change, converge, deploy, inspect, left, request, run, until},
    image, name, sweep,
};

const STEADY: Duration = Duration::from_millis(200);
/// So long at most until a cut is reached.
const LONG: Duration = Duration::from_secs(60);

struct Yard {
    engine: Engine,
    name: String,
    image: String,
}

impl Yard {
    async fn new(what: &str) -> Self {
        let (engine, name) = (engine(), name(what));
        let specimen = Image::new("v1").label(TEST, &name).without_health();
        let image = image(&engine, &format!("{name}:1"), &specimen).await;
        Self {
            image: image.to_string(),
            engine,
            name,
        }
    }

    fn service(&self, what: &str) -> ServiceId {
        ServiceId::new(format!("{}-{what}", self.name)).unwrap()
    }

    fn deployer(&self) -> ContainerDeployer {
        ContainerDeployer::on(self.engine.clone()).steady_after(STEADY)
    }

    fn definition(&self, version: &str) -> ContainerDefinition {
        ContainerDefinition::new(&self.image).env("VERSION", version)
    }

    fn release(&self, version: &str) -> Release {
        self.definition(version).release(version).unwrap()
    }

    async fn end(self) {
        assert_eq!(left(&self.engine, &self.name).await, [""; 0]);
        sweep(&self.engine, &format!("{TEST}={}", self.name)).await;
    }
}

fn reason(seen: &Observation, release: &Release) -> Option<String> {
    match &seen.arm(&release.id)?.state {
        ArmState::Failing { why } => Some(why.to_string()),
        _ => None,
    }
}

async fn remove(engine: &Engine, container: &str) {
    let path = format!("/containers/{container}");
    engine.delete(&path, &[("force", "true")]).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_removed_by_hand_is_made_again_and_records_are_not_needed_to_see() {
    let yard = Yard::new("byhand").await;
    let (service, deployer) = (yard.service("a"), yard.deployer());
    let v1 = yard.definition("v1").replicas(2).release("v1").unwrap();
    deploy(&deployer, &service, &v1).await;
    let before = deployer.observe(&service).await.unwrap();
    let instance = &before.arms[0].instances[0];
    remove(&yard.engine, instance.id.as_str()).await;
    let since = instance.since;
    until(&deployer, &service, "another in its place", |seen| {
        let again = seen.arms[0]
            .instances
            .iter()
            .find(|one| one.id == instance.id);
        seen.is_ready(&v1.id) && again.is_some_and(|one| one.since > since)
    })
    .await;

    // As `docker container prune` does: all that does not run.
    for container in left(&yard.engine, service.as_str()).await {
        let found = inspect(&yard.engine, container.trim_start_matches('/')).await;
        if found["State"]["Status"] == "created" {
            remove(&yard.engine, found["Id"].as_str().unwrap()).await;
        }
    }
    let other = yard.deployer();
    let seen = other.observe(&service).await.unwrap();
    assert_eq!(seen.wanted, before.wanted);
    assert!(seen.is_ready(&v1.id), "{seen:#?}");
    let v2 = yard.release("v2");
    deploy(&other, &service, &v2).await;
    drop(deployer);
    other.stop_service(&service).await.unwrap();
    yard.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_name_or_a_port_that_somebody_has_is_a_reason_until_it_is_free() {
    let yard = Yard::new("taken").await;
    let (service, deployer) = (yard.service("a"), yard.deployer());
    let (v1, v2) = (yard.release("v1"), yard.release("v2"));
    deploy(&deployer, &service, &v1).await;
    let name = format!("rollback.{service}.{}.0", v2.id);
    let stranger = run(&yard.engine, &name, &json!({ "Image": yard.image })).await;
    let start = converge(&v2.id, AT_ONCE);
    change(&deployer, &service, start, Some(&v2)).await.unwrap();
    let seen = until(&deployer, &service, "the reason", |seen| {
        reason(seen, &v2).is_some_and(|why| why.contains("not ours"))
    })
    .await;
    assert!(seen.arm(&v1.id).is_some(), "the old one serves: {seen:#?}");
    assert_eq!(
        inspect(&yard.engine, &stranger).await["State"]["Status"],
        "running"
    );
    remove(&yard.engine, &stranger).await;
    alone(&deployer, &service, &v2.id).await;

    let listener = TcpListener::bind("0.0.0.0:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let v3 = yard
        .definition("v3")
        .publish(port, 8080)
        .release("v3")
        .unwrap();
    let start = converge(&v3.id, AT_ONCE);
    change(&deployer, &service, start, Some(&v3)).await.unwrap();
    let port = port.to_string();
    let seen = until(&deployer, &service, "the reason", |seen| {
        reason(seen, &v3).is_some_and(|why| why.contains(&port))
    })
    .await;
    assert!(seen.arm(&v2.id).is_some(), "the old one serves: {seen:#?}");
    drop(listener);
    let seen = alone(&deployer, &service, &v3.id).await;
    let address = seen.arms[0].instances[0].address.clone().unwrap();
    assert_eq!(*address, *format!("127.0.0.1:{port}"));

    // The next one wants the same port: not beside, but in its place.
    let v4 = yard
        .definition("v4")
        .publish(port.parse().unwrap(), 8080)
        .release("v4")
        .unwrap();
    let beside = converge(&v4.id, Placement::Beside);
    let refused = change(&deployer, &service, beside, Some(&v4)).await;
    assert!(
        matches!(&refused, Err(ChangeError::Refused { why }) if why.contains(&port)),
        "{refused:?}"
    );
    deploy(&deployer, &service, &v4).await;
    deployer.stop_service(&service).await.unwrap();
    yard.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_image_that_is_not_there_is_refused_and_what_crashes_says_how() {
    let yard = Yard::new("image").await;
    // What crashes is not to be taken for what runs, however late a busy machine lets it crash.
    let deployer = yard.deployer().steady_after(Duration::from_secs(3));
    let service = yard.service("a");
    let v1 = yard.release("v1");
    deploy(&deployer, &service, &v1).await;
    let missing = format!("sha256:{}", "0".repeat(64));
    let missing = yard.definition("v2").with_image(missing, "shop:9");
    let missing = missing.release("v2").unwrap();
    let start = converge(&missing.id, AT_ONCE);
    let refused = change(&deployer, &service, start, Some(&missing)).await;
    assert!(
        matches!(&refused, Err(ChangeError::Refused { why }) if why.contains("shop:9")),
        "{refused:?}"
    );
    assert_eq!(deployer.observe(&service).await.unwrap().arms.len(), 1);

    for (policy, word) in [("always", "exit status 3"), ("no", "exit status 3")] {
        let crashes = yard
            .definition(policy)
            .env("EXIT_AFTER", "50")
            .env("EXIT_CODE", "3")
            .restart(policy)
            .release(policy)
            .unwrap();
        let start = converge(&crashes.id, AT_ONCE);
        change(&deployer, &service, start, Some(&crashes))
            .await
            .unwrap();
        let seen = until(&deployer, &service, "how it ended", |seen| {
            reason(seen, &crashes).is_some_and(|why| why.contains(word))
        })
        .await;
        let instance = &seen.arm(&crashes.id).unwrap().instances[0];
        assert!(instance.restarts >= 2, "{instance:?}");
        assert_ne!(instance.state, InstanceState::Ready);
        assert_eq!(seen.weight(&v1.id), Weight::ALL, "{seen:?}");
        let words = deployer.last_words(&service, &crashes.id, 10).await;
        assert!(
            words.iter().any(|line| line.contains("told to end")),
            "{words:?}"
        );
        deploy(&deployer, &service, &v1).await;
    }
    deployer.stop_service(&service).await.unwrap();
    yard.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn of_two_controllers_one_gets_its_change_and_nothing_is_made_twice() {
    let yard = Yard::new("race").await;
    let service = yard.service("a");
    let (one, two) = (yard.deployer(), yard.deployer());
    let of = |version: &str| {
        yard.definition(version)
            .replicas(2)
            .release(version)
            .unwrap()
    };
    deploy(&one, &service, &of("v0")).await;
    for round in 0..3 {
        let seen = two.observe(&service).await.unwrap();
        let (a, b) = (of(&format!("a{round}")), of(&format!("b{round}")));
        let of_a = request(&seen, converge(&a.id, AT_ONCE), Some(&a));
        let of_b = request(&seen, converge(&b.id, AT_ONCE), Some(&b));
        let (first, second) = tokio::join!(one.apply(&service, &of_a), two.apply(&service, &of_b));
        let winner = match (&first, &second) {
            (Ok(_), Err(ChangeError::Conflict { .. })) => &a,
            (Err(ChangeError::Conflict { .. }), Ok(_)) => &b,
            other => panic!("{other:?}"),
        };
        let seen = alone(&one, &service, &winner.id).await;
        assert_eq!(seen.arms[0].instances.len(), 2, "{seen:#?}");
    }
    drop(one);
    two.stop_service(&service).await.unwrap();
    yard.end().await;
}

/// A roll of one release by another, whose controller dies at a request.
async fn cut_off(yard: &Yard, cut: Cut) -> bool {
    let service = yard.service(&format!("{cut:?}").replace(['(', ')'], "-"));
    let of = |version: &str| {
        yard.definition(version)
            .replicas(2)
            .release(version)
            .unwrap()
    };
    let (v1, v2) = (of("v1"), of("v2"));
    let first = yard.deployer();
    deploy(&first, &service, &v1).await;
    drop(first);

    let wire = Wire::new(cut);
    let dying = ContainerDeployer::on(wire.engine.clone()).steady_after(STEADY);
    let seen = dying.observe(&service).await.unwrap();
    let pace = Pace::Rolling {
        max_unavailable: 0,
        max_surge: 1,
    };
    let request = request(&seen, converge(&v2.id, Placement::InPlace(pace)), Some(&v2));
    let taken = dying.apply(&service, &request).await;
    // Nobody else looks meanwhile: another controller would do a part of it.
    let dies = async {
        while !wire.is_dead() {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    let within = if taken.is_ok() { LONG } else { Duration::ZERO };
    let _ = tokio::time::timeout(within, dies).await;
    drop(dying);
    let was_cut = wire.is_dead();
    drop(wire);

    let survivor = yard.deployer();
    let seen = survivor.observe(&service).await.unwrap();
    let wanted = if seen.wanted.runs(&v2.id) { &v2 } else { &v1 };
    match &taken {
        Ok(_) => assert_eq!(wanted.id, v2.id, "{cut:?}"),
        Err(ChangeError::NotSent { .. }) => assert_eq!(wanted.id, v1.id, "{cut:?}"),
        Err(ChangeError::MaybeSent { .. }) => {}
        Err(error) => panic!("{cut:?}: {error}"),
    }
    let seen = alone(&survivor, &service, &wanted.id).await;
    assert_eq!(seen.arms[0].instances.len(), 2, "{cut:?}: {seen:#?}");
    assert_eq!(
        seen.last_change == Some(request.id),
        wanted.id == v2.id,
        "{cut:?}"
    );
    survivor.stop_service(&service).await.unwrap();
    was_cut
}

#[tokio::test(flavor = "multi_thread")]
async fn a_controller_that_dies_at_any_request_leaves_what_the_next_one_finishes() {
    let yard = Yard::new("cut").await;
    // Two to keep and to record, one for the old record; of each of two containers: made, started,
    // stopped, removed. Before the record is made nothing has happened.
    const REQUESTS: u32 = 11;
    let after = (1..=REQUESTS).map(Cut::After);
    let cuts: Vec<Cut> = [Cut::Before(2)].into_iter().chain(after).collect();
    let mut reached = 0;
    for some in cuts.chunks(6) {
        let cut = join_all(some.iter().map(|cut| cut_off(&yard, *cut))).await;
        reached += cut.into_iter().filter(|cut| *cut).count();
    }
    assert_eq!(reached, cuts.len(), "a roll has as many requests");
    yard.end().await;
}

/// The name of its record is free again when it wakes up.
#[tokio::test(flavor = "multi_thread")]
async fn a_controller_that_slept_over_two_changes_changes_nothing() {
    let yard = Yard::new("slept").await;
    let (service, awake) = (yard.service("a"), yard.deployer());
    let of = |version: &str| yard.release(version);
    deploy(&awake, &service, &of("v1")).await;
    // The definition is kept first, then the record is made.
    let wire = Wire::new(Cut::Hold(2));
    let sleepy = ContainerDeployer::on(wire.engine.clone()).steady_after(STEADY);
    let seen = sleepy.observe(&service).await.unwrap();
    let late = of("late");
    let request = request(&seen, converge(&late.id, AT_ONCE), Some(&late));
    let (answer, ()) = tokio::join!(sleepy.apply(&service, &request), async {
        wire.reached().await;
        for version in ["v2", "v3"] {
            let start = converge(&of(version).id, AT_ONCE);
            change(&awake, &service, start, Some(&of(version)))
                .await
                .unwrap();
        }
        wire.let_go();
    });
    assert!(
        matches!(answer, Err(ChangeError::Conflict { .. })),
        "{answer:?}"
    );
    let seen = alone(&awake, &service, &of("v3").id).await;
    assert!(!seen.wanted.runs(&late.id));
    drop(sleepy);
    awake.stop_service(&service).await.unwrap();
    yard.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn old_releases_are_forgotten_by_policy_and_never_what_is_needed() {
    let yard = Yard::new("prune").await;
    let (service, deployer) = (yard.service("a"), yard.deployer());
    let mut releases = Vec::new();
    for version in ["v1", "v2", "v3", "v4"] {
        let specimen = Image::new(version).label(TEST, &yard.name).without_health();
        let tag = format!("{}:{version}", yard.name);
        let image = image(&yard.engine, &tag, &specimen).await;
        let release = ContainerDefinition::new(image.as_str())
            .release(version)
            .unwrap();
        deploy(&deployer, &service, &release).await;
        releases.push((release, image.to_string()));
    }
    let (proven, used) = (&releases[0], &releases[1]);
    // Somebody else uses the image of v2, under no name.
    let stranger = format!("{}-user", yard.name);
    let stranger = run(&yard.engine, &stranger, &json!({ "Image": used.1 })).await;
    let keep = Keep::last(0).protect([proven.0.id.clone()]).remove_images();
    let pruned = deployer.prune(&service, &keep).await.unwrap();
    let names: Vec<_> = pruned.releases.iter().collect();
    assert_eq!(names, [&used.0.id, &releases[2].0.id]);
    assert_eq!(pruned.images, [releases[2].1.clone()]);
    for (release, image) in [proven, used, &releases[3]] {
        yard.engine.image(image).await.unwrap();
        let known = Release::new(release.id.clone(), "", Default::default());
        let checked = deployer.check(&service, &known).await;
        assert_eq!(checked.is_ok(), release.id != used.0.id, "{checked:?}");
    }
    // What was kept can be gone back to without anybody's help.
    let back = converge(&proven.0.id, AT_ONCE);
    change(&deployer, &service, back, None).await.unwrap();
    alone(&deployer, &service, &proven.0.id).await;
    remove(&yard.engine, &stranger).await;
    deployer.stop_service(&service).await.unwrap();
    yard.end().await;
}
