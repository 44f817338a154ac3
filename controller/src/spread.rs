//! A number that follows from a name, and spreads names evenly: the same in every process and every version.

/// FNV-1a, and the finalizer of SplitMix64 for the low bits. (<https://datatracker.ietf.org/doc/html/rfc9923>)
pub fn spread(name: &str) -> u64 {
    let hash = name.bytes().fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3));
    let mixed = (hash ^ (hash >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    mixed ^ (mixed >> 31)
}
