//! A journal that is only read: what was, and how things stand, whether or not a controller runs.

use std::path::Path;

use rollback::{
    Account,
    engine::{Engine, EngineConfig},
    entry::{Entry, Fact},
    model::{Actor, DeploymentId, Hold, Outcome, ReleaseId, Seq, ServiceId, Timestamp},
    ports::{Capabilities, Journal},
    store::SqliteJournal,
};

use crate::{
    exit::{Fallible, Trouble},
    picture::Picture,
    place::Place,
};

/// How many entries are read at once.
const PAGE: usize = 1024;

/// The journal of one service.
#[derive(Debug)]
pub(crate) struct Archive {
    journal: SqliteJournal,
    service: ServiceId,
}

impl Archive {
    pub(crate) fn open(place: &Place) -> Fallible<Self> {
        must_exist(&place.journal)?;
        let journal = SqliteJournal::open(&place.journal).map_err(Trouble::broke)?;
        Ok(Self {
            journal,
            service: place.service.clone(),
        })
    }

    /// Every entry, in order.
    pub(crate) async fn each(&self, mut each: impl FnMut(&Entry)) -> Fallible<()> {
        let mut after = Seq::default();
        loop {
            let page = self.journal.read(&self.service, after, PAGE).await;
            let page = page.map_err(Trouble::broke)?;
            page.iter().for_each(&mut each);
            match page.last() {
                Some(last) if page.len() == PAGE => after = last.seq,
                _ => return Ok(()),
            }
        }
    }

    /// How the service stood at the last entry.
    pub(crate) async fn picture(&self) -> Fallible<Picture> {
        // What the platform could do has no part in what was decided.
        let config = EngineConfig::new(
            self.service.clone(),
            Capabilities::least(std::time::Duration::ZERO),
        );
        let mut engine = Engine::new(config);
        self.each(|entry| engine.restore(entry)).await?;
        Ok(Picture::of(engine.status(), false))
    }

    /// Why a deployment ended as it did; of none, the newest.
    pub(crate) async fn account(&self, wanted: Option<&DeploymentId>) -> Fallible<Account> {
        let mut newest = None;
        let mut entries = Vec::new();
        self.each(|entry| {
            for fact in &entry.facts {
                if let Fact::DeploymentOpened { deployment, .. } = fact {
                    newest = Some(deployment.clone());
                }
            }
            entries.push(entry.clone());
        })
        .await?;
        let id = wanted.cloned().or(newest).ok_or_else(|| {
            Trouble::asked(format!("nothing was ever deployed to {}", self.service))
        })?;
        Account::from_entries(&self.service, &id, &entries).ok_or_else(|| {
            Trouble::asked(format!(
                "{} has no deployment `{id}`: `guard history` lists them",
                self.service
            ))
        })
    }

    /// Every deployment, oldest first.
    pub(crate) async fn deployments(&self) -> Fallible<Vec<Past>> {
        let mut all: Vec<Past> = Vec::new();
        self.each(|entry| {
            for fact in &entry.facts {
                follow(&mut all, entry.at, fact);
            }
        })
        .await?;
        Ok(all)
    }
}

pub(crate) fn must_exist(journal: &Path) -> Fallible<()> {
    if journal.is_file() {
        return Ok(());
    }
    Err(Trouble::asked(format!(
        "there is no journal at {}: deploy with `guard run`, or name another one with --journal",
        journal.display()
    )))
}

/// What became of a deployment.
#[derive(Debug, Clone)]
pub(crate) struct Past {
    pub(crate) deployment: DeploymentId,
    pub(crate) candidate: ReleaseId,
    pub(crate) name: String,
    pub(crate) actor: Actor,
    pub(crate) opened: Timestamp,
    /// The release that it would return to, or did.
    pub(crate) stable: Option<ReleaseId>,
    /// The first time that the candidate had traffic, or was being watched.
    pub(crate) exposed: Option<Timestamp>,
    /// When it was decided to go back.
    pub(crate) decided: Option<Timestamp>,
    /// When the stable release served again: the first step of the way back that was done.
    pub(crate) restored: Option<Timestamp>,
    pub(crate) hold: Option<Hold>,
    /// Whether it was opened to leave the release that served.
    pub(crate) way_back: bool,
    pub(crate) ended: Option<(Timestamp, Outcome)>,
}

fn follow(all: &mut Vec<Past>, at: Timestamp, fact: &Fact) {
    if let Fact::DeploymentOpened {
        deployment,
        candidate,
        name,
        actor,
        way_back,
        ..
    } = fact
    {
        all.push(Past {
            deployment: deployment.clone(),
            candidate: candidate.clone(),
            name: if name.is_empty() {
                candidate.to_string()
            } else {
                name.to_string()
            },
            actor: actor.clone(),
            opened: at,
            stable: None,
            exposed: None,
            decided: None,
            restored: None,
            hold: None,
            way_back: way_back.is_some(),
            ended: None,
        });
        return;
    }
    let about = fact.deployment();
    let Some(past) = all
        .iter_mut()
        .rev()
        .find(|past| Some(&past.deployment) == about)
    else {
        return;
    };
    match fact {
        Fact::PlanMade { stable, .. } => past.stable.clone_from(stable),
        Fact::StepDone { .. } if past.decided.is_some() => {
            past.restored.get_or_insert(at);
        }
        Fact::StepDone { .. } => {
            past.exposed.get_or_insert(at);
        }
        Fact::RollbackDecided { target, .. } => {
            past.stable = Some(target.clone());
            past.decided.get_or_insert(at);
        }
        Fact::Held { reason, exits, .. } => {
            past.hold = Some(Hold {
                reason: reason.clone(),
                since: at,
                exits: exits.clone(),
            });
        }
        Fact::Released { .. } => past.hold = None,
        Fact::Ended { outcome, .. } => {
            past.hold = None;
            past.ended = Some((at, outcome.clone()));
        }
        _ => {}
    }
}
