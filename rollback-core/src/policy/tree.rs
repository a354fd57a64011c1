//! A text as a tree of values, each with its place.

use std::fmt;

use serde::{Deserialize, Deserializer, de};
use serde_saphyr::{Location, Spanned};

use super::place::Place;

/// A value and where it stands.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Node {
    pub(crate) place: Place,
    pub(crate) value: Value,
}

/// What can stand in a text.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Value {
    Map(Vec<Entry>),
    List(Vec<Node>),
    Text(String),
    Number(f64),
    Flag(bool),
    Nothing,
}

/// A key, where it stands, and its value; in the order of the text.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Entry {
    pub(crate) key: String,
    pub(crate) place: Place,
    pub(crate) node: Node,
}

impl Node {
    /// Reads YAML, and so JSON.
    pub(crate) fn from_yaml(text: &str) -> Result<Self, serde_saphyr::Error> {
        parse::<Spanned<Tree>>(text).map(Self::from)
    }
}

/// Reads YAML as its version 1.2 has it: `on`, `no` and `y` are words, only `true` and `false` are
/// not.
pub(super) fn parse<'de, T: Deserialize<'de>>(text: &'de str) -> Result<T, serde_saphyr::Error> {
    serde_saphyr::from_str_with_options(text, serde_saphyr::options! { strict_booleans: true })
}

pub(crate) fn here(location: Location, width: usize) -> Place {
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

impl From<Spanned<Tree>> for Node {
    fn from(tree: Spanned<Tree>) -> Self {
        Self {
            place: here(tree.referenced, 0),
            value: match tree.value {
                Tree::Leaf(value) => value,
                Tree::List(items) => Value::List(items.into_iter().map(Self::from).collect()),
                Tree::Map(entries) => Value::Map(
                    entries
                        .into_iter()
                        .map(|(key, value)| Entry {
                            place: here(key.referenced, key.value.chars().count()),
                            key: key.value,
                            node: Self::from(value),
                        })
                        .collect(),
                ),
            },
        }
    }
}

/// As the parser gives it.
enum Tree {
    Map(Vec<(Spanned<String>, Spanned<Self>)>),
    List(Vec<Spanned<Self>>),
    Leaf(Value),
}

impl<'de> Deserialize<'de> for Tree {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Visitor;
        impl<'de> de::Visitor<'de> for Visitor {
            type Value = Tree;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("keys and values")
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
                Ok(Tree::Leaf(Value::Text(text.to_owned())))
            }
            fn visit_bool<E>(self, flag: bool) -> Result<Tree, E> {
                Ok(Tree::Leaf(Value::Flag(flag)))
            }
            #[expect(
                clippy::cast_precision_loss,
                reason = "beyond 2^53 nothing here is exact"
            )]
            fn visit_i64<E>(self, number: i64) -> Result<Tree, E> {
                Ok(Tree::Leaf(Value::Number(number as f64)))
            }
            #[expect(
                clippy::cast_precision_loss,
                reason = "beyond 2^53 nothing here is exact"
            )]
            fn visit_u64<E>(self, number: u64) -> Result<Tree, E> {
                Ok(Tree::Leaf(Value::Number(number as f64)))
            }
            fn visit_f64<E>(self, number: f64) -> Result<Tree, E> {
                Ok(Tree::Leaf(Value::Number(number)))
            }
            fn visit_unit<E>(self) -> Result<Tree, E> {
                Ok(Tree::Leaf(Value::Nothing))
            }
            fn visit_none<E>(self) -> Result<Tree, E> {
                Ok(Tree::Leaf(Value::Nothing))
            }
        }
        deserializer.deserialize_any(Visitor)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_true_and_false_are_flags() {
        let text = |word: &str| Value::Text(word.to_owned());
        for (written, value) in [
            ("true", Value::Flag(true)),
            ("false", Value::Flag(false)),
            ("'true'", text("true")),
            ("y", text("y")),
            ("Y", text("Y")),
            ("n", text("n")),
            ("yes", text("yes")),
            ("No", text("No")),
            ("on", text("on")),
            ("OFF", text("OFF")),
        ] {
            let node = Node::from_yaml(written).unwrap();
            assert_eq!(node.value, value, "{written}");
            let Value::Map(entries) = Node::from_yaml(&format!("{written}: {written}"))
                .unwrap()
                .value
            else {
                panic!("{written}");
            };
            assert_eq!(entries[0].key, written.trim_matches('\''), "{written}");
            assert_eq!(entries[0].node.value, value, "{written}");
        }
    }
}
