//! Asynchronous invocation: Lambda repeats what fails.
//! <https://docs.aws.amazon.com/lambda/latest/dg/invocation-async-error-handling.html>

use std::time::Duration;

use tokio::time::{Instant, sleep};

use super::error::InvokeError;

/// The largest event of an asynchronous invocation, in bytes.
/// <https://docs.aws.amazon.com/lambda/latest/dg/gettingstarted-limits.html>
pub(super) const MAX_EVENT: usize = 1024 * 1024;

/// The waits before the two retries of a function that failed.
const RETRIES: [Duration; 2] = [Duration::from_secs(60), Duration::from_secs(120)];

/// The waits after an invocation that could not begin: the first, doubled each time, and the
/// longest.
const PAUSE: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(300));

/// How long an event is kept.
const MAX_AGE: Duration = Duration::from_secs(6 * 3600);

/// Invokes until the function succeeds, has failed three times, or the event is too old.
pub(super) async fn deliver<R, T>(invoke: impl Fn() -> R) -> Result<T, InvokeError>
where
    R: Future<Output = Result<T, InvokeError>>,
{
    let received = Instant::now();
    let mut retries = RETRIES.into_iter();
    let mut pause = PAUSE.0;
    loop {
        let error = match invoke().await {
            Ok(result) => return Ok(result),
            Err(error) => error,
        };
        let wait = match error {
            InvokeError::FunctionError(_) => retries.next(),
            InvokeError::Throttled | InvokeError::Service(_) => {
                let wait = pause;
                pause = (pause * 2).min(PAUSE.1);
                Some(wait).filter(|wait| received.elapsed() + *wait < MAX_AGE)
            }
            InvokeError::EventTooLarge | InvokeError::Stopped => None,
        };
        match wait {
            Some(wait) => sleep(wait).await,
            None => return Err(error),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::cell::RefCell;

    use super::super::error::FunctionError;
    use super::*;

    /// Delivers an event to a function that fails with each of these first. The result, and the
    /// seconds from the first attempt to each.
    async fn delivered(errors: Vec<InvokeError>) -> (Result<(), InvokeError>, Vec<u64>) {
        let start = Instant::now();
        let attempts = RefCell::new(Vec::new());
        let errors = RefCell::new(errors.into_iter());
        let result = deliver(|| {
            attempts.borrow_mut().push(start.elapsed().as_secs());
            let error = errors.borrow_mut().next();
            async { error.map_or(Ok(()), Err) }
        })
        .await;
        (result, attempts.into_inner())
    }

    fn failed() -> InvokeError {
        InvokeError::FunctionError(FunctionError::new("Oh.No", String::new()))
    }

    #[tokio::test(start_paused = true)]
    async fn a_function_that_fails_is_tried_three_times() {
        let (result, attempts) = delivered(vec![failed(), failed()]).await;
        assert!(result.is_ok());
        assert_eq!(attempts, [0, 60, 180]);
        let (result, attempts) = delivered(vec![failed(), failed(), failed()]).await;
        assert!(matches!(result, Err(InvokeError::FunctionError(_))));
        assert_eq!(attempts.len(), 3);
    }

    #[tokio::test(start_paused = true)]
    async fn an_event_that_is_throttled_is_tried_for_six_hours() {
        let (result, attempts) = delivered(vec![InvokeError::Throttled; 1000]).await;
        assert!(matches!(result, Err(InvokeError::Throttled)));
        assert_eq!(attempts[..4], [0, 1, 3, 7]);
        let last = attempts.last().copied().unwrap_or_default();
        assert!((6 * 3600 - 300..6 * 3600).contains(&last), "{last}");
        // Throttles do not count as tries.
        let throttled = vec![InvokeError::Throttled, failed(), InvokeError::Throttled];
        assert!(delivered(throttled).await.0.is_ok());
    }
}
