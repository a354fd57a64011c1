//! Deploys with a script of your own: `deploy_by_script STATE_DIR SERVICE SCRIPT ARTEFACT`.
//!
//! It waits until the release is ready. Kill it in any way: the script goes on, and the next
//! `deploy_by_script` with the same state directory finds it.

use std::{error::Error, time::Duration};

use rollback_core::{
    model::{
        ArmState, Change, ChangeId, ChangeRequest, DeploymentId, Expectation, Pace, Placement,
        ServiceId, Timestamp,
    },
    ports::Deployer as _,
};
use rollback_process::{ScriptDeployer, ScriptRelease};

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let mut args = std::env::args().skip(1);
    let mut next = |name: &str| args.next().ok_or_else(|| format!("{name} is missing"));
    let (state, service) = (next("STATE_DIR")?, ServiceId::new(next("SERVICE")?)?);
    let (script, artefact) = (next("SCRIPT")?, next("ARTEFACT")?);
    let release = ScriptRelease::new(&artefact, &artefact).release()?;
    let deployer = ScriptDeployer::open(state, script)?.pass_all_env();
    let seen = deployer.observe(&service).await?;
    if !seen.wanted.runs(&release.id) {
        let id = ChangeId {
            deployment: DeploymentId::new(format!("by-hand-{}", std::process::id()))?,
            step: 1,
            attempt: 1,
        };
        let change = Change::Converge {
            release: release.id.clone(),
            placement: Placement::InPlace(Pace::AtOnce),
        };
        let expect = Expectation {
            wanted: seen.wanted,
            etag: seen.etag,
        };
        let request = ChangeRequest::new(id, change, expect, Timestamp::from_millis(i64::MAX))
            .with_definition(Some(release.definition.clone()));
        deployer.apply(&service, &request).await?;
    }
    loop {
        let seen = deployer.observe(&service).await?;
        match seen.arm(&release.id).map(|arm| &arm.state) {
            Some(ArmState::Ready) => break,
            Some(ArmState::Failing { why }) => return Err(why.to_string().into()),
            _ => {}
        }
        let _ = tokio::time::timeout(Duration::from_secs(1), deployer.changed(&service)).await;
    }
    println!("{artefact} is ready");
    Ok(())
}
