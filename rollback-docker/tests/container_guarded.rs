//! A whole controller guards containers that others started: the old stack stays warm until the
//! bake is over, and is what a rollback returns to.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "only tests use it"
)]

#[allow(dead_code, reason = "each test file uses a part")]
mod support;

use rollback::{Controller, WithTraffic, memory::MemoryJournal, policy::Policy};
use rollback_core::{
    model::{Outcome, Release, ServiceId, Settled, Weight},
    ports::{Deployer as _, TrafficShifter as _},
};
use rollback_docker::{Adopt, ContainerDefinition, ContainerDeployer, DockerMetrics, Engine};
use rollback_specimen::Image;
use serde_json::{Value, json};
use support::{
    TEST, engine,
    ground::{inspect, left, run, until},
    image, name, sweep,
    switch::Switch,
};

const POLICY: &str = r#"{
    "strategy": "blue_green", "poll": "250ms", "check": "500ms", "bake": "3s",
    "bootstrap": "trust_running",
    "metrics": {"up": {"unit": "state", "per": "instance", "query": "up"}},
    "triggers": [{"name": "not_up", "when": "up == 'down'", "for": "500ms"}],
    "verify": {"for": "1s", "within": "30s"},
    "deadlines": {"converge": "20s", "shift": "10s", "retire": "20s", "apply": "10s"}
}"#;

/// Containers that somebody else started, and a controller that came later.
struct Stage {
    engine: Engine,
    name: String,
    service: ServiceId,
    adopted: Value,
    deployer: ContainerDeployer,
    controller: Controller,
    traffic: Switch,
    stable: Release,
}

impl Stage {
    async fn new(what: &str) -> Self {
        let (engine, name) = (engine(), name(what));
        let specimen = Image::new("v1").label(TEST, &name).health_every(300, 2);
        image(&engine, &format!("{name}:1"), &specimen).await;
        let body = json!({ "Image": format!("{name}:1"), "Env": ["MODE=live"] });
        let id = run(&engine, &name, &body).await;
        let adopted = inspect(&engine, &id).await;
        let service = ServiceId::new(&name).unwrap();
        let open = || ContainerDeployer::on(engine.clone()).adopt(&service, Adopt::name(&name));
        let deployer = open();
        let stable = deployer.running(&service).await.unwrap().remove(0);
        until(&deployer, &service, "it serves", |seen| {
            seen.is_ready(&stable.id)
        })
        .await;
        let traffic = Switch::all_to(&service, &stable.id);
        let controller = Controller::builder(&name)
            .policy(Policy::from_json(POLICY).unwrap())
            .deployer(WithTraffic::new(open(), traffic.clone()).tagged())
            .metrics(DockerMetrics::new(engine.clone()))
            .journal(MemoryJournal::new())
            .start()
            .await
            .unwrap();
        Self {
            engine,
            name,
            service,
            adopted,
            deployer,
            controller,
            traffic,
            stable,
        }
    }

    fn next(&self, variable: &str, value: &str) -> Release {
        let definition = ContainerDefinition::from_release(&self.stable).unwrap();
        definition.env(variable, value).release("next").unwrap()
    }

    /// The adopted container, if it still runs as it did.
    async fn is_warm(&self) -> bool {
        let path = format!("/containers/{}/json", self.adopted["Id"].as_str().unwrap());
        let Ok(now) = self.engine.get(&path, &[]).await else {
            return false;
        };
        now["State"]["Running"] == true
            && now["State"]["StartedAt"] == self.adopted["State"]["StartedAt"]
    }

    /// Deploys; answers how it ended, and whether the old stack was warm at each look while the
    /// candidate had all traffic.
    async fn deploy(&self, release: &Release) -> (Outcome, Vec<bool>) {
        let deployment = self.controller.deploy(release.clone()).await.unwrap();
        let mut warm = Vec::new();
        let settled = deployment.settled();
        tokio::pin!(settled);
        let settled = loop {
            tokio::select! {
                settled = &mut settled => break settled.unwrap(),
                () = tokio::time::sleep(std::time::Duration::from_millis(300)) => {
                    let is_warm = self.is_warm().await;
                    let traffic = self.traffic.traffic(&self.service).await.unwrap();
                    let seen = self.deployer.observe(&self.service).await.unwrap();
                    // Once it is to be retired, it may go.
                    if traffic.weights.get(&release.id) == Some(&Weight::ALL)
                        && seen.wanted.runs(&self.stable.id)
                    {
                        warm.push(is_warm);
                    }
                }
            }
        };
        match settled {
            Settled::Ended(outcome) => (outcome, warm),
            Settled::Held(hold) => panic!("{hold}"),
        }
    }

    async fn end(self) {
        drop(self.controller);
        self.deployer.stop_service(&self.service).await.unwrap();
        assert_eq!(left(&self.engine, &self.name).await, [""; 0]);
        sweep(&self.engine, &format!("{TEST}={}", self.name)).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_old_stack_stays_warm_until_the_bake_is_over() {
    let stage = Stage::new("warm").await;
    let next = stage.next("NEXT", "yes");
    let (outcome, warm) = stage.deploy(&next).await;
    assert!(
        matches!(&outcome, Outcome::Promoted { release } if *release == next.id),
        "{outcome}"
    );
    assert!(warm.len() >= 2 && warm.iter().all(|warm| *warm), "{warm:?}");
    assert!(!stage.is_warm().await, "retired when the bake was over");
    stage.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_gets_sick_under_traffic_is_left_for_the_stack_that_never_stopped() {
    let stage = Stage::new("sick").await;
    let sick = stage.next("SICK_AFTER", "3000");
    let (outcome, _) = stage.deploy(&sick).await;
    assert!(
        matches!(&outcome, Outcome::RolledBack { from, to, .. }
            if *from == sick.id && *to == stage.stable.id),
        "{outcome}"
    );
    assert!(stage.is_warm().await, "it was never stopped");
    let traffic = stage.traffic.traffic(&stage.service).await.unwrap();
    assert_eq!(traffic.weights.get(&stage.stable.id), Some(&Weight::ALL));
    stage.end().await;
}
