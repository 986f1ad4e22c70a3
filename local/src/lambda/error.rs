//! Errors: a function that cannot be hosted, an invocation without a result, and why an environment
//! failed, in Lambda's words.

use std::io;
use std::os::unix::process::ExitStatusExt;
use std::process::ExitStatus;
use std::time::Duration;

use bytes::Bytes;
use nix::sys::signal::Signal;
use serde::Deserialize;
use serde_json::json;

use super::MAX_PAYLOAD;
use super::platform_log::Status;
use crate::serve::Unread;

/// Why a function cannot be hosted: one line that names the thing and says what to do.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct StartError(pub(super) String);

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
    FunctionError(FunctionError),
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
        #[derive(Default, Deserialize)]
        #[serde(default, rename_all = "camelCase")]
        struct Document {
            error_type: Option<String>,
            error_message: Option<String>,
        }
        let document: Document = serde_json::from_slice(&payload).unwrap_or_default();
        FunctionError {
            error_type: document
                .error_type
                .or(header)
                .unwrap_or_else(|| "Unhandled".to_owned()),
            message: document.error_message.unwrap_or_default(),
            payload,
        }
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

/// Why an init phase or an invocation failed.
#[derive(Debug)]
pub(super) enum Failure {
    /// The process ended; the reason in Lambda's words.
    Exited(String),
    TimedOut,
    /// The runtime posted to `/init/error`, or `bootstrap` is no program.
    Init(FunctionError),
    /// This machine could not start a process.
    Host(String),
}

impl Failure {
    /// A process that used more than its memory, and was killed for it.
    pub(super) fn out_of_memory() -> Failure {
        Failure::Exited("Runtime exited with error: signal: killed".to_owned())
    }

    /// A process that ended by itself.
    pub(super) fn exited(status: &io::Result<ExitStatus>) -> Failure {
        let status = status.as_ref().ok();
        let code = status.and_then(ExitStatus::code);
        let signal = status.and_then(ExitStatusExt::signal);
        Failure::Exited(match (code, signal) {
            (Some(0), _) => "Runtime exited without providing a reason".to_owned(),
            (Some(code), _) => format!("Runtime exited with error: exit status {code}"),
            (None, Some(signal)) => format!("Runtime exited with error: signal: {}", name(signal)),
            (None, None) => "Runtime exited with error: unknown".to_owned(),
        })
    }

    /// The error that the caller receives.
    pub(super) fn error(&self, request_id: &str, timeout: Duration) -> InvokeError {
        let of_request = |error_type, reason: &str| {
            let message = format!("RequestId: {request_id} Error: {reason}");
            FunctionError::new(error_type, message)
        };
        InvokeError::FunctionError(match self {
            Failure::Exited(reason) => of_request("Runtime.ExitError", reason),
            Failure::TimedOut => of_request("Sandbox.Timedout", &timed_out(timeout)),
            Failure::Init(error) => error.clone(),
            Failure::Host(why) => return InvokeError::Service(why.clone()),
        })
    }

    /// The status in Lambda's log.
    pub(super) fn status(&self) -> Status {
        match self {
            Failure::TimedOut => Status::Timeout,
            Failure::Exited(_) => Status::Error("Runtime.ExitError".to_owned()),
            Failure::Init(error) => Status::Error(error.error_type.clone()),
            Failure::Host(_) => Status::Error("Sandbox.Failure".to_owned()),
        }
    }
}

pub(super) fn timed_out(timeout: Duration) -> String {
    format!("Task timed out after {:.2} seconds", timeout.as_secs_f64())
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
