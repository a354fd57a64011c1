//! Notices: to stderr, and to a webhook as JSON.

use std::time::Duration;

use async_trait::async_trait;
use rollback::{
    model::{ChannelId, IdError, Notice, NoticeKey, ServiceId},
    ports::{Delivered, Notifier, NotifyError},
};
use serde_json::json;

const PATIENCE: Duration = Duration::from_secs(5);

/// A line for each notice, and its body below it.
#[derive(Debug)]
pub(crate) struct ToStderr {
    channel: ChannelId,
}

impl ToStderr {
    pub(crate) fn new() -> Result<Self, IdError> {
        let channel = ChannelId::new("stderr")?;
        Ok(Self { channel })
    }
}

#[async_trait]
impl Notifier for ToStderr {
    fn channel(&self) -> ChannelId {
        self.channel.clone()
    }

    async fn send(&self, _: &NoticeKey, notice: &Notice) -> Result<Delivered, NotifyError> {
        warn!("{} {}", notice.at, notice.subject);
        for line in notice.body.lines() {
            warn!("    {line}");
        }
        Ok(Delivered::new(None))
    }
}

/// A POST for each notice; whoever is told twice sees it by the key.
#[derive(Debug)]
pub(crate) struct Webhook {
    channel: ChannelId,
    service: ServiceId,
    url: String,
    client: reqwest::Client,
}

impl Webhook {
    pub(crate) fn new(service: &ServiceId, url: &str) -> crate::Fallible<Self> {
        Ok(Self {
            channel: ChannelId::new("webhook")?,
            service: service.clone(),
            url: url.to_owned(),
            client: reqwest::Client::builder().timeout(PATIENCE).build()?,
        })
    }
}

#[async_trait]
impl Notifier for Webhook {
    fn channel(&self) -> ChannelId {
        self.channel.clone()
    }

    async fn send(&self, key: &NoticeKey, notice: &Notice) -> Result<Delivered, NotifyError> {
        let told = json!({
            "key": key.to_string(),
            "at": notice.at.to_string(),
            "severity": notice.severity,
            "service": self.service,
            "deployment": notice.deployment,
            "subject": notice.subject,
            "body": notice.body,
        });
        let post = self
            .client
            .post(&self.url)
            .header("content-type", "application/json")
            .body(told.to_string());
        // The address may hold a secret: it is not told.
        let answer = post.send().await.map_err(|error| NotifyError::Temporary {
            why: error.without_url().to_string(),
            retry_after_ms: None,
        })?;
        let status = answer.status();
        if status.is_success() {
            return Ok(Delivered::new(None));
        }
        let why = format!("the webhook answers {status}");
        let again = status.is_server_error() || matches!(status.as_u16(), 408 | 429);
        Err(if again {
            NotifyError::Temporary {
                why,
                retry_after_ms: None,
            }
        } else {
            NotifyError::Permanent { why }
        })
    }
}
