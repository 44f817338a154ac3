//! The same rules said of one Snapshot at a time, by counting, with a calendar of its own.

use super::super::{Candidate, Outcome};
use crate::retention_policy::RetentionPolicySpec;
use jiff::Timestamp;

const DAY_SECONDS: i64 = 86_400;

fn is_good(candidate: &Candidate) -> bool {
    candidate.outcome != Outcome::Failed
}

fn is_newer(left: &Candidate, right: &Candidate) -> bool {
    (left.taken, &left.name) > (right.taken, &right.name)
}

/// Year and month of a day since 1970, by walking there.
fn month(day: i64) -> (i64, i64) {
    let leap = |year: i64| (year % 4 == 0 && year % 100 != 0) || year % 400 == 0;
    let (mut year, mut left) = (1970, day);
    while left >= 365 + i64::from(leap(year)) {
        left -= 365 + i64::from(leap(year));
        year += 1;
    }
    let lengths = [31, 28 + i64::from(leap(year)), 31, 30, 31, 30, 31, 31, 30, 31, 30, 31];
    let mut month = 0;
    while left >= lengths[month] {
        left -= lengths[month];
        month += 1;
    }
    (year, month as i64)
}

/// The period of a kind in which a moment lies, as any number that differs for others.
fn period(kind: usize, taken: Timestamp) -> i64 {
    let seconds = taken.as_second();
    let day = seconds.div_euclid(DAY_SECONDS);
    match kind {
        0 => seconds.div_euclid(3600),
        1 => day,
        // The first Monday was 1970-01-05.
        2 => (day - 4).div_euclid(7),
        3 => month(day).0 * 12 + month(day).1,
        _ => month(day).0,
    }
}

/// Kept by `wanted` of a kind: the newest of its period, and fewer than `wanted` newer periods have one.
fn is_kept(kind: usize, wanted: i32, candidate: &Candidate, good: &[&Candidate]) -> bool {
    let own = period(kind, candidate.taken);
    let is_newest = good.iter().all(|other| period(kind, other.taken) != own || !is_newer(other, candidate));
    let mut newer: Vec<i64> = good.iter().map(|other| period(kind, other.taken)).filter(|other| *other > own).collect();
    newer.sort_unstable();
    newer.dedup();
    is_newest && i64::try_from(newer.len()).expect("few") < i64::from(wanted)
}

fn shrank(before: &Candidate, after: &Candidate) -> bool {
    let of = |candidate: &Candidate| candidate.bytes.get("dump").copied();
    match (of(before), of(after).unwrap_or(0)) {
        (None, _) => false,
        (Some(had), has) => (had > 0 && has == 0) || (has < had / 2 && had >= has + (1 << 20)),
    }
}

/// What goes, and what is held, each oldest first.
pub(super) fn verdict(
    policy: &RetentionPolicySpec,
    candidates: &[Candidate],
    released: Option<Timestamp>,
    now: Timestamp,
) -> (Vec<String>, Option<Vec<String>>) {
    let good: Vec<&Candidate> = candidates.iter().filter(|candidate| is_good(candidate)).collect();
    let days = policy.max_retention_period.as_ref().map(|text| text.trim_end_matches("d1h").parse::<i64>().expect("days"));
    let is_expired = |candidate: &Candidate| {
        days.is_some_and(|days| now.as_second() - candidate.taken.as_second() > days * DAY_SECONDS + 3600)
    };
    let is_due = |candidate: &Candidate| {
        let newer = |is: fn(&Candidate) -> bool| candidates.iter().filter(|other| is(other) && is_newer(other, candidate)).count();
        if !is_good(candidate) {
            let last = policy.failed_snapshots.as_ref().map_or(1, |failed| failed.last.unwrap_or(1));
            return is_expired(candidate) || newer(|other| !is_good(other)) as i64 >= i64::from(last);
        }
        let is_last_whole = candidate.outcome == Outcome::Whole && newer(|other| other.outcome == Outcome::Whole) == 0;
        if newer(is_good) == 0 || is_last_whole {
            return false;
        }
        let Some(words) = &policy.successful_snapshots else { return is_expired(candidate) };
        let counts = [words.hourly, words.daily, words.weekly, words.monthly, words.yearly].map(|count| count.unwrap_or(0));
        let last = words.last.unwrap_or(0);
        let asks = last > 0 || counts.iter().any(|count| *count > 0);
        let kept = (newer(is_good) as i64) < i64::from(last)
            || counts.iter().enumerate().any(|(kind, count)| is_kept(kind, *count, candidate, &good));
        is_expired(candidate) || (asks && !kept)
    };
    // A neighbour: nothing good lies between.
    let is_loss = |before: &Candidate, after: &Candidate| {
        is_newer(after, before)
            && !good.iter().any(|between| is_newer(between, before) && is_newer(after, between))
            && released.is_none_or(|released| before.taken > released)
            && shrank(before, after)
    };
    let losses: Vec<&&Candidate> = good.iter().filter(|before| good.iter().any(|after| is_loss(before, after))).collect();
    let is_held = |candidate: &Candidate| {
        is_good(candidate)
            && released.is_none_or(|released| candidate.taken > released)
            && losses.iter().any(|before| !is_newer(candidate, before))
    };
    let mut oldest_first: Vec<&Candidate> = candidates.iter().filter(|candidate| is_due(candidate)).collect();
    oldest_first.sort_by_key(|candidate| (candidate.taken, candidate.name.clone()));
    let names = |keep: &dyn Fn(&Candidate) -> bool| -> Vec<String> {
        oldest_first.iter().filter(|candidate| keep(candidate)).map(|candidate| candidate.name.clone()).collect()
    };
    let held = (!losses.is_empty()).then(|| names(&is_held));
    (names(&|candidate| !is_held(candidate) && !candidate.is_pinned), held)
}
