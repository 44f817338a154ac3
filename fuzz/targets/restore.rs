//! Restores of catalogs made to harm: see `RestoreTrial`.
#![no_main]

use std::sync::Mutex;

use holdfast_mover::testing::RestoreTrial;
use libfuzzer_sys::fuzz_target;

static TRIAL: Mutex<Option<RestoreTrial>> = Mutex::new(None);

fuzz_target!(|bytes: &[u8]| {
    let mut trial = TRIAL.lock().expect("one thread");
    let place = std::env::temp_dir().join(format!("holdfast-fuzz-{}", std::process::id()));
    trial.get_or_insert_with(|| RestoreTrial::new(&place, false)).run(bytes);
});
