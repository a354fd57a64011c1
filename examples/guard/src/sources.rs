//! Where metrics come from: a source for each name that a policy may write at `source:`.

use std::{sync::Arc, time::Duration};

use clap::Args;
use rollback::{
    ControllerBuilder,
    model::Secret,
    ports::MetricSource,
    sources::{HttpHealth, HttpJson, Limits, PrometheusApi, PrometheusText, SourceError},
};
use serde::{Deserialize, Serialize};

use crate::watching::time;

/// Where metrics come from. A metric that names no source is asked of the first that is given of
/// `prometheus`, `metrics`, `health`.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize, Args)]
#[serde(default)]
pub(crate) struct Sources {
    /// `source: prometheus`: a Prometheus, or what speaks its query API; PROMETHEUS_TOKEN is sent as bearer token
    #[arg(long, value_name = "URL", env = "PROMETHEUS_URL")]
    prometheus_url: Option<String>,
    /// How often that Prometheus scrapes: what is younger is not there yet [default: 15s]
    #[arg(long, value_name = "TIME", value_parser = time)]
    scrape_interval: Option<Duration>,
    /// `source: metrics`: a page of metrics
    #[arg(long, value_name = "URL", env = "METRICS_ENDPOINT")]
    metrics_url: Option<String>,
    /// The form of that page: Prometheus text, or JSON with a field for each metric
    #[arg(long, value_enum, default_value = "prometheus")]
    metrics_format: Format,
    /// `source: body`: JSON with fields such as `error_rate` [default: what --health-url answers]
    #[arg(long, value_name = "URL")]
    body_url: Option<String>,
    /// How long a source may take to answer [default: 3s]
    #[arg(long, value_name = "TIME", value_parser = time)]
    source_timeout: Option<Duration>,
}

/// How a page of metrics is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Format {
    #[default]
    Prometheus,
    Json,
}

impl Sources {
    /// With what the health URL says where nothing else is given.
    pub(crate) fn with_body_of(mut self, health_url: Option<&String>) -> Self {
        self.body_url = self.body_url.or_else(|| health_url.cloned());
        self
    }

    /// What a source may cost.
    pub(crate) fn limits(&self) -> Limits {
        match self.source_timeout {
            Some(total) => Limits::default().connect(total).total(total),
            None => Limits::default(),
        }
    }

    /// The name of the source that a metric without one is asked of.
    pub(crate) fn unnamed(&self) -> &'static str {
        match (&self.prometheus_url, &self.metrics_url) {
            (Some(_), _) => "prometheus",
            (None, Some(_)) => "metrics",
            (None, None) => "health",
        }
    }

    /// Hands them to a controller that is to be.
    pub(crate) fn give(
        &self,
        builder: ControllerBuilder,
    ) -> Result<ControllerBuilder, SourceError> {
        let health = HttpHealth::new(self.limits())?;
        let mut builder = builder.metrics_named("health", health.clone());
        let unnamed = self.unnamed();
        if unnamed == "health" {
            builder = builder.metrics(health);
        }
        if let Some(url) = &self.body_url {
            builder = builder.metrics_named("body", HttpJson::at(url, self.limits())?);
        }
        if let Some(url) = &self.metrics_url {
            let page: Arc<dyn MetricSource> = match self.metrics_format {
                Format::Prometheus => Arc::new(PrometheusText::at(url.clone(), self.limits())?),
                Format::Json => Arc::new(HttpJson::at(url, self.limits())?),
            };
            builder = builder.metrics_named("metrics", Arc::clone(&page));
            if unnamed == "metrics" {
                builder = builder.metrics(page);
            }
        }
        if let Some(url) = &self.prometheus_url {
            let mut asked = PrometheusApi::new(url, self.limits())?;
            if let Some(interval) = self.scrape_interval {
                asked = asked.scrape_interval(interval);
            }
            // Kept nowhere: a secret is in the environment of whoever starts the controller.
            if let Ok(token) = std::env::var("PROMETHEUS_TOKEN") {
                asked = asked.bearer_token(Secret::new(token));
            }
            builder = builder
                .metrics_named("prometheus", asked.clone())
                .metrics(asked);
        }
        Ok(builder)
    }
}
