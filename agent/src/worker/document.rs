//! A YAML view as JSON. Whoever may write to the bucket wrote it: bounded in size, depth and number, and no aliases, with which few
//! bytes become many. It is parsed here, in the sandbox; the controller reads JSON only.

use serde_json::Value;
use serde_saphyr::{Budget, Options};

/// Of a view, and of the JSON that it becomes.
pub(crate) const BYTES_MAX: usize = 256 * 1024;
/// A Snapshot's status has eight levels.
const DEPTH_MAX: usize = 32;
const NODES_MAX: usize = 50_000;

/// The document, as JSON; or what is wrong with it.
pub(crate) fn parse(bytes: &[u8]) -> Result<Vec<u8>, String> {
    let too_large = || format!("larger than {BYTES_MAX} bytes");
    if bytes.len() > BYTES_MAX {
        return Err(too_large());
    }
    let value: Value = serde_saphyr::from_slice_with_options(bytes, options()).map_err(|error| first_line(&error.to_string()))?;
    if !value.is_object() {
        return Err("not an object".into());
    }
    let json = serde_json::to_vec(&value).map_err(|error| first_line(&error.to_string()))?;
    if json.len() > BYTES_MAX { Err(too_large()) } else { Ok(json) }
}

fn options() -> Options {
    let mut budget = Budget::default();
    budget.max_depth = DEPTH_MAX;
    budget.flow_nesting_limit = DEPTH_MAX;
    budget.max_nodes = NODES_MAX;
    budget.max_events = 4 * NODES_MAX;
    budget.max_aliases = 0;
    budget.max_anchors = 0;
    let mut options = Options::default();
    options.budget = Some(budget);
    options
}

/// Without the excerpt that follows: it is an enemy's text.
fn first_line(text: &str) -> String {
    text.lines().next().unwrap_or_default().chars().filter(|character| !character.is_control()).take(200).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(yaml: &str) -> Result<Value, String> {
        parse(yaml.as_bytes()).map(|json| serde_json::from_slice(&json).unwrap())
    }

    #[test]
    fn a_view_becomes_json() {
        let value = parsed("kind: Snapshot\nspec: {snapshotID: 01HHKQQ59XN4979HMDFNCANA9V}\nstatus:\n  snapshotTime: 2023-12-14T08:40:01Z\n").unwrap();
        assert_eq!(value["spec"]["snapshotID"], "01HHKQQ59XN4979HMDFNCANA9V");
        assert_eq!(value["status"]["snapshotTime"], "2023-12-14T08:40:01Z");
    }

    #[test]
    fn what_is_made_to_harm_is_refused() {
        let deep = format!("a: {}{}", "[".repeat(40), "]".repeat(40));
        let laughs = "a: &a [x,x,x,x,x,x,x,x,x]\nb: &b [*a,*a,*a,*a,*a,*a,*a]\nc: [*b,*b,*b,*b,*b,*b,*b]\n";
        let many = format!("a: [{}]", "1,".repeat(60_000));
        let large = format!("a: {}", "x".repeat(BYTES_MAX));
        let control = format!("a: \"{}\"", "\\x01".repeat(60_000));
        for hostile in [&deep, laughs, &many, &large, &control, "a: 1\na: 2\n", "- a\n", "text", "", "a: 1\n---\nb: 1\n", "a: [1, 2"] {
            assert!(parsed(hostile).is_err(), "{}", &hostile[..hostile.len().min(80)]);
        }
        assert!(parse(b"a: \xff\n").is_err());
    }

    #[test]
    fn what_is_said_of_it_is_short_and_plain() {
        let problem = parsed(&format!("a: \"\x1b[31m{}\n", "y".repeat(5000))).unwrap_err();
        assert!(problem.chars().count() <= 200 && !problem.contains('\x1b'), "{problem}");
    }
}
