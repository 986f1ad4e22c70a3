//! Pauses between attempts: exponential, with full jitter
//! ([Exponential Backoff and Jitter](https://aws.amazon.com/blogs/architecture/exponential-backoff-and-jitter/)),
//! and never beyond the deadline.

use std::time::Duration;

use aws_sdk_dynamodb::error::{ProvideErrorMetadata, SdkError};
use aws_smithy_runtime_api::client::orchestrator::HttpResponse;

use crate::aws::on_heap;
use crate::deadline::Deadline;

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

/// Retries a write of one item that conflicts with a transaction on that item, until `deadline`.
///
/// The conflict passes as soon as the transaction ends, within milliseconds, and the SDK does not
/// retry it.
///
/// # Errors
/// The error of the last call.
pub(crate) async fn retry_conflicts<T, E, F>(
    deadline: Deadline,
    write: impl Fn() -> F,
) -> Result<T, SdkError<E, HttpResponse>>
where
    E: ProvideErrorMetadata,
    F: Future<Output = Result<T, SdkError<E, HttpResponse>>>,
{
    let mut backoff = Backoff::new(u32::MAX, deadline);
    loop {
        let outcome = on_heap(&write).await;
        let code = outcome.as_ref().err().and_then(SdkError::code);
        if code != Some("TransactionConflictException") || !backoff.pause().await {
            return outcome;
        }
    }
}

fn longest_pause(attempt: u32) -> Duration {
    // 2^4 times the base is the cap already.
    BASE.saturating_mul(1 << (attempt - 1).min(4)).min(CAP)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_double_up_to_the_cap() {
        let longest: Vec<_> = (1..=7)
            .map(|attempt| longest_pause(attempt).as_millis())
            .collect();

        assert_eq!(longest, [25, 50, 100, 200, 400, 400, 400]);
    }

    #[tokio::test(start_paused = true)]
    async fn attempts_end_when_they_are_used_up() {
        let mut backoff = Backoff::new(3, Deadline::after(Duration::from_secs(60)));

        assert!(backoff.pause().await);
        assert!(backoff.pause().await);
        assert!(!backoff.pause().await);
    }

    #[tokio::test(start_paused = true)]
    async fn no_pause_goes_beyond_the_deadline() {
        let deadline = Deadline::after(Duration::from_secs(1));
        let mut backoff = Backoff::new(u32::MAX, deadline);

        while backoff.pause().await {
            assert!(deadline.allows(Duration::ZERO));
        }
    }
}
