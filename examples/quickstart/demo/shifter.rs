//! The demo's switch as the library's [`TrafficShifter`]: how a host joins a load balancer of its own.
//!
//! | of the contract | here |
//! |---|---|
//! | etag, compare-and-set | the switch's revision |
//! | tag of a change | the switch's `change` |
//! | not sent, maybe sent | no connection is *not sent*; everything after it *may have been sent* |

use std::collections::BTreeMap;
use std::net::SocketAddr;

use async_trait::async_trait;
use hyper::StatusCode;
use rollback_core::model::{
    Accepted, ChangeError, ChangeId, Etag, Instance, InstanceState, ReleaseId, ServiceId, Weight,
};
use rollback_core::ports::{Traffic, TrafficShifter};

use super::remote::SwitchHandle;
use super::routes::{Instances, Routes, SetWeights};
use super::wire::AskError;

#[async_trait]
impl TrafficShifter for SwitchHandle {
    async fn traffic(&self, _service: &ServiceId) -> Result<Traffic, ChangeError> {
        traffic(&self.routes().await.map_err(sent_or_not)?)
    }

    async fn shift(
        &self,
        _service: &ServiceId,
        id: &ChangeId,
        weights: &BTreeMap<ReleaseId, Weight>,
        expect: Option<&Etag>,
    ) -> Result<Accepted, ChangeError> {
        let points = |(release, weight): (&ReleaseId, &Weight)| {
            (release.to_string(), u32::from(weight.basis_points()))
        };
        let set = SetWeights {
            if_revision: expect.map(revision).transpose()?,
            change: Some(id.to_string()),
            weights: weights.iter().map(points).collect(),
        };
        let routes = self.set(&set).await.map_err(sent_or_not)?;
        Ok(Accepted::at(Some(etag(&routes)?)))
    }

    async fn instances(
        &self,
        _service: &ServiceId,
        instances: &BTreeMap<ReleaseId, Vec<Instance>>,
    ) -> Result<(), ChangeError> {
        let mut places = Instances::new();
        for (release, instances) in instances {
            let answering = instances.iter().filter(|instance| answers(&instance.state));
            let addresses = answering.filter_map(|instance| instance.address.as_deref());
            let parsed: Result<Vec<SocketAddr>, _> = addresses.map(str::parse).collect();
            let unusable = |error| ChangeError::refused(format!("instance of {release}: {error}"));
            places.insert(release.to_string(), parsed.map_err(unusable)?);
        }
        self.place(&places).await.map_err(sent_or_not)?;
        Ok(())
    }
}

/// A load balancer keeps sending to a target until it is known to be gone: unhealthy is not gone.
fn answers(state: &InstanceState) -> bool {
    !matches!(
        state,
        InstanceState::Exited { .. } | InstanceState::Stopping
    )
}

fn traffic(routes: &Routes) -> Result<Traffic, ChangeError> {
    let mut weights = BTreeMap::new();
    for (release, points) in &routes.weights {
        let unknown =
            |why: String| ChangeError::refused(format!("the switch sends to {release}: {why}"));
        let id = ReleaseId::new(release).map_err(|error| unknown(error.to_string()))?;
        let weight = u16::try_from(*points)
            .map_err(|error| unknown(error.to_string()))
            .and_then(|points| {
                Weight::from_basis_points(points).map_err(|error| unknown(error.to_string()))
            })?;
        weights.insert(id, weight);
    }
    let mut traffic = Traffic::new(Some(etag(routes)?), weights);
    // A change that is not ours has no id of ours.
    traffic.last_change = routes
        .change
        .clone()
        .and_then(|change| ChangeId::try_from(change).ok());
    Ok(traffic)
}

fn etag(routes: &Routes) -> Result<Etag, ChangeError> {
    Etag::new(routes.revision.to_string()).map_err(ChangeError::refused)
}

fn revision(etag: &Etag) -> Result<u64, ChangeError> {
    let not_ours = |_| ChangeError::refused(format!("`{etag}` is no revision of the switch"));
    etag.as_str().parse().map_err(not_ours)
}

fn sent_or_not(error: AskError) -> ChangeError {
    match error {
        AskError::Connect { .. } => ChangeError::not_sent(error),
        AskError::TimedOut { .. } | AskError::Broken { .. } => ChangeError::maybe_sent(error),
        AskError::Unusable {
            status: StatusCode::CONFLICT,
            ..
        } => ChangeError::Conflict { now: None },
        AskError::Unusable { status, .. } if status.is_success() => ChangeError::maybe_sent(error),
        AskError::Unusable { .. } => ChangeError::refused(error),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::demo::switch::{self, SwitchArgs};
    use crate::demo::wire;
    use rollback_core::model::{DeploymentId, InstanceId, Timestamp};

    fn release(text: &str) -> ReleaseId {
        ReleaseId::new(text).unwrap()
    }

    fn change(step: u32) -> ChangeId {
        ChangeId {
            deployment: DeploymentId::new("d1-0").unwrap(),
            step,
            attempt: 1,
        }
    }

    fn all_to(text: &str) -> BTreeMap<ReleaseId, Weight> {
        BTreeMap::from([(release(text), Weight::ALL)])
    }

    fn instance(address: &str, state: InstanceState) -> Instance {
        Instance::new(InstanceId::new("i1").unwrap(), Timestamp::default(), state).at(address)
    }

    async fn free() -> SocketAddr {
        wire::listen(SocketAddr::from(([127, 0, 0, 1], 0)))
            .await
            .unwrap()
            .local_addr()
            .unwrap()
    }

    /// A running switch.
    async fn running() -> SwitchHandle {
        let control = free().await;
        let args = SwitchArgs {
            listen: SocketAddr::from(([127, 0, 0, 1], 0)),
            control,
            upstream_timeout_ms: 500,
            lifetime_s: 30,
        };
        tokio::spawn(switch::run(args, std::future::pending()));
        let handle = SwitchHandle::new(control);
        let up = async {
            while handle.routes().await.is_err() {
                tokio::task::yield_now().await;
            }
        };
        tokio::time::timeout(std::time::Duration::from_secs(10), up)
            .await
            .unwrap();
        handle
    }

    #[tokio::test]
    async fn a_shift_is_seen_with_its_tag_and_fenced_by_the_revision() {
        let switch = running().await;
        let shop = ServiceId::new("shop").unwrap();
        let before = switch.traffic(&shop).await.unwrap();
        assert_eq!((before.weights.len(), before.last_change), (0, None));
        let accepted = switch
            .shift(&shop, &change(1), &all_to("v1"), before.etag.as_ref())
            .await
            .unwrap();
        let after = switch.traffic(&shop).await.unwrap();
        assert_eq!(after.weights, all_to("v1"));
        assert_eq!(
            (after.etag, after.last_change),
            (accepted.etag, Some(change(1)))
        );
        let late = switch
            .shift(&shop, &change(2), &all_to("v2"), before.etag.as_ref())
            .await;
        assert_eq!(late, Err(ChangeError::Conflict { now: None }));
        assert_eq!(switch.traffic(&shop).await.unwrap().weights, all_to("v1"));
    }

    #[tokio::test]
    async fn instances_move_without_moving_the_fence_and_dead_ones_are_left_out() {
        let switch = running().await;
        let shop = ServiceId::new("shop").unwrap();
        let exited = InstanceState::Exited {
            how: "exit status 70".into(),
        };
        let instances = BTreeMap::from([(
            release("v1"),
            vec![
                instance("127.0.0.1:1", InstanceState::Ready),
                instance("127.0.0.1:2", InstanceState::Unhealthy),
                instance("127.0.0.1:3", exited),
                instance("127.0.0.1:4", InstanceState::Stopping),
            ],
        )]);
        let before = switch.traffic(&shop).await.unwrap().etag;
        for _ in 0..2 {
            switch.instances(&shop, &instances).await.unwrap();
        }
        assert_eq!(switch.traffic(&shop).await.unwrap().etag, before);
        let placed = switch.routes().await.unwrap().instances;
        let ports: Vec<_> = placed["v1"].iter().map(SocketAddr::port).collect();
        assert_eq!(ports, [1, 2]);
        let nonsense =
            BTreeMap::from([(release("v1"), vec![instance("here", InstanceState::Ready)])]);
        let refused = switch.instances(&shop, &nonsense).await;
        assert!(
            matches!(refused, Err(ChangeError::Refused { .. })),
            "{refused:?}"
        );
    }

    #[tokio::test]
    async fn a_switch_that_is_not_there_was_sent_nothing() {
        let gone = SwitchHandle::new(free().await);
        let shop = ServiceId::new("shop").unwrap();
        let sent = gone.shift(&shop, &change(1), &all_to("v1"), None).await;
        assert!(matches!(sent, Err(ChangeError::NotSent { .. })), "{sent:?}");
        // Connected, and no answer ever: it may have been taken.
        let listener = wire::listen(SocketAddr::from(([127, 0, 0, 1], 0)))
            .await
            .unwrap();
        let silent = SwitchHandle::new(listener.local_addr().unwrap());
        let sent = silent.shift(&shop, &change(1), &all_to("v1"), None).await;
        assert!(
            matches!(sent, Err(ChangeError::MaybeSent { .. })),
            "{sent:?}"
        );
    }
}
