//! Failed calls to AWS: which of them may succeed later, and which [`Problem`] each is.

use std::error::Error;

use aws_smithy_runtime_api::client::orchestrator::HttpResponse;
use aws_smithy_runtime_api::client::result::SdkError;
use aws_smithy_types::error::display::DisplayErrorContext;
use aws_smithy_types::error::metadata::ProvideErrorMetadata;

use crate::domain::Problem;

/// Error codes of DynamoDB and SQS that mean "not now".
/// ([DynamoDB](https://docs.aws.amazon.com/amazondynamodb/latest/developerguide/Programming.Errors.html),
/// [SQS](https://docs.aws.amazon.com/AWSSimpleQueueService/latest/APIReference/CommonErrors.html))
const NOT_NOW: [&str; 6] = [
    "ProvisionedThroughputExceededException",
    "RequestLimitExceeded",
    "RequestThrottled",
    "ThrottlingException",
    "TransactionConflictException",
    "TransactionInProgressException",
];

/// Whether a retry of the call may succeed: it was throttled, timed out, or failed inside AWS.
fn is_transient<E: ProvideErrorMetadata>(error: &SdkError<E, HttpResponse>) -> bool {
    match error {
        SdkError::TimeoutError(_) | SdkError::DispatchFailure(_) | SdkError::ResponseError(_) => {
            true
        }
        SdkError::ServiceError(service) => {
            service.raw().status().is_server_error()
                || service
                    .err()
                    .code()
                    .is_some_and(|code| NOT_NOW.contains(&code))
        }
        _ => false,
    }
}

/// Error codes of DynamoDB and SQS for refused credentials. An environment keeps its credentials
/// all its life, in variables that Lambda set at its start.
const CREDENTIALS_REFUSED: [&str; 4] = [
    "ExpiredToken",
    "ExpiredTokenException",
    "InvalidClientTokenId",
    "UnrecognizedClientException",
];

/// Whether only a new execution environment helps, because the credentials have expired.
fn credentials_refused<E: ProvideErrorMetadata>(error: &SdkError<E, HttpResponse>) -> bool {
    error
        .code()
        .is_some_and(|code| CREDENTIALS_REFUSED.contains(&code))
}

/// Every failed call to AWS ends here, unless its caller has a better answer.
impl<E> From<SdkError<E, HttpResponse>> for Problem
where
    E: ProvideErrorMetadata + Error + 'static,
{
    fn from(error: SdkError<E, HttpResponse>) -> Self {
        let cause = DisplayErrorContext(&error).to_string();
        if credentials_refused(&error) {
            Self::EnvironmentUnusable { cause }
        } else if is_transient(&error) {
            Self::unavailable(cause)
        } else {
            Self::internal(cause)
        }
    }
}

/// Ends this execution environment, because no later request to it could succeed: AWS refuses its
/// credentials, for example, and it has no others. Lambda starts a fresh one for the next request.
pub fn end_environment(cause: &str) -> ! {
    tracing::error!(
        cause,
        "this execution environment is of no more use, and ends"
    );
    std::process::exit(1)
}
