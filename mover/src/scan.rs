//! The walk over a volume, by directory handles only.
//!
//! No path is ever resolved from the volume's root in one piece: every step opens one name (or, on the way back up a very deep
//! tree, a few names whose end is then compared with what was there before) below a handle, with `openat2` refusing symbolic
//! links, magic links, `..` above the handle and other mounts. So a pod that swaps directories for links while we walk gains
//! nothing, and a path may be longer than `PATH_MAX`.

pub mod attributes;
pub mod handle;
mod identity;
mod named;
mod names;
pub mod walker;

pub use attributes::{FileType, Stat};
pub use handle::{Handle, VolumeHandles};
pub use identity::{RootIdentity, root_identity};
pub use named::NamedXattrs;
pub use walker::{Found, IsExcluded, Visit, WalkOptions, Walker};
