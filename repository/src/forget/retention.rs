//! Which snapshots a retention policy keeps: pure. The words are KubeStash's, the counting restic's: for each word the newest
//! snapshot of each of the last so many hours, days, ... that have one. Hours, days and weeks (from Monday) are UTC's.

use std::collections::{BTreeMap, BTreeSet};

use crate::id::SnapshotId;
use crate::snapshot::SnapshotRecord;

const HOUR_MS: i64 = 3_600_000;
const DAY_MS: i64 = 24 * HOUR_MS;

/// How many to keep of each kind; 0 of all: nothing is asked for, and everything is kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Retention {
    /// The newest ones.
    pub last: u32,
    /// Of hours that have one.
    pub hourly: u32,
    /// Of days.
    pub daily: u32,
    /// Of weeks, from Monday.
    pub weekly: u32,
    /// Of months.
    pub monthly: u32,
    /// Of years.
    pub yearly: u32,
}

/// Snapshots of the same thing: a policy counts in each group apart.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Group {
    /// Where it was taken.
    pub host: String,
    /// The component, or empty.
    pub component: String,
    /// Claim and path in it, or the path alone where there is no claim.
    pub sources: Vec<(String, Vec<u8>)>,
}

impl Group {
    /// Of a snapshot. A claim is known by its UID and not by the host, for its pod may move.
    pub fn of(record: &SnapshotRecord) -> Self {
        let mut sources: Vec<_> = record
            .sources
            .iter()
            .map(|source| if source.pvc_uid.is_empty() { (String::new(), source.path.clone()) } else { (source.pvc_uid.clone(), source.path_in_volume.clone()) })
            .collect();
        sources.sort();
        let is_claimed = sources.iter().all(|(uid, _)| !uid.is_empty()) && !sources.is_empty();
        Self { host: if is_claimed { String::new() } else { record.host.clone() }, component: record.component.clone(), sources }
    }
}

/// What a policy looks at.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Candidate {
    /// The snapshot.
    pub id: SnapshotId,
    /// When it was committed, milliseconds since 1970.
    pub end_ms: i64,
    /// What it is of.
    pub group: Group,
    /// Everything could be read.
    pub is_whole: bool,
}

impl Candidate {
    /// From an accepted snapshot.
    pub fn of(id: SnapshotId, record: &SnapshotRecord) -> Self {
        Self { id, end_ms: record.end_ms, group: Group::of(record), is_whole: record.statistics.unreadable == 0 }
    }
}

impl Retention {
    /// Nothing is asked for.
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }

    /// What to forget. Of each group the newest stays whatever the policy says, and so does the newest that is whole.
    pub fn forgets(&self, candidates: &[Candidate]) -> BTreeSet<SnapshotId> {
        if self.is_empty() {
            return BTreeSet::new();
        }
        let mut groups: BTreeMap<&Group, Vec<&Candidate>> = BTreeMap::new();
        for candidate in candidates {
            groups.entry(&candidate.group).or_default().push(candidate);
        }
        let mut forgotten = BTreeSet::new();
        for (_, mut group) in groups {
            group.sort_unstable_by_key(|candidate| std::cmp::Reverse((candidate.end_ms, candidate.id)));
            let kept = self.keeps(&group);
            forgotten.extend(group.iter().map(|candidate| candidate.id).filter(|id| !kept.contains(id)));
        }
        forgotten
    }

    /// Of one group, newest first.
    fn keeps(&self, group: &[&Candidate]) -> BTreeSet<SnapshotId> {
        let mut kept: BTreeSet<SnapshotId> = group.iter().take((self.last as usize).max(1)).map(|candidate| candidate.id).collect();
        kept.extend(group.iter().find(|candidate| candidate.is_whole).map(|candidate| candidate.id));
        let words: [(u32, fn(i64) -> i64); 5] = [
            (self.hourly, |ms| ms.div_euclid(HOUR_MS)),
            (self.daily, |ms| ms.div_euclid(DAY_MS)),
            // 1970 began on a Thursday.
            (self.weekly, |ms| (ms.div_euclid(DAY_MS) + 3).div_euclid(7)),
            (self.monthly, |ms| month(ms.div_euclid(DAY_MS))),
            (self.yearly, |ms| month(ms.div_euclid(DAY_MS)).div_euclid(12)),
        ];
        for (count, period) in words {
            let mut periods = BTreeSet::new();
            for candidate in group {
                let is_first = periods.insert(period(candidate.end_ms));
                if periods.len() > count as usize {
                    break;
                }
                if is_first {
                    kept.insert(candidate.id);
                }
            }
        }
        kept
    }
}

/// Months since year 0 of the Gregorian calendar, of a day since 1970 (`civil_from_days` of Hinnant's "chrono-Compatible Low-Level
/// Date Algorithms").
fn month(day: i64) -> i64 {
    let day = day + 719_468;
    let era = day.div_euclid(146_097);
    let of_era = day.rem_euclid(146_097);
    let year_of_era = (of_era - of_era / 1460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let from_march = (5 * of_year + 2) / 153;
    (year_of_era + era * 400) * 12 + from_march + 2
}

#[cfg(test)]
mod tests;
