//! Label and field selectors, in the syntax of the query string.

use serde_json::Value;

use crate::{failure::Failure, kind::Kind};

/// Which objects a list or watch shows.
#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct Selector {
    labels: Vec<LabelRequirement>,
    fields: Vec<FieldRequirement>,
}

#[derive(Debug, Clone, PartialEq)]
struct LabelRequirement {
    key: String,
    test: LabelTest,
}

#[derive(Debug, Clone, PartialEq)]
enum LabelTest {
    Exists,
    Absent,
    In(Vec<String>),
    NotIn(Vec<String>),
}

#[derive(Debug, Clone, PartialEq)]
struct FieldRequirement {
    path: Vec<String>,
    value: String,
    equal: bool,
}

impl Selector {
    pub(crate) fn parse(
        kind: &Kind,
        labels: Option<&str>,
        fields: Option<&str>,
    ) -> Result<Self, Failure> {
        let labels = split_outside_parentheses(labels.unwrap_or_default())
            .into_iter()
            .map(|term| {
                parse_label(term).ok_or_else(|| {
                    Failure::bad_request(format!(
                        "unable to parse requirement: {term:?} is not a label selector"
                    ))
                })
            })
            .collect::<Result<_, _>>()?;
        let fields = fields
            .unwrap_or_default()
            .split(',')
            .filter(|term| !term.is_empty())
            .map(|term| parse_field(kind, term))
            .collect::<Result<_, _>>()?;
        Ok(Self { labels, fields })
    }

    pub(crate) fn matches(&self, object: &Value) -> bool {
        let labels = &object["metadata"]["labels"];
        self.labels
            .iter()
            .all(|requirement| requirement.test.holds(labels[&requirement.key].as_str()))
            && self
                .fields
                .iter()
                .all(|requirement| requirement.holds(object))
    }
}

impl LabelTest {
    fn holds(&self, value: Option<&str>) -> bool {
        match (self, value) {
            (Self::Exists, value) => value.is_some(),
            (Self::Absent, value) => value.is_none(),
            (Self::In(allowed), value) => {
                value.is_some_and(|value| allowed.iter().any(|one| one == value))
            }
            (Self::NotIn(refused), value) => {
                value.is_none_or(|value| refused.iter().all(|one| one != value))
            }
        }
    }
}

impl FieldRequirement {
    fn holds(&self, object: &Value) -> bool {
        let found = self.path.iter().fold(object, |place, step| &place[step]);
        let found = match found {
            Value::String(text) => text.clone(),
            Value::Null => String::new(),
            other => other.to_string(),
        };
        (found == self.value) == self.equal
    }
}

/// Commas inside `in (a,b)` do not separate terms.
fn split_outside_parentheses(text: &str) -> Vec<&str> {
    let (mut terms, mut start, mut depth) = (Vec::new(), 0, 0_u32);
    for (at, character) in text.char_indices() {
        match character {
            '(' => depth += 1,
            ')' => depth = depth.saturating_sub(1),
            ',' if depth == 0 => {
                terms.push(&text[start..at]);
                start = at + 1;
            }
            _ => {}
        }
    }
    terms.push(&text[start..]);
    terms
        .into_iter()
        .map(str::trim)
        .filter(|term| !term.is_empty())
        .collect()
}

fn parse_label(term: &str) -> Option<LabelRequirement> {
    let requirement = |key: &str, test| {
        is_label_key(key).then(|| LabelRequirement {
            key: key.to_owned(),
            test,
        })
    };
    if let Some((key, values)) = term.split_once(" notin ") {
        return requirement(key.trim(), LabelTest::NotIn(parse_values(values)?));
    }
    if let Some((key, values)) = term.split_once(" in ") {
        return requirement(key.trim(), LabelTest::In(parse_values(values)?));
    }
    if let Some((key, value)) = term.split_once("!=") {
        return requirement(key.trim(), LabelTest::NotIn(vec![value.trim().to_owned()]));
    }
    if let Some((key, value)) = term.split_once("==").or_else(|| term.split_once('=')) {
        return requirement(key.trim(), LabelTest::In(vec![value.trim().to_owned()]));
    }
    match term.strip_prefix('!') {
        Some(key) => requirement(key.trim(), LabelTest::Absent),
        None => requirement(term, LabelTest::Exists),
    }
}

fn is_label_key(key: &str) -> bool {
    !key.is_empty()
        && key
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || b"-_./".contains(&byte))
}

fn parse_values(text: &str) -> Option<Vec<String>> {
    let inner = text.trim().strip_prefix('(')?.strip_suffix(')')?;
    Some(
        inner
            .split(',')
            .map(|value| value.trim().to_owned())
            .collect(),
    )
}

fn parse_field(kind: &Kind, term: &str) -> Result<FieldRequirement, Failure> {
    let (path, value, equal) = if let Some((path, value)) = term.split_once("!=") {
        (path, value, false)
    } else if let Some((path, value)) = term.split_once("==").or_else(|| term.split_once('=')) {
        (path, value, true)
    } else {
        return Err(Failure::bad_request(format!(
            "invalid field selector: {term:?}"
        )));
    };
    let known = path == "metadata.name"
        || (path == "metadata.namespace" && kind.namespaced)
        || kind.field_labels.contains(&path);
    if !known {
        return Err(Failure::bad_request(format!(
            "field label not supported: {path}"
        )));
    }
    Ok(FieldRequirement {
        path: path.split('.').map(str::to_owned).collect(),
        value: value.to_owned(),
        equal,
    })
}
