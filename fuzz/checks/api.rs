//! Whatever answers in place of a Prometheus: a number, or an error that can be shown and kept.

pub fn check(bytes: &[u8]) {
    rollback_sources::fuzzing::api(bytes);
}
