//! What the API's JSON means: <https://prometheus.io/docs/prometheus/latest/querying/api/>.

use std::time::Duration;

use reqwest::StatusCode;
use rollback_core::model::ReadError;
use serde::Deserialize;
use serde_json::Value;

use crate::fetch::Page;

/// One number for one question.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Number {
    pub(crate) value: f64,
    /// The API warned: a part of the storage did not answer.
    pub(crate) partial: bool,
}

#[derive(Debug, Deserialize)]
struct Envelope {
    status: String,
    #[serde(default)]
    data: Option<Data>,
    #[serde(default, rename = "errorType")]
    error_type: String,
    #[serde(default)]
    error: String,
    #[serde(default)]
    warnings: Vec<String>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Data {
    result_type: String,
    result: Value,
}

/// The number in an answer to an instant query, or why there is none.
pub(crate) fn number(api: &str, query: &str, page: &Page) -> Result<Number, ReadError> {
    let envelope: Envelope = match serde_json::from_slice(&page.body) {
        Ok(envelope) => envelope,
        Err(_) if !page.status.is_success() => return Err(unusable(api, page)),
        Err(error) => {
            return Err(unreachable(
                format!("{api} did not answer in the JSON of the Prometheus API: {error}"),
                None,
            ));
        }
    };
    if envelope.status != "success" {
        return Err(refused(api, query, page, &envelope));
    }
    if !page.status.is_success() {
        return Err(unusable(api, page));
    }
    for warning in &envelope.warnings {
        tracing::warn!(%api, %query, %warning, "a partial answer");
    }
    let Some(data) = envelope.data else {
        return Err(unreachable(
            format!("{api} answered success without data"),
            None,
        ));
    };
    let value = value(api, query, &data)?;
    Ok(Number {
        value,
        partial: !envelope.warnings.is_empty(),
    })
}

fn value(api: &str, query: &str, data: &Data) -> Result<f64, ReadError> {
    let sample = match (data.result_type.as_str(), &data.result) {
        ("scalar", sample) => sample,
        ("vector", Value::Array(series)) => match series.as_slice() {
            [] => return Err(ReadError::NoData),
            [one] => match one.get("value") {
                Some(sample) => sample,
                None => {
                    return Err(bad_query(
                        query,
                        "a histogram, not a number; take its quantile or its count",
                    ));
                }
            },
            several => {
                return Err(ReadError::Ambiguous {
                    series: u32::try_from(several.len()).unwrap_or(u32::MAX),
                });
            }
        },
        ("matrix", _) => {
            return Err(bad_query(
                query,
                "a range of samples; put it into a function, such as increase()",
            ));
        }
        ("string", _) => return Err(bad_query(query, "a text, not a number")),
        (other, _) => {
            return Err(unreachable(
                format!("{api} answered a result of type `{other}`"),
                None,
            ));
        }
    };
    let text = sample.get(1).and_then(Value::as_str);
    let number: Option<f64> = text.and_then(|text| text.parse().ok());
    match number {
        Some(value) if value.is_finite() => Ok(value),
        Some(_) => Err(ReadError::NotANumber),
        None => Err(unreachable(
            format!("{api} answered a sample that is none: {sample}"),
            None,
        )),
    }
}

/// The API says itself that it did not do it.
fn refused(api: &str, query: &str, page: &Page, envelope: &Envelope) -> ReadError {
    let said = format!("{} ({})", envelope.error, envelope.error_type);
    match (envelope.error_type.as_str(), page.status.as_u16()) {
        // Its words, since they point at the place in the query.
        ("bad_data" | "execution", _) | (_, 400 | 422) => ReadError::BadQuery {
            why: format!("`{query}`: {said}"),
        },
        _ => unreachable(
            format!("{api} answered {}: {said}", page.status),
            page.retry_after,
        ),
    }
}

/// Something else answered, or something before it.
fn unusable(api: &str, page: &Page) -> ReadError {
    let what_to_do = match page.status {
        StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => {
            "; correct the credentials (`bearer_token`, `basic_auth`)"
        }
        StatusCode::NOT_FOUND => "; is it the address of a Prometheus, without /api/v1?",
        _ => "",
    };
    unreachable(
        format!("{api} answered {}{what_to_do}", page.status),
        page.retry_after,
    )
}

fn bad_query(query: &str, what: &str) -> ReadError {
    ReadError::BadQuery {
        why: format!("`{query}` answers {what}"),
    }
}

fn unreachable(why: String, retry_after: Option<Duration>) -> ReadError {
    ReadError::Unreachable {
        why,
        retry_after_ms: retry_after.map(|wait| u64::try_from(wait.as_millis()).unwrap_or(u64::MAX)),
    }
}
