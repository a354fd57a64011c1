//! Containers of the specimen as a test wants them, without any deployer of ours.

use std::{future::Future, time::Duration};

use rollback_docker::Engine;
use rollback_specimen::Image;
use serde_json::{Value, json};
use tokio::sync::Mutex;

use super::{TEST, sweep};

/// The image that all tests of one program share, and how many of them are under way.
static SHARED: Mutex<(usize, Option<String>)> = Mutex::const_new((0, None));

/// What one test makes on the engine, under a name of its own. It is gone when the bench is.
pub(crate) struct Bench {
    pub(crate) engine: Engine,
    pub(crate) name: String,
    /// The specimen, whose behaviour is in its environment.
    pub(crate) image: String,
    shares: bool,
}

impl Bench {
    /// On an engine that nobody else uses.
    pub(crate) async fn on(engine: Engine, what: &str) -> Self {
        let image = imported(&engine).await;
        Self {
            engine,
            name: super::name(what),
            image,
            shares: false,
        }
    }

    pub(crate) async fn new(what: &str) -> Self {
        let engine = super::engine();
        let mut shared = SHARED.lock().await;
        let image = match shared.1.take() {
            Some(image) => image,
            None => imported(&engine).await,
        };
        *shared = (shared.0 + 1, Some(image.clone()));
        Self {
            engine,
            name: super::name(what),
            image,
            shares: true,
        }
    }

    /// Starts a container `NAME-which` that behaves as `env` says; `config` is added to what the
    /// engine is told.
    pub(crate) async fn run(&self, which: &str, env: &[&str], config: Value) -> String {
        let id = self.create(which, env, config).await;
        let path = format!("/containers/{id}/start");
        self.engine.post(&path, &[], &Value::Null).await.unwrap();
        id
    }

    /// The same without the start.
    pub(crate) async fn create(&self, which: &str, env: &[&str], config: Value) -> String {
        let mut told = json!({
            "Image": self.image,
            "Env": env,
            "Labels": {TEST: self.name},
            "StopSignal": "SIGKILL",
        });
        for (key, value) in config.as_object().into_iter().flatten() {
            match (told.get_mut(key), value) {
                (Some(Value::Object(all)), Value::Object(more)) => all.extend(more.clone()),
                _ => told[key] = value.clone(),
            }
        }
        let name = format!("{}-{which}", self.name);
        let query = [("name", name.as_str())];
        let created = self.engine.post("/containers/create", &query, &told).await;
        created.unwrap()["Id"].as_str().unwrap().to_owned()
    }

    /// Removes what the test made.
    pub(crate) async fn clear(&self) {
        sweep(&self.engine, &format!("{TEST}={}", self.name)).await;
    }
}

impl Drop for Bench {
    /// Also after a panic. A runtime of its own, since the test's is busy.
    fn drop(&mut self) {
        if !self.shares {
            return;
        }
        let (engine, label) = (self.engine.clone(), format!("{TEST}={}", self.name));
        let tag = super::platform::tag_of(self);
        let swept = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .build()
                .unwrap();
            runtime.block_on(async {
                sweep(&engine, &label).await;
                let _ = engine.delete(&format!("/images/{tag}"), &[]).await;
                let mut shared = SHARED.lock().await;
                shared.0 -= 1;
                if shared.0 == 0
                    && let Some(image) = shared.1.take()
                {
                    let _ = engine.delete(&format!("/images/{image}"), &[]).await;
                }
            });
        });
        let _ = swept.join();
    }
}

/// The specimen as an image of one layer, which takes the engine one step to make.
async fn imported(engine: &Engine) -> String {
    let files = Image::new("v1").context();
    let entry = format!("ENTRYPOINT [\"{}\"]", rollback_specimen::PATH);
    let query = [("fromSrc", "-"), ("changes", entry.as_str())];
    let told = engine.post_archive("/images/create", &query, files).await;
    let told: Value = serde_json::from_slice(&told.unwrap()).unwrap();
    told["status"].as_str().unwrap().to_owned()
}

/// The specimen's own health check, so often, failing after so many bad answers.
pub(crate) fn health_check(every_ms: u64, retries: u32) -> Value {
    json!({
        "Test": ["CMD", rollback_specimen::PATH, "probe"],
        "Interval": every_ms * 1_000_000,
        "Retries": retries,
    })
}

/// Asks again and again until there is an answer, for at most 30 seconds.
pub(crate) async fn until<T, F: Future<Output = Option<T>>>(what: &str, ask: impl Fn() -> F) -> T {
    for _ in 0..600 {
        if let Some(answer) = ask().await {
            return answer;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    panic!("{what} did not come to pass within 30 s");
}
