//! Reads of a large file, ahead of need and kind to the page cache: what was in it stays, what only this read brought in goes.
//!
//! The kernel's own read-ahead would hide which is which (it brings in pages that nobody has asked for yet), so where the
//! kernel tells what is cached, it is told to leave that to us.

use std::collections::VecDeque;
use std::ops::Range;

use super::context::Context;
use super::open_file::{Failure, OpenFile};
use crate::chunk::READ_BYTES;

/// Steps that are asked for before they are needed.
const AHEAD_STEPS: usize = 3;

/// Of one run of data after another, by one thread.
#[derive(Debug, Default)]
pub(super) struct ReadAhead {
    steps: VecDeque<Step>,
}

/// A range of at most `READ_BYTES`.
#[derive(Debug)]
struct Step {
    range: Range<u64>,
    was_cached: bool,
}

impl ReadAhead {
    /// Reads at `position` until `room` is full or the file ends; more will be read up to `end`. `room` ends where a step does, or at `end`.
    pub(super) fn read(&mut self, file: &OpenFile, context: &Context, room: &mut [u8], position: u64, end: u64) -> Result<usize, Failure> {
        if !file.tells_cached() {
            return file.read(context, room, position);
        }
        if self.steps.front().is_none_or(|step| step.range.start != position) {
            self.steps.clear();
        }
        let mut next = self.steps.back().map_or(position, |step| step.range.end);
        while self.steps.len() <= AHEAD_STEPS && next < end {
            let range = next..(next + READ_BYTES as u64 - next % READ_BYTES as u64).min(end);
            let was_cached = file.is_cached(&range);
            if !was_cached {
                file.will_need(&range);
            }
            next = range.end;
            self.steps.push_back(Step { range, was_cached });
        }
        let length = file.read(context, room, position)?;
        if let Some(step) = self.steps.pop_front()
            && !step.was_cached
        {
            file.drop_cached(&step.range);
        }
        Ok(length)
    }
}
