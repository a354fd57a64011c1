//! What things are called on the engine: names that two controllers cannot both give, and labels.

use rollback_core::model::{ReleaseId, ServiceId};

use crate::digest::digest;

/// Which service an object of ours belongs to.
pub(crate) const SERVICE: &str = "io.rollback.service";
/// What kind of object it is: [`INSTANCE`], [`RECORD`] or [`DEFINITION`].
pub(crate) const KIND: &str = "io.rollback.kind";
/// The release of an instance or of a definition.
pub(crate) const RELEASE: &str = "io.rollback.release";
/// The place of an instance among those of its release, from 0.
pub(crate) const INDEX: &str = "io.rollback.index";
/// The change that made an object.
pub(crate) const CHANGE: &str = "io.rollback.change";
/// The revision of a record; of an instance: the one that it was made for.
pub(crate) const REVISION: &str = "io.rollback.revision";
/// What a record says.
pub(crate) const STATE: &str = "io.rollback.state";
/// The container id of the record that a record follows.
pub(crate) const FOLLOWS: &str = "io.rollback.follows";
/// Every label of ours begins like this.
pub(crate) const OURS: &str = "io.rollback.";

pub(crate) const INSTANCE: &str = "instance";
pub(crate) const RECORD: &str = "record";
pub(crate) const DEFINITION: &str = "definition";

/// The longest text that is taken into a name as it is.
const LONGEST: usize = 40;

/// `rollback.SERVICE.rN`: the engine gives a name once, so making revision N is a compare-and-set.
pub(crate) fn record(service: &ServiceId, revision: u64) -> String {
    format!("rollback.{}.r{revision}", part(service.as_str()))
}

/// `rollback.SERVICE.RELEASE`: keeps the definition and its image.
pub(crate) fn definition(service: &ServiceId, release: &ReleaseId) -> String {
    let (service, release) = (part(service.as_str()), part(release.as_str()));
    format!("rollback.{service}.release-{release}")
}

/// `rollback.SERVICE.RELEASE.INDEX`: no instance can be made twice.
pub(crate) fn instance(service: &ServiceId, release: &ReleaseId, index: u32) -> String {
    let (service, release) = (part(service.as_str()), part(release.as_str()));
    format!("rollback.{service}.{release}.{index}")
}

/// A text as a part of a name: different texts give different parts, and no part has a dot.
fn part(text: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '_';
    if text.len() <= LONGEST && text.chars().all(plain) && !has_digest(text) {
        return text.to_owned();
    }
    let legible: String = text
        .chars()
        .take(LONGEST)
        .map(|c| if plain(c) { c } else { '-' })
        .collect();
    format!("{legible}_{}", digest(text, None, 12))
}

/// Whether a text ends as the parts end that stand for other texts.
fn has_digest(text: &str) -> bool {
    text.rsplit_once('_').is_some_and(|(_, end)| {
        end.len() == 12 && end.chars().all(|c| matches!(c, '0'..='9' | 'a'..='f'))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn different_services_and_releases_never_share_a_name() {
        let mut names = Vec::new();
        for service in ["shop", "shop.r1", "shop/web", "shop-web", "shop web"] {
            let Ok(service) = ServiceId::new(service) else {
                continue;
            };
            for release in ["1", "r1", "1.0", "release-1", "ü"] {
                let release = ReleaseId::new(release).unwrap();
                names.push(record(&service, 1));
                names.push(definition(&service, &release));
                names.extend((0..2).map(|index| instance(&service, &release, index)));
            }
        }
        names.sort();
        let records = names.iter().filter(|name| name.ends_with(".r1")).count();
        names.dedup();
        // Four services have one record each, and 15 other names.
        assert_eq!((names.len(), records), (4 + 4 * 15, 20));
    }

    #[test]
    fn names_are_as_the_engine_allows_them() {
        let long = "x".repeat(150);
        for text in ["a", "Shop/Check out:1@x".trim(), &long, "dé"] {
            let part = part(text);
            let allowed = |c: char| c.is_ascii_alphanumeric() || "_-".contains(c);
            assert!(part.chars().all(allowed) && part.len() < 60, "{part}");
        }
        let forged = part("a/b");
        assert_ne!(part(&forged), forged, "a text that looks like a digest's");
    }
}
