//! Which files, and what is in them.

use std::{
    fs, io,
    path::{Path, PathBuf},
};

/// The files that were named, and those of the folders that were named, by name.
pub(crate) fn of(paths: &[PathBuf]) -> Result<Vec<PathBuf>, String> {
    let mut files = Vec::new();
    for path in paths {
        let unreadable = |why: io::Error| format!("{}: {why}; check the path", path.display());
        if !fs::metadata(path).map_err(unreadable)?.is_dir() {
            files.push(path.clone());
            continue;
        }
        let mut inside = Vec::new();
        for entry in fs::read_dir(path).map_err(unreadable)? {
            let file = entry.map_err(unreadable)?.path();
            if file
                .extension()
                .is_some_and(|end| end.eq_ignore_ascii_case("csv"))
            {
                inside.push(file);
            }
        }
        if inside.is_empty() {
            return Err(format!(
                "{}: no *.csv in this folder; name one that has some",
                path.display()
            ));
        }
        inside.sort();
        files.append(&mut inside);
    }
    Ok(files)
}

/// The text of a file.
pub(crate) fn text(path: &Path) -> Result<String, String> {
    let unreadable = |why: io::Error| format!("{}: {why}", path.display());
    let bytes = fs::read(path).map_err(unreadable)?;
    String::from_utf8(bytes).map_err(|_| format!("{}: not UTF-8; save it as UTF-8", path.display()))
}
