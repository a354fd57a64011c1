//! A change as one update of the service.

use hyper::Method;
use rollback_core::model::{
    Accepted, ArmState, Change, ChangeError, ChangeRequest, Placement, PlatformRollbackState,
    ReleaseId, Secret, ServiceId, Weight,
};
use serde_json::Value;

use super::{
    SwarmDeployer,
    look::Look,
    pace::{self, Manner},
    platform,
    read::ServiceSeen,
    release::{SwarmDefinition, content_in_name},
    specification::{next, own_settings},
};
use crate::{EngineError, client::Body};

impl SwarmDeployer {
    pub(super) async fn change(
        &self,
        service: &ServiceId,
        request: &ChangeRequest,
    ) -> Result<Accepted, ChangeError> {
        let look = self.look(service).await?;
        if look.seen.last_change.as_ref() == Some(&request.id) {
            return Ok(Accepted::at(look.seen.etag));
        }
        let moved = request.expect.etag.as_ref();
        let moved = moved.is_some_and(|etag| !look.unchanged_since(etag));
        if moved || look.seen.wanted != request.expect.wanted {
            return Err(conflict(look));
        }
        let (release, placement) = match &request.change {
            Change::Converge { release, placement } => (release, *placement),
            Change::Retire { release } if look.seen.wanted.runs(release) => {
                return Err(ChangeError::refused(format_args!(
                    "{release} is what the service wants; converge to another release first"
                )));
            }
            Change::Retire { .. } => return Ok(Accepted::at(look.seen.etag)),
            Change::Weights { shares }
                if shares.iter().all(|share| {
                    look.seen.wanted.weight(&share.release) == share.weight
                        || share.weight == Weight::NONE
                }) =>
            {
                return Ok(Accepted::at(look.seen.etag));
            }
            other => {
                return Err(ChangeError::unsupported(format_args!(
                    "{}: a Swarm service has one template, and its instances share the traffic \
                     evenly; use `rolling` or `recreate`",
                    other.word()
                )));
            }
        };
        let Placement::InPlace(pace) = placement else {
            return Err(ChangeError::unsupported(
                "a Swarm service runs one release; use `rolling` or `recreate`, or a second \
                 service behind a traffic shifter",
            ));
        };
        if rolls_back_itself(&look) {
            return Err(conflict(look));
        }
        let definition = self.definition(service, release, request, &look).await?;
        let settings = pace::settings(
            &own_settings(&look.service),
            Manner {
                pace,
                rolls_back: request.rolls_back,
                node_ports: look.service.has_node_ports(),
                native_rollback: self.native_rollback,
            },
        )?;
        let name = definition.image();
        let now = match content_in_name(name) {
            Some(content) => Some(content.to_owned()),
            None => self.content_now(name).await?,
        };
        let template = definition.to_send(now.as_deref());
        let force = force(&look, release);
        let spec = next(
            &look.service,
            release,
            &request.id,
            template,
            force,
            &settings,
        );
        let login = self.login_for(name, request.rolls_back).await;
        match self.send(&look.service, &spec, login).await {
            Ok(()) => Ok(Accepted::default()),
            Err(error) if is_out_of_sequence(&error) => Err(match self.look(service).await {
                Ok(look) => conflict(look),
                Err(_) => ChangeError::Conflict { now: None },
            }),
            Err(error) => Err(error.of_change()),
        }
    }

    /// A login for the registry of an image; without one the service keeps the one that it has.
    /// Going back waits for nobody who may have it.
    async fn login_for(&self, image: &str, rolls_back: bool) -> Option<Secret<String>> {
        if rolls_back {
            return self.engine.login_at_hand(image);
        }
        let login = self.engine.login(image).await;
        login.unwrap_or_else(|error| {
            tracing::warn!(%error, "sent without a login for the image's registry");
            None
        })
    }

    /// Sends a whole specification, for the version that was seen.
    pub(super) async fn send(
        &self,
        seen: &ServiceSeen,
        spec: &Value,
        login: Option<Secret<String>>,
    ) -> Result<(), EngineError> {
        let path = format!("/services/{}/update", seen.id);
        let version = seen.version.to_string();
        let query = [("version", version.as_str()), ("registryAuthFrom", "spec")];
        let body = Body::Json(spec);
        let sent = self
            .engine
            .send_for(Method::POST, &path, &query, body, login);
        sent.await.map(drop)
    }

    /// The definition that came with the request, or that we kept.
    async fn definition(
        &self,
        service: &ServiceId,
        release: &ReleaseId,
        request: &ChangeRequest,
        look: &Look,
    ) -> Result<SwarmDefinition, ChangeError> {
        if let Some(definition) = &request.definition {
            return SwarmDefinition::from_release(release, definition);
        }
        if *release == look.release {
            return Ok(look.definition.clone());
        }
        self.kept(service, release).await?.ok_or_else(|| {
            ChangeError::refused(format_args!(
                "nothing is known of {release}: neither did its definition come with the change, \
                 nor is it kept; hand the controller's release store to the deployer"
            ))
        })
    }

    pub(super) async fn kept(
        &self,
        service: &ServiceId,
        release: &ReleaseId,
    ) -> Result<Option<SwarmDefinition>, ChangeError> {
        let found = self.releases().get(service, release).await;
        let found = found.map_err(ChangeError::not_sent)?;
        found
            .map(|kept| SwarmDefinition::from_release(release, &kept.definition))
            .transpose()
    }
}

/// Swarm is rolling back, and may get there: two hands on one service would undo each other's work.
fn rolls_back_itself(look: &Look) -> bool {
    let gives_up = || {
        let arm = look.seen.arm(&look.release);
        arm.is_some_and(|arm| matches!(arm.state, ArmState::Failing { .. }))
    };
    platform::state(&look.service) == Some(PlatformRollbackState::Started) && !gives_up()
}

/// Tasks of the same template are left alone, if the number that starts everything anew is theirs.
fn force(look: &Look, release: &ReleaseId) -> u64 {
    let number = |template: &Value| template.get("ForceUpdate").and_then(Value::as_u64);
    let mut running = look
        .tasks
        .iter()
        .filter(|placed| placed.release == *release && placed.task.state == "running");
    let running = running.find(|placed| !placed.task.is_leaving());
    running
        .and_then(|placed| number(&placed.task.spec))
        .or_else(|| number(look.service.template()))
        .unwrap_or_default()
}

fn conflict(look: Look) -> ChangeError {
    ChangeError::Conflict {
        now: Some(Box::new(look.seen)),
    }
}

/// Somebody else was faster. Engines answer it with different statuses.
fn is_out_of_sequence(error: &EngineError) -> bool {
    matches!(error, EngineError::Answer { message, .. } if message.contains("out of sequence"))
}
