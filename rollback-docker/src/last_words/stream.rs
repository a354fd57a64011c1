//! The engine's log stream: frames of eight bytes (which output, three zeros, the length in
//! big-endian order) and a piece of that output.
//!
//! Source: Docker Engine API, "Attach to a container", *Stream format*.

/// What was written to both outputs, in the engine's order. A frame that is cut off gives what is
/// there of it; bytes that are no frame are taken as they are.
pub(super) fn decoded(mut bytes: &[u8]) -> Vec<u8> {
    let mut written = Vec::with_capacity(bytes.len());
    while !bytes.is_empty() {
        let Some((&[output, 0, 0, 0, a, b, c, d], rest)) = bytes.split_first_chunk::<8>() else {
            written.extend_from_slice(bytes);
            break;
        };
        if output > 2 {
            written.extend_from_slice(bytes);
            break;
        }
        let length = u32::from_be_bytes([a, b, c, d]);
        let length = usize::try_from(length).unwrap_or(usize::MAX);
        let (piece, next) = rest.split_at_checked(length).unwrap_or((rest, &[]));
        written.extend_from_slice(piece);
        bytes = next;
    }
    written
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frames_are_put_together() {
        for (bytes, text) in [
            (&b""[..], ""),
            (b"\x01\0\0\0\0\0\0\x02a\n", "a\n"),
            (b"\x01\0\0\0\0\0\0\x02a\n\x02\0\0\0\0\0\0\x02b\n", "a\nb\n"),
            // An empty piece, and one that was cut off.
            (b"\x01\0\0\0\0\0\0\0\x02\0\0\0\0\0\0\x09b\n", "b\n"),
            // The head of a frame alone.
            (b"\x01\0\0\0\0\0\0\x02a\n\x01\0\0", "a\n\x01\0\0"),
            // A length that no answer has.
            (b"\x01\0\0\0\xff\xff\xff\xffx", "x"),
            // A terminal.
            (b"plain text\n", "plain text\n"),
            (b"short", "short"),
        ] {
            assert_eq!(decoded(bytes), text.as_bytes(), "{bytes:?}");
        }
    }
}
