//! The same service, load and bad image under Swarm's own rollback and under this library.
//!
//! ```text
//! cargo run --release -p rollback-benches --bin containers -- \
//!     [--fault NAME[,NAME..]] [--under NAME[,NAME..]] [--window SECONDS]
//! ```
//!
//! Needs a running Docker Engine in swarm mode (`docker swarm init`), and `haproxy`. The systems meet
//! a fault one after another, each with a service and users of its own, and nothing of one is left
//! when the next begins; what a run that was killed left is removed by the next run. With `TOLD=1`
//! in the environment this library's controllers tell what they do.

mod asked;
mod course;
mod fault;
mod guarded;
mod leftovers;
mod native;
mod on_containers;
mod on_swarm;
mod proxy;
mod swarm;
mod users;

use std::{error::Error, process::ExitCode, time::Duration};

use rollback_docker::{Engine, ImageId};
use rollback_specimen::Image;

use asked::{Asked, System};
use course::{Course, table};
use fault::{GOOD, HEALTH_EVERY_MS};

type Failure = Box<dyn Error + Send + Sync>;

#[tokio::main]
async fn main() -> ExitCode {
    let outcome = match Engine::from_env() {
        Ok(engine) => {
            let outcome = tokio::select! {
                outcome = measured(&engine) => outcome,
                _ = tokio::signal::ctrl_c() => Err("interrupted".into()),
                () = told_to_end() => Err("told to end".into()),
            };
            leftovers::clear(&engine, leftovers::is_ours).await;
            outcome
        }
        Err(error) => Err(error.into()),
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("containers: {error}");
            ExitCode::FAILURE
        }
    }
}

async fn told_to_end() {
    use tokio::signal::unix::{SignalKind, signal};
    match signal(SignalKind::terminate()) {
        Ok(mut signal) => {
            signal.recv().await;
        }
        Err(_) => std::future::pending().await,
    }
}

async fn measured(engine: &Engine) -> Result<(), Failure> {
    let asked = Asked::of(std::env::args().skip(1))?;
    leftovers::clear(engine, leftovers::is_of_the_dead).await;
    let good = built(engine, Image::new(GOOD)).await?;
    let mut rows = Vec::new();
    for fault in asked.faults {
        let bad = built(engine, fault.image()).await?;
        for system in &asked.systems {
            eprintln!("== {}, {}", fault.name(), system.name());
            let name = leftovers::name(system.letter(), fault);
            match under(*system, engine, &name, (&good, &bad), asked.window).await {
                Ok(course) => rows.push((fault.name(), system.name(), course)),
                Err(error) => eprintln!("{}, {}: {error}", fault.name(), system.name()),
            }
            leftovers::clear(engine, |other| other == name).await;
            // What the engine does behind its answers.
            tokio::time::sleep(Duration::from_secs(1)).await;
            if let Some(last) = rows.last() {
                eprintln!("{}", table(std::slice::from_ref(last)));
            }
        }
    }
    println!("{}", table(&rows));
    Ok(())
}

async fn under(
    system: System,
    engine: &Engine,
    name: &str,
    images: (&ImageId, &ImageId),
    window: Duration,
) -> Result<Course, Failure> {
    match system {
        System::SwarmDefaults => {
            native::run(engine, name, &native::at_its_defaults(), images, window).await
        }
        System::SwarmBest => {
            native::run(engine, name, &native::at_its_best(), images, window).await
        }
        System::LibraryOnSwarm => on_swarm::run(engine, name, images, window).await,
        System::LibraryOnContainers => on_containers::run(engine, name, images, window).await,
    }
}

async fn built(engine: &Engine, image: Image) -> Result<ImageId, Failure> {
    let image = image
        .health_every(HEALTH_EVERY_MS, 2)
        .label(leftovers::LABEL, &std::process::id().to_string());
    Ok(engine.build(image.context(), None).await?)
}
