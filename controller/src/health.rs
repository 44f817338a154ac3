//! Liveness, readiness and a few numbers over plain HTTP, for the kubelet.

use std::fmt::Write;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use axum::Router;
use axum::extract::State;
use axum::http::StatusCode;
use axum::routing::get;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

use crate::dispatch::Dispatcher;
use crate::leadership::Leadership;
use crate::workqueue::WorkQueue;

/// What is served.
#[derive(Clone)]
pub struct Health {
    /// Whether every cache has been filled once.
    pub synced: Arc<AtomicBool>,
    /// Whether this replica leads.
    pub leadership: Leadership,
    /// Tasks.
    pub dispatcher: Dispatcher,
    /// Objects that wait.
    pub queue: WorkQueue,
}

/// Serves until `shutdown`.
pub async fn serve(listener: TcpListener, health: Health, shutdown: CancellationToken) -> std::io::Result<()> {
    let router = Router::new()
        .route("/healthz", get(|| async { "ok" }))
        .route("/readyz", get(ready))
        .route("/statusz", get(numbers))
        .with_state(health);
    axum::serve(listener, router).with_graceful_shutdown(shutdown.cancelled_owned()).await
}

async fn ready(State(health): State<Health>) -> (StatusCode, &'static str) {
    if health.synced.load(Ordering::Relaxed) {
        (StatusCode::OK, "ok")
    } else {
        (StatusCode::SERVICE_UNAVAILABLE, "the caches are not filled yet")
    }
}

async fn numbers(State(health): State<Health>) -> String {
    let (waiting, running) = health.dispatcher.counts();
    let mut text = String::new();
    // Writing to a String cannot fail.
    let _ = writeln!(text, "leading_epoch {}", health.leadership.epoch());
    let _ = writeln!(text, "tasks_waiting {waiting}\ntasks_running {running}\nobjects_queued {}", health.queue.len());
    text
}
