//! Metrics: KubeStash's, under their names, and a few of ours. They are made from the caches when somebody asks, so nothing is counted
//! twice and nothing is lost with a process; only the replica that leads has any of the objects.
//!
//! Served at `/metrics` beside the webhooks, over TLS, to callers whom the API server allows to `get` the path `/metrics`.
//! (<https://prometheus.io/docs/specs/om/open_metrics_spec/>)

use std::fmt;
use std::sync::Arc;

use axum::Router;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric, text};
use prometheus_client::metrics::gauge::ConstGauge;
use prometheus_client::registry::Registry;

use crate::caches::Caches;
use crate::dispatch::Dispatcher;
use crate::leadership::Leadership;

mod caller;
mod family;
mod objects;

use family::Family;

/// What they are made from.
#[derive(Clone)]
pub struct Metrics {
    client: kube::Client,
    caches: Arc<Caches>,
    leadership: Leadership,
    dispatcher: Dispatcher,
}

impl Metrics {
    /// Metrics of this replica.
    pub fn new(client: kube::Client, caches: Arc<Caches>, leadership: Leadership, dispatcher: Dispatcher) -> Self {
        Self { client, caches, leadership, dispatcher }
    }

    /// The path that serves them.
    pub fn router(self) -> Router {
        Router::new().route("/metrics", get(serve)).with_state(self)
    }

    fn families(&self) -> Vec<Family> {
        let leads = self.leadership.epoch() != 0;
        let mut families = vec![Family::new("holdfast_leads", "Whether this replica leads").of_one(f64::from(u8::from(leads)))];
        if leads {
            let (waiting, running) = self.dispatcher.counts();
            families.push(Family::new("holdfast_tasks_waiting", "Backups, restores and upkeep that wait for an agent").of_one(waiting as f64));
            families.push(Family::new("holdfast_tasks_running", "Backups, restores and upkeep that agents are at").of_one(running as f64));
            families.extend(objects::all(&self.caches));
        }
        families
    }
}

async fn serve(State(metrics): State<Metrics>, headers: HeaderMap) -> Response {
    let authorization = headers.get(header::AUTHORIZATION).and_then(|value| value.to_str().ok());
    if let Err(refusal) = caller::may_read(&metrics.client, authorization).await {
        return (refusal.status(), refusal.to_string()).into_response();
    }
    let mut registry = Registry::default();
    registry.register_collector(Box::new(Families(metrics.families())));
    let mut body = String::new();
    match text::encode(&mut body, &registry) {
        Ok(()) => ([(header::CONTENT_TYPE, "application/openmetrics-text; version=1.0.0; charset=utf-8")], body).into_response(),
        Err(error) => (StatusCode::INTERNAL_SERVER_ERROR, error.to_string()).into_response(),
    }
}

#[derive(Debug)]
struct Families(Vec<Family>);

impl Collector for Families {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), fmt::Error> {
        for family in self.0.iter().filter(|family| !family.rows.is_empty()) {
            let gauge = ConstGauge::new(0.0);
            let mut metric = encoder.encode_descriptor(&family.name, &family.help, None, gauge.metric_type())?;
            for (labels, value) in &family.rows {
                if labels.is_empty() {
                    metric.encode_gauge(value)?;
                } else {
                    ConstGauge::new(*value).encode(metric.encode_family(labels)?)?;
                }
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests;
