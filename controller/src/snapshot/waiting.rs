//! What a backup that has not begun has waited for too long: said in a condition, since an Event is gone in an hour and waiting has no end.

use std::time::Duration;

use holdfast_api::condition::kinds::backup_session::POD_PENDING_LONGER_THAN_EXPECTED;
use holdfast_api::condition::{self, Condition};
use jiff::{SignedDuration, Timestamp};

/// How long a backup may wait before its objects say so; less would be a write more for each of many that begin at once.
const EXPECTED: SignedDuration = SignedDuration::from_mins(5);
/// Components that are named.
const NAMED_MAX: usize = 5;

/// Says or no longer says what is waited for, by an object of this age; also when to look again.
pub fn note(conditions: &mut Vec<Condition>, waits: &[String], created: Timestamp, now: Timestamp) -> Option<Duration> {
    if waits.is_empty() {
        condition::remove(conditions, POD_PENDING_LONGER_THAN_EXPECTED);
        return None;
    }
    let left = EXPECTED - now.duration_since(created);
    if left > SignedDuration::ZERO {
        return Some(left.unsigned_abs());
    }
    let named: Vec<&str> = waits.iter().take(NAMED_MAX).map(String::as_str).collect();
    let type_ = POD_PENDING_LONGER_THAN_EXPECTED;
    condition::set(conditions, Condition::new(type_, true, type_, named.join("; "), now));
    None
}

/// What an object says that it waits for.
pub fn said(conditions: &[Condition]) -> Option<&str> {
    condition::get(conditions, POD_PENDING_LONGER_THAN_EXPECTED)?.message.as_deref()
}
