//! The story: a service, people who use it, a good update and three bad ones by somebody who never
//! heard of the controller.

mod stage;
mod users;

use std::{fs, time::Duration};

use rollback::{
    Controller, Event,
    entry::Fact,
    model::{DeploymentId, Outcome, Timestamp},
    ports::Deployer,
};
use rollback_docker::Engine;
use tokio::{
    signal::unix::{SignalKind, signal},
    sync::broadcast::{Receiver, error::RecvError},
    time::{Instant, timeout},
};

use self::{stage::Stage, users::Users};
use crate::{Fallible, guarding::Settings, told_to_end, watching::Watching};

const POLICY: &str = include_str!("../../policies/demo.yml");
/// No chapter takes longer.
const PATIENCE: Duration = Duration::from_secs(90);

/// An update, and how it should end.
struct Chapter {
    title: &'static str,
    version: &'static str,
    behaviour: &'static [(&'static str, &'static str)],
    stays: bool,
}

const CHAPTERS: [Chapter; 4] = [
    Chapter {
        title: "a good update",
        version: "v2",
        behaviour: &[],
        stays: true,
    },
    Chapter {
        title: "one that never gets healthy",
        version: "v3-never-ready",
        behaviour: &[("READY_AFTER", "never")],
        stays: false,
    },
    Chapter {
        title: "one that is healthy and answers every third request by 500",
        version: "v4-errors",
        behaviour: &[("FAIL_PERCENT", "34")],
        stays: false,
    },
    Chapter {
        title: "one that ends by itself after two seconds",
        version: "v5-exits",
        behaviour: &[("EXIT_AFTER", "2000"), ("SAYS", "I have 2 s to live")],
        stays: false,
    },
];

/// Tells it, and leaves the engine as it was.
pub(crate) async fn tell(engine: Engine) -> Fallible<()> {
    // A closed terminal would leave everything there.
    let mut hangup = signal(SignalKind::hangup())?;
    let stage = Stage::open(engine).await?;
    let told = tokio::select! {
        _ = hangup.recv() => Err("the terminal was closed".into()),
        told = play(&stage) => told,
        why = told_to_end() => Err(format!("{}; what the demo made is removed", why?).into()),
    };
    let swept = stage.close().await;
    told?;
    swept?;
    say!("\nEverything that was made for this is removed.");
    Ok(())
}

async fn play(stage: &Stage) -> Fallible<()> {
    say!("Building images, and a service of two instances..");
    let mut images = Vec::new();
    for chapter in &CHAPTERS {
        images.push(stage.image(chapter.version, chapter.behaviour).await?);
    }
    let first = stage.image("v1", &[]).await?;
    stage.create(&first).await?;

    let place = tempfile::tempdir()?;
    let policy = place.path().join("demo.yml");
    fs::write(&policy, POLICY)?;
    let settings = Settings {
        policy: Some(policy),
        metrics: "/metrics".to_owned(),
        ..Settings::default()
    };
    let journal = place.path().join("demo.db");
    let (engine, label) = (stage.engine.clone(), stage.label());
    let key = place.path().join("demo.key");
    let mut watching = Watching::open(engine, &label, &journal, &key, settings)?;
    let swarm = watching.deployer();
    let ready = async {
        loop {
            let seen = swarm.observe(&stage.service).await?;
            if seen.wanted.main().is_some_and(|main| seen.is_ready(main)) {
                return Fallible::Ok(());
            }
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
    };
    timeout(PATIENCE, ready)
        .await
        .map_err(|_| "the first instances did not get ready")??;
    let users = Users::come(watching.deployer(), stage.service.clone());
    watching.look().await?;
    let controller = watching.of(&stage.service).ok_or("it is not guarded")?;
    proven(controller).await?;
    say!("v1 runs, is used, and counts as proven.");
    for (chapter, image) in CHAPTERS.iter().zip(&images) {
        update(stage, controller, &users, chapter, image).await?;
    }
    drop(users);
    watching.end().await;
    Ok(())
}

/// Waits until what runs is taken over.
async fn proven(controller: &Controller) -> Fallible<()> {
    let waiting = async {
        loop {
            let status = controller.status().await?;
            if status.stable.is_some() && status.active.is_none() {
                return Fallible::Ok(());
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    };
    timeout(PATIENCE, waiting)
        .await
        .map_err(|_| "what runs was not taken over")?
}

/// When what happened, by the journal.
#[derive(Debug, Default)]
struct Times {
    decided: Option<(Timestamp, String)>,
    ended: Option<Timestamp>,
}

async fn update(
    stage: &Stage,
    controller: &Controller,
    users: &Users,
    chapter: &Chapter,
    image: &str,
) -> Fallible<()> {
    say!(
        "\n== {}: `docker service update --image {image}`",
        chapter.title
    );
    let mut events = controller.events();
    let (good, bad) = users.counts();
    let began = Instant::now();
    stage.update(image).await?;
    let told = timeout(PATIENCE, ending(&mut events, began));
    let (deployment, outcome, times) = told
        .await
        .map_err(|_| format!("{}: no end within {PATIENCE:?}", chapter.title))??;
    let took = began.elapsed();
    let as_it_should = match &outcome {
        Outcome::Promoted { .. } => chapter.stays,
        Outcome::RolledBack { .. } => !chapter.stays,
        _ => false,
    };
    match (&times.decided, times.ended) {
        (Some((decided, why)), Some(ended)) => {
            let restored = ended.since(*decided);
            let noticed = took.saturating_sub(restored);
            say!(
                "   noticed {noticed:.1?} after the update; restored and verified {restored:.1?} later"
            );
            say!("   because {why}");
        }
        _ => say!("   watched for {took:.1?}, and it stays"),
    }
    let (good, bad) = (users.counts().0 - good, users.counts().1 - bad);
    say!("   meanwhile {good} requests were answered well, {bad} were not");
    if !as_it_should {
        let account = controller.explain(&deployment).await?;
        return Err(format!(
            "{}: this should not have ended so: {outcome}\n{account}",
            chapter.title
        )
        .into());
    }
    say!("   {outcome}");
    Ok(())
}

/// Follows what happens until the deployment that begins now has ended.
async fn ending(
    events: &mut Receiver<std::sync::Arc<Event>>,
    began: Instant,
) -> Fallible<(DeploymentId, Outcome, Times)> {
    let mut times = Times::default();
    loop {
        let event = match events.recv().await {
            Ok(event) => event,
            Err(RecvError::Lagged(_)) => continue,
            Err(RecvError::Closed) => return Err("the controller stopped".into()),
        };
        match &event.fact {
            Some(Fact::DeploymentOpened { .. }) => {
                say!(
                    "   seen {:.1?} after it was made: {}",
                    began.elapsed(),
                    event.text
                );
            }
            Some(Fact::RollbackDecided { cause, .. }) if times.decided.is_none() => {
                times.decided = Some((event.at, cause.to_string()));
            }
            Some(Fact::Held { .. }) => return Err(format!("it waits: {}", event.text).into()),
            Some(Fact::Ended {
                deployment,
                outcome,
            }) => {
                times.ended = Some(event.at);
                return Ok((deployment.clone(), outcome.clone(), times));
            }
            _ => {}
        }
    }
}
