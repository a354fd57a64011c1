//! From a path such as `triggers[0].for` to a line and a column of the text.

use crate::snippet::carets;

/// One step of a path.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Step {
    Key(String),
    Index(usize),
}

/// A stretch of one line; line and column count from 1, in characters.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Place {
    pub(crate) line: usize,
    pub(crate) column: usize,
    pub(crate) width: usize,
}

impl Place {
    /// The line with carets under the place.
    pub(crate) fn snippet(self, text: &str) -> String {
        let line = text.lines().nth(self.line - 1).unwrap_or_default();
        let (shown, carets) = carets(line, self.column - 1, self.width);
        let number = self.line.to_string();
        let margin = " ".repeat(number.len());
        format!("{margin} |\n{number} | {shown}\n{margin} | {carets}")
    }

    /// The part of a value: found by its own words, behind as many like it as the value has in front
    /// of it, whichever way the value is quoted or broken into lines.
    #[cfg(feature = "yaml")]
    pub(crate) fn part(self, text: &str, value: &str, (start, end): (usize, usize)) -> Self {
        let (Some(before), Some(part)) = (value.get(..start), value.get(start..end)) else {
            return self;
        };
        let word = part.lines().next().unwrap_or_default();
        let width = word.chars().count();
        if width == 0 {
            let column = self.column + value.chars().count() + 1;
            return Self {
                column,
                width: 1,
                ..self
            };
        }
        let mut skip = before.matches(word).count();
        for (offset, line) in text.lines().enumerate().skip(self.line - 1) {
            let from = if offset + 1 == self.line {
                self.column - 1
            } else {
                0
            };
            let rest: String = line.chars().skip(from).collect();
            let found = rest.match_indices(word).nth(skip);
            if let Some((at, _)) = found {
                let column = from + rest.get(..at).unwrap_or_default().chars().count() + 1;
                return Self {
                    line: offset + 1,
                    column,
                    width,
                };
            }
            skip -= rest.matches(word).count();
        }
        self
    }
}

/// Where the value of a path is, or its key; as near as the document has it. JSON is read as the
/// YAML that it is.
#[cfg(feature = "yaml")]
pub(super) fn find(
    text: &str,
    path: &[Step],
    key: bool,
    part: Option<(usize, usize)>,
) -> Option<Place> {
    use super::tree::{Node, Value};

    let root = Node::from_yaml(text).ok()?;
    let mut here = &root;
    let mut place = Place {
        width: 1,
        ..root.place
    };
    for (position, step) in path.iter().enumerate() {
        let last = position + 1 == path.len();
        match (&here.value, step) {
            (Value::Map(entries), Step::Key(wanted)) => {
                let Some(entry) = entries.iter().find(|entry| entry.key == *wanted) else {
                    break;
                };
                here = &entry.node;
                place = match here.value {
                    // A group is shown by its key.
                    Value::Map(_) | Value::List(_) => entry.place,
                    _ if last && key => entry.place,
                    _ => here.place,
                };
            }
            (Value::List(items), Step::Index(index)) => {
                let Some(item) = items.get(*index) else {
                    break;
                };
                here = item;
                place = Place {
                    width: 1,
                    ..item.place
                };
            }
            _ => break,
        }
    }
    Some(match (part, &here.value) {
        (Some(part), Value::Text(value)) => place.part(text, value, part),
        _ => place,
    })
}
