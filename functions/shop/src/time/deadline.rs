//! Deadlines: how long work may take, as an instant.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use tokio::time::Instant;

/// Reserved at the end of an invocation to write the answer and send it to the Runtime API. Both
/// take about a millisecond on a full vCPU; 128 MB have a fourteenth of one.
const RESERVE: Duration = Duration::from_millis(200);

/// Assumed if the host sends no real deadline. `cargo lambda watch` sends one that is not an epoch
/// time.
const ASSUMED: Duration = Duration::from_secs(10);

/// 2020-01-01T00:00:00Z in milliseconds: an earlier "deadline" is not an epoch time.
const EARLIEST_MS: u64 = 1_577_836_800_000;

/// The instant by which a handler must have its answer ready, a little before Lambda ends the
/// invocation.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Deadline(Instant);

impl Deadline {
    /// From the deadline of the Runtime API, in milliseconds since the epoch
    /// ([`Lambda-Runtime-Deadline-Ms`](https://docs.aws.amazon.com/lambda/latest/dg/runtimes-api.html)).
    pub fn from_epoch_ms(epoch_ms: u64) -> Self {
        if epoch_ms < EARLIEST_MS {
            return Self::after(ASSUMED);
        }
        let end = UNIX_EPOCH + Duration::from_millis(epoch_ms);
        let remaining = end.duration_since(SystemTime::now()).unwrap_or_default();
        Self::after(remaining.saturating_sub(RESERVE))
    }

    /// This deadline, or `limit` from now if that is earlier.
    #[must_use]
    pub fn within(self, limit: Duration) -> Self {
        self.min(Self::after(limit))
    }

    /// `remaining` from now.
    pub fn after(remaining: Duration) -> Self {
        Self(Instant::now() + remaining)
    }

    /// As an instant of tokio's clock, for `timeout_at`.
    pub fn instant(self) -> Instant {
        self.0
    }

    /// Whether `pause` would end before the deadline.
    pub fn allows(self, pause: Duration) -> bool {
        Instant::now() + pause < self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_deadline_leaves_time_to_answer() {
        let minute = Duration::from_secs(60);
        let end = SystemTime::now().duration_since(UNIX_EPOCH).unwrap() + minute;

        let deadline = Deadline::from_epoch_ms(u64::try_from(end.as_millis()).unwrap());

        assert!(deadline.allows(minute / 2));
        // Nothing may take up the last 200 ms. The clock has moved on since, which makes them more.
        assert!(!deadline.allows(minute - Duration::from_millis(200)));
    }

    #[tokio::test(start_paused = true)]
    async fn the_earlier_of_two_ends_counts() {
        let (short, long) = (Duration::from_secs(1), Duration::from_secs(5));

        assert_eq!(Deadline::after(long).within(short), Deadline::after(short));
        assert_eq!(Deadline::after(short).within(long), Deadline::after(short));
    }

    #[tokio::test]
    async fn a_deadline_in_the_past_allows_nothing() {
        assert!(!Deadline::from_epoch_ms(EARLIEST_MS).allows(Duration::ZERO));
    }

    #[tokio::test(start_paused = true)]
    async fn a_number_that_is_not_an_epoch_time_is_not_taken_for_one() {
        for number in [0, 30_000, EARLIEST_MS - 1] {
            let assumed = Deadline::after(Duration::from_secs(10));
            assert_eq!(Deadline::from_epoch_ms(number), assumed, "{number}");
        }
    }
}
