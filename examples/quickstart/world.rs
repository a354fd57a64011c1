//! The world around the controller: the shop's releases, the switch, the users. It stands while the controller is dead.

use std::ffi::OsString;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use rollback_core::model::Release;
use rollback_process::{HealthCheck, PortPlan, ProcessDefinition, ReleaseError, Restart};

use crate::demo::child::{self, ChildError, Ready};
use crate::demo::fault::Fault;
use crate::demo::release::Content;
use crate::demo::remote::{DatabaseHandle, LoadHandle, SwitchHandle};
use crate::demo::wire::AskError;
use crate::scenario::Setting;

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
    #[error("cannot unpack a release into {}: {source}", folder.display())]
    Unpack {
        folder: PathBuf,
        source: std::io::Error,
    },
    #[error(
        "the {what} of this story is gone ({why}). Nobody waits longer than 15 minutes: start anew with another --journal"
    )]
    Gone { what: &'static str, why: AskError },
}

/// What the operators know as the key that orders are signed with.
pub(crate) const SIGNING_KEY: &str = "order-signing-key";

/// Versions 1, 2 and 3: the same program on three folders, with what is wrong with the second.
pub(crate) fn releases(
    setting: &Setting,
    folder: &Path,
    database: Ready,
) -> Result<[Release; 3], WorldError> {
    let ours = database.address.to_string();
    let release = |version: &str, content: Content, fault: Fault, database: &str, key: bool| {
        let folder = folder.join(version);
        content
            .unpack(&folder)
            .map_err(|source| WorldError::Unpack {
                folder: folder.clone(),
                source,
            })?;
        let folder = folder.to_string_lossy();
        let fault = fault.to_string();
        let definition = ProcessDefinition::new(executable()?)
            .args(["demo-shop", "--version", version, "--port", "{{port}}"])
            .args(["--folder", &*folder, "--database", database])
            .args(["--fault", &fault])
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
        let definition = if key {
            definition.secret_env("ORDER_SIGNING_KEY", SIGNING_KEY)
        } else {
            definition
        };
        Ok::<_, WorldError>(definition.release(version)?)
    };
    // The fix of a missing variable is the variable; of everything else, a program without the mistake.
    let (fixed, key) = match setting.content {
        Content::NeedsSecret => (Content::NeedsSecret, true),
        _ => (Content::Good, false),
    };
    let twos = setting.database.unwrap_or(&ours);
    Ok([
        release("v1", Content::Good, Fault::Healthy, &ours, false)?,
        release("v2", setting.content, setting.fault(), twos, false)?,
        release("v3", fixed, Fault::Healthy, &ours, key)?,
    ])
}

/// Starts the database that all releases share.
pub(crate) async fn start_database() -> Result<Ready, WorldError> {
    Ok(child::start(executable()?, "demo-database", []).await?)
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

/// Sends so many users a second.
pub(crate) async fn send_users(
    switch: Ready,
    rate: u32,
    lines: &Path,
) -> Result<Ready, WorldError> {
    let target: OsString = switch.address.to_string().into();
    let rate: OsString = rate.to_string().into();
    let args = [
        "--target".into(),
        target,
        "--rate".into(),
        rate,
        "--out".into(),
        lines.into(),
    ];
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

/// The database that [`start_database`] started, here or in a controller that is dead.
pub(crate) fn database(ready: Ready) -> DatabaseHandle {
    DatabaseHandle::new(ready.address)
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
