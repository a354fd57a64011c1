//! 002, and the variables of 001 and 003: `NAME=value`, `export NAME="value"`, `unset NAME`, with
//! comments, one a line; or the variables of a process.

use super::{
    Dialect, MetricMapping, TranslateOptions,
    draft::Draft,
    reading::{Field, Trouble},
    report::KeyReport,
};
use crate::{
    model::duration_text,
    policy::{
        Place,
        tree::{Entry, Node, Value},
    },
};

const SOURCE: &str = "the host gives the metric source this address";
const NOTIFIER: &str = "the host's notifier; a secret enters no policy";
const SUBJECT: &str =
    "the release and the deployment have ids of their own; `guard run` takes them as arguments";

/// Every variable that means something, and to whom, where not to the policy.
const KNOWN: [(&str, &str); 21] = [
    ("MONITORING_DURATION", ""),
    ("ERROR_THRESHOLD", ""),
    ("HEALTH_CHECK_FAILURES_THRESHOLD", ""),
    ("ROLLBACK_CONFIRM", ""),
    ("HEALTH_ENDPOINT", SOURCE),
    ("METRICS_ENDPOINT", SOURCE),
    (
        "DEPLOYMENT_SCRIPT",
        "the script deployer calls it with `deploy`, `rollback` and `update-traffic`",
    ),
    ("DEPLOYMENT_ID", SUBJECT),
    ("COMMIT_SHA", SUBJECT),
    ("BUILD_ID", SUBJECT),
    (
        "DATABASE_URL",
        "the history is the journal, and the journal's store is the host's",
    ),
    ("GITHUB_TOKEN", NOTIFIER),
    ("GITHUB_REPO", NOTIFIER),
    ("SLACK_WEBHOOK_URL", NOTIFIER),
    ("SMTP_SERVER", NOTIFIER),
    ("SMTP_PASSWORD", NOTIFIER),
    ("EMAIL_FROM", NOTIFIER),
    ("WEBHOOK_ENDPOINT", NOTIFIER),
    ("WEBHOOK_TOKEN", NOTIFIER),
    ("SNS_TOPIC_ARN", NOTIFIER),
    (
        "LOG_LEVEL",
        "how much the host logs is set where its log is",
    ),
];
/// Variables whose values may be shown.
const PLAIN: [&str; 4] = [
    "MONITORING_DURATION",
    "ERROR_THRESHOLD",
    "HEALTH_CHECK_FAILURES_THRESHOLD",
    "ROLLBACK_CONFIRM",
];

/// The names that [`Dialect::Environment`] knows: what to take from a process's environment.
pub fn environment_variables() -> impl Iterator<Item = &'static str> {
    KNOWN.iter().map(|(name, _)| *name)
}

/// Whether nothing shows the value of that variable: everything but numbers and confirmations.
#[must_use]
pub fn is_secret_variable(name: &str) -> bool {
    !PLAIN.contains(&name)
}

pub(super) fn translate(
    root: &Field<'_>,
    options: &TranslateOptions,
    draft: &mut Draft,
) -> Result<(), Trouble> {
    let names: Vec<&str> = environment_variables().collect();
    let variables = root.group(&names)?;
    let metrics = options
        .metrics
        .over(MetricMapping::of(Dialect::Environment));
    for (name, why) in KNOWN {
        if let (Some(field), false) = (variables.get(name), why.is_empty()) {
            draft.not_ours(&field, why);
        }
    }
    let bake = match variables.get("MONITORING_DURATION") {
        Some(field) => {
            let time = number(&field)?.seconds()?;
            draft.apply_time("bake", time, &field);
            time
        }
        None => {
            draft.choose(
                "bake",
                "10m",
                "MONITORING_DURATION is 600 where it is not set",
            );
            std::time::Duration::from_secs(600)
        }
    };
    let bake = options.bake.unwrap_or(bake);
    let failing = draft.trigger("health_check_failing");
    *draft.native.at(&format!("{failing}.when")) = "health == 'down'".into();
    match variables.get("HEALTH_CHECK_FAILURES_THRESHOLD") {
        Some(field) => draft.apply(
            &format!("{failing}.consecutive"),
            number(&field)?.count()?,
            &field,
        ),
        None => draft.choose(
            &format!("{failing}.consecutive"),
            3,
            "HEALTH_CHECK_FAILURES_THRESHOLD is 3 where it is not set",
        ),
    }
    let often = draft.trigger("health_checks_failing_often");
    *draft.native.at(&format!("{often}.when")) = "health == 'down'".into();
    match variables.get("ERROR_THRESHOLD") {
        Some(field) => draft.apply(&format!("{often}.share"), number(&field)?.ratio()?, &field),
        None => draft.choose(
            &format!("{often}.share"),
            "10%",
            "ERROR_THRESHOLD is 0.10 where it is not set",
        ),
    }
    draft.choose(
        &format!("{often}.over"),
        duration_text(bake),
        "the share is taken over the whole time of monitoring, as the document does; it says nothing before half of that was seen, since one failure of two checks is no rate",
    );
    if let Some(field) = variables.get("ROLLBACK_CONFIRM") {
        match field.text()? {
            "yes" => draft.not_ours(&field, "a rollback by hand asks unless it is called with `--yes`; an automatic one never asks"),
            "no" | "" => draft.not_ours(&field, "a rollback by hand asks by itself; an automatic one never asks (an `action: hold` would)"),
            other => {
                return Err(field.trouble(
                    format!("`{}` is no confirmation", other.escape_debug()),
                    "write yes, or leave it out",
                ));
            }
        }
    }
    draft.choose("poll", "10s", "the document checks every ten seconds");
    metrics.declare(draft, ["health"]);
    draft.chosen.push(
        "a deployment command that fails is the rule `deployment_failed`, which is always there; a \
         verification script is a task: `tasks: { verify: { when: after, on_failure: roll_back } }`"
            .to_owned(),
    );
    Ok(())
}

/// What becomes of variables that stand beside another source.
pub(super) fn beside(text: &str) -> Result<Vec<KeyReport>, Trouble> {
    let root = parse(text)?;
    let names: Vec<&str> = environment_variables().collect();
    let variables = Field::root(&root).group(&names)?;
    let mut draft = Draft::new();
    for field in variables.fields() {
        let known = KNOWN.iter().find(|(name, _)| *name == field.path);
        draft.not_ours(
            &field,
            match known {
                Some((_, why)) if !why.is_empty() => *why,
                _ => "the file beside it says this itself",
            },
        );
    }
    Ok(draft.lines)
}

/// All values of an environment are texts; this one is meant as a number.
fn number(field: &Field<'_>) -> Result<Number, Trouble> {
    let text = field.text()?;
    match text.trim().parse::<f64>() {
        Ok(number) if number.is_finite() => Ok(Number {
            node: Node {
                place: field.node.place,
                value: Value::Number(number),
            },
            path: field.path.clone(),
            place: field.place,
        }),
        _ => Err(field.trouble(
            format!("`{}` is no number", text.escape_debug()),
            "write digits, such as 600 or 0.10",
        )),
    }
}

struct Number {
    node: Node,
    path: String,
    place: Place,
}

impl Number {
    fn field(&self) -> Field<'_> {
        Field {
            path: self.path.clone(),
            place: self.place,
            node: &self.node,
        }
    }

    fn seconds(&self) -> Result<std::time::Duration, Trouble> {
        self.field().seconds()
    }

    fn count(&self) -> Result<u32, Trouble> {
        self.field().count()
    }

    fn ratio(&self) -> Result<String, Trouble> {
        self.field().ratio()
    }
}

/// A line of an environment, taken apart.
struct Line<'t> {
    name: &'t str,
    /// Characters before the name.
    indent: usize,
    /// Characters before the value.
    before: usize,
    value: Option<&'t str>,
}

/// A variable that is set twice has its last value, as in a shell.
pub(super) fn parse(text: &str) -> Result<Node, Trouble> {
    let mut entries: Vec<Entry> = Vec::new();
    for (index, line) in text.lines().enumerate() {
        let at = |column: usize, width: usize| Place {
            line: index + 1,
            column: column + 1,
            width: width.max(1),
        };
        let Some(Line {
            name,
            indent,
            before,
            value,
        }) = split(line).map_err(|column| {
            Trouble::at(
                "",
                at(column, 1),
                "this is no variable",
                "write NAME=value or export NAME=value; commands belong into a script",
            )
        })?
        else {
            continue;
        };
        entries.retain(|entry| entry.key != name);
        let Some(value) = value else { continue };
        let (value, width) = unquoted(value);
        entries.push(Entry {
            key: name.to_owned(),
            place: at(indent, name.chars().count()),
            node: Node {
                place: at(before, width),
                value: Value::Text(value),
            },
        });
    }
    Ok(Node {
        place: Place {
            line: 1,
            column: 1,
            width: 1,
        },
        value: Value::Map(entries),
    })
}

/// Nothing for an empty line or a comment; the column of what is no variable.
fn split(line: &str) -> Result<Option<Line<'_>>, usize> {
    let spaces = |text: &str| text.chars().take_while(|c| c.is_whitespace()).count();
    let mut rest = line.trim_start();
    let mut indent = spaces(line);
    if rest.is_empty() || rest.starts_with('#') {
        return Ok(None);
    }
    let mut unset = false;
    for (word, removes) in [("export ", false), ("unset ", true)] {
        if let Some(behind) = rest.strip_prefix(word) {
            indent += word.chars().count() + spaces(behind);
            rest = behind.trim_start();
            unset = removes;
        }
    }
    let end = rest
        .find(|c: char| !(c.is_ascii_alphanumeric() || c == '_'))
        .unwrap_or(rest.len());
    let (name, behind) = rest.split_at(end);
    if name.is_empty() || name.starts_with(|c: char| c.is_ascii_digit()) {
        return Err(indent);
    }
    let before = indent + name.chars().count() + 1;
    match (unset, behind.strip_prefix('=')) {
        (true, _) => Ok(Some(Line {
            name,
            indent,
            before,
            value: None,
        })),
        (false, Some(value)) => Ok(Some(Line {
            name,
            indent,
            before,
            value: Some(value),
        })),
        (false, None) => Err(indent),
    }
}

/// The value without quotes, or up to a comment; and how many characters it has in the text.
fn unquoted(value: &str) -> (String, usize) {
    for quote in ['"', '\''] {
        if let Some(inside) = value.strip_prefix(quote)
            && let Some(end) = inside.find(quote)
        {
            let text = inside.get(..end).unwrap_or_default();
            return (text.to_owned(), text.chars().count() + 2);
        }
    }
    let end = value
        .char_indices()
        .find(|(at, c)| {
            c.is_whitespace()
                && value
                    .get(*at..)
                    .is_some_and(|rest| rest.trim_start().starts_with('#'))
        })
        .map_or(value.len(), |(at, _)| at);
    let text = value.get(..end).unwrap_or_default().trim();
    (text.to_owned(), text.chars().count())
}

/// The text with every value hidden that could be a secret.
pub(super) fn without_secrets(text: &str) -> String {
    let hidden = |line: &str| match split(line) {
        Ok(Some(Line {
            name,
            before,
            value: Some(value),
            ..
        })) if is_secret_variable(name) && !value.is_empty() => {
            let start: String = line.chars().take(before).collect();
            format!("{start}***")
        }
        Ok(_) => line.to_owned(),
        // Whatever that is, it is not shown.
        Err(column) => {
            let start: String = line.chars().take(column).collect();
            format!("{start}***")
        }
    };
    let lines: Vec<String> = text.lines().map(hidden).collect();
    lines.join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn variables(text: &str) -> Vec<(String, String)> {
        let Value::Map(entries) = parse(text).unwrap().value else {
            panic!()
        };
        entries
            .into_iter()
            .map(|entry| match entry.node.value {
                Value::Text(text) => (entry.key, text),
                other => panic!("{other:?}"),
            })
            .collect()
    }

    #[test]
    fn as_a_shell_reads_them() {
        let text = "# comment\nexport A=1  # Default: 1\nB=\"x # y\"\n  C='it'\nD=a#b\nA=2\nE=1\nunset E\nF=\n";
        let expected = [
            ("B", "x # y"),
            ("C", "it"),
            ("D", "a#b"),
            ("A", "2"),
            ("F", ""),
        ];
        let expected: Vec<_> = expected.map(|(k, v)| (k.to_owned(), v.to_owned())).into();
        assert_eq!(variables(text), expected);
    }

    #[test]
    fn an_error_shows_no_secret() {
        for text in [
            "GITHUB_TOKEN=hunter2 and more\nERROR_THRESHOLD=none\n",
            "GITHUB_TOKN=hunter2\n",
            "export SLACK_WEBHOOK_URL='hunter2\nbash hunter2\n",
            "DATABASE_URL=postgres://u:hunter2@h/d\nexport MONITORING_DURATION=-5\n",
            "hunter2\n",
            "echo hunter2\n",
            "export A hunter2\n",
        ] {
            let error = Dialect::Environment
                .translate(text, &TranslateOptions::default())
                .unwrap_err();
            assert!(!format!("{error}{error:?}").contains("hunter2"), "{error}");
            assert!(error.line().is_some(), "{error}");
        }
    }
}
