//! Definitions that are kept sealed: no secret in any file of the journal, nothing that was changed
//! or moved is ever read as a definition, keys can be changed.
#![allow(clippy::unwrap_used, clippy::panic, reason = "this is test code")]

mod support;

use std::{fs, path::Path, sync::Arc};

use rollback_core::{
    model::{Definition, Release, ReleaseId, Secret},
    ports::{Journal as _, ReleaseStore},
};
use rollback_store::{SealingKeyError, SealingKeys, SqliteJournal, salvage, verify};
use serde_json::json;
use support::service;

const TOKEN: &str = "hunter2-and-more-of-it";

fn keys(bytes: &[&str]) -> SealingKeys {
    let lines: Vec<String> = bytes.iter().map(|byte| byte.repeat(32)).collect();
    SealingKeys::from_text(&Secret::new(lines.join("\n"))).unwrap()
}

fn release(name: &str) -> Release {
    let definition = json!({ "image": name, "env": { "TOKEN": format!("{TOKEN}-{name}") } });
    let id = ReleaseId::new(name).unwrap();
    Release::new(id, name, Definition::new(definition))
}

fn open(path: &Path, bytes: &[&str]) -> SqliteJournal {
    SqliteJournal::open(path).unwrap().sealed(keys(bytes))
}

/// All files of the journal hold the token so often.
fn shown(path: &Path) -> usize {
    let files = fs::read_dir(path.parent().unwrap()).unwrap();
    let files = files.map(|file| fs::read(file.unwrap().path()).unwrap());
    files
        .map(|bytes| {
            let windows = bytes.windows(TOKEN.len());
            windows.filter(|window| *window == TOKEN.as_bytes()).count()
        })
        .sum()
}

/// Changes a kept body behind the journal's back, with a checksum that fits.
fn put_behind(path: &Path, release: &str, body: &[u8]) {
    let mut crc = crc32fast::Hasher::new();
    for part in [b"shop".as_slice(), release.as_bytes(), body] {
        crc.update(part);
        crc.update(&[0xff]);
    }
    let connection = rusqlite::Connection::open(path).unwrap();
    connection
        .execute(
            "INSERT OR REPLACE INTO definition VALUES ('shop', ?1, ?2, ?3)",
            (release, crc.finalize(), body),
        )
        .unwrap();
}

fn body(path: &Path, release: &str) -> Vec<u8> {
    let connection = rusqlite::Connection::open(path).unwrap();
    let sql = "SELECT body FROM definition WHERE release = ?1";
    connection
        .query_row(sql, [release], |row| row.get(0))
        .unwrap()
}

async fn get(journal: &SqliteJournal, name: &str) -> Result<Release, String> {
    let id = ReleaseId::new(name).unwrap();
    match journal.get(&service("shop"), &id).await {
        Ok(Some(found)) => Ok(found),
        Ok(None) => panic!("`{name}` is not there"),
        Err(error) => {
            assert!(!error.why.contains("hunter2"), "{error}");
            Err(error.why)
        }
    }
}

async fn put(journal: &SqliteJournal, name: &str) {
    journal.put(&service("shop"), &release(name)).await.unwrap();
}

#[tokio::test]
async fn no_file_of_the_journal_holds_the_secret() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("rollback.db");
    let journal = open(&path, &["0a"]);
    let store = Arc::new(journal.clone()).release_store().unwrap();
    store.put(&service("shop"), &release("v1")).await.unwrap();
    assert_eq!(shown(&path), 0, "while it is open");
    assert_eq!(get(&journal, "v1").await.unwrap(), release("v1"));
    assert!(!format!("{journal:?}").contains("0a0a"));
    drop((store, journal));
    assert_eq!(shown(&path), 0, "after it was closed");
    let journal = open(&path, &["0a"]);
    assert_eq!(get(&journal, "v1").await.unwrap(), release("v1"));
}

#[tokio::test]
async fn what_was_kept_plain_is_read_and_sealed_when_it_is_put_again() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("rollback.db");
    let journal = SqliteJournal::open(&path).unwrap();
    put(&journal, "v1").await;
    put(&journal, "v2").await;
    assert!(shown(&path) > 0);
    let sealing = journal.clone().sealed(keys(&["0a"]));
    assert_eq!(get(&sealing, "v1").await.unwrap(), release("v1"));
    put(&sealing, "v1").await;
    put(&sealing, "v2").await;
    assert_eq!(shown(&path), 0, "neither the log nor a free page keeps it");
    assert_eq!(get(&sealing, "v1").await.unwrap(), release("v1"));

    let why = get(&journal, "v1").await.unwrap_err();
    assert!(why.contains("opened without keys"), "{why}");
    let refused = journal.put(&service("shop"), &release("v1")).await;
    assert!(refused.unwrap_err().why.contains("opened without keys"));

    put(&journal, "v3").await;
    let strict = journal.clone().sealed(keys(&["0a"]).refuse_plain());
    let why = get(&strict, "v3").await.unwrap_err();
    assert!(why.contains("not sealed"), "{why}");
    put(&strict, "v3").await;
    assert_eq!(get(&strict, "v3").await.unwrap(), release("v3"));
}

#[tokio::test]
async fn keys_change_one_after_the_other() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("rollback.db");
    put(&open(&path, &["0a"]), "v1").await;
    let first = body(&path, "v1");

    let wrong = open(&path, &["0b"]);
    let why = get(&wrong, "v1").await.unwrap_err();
    let name = keys(&["0a"]).names().next().unwrap();
    assert!(why.contains(&format!("under key {name}")), "{why}");
    let refused = wrong.put(&service("shop"), &release("v1")).await;
    assert!(refused.unwrap_err().why.contains(&name));
    assert_eq!(body(&path, "v1"), first, "a wrong key replaces nothing");
    drop(wrong);

    let both = open(&path, &["0b", "0a"]);
    assert_eq!(get(&both, "v1").await.unwrap(), release("v1"));
    put(&both, "v1").await;
    put(&both, "v2").await;
    let sealed = body(&path, "v1");
    put(&both, "v1").await;
    assert_eq!(body(&path, "v1"), sealed, "the same again is nothing new");
    drop(both);

    let new = open(&path, &["0b"]);
    for name in ["v1", "v2"] {
        assert_eq!(get(&new, name).await.unwrap(), release(name));
    }
}

#[tokio::test]
async fn a_changed_or_exchanged_record_is_never_a_definition() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("rollback.db");
    let journal = open(&path, &["0a"]);
    put(&journal, "v1").await;
    put(&journal, "v2").await;
    let (one, other) = (body(&path, "v1"), body(&path, "v2"));
    for at in 0..one.len() {
        let mut changed = one.clone();
        changed[at] ^= 0x20;
        put_behind(&path, "v1", &changed);
        let why = get(&journal, "v1").await.unwrap_err();
        assert!(why.contains("release `v1` of `shop`"), "{why}");
    }
    put_behind(&path, "v1", &other);
    let why = get(&journal, "v1").await.unwrap_err();
    assert!(why.contains("in the place of another"), "{why}");

    let plain = serde_json::to_vec(&release("v2")).unwrap();
    put_behind(&path, "v1", &plain);
    let why = get(&journal, "v1").await.unwrap_err();
    assert!(why.contains("that of `v2`"), "{why}");

    put(&journal, "v1").await;
    assert_eq!(get(&journal, "v1").await.unwrap(), release("v1"), "healed");
}

#[tokio::test]
async fn a_salvaged_copy_is_as_sealed_as_the_journal() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("rollback.db");
    put(&open(&path, &["0a"]), "v1").await;
    assert!(verify(&path).unwrap().is_intact());
    let copy = directory.path().join("copy.db");
    salvage(&path, &copy).unwrap();
    assert_eq!(shown(&copy), 0);
    let journal = open(&copy, &["0a"]);
    assert_eq!(get(&journal, "v1").await.unwrap(), release("v1"));
}

/// Whoever lost the key is told so, and gets no other one that opens nothing.
#[tokio::test]
async fn a_key_is_made_once_and_never_in_the_place_of_one_that_is_gone() {
    let directory = tempfile::tempdir().unwrap();
    let (path, key) = (directory.path().join("db"), directory.path().join("key"));
    let opened = || SqliteJournal::open(&path).unwrap();
    // A journal that holds nothing sealed has no use for an older key.
    put(&opened(), "plain").await;
    let keys = SealingKeys::of_journal(&path, &key).unwrap();
    let name = keys.names().next().unwrap();
    put(&opened().sealed(keys), "v1").await;
    let again = SealingKeys::of_journal(&path, &key).unwrap();
    assert_eq!(again.names().next(), Some(name));
    assert_eq!(get(&opened().sealed(again), "v1").await, Ok(release("v1")));

    let kept = key.with_extension("kept");
    fs::rename(&key, &kept).unwrap();
    let gone = SealingKeys::of_journal(&path, &key).unwrap_err();
    assert!(matches!(gone, SealingKeyError::Gone { .. }), "{gone}");
    assert!(!key.exists());
    let back = SealingKeys::of_journal(&path, &kept).unwrap();
    assert_eq!(get(&opened().sealed(back), "v1").await, Ok(release("v1")));
}
