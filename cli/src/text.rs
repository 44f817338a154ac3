//! Stored and system text on a terminal: printable, on one line, in units that people read.

use jiff::Timestamp;

/// Causes can be as long as a server's error page.
const LINE_CHARS_MAX: usize = 600;

/// Collapses all white space and cuts what is endless.
pub(crate) fn one_line(text: &str) -> String {
    let words = text.split_whitespace().collect::<Vec<_>>().join(" ");
    let safe: String = words.chars().filter(|character| !character.is_control()).collect();
    if safe.chars().count() <= LINE_CHARS_MAX {
        return safe;
    }
    safe.chars().take(LINE_CHARS_MAX).chain("...".chars()).collect()
}

/// A path of any bytes; what is not printable is escaped.
pub(crate) fn path(bytes: &[u8]) -> String {
    let mut text = String::with_capacity(bytes.len());
    for chunk in bytes.utf8_chunks() {
        for character in chunk.valid().chars() {
            if character.is_control() || character == '\\' {
                text.extend(character.escape_default());
            } else {
                text.push(character);
            }
        }
        for byte in chunk.invalid() {
            text.push_str(&format!("\\x{byte:02x}"));
        }
    }
    text
}

/// `1.5 GiB`.
pub(crate) fn bytes(count: u64) -> String {
    const UNITS: [&str; 6] = ["B", "KiB", "MiB", "GiB", "TiB", "PiB"];
    let mut value = count as f64;
    let mut unit = 0;
    while value >= 1024.0 && unit + 1 < UNITS.len() {
        value /= 1024.0;
        unit += 1;
    }
    if unit == 0 { format!("{count} B") } else { format!("{value:.1} {}", UNITS[unit]) }
}

/// `1 file`, `2 files`.
pub(crate) fn count(number: u64, thing: &str) -> String {
    format!("{number} {thing}{}", if number == 1 { "" } else { "s" })
}

/// `2026-11-22 20:15:00Z`.
pub(crate) fn time(unix_ms: i64) -> String {
    match Timestamp::from_millisecond(unix_ms) {
        Ok(time) => time.strftime("%Y-%m-%d %H:%M:%SZ").to_string(),
        Err(_) => "-".into(),
    }
}

/// The same from seconds.
pub(crate) fn time_of_secs(unix_secs: i64) -> String {
    unix_secs.checked_mul(1000).map_or_else(|| "-".into(), time)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_stored_reaches_the_terminal_raw() {
        assert_eq!(one_line("a\n  b\x1b[2J"), "a b[2J");
        assert_eq!(path(b"/a\nb\xff\x1b"), "/a\\nb\\xff\\u{1b}");
        assert!(one_line(&"x".repeat(10_000)).len() < 700);
    }

    #[test]
    fn units_are_binary() {
        assert_eq!(bytes(0), "0 B");
        assert_eq!(bytes(1536), "1.5 KiB");
        assert_eq!(bytes(u64::MAX), "16384.0 PiB");
        assert_eq!(time(0), "1970-01-01 00:00:00Z");
        assert_eq!(time_of_secs(i64::MAX), "-");
    }
}
