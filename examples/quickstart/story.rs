//! The story in three acts: version 1 takes traffic, version 2 is bad, version 3 is the fix.
//!
//! This room is where the library is used: a policy, a deployer joined with a traffic shifter, two metric sources and a
//! journal make a controller; `deploy`, `settled` and `explain` are all that is asked of it.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use rollback::Controller;
use rollback_core::model::{Outcome, Settled};
use rollback_core::policy::Policy;
use rollback_sources::{HttpHealth, Limits, PrometheusText};
use rollback_store::SqliteJournal;

use crate::cli::StoryArgs;
use crate::place::{Memory, Place};
use crate::scenario::Scenario;
use crate::screen::Screen;
use crate::stage::Stage;
use crate::telling::{Story, Telling, in_words};
use crate::trouble::Trouble;

/// The service of the story.
pub(crate) const SERVICE: &str = "shop";

/// So long version 1 is seen to serve alone.
const OVERTURE: Duration = Duration::from_secs(2);

/// Tells the story and tidies up, however it ends.
pub(crate) async fn tell(args: &StoryArgs, asked: Option<Scenario>) -> Result<Story, Trouble> {
    let policy = args.policy.as_deref().map(policy_of).transpose()?;
    let mut screen = Screen::of_this_process(args.json, args.auto);
    let (place, memory) = if args.resume {
        let (place, memory) =
            Place::resume(args.journal.as_deref(), asked).map_err(Trouble::asked)?;
        (place, Some(memory))
    } else {
        (
            Place::new(args.journal.as_deref()).map_err(Trouble::asked)?,
            None,
        )
    };
    let begun = memory.as_ref().map(|memory| memory.scenario);
    let scenario = begun.or(asked).unwrap_or(Scenario::ErrorRate);
    let policy = match policy {
        Some(policy) => policy,
        None => Policy::from_yaml(scenario.setting().policy.text).map_err(Trouble::broke)?,
    };
    let mut stage = Stage::bare(&place)?;
    let told = tokio::select! {
        told = acts(&mut stage, &mut screen, &place, memory, scenario, policy, args.port) => told,
        () = interrupted() => Err(Trouble::interrupted()),
    };
    if told.as_ref().is_err_and(Trouble::is_taken_over) {
        stage.let_go();
    }
    stage.strike().await;
    let worth_a_look = match &told {
        Ok(story) => story.code != 0,
        Err(trouble) => !trouble.is_of_the_asking(),
    };
    if let Some(journal) = place.leave(worth_a_look) {
        screen.says(&format!("the journal is {}", journal.display()));
    }
    told
}

async fn acts(
    stage: &mut Stage,
    screen: &mut Screen,
    place: &Place,
    memory: Option<Memory>,
    scenario: Scenario,
    policy: Policy,
    port: u16,
) -> Result<Story, Trouble> {
    let journal = Arc::new(SqliteJournal::open(&place.journal).map_err(Trouble::asked)?);
    match memory {
        Some(memory) => {
            stage.find(memory).await?;
            screen
                .says("the story goes on; switch, users and shop ran on without their controller");
        }
        None => {
            screen.act(1, "Version 1 takes traffic").await;
            stage.set(scenario, port, place, &*journal).await?;
            screen.says(&format!(
                "users come in at http://{}, {} requests a second",
                stage.address()?,
                scenario.setting().rate,
            ));
        }
    }
    screen.names(stage.releases()?);
    let setting = scenario.setting();
    let [_, v2, v3] = stage.releases()?.clone();

    // An instance that is silent for most of a poll has not answered it.
    let limits = Limits::default().total(Duration::from_millis(800));
    let controller = Controller::builder(SERVICE)
        .policy(policy.clone())
        .deployer(stage.platform()?)
        .metrics(PrometheusText::of_instances("/metrics", limits).map_err(Trouble::broke)?)
        .metrics_named("health", HttpHealth::new(limits).map_err(Trouble::broke)?)
        .journal(Arc::clone(&journal))
        .releases(Arc::clone(&journal))
        .owner("quickstart")
        .start()
        .await
        .map_err(Trouble::asked)?;
    stage.take_over();
    let mut telling = Telling::begin(controller, journal, stage, screen).await?;
    if !telling.knows(&v2) {
        telling.watch_users(OVERTURE).await;
    }
    telling
        .screen
        .act(2, &format!("Version 2 is deployed ({scenario})"))
        .await;
    telling.screen.says(&scenario.about());
    let second = telling.deploy(&v2, Some(setting.end)).await?;
    let mut judged = telling
        .judge_second(&setting, &policy, &second, &v2)
        .await?;
    if judged.is_ok() && setting.needs_a_fix() {
        telling
            .screen
            .act(3, "Version 3, the fix, is deployed")
            .await;
        let third = telling.deploy(&v3, None).await?;
        judged = match &third.settled {
            Settled::Ended(Outcome::Promoted { .. }) => Ok(()),
            other => Err(third.wrong(format!(
                "v3 is the fix and should have been promoted, but: {}",
                in_words(other)
            ))),
        };
    }
    telling.end(&second.deployment, &v2, judged).await
}

/// The policy of a file.
fn policy_of(file: &Path) -> Result<Policy, Trouble> {
    let named =
        |why: &dyn std::fmt::Display| Trouble::asked(format!("policy {}: {why}", file.display()));
    let text = std::fs::read_to_string(file)
        .map_err(|error| named(&format_args!("{error}; check the path and its permissions")))?;
    Policy::from_yaml(&text).map_err(|error| named(&error))
}

/// Returns when a person presses Ctrl-C, or the process is asked to end.
async fn interrupted() {
    use tokio::signal::unix::{SignalKind, signal};
    let Ok(mut terminated) = signal(SignalKind::terminate()) else {
        return std::future::pending().await;
    };
    tokio::select! {
        _ = tokio::signal::ctrl_c() => {}
        _ = terminated.recv() => {}
    }
}
