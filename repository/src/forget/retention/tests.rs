use proptest::prelude::*;

use super::*;
use crate::id::LeaseId;

fn candidate(number: u64, end_ms: i64, component: &str, is_whole: bool) -> Candidate {
    let group = Group { host: String::new(), component: component.into(), sources: Vec::new() };
    Candidate { id: LeaseId { state: number, random: [0; 16] }, end_ms, group, is_whole }
}

/// 2026-11-23T00:00:00Z, a Monday.
const MONDAY_MS: i64 = 1_795_392_000_000;

fn numbers(forgotten: &BTreeSet<SnapshotId>) -> Vec<u64> {
    forgotten.iter().map(|id| id.state).collect()
}

#[test]
fn months_and_years_are_the_calendars() {
    let of = |date: &str| -> i64 {
        let (year, rest) = date.split_once('-').expect("year");
        let (in_year, _) = rest.split_once('-').expect("month");
        year.parse::<i64>().expect("year") * 12 + in_year.parse::<i64>().expect("month") - 1
    };
    for (day, date) in [
        (0, "1970-01-01"),
        (-1, "1969-12-31"),
        (58, "1970-02-28"),
        (59, "1970-03-01"),
        (11_016, "2000-02-29"),
        (11_017, "2000-03-01"),
        (20_779, "2026-11-22"),
        (20_817, "2026-12-30"),
        (20_819, "2027-01-01"),
        (47_540, "2100-02-28"),
        (47_541, "2100-03-01"),
    ] {
        assert_eq!(month(day), of(date), "{date}");
    }
}

#[test]
fn a_week_begins_on_monday() {
    let sunday = candidate(1, MONDAY_MS - 1, "", true);
    let monday = candidate(2, MONDAY_MS, "", true);
    let next_sunday = candidate(3, MONDAY_MS + 7 * DAY_MS - 1, "", true);
    let forgotten = Retention { weekly: 2, ..Retention::default() }.forgets(&[sunday, monday, next_sunday]);
    assert_eq!(numbers(&forgotten), [2]);
}

#[test]
fn periods_without_a_snapshot_do_not_count() {
    let candidates: Vec<_> = [0, 1, 40, 400].iter().enumerate().map(|(at, days)| candidate(at as u64, MONDAY_MS - days * DAY_MS, "", true)).collect();
    assert_eq!(numbers(&Retention { daily: 3, ..Retention::default() }.forgets(&candidates)), [3]);
    assert_eq!(numbers(&Retention { yearly: 2, ..Retention::default() }.forgets(&candidates)), [1, 2]);
}

#[test]
fn the_newest_and_the_newest_whole_one_of_each_group_stay() {
    let candidates = [
        candidate(1, MONDAY_MS, "a", true),
        candidate(2, MONDAY_MS + 1, "a", false),
        candidate(3, MONDAY_MS + 2, "a", false),
        candidate(4, MONDAY_MS, "b", true),
    ];
    assert_eq!(numbers(&Retention { last: 1, ..Retention::default() }.forgets(&candidates)), [2]);
    assert!(Retention::default().forgets(&candidates).is_empty(), "nothing asked for, nothing forgotten");
}

/// The rule in other words: a snapshot is kept by a word if it is the newest of its period, and fewer than so many later periods
/// have one.
fn kept_by_brute_force(retention: &Retention, candidates: &[Candidate], of: &Candidate) -> bool {
    let key = |candidate: &Candidate| (candidate.end_ms, candidate.id);
    let group: Vec<&Candidate> = candidates.iter().filter(|candidate| candidate.group == of.group).collect();
    let newer = group.iter().filter(|candidate| key(candidate) > key(of)).count();
    let newest_whole = of.is_whole && !group.iter().any(|candidate| candidate.is_whole && key(candidate) > key(of));
    let week = |day: i64| (day - 4).div_euclid(7); // 1970-01-05 was a Monday.
    let periods: [(u32, Box<dyn Fn(i64) -> i64>); 5] = [
        (retention.hourly, Box::new(|ms| ms.div_euclid(HOUR_MS))),
        (retention.daily, Box::new(|ms| ms.div_euclid(DAY_MS))),
        (retention.weekly, Box::new(move |ms| week(ms.div_euclid(DAY_MS)))),
        (retention.monthly, Box::new(|ms| month(ms.div_euclid(DAY_MS)))),
        (retention.yearly, Box::new(|ms| month(ms.div_euclid(DAY_MS)) / 12)),
    ];
    let by_a_period = periods.iter().any(|(count, period)| {
        let own = period(of.end_ms);
        let is_newest = !group.iter().any(|candidate| period(candidate.end_ms) == own && key(candidate) > key(of));
        let later: BTreeSet<i64> = group.iter().map(|candidate| period(candidate.end_ms)).filter(|other| *other > own).collect();
        is_newest && later.len() < *count as usize
    });
    newer < (retention.last as usize).max(1) || newest_whole || by_a_period
}

proptest! {
    #[test]
    fn it_does_as_the_rule_says(
        words: [u8; 6],
        taken in prop::collection::vec((0..900_i64 * 24, 0..2_u8, any::<bool>()), 0..60),
    ) {
        let [last, hourly, daily, weekly, monthly, yearly] = words.map(|word| u32::from(word % 8));
        let retention = Retention { last, hourly, daily, weekly, monthly, yearly };
        let candidates: Vec<_> = taken
            .iter()
            .enumerate()
            .map(|(number, (hours, group, is_whole))| candidate(number as u64, MONDAY_MS - hours * HOUR_MS / 2, ["a", "b"][*group as usize], *is_whole))
            .collect();
        let forgotten = retention.forgets(&candidates);
        for candidate in &candidates {
            let kept = retention.is_empty() || kept_by_brute_force(&retention, &candidates, candidate);
            prop_assert_eq!(!forgotten.contains(&candidate.id), kept, "{:?} under {:?}", candidate, retention);
        }
    }
}
