//! What an engine has, so that it can be seen what is left of a story.

use std::collections::BTreeMap;

use rollback_docker::Engine;
use serde_json::Value;

use crate::exit::Fallible;

/// Containers, images, networks and volumes by their ids, each with all that is told of it.
#[derive(Debug)]
pub(crate) struct Inventory(BTreeMap<String, String>);

const LISTS: [(&str, &str, &str); 4] = [
    ("container", "/containers/json", "Id"),
    ("image", "/images/json", "Id"),
    ("network", "/networks", "Id"),
    ("volume", "/volumes", "Name"),
];

impl Inventory {
    pub(crate) async fn of(engine: &Engine) -> Fallible<Self> {
        let mut all = BTreeMap::new();
        for (kind, path, key) in LISTS {
            let every = [("all", "true")];
            let with_all = matches!(kind, "container" | "image");
            let found = engine
                .get(path, if with_all { &every } else { &[] })
                .await?;
            let list = found.get("Volumes").unwrap_or(&found);
            for one in list.as_array().into_iter().flatten() {
                let id = one.get(key).and_then(Value::as_str).unwrap_or_default();
                all.insert(format!("{kind} {id}"), one.to_string());
            }
        }
        Ok(Self(all))
    }

    /// What is there now, was not before, and carries the story's name. What others made meanwhile
    /// is theirs.
    pub(crate) fn made_since(&self, before: &Self, name: &str) -> Vec<String> {
        let new = self.0.iter().filter(|(id, _)| !before.0.contains_key(*id));
        let ours = new.filter(|(_, told)| told.contains(name));
        ours.map(|(id, _)| id.clone()).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_is_new_and_ours_was_left_behind() {
        let of = |all: &[(&str, &str)]| {
            let pairs = all
                .iter()
                .map(|(id, told)| ((*id).to_owned(), (*told).to_owned()));
            Inventory(pairs.collect())
        };
        let before = of(&[("container 1", "demo-7")]);
        let after = of(&[
            ("container 1", "demo-7"),
            ("image 2", "demo-7:v1"),
            ("volume 3", "theirs"),
        ]);
        assert_eq!(after.made_since(&before, "demo-7"), ["image 2"]);
    }
}
