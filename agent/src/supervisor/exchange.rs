//! The data of a task on its way between its worker and a controller: one piece at a time.
//!
//! The worker may be hostile: what it says goes to the controller no faster than that answers, so that no queue of the agent fills.

use std::time::{Duration, Instant};

/// A worker asks again after longer: its controller may be another by now.
const AGAIN: Duration = Duration::from_secs(4);

#[derive(Debug, Default)]
pub(super) struct Exchange {
    /// When the question was passed on that has no answer yet.
    open: Option<Instant>,
}

impl Exchange {
    /// Whether a question may be passed on; if so, it is the open one now.
    pub(super) fn may_ask(&mut self, now: Instant) -> bool {
        let may_ask = self.open.is_none_or(|asked| now.duration_since(asked) >= AGAIN);
        if may_ask {
            self.open = Some(now);
        }
        may_ask
    }

    pub(super) fn answered(&mut self) {
        self.open = None;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_question_is_open_at_a_time_however_often_it_is_asked() {
        let start = Instant::now();
        let mut exchange = Exchange::default();
        assert!(exchange.may_ask(start));
        assert!(!exchange.may_ask(start) && !exchange.may_ask(start + AGAIN / 2));
        assert!(exchange.may_ask(start + AGAIN), "no answer came");
        exchange.answered();
        assert!(exchange.may_ask(start + AGAIN));
    }
}
