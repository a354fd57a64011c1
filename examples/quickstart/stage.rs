//! The running world of one story, and its end: whatever was started is stopped, however the story ends.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use rollback::{WithTraffic, start_first_release};
use rollback_core::model::{Release, Secret, ServiceId};
use rollback_core::ports::ReleaseStore;
use rollback_process::ProcessDeployer;
use tokio::time::{sleep, timeout};

use crate::demo::child::{self, Ready};
use crate::demo::remote::{LoadHandle, SwitchHandle};
use crate::place::{Memory, Place};
use crate::scenario::Scenario;
use crate::story::SERVICE;
use crate::trouble::Trouble;
use crate::world::{self, SIGNING_KEY};

/// How long stopping the shop may take.
const STRIKE_WITHIN: Duration = Duration::from_secs(15);
/// How long version 1 may take to serve everybody.
const FIRST_WITHIN: Duration = Duration::from_secs(20);
/// Every request is answered within this, if only by the switch.
const ANSWERED_WITHIN: Duration = Duration::from_secs(5);
/// How often the switch is asked whether they are.
const LOOK: Duration = Duration::from_millis(20);

/// Processes whose traffic is divided by the switch.
pub(crate) type Platform = WithTraffic<ProcessDeployer, SwitchHandle>;

/// What runs.
pub(crate) struct Stage {
    service: ServiceId,
    processes: PathBuf,
    platform: Option<Arc<Platform>>,
    database: Option<Ready>,
    switch: Option<Ready>,
    users: Option<Ready>,
    releases: Option<[Release; 3]>,
    /// Whether it is this process that ends it.
    ours: bool,
}

impl Stage {
    /// Nothing runs yet.
    pub(crate) fn bare(place: &Place) -> Result<Self, Trouble> {
        Ok(Self {
            service: ServiceId::new(SERVICE).map_err(Trouble::broke)?,
            processes: place.processes(),
            platform: None,
            database: None,
            switch: None,
            users: None,
            releases: None,
            ours: false,
        })
    }

    /// Starts the switch, version 1 behind it, and the users; and remembers them for `--resume`.
    pub(crate) async fn set(
        &mut self,
        scenario: Scenario,
        port: u16,
        place: &Place,
        store: &dyn ReleaseStore,
    ) -> Result<(), Trouble> {
        self.ours = true;
        let setting = scenario.setting();
        let switch = world::start_switch(port).await.map_err(Trouble::asked)?;
        self.switch = Some(switch);
        let database = world::start_database().await.map_err(Trouble::broke)?;
        self.database = Some(database);
        let releases =
            world::releases(&setting, &place.releases(), database).map_err(Trouble::asked)?;
        let [v1, ..] = &releases;
        // Kept like every release that is deployed later, so that it could be started again.
        store.put(&self.service, v1).await.map_err(Trouble::asked)?;
        start_first_release(&*self.platform()?, &self.service, v1, FIRST_WITHIN)
            .await
            .map_err(Trouble::broke)?;
        let users = world::send_users(switch, setting.rate, &place.seen())
            .await
            .map_err(Trouble::broke)?;
        self.users = Some(users);
        let memory = Memory {
            scenario,
            database,
            switch,
            users,
            releases,
        };
        place.remember(&memory).map_err(Trouble::asked)?;
        self.releases = Some(memory.releases);
        Ok(())
    }

    /// Finds what a story that was begun left running. It stays another's until [`Stage::take_over`].
    pub(crate) async fn find(&mut self, memory: Memory) -> Result<(), Trouble> {
        world::still_stands(world::switch(memory.switch), world::users(memory.users))
            .await
            .map_err(Trouble::asked)?;
        self.database = Some(memory.database);
        self.switch = Some(memory.switch);
        self.users = Some(memory.users);
        self.releases = Some(memory.releases);
        Ok(())
    }

    /// The platform; opened when it is first asked for.
    pub(crate) fn platform(&mut self) -> Result<Arc<Platform>, Trouble> {
        if let Some(platform) = &self.platform {
            return Ok(Arc::clone(platform));
        }
        let switch = self
            .switch
            .map(world::switch)
            .ok_or_else(|| Trouble::broke("there is no switch"))?;
        let processes = ProcessDeployer::open(&self.processes)
            .map_err(Trouble::asked)?
            .secret(SIGNING_KEY, Secret::new("demo".to_owned()));
        // The switch carries the tag of its last change, as the processes do.
        let platform = Arc::new(WithTraffic::new(processes, switch).tagged());
        self.platform = Some(Arc::clone(&platform));
        Ok(platform)
    }

    /// The users.
    pub(crate) fn users(&self) -> Option<LoadHandle> {
        self.users.map(world::users)
    }

    /// Makes the database sick, or well again.
    pub(crate) async fn database_is_sick(&self, sick: bool) -> Result<(), Trouble> {
        let database = self
            .database
            .map(world::database)
            .ok_or_else(|| Trouble::broke("there is no database"))?;
        let told = if sick {
            database.sick().await
        } else {
            database.well().await
        };
        told.map_err(Trouble::broke)
    }

    /// Waits until releases that get no more requests have answered those that they had.
    pub(crate) async fn traffic_has_moved(&self) -> Result<(), Trouble> {
        let switch = self
            .switch
            .map(world::switch)
            .ok_or_else(|| Trouble::broke("there is no switch"))?;
        let moved = async {
            while !switch.is_at_rest().await.map_err(Trouble::broke)? {
                sleep(LOOK).await;
            }
            Ok(())
        };
        let late = || {
            Trouble::broke(format!(
                "requests are not answered within {ANSWERED_WITHIN:?}"
            ))
        };
        timeout(ANSWERED_WITHIN, moved)
            .await
            .unwrap_or_else(|_| Err(late()))
    }

    /// Where users come in.
    pub(crate) fn address(&self) -> Result<SocketAddr, Trouble> {
        self.switch
            .map(|switch| switch.address)
            .ok_or_else(|| Trouble::broke("there is no switch"))
    }

    /// Versions 1, 2 and 3.
    pub(crate) fn releases(&self) -> Result<&[Release; 3], Trouble> {
        self.releases
            .as_ref()
            .ok_or_else(|| Trouble::broke("there are no releases"))
    }

    /// A controller of this process guards the service: from now on this process ends the story.
    pub(crate) fn take_over(&mut self) {
        self.ours = true;
    }

    /// Another controller guards the service now: the story is its own.
    pub(crate) fn let_go(&mut self) {
        self.ours = false;
    }

    /// Stops users, switch and shop, unless they are another's. What is gone already is fine.
    pub(crate) async fn strike(self) {
        if !self.ours {
            return;
        }
        if let Some(users) = self.users {
            let _ = world::users(users).stop().await;
            child::ended(users).await;
        }
        if let Some(switch) = self.switch {
            let _ = world::switch(switch).stop().await;
            child::ended(switch).await;
        }
        if let Some(database) = self.database {
            let _ = world::database(database).stop().await;
            child::ended(database).await;
        }
        drop(self.platform);
        if let Ok(processes) = ProcessDeployer::open(&self.processes) {
            let _ = timeout(STRIKE_WITHIN, processes.stop_service(&self.service)).await;
        }
    }
}
