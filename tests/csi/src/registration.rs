//! How the driver makes itself known to the kubelet (k8s.io/kubelet/pkg/apis/pluginregistration/v1).
//!
//! Two calls of gRPC, answered by hand: the kubelet names the socket's path as the authority of its requests, and the HTTP/2 library
//! below tonic refuses every authority that is none. What is asked is told apart by its message: only the first one is empty.

use std::io;

use prost::Message;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{UnixListener, UnixStream};

use crate::DRIVER;

const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
/// The kubelet's frames are small; HTTP/2's own limit, since we never raise it.
const FRAME_BYTES_MAX: usize = 1 << 14;
const DATA: u8 = 0;
const HEADERS: u8 = 1;
const SETTINGS: u8 = 4;
const PING: u8 = 6;
const GOAWAY: u8 = 7;
/// Of SETTINGS and PING.
const ACK: u8 = 1;
/// Of DATA and HEADERS.
const END_STREAM: u8 = 1;
const END_HEADERS: u8 = 4;
/// `:status: 200` and `content-type: application/grpc`, the second with its name from the static table (RFC 7541, 6.2.2).
const RESPONSE_HEADERS: &[u8] = b"\x88\x0f\x10\x10application/grpc";
/// `grpc-status: 0`.
const TRAILERS: &[u8] = b"\x00\x0bgrpc-status\x010";
/// Before a gRPC message: not compressed, and its length.
const PREFIX_BYTES: usize = 5;

#[derive(Clone, PartialEq, prost::Message)]
struct PluginInfo {
    #[prost(string, tag = "1")]
    type_: String,
    #[prost(string, tag = "2")]
    name: String,
    #[prost(string, tag = "3")]
    endpoint: String,
    #[prost(string, repeated, tag = "4")]
    supported_versions: Vec<String>,
}

#[derive(Clone, PartialEq, prost::Message)]
struct RegistrationStatus {
    #[prost(bool, tag = "1")]
    plugin_registered: bool,
    #[prost(string, tag = "2")]
    error: String,
}

/// Tells every kubelet that asks where the driver's own socket is, until the listener fails.
pub(crate) async fn serve(listener: UnixListener, endpoint: String) -> io::Result<()> {
    loop {
        let (stream, _) = listener.accept().await?;
        let endpoint = endpoint.clone();
        tokio::spawn(async move {
            match converse(stream, &endpoint).await {
                Err(error) if error.kind() != io::ErrorKind::UnexpectedEof => tracing::warn!(%error, "the kubelet's connection broke"),
                _ => {}
            }
        });
    }
}

struct Frame {
    kind: u8,
    flags: u8,
    stream: u32,
    payload: Vec<u8>,
}

async fn converse(mut stream: UnixStream, endpoint: &str) -> io::Result<()> {
    let mut preface = [0; PREFACE.len()];
    stream.read_exact(&mut preface).await?;
    if preface != PREFACE {
        return Err(io::Error::new(io::ErrorKind::InvalidData, "this is not HTTP/2"));
    }
    send(&mut stream, SETTINGS, 0, 0, &[]).await?;
    // One call at a time: the kubelet waits for the first answer before it says what came of it.
    let mut asked = Vec::new();
    loop {
        let frame = receive(&mut stream).await?;
        match frame.kind {
            SETTINGS | PING if frame.flags & ACK == 0 => {
                let payload = if frame.kind == PING { frame.payload.as_slice() } else { &[] };
                send(&mut stream, frame.kind, ACK, 0, payload).await?;
            }
            GOAWAY => return Ok(()),
            DATA if asked.len() + frame.payload.len() <= FRAME_BYTES_MAX => asked.extend_from_slice(&frame.payload),
            DATA => return Err(io::Error::new(io::ErrorKind::InvalidData, "the message is too long")),
            _ => {}
        }
        if matches!(frame.kind, DATA | HEADERS) && frame.flags & END_STREAM != 0 {
            let message = answer(asked.get(PREFIX_BYTES..).unwrap_or_default(), endpoint)?;
            asked.clear();
            let mut body = vec![0];
            body.extend((message.len() as u32).to_be_bytes());
            body.extend(message);
            send(&mut stream, HEADERS, END_HEADERS, frame.stream, RESPONSE_HEADERS).await?;
            send(&mut stream, DATA, 0, frame.stream, &body).await?;
            send(&mut stream, HEADERS, END_HEADERS | END_STREAM, frame.stream, TRAILERS).await?;
        }
    }
}

/// Who this is; or nothing, to what came of it.
fn answer(message: &[u8], endpoint: &str) -> io::Result<Vec<u8>> {
    if message.is_empty() {
        let info = PluginInfo {
            type_: "CSIPlugin".into(),
            name: DRIVER.into(),
            endpoint: endpoint.into(),
            supported_versions: vec!["1.9.0".into()],
        };
        return Ok(info.encode_to_vec());
    }
    let status = RegistrationStatus::decode(message).map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error))?;
    tracing::info!(registered = status.plugin_registered, error = status.error, "the kubelet has looked at the driver");
    Ok(Vec::new())
}

async fn receive(stream: &mut UnixStream) -> io::Result<Frame> {
    let mut head = [0; 9];
    stream.read_exact(&mut head).await?;
    let [a, b, c, kind, flags, id @ ..] = head;
    let bytes = u32::from_be_bytes([0, a, b, c]) as usize;
    if bytes > FRAME_BYTES_MAX {
        return Err(io::Error::new(io::ErrorKind::InvalidData, "a frame is too long"));
    }
    let mut payload = vec![0; bytes];
    stream.read_exact(&mut payload).await?;
    Ok(Frame { kind, flags, stream: u32::from_be_bytes(id) & (u32::MAX >> 1), payload })
}

async fn send(stream: &mut UnixStream, kind: u8, flags: u8, id: u32, payload: &[u8]) -> io::Result<()> {
    let [_, a, b, c] = (payload.len() as u32).to_be_bytes();
    let mut frame = vec![a, b, c, kind, flags];
    frame.extend(id.to_be_bytes());
    frame.extend_from_slice(payload);
    stream.write_all(&frame).await
}
