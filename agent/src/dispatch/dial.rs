//! One stream to one controller, from dial to end. CA and token are read anew each time, so both may rotate.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use holdfast_proto::MESSAGE_BYTES_MAX;
use holdfast_proto::v1::controller_message::Kind;
use holdfast_proto::v1::dispatch_client::DispatchClient;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tokio_util::sync::CancellationToken;
use tonic::metadata::{Ascii, MetadataValue};
use tonic::transport::{Certificate, Channel, ClientTlsConfig, Endpoint};
use tonic::{Request, Status};

use super::address;
use crate::config::Config;
use crate::hub::{ConnectionId, Event, OUTBOUND_MAX};

const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
/// A controller that is there answers the call at once.
const WELCOME_TIMEOUT: Duration = Duration::from_secs(15);
/// A dead peer is noticed after both: well before the 60 s without a controller.
const KEEPALIVE_INTERVAL: Duration = Duration::from_secs(10);
const KEEPALIVE_TIMEOUT: Duration = Duration::from_secs(10);

/// How a stream ended, for the backoff and the log.
#[derive(Debug)]
pub(super) enum Ended {
    Before(String),
    AfterWelcome(String),
}

pub(super) async fn attend(
    config: &Config,
    address: SocketAddr,
    id: ConnectionId,
    events: &mpsc::Sender<Event>,
    attending: &AtomicU64,
    shutdown: &CancellationToken,
) -> Ended {
    let close = CancellationToken::new();
    let welcomed = AtomicBool::new(false);
    let on_welcome = || {
        if !welcomed.swap(true, Ordering::Relaxed) {
            attending.fetch_add(1, Ordering::Relaxed);
        }
    };
    let result = tokio::select! {
        result = stream(config, address, id, events, &close, &on_welcome) => result,
        () = close.cancelled() => Err("the controller takes no more messages".into()),
        () = shutdown.cancelled() => Err("the agent is being stopped".into()),
    };
    // The hub ends after the streams, or the agent does.
    let _ = events.send(Event::Closed { id }).await;
    let reason = result.err().unwrap_or_else(|| "the controller closed it".into());
    if welcomed.into_inner() {
        attending.fetch_sub(1, Ordering::Relaxed);
        Ended::AfterWelcome(reason)
    } else {
        Ended::Before(reason)
    }
}

async fn stream(
    config: &Config,
    address: SocketAddr,
    id: ConnectionId,
    events: &mpsc::Sender<Event>,
    close: &CancellationToken,
    on_welcome: &(dyn Fn() + Send + Sync),
) -> Result<(), String> {
    let channel = connect(config, address).await?;
    let token = bearer(config)?;
    let (sender, outbound) = mpsc::channel(OUTBOUND_MAX);
    let hub_gone = |_| "the agent is ending".to_owned();
    events.send(Event::Opening { id, sender, close: close.clone() }).await.map_err(hub_gone)?;

    let mut request = Request::new(ReceiverStream::new(outbound));
    request.metadata_mut().insert("authorization", token);
    let mut client = DispatchClient::new(channel)
        .max_decoding_message_size(MESSAGE_BYTES_MAX)
        .max_encoding_message_size(MESSAGE_BYTES_MAX);
    let answered = tokio::time::timeout(WELCOME_TIMEOUT, client.attend(request)).await;
    let mut inbound = answered.map_err(|_| "no answer to the call".to_owned())?.map_err(|status| say(&status))?.into_inner();
    let mut welcomed = false;
    loop {
        let next = async {
            if welcomed {
                return Ok(inbound.message().await);
            }
            tokio::time::timeout(WELCOME_TIMEOUT, inbound.message()).await.map_err(|_| "no Welcome".to_owned())
        };
        let Some(message) = next.await?.map_err(|status| say(&status))? else { return Ok(()) };
        if matches!(message.kind, Some(Kind::Welcome(_))) {
            welcomed = true;
            on_welcome();
        } else if !welcomed {
            return Err("its first message is not Welcome".into());
        }
        events.send(Event::Message { id, message: Box::new(message) }).await.map_err(hub_gone)?;
    }
}

async fn connect(config: &Config, address: SocketAddr) -> Result<Channel, String> {
    let ca = config.ca.read().map_err(|error| format!("the CA cannot be read: {error}"))?;
    let host = address::host(&config.controller);
    let tls = ClientTlsConfig::new().ca_certificate(Certificate::from_pem(ca.as_slice())).domain_name(host);
    let endpoint = Endpoint::from_shared(format!("https://{address}"))
        .and_then(|endpoint| endpoint.tls_config(tls))
        .map_err(|error| chain(&error))?
        .connect_timeout(CONNECT_TIMEOUT)
        .http2_keep_alive_interval(KEEPALIVE_INTERVAL)
        .keep_alive_timeout(KEEPALIVE_TIMEOUT)
        .keep_alive_while_idle(true)
        .tcp_nodelay(true);
    endpoint.connect().await.map_err(|error| chain(&error))
}

fn bearer(config: &Config) -> Result<MetadataValue<Ascii>, String> {
    let token = config.token.read().map_err(|error| format!("the token cannot be read: {error}"))?;
    let text = std::str::from_utf8(&token).map_err(|_| "the token is no text".to_owned())?;
    let header = zeroize::Zeroizing::new(format!("Bearer {}", text.trim()));
    let mut value = MetadataValue::try_from(header.as_str()).map_err(|_| "the token is no header value".to_owned())?;
    value.set_sensitive(true);
    Ok(value)
}

fn say(status: &Status) -> String {
    format!("{:?}: {}", status.code(), status.message())
}

fn chain(error: &dyn std::error::Error) -> String {
    crate::worker::failure::chain(error)
}
