//! Pauses between attempts: exponential, with full jitter
//! ([Exponential Backoff and Jitter](https://aws.amazon.com/blogs/architecture/exponential-backoff-and-jitter/)),
//! and never beyond the deadline.

use std::time::Duration;

use aws_sdk_dynamodb::error::{ProvideErrorMetadata, SdkError};
use aws_smithy_runtime_api::client::orchestrator::HttpResponse;

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
        let outcome = write().await;
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
    use std::cell::Cell;
    use std::future::ready;

    use aws_sdk_dynamodb::operation::put_item::PutItemError;
    use aws_sdk_dynamodb::types::error::TransactionConflictException;
    use aws_smithy_runtime_api::http::StatusCode;
    use aws_smithy_types::body::SdkBody;
    use aws_smithy_types::error::ErrorMetadata;
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

    /// What DynamoDB answers to a write that it refuses in this way.
    fn refused(error: PutItemError) -> SdkError<PutItemError, HttpResponse> {
        let status = StatusCode::try_from(400).unwrap();
        SdkError::service_error(error, HttpResponse::new(status, SdkBody::empty()))
    }

    fn conflict() -> SdkError<PutItemError, HttpResponse> {
        let code = ErrorMetadata::builder().code("TransactionConflictException");
        let conflict = TransactionConflictException::builder().meta(code.build());
        refused(PutItemError::TransactionConflictException(conflict.build()))
    }

    #[tokio::test(start_paused = true)]
    async fn a_write_is_made_again_until_no_transaction_is_in_its_way() {
        let calls = Cell::new(0);

        let written = retry_conflicts(Deadline::after(Duration::from_secs(60)), || {
            calls.set(calls.get() + 1);
            ready(match calls.get() {
                0..4 => Err(conflict()),
                _ => Ok("written"),
            })
        })
        .await;

        assert_eq!((written.unwrap(), calls.get()), ("written", 4));
    }

    #[tokio::test(start_paused = true)]
    async fn a_write_that_always_meets_a_transaction_is_given_up_by_the_deadline() {
        let deadline = Deadline::after(Duration::from_secs(10));
        let calls = Cell::new(0);

        let error = retry_conflicts(deadline, || {
            calls.set(calls.get() + 1);
            assert!(calls.get() < ENDLESS, "it does not pause");
            ready(Err::<(), _>(conflict()))
        })
        .await
        .unwrap_err();

        assert_eq!(error.code(), Some("TransactionConflictException"));
        assert!(calls.get() > 1);
        assert!(Instant::now() <= deadline.instant() + TICK);
    }

    #[tokio::test(start_paused = true)]
    async fn a_write_that_is_refused_in_any_other_way_is_not_made_again() {
        let calls = Cell::new(0);

        let error = retry_conflicts(Deadline::after(Duration::from_secs(60)), || {
            calls.set(calls.get() + 1);
            let code = ErrorMetadata::builder().code("ValidationException").build();
            ready(Err::<(), _>(refused(PutItemError::generic(code))))
        })
        .await
        .unwrap_err();

        assert_eq!(
            (error.code(), calls.get()),
            (Some("ValidationException"), 1)
        );
    }
}
