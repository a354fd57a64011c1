//! Whether a release could be run: its image, and everything that its template names.

use std::time::Duration;

use hyper::Method;
use rollback_core::model::{ChangeError, Release, ServiceId};
use serde_json::Value;

use super::{
    SwarmDeployer,
    read::text,
    release::{SwarmDefinition, content_in_name},
};
use crate::client::Body;

/// So long a registry may take to answer, through the engine.
const REGISTRY: Duration = Duration::from_secs(10);

/// What a template names, where, and how it is asked for.
const NAMED: [(&str, &str, &str, &str); 3] = [
    ("network", "/Networks", "/Target", "/networks/"),
    ("secret", "/ContainerSpec/Secrets", "/SecretID", "/secrets/"),
    ("config", "/ContainerSpec/Configs", "/ConfigID", "/configs/"),
];

impl SwarmDeployer {
    pub(super) async fn is_there(
        &self,
        service: &ServiceId,
        release: &Release,
    ) -> Result<(), ChangeError> {
        let look = self.look(service).await?;
        let definition = if *release.definition.value() != Value::Null {
            SwarmDefinition::from_release(&release.id, &release.definition)?
        } else if release.id == look.release {
            look.definition
        } else {
            self.kept(service, &release.id).await?.ok_or_else(|| {
                ChangeError::refused(format_args!(
                    "the definition of {} is not kept: it was never seen, or the store lost it",
                    release.id
                ))
            })?
        };
        self.image_is_there(&definition).await?;
        for (kind, list, id, path) in NAMED {
            let named = definition.template().pointer(list);
            let named = named.and_then(Value::as_array).into_iter().flatten();
            for id in named.filter_map(|one| text(one, id)) {
                let found = self.engine.get(&format!("{path}{id}"), &[]).await;
                if let Err(error) = found {
                    return Err(if error.is_not_found() {
                        ChangeError::refused(format_args!(
                            "{} needs the {kind} `{id}`, which is gone",
                            release.id
                        ))
                    } else {
                        error.of_look()
                    });
                }
            }
        }
        Ok(())
    }

    async fn image_is_there(&self, definition: &SwarmDefinition) -> Result<(), ChangeError> {
        let (name, content) = (definition.image(), definition.content());
        let here = self.content_now(name).await?;
        if here.is_some() && (content_in_name(name).is_some() || here.as_deref() == Some(content)) {
            return Ok(());
        }
        if content.starts_with("sha256:") {
            // Built here and never pushed: by its id, if at all.
            if self.content_now(content).await?.is_some() {
                return Ok(());
            }
            return Err(ChangeError::refused(format_args!(
                "the image {content} that {} stood for is gone; build or load it again",
                definition.name()
            )));
        }
        let fetched = if name.contains('@') {
            name.to_owned()
        } else {
            format!("{name}{content}")
        };
        self.digest(&fetched).await.map(drop)
    }

    /// An image by its content: what it is on this engine, else its digest in its registry.
    pub(super) async fn resolve(&self, image: &str) -> Result<(String, String), ChangeError> {
        if let Some(content) = content_in_name(image) {
            return Ok((image.to_owned(), content.to_owned()));
        }
        if let Some(content) = self.content_now(image).await? {
            return Ok((image.to_owned(), content));
        }
        let digest = self.digest(image).await?;
        Ok((format!("{image}@{digest}"), format!("@{digest}")))
    }

    /// The digest that a registry has for an image.
    async fn digest(&self, image: &str) -> Result<String, ChangeError> {
        let path = format!("/distribution/{image}/json");
        let engine = self.engine.clone().timeout(REGISTRY);
        let login = engine
            .login(image)
            .await
            .map_err(crate::EngineError::of_look)?;
        let found = engine
            .send_for(Method::GET, &path, &[], Body::Nothing, login)
            .await
            .and_then(|answered| answered.document(&path));
        let found = found.map_err(|error| match error {
            crate::EngineError::NotSent { .. } => error.of_look(),
            said => ChangeError::refused(format_args!(
                "the image {image} is not on this engine, and its registry does not give it: {said}"
            )),
        })?;
        let digest = text(&found, "/Descriptor/digest").map(str::to_owned);
        digest.ok_or_else(|| {
            ChangeError::refused(format_args!("the registry tells no digest of {image}"))
        })
    }
}
