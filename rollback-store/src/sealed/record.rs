//! The form of a sealed record.
//!
//! ```text
//! RLBKSEAL  version  name of the key  nonce  ciphertext and tag
//! 8 bytes   1        8                12     the rest
//! ```
//!
//! The tag is over all of it, and over the service and the release that it is of: a record that was
//! changed, or put in the place of another, does not open. A plain record is JSON, which begins
//! otherwise.

use aes_gcm::{
    Nonce,
    aead::{Aead as _, Generate as _, Payload, consts::U12},
};

use super::keys::{Key, KeyName, Plain, SealingKeys};

const MAGIC: &[u8; 8] = b"RLBKSEAL";
const VERSION: u8 = 1;
const NAME_AT: usize = MAGIC.len() + 1;
const NONCE_AT: usize = NAME_AT + 8;
const TEXT_AT: usize = NONCE_AT + 12;

/// Where a record belongs.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Place<'a> {
    pub(crate) service: &'a str,
    pub(crate) release: &'a str,
}

/// How a record is kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Form {
    Plain,
    /// Under the key that seals now.
    Sealed,
    /// Under an older key that is still there.
    SealedBefore,
    /// Under a key that is not there.
    KeyMissing,
}

/// How the record is kept, as far as it says.
pub(crate) fn form(keys: Option<&SealingKeys>, body: &[u8]) -> Form {
    if !body.starts_with(MAGIC) {
        return Form::Plain;
    }
    let Some(name) = name_of(body) else {
        return Form::KeyMissing;
    };
    let first = keys.and_then(SealingKeys::first);
    if first.is_some_and(|key| key.name == name) {
        Form::Sealed
    } else if keys.is_some_and(|keys| keys.named(name).is_some()) {
        Form::SealedBefore
    } else {
        Form::KeyMissing
    }
}

/// Seals a text under the first key.
///
/// # Errors
/// Why not.
pub(crate) fn seal(keys: &SealingKeys, place: Place<'_>, text: &[u8]) -> Result<Vec<u8>, String> {
    let key = keys.first().ok_or("there is no sealing key")?;
    // Random: no two of the few records that a key ever seals meet in 96 bits.
    let nonce = Nonce::<U12>::try_generate()
        .map_err(|error| format!("the system gave no random number to seal with: {error}"))?;
    let mut record = Vec::with_capacity(TEXT_AT + text.len() + 16);
    record.extend_from_slice(MAGIC);
    record.push(VERSION);
    record.extend_from_slice(&key.name.0);
    record.extend_from_slice(&nonce);
    let payload = Payload {
        msg: text,
        aad: &bound(&record, place),
    };
    let sealed = key
        .cipher
        .encrypt(&nonce, payload)
        .map_err(|_| "it is too long to be sealed".to_owned())?;
    record.extend_from_slice(&sealed);
    Ok(record)
}

/// The text of a record, sealed or plain.
///
/// # Errors
/// Why it does not open: what is wrong with it, and what to do.
pub(crate) fn open(
    keys: Option<&SealingKeys>,
    place: Place<'_>,
    record: Vec<u8>,
) -> Result<Vec<u8>, String> {
    if !record.starts_with(MAGIC) {
        return match keys.map(SealingKeys::plain) {
            Some(Plain::Refused) => Err(
                "is not sealed, and only sealed ones are to be read; somebody may have put it \
                 there. Deploy the release again, from where its definition comes"
                    .to_owned(),
            ),
            _ => Ok(record),
        };
    }
    match record.get(MAGIC.len()) {
        Some(&VERSION) => {}
        Some(version) => {
            return Err(format!(
                "is sealed in form {version}, and this version of the library knows {VERSION}; run \
                 the newer version that sealed it"
            ));
        }
        None => return Err(changed(None)),
    }
    let name = name_of(&record).ok_or_else(|| changed(None))?;
    let Some(keys) = keys else {
        return Err(format!(
            "is sealed under key {name}, and the journal was opened without keys; give it that key"
        ));
    };
    let Some(key) = keys.named(name) else {
        let names: Vec<String> = keys.names().collect();
        return Err(format!(
            "is sealed under key {name}, which is not among those that were given ({}); give that \
             key too, after the one that seals now",
            names.join(", ")
        ));
    };
    decrypt(key, place, &record).ok_or_else(|| changed(Some(name)))
}

fn decrypt(key: &Key, place: Place<'_>, record: &[u8]) -> Option<Vec<u8>> {
    let (head, text) = record.split_at_checked(TEXT_AT)?;
    let nonce: [u8; 12] = head.get(NONCE_AT..)?.try_into().ok()?;
    let payload = Payload {
        msg: text,
        aad: &bound(head, place),
    };
    key.cipher.decrypt(&nonce.into(), payload).ok()
}

fn name_of(record: &[u8]) -> Option<KeyName> {
    let name = record.get(NAME_AT..NONCE_AT)?;
    Some(KeyName(name.try_into().ok()?))
}

/// What the tag is over beside the text: lengths keep the parts apart.
fn bound(head: &[u8], place: Place<'_>) -> Vec<u8> {
    let mut bound = Vec::new();
    for part in [head, place.service.as_bytes(), place.release.as_bytes()] {
        bound.extend_from_slice(&(part.len() as u64).to_le_bytes());
        bound.extend_from_slice(part);
    }
    bound
}

fn changed(name: Option<KeyName>) -> String {
    let under = name.map_or_else(String::new, |name| format!(" under its key {name}"));
    format!(
        "does not open{under}: it was changed, or put there in the place of another. Find out who \
         writes to the file, and deploy the release again from where its definition comes"
    )
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "this is test code")]
mod tests {
    use rollback_core::model::Secret;

    use super::*;

    const TEXT: &[u8] = br#"{"id":"v1","definition":{"env":{"TOKEN":"hunter2"}}}"#;
    const HERE: Place<'_> = Place {
        service: "shop",
        release: "v1",
    };

    fn keys(bytes: &[&str]) -> SealingKeys {
        let lines: Vec<String> = bytes.iter().map(|byte| byte.repeat(32)).collect();
        SealingKeys::from_text(&Secret::new(lines.join("\n"))).unwrap()
    }

    #[test]
    fn what_was_sealed_opens_and_shows_nothing() {
        let keys = keys(&["0a"]);
        let record = seal(&keys, HERE, TEXT).unwrap();
        assert_eq!(form(Some(&keys), &record), Form::Sealed);
        for length in 4..=TEXT.len() {
            let part = &TEXT[TEXT.len() - length..];
            assert!(!record.windows(length).any(|window| window == part));
        }
        assert_ne!(record, seal(&keys, HERE, TEXT).unwrap(), "the nonce is new");
        assert_eq!(open(Some(&keys), HERE, record).unwrap(), TEXT);
    }

    /// Whatever is done to a record, it is never opened as something else.
    #[test]
    fn no_changed_record_opens() {
        let keys = keys(&["0a", "0b"]);
        let record = seal(&keys, HERE, TEXT).unwrap();
        for at in 0..record.len() {
            for bit in 0..8 {
                let mut changed = record.clone();
                changed[at] ^= 1 << bit;
                match open(Some(&keys), HERE, changed.clone()) {
                    // Not a sealed record any more, and no JSON either.
                    Ok(text) => assert!(at < MAGIC.len() && text == changed, "byte {at}"),
                    Err(why) => assert!(!why.contains("hunter2"), "{why}"),
                }
            }
        }
        for length in MAGIC.len()..record.len() {
            assert!(open(Some(&keys), HERE, record[..length].to_vec()).is_err());
        }
        let mut longer = record;
        longer.push(0);
        assert!(open(Some(&keys), HERE, longer).is_err());
    }

    #[test]
    fn a_record_opens_in_its_own_place_only() {
        let keys = keys(&["0a"]);
        let record = seal(&keys, HERE, TEXT).unwrap();
        for (service, release) in [
            ("shop", "v2"),
            ("cart", "v1"),
            ("shopv", "1"),
            ("sho", "pv1"),
        ] {
            let why = open(Some(&keys), Place { service, release }, record.clone()).unwrap_err();
            assert!(why.contains("in the place of another"), "{why}");
        }
    }

    #[test]
    fn the_key_that_is_missing_is_named() {
        let (old, new) = (keys(&["0a"]), keys(&["0b"]));
        let both = keys(&["0b", "0a"]);
        let record = seal(&old, HERE, TEXT).unwrap();
        let name = old.names().next().unwrap();
        for given in [None, Some(&new)] {
            assert_eq!(form(given, &record), Form::KeyMissing);
            let why = open(given, HERE, record.clone()).unwrap_err();
            assert!(why.contains(&format!("under key {name}")), "{why}");
        }
        assert_eq!(form(Some(&both), &record), Form::SealedBefore);
        assert_eq!(open(Some(&both), HERE, record).unwrap(), TEXT);
        let record = seal(&both, HERE, TEXT).unwrap();
        assert_eq!(form(Some(&new), &record), Form::Sealed);
    }

    #[test]
    fn a_plain_record_is_read_unless_only_sealed_ones_are() {
        let keys = keys(&["0a"]);
        let plain = || TEXT.to_vec();
        assert_eq!(form(Some(&keys), TEXT), Form::Plain);
        assert_eq!(open(None, HERE, plain()).unwrap(), TEXT);
        assert_eq!(open(Some(&keys), HERE, plain()).unwrap(), TEXT);
        let why = open(Some(&keys.refuse_plain()), HERE, plain()).unwrap_err();
        assert!(why.contains("not sealed"), "{why}");
    }
}
