//! Sizes as KubeStash writes them: `12.222 MiB`, `17 B`.

const UNITS: [(&str, u64); 4] = [
    ("TiB", 1 << 40),
    ("GiB", 1 << 30),
    ("MiB", 1 << 20),
    ("KiB", 1 << 10),
];

/// Writes a size: three decimals of the largest unit that the size exceeds, or bytes.
///
/// A size of exactly one unit is written in the next smaller one (`1024 B`), as KubeStash does.
pub fn format(bytes: u64) -> String {
    match UNITS.into_iter().find(|(_, unit)| bytes > *unit) {
        Some((name, unit)) => format!("{:.3} {name}", bytes as f64 / unit as f64),
        None => format!("{bytes} B"),
    }
}

/// Reads a size that [`format`] wrote, to the nearest byte; nothing else is a size.
pub fn parse(text: &str) -> Option<u64> {
    let (number, unit) = text.split_once(' ')?;
    if !number
        .bytes()
        .all(|byte| byte.is_ascii_digit() || byte == b'.')
    {
        return None;
    }
    if unit == "B" {
        return number.parse().ok();
    }
    let (_, factor) = UNITS.into_iter().find(|(name, _)| *name == unit)?;
    let bytes = number.parse::<f64>().ok()? * factor as f64;
    // `as` would turn a size beyond u64 into the greatest u64: a number nobody wrote.
    (bytes.is_finite() && bytes < u64::MAX as f64).then(|| bytes.round() as u64)
}

/// Adds up sizes; nothing if there is none, or if one of them cannot be read.
pub fn sum<'a>(sizes: impl IntoIterator<Item = Option<&'a str>>) -> Option<String> {
    let mut total: Option<u64> = None;
    for size in sizes {
        total = Some(total.unwrap_or(0).checked_add(parse(size?)?)?);
    }
    total.map(format)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn sizes_read_as_kubestash_writes_them() {
        for (bytes, text) in [
            (0, "0 B"),
            (1023, "1023 B"),
            (1024, "1024 B"),
            (1025, "1.001 KiB"),
            (1 << 20, "1024.000 KiB"),
            (12_815_696, "12.222 MiB"),
            (3 << 30, "3.000 GiB"),
            (5 << 40, "5.000 TiB"),
            (u64::MAX, "16777216.000 TiB"),
        ] {
            assert_eq!(format(bytes), text);
        }
    }

    #[test]
    fn what_is_not_a_size_is_refused() {
        for text in [
            "",
            "12",
            "12 ",
            " 12 B",
            "12 MB",
            "-1 B",
            "1.5 B",
            "NaN KiB",
            "inf KiB",
            "1e9 KiB",
            "12  B",
            "16777216.000 TiB",
        ] {
            assert_eq!(parse(text), None, "{text:?}");
        }
    }

    #[test]
    fn sums_need_every_size() {
        assert_eq!(
            sum([Some("1.000 KiB"), Some("24 B")]).as_deref(),
            Some("1.023 KiB")
        );
        assert_eq!(sum([Some("1.000 KiB"), None]), None);
        assert_eq!(sum([Some("1.000 KiB"), Some("much")]), None);
        assert_eq!(sum([]), None);
    }

    proptest! {
        #[test]
        fn a_written_size_reads_back_within_its_precision(bytes in 0..u64::MAX / 2) {
            let read = parse(&format(bytes)).expect("our own size");
            let precision = UNITS.into_iter().find(|(_, unit)| bytes > *unit).map_or(0, |(_, unit)| unit / 1000);
            prop_assert!(read.abs_diff(bytes) <= precision, "{bytes} became {read}");
        }

        #[test]
        fn any_text_is_read_without_panic(text in ".*") {
            let _ = parse(&text);
        }
    }
}
