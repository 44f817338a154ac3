//! The data of tasks: asked for by agents, and brought by them. Of an attempt that does not run here nothing is said or taken.

use std::sync::Arc;

use holdfast_proto::v1;

use super::Dispatcher;
use super::agents::AgentId;
use super::assign::Preparer;
use super::task::{TaskKey, Work};
use crate::manifests::courier::Attempt;

/// Which attempt a message is about, and what it is to do; none if this agent does not run it.
type Asked = Option<(Attempt, Work)>;

impl Dispatcher {
    fn asked(&self, id: AgentId, task: Option<&v1::TaskRef>) -> Asked {
        let task = task?;
        let request = self.with_table(|table, _| table.held_request(id, task)).flatten()?;
        let key = TaskKey { owner_uid: task.session_uid.clone(), component: task.component.clone() };
        Some(((key, task.attempt), request.work))
    }

    pub(super) fn serve_data(&self, id: AgentId, request: v1::DataRequest, preparer: Arc<Preparer>) {
        let Some((attempt, Work::StoreManifests { order, .. })) = self.asked(id, request.task.as_ref()) else { return };
        let (dispatcher, courier) = (self.clone(), Arc::clone(&self.0.courier));
        tokio::spawn(async move {
            if let Some(data) = courier.serve(&preparer.client, attempt, *order, request).await {
                dispatcher.say(id, v1::controller_message::Kind::Data(data));
            }
        });
    }

    pub(super) fn take_data(&self, id: AgentId, piece: v1::DataPiece, preparer: &Preparer) {
        let Some((attempt, Work::ReturnManifests { order, .. })) = self.asked(id, piece.task.as_ref()) else { return };
        let (leadership, clock) = (self.0.leadership.clone(), Arc::clone(&self.0.clock));
        let epoch = leadership.epoch();
        let leads = Arc::new(move || leadership.holds(epoch, clock.boottime_ms()));
        let answer = self.0.courier.take(&preparer.client, attempt, *order, piece, leads);
        self.say(id, v1::controller_message::Kind::DataAnswer(answer));
    }

    fn say(&self, id: AgentId, kind: v1::controller_message::Kind) {
        self.send(id, v1::ControllerMessage { kind: Some(kind) });
    }

    /// Streams of attempts that are over end.
    pub(super) fn let_data_go(&self) {
        if !self.0.courier.is_empty() {
            self.with_table(|table, _| self.0.courier.retain(|(key, attempt)| table.goes_on(key, *attempt)));
        }
    }
}
