//! Which of a Function's versions stands for that of a database.

/// The nearest: of the same major number the greatest that is not above it, else the smallest above it, else the greatest.
pub(super) fn nearest<'a>(wanted: &str, available: &'a [String]) -> Option<&'a str> {
    let wanted = numbers(wanted);
    let mut known: Vec<(Vec<u64>, &str)> = available.iter().map(|version| (numbers(version), version.as_str())).collect();
    known.sort();
    let is_below = |(version, _): &&(Vec<u64>, &str)| version.first() == wanted.first() && *version <= wanted;
    let below = known.iter().rev().find(is_below);
    let above = || known.iter().find(|(version, _)| *version > wanted);
    below.or_else(above).or(known.last()).map(|(_, version)| *version)
}

/// The numbers of a version, up to the first part that is none: `16.1-alpine` is 16, 1.
fn numbers(version: &str) -> Vec<u64> {
    let parts = version.trim_start_matches('v').split(['.', '-', '+']);
    parts.map_while(|part| part.parse().ok()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_nearest_version_is_taken() {
        let available = ["15.5", "16.1-alpine", "16.4", "v18.0.1", "9.6"].map(str::to_owned);
        for (wanted, expected) in [
            ("16.4", "16.4"),
            ("16.9.1", "16.4"),
            ("16.2", "16.1-alpine"),
            ("16.0", "16.1-alpine"),
            ("10.1", "15.5"),
            ("17.1", "v18.0.1"),
            ("20.0", "v18.0.1"),
            ("nonsense", "9.6"),
        ] {
            assert_eq!(nearest(wanted, &available), Some(expected), "{wanted}");
        }
        assert_eq!(nearest("1", &[]), None);
    }
}
