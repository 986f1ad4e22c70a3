use std::path::PathBuf;

use bytes::Bytes;
use serde::Deserialize;
use serde_json::json;

/// Why an invocation returned no result.
#[derive(Debug, Clone, thiserror::Error)]
pub enum InvokeError {
    /// The function's or the account's concurrency is used up (`TooManyRequestsException`).
    #[error("concurrency limit reached")]
    Throttled,
    /// The event is larger than [`MAX_PAYLOAD`](super::MAX_PAYLOAD) (`RequestTooLargeException`).
    #[error("the event is larger than 6 MB")]
    EventTooLarge,
    /// The function did not finish within its timeout. AWS reports it as a function error.
    #[error("{0}")]
    TimedOut(FunctionError),
    /// The function reported an error, or its process ended.
    #[error("{0}")]
    FunctionError(FunctionError),
    /// This host is shutting down.
    #[error("the host is shutting down")]
    Stopped,
}

/// The error of a failed function: the body of a Lambda `Invoke` response with
/// `X-Amz-Function-Error`.
#[derive(Debug, Clone, thiserror::Error)]
#[error("{error_type}: {message}")]
pub struct FunctionError {
    /// Such as `Runtime.ExitError`, or a type that the function chose.
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
}

/// Why a function cannot be hosted.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// There is no `bootstrap`.
    #[error("function {function}: there is no {}; run `make build`", path.display())]
    NoBootstrap {
        /// Logical id.
        function: String,
        /// Where `bootstrap` should be.
        path: PathBuf,
    },
    /// The file has no permission to execute.
    #[error("function {function}: {} is not executable; run `chmod +x` on it, or `make build`", path.display())]
    NotExecutable {
        /// Logical id.
        function: String,
        /// The file.
        path: PathBuf,
    },
    /// The file is built for another kind of machine.
    #[error("function {function}: {} is built for another machine; run `make build` on this one", path.display())]
    WrongMachine {
        /// Logical id.
        function: String,
        /// The file.
        path: PathBuf,
    },
    /// The log cannot be written.
    #[error("function {function}: cannot write the log {}: {error}", path.display())]
    Log {
        /// Logical id.
        function: String,
        /// The file.
        path: PathBuf,
        /// The system's error.
        error: std::io::Error,
    },
    /// The reservations of all functions exceed the account's concurrency.
    #[error(
        "function {function}: ReservedConcurrentExecutions exceeds what is left of the account's 1,000"
    )]
    Concurrency {
        /// Logical id.
        function: String,
    },
    /// An environment of the provisioned concurrency failed in its init phase.
    #[error("function {function}: provisioned concurrency could not be started: {error}")]
    Init {
        /// Logical id.
        function: String,
        /// The error of the init phase.
        error: FunctionError,
    },
}
