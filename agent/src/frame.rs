//! Frames on the socketpair: a little-endian u32 of bytes, then a prost message.

use std::io::{self, Read, Write};

use prost::Message;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use zeroize::Zeroize as _;

fn length(header: [u8; 4], bytes_max: usize) -> io::Result<usize> {
    match usize::try_from(u32::from_le_bytes(header)) {
        Ok(bytes) if bytes <= bytes_max => Ok(bytes),
        _ => Err(io::Error::new(io::ErrorKind::InvalidData, "a frame is longer than any message")),
    }
}

fn decode<M: Message + Default>(mut body: Vec<u8>) -> io::Result<M> {
    let message = M::decode(body.as_slice());
    // A frame may carry a task's secrets; the message's holder wipes its own copy.
    body.zeroize();
    message.map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error))
}

fn encode<M: Message>(message: &M, bytes_max: usize) -> io::Result<Vec<u8>> {
    let body_bytes = message.encoded_len();
    let header = u32::try_from(body_bytes)
        .ok()
        .filter(|_| body_bytes <= bytes_max)
        .ok_or_else(|| io::Error::new(io::ErrorKind::InvalidInput, "a message is longer than a frame may be"))?;
    let mut frame = Vec::with_capacity(body_bytes + 4);
    frame.extend_from_slice(&header.to_le_bytes());
    message.encode(&mut frame).map_err(|error| io::Error::new(io::ErrorKind::InvalidInput, error))?;
    Ok(frame)
}

/// Reads one frame; None at the end of the stream between two frames.
pub(crate) async fn read<M: Message + Default>(stream: &mut (impl AsyncRead + Unpin), bytes_max: usize) -> io::Result<Option<M>> {
    let mut header = [0_u8; 4];
    match stream.read_exact(&mut header).await {
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return Ok(None),
        other => other?,
    };
    let mut body = vec![0; length(header, bytes_max)?];
    stream.read_exact(&mut body).await?;
    decode(body).map(Some)
}

/// Writes one frame.
pub(crate) async fn write<M: Message>(stream: &mut (impl AsyncWrite + Unpin), message: &M, bytes_max: usize) -> io::Result<()> {
    let mut frame = encode(message, bytes_max)?;
    let written = stream.write_all(&frame).await;
    frame.zeroize();
    written
}

/// As [`read`], before there is a runtime.
pub(crate) fn read_blocking<M: Message + Default>(stream: &mut impl Read, bytes_max: usize) -> io::Result<M> {
    let mut header = [0_u8; 4];
    stream.read_exact(&mut header)?;
    let mut body = vec![0; length(header, bytes_max)?];
    stream.read_exact(&mut body)?;
    decode(body)
}

/// As [`write`], before there is a runtime.
pub(crate) fn write_blocking<M: Message>(stream: &mut impl Write, message: &M, bytes_max: usize) -> io::Result<()> {
    let mut frame = encode(message, bytes_max)?;
    let written = stream.write_all(&frame);
    frame.zeroize();
    written
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::worker::message::{FROM_WORKER_BYTES_MAX, FromWorker, Resolve, from_worker::Kind};

    fn resolve(host: String) -> FromWorker {
        FromWorker { kind: Some(Kind::Resolve(Resolve { id: 7, host })) }
    }

    #[tokio::test]
    async fn a_message_comes_out_as_it_went_in() {
        let (mut near, mut far) = tokio::io::duplex(1 << 20);
        let sent = resolve("s3.example".into());
        write(&mut near, &sent, FROM_WORKER_BYTES_MAX).await.unwrap();
        drop(near);
        assert_eq!(read::<FromWorker>(&mut far, FROM_WORKER_BYTES_MAX).await.unwrap(), Some(sent));
        assert_eq!(read::<FromWorker>(&mut far, FROM_WORKER_BYTES_MAX).await.unwrap(), None);
    }

    #[tokio::test]
    async fn a_hostile_length_allocates_nothing() {
        let mut bytes: &[u8] = &[0xff, 0xff, 0xff, 0xff, 1, 2, 3];
        let error = read::<FromWorker>(&mut bytes, FROM_WORKER_BYTES_MAX).await.unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::InvalidData);
    }

    #[test]
    fn neither_side_sends_what_the_other_refuses() {
        let error = write_blocking(&mut Vec::new(), &resolve("x".repeat(200)), 100).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::InvalidInput);
    }

    #[test]
    fn rubbish_is_an_error() {
        let mut frame: &[u8] = &[3, 0, 0, 0, 0xff, 0xff, 0xff];
        assert!(read_blocking::<FromWorker>(&mut frame, FROM_WORKER_BYTES_MAX).is_err());
    }
}
