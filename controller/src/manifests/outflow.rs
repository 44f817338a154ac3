//! Objects on their way out: documents of a YAML stream, each JSON on a line of its own, in pieces.

use holdfast_proto::PIECE_BYTES_MAX;
use serde_json::Value;
use tokio::sync::mpsc;

use super::{NAMED_MAX, Refused};

/// A piece that is ready.
#[derive(Debug, Default)]
pub(super) struct Piece {
    pub(super) bytes: Vec<u8>,
    /// Objects in all pieces so far.
    pub(super) objects: u64,
    /// With the last: what is not in them.
    pub(super) last: Option<LeftOut>,
}

/// What could not be read.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct LeftOut {
    pub(super) count: u64,
    pub(super) first: Vec<String>,
}

impl LeftOut {
    pub(super) fn add(&mut self, what: String) {
        self.count += 1;
        if self.first.len() < NAMED_MAX && !self.first.contains(&what) {
            self.first.push(what);
        }
    }
}

/// Where a reader puts what it finds. Waits while nobody takes it.
#[derive(Debug)]
pub(super) struct Outflow {
    sender: mpsc::Sender<Piece>,
    buffer: Vec<u8>,
    objects: u64,
    pub(super) left_out: LeftOut,
}

impl Outflow {
    pub(super) fn new(sender: mpsc::Sender<Piece>) -> Self {
        Self { sender, buffer: Vec::new(), objects: 0, left_out: LeftOut::default() }
    }

    pub(super) async fn object(&mut self, object: &Value) -> Result<(), Refused> {
        self.buffer.extend_from_slice(b"---\n");
        serde_json::to_writer(&mut self.buffer, object).map_err(|error| Refused::for_good(error.to_string()))?;
        self.buffer.push(b'\n');
        self.objects += 1;
        while self.buffer.len() >= PIECE_BYTES_MAX {
            let rest = self.buffer.split_off(PIECE_BYTES_MAX);
            let bytes = std::mem::replace(&mut self.buffer, rest);
            self.send(Piece { bytes, objects: self.objects, last: None }).await?;
        }
        Ok(())
    }

    /// All that there is has been given. A file of nothing is no backup.
    pub(super) async fn end(mut self) -> Result<(), Refused> {
        if self.objects == 0 {
            let LeftOut { count, first } = &self.left_out;
            return Err(Refused::for_good(match count {
                0 => "no object fits what the task selects".to_owned(),
                _ => format!("nothing could be read: {}", first.join("; ")),
            }));
        }
        let (bytes, last) = (std::mem::take(&mut self.buffer), std::mem::take(&mut self.left_out));
        self.send(Piece { bytes, objects: self.objects, last: Some(last) }).await
    }

    async fn send(&self, piece: Piece) -> Result<(), Refused> {
        self.sender.send(piece).await.map_err(|_| Refused::for_now("nobody takes the manifests any more"))
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[tokio::test]
    async fn pieces_are_bounded_and_make_one_stream_of_documents() {
        let (sender, mut pieces) = mpsc::channel(64);
        let mut outflow = Outflow::new(sender);
        let large = json!({"data": "x".repeat(PIECE_BYTES_MAX * 2)});
        outflow.object(&json!({"text": "a\n---\nb"})).await.unwrap();
        outflow.object(&large).await.unwrap();
        outflow.left_out.add("secrets".into());
        outflow.end().await.unwrap();
        let mut bytes = Vec::new();
        let mut last = None;
        while let Some(piece) = pieces.recv().await {
            assert!(piece.bytes.len() <= PIECE_BYTES_MAX);
            bytes.extend(piece.bytes);
            last = piece.last.map(|left_out| (left_out, piece.objects));
        }
        assert_eq!(last.map(|(left_out, objects)| (left_out.count, objects)), Some((1, 2)));
        let documents: Vec<Value> = serde_saphyr::from_multiple(std::str::from_utf8(&bytes).unwrap()).unwrap();
        assert_eq!(documents, [json!({"text": "a\n---\nb"}), large], "it is YAML, too");
    }

    #[tokio::test]
    async fn nothing_is_no_backup_and_says_why() {
        let (sender, _pieces) = mpsc::channel(1);
        let mut outflow = Outflow::new(sender.clone());
        outflow.left_out.add("secrets: cannot list".into());
        let refused = outflow.end().await.unwrap_err();
        assert!(refused.message.contains("secrets: cannot list") && !refused.retry_may_help);
        assert!(Outflow::new(sender).end().await.unwrap_err().message.contains("no object fits"));
    }
}
