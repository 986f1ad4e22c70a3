//! Chance that can be repeated: each decision has a random source of its own, which depends on a seed
//! and the name of the decision, and on nothing that happened before.

/// The random source of one decision.
pub(crate) fn of(seed: u64, decision: &str) -> fastrand::Rng {
    fastrand::Rng::with_seed(fnv(format!("{seed}/{decision}").as_bytes()))
}

/// FNV-1a, 64 bits: simple, and the same on every machine and in every release.
/// <http://www.isthe.com/chongo/tech/comp/fnv/>
fn fnv(bytes: &[u8]) -> u64 {
    bytes.iter().fold(0xcbf2_9ce4_8422_2325, |hash, byte| {
        (hash ^ u64::from(*byte)).wrapping_mul(0x0000_0100_0000_01b3)
    })
}
