//! Swarm's own rollback: from where, to where, how far.

use rollback_core::model::{PlatformRollback, PlatformRollbackState, ReleaseId};

use super::{
    arms::Placed,
    read::{ServiceSeen, UpdateState},
};

/// | `UpdateStatus.State` | own rollback |
/// |---|---|
/// | `rollback_started` | started |
/// | `rollback_completed` | completed |
/// | `rollback_paused` | paused |
/// | others | none |
pub(super) fn state(service: &ServiceSeen) -> Option<PlatformRollbackState> {
    match service.update.as_ref()?.state {
        UpdateState::RollbackStarted => Some(PlatformRollbackState::Started),
        UpdateState::RollbackCompleted => Some(PlatformRollbackState::Completed),
        UpdateState::RollbackPaused => Some(PlatformRollbackState::Paused),
        _ => None,
    }
}

/// The rollback, if what it left is still known: by Swarm's one step of memory (it forgets that
/// when it rolled back by itself), by the newest task of another release, or by what we saw wanted
/// before.
pub(super) fn rollback(
    service: &ServiceSeen,
    wanted: &ReleaseId,
    previous: Option<ReleaseId>,
    tasks: &[Placed],
    remembered: Option<&ReleaseId>,
) -> Option<PlatformRollback> {
    let state = state(service)?;
    let other = |release: &&ReleaseId| *release != wanted;
    let from = previous
        .as_ref()
        .filter(other)
        .or_else(|| {
            let mut newest = tasks.iter().map(|placed| &placed.release);
            newest.find(other)
        })
        .or_else(|| remembered.filter(other))?;
    let why = service
        .update
        .as_ref()
        .map(|update| update.message.as_str());
    Some(PlatformRollback::new(
        from.clone(),
        wanted.clone(),
        state,
        why.unwrap_or_default(),
    ))
}

#[cfg(test)]
mod tests {
    use super::{
        super::arms::tests::{id, placed, service},
        *,
    };

    #[test]
    fn what_it_left_is_found() {
        let lines = [
            "v1 1 running running 12",
            "v3 1 failed shutdown 11",
            "v2 1 failed shutdown 05",
        ];
        let lines = placed(&lines);
        let none = placed(&["v1 1 running running 12"]);
        let (v2, v9) = (id("v2"), id("v9"));
        let cases = [
            ("rollback_started", Some(&v2), &lines, None, Some("v2")),
            ("rollback_completed", None, &lines, Some(&v9), Some("v3")),
            ("rollback_paused", None, &none, Some(&v9), Some("v9")),
            ("rollback_paused", None, &none, None, None),
            ("paused", Some(&v2), &lines, None, None),
        ];
        for (update, previous, tasks, remembered, from) in cases {
            let service = service(1, update);
            let found = rollback(&service, &id("v1"), previous.cloned(), tasks, remembered);
            let found = found.map(|rollback| rollback.from.to_string());
            assert_eq!(found.as_deref(), from, "{update}");
        }
    }
}
