//! Durations and shares as people write them in a policy.

use std::time::Duration;

/// Reads `500ms`, `2s`, `1m 30s`, `2h`, `1d`.
///
/// # Errors
/// A sentence that names the text and the form.
pub fn parse_duration(text: &str) -> Result<Duration, String> {
    let wrong = || format!("`{text}` is not a duration; write it like 500ms, 2s, 1m 30s, 2h or 1d");
    let mut total = Duration::ZERO;
    let mut rest = text.trim();
    if rest.is_empty() {
        return Err(wrong());
    }
    while !rest.is_empty() {
        let digits = rest.find(|c: char| !c.is_ascii_digit()).ok_or_else(wrong)?;
        let (number, after) = rest.split_at(digits);
        let after = after.trim_start();
        let letters = after
            .find(|c: char| !c.is_ascii_alphabetic())
            .unwrap_or(after.len());
        let (unit, next) = after.split_at(letters);
        let millis: u64 = match unit {
            "ms" => 1,
            "s" => 1_000,
            "m" => 60_000,
            "h" => 3_600_000,
            "d" => 86_400_000,
            _ => return Err(wrong()),
        };
        let number: u64 = number.parse().map_err(|_| wrong())?;
        let part = number.checked_mul(millis).ok_or_else(wrong)?;
        total = total
            .checked_add(Duration::from_millis(part))
            .ok_or_else(wrong)?;
        rest = next.trim_start();
    }
    if total > Duration::from_secs(366 * 86_400) {
        return Err(format!(
            "`{text}` is longer than a year; write at most 366d"
        ));
    }
    Ok(total)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::duration_text;

    #[test]
    fn what_is_printed_is_read_again() {
        for millis in [0, 1, 250, 1_000, 61_000, 90_061_001] {
            let duration = Duration::from_millis(millis);
            assert_eq!(parse_duration(&duration_text(duration)), Ok(duration));
        }
    }

    #[test]
    fn what_is_not_a_duration_is_named() {
        for text in [
            "",
            "5",
            "s",
            "5 parsecs",
            "-5s",
            "1.5s",
            "99999999999999999999s",
            "400d",
        ] {
            assert!(parse_duration(text).is_err(), "{text}");
        }
    }
}
