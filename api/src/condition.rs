//! Conditions: typed facts in a status, merged by type.

use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

pub mod kinds;

/// One fact about an object.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Condition {
    /// When `status` last changed.
    pub last_transition_time: Time,
    /// What happened, for a person.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub message: Option<String>,
    /// The object's generation that this is about.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub observed_generation: Option<i64>,
    /// Why, as one word.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// How bad it is that the condition does not hold.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub severity: Option<String>,
    /// True, False or Unknown.
    pub status: String,
    /// Which fact.
    #[serde(rename = "type")]
    pub type_: String,
}

/// Whether a condition holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ConditionStatus {
    /// It holds.
    True,
    /// It does not.
    False,
    /// Nobody could tell.
    Unknown,
}

impl ConditionStatus {
    /// The word Kubernetes uses.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::True => "True",
            Self::False => "False",
            Self::Unknown => "Unknown",
        }
    }
}

impl From<bool> for ConditionStatus {
    fn from(holds: bool) -> Self {
        if holds { Self::True } else { Self::False }
    }
}

impl Condition {
    /// A condition that changed at `now`; [`set`] keeps the earlier time if it did not.
    pub fn new(
        type_: impl Into<String>,
        status: impl Into<ConditionStatus>,
        reason: impl Into<String>,
        message: impl Into<String>,
        now: Timestamp,
    ) -> Self {
        Self {
            last_transition_time: Time(now),
            message: Some(message.into()).filter(|message: &String| !message.is_empty()),
            observed_generation: None,
            reason: Some(reason.into()),
            severity: None,
            status: status.into().as_str().to_owned(),
            type_: type_.into(),
        }
    }

    /// The same condition, said of `generation`.
    #[must_use]
    pub fn observed(mut self, generation: Option<i64>) -> Self {
        self.observed_generation = generation;
        self
    }
}

/// Puts `condition` among `conditions`, by type, and says whether anything changed.
///
/// `lastTransitionTime` moves only when `status` changes, so that it says since when something holds.
pub fn set(conditions: &mut Vec<Condition>, mut condition: Condition) -> bool {
    let Some(existing) = conditions
        .iter_mut()
        .find(|existing| existing.type_ == condition.type_)
    else {
        conditions.push(condition);
        return true;
    };
    if existing.status == condition.status {
        condition.last_transition_time = existing.last_transition_time.clone();
    }
    if *existing == condition {
        return false;
    }
    *existing = condition;
    true
}

/// Removes the condition of this type, and says whether there was one.
pub fn remove(conditions: &mut Vec<Condition>, type_: &str) -> bool {
    let before = conditions.len();
    conditions.retain(|condition| condition.type_ != type_);
    conditions.len() != before
}

/// The condition of this type.
pub fn get<'a>(conditions: &'a [Condition], type_: &str) -> Option<&'a Condition> {
    conditions.iter().find(|condition| condition.type_ == type_)
}

/// Whether the condition of this type is there, whatever its status.
pub fn has(conditions: &[Condition], type_: &str) -> bool {
    get(conditions, type_).is_some()
}

/// Whether the condition of this type is there and True.
pub fn is_true(conditions: &[Condition], type_: &str) -> bool {
    get(conditions, type_)
        .is_some_and(|condition| condition.status == ConditionStatus::True.as_str())
}

/// Whether the condition of this type is there and False.
pub fn is_false(conditions: &[Condition], type_: &str) -> bool {
    get(conditions, type_)
        .is_some_and(|condition| condition.status == ConditionStatus::False.as_str())
}

#[cfg(test)]
mod tests;
