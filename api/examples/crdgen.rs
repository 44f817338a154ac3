//! Writes the CustomResourceDefinitions to `deploy/crds`, or to the directory given: `cargo run -p holdfast-api --example crdgen`.

use std::error::Error;
use std::path::PathBuf;

use holdfast_api::crd::KINDS;

const HEADER: &str =
    "# Generated from the types in api/: cargo run -p holdfast-api --example crdgen\n";

fn main() -> Result<(), Box<dyn Error>> {
    let default = concat!(env!("CARGO_MANIFEST_DIR"), "/../deploy/crds");
    let directory = std::env::args_os()
        .nth(1)
        .map_or_else(|| PathBuf::from(default), PathBuf::from);
    std::fs::create_dir_all(&directory)?;
    for kind in KINDS {
        let path = directory.join(format!("{}_{}.yaml", kind.group, kind.plural));
        let yaml = serde_saphyr::to_string(&kind.definition())?;
        std::fs::write(&path, format!("{HEADER}{yaml}"))?;
        println!("{}", path.display());
    }
    Ok(())
}
