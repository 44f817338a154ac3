//! Which Snapshots of one session in one Repository a RetentionPolicy removes: pure.
//!
//! `successfulSnapshots` counts as restic does: for each word the newest Snapshot of each of the last so many hours, days, weeks (from
//! Monday), months and years, in UTC, that have one. What no word keeps goes. `maxRetentionPeriod` is a bound beside that: what is older
//! goes whatever the words say. Over both stands what is never removed: the newest good Snapshot, the newest that is without gaps,
//! and, where a volume suddenly shrank, everything from before that until a person says that it was meant.

use std::collections::{BTreeMap, BTreeSet};

use jiff::Timestamp;
use jiff::civil::Date;
use jiff::tz::TimeZone;

use crate::retention_period::{self, ParseRetentionPeriodError};
use crate::retention_policy::{RetentionPolicySpec, SuccessfulSnapshotsKeepPolicy};

/// Failed Snapshots that stay where a policy does not say.
const FAILED_LAST_DEFAULT: i32 = 1;
/// A component that lost less than this has not shrunk, whatever part of it that is: small volumes come and go.
const LOSS_BYTES_MIN: u64 = 1 << 20;

/// What a policy looks at: a Snapshot that has ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Candidate {
    /// Its name.
    pub name: String,
    /// When it was taken.
    pub taken: Timestamp,
    /// How it ended.
    pub outcome: Outcome,
    /// How much data it holds, by component; a component whose size is not known is not there.
    pub bytes: BTreeMap<String, u64>,
    /// Somebody needs it at this moment: a restore.
    pub is_pinned: bool,
}

/// How a Snapshot ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// All of it could be read.
    Whole,
    /// It succeeded, without some files.
    WithGaps,
    /// It failed.
    Failed,
}

/// What is to be done.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Verdict {
    /// Names of what goes, oldest first.
    pub removed: Vec<String>,
    /// What stays only because a volume shrank.
    pub held: Option<Held>,
}

/// Snapshots that stay although the policy no longer asks for them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Held {
    /// Their names, oldest first; perhaps none yet.
    pub names: Vec<String>,
    /// What shrank, the newest time that it did.
    pub shrink: Shrink,
}

/// Where a volume suddenly held much less.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Shrink {
    /// The last Snapshot before.
    pub before: String,
    /// The first one after.
    pub after: String,
    /// The component.
    pub component: String,
    /// What it held.
    pub bytes_before: u64,
    /// What it holds.
    pub bytes_after: u64,
}

/// Applies a policy to all ended Snapshots of a session in a Repository. What was taken until `released` is not held.
pub fn apply(
    policy: &RetentionPolicySpec,
    candidates: &[Candidate],
    released: Option<Timestamp>,
    now: Timestamp,
) -> Result<Verdict, ParseRetentionPeriodError> {
    let period = policy.max_retention_period.as_deref().map(retention_period::parse).transpose()?;
    // A period that reaches beyond the calendar keeps everything.
    let oldest = period.and_then(|period| now.checked_sub(period).ok());
    let expired = |candidate: &Candidate| oldest.is_some_and(|oldest| candidate.taken < oldest);

    let mut newest_first: Vec<&Candidate> = candidates.iter().collect();
    newest_first.sort_by(|left, right| (right.taken, &right.name).cmp(&(left.taken, &left.name)));
    let (failed, good): (Vec<&Candidate>, Vec<&Candidate>) =
        newest_first.into_iter().partition(|candidate| candidate.outcome == Outcome::Failed);

    let asked_for = policy.successful_snapshots.as_ref().and_then(|words| kept_by_words(words, &good));
    let last_whole = good.iter().position(|candidate| candidate.outcome == Outcome::Whole);
    let failed_last = policy.failed_snapshots.as_ref().and_then(|failed| failed.last).unwrap_or(FAILED_LAST_DEFAULT);
    let due_good = good.iter().enumerate().filter(|(at, candidate)| {
        let is_last = *at == 0 || Some(*at) == last_whole;
        let is_asked_for = asked_for.as_ref().is_none_or(|kept| kept.contains(at));
        !is_last && (!is_asked_for || expired(candidate))
    });
    let due_failed = failed.iter().enumerate().filter(|(at, candidate)| *at >= count(failed_last) || expired(candidate));

    let shrink = newest_shrink(&good, released);
    let held_until = shrink.as_ref().and_then(|shrink| good.iter().position(|candidate| candidate.name == shrink.before));
    let is_held = |at: usize, candidate: &Candidate| {
        held_until.is_some_and(|until| at >= until) && released.is_none_or(|released| candidate.taken > released)
    };
    let (held, removed): (Vec<_>, Vec<_>) = due_good.partition(|(at, candidate)| is_held(*at, candidate));
    let mut removed: Vec<&Candidate> =
        removed.into_iter().chain(due_failed).map(|(_, candidate)| *candidate).filter(|candidate| !candidate.is_pinned).collect();
    removed.sort_by(|left, right| (left.taken, &left.name).cmp(&(right.taken, &right.name)));
    Ok(Verdict {
        removed: removed.into_iter().map(|candidate| candidate.name.clone()).collect(),
        held: shrink.map(|shrink| Held { names: held.iter().rev().map(|(_, candidate)| candidate.name.clone()).collect(), shrink }),
    })
}

/// Places of what the words keep, of `good` newest first; none if they ask for nothing: then everything stays.
fn kept_by_words(words: &SuccessfulSnapshotsKeepPolicy, good: &[&Candidate]) -> Option<BTreeSet<usize>> {
    let periods: [(Option<i32>, fn(Date, i8) -> Period); 5] = [
        (words.hourly, |day, hour| Period(day.year(), day.day_of_year(), hour)),
        (words.daily, |day, _| Period(day.year(), day.day_of_year(), 0)),
        (words.weekly, |day, _| Period(day.iso_week_date().year(), day.iso_week_date().week().into(), 0)),
        (words.monthly, |day, _| Period(day.year(), day.month().into(), 0)),
        (words.yearly, |day, _| Period(day.year(), 0, 0)),
    ];
    let last = count(words.last.unwrap_or(0));
    if last == 0 && periods.iter().all(|(wanted, _)| count(wanted.unwrap_or(0)) == 0) {
        return None;
    }
    let mut kept: BTreeSet<usize> = (0..good.len().min(last)).collect();
    for (wanted, period) in periods {
        let mut seen = BTreeSet::new();
        for (at, candidate) in good.iter().enumerate() {
            let taken = candidate.taken.to_zoned(TimeZone::UTC);
            let is_first = seen.insert(period(taken.date(), taken.hour()));
            if seen.len() > count(wanted.unwrap_or(0)) {
                break;
            }
            if is_first {
                kept.insert(at);
            }
        }
    }
    Some(kept)
}

/// One hour, day, week, month or year.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Period(i16, i16, i8);

fn count(wanted: i32) -> usize {
    usize::try_from(wanted).unwrap_or(0)
}

/// The newest place where what came after held much less; what was taken until `released` is no reason any more.
fn newest_shrink(good: &[&Candidate], released: Option<Timestamp>) -> Option<Shrink> {
    let pairs = good.windows(2).filter_map(|pair| match pair {
        [after, before] => Some((*before, *after)),
        _ => None,
    });
    pairs
        .filter(|(before, _)| released.is_none_or(|released| before.taken > released))
        .find_map(|(before, after)| {
            let (component, bytes_before, bytes_after) = shrunk(&before.bytes, &after.bytes)?;
            Some(Shrink { before: before.name.clone(), after: after.name.clone(), component, bytes_before, bytes_after })
        })
}

/// The first component that lost more than half of what it held, or all of it: its name, and how much it held before and after. One
/// that is no longer backed up has lost everything.
pub fn shrunk(before: &BTreeMap<String, u64>, after: &BTreeMap<String, u64>) -> Option<(String, u64, u64)> {
    before.iter().find_map(|(component, had)| {
        let has = after.get(component).copied().unwrap_or(0);
        let is_emptied = has == 0 && *had > 0;
        let is_halved = has < had / 2 && had - has >= LOSS_BYTES_MIN;
        (is_emptied || is_halved).then(|| (component.clone(), *had, has))
    })
}

#[cfg(test)]
mod tests;
