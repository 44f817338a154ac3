//! The open streams to controllers, and which of them leads.

use std::collections::HashMap;

use holdfast_proto::v1::AgentMessage;
use holdfast_proto::v1::agent_message::Kind;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

/// Messages waiting for one controller. Results of a whole node after a reconnect fit in.
pub(crate) const OUTBOUND_MAX: usize = 2048;

/// Number of a stream; never used twice.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct ConnectionId(pub(crate) u64);

#[derive(Debug)]
struct Connection {
    sender: mpsc::Sender<AgentMessage>,
    close: CancellationToken,
    epoch: u64,
    /// What the roster's number was when it was told of our tasks.
    told_at: u64,
}

#[derive(Debug, Default)]
pub(super) struct Connections {
    open: HashMap<ConnectionId, Connection>,
}

impl Connections {
    pub(super) fn opened(&mut self, id: ConnectionId, sender: mpsc::Sender<AgentMessage>, close: CancellationToken) {
        self.open.insert(id, Connection { sender, close, epoch: 0, told_at: 0 });
    }

    pub(super) fn closed(&mut self, id: ConnectionId) {
        self.open.remove(&id);
    }

    pub(super) fn leads(&mut self, id: ConnectionId, epoch: u64) {
        if let Some(connection) = self.open.get_mut(&id) {
            connection.epoch = epoch;
        }
    }

    pub(super) fn epoch(&self, id: ConnectionId) -> u64 {
        self.open.get(&id).map_or(0, |connection| connection.epoch)
    }

    /// It is told of our tasks as they are at this number of the roster.
    pub(super) fn told(&mut self, id: ConnectionId, changes: u64) {
        if let Some(connection) = self.open.get_mut(&id) {
            connection.told_at = changes;
        }
    }

    /// Whether it has been told of our tasks as they are.
    pub(super) fn knows(&self, id: ConnectionId, changes: u64) -> bool {
        self.open.get(&id).is_some_and(|connection| connection.told_at == changes)
    }

    /// The stream with the highest leadership; None if nobody claims one.
    pub(super) fn leader(&self) -> Option<ConnectionId> {
        let leading = self.open.iter().filter(|(_, connection)| connection.epoch > 0);
        leading.max_by_key(|(id, connection)| (connection.epoch, **id)).map(|(id, _)| *id)
    }

    /// Sends, or closes a stream that does not take it: everything is said again on the next one.
    pub(super) fn send(&mut self, id: ConnectionId, kind: Kind) {
        let Some(connection) = self.open.get(&id) else { return };
        if connection.sender.try_send(AgentMessage { kind: Some(kind) }).is_err() {
            connection.close.cancel();
            self.open.remove(&id);
        }
    }

    /// For what the next second replaces anyway.
    pub(super) fn send_if_room(&self, kind: Kind) {
        let leader = self.leader().and_then(|id| self.open.get(&id));
        if let Some(connection) = leader
            && connection.sender.capacity() > OUTBOUND_MAX / 2
        {
            // Room was just seen; a closed stream is noticed by whoever reads it.
            let _ = connection.sender.try_send(AgentMessage { kind: Some(kind) });
        }
    }
}
