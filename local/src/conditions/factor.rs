//! How much longer CPU work takes on Lambda than here.

use std::hint::black_box;
use std::time::Duration;

use nix::time::{ClockId, clock_gettime};
use sha2_soft::compress256;
use sha2_soft::digest::generic_array::GenericArray;

/// Hashes in the fixed work whose time on Lambda is known.
const HASHES: u32 = 500_000;
/// The part of it that is done here at one time, so that a start does not wait for it.
const PART: u32 = 25_000;

/// The time of the fixed work on Lambda, divided by its time here: 500,000 SHA-256, each of the one
/// before, without the instructions that some processors have for it. CPU time of this thread counts,
/// so that other work on the machine moves it less, and the best of five parts.
pub(super) fn measured(there: Duration) -> f64 {
    let parts = (0..5).map(|_| {
        let begin = cpu_time();
        // One block holds 32 bytes and their padding, which takes no time.
        let (mut hash, block) = ([0; 8], [GenericArray::default()]);
        for _ in 0..PART {
            compress256(black_box(&mut hash), black_box(&block));
        }
        cpu_time().saturating_sub(begin)
    });
    let here = parts.min().unwrap_or_default() * (HASHES / PART);
    there.as_secs_f64() / here.as_secs_f64()
}

/// CPU time of this thread so far.
fn cpu_time() -> Duration {
    // It fails only for a clock that the system does not have.
    clock_gettime(ClockId::CLOCK_THREAD_CPUTIME_ID).map_or(Duration::ZERO, Duration::from)
}
