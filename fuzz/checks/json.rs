//! Whatever a health endpoint answers: a value, or an error that can be shown and kept.

pub fn check(bytes: &[u8]) {
    rollback_sources::fuzzing::json(bytes);
}
