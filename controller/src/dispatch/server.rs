//! The gRPC server that agents dial: one stream each, authenticated before anything is read from it.

use std::sync::Arc;
use std::time::Duration;

use holdfast_proto::{MESSAGE_BYTES_MAX, PROTOCOL_VERSION, v1};
use tokio::net::TcpListener;
use tokio::sync::mpsc;
use tokio_stream::StreamExt;
use tokio_stream::wrappers::ReceiverStream;
use tokio_util::sync::CancellationToken;
use tonic::{Request, Response, Status, Streaming};
use v1::dispatch_server::{Dispatch, DispatchServer};

use super::Dispatcher;
use super::assign::Preparer;
use super::authenticate::{Authenticator, Identity, Refusal};
use crate::tls::incoming;

/// Messages that may wait for one agent: more than any burst to its slots.
const OUTGOING_MAX: usize = 1024;
/// Hellos that take longer are somebody holding connections open.
const PATIENCE: Duration = Duration::from_secs(10);
/// A peer that does not answer within interval and timeout is gone.
const KEEPALIVE_INTERVAL: Duration = Duration::from_secs(10);
const KEEPALIVE_TIMEOUT: Duration = Duration::from_secs(10);

/// Serves agents.
#[derive(Clone)]
pub struct AgentService {
    dispatcher: Dispatcher,
    preparer: Arc<Preparer>,
    authenticator: Authenticator,
}

impl AgentService {
    /// A service in front of a dispatcher.
    pub fn new(dispatcher: Dispatcher, preparer: Arc<Preparer>, authenticator: Authenticator) -> Self {
        Self { dispatcher, preparer, authenticator }
    }

    /// Serves until `shutdown`.
    pub async fn serve(
        self,
        listener: TcpListener,
        tls: Arc<rustls::ServerConfig>,
        shutdown: CancellationToken,
    ) -> Result<(), tonic::transport::Error> {
        let incoming = ReceiverStream::new(incoming::accept(listener, tls, shutdown.clone())).map(Ok::<_, std::io::Error>);
        let service = DispatchServer::new(self)
            .max_decoding_message_size(MESSAGE_BYTES_MAX)
            .max_encoding_message_size(MESSAGE_BYTES_MAX);
        tonic::transport::Server::builder()
            .http2_keepalive_interval(Some(KEEPALIVE_INTERVAL))
            .http2_keepalive_timeout(Some(KEEPALIVE_TIMEOUT))
            .max_concurrent_streams(Some(16))
            .add_service(service)
            .serve_with_incoming_shutdown(incoming, shutdown.cancelled_owned())
            .await
    }

    async fn identify(&self, request: &Request<Streaming<v1::AgentMessage>>) -> Result<Identity, Status> {
        let authorization = request.metadata().get("authorization").and_then(|value| value.to_str().ok());
        self.authenticator.identify(authorization).await.map_err(|refusal| {
            let peer = request.remote_addr().map(|address| address.to_string()).unwrap_or_default();
            tracing::warn!(peer, %refusal, "an agent was turned away");
            match refusal {
                Refusal::Unauthenticated(message) => Status::unauthenticated(message),
                Refusal::Forbidden(message) => Status::permission_denied(message),
                Refusal::Unavailable(_) => Status::unavailable("the token could not be reviewed now"),
            }
        })
    }

    /// Reads a stream until it ends, from whichever side.
    async fn attend_to(self, id: super::AgentId, mut messages: Streaming<v1::AgentMessage>, closed: CancellationToken) {
        loop {
            let message = tokio::select! {
                () = closed.cancelled() => break,
                message = messages.message() => message,
            };
            match message {
                Ok(Some(v1::AgentMessage { kind: Some(kind) })) => self.dispatcher.heard(id, kind, &self.preparer),
                Ok(Some(v1::AgentMessage { kind: None })) => {
                    tracing::warn!(?id, "an agent sent a message of a kind that this version does not know")
                }
                Ok(None) => break,
                Err(status) => {
                    tracing::info!(?id, %status, "an agent's stream broke");
                    break;
                }
            }
        }
        self.dispatcher.left(id);
    }
}

#[tonic::async_trait]
impl Dispatch for AgentService {
    type AttendStream = ReceiverStream<Result<v1::ControllerMessage, Status>>;

    async fn attend(
        &self,
        request: Request<Streaming<v1::AgentMessage>>,
    ) -> Result<Response<Self::AttendStream>, Status> {
        let identity = self.identify(&request).await?;
        let mut messages = request.into_inner();
        let first = tokio::time::timeout(PATIENCE, messages.message())
            .await
            .map_err(|_| Status::deadline_exceeded("no Hello came"))??;
        let Some(v1::AgentMessage { kind: Some(v1::agent_message::Kind::Hello(hello)) }) = first else {
            return Err(Status::invalid_argument("the first message must be Hello"));
        };
        if hello.protocol_version != PROTOCOL_VERSION {
            return Err(Status::failed_precondition(format!(
                "protocol version {} is not known; this controller speaks {PROTOCOL_VERSION}",
                hello.protocol_version
            )));
        }
        let (outgoing, receiver) = mpsc::channel(OUTGOING_MAX);
        let (id, closed) = self.dispatcher.open(identity.node.clone(), outgoing);
        tracing::info!(
            node = identity.node,
            pod = identity.pod,
            version = hello.agent_version,
            running = hello.running.len(),
            "an agent attends"
        );
        self.dispatcher.joined(id, identity.node, hello);
        tokio::spawn(self.clone().attend_to(id, messages, closed));
        Ok(Response::new(ReceiverStream::new(receiver)))
    }
}
