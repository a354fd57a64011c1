//! The first release of a service: started before anybody guards it, with all the traffic.

use std::time::Duration;

use rollback_core::model::{
    ArmState, Change, ChangeError, ChangeId, ChangeRequest, DeploymentId, Expectation, IdError,
    Observation, Pace, Placement, Release, ServiceId, Share, Timestamp, Weight,
};
use rollback_core::ports::Deployer;
use tokio::time::Instant;

/// Why the first release does not serve.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum FirstReleaseError {
    /// The platform would not, or could not be asked.
    #[error("the first release could not be started: {0}")]
    Change(#[from] ChangeError),
    /// It was started, and does not serve.
    #[error("the first release does not serve: {why}. What it wrote last:\n{words}")]
    NotServing {
        /// Why, in the platform's words.
        why: String,
        /// Its last lines.
        words: String,
    },
    /// Never: a constant that is an id.
    #[error(transparent)]
    Id(#[from] IdError),
}

/// Starts the first release of a service and gives it all the traffic; returns when it serves.
/// Again is the same as once.
///
/// A deployment needs a release to return to, so there can be none of the first release: it is
/// started without a guard, and the controller that is started afterwards takes it for proven
/// (`bootstrap: trust_running`). Keep it in the release store too, unless the platform keeps
/// definitions itself: a rollback may have to start it again. `within` is the time that it may
/// take to serve.
///
/// ```no_run
/// # async fn first(deployer: impl rollback::ports::Deployer, v1: rollback::model::Release) -> Result<(), Box<dyn std::error::Error>> {
/// use std::time::Duration;
/// let shop = rollback::model::ServiceId::new("shop")?;
/// rollback::start_first_release(&deployer, &shop, &v1, Duration::from_secs(60)).await?;
/// # Ok(())
/// # }
/// ```
///
/// # Errors
/// [`FirstReleaseError`]; what was started is left as it is.
pub async fn start_first_release(
    deployer: &dyn Deployer,
    service: &ServiceId,
    release: &Release,
    within: Duration,
) -> Result<(), FirstReleaseError> {
    let deployment = DeploymentId::new("by-hand")?;
    deployer.check(service, release).await?;
    let deadline = Instant::now() + within;
    // Without weights, who serves is who runs in the service's place.
    let placement = if deployer.capabilities().weights {
        Placement::Beside
    } else {
        Placement::InPlace(Pace::AtOnce)
    };
    for step in 1.. {
        let seen = deployer.observe(service).await?;
        let given_up = match seen.arm(&release.id).map(|arm| &arm.state) {
            Some(ArmState::Failing { why }) => Some(why.to_string()),
            _ if Instant::now() >= deadline => {
                Some(format!("not ready after {} s", within.as_secs()))
            }
            _ => None,
        };
        if let Some(why) = given_up {
            let words = deployer
                .last_words(service, &release.id, 10)
                .await
                .join("\n");
            return Err(FirstReleaseError::NotServing { why, words });
        }
        match missing(&seen, release, placement) {
            Missing::Nothing => break,
            Missing::Time => {}
            Missing::Change(change) => {
                let id = ChangeId {
                    deployment: deployment.clone(),
                    step,
                    attempt: 1,
                };
                let expect = Expectation {
                    wanted: seen.wanted,
                    etag: seen.etag,
                };
                // A person at a keyboard sends now or never.
                let not_after = Timestamp::from_millis(i64::MAX);
                let request = ChangeRequest::new(id, change, expect, not_after)
                    .with_definition(Some(release.definition.clone()));
                deployer.apply(service, &request).await?;
            }
        }
        // A hint at best: the next look is what counts.
        let _ = tokio::time::timeout(Duration::from_millis(100), deployer.changed(service)).await;
    }
    Ok(())
}

/// What is missing until the release serves everybody.
enum Missing {
    Nothing,
    Time,
    Change(Change),
}

fn missing(seen: &Observation, release: &Release, placement: Placement) -> Missing {
    let id = &release.id;
    if !seen.wanted.runs(id) {
        Missing::Change(Change::Converge {
            release: id.clone(),
            placement,
        })
    } else if !seen.is_ready(id) {
        Missing::Time
    } else if seen.wanted.weight(id) != Weight::ALL {
        let shares = vec![Share {
            release: id.clone(),
            weight: Weight::ALL,
        }];
        Missing::Change(Change::Weights { shares })
    } else if seen.weight(id) != Weight::ALL {
        Missing::Time
    } else {
        Missing::Nothing
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rollback_core::model::{Definition, ReleaseId};
    use rollback_testkit::ManualClock;
    use rollback_testkit::platform::{Behaviour, InMemoryPlatform, Temper};

    fn release(name: &str) -> Release {
        Release::new(ReleaseId::new(name).unwrap(), name, Definition::default())
    }

    /// A platform that knows the service and runs an older release of it.
    fn platform(v1: Behaviour) -> InMemoryPlatform {
        let platform = InMemoryPlatform::new(Temper::Strict, ManualClock::default());
        platform.with(|model| {
            model.add_release(release("v0").id, Behaviour::good());
            model.add_release(release("v1").id, v1);
            model.start_service(&ServiceId::new("shop").unwrap(), &release("v0").id);
        });
        platform
    }

    /// Starts v1 on a platform whose time runs on.
    async fn start_v1(platform: &InMemoryPlatform) -> Result<(), FirstReleaseError> {
        let shop = ServiceId::new("shop").unwrap();
        let time_runs_on = async {
            loop {
                platform.clock().advance(Duration::from_millis(100));
                tokio::task::yield_now().await;
            }
        };
        let v1 = release("v1");
        tokio::select! {
            started = start_first_release(platform, &shop, &v1, Duration::from_secs(20)) => started,
            () = time_runs_on => Ok(()),
        }
    }

    #[tokio::test]
    async fn version_1_serves_everybody_and_again_is_the_same_as_once() {
        let platform = platform(Behaviour::good());
        let shop = ServiceId::new("shop").unwrap();
        for _ in 0..2 {
            start_v1(&platform).await.unwrap();
            let seen = platform.observe(&shop).await.unwrap();
            assert_eq!(seen.wanted.weight(&release("v1").id), Weight::ALL);
            assert_eq!(seen.weight(&release("v1").id), Weight::ALL);
            assert!(seen.is_ready(&release("v1").id));
        }
        assert_eq!(platform.with(|model| model.applied().len()), 2);
    }

    #[tokio::test]
    async fn a_platform_that_will_not_is_quoted() {
        let platform = platform(Behaviour::refused("no such image"));
        let error = start_v1(&platform).await.unwrap_err().to_string();
        assert!(error.contains("no such image"), "{error}");
    }
}
