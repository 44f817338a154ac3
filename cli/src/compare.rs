//! `holdfast compare A B`: the proof of a restore. Both trees are only read.

use std::path::PathBuf;

use holdfast_mover::fidelity::{self, Aspect};
use serde_json::json;

use crate::arguments::Global;
use crate::outcome::{Failure, Outcome};
use crate::text;

#[derive(Debug, clap::Args)]
pub(crate) struct Arguments {
    /// One directory.
    left: PathBuf,
    /// The other.
    right: PathBuf,
    /// Where holes are must be the same too.
    #[arg(long)]
    holes: bool,
}

pub(crate) fn run(global: &Global, arguments: &Arguments) -> Result<Outcome, Failure> {
    let comparison = fidelity::compare(&arguments.left, &arguments.right).map_err(|error| Failure::new(error.to_string()))?;
    let is_identical = if arguments.holes { comparison.is_identical_with_holes() } else { comparison.is_identical() };
    if global.json {
        let differences: Vec<_> = comparison.differences.iter().map(ToString::to_string).collect();
        println!("{}", json!({ "identical": is_identical, "entries": comparison.entries, "bytes": comparison.bytes, "differences": differences }));
    } else {
        for difference in comparison.differences.iter().filter(|difference| arguments.holes || difference.aspect != Aspect::Holes) {
            println!("{}", text::one_line(&difference.to_string()));
        }
        let verdict = if is_identical { "identical" } else { "DIFFERENT" };
        println!("{verdict}: {} entries, {} compared", comparison.entries, text::bytes(comparison.bytes));
    }
    Ok(if is_identical { Outcome::Done } else { Outcome::Failed })
}
