//! Leases: who is at work, so that no prune takes away what they use.

/// What a lease is for. Stands inside it, encrypted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Purpose {
    /// What.
    pub activity: Activity,
    /// On which host.
    pub host: String,
    /// For which session, or empty.
    pub session: String,
    /// For which component, or empty.
    pub component: String,
}

/// What its holder does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum Activity {
    /// Writes a snapshot.
    Backup = 1,
    /// Reads one.
    Restore = 2,
    /// Reads everything.
    Check = 3,
    /// Shows one as a file system.
    Mount = 4,
    /// Lists, or reads a little.
    Browse = 5,
}

impl Purpose {
    /// For `activity` on `host`, without session or component.
    pub fn new(activity: Activity, host: impl Into<String>) -> Self {
        Self { activity, host: host.into(), session: String::new(), component: String::new() }
    }
}
