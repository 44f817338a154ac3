use croner::Cron;
use croner::parser::{CronParser, Seconds, Year};
use jiff::tz::TimeZone;
use jiff::{Timestamp, Zoned};
use proptest::prelude::*;

use super::{Schedule, ScheduleError};

mod calendar;

fn at(text: &str) -> Timestamp {
    text.parse().unwrap()
}

fn utc(text: &str) -> Schedule {
    Schedule::parse(text, &TimeZone::UTC).unwrap()
}

#[test]
fn next_slots() {
    let cases = [
        ("*/5 * * * *", "2026-11-22T22:01:07Z", "2026-11-22T22:05:00Z"),
        ("0 0 * * *", "2026-11-22T00:00:00Z", "2026-11-23T00:00:00Z"),
        ("@daily", "2026-12-31T23:59:59Z", "2027-01-01T00:00:00Z"),
        ("30 2 29 2 *", "2026-03-01T00:00:00Z", "2028-02-29T02:30:00Z"),
        ("0 9 * * mon-fri", "2026-11-20T10:00:00Z", "2026-11-23T09:00:00Z"),
        // Neither day field is a star: either fits.
        ("0 0 13 * 5", "2026-11-22T00:00:00Z", "2026-11-27T00:00:00Z"),
        ("15 10 ? * 6", "2026-11-22T00:00:00Z", "2026-11-28T10:15:00Z"),
        ("5/20 * * * *", "2026-11-22T10:05:00Z", "2026-11-22T10:25:00Z"),
        ("@every 1h30m", "2026-11-22T10:05:30Z", "2026-11-22T11:35:30Z"),
        ("CRON_TZ=Asia/Tokyo 0 6 * * *", "2026-11-22T00:00:00Z", "2026-11-22T21:00:00Z"),
    ];
    for (schedule, after, expected) in cases {
        assert_eq!(utc(schedule).next(at(after)), Some(at(expected)), "{schedule} after {after}");
    }
    assert_eq!(utc("0 0 30 2 *").next(at("2026-11-22T00:00:00Z")), None);
}

#[test]
fn a_skipped_hour_does_not_run_and_a_repeated_one_runs_twice() {
    // New York: 2026-03-08 02:00 does not exist, 2026-11-01 01:00 comes twice.
    let half_past_two = utc("CRON_TZ=America/New_York 30 2 * * *");
    assert_eq!(half_past_two.next(at("2026-03-07T12:00:00Z")), Some(at("2026-03-09T06:30:00Z")));
    let half_past_one = utc("CRON_TZ=America/New_York 30 1 * * *");
    let first = half_past_one.next(at("2026-11-01T04:00:00Z")).unwrap();
    assert_eq!(first, at("2026-11-01T05:30:00Z"));
    assert_eq!(half_past_one.next(first), Some(at("2026-11-01T06:30:00Z")));
}

#[test]
fn a_clock_that_jumps_over_midnight_or_by_half_an_hour_moves_no_slot() {
    // Apia: Sunday 2010-09-26 has no 00:00; the next Monday is the 27th.
    let weekend = utc("CRON_TZ=Pacific/Apia 0 2-7 * * 1,6");
    assert_eq!(weekend.next(at("2010-09-25T18:59:00Z")), Some(at("2010-09-27T12:00:00Z")));
    // Lord Howe: 2026-10-04 02:00 does not exist, but 02:30 does.
    let one = utc("CRON_TZ=Australia/Lord_Howe 45 1 * * *");
    assert_eq!(one.next(at("2026-10-03T15:20:00Z")), Some(at("2026-10-04T14:45:00Z")));
}

#[test]
fn what_a_cronjob_refuses_is_refused() {
    for text in [
        "",
        "* * * *",
        "* * * * * *",
        "60 * * * *",
        "* 24 * * *",
        "* * 0 * *",
        "* * L * *",
        "* * * * 5#2",
        "* * 15W * *",
        "*/0 * * * *",
        "5-1 * * * *",
        "@reboot",
        "@every",
        "@every soon",
        "a * * * *",
        "* * * foo *",
        "+5 * * * *",
        "* * * * 7",
    ] {
        assert!(Schedule::parse(text, &TimeZone::UTC).is_err(), "{text:?} was accepted");
    }
    assert_eq!(
        Schedule::parse("TZ=Mars/Olympus 0 0 * * *", &TimeZone::UTC),
        Err(ScheduleError::Zone("Mars/Olympus".into()))
    );
}

#[test]
fn missed_slots_collapse_into_the_last() {
    let hourly = utc("@hourly");
    let last = hourly.last_within(at("2026-01-01T00:00:00Z"), at("2026-11-22T22:01:00Z"));
    assert_eq!(last, Some(at("2026-11-22T22:00:00Z")));
    assert_eq!(hourly.last_within(at("2026-11-22T22:00:00Z"), at("2026-11-22T22:59:59Z")), None);
    let yearly = utc("@yearly");
    assert_eq!(
        yearly.last_within(at("2023-06-01T00:00:00Z"), at("2026-11-22T00:00:00Z")),
        Some(at("2026-01-01T00:00:00Z"))
    );
}

fn reference(text: &str) -> Cron {
    CronParser::builder().seconds(Seconds::Disallowed).year(Year::Disallowed).build().parse(text).unwrap()
}

fn field(min: u8, max: u8) -> impl Strategy<Value = String> {
    prop_oneof![
        3 => Just("*".to_owned()),
        2 => (min..=max).prop_map(|value| value.to_string()),
        1 => (min..=max, min..=max).prop_map(|(a, b)| format!("{}-{}", a.min(b), a.max(b))),
        1 => (2u8..=9).prop_map(|step| format!("*/{step}")),
        1 => (min..=max, min..=max).prop_map(|(a, b)| format!("{a},{b}")),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, failure_persistence: None, ..ProptestConfig::default() })]

    /// An independent implementation agrees (in UTC; the two differ on purpose when the clock jumps, and on a stepped star
    /// beside another day field).
    #[test]
    fn agrees_with_an_independent_cron(
        minute in field(0, 59), hour in field(0, 23), day in field(1, 28), month in field(1, 12), weekday in field(0, 6),
        start in 1_600_000_000i64..1_900_000_000,
    ) {
        prop_assume!(!(day.contains("*/") || weekday.contains("*/")));
        let text = format!("{minute} {hour} {day} {month} {weekday}");
        let (ours, theirs) = (utc(&text), reference(&text));
        let mut now = Timestamp::from_second(start).unwrap();
        for _ in 0..5 {
            let zoned: Zoned = now.to_zoned(TimeZone::UTC);
            let expected = theirs.find_next_occurrence(&zoned, false).ok().map(|next| next.timestamp());
            let found = ours.next(now);
            prop_assert_eq!(found, expected, "{} after {}", text, now);
            let Some(found) = found else { break };
            prop_assert!(ours.contains(found));
            now = found;
        }
    }

    #[test]
    fn the_parser_never_panics(text in ".{0,40}") {
        if let Ok(schedule) = Schedule::parse(&text, &TimeZone::UTC) {
            let _ = schedule.next(Timestamp::UNIX_EPOCH);
        }
    }
}
