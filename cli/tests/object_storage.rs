//! The real command on a real S3 server, through a proxy that does what object storage does on bad days.
//! `tests/object-storage/run` starts the server and says in `HOLDFAST_TEST_S3_SERVER` (HOST:PORT) where it is; the `AWS_*` variables
//! hold its keys, `HOLDFAST_TEST_S3_BUCKET` a bucket.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

#[path = "object_storage/protected.rs"]
mod protected;
#[path = "object_storage/proxy.rs"]
mod proxy;

use std::path::PathBuf;
use std::process::{Command, Output};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use assert_cmd::cargo::CommandCargoExt;
use proxy::{Fault, Plan, Proxy, seeded};
use tempfile::TempDir;

const NEEDS: &str = "HOLDFAST_TEST_S3_SERVER is set by tests/object-storage/run";

struct Place {
    directory: TempDir,
    url: String,
    /// Other keys than the server's own.
    keys: Option<(String, String)>,
}

impl Place {
    fn new(name: &str) -> Self {
        Self::in_bucket("HOLDFAST_TEST_S3_BUCKET", name)
    }

    /// In the bucket that a variable names.
    fn in_bucket(variable: &str, name: &str) -> Self {
        let directory = TempDir::new().unwrap();
        let fresh = directory.path().file_name().unwrap().to_string_lossy().replace('.', "");
        let bucket = std::env::var(variable).expect(NEEDS);
        let place = Self { url: format!("s3://{bucket}/{name}-{fresh}"), directory, keys: None };
        std::fs::create_dir(place.path("data")).unwrap();
        let mut word = 7_u64;
        for file in 0..40_usize {
            let bytes: Vec<u8> = (0..20_000 * (1 + file % 7))
                .map(|_| {
                    word = word.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
                    (word >> 56) as u8
                })
                .collect();
            std::fs::write(place.path(&format!("data/{file}")), bytes).unwrap();
        }
        place
    }

    fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    fn run(&self, proxy: &Proxy, arguments: &[&str]) -> Output {
        #[allow(deprecated)]
        let mut command = Command::cargo_bin("holdfast").unwrap();
        command.args(arguments).env_clear().current_dir(self.directory.path());
        command.env("HOLDFAST_REPO", &self.url).env("HOLDFAST_PASSWORD", "correct horse");
        for name in ["AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_REGION"] {
            command.env(name, std::env::var(name).expect(NEEDS));
        }
        if let Some((id, secret)) = &self.keys {
            command.env("AWS_ACCESS_KEY_ID", id).env("AWS_SECRET_ACCESS_KEY", secret);
        }
        command.env("AWS_ENDPOINT_URL", format!("http://{}", proxy.address));
        command.output().unwrap()
    }

    fn ok(&self, proxy: &Proxy, arguments: &[&str]) -> String {
        let output = self.run(proxy, arguments);
        assert!(output.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap()
    }

    fn fails(&self, proxy: &Proxy, arguments: &[&str]) -> String {
        let output = self.run(proxy, arguments);
        let said = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(1), "{said}");
        let line = said.lines().last().unwrap_or_default().to_owned();
        assert!(line.starts_with("error: ") && !line.contains('<'), "one line, without XML: {said}");
        line
    }

    fn whole_way(&self, proxy: &Proxy) {
        self.ok(proxy, &["repo", "init"]);
        self.ok(proxy, &["backup", "data"]);
        std::fs::write(self.path("data/new"), "new").unwrap();
        self.ok(proxy, &["backup", "data"]);
        self.ok(proxy, &["check", "--read-data"]);
        self.ok(proxy, &["restore", "latest", "restored"]);
        self.ok(proxy, &["compare", "data", "restored"]);
        assert_eq!(self.ok(proxy, &["--json", "snapshots"]).matches("\"id\"").count(), 2);
        assert_eq!(proxy.multipart(), 0, "each object is one PUT");
    }
}

fn through(plan: Box<Plan>) -> Proxy {
    Proxy::start(std::env::var("HOLDFAST_TEST_S3_SERVER").expect(NEEDS).parse().unwrap(), plan)
}

fn clear() -> Proxy {
    through(Box::new(|_, _| None))
}

#[test]
#[ignore = "needs an S3 server: tests/object-storage/run"]
fn every_verb_gets_through_bad_days() {
    let faults =
        vec![Fault::SlowDown, Fault::ResetBefore, Fault::ResetAfter, Fault::TornRequest, Fault::TornAnswer, Fault::Twice, Fault::Delay];
    let seed = std::env::var("HOLDFAST_TEST_SEED").map_or(1, |seed| seed.parse().unwrap());
    let proxy = through(seeded(seed, 3, faults.clone()));
    let place = Place::new("bad-days");
    place.whole_way(&proxy);
    // A verb of few requests is repeated until each fault was met: a plan that injects nothing proves nothing.
    for _ in 0..40 {
        if faults.iter().all(|fault| proxy.met().contains_key(fault)) {
            break;
        }
        place.ok(&proxy, &["backup", "data"]);
    }
    println!("seed {seed}: {} requests, {:?}", proxy.requests(), proxy.met());
    assert!(faults.iter().all(|fault| proxy.met().contains_key(fault)), "{:?}", proxy.met());
    place.ok(&clear(), &["check", "--read-data"]);
}

#[test]
#[ignore = "needs an S3 server: tests/object-storage/run"]
fn each_lost_answer_of_a_create_is_looked_into() {
    let proxy = through(Box::new(|_, request| {
        // The client's own retries end in 412; only a look can tell whose bytes stand there.
        static SEEN: AtomicU64 = AtomicU64::new(0);
        (request.method == "PUT" && SEEN.fetch_add(1, Ordering::Relaxed) % 2 == 0).then_some(Fault::ResetAfter)
    }));
    let place = Place::new("lost-answers");
    place.whole_way(&proxy);
    assert!(proxy.met()[&Fault::ResetAfter] > 8);
}

/// Packs of full size are one PUT each: what is cut off half-way leaves nothing behind, and there is no upload to abort.
#[test]
#[ignore = "needs an S3 server: tests/object-storage/run"]
fn an_upload_that_is_cut_off_leaves_nothing() {
    let place = Place::new("cut-off");
    place.ok(&clear(), &["repo", "init"]);
    let mut word = 11_u64;
    let large: Vec<u8> = std::iter::repeat_with(|| {
        word = word.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (word >> 32) as u32
    })
    .take(20 << 20)
    .flat_map(u32::to_le_bytes)
    .collect();
    std::fs::write(place.path("data/large"), large).unwrap();
    let proxy = through(Box::new(|_, request| {
        static SEEN: AtomicU64 = AtomicU64::new(0);
        let is_pack = request.method == "PUT" && request.path.contains("/packs/");
        (is_pack && SEEN.fetch_add(1, Ordering::Relaxed) % 2 == 0).then_some(Fault::TornRequest)
    }));
    place.ok(&proxy, &["backup", "data"]);
    assert!(proxy.met()[&Fault::TornRequest] >= 3 && proxy.multipart() == 0, "{:?}, {} requests of parts", proxy.met(), proxy.multipart());
    // Nobody has stored a pack that is not in the index, nor a part of one.
    let pruned = place.ok(&clear(), &["prune", "--now"]);
    assert!(pruned.contains("deleted 0 packs"), "{pruned}");
    place.ok(&clear(), &["check", "--read-data"]);
}

#[test]
#[ignore = "needs an S3 server: tests/object-storage/run"]
fn a_store_without_conditional_create_is_found_out_at_init() {
    let proxy = through(Box::new(|_, request| {
        request.headers.contains_key("if-none-match").then_some(Fault::Refuse("501 Not Implemented", "NotImplemented"))
    }));
    let place = Place::new("unconditional");
    place.whole_way(&proxy);
    assert_eq!(proxy.met().len(), 1);
}

#[test]
#[ignore = "needs an S3 server: tests/object-storage/run"]
fn keys_that_run_out_half_way_are_one_clear_line() {
    let place = Place::new("expired");
    place.ok(&clear(), &["repo", "init"]);
    let proxy = through(Box::new(|number, _| (number > 6).then_some(Fault::Refuse("400 Bad Request", "ExpiredToken"))));
    let line = place.fails(&proxy, &["backup", "data"]);
    assert!(line.contains("expired") && line.contains("AWS_"), "{line}");
    place.whole_way(&clear());
}

#[test]
#[ignore = "needs an S3 server: tests/object-storage/run"]
fn a_full_store_is_one_clear_line_and_nothing_to_clean() {
    let place = Place::new("full");
    place.ok(&clear(), &["repo", "init"]);
    let proxy = through(Box::new(|_, request| {
        (request.method == "PUT" && request.path.contains("/packs/")).then_some(Fault::Refuse("403 Forbidden", "QuotaExceeded"))
    }));
    let line = place.fails(&proxy, &["backup", "data"]);
    assert!(line.contains("full") && line.contains("make room"), "{line}");
    place.whole_way(&clear());
}

#[test]
#[ignore = "needs an S3 server: tests/object-storage/run"]
fn a_server_that_only_says_slow_down_is_given_up_in_bounded_time() {
    let place = Place::new("slow-down");
    let proxy = through(Box::new(|_, _| Some(Fault::SlowDown)));
    let started = Instant::now();
    let line = place.fails(&proxy, &["snapshots"]);
    assert!(line.contains("SlowDown"), "{line}");
    assert!(started.elapsed() < Duration::from_secs(120) && proxy.requests() < 40, "{:?}, {} requests", started.elapsed(), proxy.requests());
}
