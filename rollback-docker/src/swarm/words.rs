//! What instances wrote last, and hints that something happened.

use bollard::query_parameters::LogsOptionsBuilder;
use futures_util::StreamExt;
use rollback_core::model::{ReleaseId, ServiceId};

use super::SwarmDeployer;

/// So many instances are asked at most.
const INSTANCES: usize = 3;

impl SwarmDeployer {
    /// The last lines of the newest instances of a release that ended, or else that run.
    pub(super) async fn words(
        &self,
        service: &ServiceId,
        release: &ReleaseId,
        lines: usize,
    ) -> Vec<String> {
        let Ok(look) = self.look(service).await else {
            return Vec::new();
        };
        let of_release = look
            .tasks
            .iter()
            .filter(|placed| placed.release == *release);
        let mut tasks: Vec<_> = of_release
            .map(|placed| &placed.task)
            .filter(|task| task.container.is_some())
            .collect();
        tasks.sort_by_key(|task| !task.has_ended());
        let mut said = Vec::new();
        for task in tasks.into_iter().take(INSTANCES) {
            let Some(mut own) = self.log(&task.id, lines).await else {
                continue;
            };
            own.append(&mut said);
            said = own;
            if said.len() >= lines {
                break;
            }
        }
        let from = said.len().saturating_sub(lines);
        said.split_off(from)
    }

    async fn log(&self, task: &str, lines: usize) -> Option<Vec<String>> {
        let streams = self.engine.streams().await.ok()?;
        let options = LogsOptionsBuilder::new()
            .stdout(true)
            .stderr(true)
            .tail(&lines.to_string())
            .build();
        let mut log = streams.task_logs(task, Some(options));
        let mut text = String::new();
        while let Some(Ok(part)) = log.next().await {
            text.push_str(&String::from_utf8_lossy(&part.into_bytes()));
        }
        Some(text.lines().map(str::to_owned).collect())
    }

    pub(super) async fn listen(&self, service: &ServiceId) {
        // Events of health checks are left out: there is one every few moments.
        let kinds = [
            "update", "create", "remove", "die", "start", "oom", "destroy",
        ];
        let label = format!("com.docker.swarm.service.name={service}");
        let of_service = [
            ("type", &["service"][..]),
            ("service", &[service.as_str()][..]),
            ("event", &kinds[..]),
        ];
        let of_containers = [
            ("type", &["container"][..]),
            ("label", &[label.as_str()][..]),
            ("event", &kinds[..]),
        ];
        let heard = tokio::select! {
            heard = self.engine.happened(&of_service) => heard,
            heard = self.engine.happened(&of_containers) => heard,
        };
        if heard.is_err() {
            // No hint: looking from time to time goes on.
            std::future::pending::<()>().await;
        }
    }
}
