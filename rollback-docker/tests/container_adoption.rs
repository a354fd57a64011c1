//! Containers that others started, by `docker run` and as Compose starts them: taken over, replaced,
//! and made again as they were.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "only tests use it"
)]

#[allow(dead_code, reason = "each test file uses a part")]
mod support;

use std::{process::Command, time::Duration};

use rollback_core::{
    model::{Change, ChangeError, Placement, Release, ServiceId, Wanted},
    ports::Deployer as _,
};
use rollback_docker::{Adopt, ContainerDefinition, ContainerDeployer, Engine};
use rollback_specimen::Image;
use serde_json::{Value, json};
use support::{
    TEST, engine,
    ground::{alone, change, converge, deploy, inspect, left, run, until},
    image,
    likeness::{chosen, differences},
    name, sweep,
};

/// What a test stands on; everything in it is named after it.
struct Yard {
    engine: Engine,
    name: String,
    service: ServiceId,
    image: String,
    networks: Vec<String>,
    volumes: Vec<String>,
}

impl Yard {
    async fn new(what: &str) -> Self {
        let (engine, name) = (engine(), name(what));
        let specimen = Image::new("v1")
            .label(TEST, &name)
            .env("FROM_IMAGE", "yes")
            .without_health();
        let image = image(&engine, &format!("{name}:1"), &specimen).await;
        Self {
            service: ServiceId::new(&name).unwrap(),
            image: image.to_string(),
            networks: Vec::new(),
            volumes: Vec::new(),
            engine,
            name,
        }
    }

    async fn network(&mut self, what: &str, subnet: Option<&str>) -> String {
        let name = format!("{}-{what}", self.name);
        let ranges = subnet.map(|subnet| json!([{ "Subnet": subnet }]));
        let body = json!({ "Name": name, "IPAM": { "Config": ranges.unwrap_or(json!([])) } });
        self.engine
            .post("/networks/create", &[], &body)
            .await
            .unwrap();
        self.networks.push(name.clone());
        name
    }

    async fn volume(&mut self, what: &str) -> String {
        let name = format!("{}-{what}", self.name);
        let body = json!({ "Name": name });
        self.engine
            .post("/volumes/create", &[], &body)
            .await
            .unwrap();
        self.volumes.push(name.clone());
        name
    }

    fn deployer(&self, adopt: Adopt) -> ContainerDeployer {
        ContainerDeployer::on(self.engine.clone())
            .steady_after(Duration::from_millis(200))
            .adopt(&self.service, adopt)
    }

    /// The release that runs, and the next one: the same with another variable.
    async fn releases(&self, deployer: &ContainerDeployer) -> (Release, Release) {
        let mut running = deployer.running(&self.service).await.unwrap();
        assert_eq!(running.len(), 1);
        let old = running.remove(0);
        let definition = ContainerDefinition::from_release(&old).unwrap();
        let next = definition.env("NEXT", "yes").release("next").unwrap();
        (old, next)
    }

    async fn end(self, deployer: &ContainerDeployer) {
        deployer.stop_service(&self.service).await.unwrap();
        assert_eq!(left(&self.engine, &self.name).await, [""; 0]);
        sweep(&self.engine, &format!("{TEST}={}", self.name)).await;
        for network in &self.networks {
            let path = format!("/networks/{network}");
            self.engine.delete(&path, &[]).await.unwrap();
        }
        for volume in &self.volumes {
            let path = format!("/volumes/{volume}");
            self.engine.delete(&path, &[]).await.unwrap();
        }
    }
}

/// `docker ARGS`, and what it prints.
fn docker(args: &[&str]) -> String {
    let output = Command::new("docker").args(args).output().unwrap();
    let error = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "docker {args:?}: {error}");
    String::from_utf8_lossy(&output.stdout).trim().to_owned()
}

#[tokio::test(flavor = "multi_thread")]
async fn what_docker_run_started_comes_back_as_it_was() {
    let mut yard = Yard::new("adopted").await;
    let (front, back) = (
        yard.network("front", Some("10.213.77.0/24")).await,
        yard.network("back", None).await,
    );
    let volume = yard.volume("data").await;
    let tag = format!("{}:1", yard.name);
    let (data, seed) = (format!("{volume}:/data"), "/etc/hostname:/seed:ro");
    #[rustfmt::skip]
    let id = docker(&[
        "run", "-d", "--name", &yard.name, "--hostname", "till", "--domainname", "example.org",
        "--user", "0:0", "--workdir", "/work", "--entrypoint", "/specimen",
        "-e", "SECRET=hunter2", "-e", "FROM_IMAGE=no", "-l", "team=shop", "-l", "empty=",
        "--network", &front, "--network-alias", "till", "--ip", "10.213.77.9",
        "-v", &data, "-v", seed, "-v", "/scratch",
        "--mount", "type=tmpfs,destination=/cache,tmpfs-size=1048576", "--tmpfs", "/run:size=64k",
        "-p", "127.0.0.1::8080", "--expose", "9090", "--restart", "on-failure:5",
        "--memory", "64m", "--memory-reservation", "32m", "--memory-swap", "96m", "--cpus", "0.5",
        "--cpu-shares", "512", "--pids-limit", "64", "--ulimit", "nofile=512:1024",
        "--oom-score-adj", "100", "--cap-drop", "ALL", "--cap-add", "NET_BIND_SERVICE",
        "--read-only", "--security-opt", "no-new-privileges", "--shm-size", "8m",
        "--sysctl", "net.core.somaxconn=256", "--dns", "10.9.9.9", "--dns-search", "shop.test",
        "--add-host", "bank:10.1.1.1", "--group-add", "1000", "--device", "/dev/null:/dev/nothing",
        "--log-driver", "json-file", "--log-opt", "max-size=1m", "--stop-signal", "SIGINT",
        "--stop-timeout", "3", "--init", "--ipc", "shareable",
        "--health-cmd", "true", "--health-interval", "30s", "--health-retries", "7",
        "--health-start-period", "1s", "--no-healthcheck=false",
        &tag, "serve",
    ]);
    docker(&[
        "network",
        "connect",
        "--alias",
        "till-back",
        &back,
        &yard.name,
    ]);
    let before = inspect(&yard.engine, &id).await;
    let scratch = scratch(&yard.engine, &before).await;

    let deployer = yard.deployer(Adopt::name(&yard.name).port(8080));
    let seen = deployer.observe(&yard.service).await.unwrap();
    let (old, next) = yard.releases(&deployer).await;
    assert_eq!(seen.wanted, Wanted::only(old.id.clone()));
    assert_eq!(
        left(&yard.engine, &yard.name).await,
        [""; 0],
        "a look makes nothing"
    );
    let shown = format!("{deployer:?} {old:?} {seen:?}");
    assert!(!shown.contains("hunter2"));

    // Its address is its own: two cannot run beside each other.
    let beside = converge(&next.id, Placement::Beside);
    let refused = change(&deployer, &yard.service, beside, Some(&next)).await;
    assert!(
        matches!(&refused, Err(ChangeError::Refused { why }) if why.contains("10.213.77.9")),
        "{refused:?}"
    );

    let in_place = converge(&next.id, support::ground::AT_ONCE);
    change(&deployer, &yard.service, in_place, Some(&next))
        .await
        .unwrap();
    until(&deployer, &yard.service, "the old one gone", |seen| {
        seen.arm(&old.id).is_none() && seen.arm(&next.id).is_some()
    })
    .await;
    let gone = yard
        .engine
        .get(&format!("/containers/{id}/json"), &[])
        .await;
    assert!(gone.unwrap_err().is_not_found(), "it was retired");

    // Another controller, which knows neither the container nor its definition.
    let other = ContainerDeployer::on(yard.engine.clone());
    let back_again = converge(&old.id, support::ground::AT_ONCE);
    change(&other, &yard.service, back_again, None)
        .await
        .unwrap();
    let seen = until(&other, &yard.service, "the old one again", |seen| {
        seen.arms.len() == 1
            && seen.arms[0]
                .instances
                .iter()
                .any(|one| one.address.is_some())
    })
    .await;
    let restored = seen.arms[0].instances[0].id.to_string();
    let after = inspect(&yard.engine, &restored).await;
    let mut found = Vec::new();
    differences("", &chosen(&before), &chosen(&after), &mut found);
    found.retain(|one| !one.starts_with("/Config/Labels/io.rollback."));
    // It is called by its image's id, it keeps the volume that had no name, and its old name and
    // both of its short ids are names in its networks.
    let paths: Vec<&str> = found
        .iter()
        .map(|one| one.split(':').next().unwrap())
        .collect();
    let aliases = [&back, &front].map(|network| format!("/Networks/{network}/Aliases"));
    let expected = [
        "/Config/Image",
        "/HostConfig/Binds",
        &aliases[0],
        &aliases[1],
    ];
    assert_eq!(paths, expected, "{found:#?}");
    for (network, alias) in [(&front, "till"), (&back, "till-back")] {
        let aliases = after["NetworkSettings"]["Networks"][network]["Aliases"].to_string();
        assert!(aliases.contains(&format!("\"{alias}\"")), "{aliases}");
        assert!(aliases.contains(&format!("\"{}\"", yard.name)), "{aliases}");
    }
    drop(deployer);
    let kept = self::scratch(&yard.engine, &after).await;
    assert_eq!(
        kept, scratch,
        "the volume that had no name, with what is in it"
    );
    yard.volumes.push(kept["Name"].as_str().unwrap().to_owned());
    yard.end(&other).await;
}

/// The volume that was mounted without a name.
async fn scratch(engine: &Engine, container: &Value) -> Value {
    let mounts = container["Mounts"].as_array().unwrap();
    let mount = mounts.iter().find(|one| one["Destination"] == "/scratch");
    let path = format!("/volumes/{}", mount.unwrap()["Name"].as_str().unwrap());
    engine.get(&path, &[]).await.unwrap()
}

/// A container as Compose makes it.
fn composed(
    yard: &Yard,
    service: &str,
    number: u32,
    network: &str,
    volume: &str,
) -> (String, Value) {
    let name = format!("{}-{service}-{number}", yard.name);
    let body = json!({
        "Image": format!("{}:1", yard.name), "Env": ["MODE=live"],
        "Labels": {
            "com.docker.compose.project": yard.name, "com.docker.compose.service": service,
            "com.docker.compose.container-number": number.to_string(),
            "com.docker.compose.oneoff": "False", "com.docker.compose.config-hash": "c0ffee",
            "com.docker.compose.image": yard.image,
        },
        "HostConfig": {
            "Binds": [format!("{volume}:/data:rw")], "NetworkMode": network,
            "RestartPolicy": { "Name": "unless-stopped" }, "Memory": 64 << 20,
        },
        "NetworkingConfig": { "EndpointsConfig": {
            network: { "Aliases": [name, service] },
        } },
    });
    (name, body)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_compose_service_is_taken_over_and_comes_back_with_its_numbers() {
    let mut yard = Yard::new("composed").await;
    let (network, volume) = (
        yard.network("default", None).await,
        yard.volume("data").await,
    );
    let mut before = Vec::new();
    for (service, number) in [("web", 1), ("web", 2), ("db", 1)] {
        let (name, body) = composed(&yard, service, number, &network, &volume);
        let id = run(&yard.engine, &name, &body).await;
        before.push(inspect(&yard.engine, &id).await);
    }
    let bystander = before.pop().unwrap();

    let deployer = yard.deployer(Adopt::compose(&yard.name, "web"));
    let (old, next) = yard.releases(&deployer).await;
    let seen = until(&deployer, &yard.service, "both", |seen| {
        seen.is_ready(&old.id)
    })
    .await;
    assert_eq!(seen.arms.len(), 1, "both are one release: {seen:#?}");
    assert_eq!(seen.arms[0].instances.len(), 2);

    // Beside: the old stack stays as it is, until it is retired.
    let beside = converge(&next.id, Placement::Beside);
    change(&deployer, &yard.service, beside, Some(&next))
        .await
        .unwrap();
    until(&deployer, &yard.service, "the next", |seen| {
        seen.is_ready(&next.id)
    })
    .await;
    for one in &before {
        let now = inspect(&yard.engine, one["Id"].as_str().unwrap()).await;
        assert_eq!(now["State"]["StartedAt"], one["State"]["StartedAt"]);
    }
    let release = old.id.clone();
    change(&deployer, &yard.service, Change::Retire { release }, None)
        .await
        .unwrap();
    alone(&deployer, &yard.service, &next.id).await;

    deploy(&deployer, &yard.service, &old).await;
    let seen = deployer.observe(&yard.service).await.unwrap();
    let mut instances = seen.arms[0].instances.to_vec();
    instances.sort_by_key(|one| one.id.clone());
    assert_eq!(instances.len(), 2);
    for (before, instance) in before.iter().zip(&instances) {
        let after = inspect(&yard.engine, instance.id.as_str()).await;
        let mut found = Vec::new();
        differences("", &chosen(before), &chosen(&after), &mut found);
        found.retain(|one| !one.starts_with("/Config/Labels/io.rollback."));
        let paths: Vec<&str> = found
            .iter()
            .map(|one| one.split(':').next().unwrap())
            .collect();
        let aliases = format!("/Networks/{network}/Aliases");
        // Hostname and one alias are the short id.
        assert_eq!(
            paths,
            ["/Config/Hostname", "/Config/Image", &aliases],
            "{found:#?}"
        );
        let name = before["Name"].as_str().unwrap().trim_start_matches('/');
        let aliases = after["NetworkSettings"]["Networks"][&network]["Aliases"].to_string();
        assert!(
            aliases.contains(name) && aliases.contains("\"web\""),
            "{aliases}"
        );
    }
    let now = inspect(&yard.engine, bystander["Id"].as_str().unwrap()).await;
    assert_eq!(
        now["State"], bystander["State"],
        "another service of the project"
    );
    let path = format!("/containers/{}", now["Id"].as_str().unwrap());
    yard.engine
        .delete(&path, &[("force", "true")])
        .await
        .unwrap();
    yard.end(&deployer).await;
}

/// Somebody goes on using Compose while we guard the service.
#[tokio::test(flavor = "multi_thread")]
async fn what_somebody_starts_later_is_seen_and_not_touched() {
    let mut yard = Yard::new("later").await;
    let (network, volume) = (
        yard.network("default", None).await,
        yard.volume("data").await,
    );
    let (name, body) = composed(&yard, "web", 1, &network, &volume);
    run(&yard.engine, &name, &body).await;
    let deployer = yard.deployer(Adopt::compose(&yard.name, "web"));
    let (old, next) = yard.releases(&deployer).await;
    deploy(&deployer, &yard.service, &next).await;
    let before = deployer.observe(&yard.service).await.unwrap();

    let (name, mut body) = composed(&yard, "web", 1, &network, &volume);
    body["Env"] = json!(["MODE=trial"]);
    let id = run(&yard.engine, &name, &body).await;
    let after = deployer.observe(&yard.service).await.unwrap();
    assert_ne!(before.etag, after.etag, "the mark moves");
    let releases: Vec<_> = after.wanted.iter().map(|(one, _)| one.clone()).collect();
    assert_eq!(releases.len(), 2, "{after:#?}");
    assert!(!releases.contains(&old.id) && releases.contains(&next.id));
    // A change that was decided before it came is a conflict.
    let stale = support::ground::request(&before, converge(&old.id, Placement::Beside), None);
    let stale = deployer.apply(&yard.service, &stale).await;
    assert!(
        matches!(stale, Err(ChangeError::Conflict { .. })),
        "{stale:?}"
    );
    let now = inspect(&yard.engine, &id).await;
    assert_eq!(now["State"]["Status"], "running");

    let stranger = releases.into_iter().find(|one| *one != next.id).unwrap();
    let retire = Change::Retire { release: stranger };
    change(&deployer, &yard.service, retire, None)
        .await
        .unwrap();
    alone(&deployer, &yard.service, &next.id).await;
    yard.end(&deployer).await;
}
