//! What the fuzzer in `fuzz/` starts from and has found, once more on every run.
#![cfg(feature = "yaml")]
#![allow(
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::unwrap_used,
    unreachable_pub,
    reason = "the checks say by a panic what is wrong, here as under the fuzzer"
)]

use std::{fs, path::Path};

#[path = "../../fuzz/checks/condition.rs"]
mod condition;
#[path = "../../fuzz/checks/dialect.rs"]
mod dialect;
#[path = "../../fuzz/checks/entry.rs"]
mod entry;
#[path = "../../fuzz/checks/policy.rs"]
mod policy;

fn each(corpus: &str, check: impl Fn(&[u8])) {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../fuzz/corpus")
        .join(corpus);
    let mut files = 0;
    for file in fs::read_dir(&folder).unwrap() {
        let path = file.unwrap().path();
        // The name of the file stands in the output of a test that fails.
        println!("{}", path.display());
        check(&fs::read(path).unwrap());
        files += 1;
    }
    assert!(files >= 5, "{files} files in {}", folder.display());
}

#[test]
fn policies() {
    each("policy", policy::check);
}

#[test]
fn conditions() {
    each("condition", condition::check);
}

#[test]
fn dialects() {
    each("dialect", dialect::check);
}

#[test]
fn entries() {
    let whole = std::cell::Cell::new(0);
    each("entry", |bytes| {
        entry::check(bytes);
        let mut lines = bytes
            .split(|byte| *byte == b'\n')
            .filter(|line| !line.is_empty());
        let is_read =
            |line: &[u8]| serde_json::from_slice::<rollback_core::entry::Entry>(line).is_ok();
        whole.set(whole.get() + usize::from(lines.all(is_read)));
    });
    // What the fuzzer found may be broken; the journals that it starts from are not.
    assert!(
        whole.get() >= 15,
        "only {} journals are still read: UPDATE_CORPUS=1 cargo test -p rollback-core --test stories",
        whole.get()
    );
}
