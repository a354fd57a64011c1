//! A running controller, and everybody who follows it: deploys, waits, shows, judges.

use std::sync::Arc;
use std::time::Duration;

use rollback::{Controller, Deployment, Event};
use rollback_core::model::{Actor, DeploymentId, Release, Seq, Settled};
use rollback_core::policy::Policy;
use rollback_core::ports::Journal;
use rollback_store::SqliteJournal;
use tokio::sync::broadcast::{self, error::RecvError};
use tokio::time::{Instant, Interval};

use crate::chronicle::{Chapter, Chronicle};
use crate::ending::Ending;
use crate::ends::{End, Told};
use crate::figures::Figures;
use crate::scenario::Setting;
use crate::screen::Screen;
use crate::stage::Stage;
use crate::trouble::Trouble;

/// A deployment that takes longer than this was not noticed.
const PATIENCE: Duration = Duration::from_secs(75);

/// So long people look at a deployment that waits for them.
const CONSIDERATION: Duration = Duration::from_secs(2);

/// A running controller and everybody who follows it.
pub(crate) struct Telling<'a> {
    controller: Controller,
    events: broadcast::Receiver<Arc<Event>>,
    journal: Arc<SqliteJournal>,
    chronicle: Chronicle,
    stage: &'a Stage,
    pub(crate) screen: &'a mut Screen,
}

/// A story that was told to its end.
#[derive(Debug, Clone)]
pub(crate) struct Story {
    /// What the process answers its caller: 0 if it ended as it should.
    pub(crate) code: u8,
    /// What it came to.
    pub(crate) figures: Figures,
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
pub(crate) struct Rest {
    pub(crate) deployment: DeploymentId,
    pub(crate) settled: Settled,
}

/// The exit code of a story that did not end as it should, and why.
pub(crate) type Wrong = (u8, String);

impl Rest {
    /// A deployment that should not have ended like this.
    pub(crate) fn wrong(&self, why: String) -> Wrong {
        // Of an end that is good elsewhere: what was to be shown did not happen.
        (self.settled.exit_code(false).max(1), why)
    }
}

/// Where a deployment came to rest, in words.
pub(crate) fn in_words(settled: &Settled) -> String {
    match settled {
        Settled::Ended(outcome) => outcome.to_string(),
        Settled::Held(hold) => hold.to_string(),
    }
}

impl<'a> Telling<'a> {
    /// Follows a controller from its journal's beginning on.
    pub(crate) async fn begin(
        controller: Controller,
        journal: Arc<SqliteJournal>,
        stage: &'a Stage,
        screen: &'a mut Screen,
    ) -> Result<Self, Trouble> {
        let mut telling = Self {
            events: controller.events(),
            controller,
            journal,
            chronicle: Chronicle::default(),
            stage,
            screen,
        };
        telling.catch_up().await?;
        Ok(telling)
    }

    /// Whether this release was deployed before, by a controller that is dead.
    pub(crate) fn knows(&self, release: &Release) -> bool {
        self.chronicle.of(&release.id).is_some()
    }

    /// Reads what was journaled before this controller.
    pub(crate) async fn catch_up(&mut self) -> Result<(), Trouble> {
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
    pub(crate) async fn deploy(
        &mut self,
        release: &Release,
        end: Option<End>,
    ) -> Result<Rest, Trouble> {
        let deployment = match self.chronicle.of(&release.id) {
            Some(chapter) => self.controller.attach(chapter.deployment.clone()),
            None => {
                let begun = self.controller.deploy(release.clone()).await;
                begun.map_err(|error| Trouble::with_code(error.exit_code(), error))?
            }
        };
        if end == Some(End::WaitedOut) {
            self.follow(&deployment, release, Until::Watched).await?;
            // A request of before would be version 1's only one in its window, and speak for all of it.
            self.stage.traffic_has_moved().await?;
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

    pub(crate) async fn watch_users(&mut self, length: Duration) {
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
    pub(crate) async fn judge_second(
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
    pub(crate) async fn end(
        mut self,
        deployment: &DeploymentId,
        v2: &Release,
        judged: Result<(), Wrong>,
    ) -> Result<Story, Trouble> {
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
            .end(&Ending::new(figures.clone(), account, verdict), |text| {
                chronicle.named(text)
            });
        self.controller.shutdown().await;
        Ok(Story {
            code: judged.err().map_or(0, |(code, _)| code),
            figures,
        })
    }
}

/// One tick a second, the first in a second.
fn seconds() -> Interval {
    let second = Duration::from_secs(1);
    tokio::time::interval_at(Instant::now() + second, second)
}
