//! Parameters of a task: what it declares, and what a user gives.

use std::collections::BTreeMap;

use serde_json::Value;
use thiserror::Error;

use super::Task;

/// Names of parameters that tasks of our catalog declare.
pub mod name {
    /// Paths to back up, in the application's container.
    pub const PATHS: &str = "paths";
    /// Patterns of what is left out.
    pub const EXCLUDE: &str = "exclude";
    /// Patterns of what is brought back.
    pub const INCLUDE: &str = "include";
    /// Whether KubeStash's worker keeps a cache.
    pub const ENABLE_CACHE: &str = "enableCache";
    /// Where KubeStash's worker keeps its cache.
    pub const SCRATCH_DIR: &str = "scratchDir";
    /// VolumeSnapshotClass to use.
    pub const VOLUME_SNAPSHOT_CLASS_NAME: &str = "volumeSnapshotClassName";
}

/// What is wrong with the parameters of a task: all of it, so that a user mends it in one go.
#[derive(Clone, Debug, Default, PartialEq, Eq, Error)]
#[error("task {task:?}: {}", self.problems().join("; "))]
pub struct ParameterError {
    /// Name of the task.
    pub task: String,
    /// Required parameters without a value.
    pub missing: Vec<String>,
    /// Parameters that the task does not declare.
    pub undeclared: Vec<String>,
    /// Parameters whose value is a list or an object.
    pub not_scalar: Vec<String>,
    /// Parameters that the task declares.
    pub declared: Vec<String>,
}

impl ParameterError {
    fn problems(&self) -> Vec<String> {
        let mut problems = Vec::new();
        if !self.missing.is_empty() {
            problems.push(format!(
                "required parameters are missing: {}",
                self.missing.join(", ")
            ));
        }
        if !self.undeclared.is_empty() {
            let declared = if self.declared.is_empty() {
                "none".to_owned()
            } else {
                self.declared.join(", ")
            };
            problems.push(format!(
                "unknown parameters: {} (the task has {declared})",
                self.undeclared.join(", ")
            ));
        }
        if !self.not_scalar.is_empty() {
            problems.push(format!(
                "parameters must be strings: {}",
                self.not_scalar.join(", ")
            ));
        }
        problems
    }
}

impl Task {
    /// Values of the task's parameters: those given, else their defaults; those with neither are left out.
    pub fn parameters(
        &self,
        given: &BTreeMap<String, Value>,
    ) -> Result<BTreeMap<String, String>, ParameterError> {
        let declared = || {
            self.parameters
                .iter()
                .filter_map(|parameter| Some((parameter.name.as_deref()?, parameter)))
        };
        let mut error = ParameterError {
            task: self.name.clone().unwrap_or_default(),
            ..ParameterError::default()
        };
        let mut values = BTreeMap::new();
        for (name, value) in given {
            if !declared().any(|(declared, _)| declared == name) {
                error.undeclared.push(name.clone());
                continue;
            }
            match text(value) {
                Ok(Some(text)) => _ = values.insert(name.clone(), text),
                Ok(None) => {}
                Err(NotScalar) => error.not_scalar.push(name.clone()),
            }
        }
        for (name, parameter) in declared() {
            if let (false, Some(default)) = (values.contains_key(name), &parameter.default) {
                values.insert(name.to_owned(), default.clone());
            }
            let empty = values.get(name).is_none_or(String::is_empty);
            if parameter.required == Some(true)
                && empty
                && !error.not_scalar.iter().any(|known| known == name)
            {
                error.missing.push(name.to_owned());
            }
        }
        if error.missing.is_empty() && error.undeclared.is_empty() && error.not_scalar.is_empty() {
            return Ok(values);
        }
        error.declared = declared().map(|(name, _)| name.to_owned()).collect();
        Err(error)
    }
}

struct NotScalar;

/// YAML makes `true` and `5` of what its writer meant as text.
fn text(value: &Value) -> Result<Option<String>, NotScalar> {
    match value {
        Value::Null => Ok(None),
        Value::String(text) => Ok(Some(text.clone())),
        Value::Bool(_) | Value::Number(_) => Ok(Some(value.to_string())),
        Value::Array(_) | Value::Object(_) => Err(NotScalar),
    }
}

/// The parts of `paths`, `exclude` or `include`: separated by commas, without the spaces around them.
pub fn comma_separated(text: &str) -> Vec<String> {
    text.split(',')
        .map(str::trim)
        .filter(|part| !part.is_empty())
        .map(str::to_owned)
        .collect()
}

#[cfg(test)]
mod tests;
