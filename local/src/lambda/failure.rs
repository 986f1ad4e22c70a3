//! Why an environment failed, in Lambda's words.

use std::io;
use std::os::unix::process::ExitStatusExt;
use std::process::ExitStatus;
use std::time::Duration;

use nix::sys::signal::Signal;

use super::MAX_PAYLOAD;
use super::error::FunctionError;
use super::report_line::Status;
use super::runtime_api::BodyError;

/// Why an init phase or an invocation failed.
#[derive(Debug)]
pub(super) enum Failure {
    Exited(io::Result<ExitStatus>),
    OutOfMemory,
    TimedOut,
    /// The runtime posted to `/init/error`, or could not be started.
    Init(FunctionError),
}

impl Failure {
    /// The error that the caller receives.
    pub(super) fn error(&self, request_id: &str, timeout: Duration) -> FunctionError {
        let exit_error = |reason: &str| {
            let message = format!("RequestId: {request_id} Error: {reason}");
            FunctionError::new("Runtime.ExitError", message)
        };
        match self {
            Failure::Exited(status) => exit_error(&describe(status)),
            Failure::OutOfMemory => exit_error("Runtime exited with error: signal: killed"),
            Failure::TimedOut => {
                let message = format!("RequestId: {request_id} Error: {}", timed_out(timeout));
                FunctionError::new("Sandbox.Timedout", message)
            }
            Failure::Init(error) => error.clone(),
        }
    }

    /// The status in Lambda's log.
    pub(super) fn status(&self) -> Status {
        match self {
            Failure::TimedOut => Status::Timeout,
            Failure::Exited(_) | Failure::OutOfMemory => {
                Status::Error("Runtime.ExitError".to_owned())
            }
            Failure::Init(error) => Status::Error(error.error_type.clone()),
        }
    }
}

pub(super) fn timed_out(timeout: Duration) -> String {
    format!("Task timed out after {:.2} seconds", timeout.as_secs_f64())
}

/// The error of an invocation whose response cannot be passed on.
pub(super) fn bad_response(reason: BodyError) -> FunctionError {
    match reason {
        BodyError::TooLarge => FunctionError::new(
            "Function.ResponseSizeTooLarge",
            format!(
                "Response payload size exceeded maximum allowed payload size ({MAX_PAYLOAD} bytes)."
            ),
        ),
        BodyError::Truncated => FunctionError::new(
            "Runtime.TruncatedResponse",
            "the runtime did not send its whole response".to_owned(),
        ),
    }
}

/// How a process ended, in the words of Lambda's log.
fn describe(status: &io::Result<ExitStatus>) -> String {
    let Ok(status) = status else {
        return "Runtime exited with error: unknown".to_owned();
    };
    match (status.code(), status.signal()) {
        (Some(0), _) => "Runtime exited without providing a reason".to_owned(),
        (Some(code), _) => format!("Runtime exited with error: exit status {code}"),
        (None, Some(signal)) => format!("Runtime exited with error: signal: {}", name(signal)),
        (None, None) => "Runtime exited with error: unknown".to_owned(),
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
