//! Writes of one item that conflict with a transaction on it.

use aws_sdk_dynamodb::error::{ProvideErrorMetadata, SdkError};
use aws_smithy_runtime_api::client::orchestrator::HttpResponse;

use crate::time::{Backoff, Deadline};

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

#[cfg(test)]
mod tests {
    use std::cell::Cell;
    use std::future::ready;
    use std::time::Duration;

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
