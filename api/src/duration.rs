//! Durations as Go writes them: `1h30m0s`, `10.595356615s`.

use std::time::Duration;

use thiserror::Error;

/// Go keeps durations as signed 64-bit nanoseconds: some 292 years.
const MAX_NANOS: u128 = i64::MAX as u128;

const UNITS: [(&str, u128); 8] = [
    ("ns", 1),
    ("us", 1_000),
    ("µs", 1_000),
    ("μs", 1_000),
    ("ms", 1_000_000),
    ("s", 1_000_000_000),
    ("m", 60_000_000_000),
    ("h", 3_600_000_000_000),
];

/// Why a text is not a duration.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum ParseDurationError {
    /// Not numbers with units.
    #[error("not a duration: {0:?}; write one as in 90s, 1h30m or 1.5h")]
    Syntax(String),
    /// Below zero.
    #[error("negative duration: {0:?}")]
    Negative(String),
    /// More than some 292 years.
    #[error("duration too long: {0:?}")]
    TooLong(String),
}

/// Writes a duration as Go's `Duration.String` does.
pub fn format(duration: Duration) -> String {
    let nanos = duration.as_nanos();
    match nanos {
        0 => return "0s".to_owned(),
        1..1_000 => return format!("{nanos}ns"),
        1_000..1_000_000 => return format!("{}µs", decimal(nanos, 1_000)),
        1_000_000..1_000_000_000 => return format!("{}ms", decimal(nanos, 1_000_000)),
        _ => {}
    }
    let minutes = duration.as_secs() / 60;
    let seconds = decimal(nanos % 60_000_000_000, 1_000_000_000);
    match (minutes / 60, minutes % 60) {
        (0, 0) => format!("{seconds}s"),
        (0, minutes) => format!("{minutes}m{seconds}s"),
        (hours, minutes) => format!("{hours}h{minutes}m{seconds}s"),
    }
}

/// `nanos / unit` with as many decimals as it takes; `unit` is a power of ten.
fn decimal(nanos: u128, unit: u128) -> String {
    let places = unit.ilog10() as usize;
    let fraction = format!("{:0places$}", nanos % unit);
    match fraction.trim_end_matches('0') {
        "" => (nanos / unit).to_string(),
        fraction => format!("{}.{fraction}", nanos / unit),
    }
}

/// Reads a duration as Go's `time.ParseDuration` does, but no negative one: nothing in our resources may be negative.
pub fn parse(text: &str) -> Result<Duration, ParseDurationError> {
    let syntax = || ParseDurationError::Syntax(text.to_owned());
    let too_long = || ParseDurationError::TooLong(text.to_owned());
    let (negative, unsigned) = match text.as_bytes().first() {
        Some(b'-') => (true, &text[1..]),
        Some(b'+') => (false, &text[1..]),
        _ => (false, text),
    };
    let mut rest = unsigned;
    let mut nanos: u128 = 0;
    if rest == "0" {
        return Ok(Duration::ZERO);
    }
    if rest.is_empty() {
        return Err(syntax());
    }
    while !rest.is_empty() {
        let number_end = rest
            .find(|c: char| !c.is_ascii_digit() && c != '.')
            .ok_or_else(syntax)?;
        let (number, tail) = rest.split_at(number_end);
        let unit_end = tail
            .find(|c: char| c.is_ascii_digit() || c == '.')
            .unwrap_or(tail.len());
        let (unit, tail) = tail.split_at(unit_end);
        let (_, factor) = UNITS
            .into_iter()
            .find(|(name, _)| *name == unit)
            .ok_or_else(syntax)?;
        let term = scaled(number, factor).ok_or_else(syntax)?;
        nanos = nanos
            .checked_add(term)
            .filter(|nanos| *nanos <= MAX_NANOS)
            .ok_or_else(too_long)?;
        rest = tail;
    }
    if negative && nanos > 0 {
        return Err(ParseDurationError::Negative(text.to_owned()));
    }
    u64::try_from(nanos)
        .map(Duration::from_nanos)
        .map_err(|_| too_long())
}

/// `number * factor`, cut to whole nanoseconds; saturates far beyond [`MAX_NANOS`]. None if it is no decimal number.
fn scaled(number: &str, factor: u128) -> Option<u128> {
    let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
    if (whole.is_empty() && fraction.is_empty()) || fraction.contains('.') {
        return None;
    }
    let whole = digits(whole).saturating_mul(factor);
    // Eighteen digits are finer than a nanosecond of any unit; more would overflow the product.
    let fraction = &fraction[..fraction.len().min(18)];
    let part = digits(fraction) * factor / 10_u128.pow(fraction.len() as u32);
    Some(whole.saturating_add(part))
}

fn digits(text: &str) -> u128 {
    text.bytes().fold(0, |number: u128, digit| {
        number
            .saturating_mul(10)
            .saturating_add(u128::from(digit - b'0'))
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn durations_read_as_go_writes_them() {
        for (nanos, text) in [
            (0, "0s"),
            (1, "1ns"),
            (1_100, "1.1µs"),
            (2_200_000, "2.2ms"),
            (3_300_000_000, "3.3s"),
            (10_595_356_615, "10.595356615s"),
            (245_000_000_000, "4m5s"),
            (245_001_000_000, "4m5.001s"),
            (18_367_001_000_000, "5h6m7.001s"),
            (480_000_000_001, "8m0.000000001s"),
            (3_600_000_000_000, "1h0m0s"),
            (i64::MAX as u64, "2562047h47m16.854775807s"),
        ] {
            assert_eq!(format(Duration::from_nanos(nanos)), text);
            assert_eq!(parse(text), Ok(Duration::from_nanos(nanos)), "{text}");
        }
    }

    #[test]
    fn durations_are_read_as_go_reads_them() {
        for (text, nanos) in [
            ("0", 0),
            ("+5s", 5_000_000_000),
            ("-0", 0),
            ("5.0s", 5_000_000_000),
            ("5.s", 5_000_000_000),
            (".5s", 500_000_000),
            ("1.004s", 1_004_000_000),
            ("100.00100s", 100_001_000_000),
            ("1h30m", 5_400_000_000_000),
            ("10.5s4m", 250_500_000_000),
            ("12us", 12_000),
            ("12μs", 12_000),
            ("0.3333333333333333333h", 1_200_000_000_000),
            ("0.830103483285477580700h", 2_988_372_539_827),
        ] {
            let read = parse(text).expect(text).as_nanos();
            // Go computes long fractions in floating point: the last nanosecond may differ.
            assert!(read.abs_diff(nanos) <= 1, "{text}: {read} is not {nanos}");
        }
    }

    #[test]
    fn what_is_not_a_duration_is_refused() {
        for text in [
            "", "3", "-", "s", ".", "-.", ".s", "+.s", "1d", "1.2.3s", "1 h", "1h ", "１s", "1h2",
        ] {
            assert_eq!(
                parse(text),
                Err(ParseDurationError::Syntax(text.to_owned()))
            );
        }
        assert_eq!(
            parse("-1s"),
            Err(ParseDurationError::Negative("-1s".into()))
        );
        for text in [
            "9223372036854775808ns",
            "3000000h",
            "99999999999999999999999999999999999999999999h",
        ] {
            assert_eq!(
                parse(text),
                Err(ParseDurationError::TooLong(text.to_owned()))
            );
        }
    }

    proptest! {
        #[test]
        fn a_written_duration_reads_back(nanos in 0..=i64::MAX as u64) {
            let duration = Duration::from_nanos(nanos);
            prop_assert_eq!(parse(&format(duration)), Ok(duration));
        }

        #[test]
        fn any_text_is_read_without_panic(text in "[-+]?([0-9.]{0,40}(ns|us|µs|ms|s|m|h|x|é)?){0,4}") {
            let _ = parse(&text);
        }

        #[test]
        fn any_duration_is_written_without_panic(seconds in any::<u64>(), nanos in 0..1_000_000_000_u32) {
            let _ = format(Duration::new(seconds, nanos));
        }
    }
}
