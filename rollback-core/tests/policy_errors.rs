//! Bad policies, one file each: the text, a line of `=`, and what a person is told. `UPDATE=1` writes
//! the second part anew, to be reviewed as a diff.
#![cfg(feature = "yaml")]

use std::{fs, path::Path};

use rollback_core::policy::Policy;

const LINE: &str = "\n==========\n";

#[test]
fn every_bad_policy_is_refused_with_place_and_fix() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/policy_errors");
    let mut files: Vec<_> = fs::read_dir(&folder)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .collect();
    files.sort();
    assert!(files.len() >= 55, "{} files", files.len());
    let mut wrong = Vec::new();
    for file in files {
        let name = file.file_name().unwrap().to_string_lossy().into_owned();
        let whole = fs::read_to_string(&file).unwrap();
        let (text, expected) = whole.split_once(LINE).unwrap_or((&whole, ""));
        let read = if name.ends_with(".json.txt") {
            Policy::from_json(text)
        } else {
            Policy::from_yaml(text)
        };
        let Err(error) = read else {
            wrong.push(format!("{name}: accepted"));
            continue;
        };
        assert!(!error.fix().is_empty(), "{name}: no fix: {error}");
        let found = format!("{error}\n");
        if found == expected {
            continue;
        }
        if std::env::var_os("UPDATE").is_some() {
            fs::write(&file, format!("{text}{LINE}{found}")).unwrap();
        } else {
            wrong.push(format!("{name}: expected\n{expected}\nfound\n{found}"));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}
