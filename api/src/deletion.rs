//! What happens to data when the object that stands for it goes.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// What happens to the data when its object is deleted.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize, JsonSchema,
)]
pub enum DeletionPolicy {
    /// The data stays.
    Delete,
    /// The data is removed too.
    WipeOut,
}

/// What happens to a Repository when the configuration that made it is deleted.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize, JsonSchema,
)]
pub enum RepositoryDeletionPolicy {
    /// The Repository goes, its data stays.
    Delete,
    /// The Repository and its data go.
    WipeOut,
    /// The Repository stays.
    Retain,
}
