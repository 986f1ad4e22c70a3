//! Pauses between attempts: exponential, with full jitter
//! ([Exponential Backoff and Jitter](https://aws.amazon.com/blogs/architecture/exponential-backoff-and-jitter/)),
//! and never beyond the deadline.

use std::time::Duration;

use super::Deadline;

/// The first pause is random, below this: about two round trips to DynamoDB.
const BASE: Duration = Duration::from_millis(25);

/// The longest pause. A throttled partition gets capacity again every second.
const CAP: Duration = Duration::from_millis(400);

/// The pauses of one operation that is retried until it succeeds.
#[derive(Debug)]
pub(crate) struct Backoff {
    attempt: u32,
    attempts: u32,
    deadline: Deadline,
}

impl Backoff {
    /// At most `attempts` attempts, the first included, before `deadline`.
    pub(crate) fn new(attempts: u32, deadline: Deadline) -> Self {
        Self {
            attempt: 1,
            attempts,
            deadline,
        }
    }

    /// Waits before the next attempt. Returns `false` at once if no attempt is left.
    pub(crate) async fn pause(&mut self) -> bool {
        let pause = longest_pause(self.attempt).mul_f64(fastrand::f64());
        if self.attempt >= self.attempts || !self.deadline.allows(pause) {
            return false;
        }
        self.attempt += 1;
        tokio::time::sleep(pause).await;
        true
    }
}

fn longest_pause(attempt: u32) -> Duration {
    // 2^4 times the base is the cap already.
    BASE.saturating_mul(1 << (attempt - 1).min(4)).min(CAP)
}

#[cfg(test)]
mod tests {
    use tokio::time::Instant;

    use super::*;

    /// More attempts than fit before any deadline below: a loop that comes to as many does not pause.
    const ENDLESS: usize = 10_000;

    /// Tokio sleeps for whole milliseconds, rounded up.
    const TICK: Duration = Duration::from_millis(1);

    #[test]
    fn pauses_double_up_to_the_cap() {
        let longest: Vec<_> = (1..=7)
            .map(|attempt| longest_pause(attempt).as_millis())
            .collect();

        assert_eq!(longest, [25, 50, 100, 200, 400, 400, 400]);
    }

    #[tokio::test(start_paused = true)]
    async fn a_pause_lasts_for_any_part_of_the_longest() {
        fastrand::seed(1);
        let (mut short, mut long) = (0, 0);
        for _ in 0..100 {
            let mut backoff = Backoff::new(u32::MAX, Deadline::after(Duration::from_secs(60)));
            for attempt in 1..=6 {
                let begun = Instant::now();

                assert!(backoff.pause().await);

                let longest = longest_pause(attempt);
                assert!(begun.elapsed() <= longest + TICK);
                if begun.elapsed() < longest / 4 {
                    short += 1;
                } else if begun.elapsed() > longest * 3 / 4 {
                    long += 1;
                }
            }
        }

        // A quarter of 600 each.
        assert!((100..200).contains(&short), "{short}");
        assert!((100..200).contains(&long), "{long}");
    }

    #[tokio::test(start_paused = true)]
    async fn attempts_end_when_they_are_used_up() {
        let mut backoff = Backoff::new(3, Deadline::after(Duration::from_secs(60)));

        assert!(backoff.pause().await);
        assert!(backoff.pause().await);
        let used_up = Instant::now();
        assert!(!backoff.pause().await);

        assert_eq!(Instant::now(), used_up, "nothing follows that it waits for");
    }

    #[tokio::test(start_paused = true)]
    async fn pauses_fill_the_time_up_to_the_deadline_and_none_goes_beyond_it() {
        let deadline = Deadline::after(Duration::from_secs(10));
        let mut backoff = Backoff::new(u32::MAX, deadline);
        let mut pauses = 0;

        while backoff.pause().await {
            pauses += 1;
            assert!(pauses < ENDLESS, "it does not pause");
            assert!(Instant::now() <= deadline.instant() + TICK);
        }

        assert!(!deadline.allows(CAP), "it gave up with time left");
    }
}
