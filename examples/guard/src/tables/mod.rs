//! Document 003's four history tables, as views of the journal: columns as there, rows from the
//! facts and readings. What the journal does not know stays empty.

mod rows;

use std::io::Write;

use serde_json::{Value, json};

use self::rows::{Row, View};
use crate::{
    archive::Archive,
    exit::{FINE, Fallible, Trouble},
};

/// Which table.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
#[value(rename_all = "snake_case")]
pub(crate) enum Table {
    HealthChecks,
    Deployments,
    ProgressiveDeployments,
    VersionMarkers,
}

/// In which form.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Format {
    /// Comma-separated, with a header
    Csv,
    /// One JSON object a line
    Json,
}

impl Table {
    /// Document 003's columns, in its order.
    pub(crate) const fn columns(self) -> &'static [&'static str] {
        match self {
            Self::HealthChecks => &[
                "id",
                "deployment_id",
                "commit_sha",
                "build_id",
                "health_status",
                "response_time_ms",
                "error_rate",
                "availability",
                "endpoint",
                "threshold_error_rate",
                "threshold_response_time",
                "threshold_availability",
                "checks_passed",
                "checks_failed",
                "timestamp",
            ],
            Self::Deployments => &[
                "id",
                "deployment_id",
                "commit_sha",
                "previous_commit",
                "build_id",
                "status",
                "deployment_type",
                "environment",
                "rollback_from_commit",
                "rollback_reason",
                "timestamp",
            ],
            Self::ProgressiveDeployments => &[
                "id",
                "deployment_id",
                "commit_sha",
                "build_id",
                "stage",
                "traffic_percentage",
                "status",
                "error_rate",
                "availability",
                "response_time_ms",
                "started_at",
                "completed_at",
                "rollback_triggered",
                "rollback_reason",
            ],
            Self::VersionMarkers => &["marker_name", "commit_sha", "updated_at"],
        }
    }
}

/// Prints a table.
pub(crate) async fn print(
    archive: &Archive,
    table: Table,
    format: Format,
    environment: &str,
) -> Fallible<u8> {
    let mut view = View::new(environment);
    archive.each(|entry| view.entry(entry)).await?;
    let mut out = std::io::BufWriter::new(std::io::stdout().lock());
    write(&mut out, table, format, view.rows(table)).map_err(Trouble::broke)?;
    Ok(FINE)
}

fn write(
    out: &mut impl Write,
    table: Table,
    format: Format,
    rows: Vec<Row>,
) -> std::io::Result<()> {
    let columns = table.columns();
    if format == Format::Csv {
        writeln!(out, "{}", columns.join(","))?;
    }
    for row in rows {
        // The journal knows no builds; a column is never left out.
        let value = |column: &&str| row.get(*column).cloned().unwrap_or(Value::Null);
        if format == Format::Json {
            let ordered: Vec<String> = columns
                .iter()
                .map(|column| format!("{}:{}", json!(column), value(column)))
                .collect();
            writeln!(out, "{{{}}}", ordered.join(","))?;
        } else {
            let cells: Vec<String> = columns.iter().map(|column| cell(&value(column))).collect();
            writeln!(out, "{}", cells.join(","))?;
        }
    }
    out.flush()
}

/// A value in RFC 4180's form.
fn cell(value: &Value) -> String {
    let text = match value {
        Value::Null => return String::new(),
        Value::String(text) => text.clone(),
        other => other.to_string(),
    };
    if text.contains([',', '"', '\n', '\r']) {
        format!("\"{}\"", text.replace('"', "\"\""))
    } else {
        text
    }
}
