//! The one error type of the shop: why a request is refused, or why it failed.
//!
//! Each folder that reports one speaks in these words. `aws` says which failure of AWS is which of
//! them, and `http` which status answers which.

use std::borrow::Cow;
use std::fmt;

use serde::Serialize;

use super::checked_value::Invalid;

/// A refusal, which the client can mend, or a failure, which it cannot.
///
/// The cause of a failure is only for the log. No client sees it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Problem {
    /// The request cannot be read: not JSON, or a bad id, parameter, header or cursor.
    Unreadable(Cow<'static, str>),
    /// There is no such thing.
    NotFound(&'static str),
    /// The product is in another state than the client's precondition asks for.
    PreconditionFailed,
    /// The body is larger than any valid one.
    BodyTooLarge {
        /// The most bytes that a body may have.
        limit: usize,
    },
    /// The body is not declared as JSON.
    BodyNotJson,
    /// The body was read, but these fields break a rule.
    Invalid(Vec<FieldError>),
    /// The body was read, but cannot be accepted as a whole.
    Unprocessable(&'static str),
    /// Something that the answer needs is unavailable. A retry makes sense.
    Unavailable {
        /// What is unavailable, for the log.
        cause: String,
    },
    /// The same, and every later request to this execution environment would fail too. One to a
    /// new environment would not.
    EnvironmentUnusable {
        /// Why this environment cannot go on, for the log.
        cause: String,
    },
    /// A defect in the shop. A retry is unlikely to help.
    Internal {
        /// What went wrong, for the log.
        cause: String,
    },
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
    pub fn new(pointer: impl Into<String>, reason: impl fmt::Display) -> Self {
        Self {
            pointer: pointer.into(),
            detail: reason.to_string(),
        }
    }
}

impl Problem {
    /// The named part of the request (a parameter or a header) is not allowed.
    pub fn bad_value(name: &str, reason: &Invalid) -> Self {
        Self::Unreadable(format!("{name} {reason}.").into())
    }

    /// [`Problem::Unavailable`] because of `cause`.
    pub fn unavailable(cause: impl Into<String>) -> Self {
        Self::Unavailable {
            cause: cause.into(),
        }
    }

    /// [`Problem::Internal`] because of `cause`.
    pub fn internal(cause: impl Into<String>) -> Self {
        Self::Internal {
            cause: cause.into(),
        }
    }

    /// The fields that break a rule.
    pub fn errors(&self) -> &[FieldError] {
        match self {
            Self::Invalid(errors) => errors,
            _ => &[],
        }
    }

    /// The cause of a failure, for the log only.
    pub fn cause(&self) -> Option<&str> {
        match self {
            Self::Unavailable { cause }
            | Self::EnvironmentUnusable { cause }
            | Self::Internal { cause } => Some(cause),
            _ => None,
        }
    }
}

/// For the log and for tests.
impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.cause() {
            Some(cause) => f.write_str(cause),
            None => write!(f, "{self:?}"),
        }
    }
}

impl std::error::Error for Problem {}
