//! `holdfast`: backup and restore of volumes, with or without a cluster.
fn main() {}
