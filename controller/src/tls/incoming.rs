//! Accepts connections and shakes hands beside each other, so that a slow peer holds nobody up.

use std::sync::Arc;
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;
use tokio_util::sync::CancellationToken;

/// Handshakes that take longer are somebody holding connections open.
const PATIENCE: Duration = Duration::from_secs(10);
/// Handshakes at once.
const HANDSHAKES_MAX: usize = 128;
/// Connections that nobody has taken yet.
const READY_MAX: usize = 16;

/// Connections whose handshakes are done, until `shutdown`.
pub fn accept(
    listener: TcpListener,
    tls: Arc<rustls::ServerConfig>,
    shutdown: CancellationToken,
) -> mpsc::Receiver<TlsStream<TcpStream>> {
    let tls = TlsAcceptor::from(tls);
    let (ready, incoming) = mpsc::channel(READY_MAX);
    let handshakes = Arc::new(tokio::sync::Semaphore::new(HANDSHAKES_MAX));
    tokio::spawn(async move {
        loop {
            let Ok(permit) = Arc::clone(&handshakes).acquire_owned().await else { return };
            let accepted = tokio::select! {
                () = shutdown.cancelled() => return,
                accepted = listener.accept() => accepted,
            };
            let (socket, peer) = match accepted {
                Ok(accepted) => accepted,
                Err(error) => {
                    // Out of file descriptors, for example: a pause instead of a busy loop.
                    tracing::warn!(%error, "a connection could not be accepted");
                    tokio::time::sleep(Duration::from_millis(100)).await;
                    continue;
                }
            };
            let (tls, ready) = (tls.clone(), ready.clone());
            tokio::spawn(async move {
                let _permit = permit;
                if let Some(stream) = handshake(&tls, socket, peer).await {
                    // The server is gone: so is the connection.
                    let _ = ready.send(stream).await;
                }
            });
        }
    });
    incoming
}

async fn handshake<S: AsyncRead + AsyncWrite + Unpin>(
    tls: &TlsAcceptor,
    socket: S,
    peer: std::net::SocketAddr,
) -> Option<TlsStream<S>> {
    match tokio::time::timeout(PATIENCE, tls.accept(socket)).await {
        Ok(Ok(stream)) => Some(stream),
        Ok(Err(error)) => {
            tracing::info!(%peer, %error, "a TLS handshake failed");
            None
        }
        Err(_) => {
            tracing::info!(%peer, "a TLS handshake took too long");
            None
        }
    }
}
