//! The names of our servers in HAProxy, which say everything about them: `rb:RELEASE:INSTANCE`.
//!
//! HAProxy takes letters, digits and `-_.:` in names. Everything else in an id, and the `_` and
//! `:` that we need ourselves, becomes `_` and two hexadecimal digits.

use rollback_core::model::{InstanceId, ReleaseId};

const SERVER: &str = "rb:";

/// The name of the server of one instance.
pub(crate) fn of_server(release: &ReleaseId, instance: &InstanceId) -> String {
    let (release, instance) = (escaped(release.as_str()), escaped(instance.as_str()));
    format!("{SERVER}{release}:{instance}")
}

/// Whose server it is; none if the name is not one of ours.
pub(crate) fn server(name: &str) -> Option<(ReleaseId, InstanceId)> {
    let (release, instance) = name.strip_prefix(SERVER)?.split_once(':')?;
    let release = ReleaseId::new(unescaped(release)?).ok()?;
    let instance = InstanceId::new(unescaped(instance)?).ok()?;
    Some((release, instance))
}

/// The id in the letters that HAProxy takes.
pub(crate) fn escaped(id: &str) -> String {
    let mut text = String::with_capacity(id.len());
    for byte in id.bytes() {
        if byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'.' {
            text.push(char::from(byte));
        } else {
            text.push_str(&format!("_{byte:02x}"));
        }
    }
    text
}

/// The id again; none if that was not written by [`escaped`].
pub(crate) fn unescaped(text: &str) -> Option<String> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text;
    while let Some((before, after)) = rest.split_once('_') {
        bytes.extend_from_slice(before.as_bytes());
        bytes.push(u8::from_str_radix(after.get(..2)?, 16).ok()?);
        rest = after.get(2..)?;
    }
    bytes.extend_from_slice(rest.as_bytes());
    String::from_utf8(bytes).ok()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn every_id_survives_being_a_name(release in "[!-~]{1,60}", instance in "[!-~]{1,60}") {
            let release = ReleaseId::new(release).unwrap();
            let instance = InstanceId::new(instance).unwrap();
            let name = of_server(&release, &instance);
            prop_assert!(name.bytes().all(|b| b.is_ascii_alphanumeric() || b"-_.:".contains(&b)));
            prop_assert_eq!(server(&name), Some((release, instance)));
        }
    }

    #[test]
    fn names_that_are_not_ours_are_nobodys() {
        for name in [
            "web1",
            "rb:v1",
            "rb::i",
            "rb:v1:",
            "rb:_zz:i",
            "rb:v_2:i",
            "rb-mark:1:1",
        ] {
            assert_eq!(server(name), None, "{name}");
        }
        let plain = ReleaseId::new("sha256:0a").unwrap();
        let name = of_server(&plain, &InstanceId::new("checkout-1").unwrap());
        assert_eq!(name, "rb:sha256_3a0a:checkout-1");
    }
}
