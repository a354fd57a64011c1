//! A service of a Compose project, with a secret in its environment, guarded by the program as
//! people run it: a good image, a bad one, and a key that is not there. Needs a Docker Engine.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test"
)]

use std::{
    fs,
    path::Path,
    process::{Command, Output},
};

use rollback::model::ServiceId;
use rollback_docker::{ContainerDeployer, Engine};
use rollback_specimen::Image;
use serde_json::{Value, json};
use tempfile::TempDir;

const SECRET: &str = "hunter2-and-more-of-it";
const POLICY: &str = "strategy: rolling\nbake: 3s\npoll: 500ms\n\
    metrics: { up: { unit: state, per: instance, query: up } }\n\
    triggers: [{ name: not_up, when: \"up == 'down'\", for: 2s }]\n\
    verify: { for: 1s, within: 30s }\n\
    deadlines: { converge: 20s, apply: 20s, doubt: 30s }\ncrash_limit: 1\n";

/// Two containers of `web` and one of `db`, as Compose labels them.
struct Project {
    name: String,
    folder: TempDir,
    engine: Engine,
}

impl Project {
    async fn up(what: &str) -> Self {
        let project = Self {
            name: format!("guard-{what}-{}", std::process::id()),
            folder: tempfile::Builder::new().prefix("gc").tempdir().unwrap(),
            engine: Engine::from_env().unwrap(),
        };
        fs::write(project.folder.path().join("policy.yml"), POLICY).unwrap();
        let image = |version| Image::new(version).health_every(1000, 3);
        // What it says when it starts is in its last words, and so in the explanation.
        for (version, image) in [
            ("1", image("v1")),
            ("2", image("v2")),
            ("3", image("v3").env("EXIT_AFTER", 600)),
        ] {
            let tag = project.image(version);
            project
                .engine
                .build(image.context(), Some(&tag))
                .await
                .unwrap();
        }
        for (path, name) in [
            ("/networks/create", project.network()),
            ("/volumes/create", project.volume()),
        ] {
            let body = json!({ "Name": name });
            project.engine.post(path, &[], &body).await.unwrap();
        }
        for (service, number) in [("web", 1), ("web", 2), ("db", 1)] {
            project.run(service, number).await;
        }
        project
    }

    fn image(&self, version: &str) -> String {
        format!("{}:{version}", self.name)
    }

    fn network(&self) -> String {
        format!("{}_default", self.name)
    }

    fn volume(&self) -> String {
        format!("{}_data", self.name)
    }

    async fn run(&self, service: &str, number: u32) {
        let name = format!("{}-{service}-{number}", self.name);
        let body = json!({
            "Image": self.image("1"),
            "Env": [format!("API_TOKEN={SECRET}"), format!("SAYS=the token is {SECRET}")],
            "Labels": {
                "com.docker.compose.project": self.name, "com.docker.compose.service": service,
                "com.docker.compose.container-number": number.to_string(),
                "com.docker.compose.oneoff": "False", "com.docker.compose.config-hash": "c0ffee",
            },
            "HostConfig": {
                "Binds": [format!("{}:/data:rw", self.volume())], "NetworkMode": self.network(),
                "RestartPolicy": { "Name": "unless-stopped" }, "Memory": 64 << 20,
            },
            "NetworkingConfig": { "EndpointsConfig": {
                self.network(): { "Aliases": [name, service] },
            } },
        });
        let query = [("name", name.as_str())];
        let made = self.engine.post("/containers/create", &query, &body);
        made.await.unwrap();
        let start = format!("/containers/{name}/start");
        self.engine.post(&start, &[], &Value::Null).await.unwrap();
    }

    fn guard(&self, args: &[&str]) -> Output {
        Command::new(env!("CARGO_BIN_EXE_docker_guard"))
            .args(args)
            .arg("--state")
            .arg(self.state())
            .output()
            .unwrap()
    }

    fn state(&self) -> std::path::PathBuf {
        self.folder.path().join("state")
    }

    fn deploy(&self, version: &str) -> Output {
        let policy = self.folder.path().join("policy.yml");
        let compose = format!("{}/web", self.name);
        let (service, image) = (&self.name, self.image(version));
        let policy = policy.to_string_lossy();
        self.guard(&[
            "deploy",
            service,
            &image,
            "--compose",
            &compose,
            "--policy",
            &policy,
        ])
    }

    /// What of the running containers of a service of the project a person chose.
    async fn chosen(&self, service: &str) -> Vec<Value> {
        let label = |name: &str, value: &str| format!("com.docker.compose.{name}={value}");
        let labels = [label("project", &self.name), label("service", service)];
        let filters = json!({ "label": labels }).to_string();
        let query = [("filters", filters.as_str())];
        let listed = self.engine.get("/containers/json", &query).await.unwrap();
        let mut all = Vec::new();
        for one in listed.as_array().unwrap() {
            let path = format!("/containers/{}/json", one["Id"].as_str().unwrap());
            let found = self.engine.get(&path, &[]).await.unwrap();
            let mut labels = found["Config"]["Labels"].clone();
            let kept = labels.as_object_mut().unwrap();
            kept.retain(|name, _| !name.starts_with("io.rollback."));
            // The engine lists variables in an order of its own; the version is the image's.
            let env = found["Config"]["Env"].as_array().unwrap().iter();
            let env = env.map(|one| one.as_str().unwrap().to_owned());
            let mut env: Vec<String> = env.filter(|one| !one.starts_with("VERSION=")).collect();
            env.sort();
            let aliases = &found["NetworkSettings"]["Networks"][self.network()]["Aliases"];
            let aliases = aliases.as_array().unwrap();
            all.push(json!({
                "labels": labels, "env": env, "binds": found["HostConfig"]["Binds"],
                "memory": found["HostConfig"]["Memory"],
                "restart": found["HostConfig"]["RestartPolicy"],
                "networks": found["NetworkSettings"]["Networks"].as_object().unwrap().len(),
                "web": aliases.contains(&json!("web")), "db": aliases.contains(&json!("db")),
            }));
        }
        let number = "com.docker.compose.container-number";
        all.sort_by_key(|one| one["labels"][number].to_string());
        all
    }

    async fn down(self) {
        let service = ServiceId::new(&self.name).unwrap();
        let deployer = ContainerDeployer::on(self.engine.clone());
        deployer.stop_service(&service).await.unwrap();
        let force = [("force", "true")];
        for one in ["web-1", "web-2", "db-1"] {
            let path = format!("/containers/{}-{one}", self.name);
            let _ = self.engine.delete(&path, &force).await;
        }
        for version in ["1", "2", "3"] {
            let path = format!("/images/{}", self.image(version));
            self.engine.delete(&path, &force).await.unwrap();
        }
        for path in [
            format!("/networks/{}", self.network()),
            format!("/volumes/{}", self.volume()),
        ] {
            self.engine.delete(&path, &[]).await.unwrap();
        }
    }
}

fn said(output: &Output) -> String {
    let (told, progress) = (&output.stdout, &output.stderr);
    let text = [told.as_slice(), progress.as_slice()].concat();
    String::from_utf8(text).unwrap()
}

fn ended(output: &Output, code: i32) -> String {
    let said = said(output);
    assert_eq!(output.status.code(), Some(code), "{said}");
    said
}

/// Whether any file in a folder holds the secret.
fn holds_the_secret(folder: &Path) -> bool {
    let mut files = fs::read_dir(folder).unwrap();
    files.any(|file| {
        let bytes = fs::read(file.unwrap().path()).unwrap();
        let mut windows = bytes.windows(SECRET.len());
        windows.any(|window| window == SECRET.as_bytes())
    })
}

#[tokio::test]
async fn a_compose_service_stays_what_it_was_in_all_but_the_image() {
    let project = Project::up("compose").await;
    let (before, bystander) = (project.chosen("web").await, project.chosen("db").await);
    assert_eq!(before.len(), 2);
    let mut all = ended(&project.deploy("2"), 0);
    assert_eq!(project.chosen("web").await, before, "after the good one");
    all += &ended(&project.deploy("3"), 10);
    assert_eq!(project.chosen("web").await, before, "after the way back");
    assert_eq!(project.chosen("db").await, bystander);

    // The secret is used, and told to nobody.
    assert!(before[0].to_string().contains(SECRET));
    for verb in ["status", "history", "why"] {
        all += &ended(&project.guard(&[verb, &project.name]), 0);
        all += &ended(&project.guard(&[verb, &project.name, "--json"]), 0);
    }
    assert!(all.contains("the token is"), "its last words: {all}");
    assert!(!all.contains(SECRET), "{all}");
    assert!(!holds_the_secret(&project.state()));
    project.down().await;
}

#[tokio::test]
async fn without_the_right_key_nothing_is_changed_and_nothing_is_lost() {
    let project = Project::up("key").await;
    let misnamed = format!("{}/wbe", project.name);
    let (service, image) = (&project.name, project.image("2"));
    let typo = project.guard(&["deploy", service, &image, "--compose", &misnamed]);
    let typo = ended(&typo, 2);
    assert!(typo.contains("nothing to take over"), "{typo}");
    ended(&project.deploy("2"), 0);
    let (key, kept) = (
        project.state().join("guard.key"),
        project.folder.path().join("kept"),
    );
    fs::rename(&key, &kept).unwrap();
    let before = project.chosen("web").await;
    let gone = ended(&project.deploy("3"), 2);
    assert!(
        gone.contains("guard.key") && gone.contains("--key"),
        "{gone}"
    );
    assert!(!key.exists(), "no other key is made");
    ended(&project.guard(&["history", &project.name]), 0);
    fs::write(&key, "0a".repeat(32)).unwrap();
    let open = ended(&project.deploy("3"), 2);
    assert!(open.contains("chmod 600"), "{open}");
    let mode = std::os::unix::fs::PermissionsExt::from_mode(0o600);
    fs::set_permissions(&key, mode).unwrap();
    let wrong = ended(&project.deploy("3"), 1);
    assert!(wrong.contains("is sealed under key"), "{wrong}");
    assert_eq!(project.chosen("web").await, before);
    let kept = kept.to_string_lossy();
    let back = project.guard(&[
        "rollback",
        &project.name,
        "--reason",
        "to see",
        "--key",
        &kept,
    ]);
    ended(&back, 0);
    project.down().await;
}
