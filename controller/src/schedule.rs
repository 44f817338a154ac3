//! Cron schedules as a Kubernetes CronJob reads them.
//!
//! KubeStash schedules through CronJobs, which parse and step with robfig/cron v3: five fields, names, `@daily` and the
//! like, `@every`, and `CRON_TZ=`. Other cron libraries differ in what they accept and in what they do when the clock
//! jumps, so this is that algorithm, and property tests hold it to an independent one and to the clock on the wall.

use jiff::civil::Date;
use jiff::tz::TimeZone;
use jiff::{SignedDuration, Timestamp, ToSpan, Zoned};

mod field;
#[cfg(test)]
mod tests;

use field::{Field, FieldSet};

/// A parsed schedule.
#[derive(Clone, Debug, PartialEq)]
pub struct Schedule {
    zone: TimeZone,
    rule: Rule,
}

#[derive(Clone, Debug, PartialEq)]
enum Rule {
    Fields(Box<Fields>),
    Every(SignedDuration),
}

#[derive(Clone, Debug, PartialEq)]
struct Fields {
    minute: FieldSet,
    hour: FieldSet,
    day: FieldSet,
    month: FieldSet,
    weekday: FieldSet,
}

/// Why a schedule was refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ScheduleError {
    /// No five fields and no `@` word.
    #[error("schedule {0:?} has {1} fields; a cron expression has 5: minute hour day-of-month month day-of-week")]
    Fields(String, usize),
    /// A field that is none.
    #[error("schedule field {field} is {found:?}: {why}")]
    Field {
        /// Which field.
        field: &'static str,
        /// What stood there.
        found: String,
        /// What is allowed.
        why: String,
    },
    /// `@something`.
    #[error(
        "schedule {0:?} is not known; allowed are @yearly, @annually, @monthly, @weekly, @daily, @midnight, @hourly and @every <duration>"
    )]
    Descriptor(String),
    /// `CRON_TZ=somewhere`.
    #[error("time zone {0:?} is not known")]
    Zone(String),
}

/// A slot whose time has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Due {
    /// When it was due.
    pub slot: Timestamp,
    /// The one after it.
    pub next: Option<Timestamp>,
    /// Whether it is later than it may be.
    pub is_too_late: bool,
}

/// Years that `next` looks ahead for a slot (30 February never comes); robfig's limit.
const LOOK_AHEAD_YEARS: i16 = 5;

impl Schedule {
    /// Parses a schedule; without `CRON_TZ=` or `TZ=` it is in `default_zone`.
    pub fn parse(text: &str, default_zone: &TimeZone) -> Result<Self, ScheduleError> {
        let text = text.trim();
        let (zone, rest) = split_zone(text, default_zone)?;
        if let Some(descriptor) = rest.strip_prefix('@') {
            return Ok(Self { zone, rule: descriptor_rule(descriptor, rest)? });
        }
        let words: Vec<&str> = rest.split_whitespace().collect();
        let [minute, hour, day, month, weekday] = words.as_slice() else {
            return Err(ScheduleError::Fields(rest.to_owned(), words.len()));
        };
        let fields = Fields {
            minute: Field::MINUTE.parse(minute)?,
            hour: Field::HOUR.parse(hour)?,
            day: Field::DAY.parse(day)?,
            month: Field::MONTH.parse(month)?,
            weekday: Field::WEEKDAY.parse(weekday)?,
        };
        Ok(Self { zone, rule: Rule::Fields(Box::new(fields)) })
    }

    /// The first slot after `after`; `None` if there is none within five years.
    pub fn next(&self, after: Timestamp) -> Option<Timestamp> {
        match &self.rule {
            Rule::Every(period) => {
                let whole = Timestamp::from_second(after.as_second()).ok()?;
                whole.checked_add(*period).ok()
            }
            Rule::Fields(fields) => {
                let second = after.as_second();
                let minute = Timestamp::from_second(second - second.rem_euclid(60)).ok()?;
                fields.next(minute.checked_add(1.minutes()).ok()?.to_zoned(self.zone.clone())).map(|at| at.timestamp())
            }
        }
    }

    /// Whether `at` is a slot.
    pub fn contains(&self, at: Timestamp) -> bool {
        match &self.rule {
            // A period counts from whenever it was set up: every instant may be its slot.
            Rule::Every(_) => true,
            Rule::Fields(_) => at.checked_sub(1.seconds()).ok().and_then(|before| self.next(before)) == Some(at),
        }
    }

    /// A slot that is kept while it still is one; else the next. One behind the next is of the schedule before: were it kept, a session
    /// that was yearly and is hourly now would wait for its year.
    pub fn kept(&self, slot: Option<Timestamp>, now: Timestamp) -> Option<Timestamp> {
        let next = self.next(now);
        slot.filter(|slot| self.contains(*slot) && next.is_none_or(|next| *slot <= next)).or(next)
    }

    /// The slot that runs now, if the time of the `first` one has come: all that were missed since are the last of them. One that is later
    /// than the seconds that it may be late is not to run.
    pub fn due(&self, first: Timestamp, late_seconds_max: Option<i64>, now: Timestamp) -> Option<Due> {
        if first > now {
            return None;
        }
        let slot = self.last_within(first, now).unwrap_or(first);
        let next = self.next(slot).filter(|next| *next > now).or_else(|| self.next(now));
        let late = now.duration_since(slot);
        let is_too_late = late_seconds_max.is_some_and(|seconds| late > SignedDuration::from_secs(seconds.max(0)));
        Some(Due { slot, next, is_too_late })
    }

    /// The last slot in `(after, until]`, looking at no more than `limit` of them from `after`.
    ///
    /// A CronJob gives up on 100 missed slots; here the newest of the last slots is found by stepping back from `until`
    /// by growing distances, so downtime of any length costs the same.
    pub fn last_within(&self, after: Timestamp, until: Timestamp) -> Option<Timestamp> {
        if let Rule::Every(period) = &self.rule {
            let elapsed = until.duration_since(after).as_secs();
            let steps = elapsed / period.as_secs().max(1);
            return (steps > 0)
                .then(|| after.checked_add(SignedDuration::from_secs(steps * period.as_secs())).ok())
                .flatten();
        }
        let mut back_seconds: i64 = 3600;
        loop {
            let from = until.checked_sub(SignedDuration::from_secs(back_seconds)).ok().filter(|from| *from > after);
            let mut slot = self.next(from.unwrap_or(after)).filter(|slot| *slot <= until);
            if slot.is_some() || from.is_none() {
                while let Some(later) = slot.and_then(|slot| self.next(slot)).filter(|later| *later <= until) {
                    slot = Some(later);
                }
                return slot;
            }
            back_seconds = back_seconds.saturating_mul(8);
        }
    }
}

fn split_zone<'a>(text: &'a str, default_zone: &TimeZone) -> Result<(TimeZone, &'a str), ScheduleError> {
    let Some(named) = text.strip_prefix("CRON_TZ=").or_else(|| text.strip_prefix("TZ=")) else {
        return Ok((default_zone.clone(), text));
    };
    let (name, rest) = named.split_once(char::is_whitespace).unwrap_or((named, ""));
    // jiff reads POSIX zone strings too; only names of the database mean the same to everybody.
    let zone = TimeZone::get(name).map_err(|_| ScheduleError::Zone(name.to_owned()))?;
    Ok((zone, rest.trim()))
}

fn descriptor_rule(descriptor: &str, whole: &str) -> Result<Rule, ScheduleError> {
    let unknown = || ScheduleError::Descriptor(whole.to_owned());
    let expression = match descriptor {
        "yearly" | "annually" => "0 0 1 1 *",
        "monthly" => "0 0 1 * *",
        "weekly" => "0 0 * * 0",
        "daily" | "midnight" => "0 0 * * *",
        "hourly" => "0 * * * *",
        other => {
            let period = other.strip_prefix("every ").ok_or_else(unknown)?;
            let period = holdfast_api::duration::parse(period.trim()).map_err(|_| unknown())?;
            let seconds = i64::try_from(period.as_secs()).map_err(|_| unknown())?.max(1);
            return Ok(Rule::Every(SignedDuration::from_secs(seconds)));
        }
    };
    Schedule::parse(expression, &TimeZone::UTC).map(|schedule| schedule.rule)
}

impl Fields {
    /// robfig's stepping: the largest unit that does not fit is advanced, the smaller ones start again; an advance that
    /// changes a larger unit begins from the top. robfig looks for hour 0 and minute 0 instead, which a clock that jumps over
    /// midnight, or by half an hour, never shows: then a slot of Saturday runs on a Sunday.
    fn next(&self, from: Zoned) -> Option<Zoned> {
        let limit = from.year() + LOOK_AHEAD_YEARS;
        let mut at = from;
        'wrap: loop {
            if at.year() > limit {
                return None;
            }
            while !self.month.has(at.month()) {
                let first = Date::new(at.year(), at.month(), 1).ok()?;
                at = first.checked_add(1.months()).ok()?.to_zoned(at.time_zone().clone()).ok()?;
                if at.month() == 1 {
                    continue 'wrap;
                }
            }
            while !self.day_fits(&at) {
                at = at.date().tomorrow().ok()?.to_zoned(at.time_zone().clone()).ok()?;
                if at.day() == 1 {
                    continue 'wrap;
                }
            }
            while !self.hour.has(at.hour()) {
                // Absolute hours: in a spring gap the skipped hour is never seen, so its slots do not run, and in an
                // autumn overlap the repeated hour is seen twice. A CronJob does the same.
                let past_hour = i64::from(at.minute()) * 60 + i64::from(at.second());
                let before = at.date();
                at = at.checked_add(SignedDuration::from_secs(3600 - past_hour)).ok()?;
                if at.date() != before {
                    continue 'wrap;
                }
            }
            while !self.minute.has(at.minute()) {
                let before = at.hour();
                at = at.checked_add(1.minutes()).ok()?;
                if at.hour() != before {
                    continue 'wrap;
                }
            }
            return Some(at);
        }
    }

    /// A day fits if both fields do, or, when neither is a star, if one does.
    fn day_fits(&self, at: &Zoned) -> bool {
        let day = self.day.has(at.day());
        let weekday = self.weekday.has(at.weekday().to_sunday_zero_offset());
        if self.day.star || self.weekday.star { day && weekday } else { day || weekday }
    }
}
