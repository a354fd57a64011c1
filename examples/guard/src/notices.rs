//! Who is told: a command of the person's, or a file of JSON lines.

use std::{
    fs::File,
    io::Write,
    path::{Path, PathBuf},
    process::Stdio,
    time::Duration,
};

use async_trait::async_trait;
use clap::Args;
use rollback::{
    ControllerBuilder,
    model::{ChannelId, Notice, NoticeKey, ServiceId},
    ports::{Delivered, Notifier, NotifyError},
};
use serde::{Deserialize, Serialize};
use serde_json::json;
use tokio::{io::AsyncWriteExt, process::Command, time::timeout};

use crate::exit::{Fallible, Trouble};

/// How long a command may take before the notice is tried again.
const PATIENCE: Duration = Duration::from_secs(8);

/// Who is told of what happens.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize, Args)]
#[serde(default)]
pub(crate) struct Told {
    /// Tell by a command, for `sh -c`: a notice in JSON on its stdin, NOTICE_SUBJECT, NOTICE_BODY,
    /// NOTICE_SEVERITY (info, warning, page) in its environment
    #[arg(long, value_name = "COMMAND", env = "NOTIFY_COMMAND")]
    notify_command: Option<String>,
    /// Append every notice to a file, as a line of JSON
    #[arg(long, value_name = "FILE", env = "NOTIFY_FILE")]
    notify_file: Option<PathBuf>,
}

impl Told {
    /// Paths as they are from anywhere.
    pub(crate) fn within(mut self, directory: &Path) -> Self {
        self.notify_file = self.notify_file.map(|file| directory.join(file));
        self
    }

    /// Hands them to a controller that is to be.
    pub(crate) fn give(
        &self,
        builder: ControllerBuilder,
        service: &ServiceId,
        directory: &Path,
    ) -> Fallible<ControllerBuilder> {
        let channel = |name: &str| ChannelId::new(name).map_err(Trouble::broke);
        let mut builder = builder;
        if let Some(command) = &self.notify_command {
            builder = builder.notifier(ByCommand {
                channel: channel("command")?,
                service: service.clone(),
                command: command.clone(),
                directory: directory.to_owned(),
            });
        }
        if let Some(path) = &self.notify_file {
            builder = builder.notifier(ToFile {
                channel: channel("file")?,
                service: service.clone(),
                path: path.clone(),
            });
        }
        Ok(builder)
    }
}

#[derive(Debug)]
struct ByCommand {
    channel: ChannelId,
    service: ServiceId,
    command: String,
    directory: PathBuf,
}

#[derive(Debug)]
struct ToFile {
    channel: ChannelId,
    service: ServiceId,
    path: PathBuf,
}

/// A notice as a line of JSON. Whoever is told twice sees it by the key.
fn line(service: &ServiceId, key: &NoticeKey, notice: &Notice) -> String {
    let told = json!({
        "key": key.to_string(),
        "at": notice.at.to_string(),
        "severity": notice.severity,
        "service": service,
        "deployment": notice.deployment,
        "subject": notice.subject,
        "body": notice.body,
    });
    format!("{told}\n")
}

fn again(why: impl std::fmt::Display) -> NotifyError {
    NotifyError::Temporary {
        why: why.to_string(),
        retry_after_ms: None,
    }
}

#[async_trait]
impl Notifier for ByCommand {
    fn channel(&self) -> ChannelId {
        self.channel.clone()
    }

    async fn send(&self, key: &NoticeKey, notice: &Notice) -> Result<Delivered, NotifyError> {
        let severity = json!(notice.severity);
        let told = async {
            let mut child = Command::new("sh")
                .args(["-c", &self.command])
                .current_dir(&self.directory)
                .env("NOTICE_SUBJECT", &notice.subject)
                .env("NOTICE_BODY", &notice.body)
                .env("NOTICE_SEVERITY", severity.as_str().unwrap_or_default())
                .env("SERVICE", self.service.as_str())
                .stdin(Stdio::piped())
                .stdout(Stdio::null())
                .stderr(Stdio::piped())
                .kill_on_drop(true)
                .spawn()?;
            if let Some(mut stdin) = child.stdin.take() {
                let text = line(&self.service, key, notice);
                // Who reads nothing may be content with the environment.
                let _ = stdin.write_all(text.as_bytes()).await;
            }
            child.wait_with_output().await
        };
        let ended = timeout(PATIENCE, told)
            .await
            .map_err(|_| again("the command did not end within 8s"))?
            .map_err(again)?;
        if ended.status.success() {
            return Ok(Delivered::new(None));
        }
        let said = String::from_utf8_lossy(&ended.stderr);
        let said: String = said.lines().last().unwrap_or_default().chars().collect();
        let why = format!("the command ended with {}: {said}", ended.status);
        Err(match ended.status.code() {
            // There is no such command.
            Some(126 | 127) => NotifyError::Permanent { why },
            _ => again(why),
        })
    }
}

#[async_trait]
impl Notifier for ToFile {
    fn channel(&self) -> ChannelId {
        self.channel.clone()
    }

    async fn send(&self, key: &NoticeKey, notice: &Notice) -> Result<Delivered, NotifyError> {
        let text = line(&self.service, key, notice);
        // One short line: no other thread has to wait for it.
        File::options()
            .create(true)
            .append(true)
            .open(&self.path)
            .and_then(|mut file| file.write_all(text.as_bytes()))
            .map_err(|why| again(format!("{}: {why}", self.path.display())))?;
        Ok(Delivered::new(None))
    }
}
