//! The end of an invocation, as an instant that work is planned against.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use tokio::time::Instant;

/// Kept back at the end of an invocation for writing the answer and handing it to the Runtime API.
/// Both take about a millisecond on a full vCPU; at 128 MB there is a fourteenth of one.
const RESERVE: Duration = Duration::from_millis(200);

/// What is assumed where the host names no real time. `cargo lambda watch` sends a deadline that is
/// not an epoch time.
const ASSUMED: Duration = Duration::from_secs(10);

/// 2020-01-01T00:00:00Z in milliseconds: an earlier "deadline" is not an epoch time.
const EARLIEST_MS: u64 = 1_577_836_800_000;

/// The instant by which a handler must have its answer ready: a little before Lambda ends the
/// invocation.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Deadline(Instant);

impl Deadline {
    /// From the deadline that the Runtime API gives, in milliseconds since the epoch
    /// ([`Lambda-Runtime-Deadline-Ms`](https://docs.aws.amazon.com/lambda/latest/dg/runtimes-api.html)).
    pub fn from_epoch_ms(epoch_ms: u64) -> Self {
        if epoch_ms < EARLIEST_MS {
            return Self::after(ASSUMED);
        }
        let end = UNIX_EPOCH + Duration::from_millis(epoch_ms);
        let remaining = end.duration_since(SystemTime::now()).unwrap_or_default();
        Self::after(remaining.saturating_sub(RESERVE))
    }

    /// `remaining` from now.
    pub fn after(remaining: Duration) -> Self {
        Self(Instant::now() + remaining)
    }

    /// As an instant of tokio's clock, for `timeout_at`.
    pub fn instant(self) -> Instant {
        self.0
    }

    /// Whether `pause` would still end before the deadline.
    pub fn allows(self, pause: Duration) -> bool {
        Instant::now() + pause < self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_deadline_leaves_time_to_answer() {
        let end = SystemTime::now().duration_since(UNIX_EPOCH).unwrap() + Duration::from_secs(5);

        let deadline = Deadline::from_epoch_ms(u64::try_from(end.as_millis()).unwrap());

        assert!(deadline.allows(Duration::from_secs(4)));
        assert!(!deadline.allows(Duration::from_secs(5)));
    }

    #[tokio::test]
    async fn a_deadline_in_the_past_allows_nothing() {
        assert!(!Deadline::from_epoch_ms(EARLIEST_MS).allows(Duration::ZERO));
    }

    #[tokio::test]
    async fn a_number_that_is_not_an_epoch_time_is_not_taken_for_one() {
        assert!(Deadline::from_epoch_ms(30_000).allows(Duration::from_secs(9)));
    }
}
