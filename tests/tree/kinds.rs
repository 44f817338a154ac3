//! `docs/kinds.md` names the test that holds each rule. A test that was renamed or removed must not go on being promised there.

use std::{collections::BTreeSet, fs};

use crate::{dependencies::root, files::texts};

/// Column of a table that names tests: functions or scenarios, each in backticks.
const COLUMN: &str = "Test";
/// What a line says that names none.
const NONE_YET: [&str; 2] = ["not yet", "no test"];
/// Fewer would mean that the tables were not read.
const NAMES_MIN: usize = 200;

/// The cells of a table's row.
fn row(line: &str) -> Option<Vec<&str>> {
    let inside = line.trim().strip_prefix('|')?.strip_suffix('|')?;
    Some(inside.split('|').map(str::trim).collect())
}

/// What stands in the column of tests, with the number of its line.
fn cells(page: &str) -> Vec<(usize, &str)> {
    let mut header: Option<Vec<&str>> = None;
    let mut found = Vec::new();
    for (at, line) in page.lines().enumerate() {
        let Some(cells) = row(line) else {
            header = None;
            continue;
        };
        let Some(names) = &header else {
            assert!(
                cells.contains(&COLUMN),
                "line {}: a table without tests",
                at + 1
            );
            header = Some(cells);
            continue;
        };
        assert_eq!(
            cells.len(),
            names.len(),
            "line {}: cells are missing",
            at + 1
        );
        if cells.iter().all(|cell| cell.starts_with("---")) {
            continue;
        }
        let test = names.iter().zip(&cells).find(|(name, _)| **name == COLUMN);
        found.extend(test.map(|(_, cell)| (at + 1, *cell)));
    }
    found
}

#[test]
fn the_tests_that_the_table_of_kinds_names_are_there() {
    let page = fs::read_to_string(root().join("docs/kinds.md")).unwrap();
    let sources = texts("");
    let functions: BTreeSet<&str> = sources
        .iter()
        .flat_map(|(_, text)| text.split("fn ").skip(1))
        .filter_map(|behind| behind.split_once('('))
        .map(|(name, _)| name)
        .collect();
    let scenarios = root().join("tests/e2e/scenarios");
    let mut count = 0;
    let mut wrong = Vec::new();
    for (line, cell) in cells(&page) {
        let names: Vec<&str> = cell.split('`').skip(1).step_by(2).collect();
        if names.is_empty() && !NONE_YET.iter().any(|words| cell.contains(*words)) {
            wrong.push(format!(
                "line {line}: {cell:?} is neither a test nor one of {NONE_YET:?}"
            ));
        }
        for name in &names {
            if !functions.contains(name) && !scenarios.join(name).is_file() {
                wrong.push(format!("line {line}: there is no test {name}"));
            }
        }
        count += names.len();
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
    assert!(count >= NAMES_MIN, "only {count} names were found");
}
