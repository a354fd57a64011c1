//! The same service, load and bad image under Swarm's own rollback and under this library.
//!
//! ```text
//! cargo run --release -p rollback-benches --bin containers -- [FAULT..] [--window SECONDS]
//! ```
//!
//! Needs a running Docker Engine in swarm mode (`docker swarm init`), and `haproxy`. All systems
//! meet a fault at the same time, each with a service and users of its own. With `TOLD=1` in the
//! environment this library's controllers tell what they do.

mod course;
mod fault;
mod guarded;
mod native;
mod on_containers;
mod on_swarm;
mod swarm;
mod users;

use std::{error::Error, process::ExitCode, time::Duration};

use rollback_docker::{Engine, ImageId};
use rollback_specimen::Image;

use course::{Course, table};
use fault::{Fault, GOOD};

type Failure = Box<dyn Error + Send + Sync>;

#[tokio::main]
async fn main() -> ExitCode {
    match measured().await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("containers: {error}");
            ExitCode::FAILURE
        }
    }
}

async fn measured() -> Result<(), Failure> {
    let (faults, window) = asked_for()?;
    let engine = Engine::from_env()?;
    let good = built(&engine, &Image::new(GOOD)).await?;
    let mut rows = Vec::new();
    for fault in faults {
        eprintln!("== {}", fault.name());
        let bad = built(&engine, &fault.image()).await?;
        for (system, course) in under_each(&engine, fault, (&good, &bad), window).await {
            match course {
                Ok(course) => rows.push((fault.name(), system, course)),
                Err(error) => eprintln!("{}, {system}: {error}", fault.name()),
            }
        }
        remove(&engine, &bad).await;
        eprintln!("{}", table(&rows));
    }
    remove(&engine, &good).await;
    println!("{}", table(&rows));
    Ok(())
}

async fn under_each(
    engine: &Engine,
    fault: Fault,
    images: (&ImageId, &ImageId),
    window: Duration,
) -> Vec<(&'static str, Result<Course, Failure>)> {
    let name = |system: &str| format!("bench-{system}-{}-{}", fault.name(), std::process::id());
    let (defaults, best) = (native::at_its_defaults(), native::at_its_best());
    let (a, b, c, d) = (name("a"), name("b"), name("c"), name("d"));
    let (a, b, c, d) = tokio::join!(
        native::run(engine, &a, &defaults, images, window),
        native::run(engine, &b, &best, images, window),
        on_swarm::run(engine, &c, images, window),
        on_containers::run(engine, &d, images, window),
    );
    vec![
        ("Swarm, defaults", a.map_err(Failure::from)),
        ("Swarm, best settings", b.map_err(Failure::from)),
        ("this library on Swarm", c),
        ("this library, containers and HAProxy", d),
    ]
}

fn asked_for() -> Result<(Vec<Fault>, Duration), Failure> {
    let (mut faults, mut window) = (Vec::new(), Duration::from_secs(120));
    let mut arguments = std::env::args().skip(1);
    while let Some(argument) = arguments.next() {
        if argument == "--window" {
            let seconds = arguments
                .next()
                .ok_or("--window needs a number of seconds")?;
            window = Duration::from_secs(seconds.parse()?);
            continue;
        }
        let known = Fault::ALL.into_iter().find(|f| f.name() == argument);
        faults.push(known.ok_or_else(|| {
            let names = Fault::ALL.map(Fault::name).join(", ");
            format!("no fault is called `{argument}`; there are: {names}")
        })?);
    }
    if faults.is_empty() {
        faults.extend(Fault::ALL);
    }
    Ok((faults, window))
}

async fn built(engine: &Engine, image: &Image) -> Result<ImageId, Failure> {
    Ok(engine.build(image.context(), None).await?)
}

async fn remove(engine: &Engine, image: &ImageId) {
    // Containers of it may be on their way out still.
    for _ in 0..50 {
        let path = format!("/images/{image}");
        match engine.delete(&path, &[("force", "true")]).await {
            Err(error) if error.is_conflict() => {}
            _ => return,
        }
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
}
