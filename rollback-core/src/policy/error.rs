//! What is wrong with a policy, where, and how to mend it.

use std::fmt;

use serde::{Serialize, Serializer, ser::SerializeStruct as _};

use super::place::{Place, Step};

/// Why a policy was refused: the place, what is wrong, and the fix.
///
/// ```
/// use rollback_core::policy::Policy;
///
/// let error = Policy::from_json(r#"{"bake": "10m", "poll": "fast"}"#).unwrap_err();
/// assert_eq!(error.path(), "poll");
/// assert_eq!(error.fix(), "write it like 500ms, 2s, 1m 30s, 2h or 1d");
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PolicyError(Box<Details>);

#[derive(Debug, Clone, PartialEq, Eq)]
struct Details {
    problem: Problem,
    place: Option<Place>,
    snippet: Option<String>,
}

impl PolicyError {
    pub(crate) fn new(problem: Problem, place: Option<Place>, text: Option<&str>) -> Self {
        let snippet = place.and_then(|place| Some(place.snippet(text?)));
        Self(Box::new(Details {
            problem,
            place,
            snippet,
        }))
    }

    /// Which key, as in `triggers[0].for`; empty for the policy as a whole.
    #[must_use]
    pub fn path(&self) -> String {
        path_text(&self.0.problem.path)
    }

    /// The line in the text, from 1, where the text is known.
    #[must_use]
    pub fn line(&self) -> Option<usize> {
        Some(self.0.place?.line)
    }

    /// The column in the line, from 1, counted in characters.
    #[must_use]
    pub fn column(&self) -> Option<usize> {
        Some(self.0.place?.column)
    }

    /// What is wrong.
    #[must_use]
    pub fn message(&self) -> &str {
        &self.0.problem.message
    }

    /// What to write instead.
    #[must_use]
    pub fn fix(&self) -> &str {
        &self.0.problem.fix
    }

    /// The line of the text with carets under the place.
    #[must_use]
    pub fn snippet(&self) -> Option<&str> {
        self.0.snippet.as_deref()
    }
}

impl PolicyError {
    /// One line for a build log: `::error file=…,line=…,col=…,title=…::…`, which GitHub shows at the
    /// line of the file.
    ///
    /// ```
    /// use rollback_core::policy::Policy;
    ///
    /// let error = Policy::from_json("{\"bake\": \"10m\", \"poll\": \"fast\"}").unwrap_err();
    /// let line = error.annotation("rollback.yml");
    /// assert!(line.starts_with("::error file=rollback.yml,"), "{line}");
    /// assert!(line.ends_with("%0Afix: write it like 500ms, 2s, 1m 30s, 2h or 1d"), "{line}");
    /// ```
    #[must_use]
    pub fn annotation(&self, file: &str) -> String {
        let mut place = format!("file={}", property(file));
        if let (Some(line), Some(column)) = (self.line(), self.column()) {
            place.push_str(&format!(",line={line},col={column}"));
        }
        let path = self.path();
        let title = if path.is_empty() {
            "policy".to_owned()
        } else {
            path
        };
        let fix = match self.fix() {
            "" => String::new(),
            fix => format!("\nfix: {fix}"),
        };
        format!(
            "::error {place},title={}::{}",
            property(&title),
            data(&format!("{}{fix}", self.message()))
        )
    }
}

/// A value behind `::`, as GitHub's workflow commands escape it.
pub(crate) fn data(text: &str) -> String {
    text.replace('%', "%25")
        .replace('\r', "%0D")
        .replace('\n', "%0A")
}

/// A value before `::`.
pub(crate) fn property(text: &str) -> String {
    data(text).replace(':', "%3A").replace(',', "%2C")
}

/// For programs: `message`, `path`, `line`, `column`, `fix` and `snippet`; what is not known is
/// `null`.
impl Serialize for PolicyError {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut error = serializer.serialize_struct("PolicyError", 6)?;
        error.serialize_field("message", self.message())?;
        error.serialize_field("path", &self.path())?;
        error.serialize_field("line", &self.line())?;
        error.serialize_field("column", &self.column())?;
        error.serialize_field("fix", self.fix())?;
        error.serialize_field("snippet", &self.snippet())?;
        error.end()
    }
}

impl fmt::Display for PolicyError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("policy")?;
        if let Some(place) = self.0.place {
            write!(f, ", line {}, column {}", place.line, place.column)?;
        }
        let path = self.path();
        if !path.is_empty() {
            write!(f, ", `{path}`")?;
        }
        write!(f, ": {}", self.message())?;
        if let Some(snippet) = self.snippet() {
            write!(f, "\n{snippet}")?;
        }
        if !self.fix().is_empty() {
            write!(f, "\n  fix: {}", self.fix())?;
        }
        Ok(())
    }
}

impl std::error::Error for PolicyError {}

impl From<Problem> for PolicyError {
    fn from(problem: Problem) -> Self {
        Self::new(problem, None, None)
    }
}

/// What is wrong at a path, before anyone knows where in the text that is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Problem {
    pub(crate) path: Vec<Step>,
    /// Whether the key is meant, not its value.
    pub(crate) key: bool,
    /// The part of the value that is meant, in bytes from its start.
    pub(crate) part: Option<(usize, usize)>,
    pub(crate) message: String,
    pub(crate) fix: String,
}

impl Problem {
    /// `path` is written as people see it: `triggers[0].for`.
    pub(crate) fn new(
        path: impl IntoPath,
        message: impl Into<String>,
        fix: impl Into<String>,
    ) -> Self {
        Self {
            path: path.into_path(),
            key: false,
            part: None,
            message: message.into(),
            fix: fix.into(),
        }
    }

    /// The path as people see it.
    #[cfg(feature = "yaml")]
    pub(crate) fn path_text(&self) -> String {
        path_text(&self.path)
    }

    /// The same about a metric that stands under `record`.
    pub(super) fn of_record(mut self) -> Self {
        if let Some(Step::Key(group)) = self.path.first_mut() {
            "record".clone_into(group);
        }
        self
    }

    /// The same about the key itself.
    pub(super) fn about_key(mut self) -> Self {
        self.key = true;
        self
    }

    /// The same about a part of the value.
    pub(super) fn about_part(mut self, start: usize, end: usize) -> Self {
        self.part = Some((start, end));
        self
    }
}

/// What can say where a value is.
pub(crate) trait IntoPath {
    fn into_path(self) -> Vec<Step>;
}

impl IntoPath for Vec<Step> {
    fn into_path(self) -> Vec<Step> {
        self
    }
}

impl IntoPath for &str {
    fn into_path(self) -> Vec<Step> {
        self.split('.')
            .map(|key| Step::Key(key.to_owned()))
            .collect()
    }
}

/// A key of a metric.
impl IntoPath for (&crate::model::MetricId, &str) {
    fn into_path(self) -> Vec<Step> {
        ["metrics", self.0.as_str(), self.1]
            .into_iter()
            .filter(|key| !key.is_empty())
            .map(|key| Step::Key(key.to_owned()))
            .collect()
    }
}

/// A key of the n-th trigger.
impl IntoPath for (usize, &str) {
    fn into_path(self) -> Vec<Step> {
        let mut path = vec![Step::Key("triggers".to_owned()), Step::Index(self.0)];
        if !self.1.is_empty() {
            path.push(Step::Key(self.1.to_owned()));
        }
        path
    }
}

fn path_text(path: &[Step]) -> String {
    let mut text = String::new();
    for step in path {
        match step {
            Step::Key(key) => {
                if !text.is_empty() {
                    text.push('.');
                }
                text.push_str(key);
            }
            Step::Index(index) => text.push_str(&format!("[{index}]")),
        }
    }
    text
}
