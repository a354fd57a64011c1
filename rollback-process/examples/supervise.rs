//! Supervises a program: `supervise STATE_DIR SERVICE RELEASE_NAME PROGRAM [ARG…]`.
//!
//! It tells what it sees, a line per change. Kill it in any way: the program goes on, and the next
//! `supervise` with the same state directory takes it over.
//!
//! ```text
//! cargo build -p rollback-process --examples
//! target/debug/examples/supervise /tmp/state hello v1 $PWD/target/debug/examples/hello
//! ```

use std::{error::Error, time::Duration};

use rollback_core::{
    model::{
        Change, ChangeError, ChangeId, ChangeRequest, DeploymentId, Expectation, Pace, Placement,
        ServiceId, Timestamp,
    },
    ports::Deployer as _,
};
use rollback_process::{HealthCheck, PortPlan, ProcessDefinition, ProcessDeployer};

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let mut args = std::env::args().skip(1);
    let mut next = |name: &str| args.next().ok_or_else(|| format!("{name} is missing"));
    let (state, service) = (next("STATE_DIR")?, ServiceId::new(next("SERVICE")?)?);
    let (name, program) = (next("RELEASE_NAME")?, next("PROGRAM")?);
    let definition = ProcessDefinition::new(program)
        .args(args)
        .env("RELEASE_NAME", &name)
        .port(PortPlan::Any)
        .health(HealthCheck::alive(Duration::from_millis(100)));
    let release = definition.release(&name)?;

    let deployer = ProcessDeployer::open(state)?;
    let mut attempt = 1;
    loop {
        let seen = deployer.observe(&service).await?;
        if seen.wanted.runs(&release.id) {
            break;
        }
        let id = ChangeId {
            deployment: DeploymentId::new("by-hand")?,
            step: 1,
            attempt,
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
        match deployer.apply(&service, &request).await {
            Ok(_) | Err(ChangeError::Conflict { .. }) => attempt += 1,
            Err(error) => return Err(error.into()),
        }
    }
    let mut before = None;
    loop {
        let seen = deployer.observe(&service).await?;
        if before.as_ref() != Some(&seen.arms) {
            for arm in seen.arms.iter() {
                println!("{} {:?}", arm.release, arm.state);
                for instance in arm.instances.iter() {
                    let address = instance.address.as_deref().unwrap_or("no port");
                    println!("  {} {address} {:?}", instance.id, instance.state);
                }
            }
            before = Some(seen.arms);
        }
        let _ = tokio::time::timeout(Duration::from_secs(1), deployer.changed(&service)).await;
    }
}
