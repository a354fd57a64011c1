//! A line of text with carets under a part of it, as errors show it.

/// How many characters of a line are shown.
const SHOWN: usize = 100;

/// What is shown of `line`, and the carets for `width` characters from `column` on, both counted
/// from 0 in characters. Of a long line, what stands around the column.
pub(crate) fn carets(line: &str, column: usize, width: usize) -> (String, String) {
    let skipped = column.saturating_sub(SHOWN / 2);
    let shown: String = line
        .chars()
        .skip(skipped)
        .take(SHOWN)
        .map(|c| if c.is_control() { ' ' } else { c })
        .collect();
    let shown = shown.trim_end().to_owned();
    let column = column - skipped;
    let width = width
        .min(shown.chars().count().saturating_sub(column))
        .max(1);
    (
        shown,
        format!("{}{}", " ".repeat(column), "^".repeat(width)),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn carets_stand_under_the_part() {
        for (line, column, width, shown, under) in [
            ("a > b", 4, 1, "a > b", "    ^"),
            ("", 0, 0, "", "^"),
            ("a >", 3, 0, "a >", "   ^"),
            ("é > bb", 4, 2, "é > bb", "    ^^"),
            ("a\tb  ", 2, 9, "a b", "  ^"),
        ] {
            assert_eq!(
                carets(line, column, width),
                (shown.to_owned(), under.to_owned()),
                "{line:?}"
            );
        }
        let long = format!("{}x > y{}", " ".repeat(300), " ".repeat(300));
        let (shown, under) = carets(&long, 300, 1);
        assert_eq!((shown.find('x'), under.find('^')), (Some(50), Some(50)));
    }
}
