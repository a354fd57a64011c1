//! The story in three acts: version 1 takes traffic, version 2 is bad, version 3 is the fix.
//!
//! This room is where the library is used: a policy, a deployer joined with a traffic shifter, two metric sources and a
//! journal make a controller; `deploy`, `settled` and `explain` are all that is asked of it.

use std::path::Path;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use rollback::{Controller, Deployment, Event};
use rollback_core::model::{Actor, DeploymentId, Outcome, Release, Seq, Settled};
use rollback_core::policy::Policy;
use rollback_core::ports::Journal;
use rollback_sources::{HttpHealth, Limits, PrometheusText};
use rollback_store::SqliteJournal;
use tokio::sync::broadcast::{self, error::RecvError};
use tokio::time::{Instant, Interval};

use crate::chronicle::{Chapter, Chronicle};
use crate::cli::StoryArgs;
use crate::ending::Ending;
use crate::ends::{End, Told};
use crate::figures::Figures;
use crate::place::{Memory, Place};
use crate::scenario::{Scenario, Setting};
use crate::screen::Screen;
use crate::stage::Stage;
use crate::trouble::Trouble;

/// The service of the story.
pub(crate) const SERVICE: &str = "shop";

/// A deployment that takes longer than this was not noticed.
const PATIENCE: Duration = Duration::from_secs(75);

/// So long version 1 is seen to serve alone.
const OVERTURE: Duration = Duration::from_secs(2);

/// So long people look at a deployment that waits for them.
const CONSIDERATION: Duration = Duration::from_secs(2);

/// Tells the story and tidies up, however it ends.
pub(crate) async fn tell(args: StoryArgs) -> Result<ExitCode, Trouble> {
    let asked = args.policy.as_deref().map(policy_of).transpose()?;
    let mut screen = Screen::of_this_process(args.json, args.auto);
    let (place, memory) = if args.resume {
        let (place, memory) =
            Place::resume(args.journal.as_deref(), args.scenario).map_err(Trouble::asked)?;
        (place, Some(memory))
    } else {
        (
            Place::new(args.journal.as_deref()).map_err(Trouble::asked)?,
            None,
        )
    };
    let begun = memory.as_ref().map(|memory| memory.scenario);
    let scenario = begun.or(args.scenario).unwrap_or(Scenario::ErrorRate);
    let policy = match asked {
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
        Ok(code) => *code != 0,
        Err(trouble) => !trouble.is_of_the_asking(),
    };
    if let Some(journal) = place.leave(worth_a_look) {
        screen.says(&format!("the journal is {}", journal.display()));
    }
    told.map(ExitCode::from)
}

async fn acts(
    stage: &mut Stage,
    screen: &mut Screen,
    place: &Place,
    memory: Option<Memory>,
    scenario: Scenario,
    policy: Policy,
    port: u16,
) -> Result<u8, Trouble> {
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
    let mut telling = Telling {
        events: controller.events(),
        controller,
        journal,
        chronicle: Chronicle::default(),
        stage,
        screen,
    };
    telling.catch_up().await?;

    if telling.chronicle.of(&v2.id).is_none() {
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

/// A running controller and everybody who follows it.
struct Telling<'a> {
    controller: Controller,
    events: broadcast::Receiver<Arc<Event>>,
    journal: Arc<SqliteJournal>,
    chronicle: Chronicle,
    stage: &'a Stage,
    screen: &'a mut Screen,
}

/// How far a deployment is followed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Until {
    /// The candidate has users and is watched.
    Watched,
    /// It ended, or waits for a person.
    Settled,
    /// It ended, through all that it waits for.
    Ended,
}

/// How one deployment came to rest.
struct Rest {
    deployment: DeploymentId,
    settled: Settled,
}

/// The exit code of a story that did not end as it should, and why.
type Wrong = (u8, String);

impl Rest {
    /// A deployment that should not have ended like this.
    fn wrong(&self, why: String) -> Wrong {
        match &self.settled {
            Settled::Ended(outcome) => (outcome.exit_code().max(1), why),
            Settled::Held(_) => (11, why),
        }
    }
}

fn in_words(settled: &Settled) -> String {
    match settled {
        Settled::Ended(outcome) => outcome.to_string(),
        Settled::Held(hold) => hold.to_string(),
    }
}

impl Telling<'_> {
    /// Reads what was journaled before this controller.
    async fn catch_up(&mut self) -> Result<(), Trouble> {
        let service = self.controller.service().clone();
        let mut after = Seq::default();
        self.chronicle = Chronicle::default();
        for release in self.stage.releases()? {
            self.chronicle.name(&release.id, &release.name);
        }
        loop {
            let page = self
                .journal
                .read(&service, after, 1000)
                .await
                .map_err(Trouble::broke)?;
            let Some(last) = page.last() else {
                return Ok(());
            };
            after = last.seq;
            page.iter().for_each(|entry| self.chronicle.catch_up(entry));
        }
    }

    /// Deploys a release, or finds its deployment that a dead controller began, and follows it until it rests. `end`
    /// is how it must end: what it is then held for on the way is answered as the story has it.
    async fn deploy(&mut self, release: &Release, end: Option<End>) -> Result<Rest, Trouble> {
        let deployment = match self.chronicle.of(&release.id) {
            Some(chapter) => self.controller.attach(chapter.deployment.clone()),
            None => {
                let begun = self.controller.deploy(release.clone()).await;
                begun.map_err(|error| Trouble::with_code(error.exit_code(), error))?
            }
        };
        if end == Some(End::WaitedOut) {
            self.follow(&deployment, release, Until::Watched).await?;
            self.stage.database_is_sick(true).await?;
            self.screen.says(
                "the database, which all releases share, fails more than half of its answers",
            );
        }
        let mut settled = self.follow(&deployment, release, Until::Settled).await?;
        if let (Some(end), Some(Settled::Held(hold))) = (end, &settled)
            && end.expects(&hold.reason)
        {
            self.answer(end).await?;
            settled = self.follow(&deployment, release, Until::Ended).await?;
        }
        let settled =
            settled.ok_or_else(|| Trouble::broke(format!("{} was lost", release.name)))?;
        Ok(Rest {
            deployment: deployment.id().clone(),
            settled,
        })
    }

    /// What people do about a hold that the story knows.
    async fn answer(&mut self, end: End) -> Result<(), Trouble> {
        self.watch_users(CONSIDERATION).await;
        if end == End::WaitedOut {
            self.stage.database_is_sick(false).await?;
            self.screen
                .says("somebody has healed the database; nobody touched the releases");
            return Ok(());
        }
        self.screen
            .says("a person has looked at the few requests that there were, and takes version 2");
        let person = Actor::new("a person");
        let reason = "one bad answer in the first minute; the log says why";
        let promoted = self.controller.promote(person, reason).await;
        promoted.map_err(Trouble::of_controller)
    }

    /// Follows a deployment until it is so far; none if that is not its rest.
    async fn follow(
        &mut self,
        deployment: &Deployment,
        release: &Release,
        until: Until,
    ) -> Result<Option<Settled>, Trouble> {
        let settled = async {
            match until {
                Until::Ended => deployment.ended().await.map(Settled::Ended),
                Until::Watched | Until::Settled => deployment.settled().await,
            }
        };
        let mut settled = std::pin::pin!(settled);
        let mut second = seconds();
        let given_up = tokio::time::sleep(PATIENCE);
        let mut given_up = std::pin::pin!(given_up);
        loop {
            let chapter = self.chronicle.of(&release.id);
            if until == Until::Watched && chapter.is_some_and(Chapter::is_watched) {
                return Ok(None);
            }
            tokio::select! {
                biased;
                event = self.events.recv() => self.hear(event).await?,
                settled = &mut settled => return settled.map(Some).map_err(Trouble::of_controller),
                _ = second.tick() => self.show_users(Some(release)).await,
                () = &mut given_up => {
                    let why = format!("{} has not come to rest within {} s", release.name, PATIENCE.as_secs());
                    return Err(Trouble::with_code(16, why));
                }
            }
        }
    }

    async fn hear(&mut self, event: Result<Arc<Event>, RecvError>) -> Result<(), Trouble> {
        match event {
            Ok(event) => {
                let line = event
                    .fact
                    .as_ref()
                    .and_then(|fact| self.chronicle.read(event.at, fact));
                self.screen.happened(&*event, line.as_ref());
                Ok(())
            }
            // The stream may lag; the journal does not.
            Err(RecvError::Lagged(_)) => self.catch_up().await,
            Err(RecvError::Closed) => Err(Trouble::of_controller(
                self.controller.stopped().await.into(),
            )),
        }
    }

    async fn watch_users(&mut self, length: Duration) {
        let end = Instant::now() + length;
        let mut second = seconds();
        while Instant::now() < end {
            second.tick().await;
            self.show_users(None).await;
        }
    }

    async fn show_users(&mut self, release: Option<&Release>) {
        // One answer that did not come in time is no news: the next second has the sum.
        let Some(users) = self.stage.users() else {
            return;
        };
        let Ok(seen) = users.seen(0).await else {
            return;
        };
        let step = release
            .and_then(|release| self.chronicle.of(&release.id))
            .and_then(|chapter| chapter.step());
        let chronicle = &self.chronicle;
        self.screen
            .users(&seen, |text| chronicle.named(text), step.as_deref());
    }

    /// Whether version 2 ended as this story should.
    async fn judge_second(
        &mut self,
        setting: &Setting,
        policy: &Policy,
        second: &Rest,
        v2: &Release,
    ) -> Result<Result<(), Wrong>, Trouble> {
        self.catch_up().await?;
        let chapter = self.chronicle.of(&v2.id);
        let account = self.controller.explain(&second.deployment).await;
        let told = Told {
            settled: &second.settled,
            holds: chapter.map_or(&[], |chapter| &chapter.holds),
            last_words: &account.map_err(Trouble::broke)?.last_words,
        };
        let judged = setting.end.judge(policy, setting.last_words, &told);
        Ok(judged.map_err(|why| second.wrong(why)))
    }

    /// The table, the words and the library's own account of version 2.
    async fn end(
        mut self,
        deployment: &DeploymentId,
        v2: &Release,
        judged: Result<(), Wrong>,
    ) -> Result<u8, Trouble> {
        self.catch_up().await?;
        let chapter = self
            .chronicle
            .of(&v2.id)
            .ok_or_else(|| Trouble::broke("the journal has no deployment of v2"))?;
        let users = self
            .stage
            .users()
            .ok_or_else(|| Trouble::broke("there are no users"))?;
        let seen = users
            .seen(Figures::since_ms(Some(chapter)))
            .await
            .map_err(Trouble::broke)?;
        let figures = Figures::of(chapter, &seen, |text| self.chronicle.named(text));
        let account = self
            .controller
            .explain(deployment)
            .await
            .map_err(Trouble::broke)?;
        let verdict = judged
            .as_ref()
            .map(|_| ())
            .map_err(|(_, why)| self.chronicle.named(why));
        let chronicle = &self.chronicle;
        self.screen
            .end(&Ending::new(figures, account, verdict), |text| {
                chronicle.named(text)
            });
        self.controller.shutdown().await;
        Ok(judged.err().map_or(0, |(code, _)| code))
    }
}

/// One tick a second, the first in a second.
fn seconds() -> Interval {
    let second = Duration::from_secs(1);
    tokio::time::interval_at(Instant::now() + second, second)
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
