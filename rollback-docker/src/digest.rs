//! Digests of definitions: the same on every machine, whatever the order of keys.

use std::fmt::Write as _;

use hmac::{Hmac, KeyInit as _, Mac as _};
use rollback_core::model::Secret;
use serde_json::Value;
use sha2::{Digest as _, Sha256};

/// JSON with sorted keys and without blanks.
pub(crate) fn canonical(value: &Value) -> String {
    let mut text = String::new();
    write_canonical(&mut text, value);
    text
}

fn write_canonical(text: &mut String, value: &Value) {
    let comma = |text: &mut String, n: usize| {
        if n > 0 {
            text.push(',');
        }
    };
    match value {
        Value::Object(map) => {
            let mut keys: Vec<(&String, &Value)> = map.iter().collect();
            keys.sort_by_key(|(key, _)| *key);
            text.push('{');
            for (n, (key, value)) in keys.into_iter().enumerate() {
                comma(text, n);
                let _ = write!(text, "{}:", Value::String(key.clone()));
                write_canonical(text, value);
            }
            text.push('}');
        }
        Value::Array(list) => {
            text.push('[');
            for (n, value) in list.iter().enumerate() {
                comma(text, n);
                write_canonical(text, value);
            }
            text.push(']');
        }
        // Writing to a string cannot fail.
        plain => {
            let _ = write!(text, "{plain}");
        }
    }
}

/// The first hexadecimal digits of SHA-256, or of HMAC-SHA-256 (RFC 2104) with a key.
pub(crate) fn digest(
    bytes: impl AsRef<[u8]>,
    key: Option<&Secret<Vec<u8>>>,
    digits: usize,
) -> String {
    let whole = match key {
        Some(key) => {
            #[allow(
                clippy::expect_used,
                reason = "RFC 2104 pads a short key and digests a long one"
            )]
            let keyed = Hmac::<Sha256>::new_from_slice(key.expose()).expect("a key of any length");
            keyed.chain_update(bytes).finalize().into_bytes()
        }
        None => Sha256::digest(bytes),
    };
    let mut text: String = whole.iter().map(|byte| format!("{byte:02x}")).collect();
    text.truncate(digits);
    text
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn keys_are_sorted_and_order_of_lists_counts() {
        let one: Value =
            serde_json::from_str(r#"{ "b": [1, {"d":null,"c":"x\""}], "a": 1.5 }"#).unwrap();
        assert_eq!(canonical(&one), r#"{"a":1.5,"b":[1,{"c":"x\"","d":null}]}"#);
        assert_ne!(canonical(&json!([1, 2])), canonical(&json!([2, 1])));
    }

    /// RFC 4231, test cases 2 and 6.
    #[test]
    fn the_keyed_digest_is_hmac_sha_256() {
        for (key, text, expected) in [
            (
                b"Jefe".to_vec(),
                "what do ya want for nothing?",
                "5bdcc146bf60754e6a042426",
            ),
            (
                vec![0xaa; 131],
                "Test Using Larger Than Block-Size Key - Hash Key First",
                "60e431591ee0b67f0d8a26aa",
            ),
        ] {
            assert_eq!(digest(text, Some(&Secret::new(key)), 24), expected);
        }
    }
}
