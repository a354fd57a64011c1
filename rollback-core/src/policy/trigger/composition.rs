//! Triggers that are made of other triggers: which are parts, and whether they can be put together.

use std::{collections::BTreeMap, fmt, sync::Arc};

use super::TriggerDocument;
use crate::policy::{Needs, Policy, Rule, TriggerRule, error::Problem, place::Step, read::one_of};

/// Parts, and parts of parts, of one trigger.
const MOST_PARTS: usize = 100;
/// Parts of parts of parts …
const DEEPEST: usize = 8;

/// The parts by name, each with a trigger that is made of it.
pub(in crate::policy) fn parts(documents: &[TriggerDocument]) -> BTreeMap<Arc<str>, Arc<str>> {
    let mut parts = BTreeMap::new();
    for document in documents {
        let lists = [&document.any, &document.all, &document.of];
        for part in lists.into_iter().flatten().flatten() {
            parts
                .entry(Arc::clone(part))
                .or_insert_with(|| Arc::clone(&document.name));
        }
    }
    parts
}

/// How many, and of which.
type Made = (Needs, Vec<Arc<str>>);

/// The rule of a trigger that is made of others; none if it is not.
pub(super) fn compile(index: usize, document: &TriggerDocument) -> Result<Option<Made>, Problem> {
    Ok(Some(
        match (&document.any, &document.all, document.at_least) {
            (Some(of), ..) => (Needs::Any, of.clone()),
            (_, Some(of), _) => (Needs::All, of.clone()),
            (_, _, Some(fewest)) => {
                let of = document.of.clone().ok_or_else(|| {
                    Problem::new(
                        (index, "at_least"),
                        "nothing says of which triggers",
                        "add `of: [one, another, a_third]`",
                    )
                    .about_key()
                })?;
                (Needs::AtLeast(fewest), of)
            }
            _ => return Ok(None),
        },
    ))
}

/// Writes the rule into the keys of its document.
pub(super) fn write(needs: Needs, of: Vec<Arc<str>>, document: &mut TriggerDocument) {
    match needs {
        Needs::Any => document.any = Some(of),
        Needs::All => document.all = Some(of),
        Needs::AtLeast(fewest) => {
            document.at_least = Some(fewest);
            document.of = Some(of);
        }
    }
}

/// Refuses what can never fire, and what is made of itself or of what is not there.
pub(super) fn check(
    policy: &Policy,
    index: usize,
    rule: &TriggerRule,
    needs: Needs,
    of: &[Arc<str>],
) -> Result<(), Problem> {
    let key = match needs {
        Needs::Any => "any",
        Needs::All => "all",
        Needs::AtLeast(_) => "of",
    };
    let count = of.len();
    if count == 0 {
        return Err(Problem::new(
            (index, key),
            format!("`{key}` names no trigger"),
            "name two or more of the other triggers",
        ));
    }
    if let Needs::AtLeast(fewest) = needs {
        let problem = |message: String, fix| Err(Problem::new((index, "at_least"), message, fix));
        if fewest == 0 {
            return problem(
                "at least 0 triggers always fail".to_owned(),
                "write at least 1, such as 2".to_owned(),
            );
        }
        if usize::try_from(fewest).is_ok_and(|fewest| fewest > count) {
            return problem(
                format!("it can never fire: {fewest} of {count} triggers cannot fail"),
                format!("write at most {count}, or name more triggers"),
            );
        }
    }
    let place = |position: usize| {
        vec![
            Step::Key("triggers".to_owned()),
            Step::Index(index),
            Step::Key(key.to_owned()),
            Step::Index(position),
        ]
    };
    for (position, part) in of.iter().enumerate() {
        if of.iter().take(position).any(|before| before == part) {
            return Err(Problem::new(
                place(position),
                format!("`{part}` is named twice, and one trigger cannot fail twice"),
                "remove it here",
            ));
        }
        match walk(&policy.triggers, &rule.name, part) {
            Ok(()) => {}
            Err(Broken::Unknown { part, .. }) => {
                let others = policy
                    .triggers
                    .iter()
                    .filter(|other| other.name != rule.name);
                let names: Vec<&str> = others.map(|other| &*other.name).collect();
                return Err(Problem::new(
                    place(position),
                    format!("unknown trigger `{part}`"),
                    if names.is_empty() {
                        "add one of that name; it acts no more by itself then".to_owned()
                    } else {
                        one_of(&part, &names, "the other triggers are")
                    },
                ));
            }
            Err(broken @ Broken::Circle { .. }) => {
                return Err(Problem::new(
                    place(position),
                    broken.to_string(),
                    "leave one of them out",
                ));
            }
            Err(broken @ Broken::TooMany { .. }) => {
                return Err(Problem::new(
                    place(position),
                    broken.to_string(),
                    "put fewer of them together",
                ));
            }
        }
    }
    Ok(())
}

/// Why triggers cannot be put together.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Broken {
    /// A part is no trigger of the policy.
    Unknown {
        /// The trigger that names it.
        by: Arc<str>,
        /// What it names.
        part: Arc<str>,
    },
    /// A trigger is a part of itself.
    Circle {
        /// Each is made of the next one.
        names: Vec<Arc<str>>,
    },
    /// Too many parts, or parts of parts of parts.
    TooMany {
        /// The trigger that is made of them.
        by: Arc<str>,
    },
}

impl fmt::Display for Broken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unknown { by, part } => {
                write!(
                    f,
                    "`{by}` is made of `{part}`, and there is no such trigger"
                )
            }
            Self::Circle { names } => {
                f.write_str("it is made of itself: ")?;
                for (position, name) in names.iter().enumerate() {
                    let arrow = if position == 0 { "" } else { " → " };
                    write!(f, "{arrow}`{name}`")?;
                }
                Ok(())
            }
            Self::TooMany { by } => write!(
                f,
                "`{by}` has more than {MOST_PARTS} parts, or parts of parts more than {DEEPEST} deep"
            ),
        }
    }
}

/// Whether every part of `name` is there, and none is made of it.
pub(crate) fn walk(triggers: &[TriggerRule], by: &Arc<str>, part: &Arc<str>) -> Result<(), Broken> {
    let mut way = vec![Arc::clone(by)];
    let mut left = MOST_PARTS;
    step(triggers, part, &mut way, &mut left)
}

fn step(
    triggers: &[TriggerRule],
    part: &Arc<str>,
    way: &mut Vec<Arc<str>>,
    left: &mut usize,
) -> Result<(), Broken> {
    let by = || way.first().unwrap_or(part).clone();
    if let Some(start) = way.iter().position(|name| name == part) {
        let mut names: Vec<Arc<str>> = way.iter().skip(start).cloned().collect();
        names.push(Arc::clone(part));
        return Err(Broken::Circle { names });
    }
    if *left == 0 || way.len() > DEEPEST {
        return Err(Broken::TooMany { by: by() });
    }
    *left -= 1;
    let Some(rule) = triggers.iter().find(|rule| rule.name == *part) else {
        return Err(Broken::Unknown {
            by: way.last().unwrap_or(part).clone(),
            part: Arc::clone(part),
        });
    };
    if let Rule::Composite { of, .. } = &rule.rule {
        way.push(Arc::clone(part));
        for part in of {
            step(triggers, part, way, left)?;
        }
        way.pop();
    }
    Ok(())
}
