//! What a snapshot's components add up to.

use super::SnapshotStatus;
use crate::size;

impl SnapshotStatus {
    /// Size of all components; none if that of one is not known, as in KubeStash.
    pub fn total_size(&self) -> Option<String> {
        size::sum(
            self.components
                .values()
                .map(|component| component.size.as_deref()),
        )
    }

    /// Whether all components are whole; none if that of one is not known.
    pub fn total_integrity(&self) -> Option<bool> {
        let mut integrity = None;
        for component in self.components.values() {
            integrity = Some(integrity.unwrap_or(true) && component.integrity?);
        }
        integrity
    }
}
