//! Policies from files.

use std::path::{Path, PathBuf};

use rollback_core::policy::{Policy, PolicyError};

/// `Policy::from_yaml_file`.
pub trait PolicyFile: Sized {
    /// Reads a policy from a YAML file.
    ///
    /// # Errors
    /// [`PolicyFileError`] names the file, and the place in it with the fix.
    fn from_yaml_file(path: impl AsRef<Path>) -> Result<Self, PolicyFileError>;
}

impl PolicyFile for Policy {
    fn from_yaml_file(path: impl AsRef<Path>) -> Result<Self, PolicyFileError> {
        let path = path.as_ref();
        let text = std::fs::read_to_string(path).map_err(|why| PolicyFileError::Unreadable {
            path: path.to_owned(),
            why,
        })?;
        Self::from_yaml(&text).map_err(|why| PolicyFileError::Invalid {
            path: path.to_owned(),
            why,
        })
    }
}

/// Why a policy file could not be used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum PolicyFileError {
    /// It could not be read.
    #[error("policy {}: {why}; check the path and its permissions", path.display())]
    Unreadable {
        /// Which file.
        path: PathBuf,
        /// What happened.
        why: std::io::Error,
    },
    /// It is not a valid policy.
    #[error("policy {}: {why}", path.display())]
    Invalid {
        /// Which file.
        path: PathBuf,
        /// Where, what and how to fix it.
        why: PolicyError,
    },
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mistake_is_named_with_file_and_place() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("rollback.yml");
        let missing = Policy::from_yaml_file(&path).unwrap_err().to_string();
        assert!(missing.contains("rollback.yml: "), "{missing}");
        std::fs::write(&path, "bake: 10m\nbakes: 5m\n").unwrap();
        let wrong = Policy::from_yaml_file(&path).unwrap_err().to_string();
        assert!(wrong.contains("rollback.yml: "), "{wrong}");
        assert!(wrong.contains("bakes"), "{wrong}");
    }
}
