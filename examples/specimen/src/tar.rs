//! A tar archive of a few files in memory (POSIX ustar, IEEE Std 1003.1, `pax`).

/// Files by name, content and mode. Names of up to 100 bytes.
pub(crate) fn archive(files: &[(&str, &[u8], u32)]) -> Vec<u8> {
    let mut out = Vec::new();
    for (name, content, mode) in files {
        out.extend_from_slice(&header(name, content.len(), *mode));
        out.extend_from_slice(content);
        out.resize(out.len().next_multiple_of(512), 0);
    }
    out.resize(out.len() + 1024, 0);
    out
}

fn header(name: &str, size: usize, mode: u32) -> [u8; 512] {
    let mut header = [0_u8; 512];
    let mut put = |at: usize, text: &str| {
        for (byte, value) in header.iter_mut().skip(at).zip(text.bytes()) {
            *byte = value;
        }
    };
    put(0, name.get(..100).unwrap_or(name));
    put(100, &format!("{mode:07o}"));
    put(108, "0000000");
    put(116, "0000000");
    put(124, &format!("{size:011o}"));
    // The same time always: the same content is the same image.
    put(136, "00000000000");
    // While it is summed up, the checksum counts as spaces.
    put(148, "        ");
    put(156, "0");
    put(257, "ustar");
    put(263, "00");
    let sum: u32 = header.iter().map(|byte| u32::from(*byte)).sum();
    let sum = format!("{sum:06o}\0 ");
    for (byte, value) in header.iter_mut().skip(148).zip(sum.bytes()) {
        *byte = value;
    }
    header
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_file_has_a_header_and_the_end_is_empty() {
        let tar = archive(&[("a", b"hello", 0o644)]);
        assert_eq!(tar.len(), 512 + 512 + 1024);
        assert_eq!(tar.get(..1), Some(&b"a"[..]));
        assert_eq!(tar.get(512..517), Some(&b"hello"[..]));
        assert!(tar.iter().skip(1024).all(|byte| *byte == 0));
    }
}
