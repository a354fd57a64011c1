//! What is wrong with a condition, where in its text, and how to mend it.

use crate::snippet::carets;

/// A stretch of a condition's text, in bytes from its start.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct Span {
    /// The first byte.
    pub start: usize,
    /// The byte after the last one.
    pub end: usize,
}

impl Span {
    pub(super) const fn new(start: usize, end: usize) -> Self {
        Self { start, end }
    }

    pub(super) const fn to(self, other: Self) -> Self {
        Self::new(self.start, other.end)
    }
}

/// The kind of a mistake, for programs; people read the message.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum ConditionErrorKind {
    /// There is no text.
    Empty,
    /// The text or its nesting is beyond the limits of the language.
    TooLarge,
    /// The text is not a condition of the language.
    Syntax,
    /// No metric has this name.
    UnknownMetric,
    /// No function has this name.
    UnknownFunction,
    /// An arm is asked of a metric that is measured for the service as a whole.
    NoArms,
    /// `baseline` could mean several metrics, or none.
    AmbiguousBaseline,
    /// A number, a text or a truth stands where another of the three belongs.
    WrongType,
    /// Units that cannot be compared or combined.
    WrongUnit,
    /// A divisor that is always zero.
    DivisionByZero,
    /// A number too large to be represented.
    NotFinite,
    /// A comparison that reads no metric.
    NoMetric,
    /// A trigger with this condition can never fire.
    NeverTrue,
    /// A trigger with this condition would always fire.
    AlwaysTrue,
}

/// Why a condition was refused when it was loaded.
///
/// Its text shows the place and the fix:
///
/// ```
/// use rollback_core::condition::{Condition, MetricCatalogue, Unit};
///
/// let metrics = MetricCatalogue::new().per_arm("error_rate", Unit::Ratio);
/// let error = Condition::compile("eror_rate > 5%", &metrics).unwrap_err();
/// assert_eq!(
///     error.to_string(),
///     "unknown metric `eror_rate`\n  | eror_rate > 5%\n  | ^^^^^^^^^\n  fix: did you mean `error_rate`?"
/// );
/// ```
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{message}\n{snippet}\n  fix: {fix}")]
pub struct ConditionError {
    kind: ConditionErrorKind,
    span: Span,
    message: String,
    snippet: String,
    fix: String,
}

impl ConditionError {
    pub(super) fn new(problem: Problem, source: &str) -> Self {
        Self {
            kind: problem.kind,
            span: problem.span,
            message: problem.message,
            snippet: snippet(source, problem.span),
            fix: problem.fix,
        }
    }

    /// The kind of the mistake.
    #[must_use]
    pub fn kind(&self) -> ConditionErrorKind {
        self.kind
    }

    /// Where in the condition's text the mistake is.
    #[must_use]
    pub fn span(&self) -> Span {
        self.span
    }

    /// What is wrong, in one line.
    #[must_use]
    pub fn message(&self) -> &str {
        &self.message
    }

    /// The line with the mistake, and carets under it.
    #[must_use]
    pub fn snippet(&self) -> &str {
        &self.snippet
    }

    /// What to write instead.
    #[must_use]
    pub fn fix(&self) -> &str {
        &self.fix
    }
}

/// An error that does not know its source text yet.
#[derive(Debug)]
pub(super) struct Problem {
    kind: ConditionErrorKind,
    span: Span,
    message: String,
    fix: String,
}

impl Problem {
    pub(super) fn new(
        kind: ConditionErrorKind,
        span: Span,
        message: impl Into<String>,
        fix: impl Into<String>,
    ) -> Self {
        Self {
            kind,
            span,
            message: message.into(),
            fix: fix.into(),
        }
    }
}

fn snippet(source: &str, span: Span) -> String {
    let before = source.get(..span.start).unwrap_or(source);
    let line_start = before.rfind('\n').map_or(0, |at| at + 1);
    let line = source
        .get(line_start..)
        .unwrap_or_default()
        .lines()
        .next()
        .unwrap_or_default();
    let column = before.get(line_start..).unwrap_or_default().chars().count();
    let width = source
        .get(span.start..span.end)
        .unwrap_or_default()
        .chars()
        .count();
    let (shown, carets) = carets(line, column, width);
    format!("  | {shown}\n  | {carets}")
}

/// The known word that is most like `word`, if one is like it at all. One whose letters only stand in
/// another order comes first.
pub(crate) fn closest<'a>(word: &str, known: impl Iterator<Item = &'a str>) -> Option<&'a str> {
    let letters = |word: &str| {
        let mut letters: Vec<char> = word.chars().collect();
        letters.sort_unstable();
        letters
    };
    let allowed = (word.chars().count() / 3).max(1);
    let own = letters(word);
    known
        .map(|candidate| {
            let swapped = letters(candidate) == own;
            let distance = if swapped {
                0
            } else {
                distance(word, candidate)
            };
            (distance, candidate)
        })
        .filter(|(distance, _)| *distance <= allowed)
        .min()
        .map(|(_, candidate)| candidate)
}

/// How many characters have to be inserted, removed or replaced to turn `a` into `b`.
fn distance(a: &str, b: &str) -> usize {
    let b: Vec<char> = b.chars().collect();
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, x) in a.chars().enumerate() {
        let mut next = vec![i + 1];
        let mut left = i + 1;
        for ((above_left, above), y) in row.iter().zip(row.iter().skip(1)).zip(&b) {
            left = (above_left + usize::from(x != *y))
                .min(above + 1)
                .min(left + 1);
            next.push(left);
        }
        row = next;
    }
    row.last().copied().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn carets_stand_under_the_mistake() {
        for (source, span, shown) in [
            ("a > b", Span::new(4, 5), "  | a > b\n  |     ^"),
            ("", Span::new(0, 0), "  | \n  | ^"),
            ("a >", Span::new(3, 3), "  | a >\n  |    ^"),
            ("é > bb", Span::new(5, 7), "  | é > bb\n  |     ^^"),
            (
                "a\n  && b > 1",
                Span::new(7, 8),
                "  |   && b > 1\n  |      ^",
            ),
            ("'a\nb'", Span::new(0, 5), "  | 'a\n  | ^^"),
        ] {
            assert_eq!(snippet(source, span), shown);
        }
    }

    #[test]
    fn distances() {
        for (a, b, expected) in [
            ("", "", 0),
            ("abc", "abc", 0),
            ("abc", "abd", 1),
            ("abc", "", 3),
            ("kitten", "sitting", 3),
        ] {
            assert_eq!(distance(a, b), expected);
        }
        assert_eq!(closest("p59", ["p95", "p50"].into_iter()), Some("p95"));
        assert_eq!(closest("hodl", ["hold", "cold"].into_iter()), Some("hold"));
        assert_eq!(closest("errors", ["latency"].into_iter()), None);
    }
}
