//! The file behind a release: is it there, may it be run, is it still the one it was.

use std::{
    fmt::Write as _,
    fs::File,
    io::{self, BufRead as _, BufReader, Read as _},
    path::{Path, PathBuf},
};

use rustix::fs::{Access, access};
use sha2::{Digest as _, Sha256};

/// Why a program cannot be run.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ProgramError {
    /// No such file.
    #[error("the program `{}` does not exist; build or install it, or correct the path", .0.display())]
    Missing(PathBuf),
    /// A bare name that `PATH` does not know.
    #[error("the program `{}` is in no folder of PATH; install it, or give its absolute path", .0.display())]
    NotInPath(PathBuf),
    /// A folder or a device.
    #[error("the program `{}` is not a file", .0.display())]
    NotAFile(PathBuf),
    /// Nobody may run it.
    #[error("the program `{}` is not executable; `chmod +x` it, or correct the path", .0.display())]
    NotExecutable(PathBuf),
    /// A script whose interpreter is missing.
    #[error("the script `{}` asks for the interpreter `{interpreter}`, which does not exist", .script.display())]
    NoInterpreter {
        /// The script.
        script: PathBuf,
        /// What its first line names.
        interpreter: String,
    },
    /// The working directory is missing.
    #[error("the working directory `{}` does not exist", .0.display())]
    NoWorkingDir(PathBuf),
    /// Somebody put another file in its place.
    #[error(
        "the program `{}` is not the file any more that this release was made from; keep each \
         release's program at a path of its own", .0.display()
    )]
    Changed(PathBuf),
    /// It could not be looked at.
    #[error("the program `{}` cannot be read", .path.display())]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
}

/// The file that `program` means.
pub(crate) fn find(program: &Path) -> Result<PathBuf, ProgramError> {
    if program.is_absolute() {
        return runnable(program).map(|()| program.to_owned());
    }
    let folders = std::env::var_os("PATH").unwrap_or_else(|| "/usr/local/bin:/usr/bin:/bin".into());
    std::env::split_paths(&folders)
        .map(|folder| folder.join(program))
        .find(|path| path.is_absolute() && runnable(path).is_ok())
        .ok_or_else(|| ProgramError::NotInPath(program.to_owned()))
}

/// Whether the program can be run, is still the one of its digest, and its folder is there.
pub(crate) fn check(
    program: &Path,
    sha256: &str,
    working_dir: Option<&Path>,
) -> Result<PathBuf, ProgramError> {
    let path = find(program)?;
    if let Some(dir) = working_dir.filter(|dir| !dir.is_dir()) {
        return Err(ProgramError::NoWorkingDir(dir.to_owned()));
    }
    if !sha256.is_empty() && self::sha256(&path)? != sha256 {
        return Err(ProgramError::Changed(path));
    }
    Ok(path)
}

/// SHA-256 of a file, in hexadecimal.
pub(crate) fn sha256(path: &Path) -> Result<String, ProgramError> {
    let unreadable = |source| ProgramError::Unreadable {
        path: path.to_owned(),
        source,
    };
    let mut file = File::open(path).map_err(unreadable)?;
    let mut hash = Sha256::new();
    let mut chunk = vec![0_u8; 64 << 10];
    loop {
        let read = file.read(&mut chunk).map_err(unreadable)?;
        match chunk.get(..read) {
            Some([]) | None => return Ok(hex(&hash.finalize())),
            Some(bytes) => hash.update(bytes),
        }
    }
}

/// SHA-256 of bytes, in hexadecimal.
pub(crate) fn sha256_of(bytes: &[u8]) -> String {
    hex(&Sha256::digest(bytes))
}

fn runnable(path: &Path) -> Result<(), ProgramError> {
    let unreadable = |source| ProgramError::Unreadable {
        path: path.to_owned(),
        source,
    };
    let meta = match path.metadata() {
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            return Err(ProgramError::Missing(path.to_owned()));
        }
        other => other.map_err(unreadable)?,
    };
    if !meta.is_file() {
        return Err(ProgramError::NotAFile(path.to_owned()));
    }
    if access(path, Access::EXEC_OK).is_err() {
        return Err(ProgramError::NotExecutable(path.to_owned()));
    }
    match interpreter(path) {
        Some(interpreter) if !Path::new(&interpreter).exists() => {
            Err(ProgramError::NoInterpreter {
                script: path.to_owned(),
                interpreter,
            })
        }
        _ => Ok(()),
    }
}

/// What the `#!` line of a script names; a file that cannot be read may still be executable.
fn interpreter(path: &Path) -> Option<String> {
    let mut line = Vec::new();
    let file = File::open(path).ok()?;
    BufReader::new(file.take(256))
        .read_until(b'\n', &mut line)
        .ok()?;
    let rest = line.strip_prefix(b"#!")?;
    let text = String::from_utf8_lossy(rest);
    text.split_whitespace().next().map(str::to_owned)
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    })
}

#[cfg(test)]
mod tests {
    use std::{fs, os::unix::fs::PermissionsExt as _};

    use super::*;

    #[test]
    fn what_cannot_run_is_told_before_it_is_tried() {
        let dir = tempfile::tempdir().unwrap();
        let file = |name: &str, text: &str, mode: u32| {
            let path = dir.path().join(name);
            fs::write(&path, text).unwrap();
            fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
            path
        };
        let plain = file("plain", "hello", 0o644);
        let orphan = file("orphan", "#!/no/such/python3 -u\n", 0o755);
        let script = file("script", "#!/bin/sh\nexit 0\n", 0o755);
        let table = [
            (dir.path().join("none"), "does not exist"),
            (dir.path().to_owned(), "not a file"),
            (plain, "chmod +x"),
            (orphan, "/no/such/python3"),
            (PathBuf::from("surely-no-such-program"), "PATH"),
        ];
        for (path, says) in table {
            let error = find(&path).unwrap_err().to_string();
            assert!(error.contains(says), "{error}");
        }
        find(&script).unwrap();
        assert!(find(Path::new("sh")).unwrap().is_absolute());
    }

    #[test]
    fn a_file_replaced_in_place_is_noticed() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("app");
        fs::write(&path, "#!/bin/sh\n: one\n").unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
        let digest = sha256(&path).unwrap();
        check(&path, &digest, None).unwrap();
        fs::write(&path, "#!/bin/sh\n: two\n").unwrap();
        let error = check(&path, &digest, None).unwrap_err();
        assert!(matches!(error, ProgramError::Changed(_)), "{error}");
        let gone = check(&path, "", Some(Path::new("/no/such/folder"))).unwrap_err();
        assert!(matches!(gone, ProgramError::NoWorkingDir(_)), "{gone}");
    }

    #[test]
    fn digest_of_the_known_text() {
        assert!(sha256_of(b"abc").starts_with("ba7816bf8f01cfea"));
    }
}
