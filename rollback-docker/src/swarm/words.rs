//! What instances wrote last.

use rollback_core::model::{ReleaseId, ServiceId};
use serde_json::Value;

use super::SwarmDeployer;
use crate::last_words::of_task;

/// So many instances are asked at most, and so many lines are worth another one.
const INSTANCES: usize = 3;
const LINES_EACH: usize = 10;

impl SwarmDeployer {
    /// The last lines of the newest instances of a release that ended, or else that run: of this
    /// node with how they ended, of others what Swarm fetches.
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
        tasks.truncate(INSTANCES.min(1 + lines / LINES_EACH));
        let containers: Vec<String> = tasks
            .iter()
            .filter_map(|task| task.container.clone())
            .collect();
        let said = crate::last_words(&self.engine, &containers, lines, &[]).await;
        if !said.is_empty() {
            return said;
        }
        for task in tasks {
            let container = task.spec.get("ContainerSpec").unwrap_or(&Value::Null);
            let said = of_task(&self.engine, &task.id, container, lines).await;
            if !said.is_empty() {
                return said;
            }
        }
        Vec::new()
    }
}
