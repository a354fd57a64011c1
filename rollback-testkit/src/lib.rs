//! Placeholder, replaced by its first room.
