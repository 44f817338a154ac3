//! RetentionPolicy: which snapshots stay.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::resource::resource;
use crate::usage_policy::UsagePolicy;

resource! {
    /// Which snapshots stay.
    RetentionPolicy {
        group: "storage.kubestash.com", plural: "retentionpolicies", scope: Namespaced, spec: RetentionPolicySpec
    }
}

/// Which snapshots stay: those that a rule of `successfulSnapshots` keeps and that are not older than `maxRetentionPeriod`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct RetentionPolicySpec {
    /// How old a snapshot may get, such as `2mo` or `30d12h`; units y, mo, w, d, h, m. The last good one stays however old it is.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_retention_period: Option<String>,
    /// Who may use this policy from another namespace.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub usage_policy: Option<UsagePolicy>,
    /// Which successful snapshots stay.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub successful_snapshots: Option<SuccessfulSnapshotsKeepPolicy>,
    /// Which failed snapshots stay.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub failed_snapshots: Option<FailedSnapshotsKeepPolicy>,
    /// Whether objects that name no policy use this one; at most one in a namespace.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub default: Option<bool>,
}

/// Which successful snapshots stay.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct SuccessfulSnapshotsKeepPolicy {
    /// The last ones, so many.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub last: Option<i32>,
    /// The last one of an hour, for so many hours.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub hourly: Option<i32>,
    /// The last one of a day, for so many days.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub daily: Option<i32>,
    /// The last one of a week, for so many weeks.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub weekly: Option<i32>,
    /// The last one of a month, for so many months.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub monthly: Option<i32>,
    /// The last one of a year, for so many years.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub yearly: Option<i32>,
}

/// Which failed snapshots stay.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct FailedSnapshotsKeepPolicy {
    /// The last ones, so many.
    #[schemars(extend("default" = 1))]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub last: Option<i32>,
}
