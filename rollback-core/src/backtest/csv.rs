//! Readings from CSV: `time,metric,arm,bad,total` and/or `value`; optional `instance`.
//!
//! Times are RFC 3339, or seconds or milliseconds since 1970; `arm` is `stable`, `candidate`, or
//! empty for the service as a whole. Columns stand in any order. What cannot be read is an error
//! with its line; nothing is left out silently.

use std::{borrow::Cow, collections::BTreeMap, fmt, sync::Arc};

use super::recording::{Recording, Row, Subject, Value};
use crate::model::{Arm, InstanceId, MetricId, Timestamp};

/// So many mistakes of a file are told one by one.
const MOST_TOLD: usize = 10;

/// From here on a number is a time in milliseconds: in seconds it would be the year 5138.
const MILLIS_FROM: i64 = 100_000_000_000;

/// What is wrong with a file of readings.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct CsvError {
    /// The first mistakes, in the order of their lines.
    pub mistakes: Vec<CsvMistake>,
    /// How many there are beyond these.
    pub more: usize,
}

/// One mistake.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct CsvMistake {
    /// The line, from 1.
    pub line: usize,
    /// What is wrong.
    pub message: String,
    /// What to do.
    pub fix: String,
}

impl fmt::Display for CsvMistake {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "line {}: {}; {}", self.line, self.message, self.fix)
    }
}

impl fmt::Display for CsvError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (i, mistake) in self.mistakes.iter().enumerate() {
            let new_line = if i > 0 { "\n" } else { "" };
            write!(f, "{new_line}{mistake}")?;
        }
        if self.more > 0 {
            write!(f, "\nand {} more", self.more)?;
        }
        Ok(())
    }
}

impl std::error::Error for CsvError {}

type Wrong = (String, &'static str);

impl Recording {
    /// Reads a recording.
    ///
    /// ```
    /// use rollback_core::backtest::Recording;
    /// let recording = Recording::from_csv("\
    /// time,metric,arm,bad,total
    /// 2026-11-21T12:00:00Z,errors,stable,1,900
    /// 2026-11-21T12:00:00Z,errors,candidate,7,100
    /// ")?;
    /// assert_eq!(recording.metrics().len(), 1);
    /// # Ok::<(), rollback_core::backtest::CsvError>(())
    /// ```
    ///
    /// # Errors
    /// [`CsvError`] names each line that cannot be read, with what to do.
    pub fn from_csv(text: &str) -> Result<Self, CsvError> {
        let text = text.strip_prefix('\u{feff}').unwrap_or(text);
        let mut lines = (1..).zip(text.lines());
        let mut error = CsvError {
            mistakes: Vec::new(),
            more: 0,
        };
        let Some((_, header)) = lines.next() else {
            error.add(
                1,
                (
                    "the file is empty".to_owned(),
                    "begin with a line `time,metric,arm,bad,total` or `time,metric,arm,value`",
                ),
            );
            return Err(error);
        };
        let columns = match Columns::read(header) {
            Ok(columns) => columns,
            Err(wrong) => {
                error.add(1, wrong);
                return Err(error);
            }
        };
        let mut rows: BTreeMap<Subject, Vec<Row>> = BTreeMap::new();
        let mut seen: BTreeMap<Subject, BTreeMap<Timestamp, usize>> = BTreeMap::new();
        let mut last: Option<Subject> = None;
        for (line, text) in lines {
            if text.trim().is_empty() {
                continue;
            }
            match columns.row(text, last.as_ref()) {
                Ok((subject, row)) => {
                    let times = seen.entry(subject.clone()).or_default();
                    if let Some(first) = times.insert(row.at, line) {
                        let message =
                            format!("the same time, metric, arm and instance as line {first}");
                        error.add(line, (message, "keep one of them"));
                        continue;
                    }
                    last = Some(subject.clone());
                    rows.entry(subject).or_default().push(row);
                }
                Err(wrong) => error.add(line, wrong),
            }
        }
        if !error.mistakes.is_empty() {
            return Err(error);
        }
        if rows.is_empty() {
            error.add(
                2,
                (
                    "there is no row".to_owned(),
                    "write one line for each reading",
                ),
            );
            return Err(error);
        }
        Ok(Self::new(rows))
    }
}

impl CsvError {
    fn add(&mut self, line: usize, (message, fix): Wrong) {
        if self.mistakes.len() == MOST_TOLD {
            self.more += 1;
            return;
        }
        self.mistakes.push(CsvMistake {
            line,
            message,
            fix: fix.to_owned(),
        });
    }
}

/// Where each column stands.
#[derive(Debug)]
struct Columns {
    count: usize,
    time: usize,
    metric: usize,
    arm: usize,
    instance: Option<usize>,
    counts: Option<(usize, usize)>,
    value: Option<usize>,
}

impl Columns {
    fn read(header: &str) -> Result<Self, Wrong> {
        let names = fields(header)?;
        let find = |name: &str| names.iter().position(|field| field.trim() == name);
        let fix = "the header is `time,metric,arm,bad,total` and/or `value`, and `instance` if there is one";
        for (i, name) in names.iter().enumerate() {
            let name = name.trim();
            let known = ["time", "metric", "arm", "instance", "bad", "total", "value"];
            if !known.contains(&name) {
                return Err((format!("unknown column `{}`", name.escape_debug()), fix));
            }
            if find(name) != Some(i) {
                return Err((format!("column `{name}` stands there twice"), fix));
            }
        }
        let need =
            |name: &str| find(name).ok_or_else(|| (format!("column `{name}` is missing"), fix));
        let counts = match (find("bad"), find("total")) {
            (Some(bad), Some(total)) => Some((bad, total)),
            (None, None) => None,
            (Some(_), None) => return Err(("`bad` stands without `total`".to_owned(), fix)),
            (None, Some(_)) => return Err(("`total` stands without `bad`".to_owned(), fix)),
        };
        let value = find("value");
        if counts.is_none() && value.is_none() {
            return Err((
                "neither `bad` and `total` nor `value` is there".to_owned(),
                fix,
            ));
        }
        Ok(Self {
            count: names.len(),
            time: need("time")?,
            metric: need("metric")?,
            arm: need("arm")?,
            instance: find("instance"),
            counts,
            value,
        })
    }

    /// `last` is the subject of the row before: mostly it is the same again, and shared.
    fn row(&self, line: &str, last: Option<&Subject>) -> Result<(Subject, Row), Wrong> {
        let fields = fields(line)?;
        if fields.len() != self.count {
            let message = format!("{} fields, and the header has {}", fields.len(), self.count);
            return Err((
                message,
                "write one field for each column, empty where there is nothing",
            ));
        }
        let field = |at: usize| fields.get(at).map_or("", |field| field.trim());
        let at = time(field(self.time))?;
        let subject = self.subject(&field, last)?;
        let counts = match self.counts.map(|(bad, total)| (field(bad), field(total))) {
            None | Some(("", "")) => None,
            Some((bad, total)) => Some((count("bad", bad)?, count("total", total)?)),
        };
        if let Some((bad, total)) = counts
            && bad > total
        {
            let message = format!("{bad} bad events of {total} events");
            return Err((
                message,
                "`total` counts everything, what went wrong included",
            ));
        }
        let value = match self.value.map(field) {
            None | Some("") => None,
            Some(text) => Some(
                text.parse()
                    .map_or_else(|_| Value::Word(Arc::from(text)), Value::Number),
            ),
        };
        if counts.is_none() && value.is_none() {
            let message = "nothing was read".to_owned();
            return Err((
                message,
                "write `bad` and `total`, or `value`; leave the line out if there was no data",
            ));
        }
        Ok((subject, Row { at, counts, value }))
    }

    fn subject<'a>(
        &self,
        field: &impl Fn(usize) -> &'a str,
        last: Option<&Subject>,
    ) -> Result<Subject, Wrong> {
        let name = "a name has 1 to 200 printable characters and no spaces";
        let arm = match field(self.arm) {
            "" => None,
            "stable" => Some(Arm::Stable),
            "candidate" => Some(Arm::Candidate),
            other => {
                let message = format!("`{}` is no arm", other.escape_debug());
                return Err((
                    message,
                    "write `stable`, `candidate`, or nothing for the service as a whole",
                ));
            }
        };
        let metric = field(self.metric);
        let metric = match last.filter(|last| last.metric.as_str() == metric) {
            Some(last) => last.metric.clone(),
            None => MetricId::new(metric).map_err(|error| (error.to_string(), name))?,
        };
        let instance = match self.instance.map(field) {
            None | Some("") => None,
            Some(_) if arm.is_none() => {
                let message = "an instance of no arm".to_owned();
                return Err((message, "write in `arm` to which arm it belongs"));
            }
            Some(text) => Some(InstanceId::new(text).map_err(|error| (error.to_string(), name))?),
        };
        Ok(Subject {
            metric,
            arm,
            instance,
        })
    }
}

/// A moment: RFC 3339, or seconds or milliseconds since 1970.
///
/// # Errors
/// A sentence that names the text and the forms.
pub fn parse_time(text: &str) -> Result<Timestamp, String> {
    time(text.trim()).map_err(|(message, fix)| format!("{message}; {fix}"))
}

fn time(text: &str) -> Result<Timestamp, Wrong> {
    let wrong = || {
        let message = format!("`{}` is no time", text.escape_debug());
        let fix = "write it like 2026-11-21T12:00:00Z, or in seconds or milliseconds since 1970";
        (message, fix)
    };
    if let Ok(whole) = text.parse::<i64>() {
        let millis = if whole.abs() < MILLIS_FROM {
            whole * 1_000
        } else {
            whole
        };
        return Ok(Timestamp::from_millis(millis));
    }
    if let Ok(seconds) = text.parse::<f64>() {
        if seconds.is_finite() && seconds.abs() < MILLIS_FROM as f64 {
            #[expect(
                clippy::cast_possible_truncation,
                reason = "within range: checked above"
            )]
            return Ok(Timestamp::from_millis(libm::round(seconds * 1_000.0) as i64));
        }
        return Err(wrong());
    }
    let moment: jiff::Timestamp = text.parse().map_err(|_| wrong())?;
    Ok(Timestamp::from_millis(moment.as_millisecond()))
}

fn count(column: &str, text: &str) -> Result<u64, Wrong> {
    text.parse().map_err(|_| {
        let message = format!("`{}` in `{column}` is no count", text.escape_debug());
        (
            message,
            "write how many events there were since the row before, such as 42",
        )
    })
}

/// The fields of a line; one in quotes may hold commas, and quotes written twice.
fn fields(line: &str) -> Result<Vec<Cow<'_, str>>, Wrong> {
    if !line.contains('"') {
        return Ok(line.split(',').map(Cow::Borrowed).collect());
    }
    let wrong = || {
        let message = "a quote that does not close, or text beside quotes".to_owned();
        (
            message,
            "put the whole field in quotes, and write a quote inside of it twice",
        )
    };
    let mut all = Vec::new();
    let mut rest = line;
    loop {
        let Some(quoted) = rest.strip_prefix('"') else {
            let (field, after) = rest
                .split_once(',')
                .map_or((rest, None), |(f, a)| (f, Some(a)));
            if field.contains('"') {
                return Err(wrong());
            }
            all.push(Cow::Borrowed(field));
            match after {
                Some(after) => rest = after,
                None => return Ok(all),
            }
            continue;
        };
        let mut field = String::new();
        let mut inside = quoted;
        let after = loop {
            let (text, after) = inside.split_once('"').ok_or_else(wrong)?;
            field.push_str(text);
            match after.strip_prefix('"') {
                Some(more) => {
                    field.push('"');
                    inside = more;
                }
                None => break after,
            }
        };
        all.push(Cow::Owned(field));
        match after.strip_prefix(',') {
            Some(more) => rest = more,
            None if after.is_empty() => return Ok(all),
            None => return Err(wrong()),
        }
    }
}
