//! The world around the controller: the shop's releases, the switch, the users. It stands while the controller is dead.

use std::ffi::OsString;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use rollback_core::model::Release;
use rollback_process::{HealthCheck, PortPlan, ProcessDefinition, ReleaseError, Restart};

use crate::demo::child::{self, ChildError, Ready};
use crate::demo::fault::Fault;
use crate::demo::remote::{LoadHandle, SwitchHandle};
use crate::demo::wire::AskError;
use crate::scenario::Scenario;

/// So many processes serve each release.
const INSTANCES: u16 = 2;

/// Why the world does not stand.
#[derive(Debug, thiserror::Error)]
pub(crate) enum WorldError {
    #[error("this program cannot find itself: {0}")]
    Executable(std::io::Error),
    #[error(transparent)]
    Child(#[from] ChildError),
    #[error(transparent)]
    Release(#[from] ReleaseError),
    #[error(
        "the {what} of this story is gone ({why}). Nobody waits longer than 15 minutes: start anew with another --journal"
    )]
    Gone { what: &'static str, why: AskError },
}

/// Versions 1, 2 and 3: the same program, with what is wrong with the second.
pub(crate) fn releases(scenario: Scenario) -> Result<[Release; 3], WorldError> {
    let release = |version: &str, fault: Fault| {
        let fault = fault.to_string();
        let definition = ProcessDefinition::new(executable()?)
            .args([
                "demo-shop",
                "--version",
                version,
                "--port",
                "{{port}}",
                "--fault",
                &fault,
            ])
            .instances(INSTANCES)
            .port(PortPlan::Any)
            .health(
                HealthCheck::http("/health")
                    .every(Duration::from_millis(500))
                    .timeout(Duration::from_millis(500)),
            )
            .stop_grace(Duration::from_secs(4))
            .restart(Restart::new(
                Duration::from_millis(200),
                Duration::from_secs(2),
            ));
        Ok::<_, WorldError>(definition.release(version)?)
    };
    Ok([
        release("v1", Fault::Healthy)?,
        release("v2", scenario.fault())?,
        release("v3", Fault::Healthy)?,
    ])
}

/// Starts the switch; users come in at `port` of loopback.
pub(crate) async fn start_switch(port: u16) -> Result<Ready, WorldError> {
    let listen = SocketAddr::from(([127, 0, 0, 1], port)).to_string();
    Ok(child::start(
        executable()?,
        "demo-switch",
        ["--listen".into(), listen.into()],
    )
    .await?)
}

/// Sends the users.
pub(crate) async fn send_users(switch: Ready, lines: &Path) -> Result<Ready, WorldError> {
    let target: OsString = switch.address.to_string().into();
    let args = ["--target".into(), target, "--out".into(), lines.into()];
    Ok(child::start(executable()?, "demo-load", args).await?)
}

/// The switch that [`start_switch`] started, here or in a controller that is dead.
pub(crate) fn switch(ready: Ready) -> SwitchHandle {
    SwitchHandle::new(ready.control.unwrap_or(ready.address))
}

/// The users that [`send_users`] sent.
pub(crate) fn users(ready: Ready) -> LoadHandle {
    LoadHandle::new(ready.control.unwrap_or(ready.address))
}

/// Whether both still stand.
pub(crate) async fn still_stands(
    switch: SwitchHandle,
    users: LoadHandle,
) -> Result<(), WorldError> {
    let gone = |what| move |why| WorldError::Gone { what, why };
    switch.routes().await.map_err(gone("weight switch"))?;
    users.seen(0).await.map_err(gone("users' program"))?;
    Ok(())
}

fn executable() -> Result<PathBuf, WorldError> {
    std::env::current_exe().map_err(WorldError::Executable)
}
