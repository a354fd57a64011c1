//! Whatever an instance answers at `/metrics`: numbers or an error.

pub fn check(bytes: &[u8]) {
    if let Ok(text) = std::str::from_utf8(bytes) {
        rollback_sources::fuzzing::exposition(text);
    }
}
