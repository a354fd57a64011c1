//! Bytes that a program wrote, as lines that can be shown to anybody.

use super::secrets::Secrets;

/// A line is cut after so many bytes.
const LINE: usize = 512;
/// No more of a log is looked at.
const LOG: usize = 256 << 10;

/// How text becomes presentable.
#[derive(Debug)]
pub(super) struct Plain {
    secrets: Secrets,
}

impl Plain {
    pub(super) const fn new(secrets: Secrets) -> Self {
        Self { secrets }
    }

    /// The last lines of a log.
    pub(super) fn lines(&self, log: &[u8], lines: usize) -> Vec<String> {
        let mut log = log;
        if let Some(surplus) = log.len().checked_sub(LOG).filter(|surplus| *surplus > 0) {
            log = log.get(surplus..).unwrap_or_default();
            // The first line of what is left may have lost its begin, and a secret in it its name.
            let end = log.iter().position(|byte| *byte == b'\n');
            log = end.and_then(|end| log.get(end + 1..)).unwrap_or_default();
        }
        // Only what a program ended by a line break, or by its own end, is a line.
        let text = self
            .secrets
            .hidden(&printable(&String::from_utf8_lossy(log)));
        let all: Vec<&str> = text
            .lines()
            .filter(|line| !line.trim().is_empty())
            .collect();
        let kept = all.iter().skip(all.len().saturating_sub(lines));
        kept.map(|line| cut(line)).collect()
    }

    /// One line, from text that may have several.
    pub(super) fn line(&self, text: &str) -> String {
        let text = self.secrets.hidden(&printable(text));
        let words: Vec<&str> = text.split_whitespace().collect();
        cut(&words.join(" "))
    }
}

/// Without control characters and terminal sequences. A carriage return begins a line: programs
/// that draw progress bars write nothing else for minutes.
fn printable(text: &str) -> String {
    let mut plain = String::with_capacity(text.len());
    let mut rest = text.chars().peekable();
    while let Some(c) = rest.next() {
        match c {
            '\r' if rest.peek() == Some(&'\n') => {}
            '\r' => plain.push('\n'),
            '\n' | '\t' => plain.push(c),
            '\u{1b}' => skip_sequence(&mut rest),
            _ if c.is_control() || is_invisible(c) => {}
            _ => plain.push(c),
        }
    }
    plain
}

/// Characters that reorder or hide others.
const fn is_invisible(c: char) -> bool {
    matches!(c, '\u{200b}'..='\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2060}'..='\u{2069}' | '\u{feff}')
}

/// After an escape: `[` up to a letter, `]` up to a bell or the next escape; else one character.
fn skip_sequence(rest: &mut std::iter::Peekable<std::str::Chars<'_>>) {
    let ends: fn(char) -> bool = match rest.peek() {
        Some('[') => |c| ('@'..='~').contains(&c),
        Some(']') => |c| c == '\u{7}' || c == '\\',
        Some(c) if *c != '\n' => {
            rest.next();
            return;
        }
        _ => return,
    };
    rest.next();
    while let Some(c) = rest.peek() {
        // A sequence that does not end must not swallow the lines behind it.
        if *c == '\n' {
            return;
        }
        let last = ends(*c);
        rest.next();
        if last {
            return;
        }
    }
}

fn cut(line: &str) -> String {
    if line.len() <= LINE {
        return line.trim_end().to_owned();
    }
    let mut shown = String::with_capacity(LINE + 3);
    for c in line.chars() {
        if shown.len() + c.len_utf8() > LINE {
            break;
        }
        shown.push(c);
    }
    shown.push('…');
    shown
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn plain() -> Plain {
        let inspected = json!({"Config": {"Env": ["API_TOKEN=hunter2"]}});
        Plain::new(Secrets::of(&inspected, &[]))
    }

    #[test]
    fn a_log_becomes_lines() {
        for (log, lines) in [
            (&b""[..], vec![]),
            (b"a\nb\n", vec!["a", "b"]),
            (b"a\r\nb", vec!["a", "b"]),
            (b"10 %\r20 %\r", vec!["10 %", "20 %"]),
            (b"\x1b[31mred\x1b[0m\n\n", vec!["red"]),
            (b"\x1b]0;title\x07text", vec!["text"]),
            (b"\x1b[31\nnext", vec!["next"]),
            (b"\x1bcx\x00\x08y\tz", vec!["xy\tz"]),
            ("rtl \u{202e}txt".as_bytes(), vec!["rtl txt"]),
            (b"not utf-8: \xff", vec!["not utf-8: \u{fffd}"]),
            (b"the key is hunter2!", vec!["the key is ${API_TOKEN}!"]),
            (b"the key is hun\x00ter2!", vec!["the key is ${API_TOKEN}!"]),
        ] {
            assert_eq!(plain().lines(log, 10), lines, "{log:?}");
        }
        assert_eq!(plain().lines(b"1\n2\n3\n", 2), ["2", "3"]);
        assert_eq!(plain().line("a\nb  hunter2"), "a b ${API_TOKEN}");
    }

    #[test]
    fn lines_and_logs_are_bounded() {
        let long = "ä".repeat(LINE);
        let shown = plain().lines(long.as_bytes(), 1).remove(0);
        assert!(shown.len() <= LINE + 3 && shown.ends_with('…'), "{shown}");
        let mut huge = b"hunter2 ".repeat(LOG / 4);
        huge.extend_from_slice(b"\nlast\n");
        assert_eq!(plain().lines(&huge, 5), ["last"]);
        let endless = vec![b'x'; LOG * 2];
        assert!(plain().lines(&endless, 5).is_empty());
    }
}
