//! From a path such as `triggers[0].for` to a line and a column of the text.

/// One step of a path.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Step {
    Key(String),
    Index(usize),
}

/// A stretch of one line; line and column count from 1, in characters.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Place {
    pub(super) line: usize,
    pub(super) column: usize,
    pub(super) width: usize,
}

/// How many characters of a line are shown.
const SHOWN: usize = 100;

impl Place {
    /// The line with carets under the place.
    pub(super) fn snippet(self, text: &str) -> String {
        let line = text.lines().nth(self.line - 1).unwrap_or_default();
        let column = self.column.saturating_sub(1);
        let skipped = column.saturating_sub(SHOWN / 2);
        let shown: String = line
            .chars()
            .skip(skipped)
            .take(SHOWN)
            .map(|c| if c.is_control() { ' ' } else { c })
            .collect();
        let column = column - skipped;
        let width = self
            .width
            .min(shown.trim_end().chars().count().saturating_sub(column))
            .max(1);
        let number = self.line.to_string();
        let margin = " ".repeat(number.len());
        format!(
            "{margin} |\n{number} | {}\n{margin} | {}{}",
            shown.trim_end(),
            " ".repeat(column),
            "^".repeat(width)
        )
    }

    /// The part of a value: found by its own words, behind as many like it as the value has in front
    /// of it, whichever way the value is quoted or broken into lines.
    #[cfg(feature = "yaml")]
    pub(super) fn part(self, text: &str, value: &str, (start, end): (usize, usize)) -> Self {
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

#[cfg(feature = "yaml")]
pub(super) use tree::find;

#[cfg(feature = "yaml")]
mod tree {
    use std::fmt;

    use serde::{Deserialize, Deserializer, de};
    use serde_saphyr::{Location, Spanned};

    use super::{Place, Step};

    /// The places of everything in a document.
    enum Tree {
        Map(Vec<(Spanned<String>, Spanned<Self>)>),
        List(Vec<Spanned<Self>>),
        Leaf(Option<String>),
    }

    /// Where the value of a path is, or its key; as near as the document has it. JSON is read as
    /// the YAML that it is.
    pub(in super::super) fn find(
        text: &str,
        path: &[Step],
        key: bool,
        part: Option<(usize, usize)>,
    ) -> Option<Place> {
        let root = serde_saphyr::from_str::<Spanned<Tree>>(text).ok()?;
        let mut here = &root;
        let mut place = here_of(root.referenced, 1);
        for (position, step) in path.iter().enumerate() {
            let last = position + 1 == path.len();
            match (&here.value, step) {
                (Tree::Map(entries), Step::Key(wanted)) => {
                    let Some((name, value)) =
                        entries.iter().find(|(name, _)| name.value == *wanted)
                    else {
                        break;
                    };
                    let of_key = here_of(name.referenced, name.value.chars().count());
                    here = value;
                    place = match &value.value {
                        Tree::Leaf(_) if !(last && key) => here_of(value.referenced, 0),
                        // A group is shown by its key.
                        _ => of_key,
                    };
                }
                (Tree::List(items), Step::Index(index)) => {
                    let Some(item) = items.get(*index) else {
                        break;
                    };
                    here = item;
                    place = here_of(item.referenced, 1);
                }
                _ => break,
            }
        }
        Some(match (part, &here.value) {
            (Some(part), Tree::Leaf(Some(value))) => place.part(text, value, part),
            _ => place,
        })
    }

    pub(in super::super) fn here_of(location: Location, width: usize) -> Place {
        let size = |number: u64| usize::try_from(number).unwrap_or(usize::MAX);
        Place {
            line: size(location.line()).max(1),
            column: size(location.column()).max(1),
            width: if width > 0 {
                width
            } else {
                usize::try_from(location.span().len()).unwrap_or(1)
            },
        }
    }

    impl<'de> Deserialize<'de> for Tree {
        fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
            struct Visitor;
            impl<'de> de::Visitor<'de> for Visitor {
                type Value = Tree;
                fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                    f.write_str("anything")
                }
                fn visit_map<A: de::MapAccess<'de>>(self, mut map: A) -> Result<Tree, A::Error> {
                    let mut entries = Vec::new();
                    while let Some(entry) = map.next_entry()? {
                        entries.push(entry);
                    }
                    Ok(Tree::Map(entries))
                }
                fn visit_seq<A: de::SeqAccess<'de>>(self, mut seq: A) -> Result<Tree, A::Error> {
                    let mut items = Vec::new();
                    while let Some(item) = seq.next_element()? {
                        items.push(item);
                    }
                    Ok(Tree::List(items))
                }
                fn visit_str<E>(self, text: &str) -> Result<Tree, E> {
                    Ok(Tree::Leaf(Some(text.to_owned())))
                }
                fn visit_bool<E>(self, _: bool) -> Result<Tree, E> {
                    Ok(Tree::Leaf(None))
                }
                fn visit_i64<E>(self, _: i64) -> Result<Tree, E> {
                    Ok(Tree::Leaf(None))
                }
                fn visit_u64<E>(self, _: u64) -> Result<Tree, E> {
                    Ok(Tree::Leaf(None))
                }
                fn visit_f64<E>(self, _: f64) -> Result<Tree, E> {
                    Ok(Tree::Leaf(None))
                }
                fn visit_unit<E>(self) -> Result<Tree, E> {
                    Ok(Tree::Leaf(None))
                }
                fn visit_none<E>(self) -> Result<Tree, E> {
                    Ok(Tree::Leaf(None))
                }
            }
            deserializer.deserialize_any(Visitor)
        }
    }
}

#[cfg(feature = "yaml")]
pub(super) use tree::here_of;
