//! Buckets that keep what is deleted: with versions, with an object lock, or by keys that may add and not delete.

use super::{Fault, Place, clear, through};

impl Place {
    /// How a prune ends, and what it says.
    fn prune(&self) -> (Option<i32>, String) {
        let output = self.run(&clear(), &["prune", "--now"]);
        (output.status.code(), String::from_utf8(output.stdout).unwrap())
    }

    /// Two backups of which the first is forgotten, with content of its own; what a prune says of it, which ends so.
    fn pruned(&self, code: i32) -> String {
        let proxy = clear();
        self.ok(&proxy, &["repo", "init"]);
        self.ok(&proxy, &["backup", "data"]);
        for file in 0..20 {
            std::fs::write(self.path(&format!("data/{file}")), format!("now small, {file}")).unwrap();
        }
        self.ok(&proxy, &["backup", "data"]);
        self.ok(&proxy, &["forget", "--keep-last", "1"]);
        let (ended, said) = self.prune();
        assert_eq!(ended, Some(code), "{said}");
        self.is_whole();
        said
    }

    fn is_whole(&self) {
        let proxy = clear();
        self.ok(&proxy, &["check", "--read-data"]);
        let _ = std::fs::remove_dir_all(self.path("restored"));
        self.ok(&proxy, &["restore", "latest", "restored"]);
        self.ok(&proxy, &["compare", "data", "restored"]);
    }

    /// Enough states that old ones are deleted, and their names may come again. Each prune ends so.
    fn goes_on(&self, code: i32) {
        let proxy = clear();
        for round in 0..4 {
            std::fs::write(self.path("data/new"), format!("round {round}")).unwrap();
            self.ok(&proxy, &["backup", "data"]);
            self.ok(&proxy, &["forget", "--keep-last", "1"]);
            assert_eq!(self.prune().0, Some(code));
        }
        self.is_whole();
    }
}

/// A deletion leaves a marker: the object is gone for every verb, and its versions are the bucket's affair.
#[test]
#[ignore = "needs an S3 server: tests/object-storage/run"]
fn a_bucket_with_versions_is_used_as_any() {
    let place = Place::in_bucket("HOLDFAST_TEST_S3_VERSIONED", "versioned");
    let said = place.pruned(0);
    assert!(said.contains("deleted 1 packs") || said.contains("deleted 2 packs"), "{said}");
    place.goes_on(0);
}

#[test]
#[ignore = "needs an S3 server: tests/object-storage/run"]
fn a_bucket_with_an_object_lock_is_used_as_any() {
    let place = Place::in_bucket("HOLDFAST_TEST_S3_LOCKED", "locked");
    let said = place.pruned(0);
    assert!(said.contains("deleted 1 packs") || said.contains("deleted 2 packs"), "{said}");
    place.goes_on(0);
}

/// AWS takes nothing into such a bucket without a checksum, others do not know the header: it is sent once it is asked for.
#[test]
#[ignore = "needs an S3 server: tests/object-storage/run"]
fn a_bucket_that_wants_checksums_gets_them() {
    let proxy = through(Box::new(|_, request| {
        let lacks = request.method == "PUT" && !request.headers.contains_key("x-amz-checksum-sha256");
        lacks.then_some(Fault::WantsChecksum)
    }));
    let place = Place::in_bucket("HOLDFAST_TEST_S3_LOCKED", "checksums");
    place.whole_way(&proxy);
    // Those that were under way when the first was refused, in each of six commands.
    let refused = proxy.met()[&Fault::WantsChecksum];
    assert!((5..30).contains(&refused), "{refused} refusals");
}

/// A prune says what it may not delete, deletes the rest, and what stays is deleted when somebody may.
#[test]
#[ignore = "needs an S3 server: tests/object-storage/run"]
fn keys_that_may_not_delete_are_one_line_of_a_prune() {
    let (id, secret) = std::env::var("HOLDFAST_TEST_S3_ADDER").expect(super::NEEDS).split_once(':').map(|(id, secret)| (id.to_owned(), secret.to_owned())).unwrap();
    let place = Place { keys: Some((id, secret)), ..Place::in_bucket("HOLDFAST_TEST_S3_APPENDED", "appended") };
    let refused = |said: &str| {
        let line = said.lines().find(|line| line.contains("were not let go") || line.contains("was not let go")).unwrap_or_else(|| panic!("{said}")).to_owned();
        assert!(line.contains("denied") && line.contains("stay due") && !line.contains('<'), "{line}");
        line
    };
    // Whoever runs it by a schedule hears of it.
    let said = place.pruned(1);
    assert!(said.contains("deleted 0 packs"), "{said}");
    refused(&said);
    let (ended, said) = place.prune();
    assert_eq!(ended, Some(1));
    refused(&said);
    place.goes_on(1);
    // The server's own keys may.
    let place = Place { keys: None, ..place };
    let said = place.ok(&clear(), &["prune", "--now"]);
    assert!(!said.contains("let go") && !said.contains("deleted 0 packs"), "{said}");
    place.is_whole();
}
