//! A restore's right to write, as the agent keeps it. Times are readings of CLOCK_BOOTTIME.
//!
//! Invariant: a right counts from when it was *asked* for, so no delay of question or answer makes it end later here
//! than at the controller.

use std::collections::VecDeque;

/// Questions without an answer; older ones are forgotten, and their late answers ignored.
const UNANSWERED_MAX: usize = 16;
/// Before there is a right, and after a question that got no answer.
const ASK_AGAIN_MS: u64 = 1_000;

#[derive(Debug, Default)]
pub(super) struct Rights {
    wanted: bool,
    sequence: u64,
    unanswered: VecDeque<(u64, u64)>,
    asked_last_ms: u64,
    ttl_ms: u64,
    until_ms: u64,
}

impl Rights {
    pub(super) fn want(&mut self) {
        self.wanted = true;
    }

    /// The number of a question to ask now, if one is due: at once, then when a third of the right has passed.
    pub(super) fn ask(&mut self, now_ms: u64) -> Option<u64> {
        let due = if self.until_ms == 0 {
            self.asked_last_ms + ASK_AGAIN_MS <= now_ms
        } else {
            let early = self.until_ms.saturating_sub(self.ttl_ms - self.ttl_ms / 3);
            early <= now_ms && self.asked_last_ms + ASK_AGAIN_MS.max(self.ttl_ms / 10) <= now_ms
        };
        if !self.wanted || !due {
            return None;
        }
        self.sequence += 1;
        self.asked_last_ms = now_ms;
        self.unanswered.push_back((self.sequence, now_ms));
        if self.unanswered.len() > UNANSWERED_MAX {
            self.unanswered.pop_front();
        }
        Some(self.sequence)
    }

    /// The new end of the right, if this answer moved it.
    pub(super) fn granted(&mut self, sequence: u64, ttl_ms: u64) -> Option<u64> {
        let asked_ms = self.answered(sequence)?;
        let until_ms = asked_ms.saturating_add(ttl_ms);
        if until_ms <= self.until_ms {
            return None;
        }
        self.ttl_ms = ttl_ms;
        self.until_ms = until_ms;
        Some(until_ms)
    }

    /// Whether a refusal ends the task: while a right still runs, only its end does.
    pub(super) fn refused(&mut self, sequence: u64) -> bool {
        self.answered(sequence).is_some() && self.until_ms == 0
    }

    pub(super) fn lapsed(&self, now_ms: u64) -> bool {
        self.until_ms > 0 && self.until_ms <= now_ms
    }

    fn answered(&mut self, sequence: u64) -> Option<u64> {
        let at = self.unanswered.iter().position(|(number, _)| *number == sequence)?;
        let (_, asked_ms) = self.unanswered.remove(at)?;
        Some(asked_ms)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn granted() -> Rights {
        let mut rights = Rights::default();
        rights.want();
        assert_eq!(rights.ask(100_000), Some(1));
        assert_eq!(rights.granted(1, 30_000), Some(130_000));
        rights
    }

    #[test]
    fn nothing_is_asked_before_it_is_wanted() {
        assert_eq!(Rights::default().ask(100_000), None);
    }

    #[test]
    fn the_right_counts_from_the_question_however_late_the_answer() {
        let mut rights = granted();
        assert_eq!(rights.ask(110_000), Some(2));
        // Twenty seconds on the way.
        assert_eq!(rights.granted(2, 30_000), Some(140_000));
        assert!(rights.lapsed(140_000));
        assert!(!rights.lapsed(139_999));
    }

    #[test]
    fn renewal_begins_after_a_third_and_is_repeated() {
        let mut rights = granted();
        assert_eq!(rights.ask(109_999), None);
        assert_eq!(rights.ask(110_000), Some(2));
        assert_eq!(rights.ask(112_999), None);
        assert_eq!(rights.ask(113_000), Some(3));
    }

    #[test]
    fn an_answer_counts_once_and_never_shortens() {
        let mut rights = granted();
        assert_eq!(rights.granted(1, 90_000), None);
        assert_eq!(rights.granted(99, 90_000), None);
        assert_eq!(rights.ask(110_000), Some(2));
        assert_eq!(rights.granted(2, 1_000), None);
        assert!(!rights.lapsed(129_999));
    }

    #[test]
    fn a_refusal_ends_only_what_has_no_right_yet() {
        let mut rights = granted();
        assert_eq!(rights.ask(110_000), Some(2));
        assert!(!rights.refused(2));
        let mut fresh = Rights::default();
        fresh.want();
        assert_eq!(fresh.ask(5_000), Some(1));
        assert!(fresh.refused(1));
    }
}
