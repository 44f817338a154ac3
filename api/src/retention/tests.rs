use proptest::prelude::*;

use super::*;
use crate::retention_policy::FailedSnapshotsKeepPolicy;

mod model;

fn at(text: &str) -> Timestamp {
    text.parse().expect("a time")
}

fn good(name: &str, taken: &str) -> Candidate {
    let bytes = [("dump".to_owned(), 10 << 20)].into();
    Candidate { name: name.into(), taken: at(taken), outcome: Outcome::Whole, bytes, is_pinned: false }
}

fn words(set: impl FnOnce(&mut SuccessfulSnapshotsKeepPolicy)) -> RetentionPolicySpec {
    let mut words = SuccessfulSnapshotsKeepPolicy::default();
    set(&mut words);
    RetentionPolicySpec { successful_snapshots: Some(words), ..RetentionPolicySpec::default() }
}

fn removed(policy: &RetentionPolicySpec, candidates: &[Candidate]) -> Vec<String> {
    apply(policy, candidates, None, at("2026-11-26T12:00:00Z")).expect("a policy").removed
}

#[test]
fn what_no_word_keeps_goes_oldest_first() {
    let candidates = [
        good("a", "2026-11-23T10:00:00Z"),
        good("b", "2026-11-25T10:00:00Z"),
        good("c", "2026-11-26T10:00:00Z"),
        good("d", "2026-11-26T11:00:00Z"),
    ];
    assert_eq!(removed(&words(|words| words.last = Some(2)), &candidates), ["a", "b"]);
    // Days without a Snapshot do not count.
    assert_eq!(removed(&words(|words| words.daily = Some(3)), &candidates), ["c"]);
    // 2026-11-23 is a Monday.
    assert_eq!(removed(&words(|words| words.weekly = Some(5)), &candidates), ["a", "b", "c"]);
    assert_eq!(removed(&words(|words| words.last = Some(-3)), &candidates), [""; 0], "nothing is asked for: everything stays");
    assert_eq!(removed(&RetentionPolicySpec::default(), &candidates), [""; 0]);
}

#[test]
fn a_week_of_two_years_is_one_week() {
    let candidates = [good("a", "2026-12-31T10:00:00Z"), good("b", "2027-01-01T10:00:00Z"), good("c", "2027-01-04T10:00:00Z")];
    assert_eq!(removed(&words(|words| words.weekly = Some(9)), &candidates), ["a"]);
    assert_eq!(removed(&words(|words| words.yearly = Some(9)), &candidates), ["b"]);
}

#[test]
fn what_is_too_old_goes_whatever_the_words_say_but_for_the_last_good_one() {
    let candidates = [good("a", "2026-01-01T00:00:00Z"), good("b", "2026-02-01T00:00:00Z")];
    let mut policy = words(|words| words.last = Some(5));
    assert_eq!(removed(&policy, &candidates), [""; 0]);
    policy.max_retention_period = Some("30d".into());
    assert_eq!(removed(&policy, &candidates), ["a"]);
    policy.max_retention_period = Some("9999y".into());
    assert_eq!(removed(&policy, &candidates), [""; 0]);
    policy.max_retention_period = Some("soon".into());
    assert!(apply(&policy, &candidates, None, at("2026-11-26T12:00:00Z")).is_err());
}

#[test]
fn the_newest_without_gaps_stays() {
    let mut candidates: Vec<_> =
        (1..6).map(|day| good(&day.to_string(), &format!("2026-11-{day:02}T00:00:00Z"))).collect();
    candidates[3].outcome = Outcome::WithGaps;
    candidates[4].outcome = Outcome::WithGaps;
    assert_eq!(removed(&words(|words| words.last = Some(1)), &candidates), ["1", "2", "4"]);
}

#[test]
fn failed_ones_are_counted_apart() {
    let mut candidates: Vec<_> =
        (1..6).map(|day| good(&day.to_string(), &format!("2026-11-{day:02}T00:00:00Z"))).collect();
    for failed in [0, 2, 4] {
        candidates[failed].outcome = Outcome::Failed;
    }
    let mut policy = words(|words| words.last = Some(1));
    assert_eq!(removed(&policy, &candidates), ["1", "2", "3"], "one failed one stays where nothing is said");
    policy.failed_snapshots = Some(FailedSnapshotsKeepPolicy { last: Some(0) });
    assert_eq!(removed(&policy, &candidates), ["1", "2", "3", "5"]);
    policy.failed_snapshots = Some(FailedSnapshotsKeepPolicy { last: Some(2) });
    assert_eq!(removed(&policy, &candidates), ["1", "2"]);
}

#[test]
fn what_a_restore_needs_stays_for_now() {
    let mut candidates = [good("a", "2026-11-23T10:00:00Z"), good("b", "2026-11-25T10:00:00Z")];
    candidates[0].is_pinned = true;
    assert_eq!(removed(&words(|words| words.last = Some(1)), &candidates), [""; 0]);
}

#[test]
fn what_was_before_a_sudden_loss_is_held_until_it_is_released() {
    let mut candidates: Vec<_> =
        (1..7).map(|day| good(&day.to_string(), &format!("2026-11-{day:02}T00:00:00Z"))).collect();
    for after in &mut candidates[3..] {
        after.bytes = [("dump".to_owned(), 0)].into();
    }
    let policy = words(|words| words.last = Some(1));
    let now = at("2026-11-26T12:00:00Z");
    let verdict = apply(&policy, &candidates, None, now).unwrap();
    let held = verdict.held.expect("held");
    assert_eq!(verdict.removed, ["4", "5"], "what came after it goes as ever");
    assert_eq!(held.names, ["1", "2", "3"]);
    let shrink = Shrink { before: "3".into(), after: "4".into(), component: "dump".into(), bytes_before: 10 << 20, bytes_after: 0 };
    assert_eq!(held.shrink, shrink);
    // Released for what was taken until the 3rd: nothing is held any more.
    let verdict = apply(&policy, &candidates, Some(at("2026-11-03T00:00:00Z")), now).unwrap();
    assert_eq!((verdict.removed.len(), verdict.held), (5, None));
    // A release of an earlier loss says nothing about this one.
    let verdict = apply(&policy, &candidates, Some(at("2026-11-02T00:00:00Z")), now).unwrap();
    assert_eq!(verdict.removed, ["1", "2", "4", "5"]);
    assert_eq!(verdict.held.expect("held").names, ["3"]);
}

#[test]
fn a_loss_is_half_of_a_component_or_all_of_it() {
    let of = |bytes: &[(&str, u64)]| bytes.iter().map(|(name, bytes)| ((*name).to_owned(), *bytes)).collect();
    let mib = |count: u64| count << 20;
    for (before, after, expected) in [
        (mib(10), mib(5), false),
        (mib(10), mib(5) - 1, true),
        (1 << 20, 1000, false),
        (29, 0, true),
        (0, 0, false),
        (5, 10, false),
    ] {
        assert_eq!(shrunk(&of(&[("dump", before)]), &of(&[("dump", after)])).is_some(), expected, "{before} to {after}");
    }
    // One of many that is empty is a loss, and so is one that is no longer there; a new one is none.
    let two = of(&[("dump-pod-0", mib(900)), ("dump-pod-1", mib(1))]);
    assert_eq!(shrunk(&two, &of(&[("dump-pod-0", mib(900)), ("dump-pod-1", 0)])), Some(("dump-pod-1".into(), mib(1), 0)));
    assert!(shrunk(&two, &of(&[("dump-pod-0", mib(900))])).is_some());
    assert!(shrunk(&of(&[("dump-pod-0", mib(900))]), &two).is_none());
}

fn policies() -> impl Strategy<Value = RetentionPolicySpec> {
    let count = || proptest::option::weighted(0.4, -1..6_i32);
    let words = (count(), count(), count(), count(), count(), count()).prop_map(|(last, hourly, daily, weekly, monthly, yearly)| {
        SuccessfulSnapshotsKeepPolicy { last, hourly, daily, weekly, monthly, yearly }
    });
    (proptest::option::weighted(0.8, words), proptest::option::of(0..500_u32), proptest::option::of(count())).prop_map(
        |(successful_snapshots, days, failed)| RetentionPolicySpec {
            successful_snapshots,
            max_retention_period: days.map(|days| format!("{days}d1h")),
            failed_snapshots: failed.map(|last| FailedSnapshotsKeepPolicy { last }),
            ..RetentionPolicySpec::default()
        },
    )
}

fn candidate_lists() -> impl Strategy<Value = Vec<Candidate>> {
    // Close together and far apart: minutes in bursts, days, and years.
    let taken = prop_oneof![0..300_i64, (0..60_i64).prop_map(|days| days * 1440), 0..1_500_000_i64];
    let outcome = prop_oneof![6 => Just(Outcome::Whole), 1 => Just(Outcome::WithGaps), 2 => Just(Outcome::Failed)];
    let bytes = prop_oneof![4 => Just(Some(64_u64)), 1 => Just(Some(20)), 1 => Just(Some(0)), 1 => Just(None)];
    let one = (taken, outcome, bytes, proptest::bool::weighted(0.1));
    proptest::collection::vec(one, 0..40).prop_map(|list| {
        let candidates = list.into_iter().enumerate().map(|(number, (minutes, outcome, mib, is_pinned))| Candidate {
            name: format!("s{number:02}"),
            taken: Timestamp::from_second(1_795_694_400 - minutes * 60).expect("a time"),
            outcome,
            bytes: mib.map(|mib| ("dump".to_owned(), mib << 20)).into_iter().collect(),
            is_pinned,
        });
        candidates.collect()
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2_000))]

    #[test]
    fn the_planner_is_the_model(policy in policies(), candidates in candidate_lists(), released in proptest::option::of(0..1_000_000_i64)) {
        let now = Timestamp::from_second(1_795_694_400).expect("a time");
        let released = released.map(|minutes| Timestamp::from_second(1_795_694_400 - minutes * 60).expect("a time"));
        let verdict = apply(&policy, &candidates, released, now).expect("a period");
        let (removed, held) = model::verdict(&policy, &candidates, released, now);
        prop_assert_eq!(&verdict.removed, &removed);
        prop_assert_eq!(verdict.held.map(|held| held.names), held);

        // Whatever the policy: the newest good one and the newest whole one stay, and a second run changes nothing.
        let left: Vec<Candidate> = candidates.iter().filter(|candidate| !removed.contains(&candidate.name)).cloned().collect();
        let newest = |all: &[Candidate], is: fn(Outcome) -> bool| {
            all.iter().filter(|candidate| is(candidate.outcome)).map(|candidate| (candidate.taken, candidate.name.clone())).max()
        };
        let (is_good, is_whole): (fn(Outcome) -> bool, fn(Outcome) -> bool) =
            (|outcome| outcome != Outcome::Failed, |outcome| outcome == Outcome::Whole);
        prop_assert_eq!(newest(&candidates, is_good), newest(&left, is_good));
        prop_assert_eq!(newest(&candidates, is_whole), newest(&left, is_whole));
    }

    #[test]
    fn the_order_of_the_list_does_not_matter(policy in policies(), candidates in candidate_lists()) {
        let now = Timestamp::from_second(1_795_694_400).expect("a time");
        let mut turned = candidates.clone();
        turned.reverse();
        prop_assert_eq!(apply(&policy, &candidates, None, now), apply(&policy, &turned, None, now));
    }
}
