//! How long snapshots are kept at most: `2mo`, `30d12h`.

use std::time::Duration;

use thiserror::Error;

const MINUTE: u64 = 60;
const HOUR: u64 = 60 * MINUTE;
const DAY: u64 = 24 * HOUR;

/// Seconds of each unit; `mo` stands before `m`, whose name it begins with.
const UNITS: [(&str, u64); 6] = [
    ("y", 365 * DAY),
    ("mo", 30 * DAY),
    ("w", 7 * DAY),
    ("d", DAY),
    ("h", HOUR),
    ("m", MINUTE),
];

/// A text that is no retention period.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error(
    "not a retention period: {0:?}; write one as in 2mo or 30d12h, with the units y, mo, w, d, h, m"
)]
pub struct ParseRetentionPeriodError(String);

/// Reads a retention period; a month has 30 days, a year 365. An empty or negative one is refused.
///
/// KubeStash lets a repeated unit replace the first and takes an empty period for none at all. Either would remove
/// snapshots that their owner meant to keep, so the parts add up, and an empty period is an error.
pub fn parse(text: &str) -> Result<Duration, ParseRetentionPeriodError> {
    let error = || ParseRetentionPeriodError(text.to_owned());
    let mut rest = text.trim();
    let mut seconds: u64 = 0;
    if rest.is_empty() {
        return Err(error());
    }
    while !rest.is_empty() {
        let unit_at = rest.find(|c: char| !c.is_ascii_digit()).ok_or_else(error)?;
        let (number, tail) = rest.split_at(unit_at);
        let number: u64 = number.parse().map_err(|_| error())?;
        let (name, unit) = UNITS
            .into_iter()
            .find(|(name, _)| tail.starts_with(name))
            .ok_or_else(error)?;
        seconds = number
            .checked_mul(unit)
            .and_then(|part| seconds.checked_add(part))
            .ok_or_else(error)?;
        rest = &tail[name.len()..];
    }
    Ok(Duration::from_secs(seconds))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn periods_add_up() {
        for (text, seconds) in [
            ("2mo", 60 * DAY),
            ("1y", 365 * DAY),
            ("30d12h30m", 30 * DAY + 12 * HOUR + 30 * MINUTE),
            ("1w", 7 * DAY),
            (" 5m ", 5 * MINUTE),
            ("1mo1m", 30 * DAY + MINUTE),
            ("1d1d", 2 * DAY),
            ("0m", 0),
        ] {
            assert_eq!(parse(text), Ok(Duration::from_secs(seconds)), "{text}");
        }
    }

    #[test]
    fn what_is_no_period_is_refused() {
        for text in [
            "",
            " ",
            "30",
            "d",
            "-1d",
            "1.5d",
            "1s",
            "1 d",
            "1D",
            "99999999999999999999y",
            "9999999999999999y",
        ] {
            assert_eq!(parse(text), Err(ParseRetentionPeriodError(text.to_owned())));
        }
    }

    proptest! {
        #[test]
        fn any_text_is_read_without_panic(text in "([0-9]{0,25}(y|mo|w|d|h|m|é)?){0,4}") {
            let _ = parse(&text);
        }
    }
}
