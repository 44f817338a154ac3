//! A controller's end of the stream: a real tonic server with TLS, driven by the test.

use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use futures::Stream;
use holdfast_proto::v1::agent_message::Kind as Said;
use holdfast_proto::v1::controller_message::Kind as Say;
use holdfast_proto::v1::dispatch_server::{Dispatch, DispatchServer};
use holdfast_proto::v1::{AgentMessage, ControllerMessage, Hello, TaskFinished, Welcome};
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use tokio::net::{TcpListener, TcpSocket};
use tokio::sync::mpsc;
use tokio_stream::StreamExt as _;
use tokio_stream::wrappers::{ReceiverStream, TcpListenerStream};
use tokio_util::sync::CancellationToken;
use tonic::transport::{Identity, Server, ServerTlsConfig};
use tonic::{Request, Response, Status, Streaming};

pub(crate) const PATIENCE: Duration = Duration::from_secs(90);
pub(crate) const TOKEN: &str = "the-right-token";

/// A certificate authority and what it signed for `localhost`.
pub(crate) struct Authority {
    pub(crate) ca_pem: String,
    identity: Identity,
}

impl Authority {
    pub(crate) fn new() -> Self {
        let mut params = CertificateParams::new(Vec::<String>::new()).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let issuer = CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap();
        let key = KeyPair::generate().unwrap();
        let leaf = CertificateParams::new(vec!["localhost".to_owned()]).unwrap().signed_by(&key, &issuer).unwrap();
        Self { ca_pem: issuer.pem(), identity: Identity::from_pem(leaf.pem(), key.serialize_pem()) }
    }
}

struct Service {
    streams: mpsc::Sender<Attended>,
    refused: Arc<Mutex<u32>>,
}

#[tonic::async_trait]
impl Dispatch for Service {
    type AttendStream = Pin<Box<dyn Stream<Item = Result<ControllerMessage, Status>> + Send>>;

    async fn attend(&self, request: Request<Streaming<AgentMessage>>) -> Result<Response<Self::AttendStream>, Status> {
        let token = request.metadata().get("authorization").and_then(|value| value.to_str().ok());
        if token != Some(&format!("Bearer {TOKEN}")) {
            *self.refused.lock().unwrap() += 1;
            return Err(Status::unauthenticated("no such token"));
        }
        let (sender, outbound) = mpsc::channel(64);
        let attended = Attended { inbound: request.into_inner(), outbound: sender };
        self.streams.send(attended).await.map_err(|_| Status::unavailable("the test is over"))?;
        Ok(Response::new(Box::pin(ReceiverStream::new(outbound).map(Ok))))
    }
}

/// A running server; dropping it ends every stream.
pub(crate) struct Controller {
    pub(crate) address: SocketAddr,
    pub(crate) refused: Arc<Mutex<u32>>,
    streams: mpsc::Receiver<Attended>,
    end: CancellationToken,
}

impl Controller {
    pub(crate) async fn start(authority: &Authority) -> Self {
        Self::start_at(authority, "127.0.0.1:0".parse().unwrap()).await
    }

    pub(crate) async fn start_at(authority: &Authority, address: SocketAddr) -> Self {
        let listener = listen(address).await;
        let address = listener.local_addr().unwrap();
        let (sender, streams) = mpsc::channel(16);
        let refused = Arc::new(Mutex::new(0));
        let service = Service { streams: sender, refused: Arc::clone(&refused) };
        let end = CancellationToken::new();
        let tls = ServerTlsConfig::new().identity(authority.identity.clone());
        let serving = Server::builder()
            .tls_config(tls)
            .unwrap()
            .add_service(DispatchServer::new(service))
            .serve_with_incoming(TcpListenerStream::new(listener));
        let ended = end.clone();
        tokio::spawn(async move {
            tokio::select! {
                served = serving => served.unwrap(),
                () = ended.cancelled() => {}
            }
        });
        Self { address, refused, streams, end }
    }

    /// The next stream that an agent opens, after its Hello, welcomed as the leader of `epoch` (0: not the leader).
    pub(crate) async fn welcome(&mut self, epoch: u64) -> (Attended, Hello) {
        let mut stream = tokio::time::timeout(PATIENCE, self.streams.recv()).await.expect("no agent attends").unwrap();
        let Said::Hello(hello) = stream.next().await else { panic!("the first message is not Hello") };
        stream.say(Say::Welcome(Welcome { protocol_version: 1, node: "n1".into(), epoch, capabilities: Vec::new() })).await;
        (stream, hello)
    }
}

/// A server that was just dropped may hold the address a moment longer.
async fn listen(address: SocketAddr) -> TcpListener {
    for _ in 0..100 {
        let socket = TcpSocket::new_v4().unwrap();
        socket.set_reuseaddr(true).unwrap();
        if socket.bind(address).is_ok()
            && let Ok(listener) = socket.listen(16)
        {
            return listener;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    panic!("{address} stays taken");
}

impl Drop for Controller {
    fn drop(&mut self) {
        self.end.cancel();
    }
}

/// One agent's stream.
pub(crate) struct Attended {
    inbound: Streaming<AgentMessage>,
    outbound: mpsc::Sender<ControllerMessage>,
}

impl Attended {
    pub(crate) async fn say(&self, kind: Say) {
        self.outbound.send(ControllerMessage { kind: Some(kind) }).await.unwrap();
    }

    pub(crate) async fn next(&mut self) -> Said {
        let message = tokio::time::timeout(PATIENCE, self.inbound.message()).await.expect("the agent says nothing");
        message.unwrap().expect("the agent closed the stream").kind.unwrap()
    }

    /// The next message that `wanted` takes; others are passed over.
    pub(crate) async fn until<T>(&mut self, mut wanted: impl FnMut(Said) -> Option<T>) -> T {
        loop {
            if let Some(found) = wanted(self.next().await) {
                return found;
            }
        }
    }

    pub(crate) async fn finished(&mut self) -> TaskFinished {
        self.until(|said| match said {
            Said::Finished(finished) => Some(finished),
            _ => None,
        })
        .await
    }
}
