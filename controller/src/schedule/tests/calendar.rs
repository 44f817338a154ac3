//! A million slots against a model that cannot step wrongly, since it does not step: every minute is looked at, and is a slot if what
//! the clock on the wall shows then is in every field. The expressions are made from their values, so that nothing parses them but us.

use std::cell::Cell;
use std::collections::BTreeSet;

use jiff::tz::TimeZone;
use jiff::{SignedDuration, Timestamp};
use proptest::prelude::*;
use proptest::strategy::ValueTree;
use proptest::test_runner::{Config, TestRunner};

use super::Schedule;

/// Zones whose clocks jump by an hour, by half of one, at midnight, by a day, or not at all.
const ZONES: [&str; 9] = [
    "UTC", "Europe/Berlin", "America/New_York", "Australia/Lord_Howe", "Africa/Cairo", "America/Havana", "America/Sao_Paulo",
    "Asia/Kathmandu", "Pacific/Apia",
];
const SLOTS: usize = 1_000_000;
/// How long a stretch of the calendar is looked at, and by how many schedules.
const MINUTES: i64 = 6 * 24 * 60;
const SCHEDULES: usize = 24;

/// One field: how it is written, what it holds, and whether it is a star.
#[derive(Clone, Debug)]
struct Part {
    text: String,
    values: BTreeSet<i8>,
    star: bool,
}

fn part(min: i8, max: i8) -> impl Strategy<Value = Part> {
    let of = |text: String, values: BTreeSet<i8>| Part { text, values, star: false };
    let all = move || (min..=max).collect::<BTreeSet<i8>>();
    prop_oneof![
        6 => Just(Part { text: "*".into(), values: all(), star: true }),
        1 => Just(Part { text: "?".into(), values: all(), star: true }),
        1 => (min..=max).prop_map(move |value| Part { text: format!("{value},*"), values: all(), star: true }),
        2 => (2i8..=9).prop_map(move |step| of(format!("*/{step}"), (min..=max).step_by(step.unsigned_abs().into()).collect())),
        2 => (min..=max).prop_map(move |value| of(value.to_string(), [value].into())),
        1 => (min..=max, 2i8..=9).prop_map(move |(from, step)| {
            of(format!("{from}/{step}"), (from..=max).step_by(step.unsigned_abs().into()).collect())
        }),
        2 => (min..=max, min..=max).prop_map(move |(one, other)| {
            let (from, to) = (one.min(other), one.max(other));
            of(format!("{from}-{to}"), (from..=to).collect())
        }),
        1 => (min..=max, min..=max).prop_map(move |(one, other)| of(format!("{one},{other}"), [one, other].into())),
    ]
}

/// Minute, hour, day, month and weekday of a clock on the wall.
type Wall = [i8; 5];

fn is_slot(parts: &[Part; 5], wall: &Wall) -> bool {
    let fits = |field: usize| parts[field].values.contains(&wall[field]);
    let day = if parts[2].star || parts[4].star { fits(2) && fits(4) } else { fits(2) || fits(4) };
    fits(0) && fits(1) && day && fits(3)
}

fn parts() -> impl Strategy<Value = [Part; 5]> {
    (part(0, 59), part(0, 23), part(1, 31), part(1, 12), part(0, 6)).prop_map(|(minute, hour, day, month, weekday)| [minute, hour, day, month, weekday])
}

#[test]
fn a_million_slots_are_where_the_clock_on_the_wall_says() {
    let (slots, jumps) = (Cell::new(0usize), Cell::new(0usize));
    let mut runner = TestRunner::new(Config { failure_persistence: None, ..Config::default() });
    // Days since 2000; most stretches begin shortly before a clock jumps.
    let stretch = (0..ZONES.len(), 0i64..12_000, prop::bool::weighted(0.8), prop::collection::vec(parts(), SCHEDULES));
    while slots.get() < SLOTS {
        let case = stretch.new_tree(&mut runner).unwrap().current();
        let (zone, day, at_jump, schedules) = case;
        let name = ZONES[zone];
        let zone = TimeZone::get(name).unwrap();
        let mut start = Timestamp::from_second(946_684_800 + day * 86_400).unwrap();
        if let Some(jump) = zone.following(start).next().filter(|_| at_jump) {
            let second = jump.timestamp().as_second();
            start = Timestamp::from_second(second - second.rem_euclid(60) - 2 * 86_400).unwrap();
        }
        let minutes: Vec<(Timestamp, Wall)> = (1..=MINUTES)
            .map(|minute| {
                let at = start.checked_add(SignedDuration::from_mins(minute)).unwrap();
                let wall = at.to_zoned(zone.clone());
                (at, [wall.minute(), wall.hour(), wall.day(), wall.month(), wall.weekday().to_sunday_zero_offset()])
            })
            .collect();
        let (first, end) = (start.to_zoned(zone.clone()).offset(), minutes[minutes.len() - 1].0);
        jumps.set(jumps.get() + usize::from(end.to_zoned(zone.clone()).offset() != first));
        for parts in &schedules {
            let text = parts.each_ref().map(|part| part.text.as_str()).join(" ");
            let schedule = Schedule::parse(&format!("CRON_TZ={name} {text}"), &TimeZone::UTC).unwrap();
            let mut now = start;
            for (at, _) in minutes.iter().filter(|(_, wall)| is_slot(parts, wall)) {
                let next = schedule.next(now);
                assert_eq!(next, Some(*at), "{text} in {name} after {now}");
                now = *at;
                slots.set(slots.get() + 1);
            }
            let next = schedule.next(now);
            assert!(next.is_none_or(|next| next > end), "{text} in {name}: {next:?} after {now} is no slot");
            let last = minutes.iter().rev().find(|(_, wall)| is_slot(parts, wall)).map(|(at, _)| *at);
            assert_eq!(schedule.last_within(start, end), last, "the last of {text} in {name} within {start} and {end}");
        }
    }
    assert!(jumps.get() > 0, "no clock jumped");
    println!("{} slots, {} jumps of clocks", slots.get(), jumps.get());
}
