//! Compiles the contract without a protoc binary.
fn main() -> Result<(), Box<dyn std::error::Error>> {
    println!("cargo:rerun-if-changed=holdfast");
    let descriptors = protox::compile(["holdfast/v1/dispatch.proto"], ["."])?;
    tonic_prost_build::configure()
        // Messages that carry secrets must not be printable by accident: their Debug is written by hand.
        .skip_debug([
            ".holdfast.v1.S3",
            ".holdfast.v1.RepositoryAccess",
            ".holdfast.v1.Data",
            ".holdfast.v1.DataPiece",
        ])
        .compile_fds(descriptors)?;
    Ok(())
}
