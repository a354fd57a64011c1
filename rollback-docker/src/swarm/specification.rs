//! The next specification of a service: the one that was seen, to the last unknown key, but for
//! the task template, what its pace borrows, and our labels.

use rollback_core::model::{ChangeId, ReleaseId, Timestamp};
use serde_json::{Map, Value, json};

use super::{
    pace::{self, LENT_LABEL},
    read::ServiceSeen,
};

/// The service label with the tag of our last change.
pub(super) const CHANGE_LABEL: &str = "io.rollback.change";
/// The service label with the release that our last change was for: the other labels count only
/// while the template is still that release.
pub(super) const RELEASE_LABEL: &str = "io.rollback.release";
/// The service label with the time when our last update began, in milliseconds.
pub(super) const BEGAN_LABEL: &str = "io.rollback.began";

/// The specification that moves the service to a release.
pub(super) fn next(
    service: &ServiceSeen,
    release: &ReleaseId,
    change: &ChangeId,
    mut template: Value,
    force: u64,
    settings: &Value,
) -> Value {
    let own = own_settings(service);
    if let Some(template) = template.as_object_mut() {
        template.insert("ForceUpdate".to_owned(), json!(force));
    }
    let mut spec = service.spec.clone();
    set(&mut spec, "TaskTemplate", template);
    set(&mut spec, "UpdateConfig", settings.clone());
    with_labels(&mut spec, |labels| {
        labels.remove(BEGAN_LABEL);
        labels.insert(CHANGE_LABEL.to_owned(), json!(change.to_string()));
        labels.insert(RELEASE_LABEL.to_owned(), json!(release.to_string()));
        labels.insert(LENT_LABEL.to_owned(), json!(pace::lent(&own, settings)));
    });
    spec
}

/// The specification that gives back what the last update borrowed; none if nothing was.
pub(super) fn given_back(service: &ServiceSeen, began: Timestamp) -> Option<Value> {
    service.label(LENT_LABEL)?;
    let own = own_settings(service);
    let mut spec = service.spec.clone();
    if own.is_null() {
        spec.as_object_mut()?.remove("UpdateConfig");
    } else {
        set(&mut spec, "UpdateConfig", own);
    }
    with_labels(&mut spec, |labels| {
        labels.remove(LENT_LABEL);
        labels.insert(BEGAN_LABEL.to_owned(), json!(began.as_millis().to_string()));
    });
    Some(spec)
}

/// Swarm neither pauses nor rolls back if an instance of the update fails.
pub(super) fn goes_on_whatever_fails(service: &ServiceSeen) -> bool {
    let action = service.spec.pointer("/UpdateConfig/FailureAction");
    action.and_then(Value::as_str) == Some("continue")
}

/// The update settings that the user gave.
pub(super) fn own_settings(service: &ServiceSeen) -> Value {
    let current = service.spec.get("UpdateConfig").unwrap_or(&Value::Null);
    pace::own(current, service.label(LENT_LABEL))
}

fn set(spec: &mut Value, key: &str, value: Value) {
    if let Some(spec) = spec.as_object_mut() {
        spec.insert(key.to_owned(), value);
    }
}

fn with_labels(spec: &mut Value, edit: impl FnOnce(&mut Map<String, Value>)) {
    let labels = spec.get("Labels").and_then(Value::as_object);
    let mut labels = labels.cloned().unwrap_or_default();
    edit(&mut labels);
    set(spec, "Labels", Value::Object(labels));
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seen(spec: Value) -> ServiceSeen {
        ServiceSeen::of(&json!({"ID": "s", "Version": {"Index": 1}, "Spec": spec})).unwrap()
    }

    #[test]
    fn only_what_must_change_is_changed_and_all_is_given_back() {
        let users = json!({
            "Name": "shop", "Labels": {"team": "x"}, "Tomorrow": {"New": [1, 2]},
            "TaskTemplate": {"ContainerSpec": {"Image": "shop:2"}, "ForceUpdate": 4},
            "Mode": {"Replicated": {"Replicas": 3}}, "RollbackConfig": {"Order": "stop-first"},
            "UpdateConfig": {"Parallelism": 2, "FailureAction": "rollback"},
        });
        let (release, change) = (
            ReleaseId::new("shop:1-ab").unwrap(),
            ChangeId::try_from("d1.s2.a1".to_owned()).unwrap(),
        );
        let template = json!({"ContainerSpec": {"Image": "shop:1", "Tomorrow": 7}});
        let settings =
            json!({"Parallelism": 0, "FailureAction": "continue", "Order": "start-first"});
        let next = next(
            &seen(users.clone()),
            &release,
            &change,
            template,
            4,
            &settings,
        );
        let mut rest = next.clone();
        let labels = rest["Labels"].as_object_mut().unwrap();
        assert_eq!(labels.remove(CHANGE_LABEL), Some(json!("d1.s2.a1")));
        assert_eq!(labels.remove(RELEASE_LABEL), Some(json!("shop:1-ab")));
        assert!(labels.remove(LENT_LABEL).is_some());
        assert_eq!(
            rest["TaskTemplate"],
            json!({"ContainerSpec": {"Image": "shop:1", "Tomorrow": 7}, "ForceUpdate": 4})
        );
        assert_eq!(rest["UpdateConfig"], settings);
        for key in ["TaskTemplate", "UpdateConfig"] {
            rest[key] = users[key].clone();
        }
        assert_eq!(rest, users);

        let began = Timestamp::from_millis(5);
        let back = given_back(&seen(next), began).unwrap();
        assert_eq!(back["UpdateConfig"], users["UpdateConfig"]);
        assert_eq!(back["Labels"][BEGAN_LABEL], "5");
        assert_eq!(back["Labels"].get(LENT_LABEL), None);
        assert!(given_back(&seen(back), began).is_none(), "once");
    }

    #[test]
    fn settings_that_nobody_gave_are_gone_again() {
        let (release, change) = (
            ReleaseId::new("shop:1-ab").unwrap(),
            ChangeId::try_from("d1.s2.a1".to_owned()).unwrap(),
        );
        let settings = json!({"Parallelism": 0});
        let next = next(&seen(json!({})), &release, &change, json!({}), 0, &settings);
        let back = given_back(&seen(next), Timestamp::default()).unwrap();
        assert_eq!(back.get("UpdateConfig"), None);
    }
}
