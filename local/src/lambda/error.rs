//! Why an invocation returned no result, in Lambda's words.

use std::io;
use std::os::unix::process::ExitStatusExt;
use std::process::ExitStatus;
use std::time::Duration;

use bytes::Bytes;
use nix::sys::signal::Signal;
use serde_json::{Value, json};

use super::MAX_PAYLOAD;
use crate::serve::Unread;

/// The type of the error of an invocation that took too long.
pub(super) const TIMED_OUT: &str = "Sandbox.Timedout";

/// Why an invocation returned no result.
#[derive(Debug, Clone, thiserror::Error)]
pub enum InvokeError {
    /// The function's or the account's concurrency is used up (`TooManyRequestsException`).
    #[error("concurrency limit reached")]
    Throttled,
    /// The event is larger than [`MAX_PAYLOAD`] (`RequestTooLargeException`).
    #[error("the event is too large")]
    EventTooLarge,
    /// The function reported an error, took too long, or its process ended.
    #[error("{0}")]
    FunctionError(#[from] FunctionError),
    /// This machine could not run an environment (`ServiceException`). The function is not to blame.
    #[error("{0}")]
    Service(String),
    /// This host is shutting down.
    #[error("the host is shutting down")]
    Stopped,
}

/// The error of a failed function: the body of a Lambda `Invoke` response with
/// `X-Amz-Function-Error`.
#[derive(Debug, Clone, thiserror::Error)]
#[error("{error_type}: {message}")]
pub struct FunctionError {
    /// Such as `Runtime.ExitError` or `Sandbox.Timedout`, or a type that the function chose.
    pub error_type: String,
    /// For people.
    pub message: String,
    /// The whole error document. It is JSON unless the function sent something else.
    pub payload: Bytes,
}

impl FunctionError {
    /// An error that Lambda itself detects, in
    /// [Lambda's format](https://docs.aws.amazon.com/lambda/latest/dg/python-exceptions.html).
    pub(super) fn new(error_type: &str, message: String) -> Self {
        let payload = json!({"errorType": error_type, "errorMessage": message})
            .to_string()
            .into();
        FunctionError {
            error_type: error_type.to_owned(),
            message,
            payload,
        }
    }

    /// An error that the runtime posted. The body need not have the form that AWS asks for.
    pub(super) fn reported(header: Option<String>, payload: Bytes) -> Self {
        let document: Value = serde_json::from_slice(&payload).unwrap_or_default();
        let text = |name: &str| document[name].as_str().map(str::to_owned);
        let error_type = text("errorType").or(header);
        FunctionError {
            error_type: error_type.unwrap_or_else(|| "Unhandled".to_owned()),
            message: text("errorMessage").unwrap_or_default(),
            payload,
        }
    }

    fn of_request(error_type: &str, request_id: &str, reason: &str) -> Self {
        let message = format!("RequestId: {request_id} Error: {reason}");
        FunctionError::new(error_type, message)
    }

    pub(super) fn timed_out(request_id: &str, timeout: Duration) -> Self {
        let seconds = timeout.as_secs_f64();
        let reason = format!("Task timed out after {seconds:.2} seconds");
        FunctionError::of_request(TIMED_OUT, request_id, &reason)
    }

    /// A process that used more than its memory, and was killed for it.
    pub(super) fn out_of_memory(request_id: &str) -> Self {
        let reason = "Runtime exited with error: signal: killed";
        FunctionError::of_request("Runtime.ExitError", request_id, reason)
    }

    /// A process that ended by itself.
    pub(super) fn exited(request_id: &str, status: &io::Result<ExitStatus>) -> Self {
        let status = status.as_ref().ok();
        let code = status.and_then(ExitStatus::code);
        let signal = status.and_then(ExitStatusExt::signal);
        let reason = match (code, signal) {
            (Some(0), _) => "Runtime exited without providing a reason".to_owned(),
            (Some(code), _) => format!("Runtime exited with error: exit status {code}"),
            (None, Some(signal)) => format!("Runtime exited with error: signal: {}", name(signal)),
            (None, None) => "Runtime exited with error: unknown".to_owned(),
        };
        FunctionError::of_request("Runtime.ExitError", request_id, &reason)
    }

    /// The error of an invocation whose response cannot be passed on.
    pub(super) fn bad_response(reason: Unread) -> Self {
        let (error_type, message) = match reason {
            Unread::TooLarge => (
                "Function.ResponseSizeTooLarge",
                format!(
                    "Response payload size exceeded maximum allowed payload size ({MAX_PAYLOAD} bytes)."
                ),
            ),
            Unread::Truncated | Unread::TooSlow => (
                "Runtime.TruncatedResponse",
                "the runtime did not send its whole response".to_owned(),
            ),
        };
        FunctionError::new(error_type, message)
    }
}

/// Names as Lambda writes them.
fn name(signal: i32) -> String {
    match Signal::try_from(signal) {
        Ok(Signal::SIGKILL) => "killed".to_owned(),
        Ok(Signal::SIGTERM) => "terminated".to_owned(),
        Ok(Signal::SIGABRT) => "aborted".to_owned(),
        Ok(Signal::SIGSEGV) => "segmentation fault".to_owned(),
        Ok(other) => other.as_str().to_owned(),
        Err(_) => signal.to_string(),
    }
}
