//! How much longer CPU work takes on Lambda than here.

use std::hint::black_box;
use std::time::{Duration, Instant};

use sha2_soft::compress256;
use sha2_soft::digest::generic_array::GenericArray;

/// Hashes in the fixed work whose time on Lambda is known.
const HASHES: u32 = 500_000;
/// The part of it that is done here at one time, so that a start does not wait for it.
const PART: u32 = 25_000;

/// The time of the fixed work on Lambda, divided by its time here: 500,000 SHA-256, each of the one
/// before, without the instructions that some processors have for it. The best of five parts counts,
/// since whatever else runs can only make one slower.
pub(super) fn measured(there: Duration) -> f64 {
    let parts = (0..5).map(|_| {
        let begin = Instant::now();
        // One block holds 32 bytes and their padding, which takes no time.
        let (mut hash, block) = ([0; 8], [GenericArray::default()]);
        for _ in 0..PART {
            compress256(black_box(&mut hash), black_box(&block));
        }
        begin.elapsed()
    });
    let here = parts.min().unwrap_or_default() * (HASHES / PART);
    there.as_secs_f64() / here.as_secs_f64()
}
