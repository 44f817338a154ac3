//! Plays parsers on their committed corpora and on seeded mutations of them. Included by the tests on hostile bytes (`#[path]`);
//! libFuzzer plays the same parsers (`targets/`).

use std::path::{Path, PathBuf};

use holdfast_repository::testing::{Mutator, Parser, rounds, seed};

use crate::counting_allocator::ALLOCATED;

/// What decoded records may be larger than their bytes: a varint of one byte becomes a field of eight, in maps with spare room.
const GROWTH: usize = 64;
const FREE_BYTES: usize = 64 << 10;
const ROUNDS: u64 = 20_000;
/// What a parser took leads further than what it refused; so many inputs of that are kept.
const INPUTS_MAX: usize = 200;

fn corpus_folder(parser: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../fuzz/corpus").join(parser)
}

/// The committed inputs of a parser. Those named `refused-...` were found by a fuzzer: hostile, and no example of anything.
pub fn committed(parser: &str) -> (Vec<Vec<u8>>, Vec<Vec<u8>>) {
    let folder = corpus_folder(parser);
    let mut names: Vec<_> = std::fs::read_dir(&folder).map(|entries| entries.map(|entry| entry.expect("entry").path()).collect()).unwrap_or_default();
    names.sort();
    let (refused, taken): (Vec<_>, Vec<_>) = names.into_iter().partition(|path| path.file_name().is_some_and(|name| name.as_encoded_bytes().starts_with(b"refused")));
    let read = |paths: Vec<PathBuf>| paths.iter().map(|path| std::fs::read(path).expect("corpus")).collect();
    (read(taken), read(refused))
}

/// `HOLDFAST_FUZZ_COMMIT=1` writes the examples of today's encoders beside those of yesterday.
pub fn commit(examples: &[(&'static str, Vec<u8>)]) {
    if std::env::var_os("HOLDFAST_FUZZ_COMMIT").is_none() {
        return;
    }
    for (parser, bytes) in examples {
        let folder = corpus_folder(parser);
        let hash = bytes.iter().fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| (hash ^ u64::from(*byte)).wrapping_mul(0x0000_0100_0000_01b3));
        std::fs::create_dir_all(&folder).expect("folder");
        std::fs::write(folder.join(format!("{hash:016x}")), bytes).expect("corpus");
    }
}

fn takes(parser: &Parser, input: &[u8], seed: u64) -> bool {
    ALLOCATED.set(0);
    let outcome = std::panic::catch_unwind(|| (parser.parse)(input));
    let allocated = ALLOCATED.get();
    let Ok(took) = outcome else { panic!("{} panicked on {input:02x?} (seed {seed})", parser.name) };
    let allowed = FREE_BYTES + GROWTH * input.len() + (parser.declared_bytes)(input);
    assert!(allocated <= allowed, "{} allocated {allocated} for {} bytes (seed {seed}): {input:02x?}", parser.name, input.len());
    took
}

/// Each parser on its examples, its corpus and what chance makes of them: never a panic, never more memory than the input explains.
pub fn play(parsers: &[Parser], examples: &[(&'static str, Vec<u8>)]) {
    let (seed, rounds) = (seed(), rounds(ROUNDS));
    commit(examples);
    for parser in parsers {
        let (mut inputs, refused) = committed(parser.name);
        assert!(!inputs.is_empty(), "{} has no committed corpus", parser.name);
        inputs.extend(examples.iter().filter(|(name, _)| *name == parser.name).map(|(_, bytes)| bytes.clone()));
        assert!(inputs.iter().all(|input| takes(parser, input, seed)), "{} refuses what was written", parser.name);
        assert!(!refused.iter().any(|input| takes(parser, input, seed)), "{} takes what it must refuse", parser.name);
        let written = inputs.clone();
        inputs.extend(refused);
        let mut mutation = Mutator::new(seed);
        let mut taken = 0;
        for _ in 0..rounds {
            let mut input = inputs[mutation.below(inputs.len())].clone();
            mutation.mutate(&mut input);
            if takes(parser, &input, seed) {
                assert!(!parser.is_sealed || written.contains(&input), "{} takes what nobody wrote (seed {seed}): {input:02x?}", parser.name);
                taken += 1;
                if inputs.len() < INPUTS_MAX && !parser.is_sealed {
                    inputs.push(input);
                }
            }
        }
        println!("{}: {taken} of {rounds} taken", parser.name);
        assert!(taken < rounds && (taken > 0 || parser.is_sealed), "{}: mutations do not reach it", parser.name);
    }
}
