//! What the tests of bad days have of a place.

use crate::work;
pub(crate) use work::{Place, failure, noise, said};

impl Place {
    /// As the tests here want it: with a cache, and a second password.
    pub(crate) fn ready() -> Self {
        Self::new().with_cache().with("HOLDFAST_NEW_PASSWORD", "battery staple\n")
    }

    /// With a repository, and two snapshots of a few files.
    pub(crate) fn filled() -> Self {
        let place = Self::ready();
        std::fs::create_dir(place.path("data/directory")).unwrap();
        std::fs::write(place.path("data/file"), "content\n").unwrap();
        std::fs::write(place.path("data/directory/large"), vec![7; 300_000]).unwrap();
        place.ok(&["repo", "init"]);
        place.ok(&["backup", "data"]);
        place.ok(&["backup", "data"]);
        place
    }
}
