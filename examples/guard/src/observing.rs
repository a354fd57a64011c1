//! `guard run` with a policy that says `mode: observe`: the person's command deploys, in the
//! foreground as ever; then the controller watches, decides and changes nothing.

use std::process::{ExitStatus, Stdio};

use rollback::model::Release;
use tokio::process::Command;

use crate::{
    cli::RunArgs,
    exit::{Fallible, Trouble},
    place::Place,
    settings::Settings,
};

/// Runs the deploy command. What is measured is of the release only once it has ended well.
pub(crate) async fn deploy(args: &RunArgs, settings: &Settings, release: &Release) -> Fallible<()> {
    eprintln!(
        "mode: observe: the deploy command runs, the release is watched, nothing is rolled back"
    );
    let why = match run(args, settings, release).await {
        Ok(status) if status.success() => return Ok(()),
        Ok(status) => format!("the deploy command ended with {status}"),
        Err(why) => format!("the deploy command did not start: {why}"),
    };
    Err(Trouble::broke(format!(
        "{why}: {} is not watched; with `mode: act` it would have been rolled back",
        release.name
    )))
}

/// Tells the platform what runs now.
pub(crate) async fn tell(place: &Place, settings: &Settings, release: &Release) -> Fallible<()> {
    let deployer = settings.deployer(place)?;
    let told = deployer.adopt(&place.service, release).await;
    told.map_err(Trouble::broke)
}

async fn run(
    args: &RunArgs,
    settings: &Settings,
    release: &Release,
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
        .stdin(Stdio::null())
        // Our stdout is data.
        .stdout(std::io::stderr())
        .status()
        .await
}
