//! What makes a RetentionPolicy invalid.

use super::{FieldErrors, Findings, same, set, title};
use crate::retention_period;
use crate::retention_policy::{RetentionPolicy, SuccessfulSnapshotsKeepPolicy};

/// Checks a policy against the rules and against the `others` of the cluster (itself among them does no harm).
pub fn validate(policy: &RetentionPolicy, others: &[&RetentionPolicy]) -> Result<(), FieldErrors> {
    let mut findings = Findings::default();
    let spec = &policy.spec;
    let period = set(spec.max_retention_period.as_deref());
    if let Some(period) = period
        && let Err(error) = retention_period::parse(period)
    {
        findings.malformed("spec.maxRetentionPeriod", period, error);
    }
    if period.is_none() && spec.successful_snapshots.is_none() {
        findings.required(
            "spec.maxRetentionPeriod",
            "it or successfulSnapshots says which snapshots stay",
        );
    }
    if let Some(keep) = &spec.successful_snapshots {
        check_counts(&mut findings, keep);
    }
    check_count(
        &mut findings,
        "spec.failedSnapshots.last",
        spec.failed_snapshots.as_ref().and_then(|keep| keep.last),
    );
    findings.usage_policy(spec.usage_policy.as_ref());
    for other in others.iter().filter(|other| !same(**other, policy)) {
        let both_default = spec.default == Some(true) && other.spec.default == Some(true);
        if both_default && other.metadata.namespace == policy.metadata.namespace {
            findings.taken(
                "spec.default",
                "true",
                format!("{} is the default of this namespace", title(*other)),
            );
        }
    }
    findings.result()
}

fn check_counts(findings: &mut Findings, keep: &SuccessfulSnapshotsKeepPolicy) {
    for (field, count) in [
        ("last", keep.last),
        ("hourly", keep.hourly),
        ("daily", keep.daily),
        ("weekly", keep.weekly),
        ("monthly", keep.monthly),
        ("yearly", keep.yearly),
    ] {
        check_count(
            findings,
            &format!("spec.successfulSnapshots.{field}"),
            count,
        );
    }
}

/// A negative count has no meaning, and what removes snapshots must not have to guess one.
fn check_count(findings: &mut Findings, path: &str, count: Option<i32>) {
    if let Some(count) = count.filter(|count| *count < 0) {
        findings.malformed(
            path,
            &count.to_string(),
            "a number of snapshots is not negative",
        );
    }
}
