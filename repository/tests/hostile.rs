//! Every parser of stored records on mutated bytes: seeded, bounded, on stable. It never panics, and what it allocates is bounded by
//! what it read. `HOLDFAST_FUZZ_SEED` and `HOLDFAST_FUZZ_ROUNDS` play others; a failure leaves its input in the message.

#![allow(clippy::expect_used, clippy::panic, unsafe_code)] // The whole file is a test; the allocator below counts.

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use std::path::Path;
use std::sync::Arc;

use futures::StreamExt;
use holdfast_repository::testing::{Parser, examples, parsers, plain};
use holdfast_repository::{Environment, Repository, SecretBytes, Store, store};

/// What decoded records may be larger than their bytes: a varint of one byte becomes a field of eight, in maps with spare room.
const GROWTH: usize = 64;
const FREE_BYTES: usize = 64 << 10;
const ROUNDS: u64 = 20_000;
const FOLDERS: [&str; 6] = ["keys", "state", "leases", "snapshots", "index", "packs"];

thread_local!(static ALLOCATED: Cell<usize> = const { Cell::new(0) });

struct Counting;

// SAFETY: every call goes to the system's allocator unchanged; counting allocates nothing.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        ALLOCATED.with(|allocated| allocated.set(allocated.get() + layout.size()));
        // SAFETY: the caller's promise is passed on.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        // SAFETY: the caller's promise is passed on.
        unsafe { System.dealloc(pointer, layout) }
    }
}

#[global_allocator]
static COUNTING: Counting = Counting;

struct Chance(u64);

impl Chance {
    fn next(&mut self, below: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 % below.max(1) as u64) as usize
    }

    fn mutate(&mut self, bytes: &mut Vec<u8>) {
        const TELLING: [u8; 6] = [0, 1, 0x7f, 0x80, 0xfe, 0xff];
        for _ in 0..=self.next(4) {
            let at = self.next(bytes.len());
            match self.next(7) {
                0 if !bytes.is_empty() => bytes[at] ^= 1 << self.next(8),
                1 if !bytes.is_empty() => bytes[at] = TELLING[self.next(TELLING.len())],
                2 => bytes.truncate(at),
                3 => bytes.insert(at, TELLING[self.next(TELLING.len())]),
                // A length that promises far more than there is.
                4 => drop(bytes.splice(at..at, [0xff, 0xff, 0xff, 0xff, 0x0f])),
                5 if !bytes.is_empty() => drop(bytes.remove(at)),
                _ => bytes.extend_from_within(at..),
            }
        }
        bytes.truncate(1 << 20);
    }
}

async fn corpus() -> Vec<(&'static str, Vec<u8>)> {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/v1");
    let store: Arc<dyn Store> = store::local(&directory).expect("golden");
    let repository = Repository::open(Arc::clone(&store), &SecretBytes::new(b"golden".to_vec()), Environment::system()).await.expect("open");
    let mut names = vec!["config".to_owned()];
    for folder in FOLDERS {
        names.extend(store.list(folder, None).map(|entry| entry.expect("list").name).collect::<Vec<_>>().await);
    }
    let mut corpus = examples();
    for name in names {
        corpus.extend(plain(&repository, &name, &store.get(&name).await.expect("get")));
    }
    corpus
}

fn number(variable: &str, otherwise: u64) -> u64 {
    std::env::var(variable).map_or(otherwise, |value| value.parse().expect("a number"))
}

fn takes(parser: &Parser, input: &[u8], seed: u64) -> bool {
    ALLOCATED.set(0);
    let outcome = std::panic::catch_unwind(|| (parser.parse)(input));
    let allocated = ALLOCATED.get();
    let Ok(took) = outcome else { panic!("{} panicked on {input:02x?} (seed {seed})", parser.name) };
    assert!(allocated <= FREE_BYTES + GROWTH * input.len(), "{} allocated {allocated} for {} bytes (seed {seed}): {input:02x?}", parser.name, input.len());
    took
}

#[tokio::test]
async fn no_parser_panics_or_allocates_beyond_what_it_read() {
    let seed = number("HOLDFAST_FUZZ_SEED", 1);
    let rounds = number("HOLDFAST_FUZZ_ROUNDS", ROUNDS);
    let corpus = corpus().await;
    for parser in parsers() {
        let mut inputs: Vec<Vec<u8>> = corpus.iter().filter(|(name, _)| *name == parser.name).map(|(_, bytes)| bytes.clone()).collect();
        assert!(!inputs.is_empty(), "{} has no corpus", parser.name);
        assert!(inputs.iter().all(|input| takes(&parser, input, seed)), "{} refuses what was written", parser.name);
        let mut chance = Chance(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1);
        let mut taken = 0;
        for _ in 0..rounds {
            let mut input = inputs[chance.next(inputs.len())].clone();
            chance.mutate(&mut input);
            if takes(&parser, &input, seed) {
                taken += 1;
                // What a parser takes leads further than what it refuses.
                if inputs.len() < 200 {
                    inputs.push(input);
                }
            }
        }
        println!("{}: {taken} of {rounds} taken", parser.name);
        assert!(taken > 0 && taken < rounds, "{}: mutations do not reach it", parser.name);
    }
}
