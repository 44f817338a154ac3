//! Variables in strings: `${name}`, and `${name:=default}` for one that may be missing.
//!
//! Values are put into single strings after everything was parsed, and are not looked at again: a value can neither
//! add fields nor bring variables of its own.

use thiserror::Error;

/// No expanded string is longer, in bytes.
pub const EXPANDED_BYTES_MAX: usize = 16 << 10;

/// Why a string could not be expanded.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum ExpandError {
    /// A variable has no value and no default.
    #[error("variable {0:?} has no value")]
    Missing(String),
    /// A `${` without its `}`.
    #[error("{0:?} has a ${{ without its }}")]
    Unclosed(String),
    /// The values are too long.
    #[error("the values make it longer than {EXPANDED_BYTES_MAX} bytes")]
    TooLong,
    /// A variable's value cannot stand here.
    #[error("variable {0:?} {1}")]
    Misplaced(String, &'static str),
}

/// Whether there is a variable in it.
pub fn has_variable(text: &str) -> bool {
    text.contains("${")
}

/// The text with every variable replaced by what `value` says, or by its default.
pub fn expand(
    text: &str,
    value: impl Fn(&str) -> Option<String>,
) -> Result<String, ExpandError> {
    expand_into(text, |expanded, name| {
        let found = value(name);
        let is_found = found.is_some();
        expanded.push_str(&found.unwrap_or_default());
        Ok(is_found)
    })
}

/// The text with every variable replaced by what `append` appends for it; where it says that there is nothing, by its default.
pub fn expand_into(
    text: &str,
    mut append: impl FnMut(&mut String, &str) -> Result<bool, ExpandError>,
) -> Result<String, ExpandError> {
    let mut expanded = String::with_capacity(text.len());
    let mut rest = text;
    while let Some((before, after)) = rest.split_once("${") {
        let Some((variable, behind)) = after.split_once('}') else {
            return Err(ExpandError::Unclosed(text.to_owned()));
        };
        let (name, default) = match variable.split_once(":=") {
            Some((name, default)) => (name.trim(), Some(default)),
            None => (variable.trim(), None),
        };
        expanded.push_str(before);
        if !append(&mut expanded, name)? {
            let default = default.ok_or_else(|| ExpandError::Missing(name.to_owned()))?;
            expanded.push_str(default);
        }
        rest = behind;
        if expanded.len() + rest.len() > EXPANDED_BYTES_MAX {
            return Err(ExpandError::TooLong);
        }
    }
    expanded.push_str(rest);
    Ok(expanded)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn expanded(text: &str) -> Result<String, ExpandError> {
        expand(text, |name| match name {
            "a" => Some("1".to_owned()),
            "hostile" => Some("${a}\", \"x\": \"y".to_owned()),
            "long" => Some("x".repeat(EXPANDED_BYTES_MAX)),
            _ => None,
        })
    }

    #[test]
    fn variables_have_values_or_defaults() {
        assert_eq!(expanded("plain $ {x}"), Ok("plain $ {x}".to_owned()));
        assert_eq!(expanded("<${a}|${ a }>"), Ok("<1|1>".to_owned()));
        assert_eq!(expanded("${b:=two}${a:=three}"), Ok("two1".to_owned()));
        assert_eq!(expanded("${b:=}"), Ok(String::new()));
        assert_eq!(expanded("${b}"), Err(ExpandError::Missing("b".to_owned())));
        assert_eq!(expanded("${a"), Err(ExpandError::Unclosed("${a".to_owned())));
    }

    #[test]
    fn a_value_is_not_looked_at_again() {
        assert_eq!(expanded("${hostile}"), Ok("${a}\", \"x\": \"y".to_owned()));
        assert_eq!(expanded("${long}${long}"), Err(ExpandError::TooLong));
    }
}
