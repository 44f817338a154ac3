//! Admission: the API server shows us every object of our kinds before it is stored, over TLS; we fill in defaults and turn
//! away what is wrong, or what its user may not have done.
//!
//! The reconcilers apply the same rules, so that nothing is lost where webhooks are off. Every replica answers.

use std::sync::Arc;
use std::time::Duration;

use axum::extract::rejection::JsonRejection;
use axum::extract::{DefaultBodyLimit, State};
use axum::http::StatusCode;
use axum::routing::post;
use axum::{Json, Router};
use serde_json::Value;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;
use tokio_rustls::server::TlsStream;
use tokio_util::sync::CancellationToken;

pub mod access;
pub mod judge;
pub mod registration;
pub mod review;
pub mod rights;

use judge::Judge;
use review::{Answer, Request, Review};

use crate::tls::incoming;

/// The API server's own limit for an object is 3 MiB of JSON at most; a review holds two.
const REVIEW_BYTES_MAX: usize = 8 << 20;
/// The API server gives up after 10 s, as the webhook configurations say.
const PATIENCE: Duration = Duration::from_secs(9);

/// Serves until `shutdown`, with what is served `beside` on the same port.
pub async fn serve(
    listener: TcpListener,
    tls: Arc<rustls::ServerConfig>,
    judge: Judge,
    beside: Router,
    shutdown: CancellationToken,
) -> std::io::Result<()> {
    let router = Router::new()
        .route("/mutate", post(mutate))
        .route("/validate", post(validate))
        .layer(DefaultBodyLimit::max(REVIEW_BYTES_MAX))
        .with_state(judge)
        .merge(beside);
    let address = listener.local_addr()?;
    let connections = Connections { address, connections: incoming::accept(listener, tls, shutdown.clone()) };
    axum::serve(connections, router).with_graceful_shutdown(shutdown.cancelled_owned()).await
}

async fn mutate(State(judge): State<Judge>, review: Result<Json<Review>, JsonRejection>) -> Result<Json<Value>, Refused> {
    let Json(Review { request }) = review.map_err(unreadable)?;
    let answer = in_time(judge.defaulted(&request)).await;
    said(&request, &answer)
}

async fn validate(State(judge): State<Judge>, review: Result<Json<Review>, JsonRejection>) -> Result<Json<Value>, Refused> {
    let Json(Review { request }) = review.map_err(unreadable)?;
    let answer = in_time(judge.judged(&request)).await;
    said(&request, &answer)
}

type Refused = (StatusCode, String);

fn unreadable(rejection: JsonRejection) -> Refused {
    (StatusCode::BAD_REQUEST, format!("no AdmissionReview of admission.k8s.io/v1: {rejection}"))
}

async fn in_time(answer: impl Future<Output = Answer>) -> Answer {
    let waited = tokio::time::timeout(PATIENCE, answer).await;
    waited.unwrap_or_else(|_| Answer::Unavailable("the API server did not answer Holdfast's questions in time".to_owned()))
}

fn said(request: &Request, answer: &Answer) -> Result<Json<Value>, Refused> {
    if let Answer::Invalid(message) | Answer::Forbidden(message) = answer {
        let (kind, namespace) = (&request.kind.kind, &request.namespace);
        tracing::info!(kind, namespace, operation = request.operation, message, "an object was turned away");
    }
    let review = answer.to_review(&request.uid);
    review.map(Json).map_err(|error| (StatusCode::INTERNAL_SERVER_ERROR, error.to_string()))
}

/// Connections whose handshakes are done, for axum.
struct Connections {
    address: std::net::SocketAddr,
    connections: mpsc::Receiver<TlsStream<TcpStream>>,
}

impl axum::serve::Listener for Connections {
    type Io = TlsStream<TcpStream>;
    type Addr = std::net::SocketAddr;

    async fn accept(&mut self) -> (Self::Io, Self::Addr) {
        match self.connections.recv().await {
            Some(connection) => {
                let peer = connection.get_ref().0.peer_addr().unwrap_or(self.address);
                (connection, peer)
            }
            // The end comes by the shutdown that ended the accepting.
            None => std::future::pending().await,
        }
    }

    fn local_addr(&self) -> std::io::Result<Self::Addr> {
        Ok(self.address)
    }
}
