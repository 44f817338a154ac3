//! One parser of stored bytes: the one that the target is named after.
#![no_main]

use std::sync::OnceLock;

use holdfast_repository::testing::Parser;
use libfuzzer_sys::fuzz_target;

static PARSER: OnceLock<Parser> = OnceLock::new();

fn parser() -> &'static Parser {
    PARSER.get_or_init(|| {
        let mut all = holdfast_repository::testing::parsers();
        all.extend(holdfast_mover::testing::parsers());
        all.extend(holdfast_restic::testing::parsers());
        all.extend(holdfast_agent::testing::parsers());
        all.into_iter().find(|parser| parser.name == env!("CARGO_BIN_NAME")).expect("a target is named after its parser")
    })
}

// libFuzzer's -malloc_limit_mb bounds what is allocated; the tests on stable count it.
fuzz_target!(|bytes: &[u8]| {
    (parser().parse)(bytes);
});
