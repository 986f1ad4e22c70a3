//! The one error type of the shop, and how each failure becomes an answer.
//!
//! The status of each refusal:
//!
//! | status | when |
//! |---|---|
//! | 400 | the request cannot be read: not JSON, a bad id in the path, query parameter, header or cursor |
//! | 404 | there is no such product or order |
//! | 412 | `If-Match` or `If-None-Match` does not hold |
//! | 413 | the body is larger than any valid one |
//! | 415 | the body is not `application/json` |
//! | 422 | the JSON was read, but breaks a rule; `errors` says which and where |
//! | 500 | an unexpected failure; the log has the cause |
//! | 503 | DynamoDB or SQS is unavailable, or time ran out; `Retry-After` says when to come back |

use std::borrow::Cow;
use std::error::Error;

use aws_sdk_dynamodb::error::{ProvideErrorMetadata, SdkError};
use aws_smithy_runtime_api::client::orchestrator::HttpResponse;
use aws_smithy_types::error::display::DisplayErrorContext;
use serde::Serialize;

use crate::newtype::Invalid;

/// A refusal or a failure, as the client sees it.
///
/// The cause of a 5xx is only for the log. It is never serialised.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    status: u16,
    detail: Cow<'static, str>,
    errors: Vec<FieldError>,
    cause: Option<String>,
    ends_environment: bool,
}

/// One field of a body that breaks a rule.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct FieldError {
    /// Its place: a JSON pointer into the body
    /// ([RFC 6901](https://www.rfc-editor.org/rfc/rfc6901)).
    pub pointer: String,
    /// The rule that it breaks.
    pub detail: String,
}

impl FieldError {
    /// The field at `pointer` is wrong because of `reason`.
    pub fn new(pointer: impl Into<String>, reason: impl std::fmt::Display) -> Self {
        Self {
            pointer: pointer.into(),
            detail: reason.to_string(),
        }
    }
}

impl Problem {
    /// Seconds until a client may try again. DynamoDB and SQS throttle by the second.
    pub const RETRY_AFTER_SECONDS: u64 = 1;

    fn new(status: u16, detail: impl Into<Cow<'static, str>>) -> Self {
        Self {
            status,
            detail: detail.into(),
            errors: Vec::new(),
            cause: None,
            ends_environment: false,
        }
    }

    /// 400: the request cannot be read.
    pub fn bad_request(detail: impl Into<Cow<'static, str>>) -> Self {
        Self::new(400, detail)
    }

    /// 400: the named part of the request (a parameter or a header) is not allowed.
    pub fn bad_value(name: &str, reason: &Invalid) -> Self {
        Self::new(400, format!("{name} {reason}."))
    }

    /// 404: there is no such thing.
    pub fn not_found(detail: impl Into<Cow<'static, str>>) -> Self {
        Self::new(404, detail)
    }

    /// 412: a precondition of the request does not hold.
    pub fn precondition_failed() -> Self {
        Self::new(
            412,
            "The product is not in the state that If-Match or If-None-Match asks for.",
        )
    }

    /// 413: the body is larger than `limit` bytes.
    pub fn body_too_large(limit: usize) -> Self {
        Self::new(413, format!("The body must be at most {limit} bytes."))
    }

    /// 415: the body is not declared as JSON.
    pub fn unsupported_media_type() -> Self {
        Self::new(415, "The content-type must be application/json, in UTF-8.")
    }

    /// 422: the body was read, but breaks these rules.
    pub fn invalid(errors: Vec<FieldError>) -> Self {
        Self {
            errors,
            ..Self::new(422, "The body breaks the rules listed in errors.")
        }
    }

    /// 422: the body as a whole cannot be accepted.
    pub fn unprocessable(detail: impl Into<Cow<'static, str>>) -> Self {
        Self::new(422, detail)
    }

    /// 503: something that the answer needs is unavailable. A retry makes sense.
    pub fn unavailable(cause: impl Into<String>) -> Self {
        let detail = "The shop cannot answer right now. Try again after the time in Retry-After.";
        Self {
            cause: Some(cause.into()),
            ..Self::new(503, detail)
        }
    }

    /// 500: a defect in the shop. A retry is unlikely to help.
    pub fn internal(cause: impl Into<String>) -> Self {
        let detail = "The shop failed to answer. Quote the x-request-id header when you report it.";
        Self {
            cause: Some(cause.into()),
            ..Self::new(500, detail)
        }
    }

    /// The HTTP status.
    pub fn status(&self) -> u16 {
        self.status
    }

    /// Seconds for the `Retry-After` header, if the status has one.
    pub fn retry_after(&self) -> Option<u64> {
        (self.status == 503).then_some(Self::RETRY_AFTER_SECONDS)
    }

    /// The fields that break a rule.
    pub fn errors(&self) -> &[FieldError] {
        &self.errors
    }

    /// The real cause, for the log only.
    pub fn cause(&self) -> Option<&str> {
        self.cause.as_deref()
    }

    /// Whether every later request to this execution environment would fail, but one to a new
    /// environment would not.
    pub fn ends_environment(&self) -> bool {
        self.ends_environment
    }

    /// The body, in the format of [RFC 9457](https://www.rfc-editor.org/rfc/rfc9457).
    ///
    /// `type` is `about:blank`: the status says everything about the kind of problem. The RFC then
    /// asks for the status phrase as `title`.
    pub fn to_json(&self) -> String {
        let title = http::StatusCode::from_u16(self.status)
            .ok()
            .and_then(|status| status.canonical_reason())
            .unwrap_or("Error");
        let body = Body {
            kind: "about:blank",
            title,
            status: self.status,
            detail: &self.detail,
            errors: &self.errors,
        };
        // Strings and numbers are always valid JSON.
        serde_json::to_string(&body).unwrap_or_default()
    }
}

#[derive(Serialize)]
struct Body<'a> {
    #[serde(rename = "type")]
    kind: &'static str,
    title: &'static str,
    status: u16,
    detail: &'a str,
    #[serde(skip_serializing_if = "<[_]>::is_empty")]
    errors: &'a [FieldError],
}

impl std::fmt::Display for Problem {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let what = self.cause.as_deref().unwrap_or(&self.detail);
        write!(f, "{}: {what}", self.status)
    }
}

impl Error for Problem {}

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
pub(crate) fn is_transient<E: ProvideErrorMetadata>(error: &SdkError<E, HttpResponse>) -> bool {
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
pub(crate) fn ends_environment<E: ProvideErrorMetadata>(error: &SdkError<E, HttpResponse>) -> bool {
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
        if ends_environment(&error) {
            Self {
                ends_environment: true,
                ..Self::unavailable(cause)
            }
        } else if is_transient(&error) {
            Self::unavailable(cause)
        } else {
            Self::internal(cause)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_problem_is_written_as_rfc_9457_has_it() {
        let problem = Problem::invalid(vec![FieldError::new("/stock", "must be a whole number")]);

        let body: serde_json::Value = serde_json::from_str(&problem.to_json()).unwrap();

        assert_eq!(
            body,
            serde_json::json!({
                "type": "about:blank",
                "title": "Unprocessable Entity",
                "status": 422,
                "detail": "The body breaks the rules listed in errors.",
                "errors": [{"pointer": "/stock", "detail": "must be a whole number"}],
            })
        );
    }

    #[test]
    fn the_cause_of_a_failure_never_reaches_the_client() {
        for problem in [
            Problem::internal("table prod-7"),
            Problem::unavailable("table prod-7"),
        ] {
            assert!(!problem.to_json().contains("prod-7"));
            assert_eq!(problem.cause(), Some("table prod-7"));
        }
    }

    #[test]
    fn only_a_503_says_when_to_come_back() {
        assert_eq!(Problem::unavailable("throttled").retry_after(), Some(1));
        assert_eq!(Problem::internal("defect").retry_after(), None);
        assert_eq!(Problem::not_found("nothing").retry_after(), None);
    }
}
