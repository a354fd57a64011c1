//! `guard run` with a policy that says `mode: observe`: the person's command deploys, in the
//! foreground as ever, and the controller watches, decides and changes nothing.

use std::process::{ExitStatus, Stdio};

use rollback::{
    entry::Command as Order,
    model::{DeploymentId, Release},
};
use tokio::process::Command;

use crate::{
    cli::RunArgs,
    client,
    exit::{Fallible, Trouble},
    place::Place,
    settings::Settings,
    wire::Ask,
};

/// Runs the deploy command, and tells the platform what runs now.
pub(crate) async fn deploy(
    args: &RunArgs,
    place: &Place,
    settings: &Settings,
    release: &Release,
    deployment: &DeploymentId,
) -> Fallible<()> {
    eprintln!(
        "mode: observe: the deploy command runs, the release is watched, nothing is rolled back"
    );
    let ended = run(args, settings, release, deployment).await;
    let why = match ended {
        Ok(status) if status.success() => {
            let deployer = settings.deployer(place)?;
            let told = deployer.adopt(&place.service, release).await;
            return told.map_err(Trouble::broke);
        }
        Ok(status) => format!("the deploy command ended with {status}"),
        Err(why) => format!("the deploy command did not start: {why}"),
    };
    let abort = Ask::Order {
        order: Order::Abort,
        reason: why.clone(),
    };
    client::answer(place, abort).await?;
    Err(Trouble::broke(format!(
        "{why}: {} is not watched; with `mode: act` it would have been rolled back",
        release.name
    )))
}

async fn run(
    args: &RunArgs,
    settings: &Settings,
    release: &Release,
    deployment: &DeploymentId,
) -> std::io::Result<ExitStatus> {
    let mut words = args
        .command
        .iter()
        .map(|word| word.replace("{{release}}", &release.name));
    let program = words.next().unwrap_or_default();
    Command::new(program)
        .args(words)
        .current_dir(&settings.directory)
        .env("GUARD_RELEASE", &*release.name)
        .env("GUARD_DEPLOYMENT", deployment.as_str())
        .stdin(Stdio::null())
        // Our stdout is data.
        .stdout(std::io::stderr())
        .status()
        .await
}
