//! What was to be reached, and what was measured.

use std::{fmt, time::Duration};

/// A table of figures.
#[derive(Debug, Default)]
pub struct Figures {
    rows: Vec<[String; 3]>,
}

impl Figures {
    /// An empty one.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// A figure with a bound: the mark says whether it is kept.
    pub fn bounded(
        &mut self,
        what: impl Into<String>,
        measured: Duration,
        bound: Duration,
    ) -> &mut Self {
        let mark = if measured <= bound {
            "✓"
        } else {
            "✗ missed"
        };
        self.row(what, text(measured), format!("≤ {} {mark}", text(bound)))
    }

    /// A number with a bound.
    pub fn number(
        &mut self,
        what: impl Into<String>,
        measured: f64,
        bound: f64,
        unit: &str,
    ) -> &mut Self {
        let mark = if measured <= bound {
            "✓"
        } else {
            "✗ missed"
        };
        let measured = format!("{} {unit}", rounded(measured));
        self.row(
            what,
            measured,
            format!("≤ {} {unit} {mark}", rounded(bound)),
        )
    }

    /// A figure that explains another one.
    pub fn also(&mut self, what: impl Into<String>, measured: impl fmt::Display) -> &mut Self {
        self.row(what, measured.to_string(), String::new())
    }

    fn row(&mut self, what: impl Into<String>, measured: String, reach: String) -> &mut Self {
        self.rows.push([what.into(), measured, reach]);
        self
    }
}

impl fmt::Display for Figures {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let processors = std::thread::available_parallelism().map_or(0, usize::from);
        writeln!(f, "({processors} processors)")?;
        let width = |column: usize| {
            let cells = self.rows.iter().filter_map(|row| row.get(column));
            cells.map(|cell| cell.chars().count()).max().unwrap_or(0)
        };
        let (first, second) = (width(0), width(1));
        for [what, measured, reach] in &self.rows {
            writeln!(f, "{what:first$}  {measured:>second$}  {reach}")?;
        }
        Ok(())
    }
}

/// A duration with three digits or so.
#[must_use]
pub fn text(duration: Duration) -> String {
    let nanos = duration.as_nanos() as f64;
    let (number, unit) = match nanos {
        n if n < 1e3 => (n, "ns"),
        n if n < 1e6 => (n / 1e3, "µs"),
        n if n < 1e9 => (n / 1e6, "ms"),
        n => (n / 1e9, "s"),
    };
    format!("{} {unit}", rounded(number))
}

fn rounded(number: f64) -> String {
    match number {
        n if n >= 100.0 || n == n.round() => format!("{n:.0}"),
        n if n >= 10.0 => format!("{n:.1}"),
        n => format!("{n:.2}"),
    }
}

/// The value below which `share` of the values lie; zero if there are none.
#[must_use]
pub fn percentile(values: &mut [Duration], share: f64) -> Duration {
    values.sort_unstable();
    let at = (values.len() as f64 * share).ceil() as usize;
    values
        .get(at.saturating_sub(1))
        .copied()
        .unwrap_or_default()
}
