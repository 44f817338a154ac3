//! The variables that a Function's strings may hold, and how their values get into one string after the other.
//!
//! Everything is parsed before: a value stays in its string, whatever it holds. In commands, arguments and environment
//! variables a kubelet expands `$(NAME)` once more; there a value's own `$` is written so that it stays one.

use std::collections::{BTreeMap, BTreeSet};

use k8s_openapi::api::core::v1::EnvVar;
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;

use crate::template::{ExpandError, expand_into, has_variable};

/// Variable of an image: the version of a database, for which the nearest of the Function's versions is taken.
pub const DB_VERSION: &str = "DB_VERSION";
/// The one field of a mount that a kubelet expands.
const SUB_PATH_EXPRESSION: &str = "subPathExpr";

/// What variables stand for.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Variables {
    known: BTreeMap<String, String>,
    /// With a `valueFrom`: only the kubelet knows their values, and only the container sees them.
    of_container: BTreeMap<String, EnvVar>,
}

impl Variables {
    /// Values by name.
    pub fn of(known: BTreeMap<String, String>) -> Self {
        Self { known, of_container: BTreeMap::new() }
    }

    /// One more value; it replaces what the name stood for.
    pub fn set(&mut self, name: &str, value: impl Into<String>) {
        self.of_container.remove(name);
        self.known.insert(name.to_owned(), value.into());
    }

    /// What a user's list of variables says, with `valueFrom` or without.
    pub fn add(&mut self, variables: &[EnvVar]) {
        for variable in variables {
            match &variable.value_from {
                None => self.set(&variable.name, variable.value.clone().unwrap_or_default()),
                Some(_) => {
                    self.known.remove(&variable.name);
                    self.of_container.insert(variable.name.clone(), variable.clone());
                }
            }
        }
    }

    /// The value of a variable, unless only a container sees it.
    pub fn get(&self, name: &str) -> Option<&str> {
        self.known.get(name).map(String::as_str)
    }
}

/// Fills strings in, and notes what was wrong, and which variables a container needs for it.
#[derive(Debug)]
pub(super) struct Fill<'a> {
    variables: &'a Variables,
    needed: BTreeSet<String>,
    problems: Vec<String>,
}

/// Who reads a string next.
#[derive(Clone, Copy, PartialEq)]
enum Reader {
    /// The API server: it takes it as it is.
    Api,
    /// A kubelet, which expands `$(NAME)`.
    Kubelet,
}

impl<'a> Fill<'a> {
    pub(super) fn new(variables: &'a Variables) -> Self {
        Self { variables, needed: BTreeSet::new(), problems: Vec::new() }
    }

    /// What is wrong with a field.
    pub(super) fn problem(&mut self, field: &str, problem: impl std::fmt::Display) {
        self.problems.push(format!("{field}: {problem}"));
    }

    /// A string that the API server takes as it is.
    pub(super) fn text(&mut self, field: &str, text: &str) -> String {
        self.string(field, text, Reader::Api)
    }

    /// Words of a command.
    pub(super) fn words(&mut self, field: &str, words: &[String]) -> Vec<String> {
        let words = words.iter().enumerate();
        words.map(|(index, word)| self.string(&format!("{field}[{index}]"), word, Reader::Kubelet)).collect()
    }

    /// Environment variables.
    pub(super) fn environment(&mut self, field: &str, variables: &[EnvVar]) -> Vec<EnvVar> {
        let mut filled = Vec::new();
        for (index, variable) in variables.iter().enumerate() {
            let field = format!("{field}[{index}]");
            let value = variable.value.as_ref().map(|value| self.string(&format!("{field}.value"), value, Reader::Kubelet));
            if let Some(variable) = self.object(&field, &EnvVar { value: None, ..variable.clone() }) {
                filled.push(EnvVar { value, ..variable });
            }
        }
        filled
    }

    /// Every string of an object, each for itself; none if it is no such object any more.
    pub(super) fn object<T: Serialize + DeserializeOwned>(&mut self, field: &str, object: &T) -> Option<T> {
        let filled = serde_json::to_value(object).and_then(|mut tree| {
            self.tree(field, &mut tree);
            serde_json::from_value(tree)
        });
        filled.map_err(|error| self.problem(field, error)).ok()
    }

    fn tree(&mut self, field: &str, tree: &mut Value) {
        match tree {
            Value::String(text) => {
                let reader = if field.ends_with(SUB_PATH_EXPRESSION) { Reader::Kubelet } else { Reader::Api };
                *text = self.string(field, text, reader);
            }
            Value::Array(items) => {
                items.iter_mut().enumerate().for_each(|(index, item)| self.tree(&format!("{field}[{index}]"), item));
            }
            Value::Object(fields) => fields.iter_mut().for_each(|(name, value)| self.tree(&format!("{field}.{name}"), value)),
            Value::Null | Value::Bool(_) | Value::Number(_) => {}
        }
    }

    fn string(&mut self, field: &str, text: &str, reader: Reader) -> String {
        if !has_variable(text) {
            return text.to_owned();
        }
        let variables = self.variables;
        let needed = &mut self.needed;
        let expanded = expand_into(text, |expanded, name| {
            if let Some(value) = variables.known.get(name) {
                match reader {
                    Reader::Api => expanded.push_str(value),
                    Reader::Kubelet => push_escaped(expanded, value),
                }
                return Ok(true);
            }
            if !variables.of_container.contains_key(name) {
                return Ok(false);
            }
            if let Some(why) = misplaced(name, reader) {
                return Err(ExpandError::Misplaced(name.to_owned(), why));
            }
            needed.insert(name.to_owned());
            close_dollars(expanded);
            expanded.push_str(&format!("$({name})"));
            Ok(true)
        });
        expanded.unwrap_or_else(|error| {
            self.problem(field, error);
            String::new()
        })
    }

    /// The variables that the container must have for what was filled in, and what was wrong.
    pub(super) fn finish(self) -> (Vec<EnvVar>, Vec<String>) {
        let needed = self.needed.iter().filter_map(|name| self.variables.of_container.get(name).cloned());
        (needed.collect(), self.problems)
    }
}

/// Why a variable that only a container sees cannot stand in a string.
fn misplaced(name: &str, reader: Reader) -> Option<&'static str> {
    let is_name = name.chars().all(|character| character.is_ascii_alphanumeric() || "_-.".contains(character));
    match reader {
        Reader::Api => Some("has a valueFrom, which only commands, arguments and environment variables can hold"),
        Reader::Kubelet if !is_name => Some("has a valueFrom, and a name that is none of an environment variable"),
        Reader::Kubelet => None,
    }
}

/// A value as a kubelet gives it back: `$$` is its `$`.
fn push_escaped(expanded: &mut String, value: &str) {
    close_dollars(expanded);
    expanded.push_str(&escaped(value));
}

/// A text that a kubelet gives back as it is.
pub fn escaped(text: &str) -> String {
    text.replace('$', "$$")
}

/// A single `$` at the end would make an expression, or another `$`, of what comes behind it.
fn close_dollars(expanded: &mut String) {
    let dollars = expanded.bytes().rev().take_while(|byte| *byte == b'$').count();
    if dollars % 2 == 1 {
        expanded.push('$');
    }
}
