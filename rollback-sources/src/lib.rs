//! Metric sources of the rollback library: numbers scraped from the instances themselves, and HTTP
//! health checks.
//!
//! | source | asks | answers |
//! |---|---|---|
//! | [`PrometheusText`] | `/metrics` of each instance, in the Prometheus text format | running totals since the process's start, or one value |
//! | `PrometheusApi` (feature `prometheus-api`) | the query API of a Prometheus | counts within the window, or one value |
//! | [`HttpHealth`] | a path of each instance | `up` or `down`, or failed checks of all checks; status, time and size of the answer |
//! | [`HttpJson`] | a path of each instance, or one URL | a field of the JSON body |
//!
//! All are bounded in time, size and redirects ([`Limits`]), retry nothing, and keep what they
//! could not see apart from what they saw: a missing series is [`NoData`], never 0.
//!
//! Rooms: `fetch` (one bounded request), `exposition` (the text format), `query` (the language)
//! and `selector` (what it means), `subject` (whom a question is about) and `places` (where it is
//! asked), `text`, `health` with `aspect` and `checks`, `json`, and `api` (the sources).
//!
//! [`NoData`]: rollback_core::model::ReadError::NoData

#[cfg(feature = "prometheus-api")]
mod api;
mod aspect;
mod checks;
mod exposition;
mod fetch;
#[cfg(any(test, feature = "__fuzzing"))]
#[doc(hidden)]
pub mod fuzzing;
mod health;
mod json;
mod places;
mod query;
mod selector;
mod subject;
mod text;

#[cfg(feature = "prometheus-api")]
pub use api::PrometheusApi;
pub use checks::web_service_checks;
pub use fetch::{Limits, SourceError};
pub use health::HttpHealth;
pub use json::HttpJson;
pub use text::PrometheusText;
