//! Functions of templates: Go's own, and those of sprig that notifications need. (<https://masterminds.github.io/sprig/>)

use serde_json::{Map, Value};

use super::expression::{is_true, text};
use super::{OUTPUT_BYTES_MAX, TemplateError, shown};

#[derive(Clone, Copy, Debug)]
pub(super) enum Function {
    Eq,
    Ne,
    Not,
    And,
    Or,
    Len,
    Print,
    Printf,
    Dict,
    List,
    ToJson,
    Quote,
    Default,
    Upper,
    Lower,
    Trim,
}

impl Function {
    pub(super) fn of(word: &str) -> Option<Self> {
        Some(match word {
            "eq" => Self::Eq,
            "ne" => Self::Ne,
            "not" => Self::Not,
            "and" => Self::And,
            "or" => Self::Or,
            "len" => Self::Len,
            "print" => Self::Print,
            "printf" => Self::Printf,
            "dict" => Self::Dict,
            "list" => Self::List,
            "toJson" => Self::ToJson,
            "quote" => Self::Quote,
            "default" => Self::Default,
            "upper" => Self::Upper,
            "lower" => Self::Lower,
            "trim" => Self::Trim,
            _ => return None,
        })
    }

    pub(super) fn takes(self, count: usize) -> bool {
        match self {
            Self::Eq => count >= 2,
            Self::Ne | Self::Default => count == 2,
            Self::Not | Self::Len | Self::ToJson | Self::Quote | Self::Upper | Self::Lower | Self::Trim => count == 1,
            Self::And | Self::Or | Self::Printf => count >= 1,
            Self::Dict => count.is_multiple_of(2),
            Self::List | Self::Print => true,
        }
    }

    /// What it makes of its arguments, of which it has as many as it takes.
    pub(super) fn of_values(self, values: &[Value]) -> Result<Value, TemplateError> {
        let first = values.first().unwrap_or(&Value::Null);
        let made = match self {
            Self::Eq => Value::Bool(values.iter().skip(1).any(|value| value == first)),
            Self::Ne => Value::Bool(values.get(1) != Some(first)),
            Self::Not => Value::Bool(!is_true(first)),
            // As in Go: the argument that decides, not its truth.
            Self::And => decided(values, |value| !is_true(value)),
            Self::Or => decided(values, is_true),
            Self::Default => if values.get(1).is_some_and(is_true) { values[1].clone() } else { first.clone() },
            Self::Len => length(first)?.into(),
            Self::Dict => Value::Object(dictionary(values)?),
            Self::List => Value::Array(values.to_vec()),
            Self::Print => Value::String(values.iter().map(text).collect()),
            Self::Printf => Value::String(formatted(&text(first), &values[1..])?),
            Self::ToJson => Value::String(first.to_string()),
            Self::Quote => Value::String(Value::String(text(first)).to_string()),
            Self::Upper => Value::String(text(first).to_uppercase()),
            Self::Lower => Value::String(text(first).to_lowercase()),
            Self::Trim => Value::String(text(first).trim().to_owned()),
        };
        Ok(made)
    }
}

fn decided(values: &[Value], decides: impl Fn(&Value) -> bool) -> Value {
    values.iter().find(|value| decides(value)).or(values.last()).cloned().unwrap_or(Value::Null)
}

fn length(value: &Value) -> Result<usize, TemplateError> {
    match value {
        Value::String(text) => Ok(text.len()),
        Value::Array(items) => Ok(items.len()),
        Value::Object(fields) => Ok(fields.len()),
        other => Err(TemplateError::Malformed(shown(&other.to_string()), "it has no length")),
    }
}

fn dictionary(values: &[Value]) -> Result<Map<String, Value>, TemplateError> {
    let mut fields = Map::new();
    for pair in values.chunks_exact(2) {
        let Value::String(name) = &pair[0] else {
            return Err(TemplateError::Malformed(shown(&pair[0].to_string()), "the names of a dict are strings"));
        };
        fields.insert(name.clone(), pair[1].clone());
    }
    Ok(fields)
}

/// Go's `Sprintf` with the verbs of text: `%s %v %d %t %q %%`.
fn formatted(format: &str, values: &[Value]) -> Result<String, TemplateError> {
    let mut output = String::new();
    let mut values = values.iter();
    let mut letters = format.chars();
    while let Some(letter) = letters.next() {
        match letter {
            '%' => match letters.next() {
                Some('%') => output.push('%'),
                Some(verb @ ('s' | 'v' | 'd' | 't' | 'q')) => match values.next() {
                    Some(value) if verb == 'q' => output.push_str(&Value::String(text(value)).to_string()),
                    Some(value) => output.push_str(&text(value)),
                    None => output.push_str(&format!("%!{verb}(MISSING)")),
                },
                _ => return Err(TemplateError::Malformed(shown(format), "printf knows %s, %v, %d, %t, %q and %%")),
            },
            other => output.push(other),
        }
        if output.len() > OUTPUT_BYTES_MAX {
            return Err(TemplateError::TooLong);
        }
    }
    Ok(output)
}
