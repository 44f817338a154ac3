//! What makes a Repository invalid.

use super::{FieldErrors, Findings};
use crate::repository::Repository;

/// Checks a change: a repository stays where it is.
pub fn validate_update(old: &Repository, new: &Repository) -> Result<(), FieldErrors> {
    let mut findings = Findings::default();
    if old.spec.path != new.spec.path {
        let text = |repository: &Repository| repository.spec.path.clone().unwrap_or_default();
        findings.immutable(
            "spec.path",
            text(old),
            text(new),
            "the data would stay behind",
        );
    }
    findings.result()
}

/// A directory without the slashes around it: two that differ only there are one.
pub(super) fn normalized(directory: &str) -> &str {
    directory.trim_matches('/')
}

/// Why a directory cannot be one. In a storage that is a volume, `..` would lead out of the storage.
pub(super) fn directory_problem(directory: &str) -> Option<&'static str> {
    if normalized(directory)
        .split('/')
        .any(|part| matches!(part, "" | "." | ".."))
    {
        return Some("a directory has no empty parts, `.` or `..`");
    }
    directory
        .chars()
        .any(char::is_control)
        .then_some("a directory has no control characters")
}
