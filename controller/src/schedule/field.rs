//! One field of a cron expression.

use super::ScheduleError;

/// What may stand in a field.
pub(super) struct Field {
    name: &'static str,
    min: u8,
    max: u8,
    names: &'static [&'static str],
}

/// The values that a field allows.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct FieldSet {
    bits: u64,
    /// `*` or `?` stood there: of the two day fields, only the other one counts.
    pub(super) star: bool,
}

impl FieldSet {
    pub(super) fn has(self, value: i8) -> bool {
        u32::try_from(value).is_ok_and(|value| self.bits >> value & 1 == 1)
    }
}

const MONTHS: [&str; 12] = ["jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec"];
const WEEKDAYS: [&str; 7] = ["sun", "mon", "tue", "wed", "thu", "fri", "sat"];

impl Field {
    pub(super) const MINUTE: Self = Self { name: "minute", min: 0, max: 59, names: &[] };
    pub(super) const HOUR: Self = Self { name: "hour", min: 0, max: 23, names: &[] };
    pub(super) const DAY: Self = Self { name: "day of month", min: 1, max: 31, names: &[] };
    pub(super) const MONTH: Self = Self { name: "month", min: 1, max: 12, names: &MONTHS };
    pub(super) const WEEKDAY: Self = Self { name: "day of week", min: 0, max: 6, names: &WEEKDAYS };

    pub(super) fn parse(&self, text: &str) -> Result<FieldSet, ScheduleError> {
        let mut set = FieldSet { bits: 0, star: false };
        for part in text.split(',') {
            let range = self.range(part)?;
            set.bits |= range.bits;
            set.star |= range.star;
        }
        Ok(set)
    }

    /// `*`, `a`, `a-b`, each with an optional `/step`; `a/step` means from `a` to the end.
    fn range(&self, part: &str) -> Result<FieldSet, ScheduleError> {
        let (span, step) = match part.split_once('/') {
            Some((span, step)) => (span, Some(self.number(step, part)?)),
            None => (part, None),
        };
        if step == Some(0) {
            return Err(self.error(part, "a step of 0 never moves"));
        }
        let star = span == "*" || span == "?";
        let (low, high) = if star {
            (self.min, self.max)
        } else if let Some((low, high)) = span.split_once('-') {
            (self.value(low, part)?, self.value(high, part)?)
        } else {
            let low = self.value(span, part)?;
            (low, if step.is_some() { self.max } else { low })
        };
        if low < self.min || high > self.max {
            return Err(self.error(part, &format!("allowed are {} to {}", self.min, self.max)));
        }
        if low > high {
            return Err(self.error(part, "the range begins after its end"));
        }
        let step = step.unwrap_or(1);
        let bits = (low..=high).step_by(usize::from(step)).fold(0u64, |bits, value| bits | 1 << value);
        // As robfig: a stepped star is not a star for the rule about the two day fields.
        Ok(FieldSet { bits, star: star && step == 1 })
    }

    fn value(&self, text: &str, part: &str) -> Result<u8, ScheduleError> {
        let lower = text.to_ascii_lowercase();
        if let Some(index) = self.names.iter().position(|name| *name == lower) {
            return u8::try_from(index).map(|index| index + self.min).map_err(|_| self.error(part, "too large"));
        }
        self.number(text, part)
    }

    fn number(&self, text: &str, part: &str) -> Result<u8, ScheduleError> {
        if text.is_empty() || !text.bytes().all(|byte| byte.is_ascii_digit()) {
            return Err(self.error(part, &format!("{text:?} is not a number from {} to {}", self.min, self.max)));
        }
        text.parse().map_err(|_| self.error(part, &format!("allowed are {} to {}", self.min, self.max)))
    }

    fn error(&self, found: &str, why: &str) -> ScheduleError {
        ScheduleError::Field { field: self.name, found: found.to_owned(), why: why.to_owned() }
    }
}
