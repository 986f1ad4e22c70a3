//! Problems in the words of HTTP: a status, and a body in the format of
//! [RFC 9457](https://www.rfc-editor.org/rfc/rfc9457).
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

use lambda_http::http::StatusCode;
use serde::Serialize;

use crate::domain::{FieldError, Problem};

/// Seconds until a client may try again. DynamoDB and SQS throttle by the second.
const RETRY_AFTER_SECONDS: u64 = 1;

/// The status that answers `problem`.
pub fn status(problem: &Problem) -> u16 {
    match problem {
        Problem::Unreadable(_) => 400,
        Problem::NotFound(_) => 404,
        Problem::PreconditionFailed => 412,
        Problem::BodyTooLarge { .. } => 413,
        Problem::BodyNotJson => 415,
        Problem::Invalid(_) | Problem::Unprocessable(_) => 422,
        Problem::Internal { .. } => 500,
        Problem::Unavailable { .. } | Problem::EnvironmentUnusable { .. } => 503,
    }
}

/// Seconds for the `Retry-After` header, if the status has one.
pub(super) fn retry_after(problem: &Problem) -> Option<u64> {
    (status(problem) == 503).then_some(RETRY_AFTER_SECONDS)
}

/// What the client is told. The cause of a 5xx is not part of it.
fn detail(problem: &Problem) -> Cow<'_, str> {
    match problem {
        Problem::Unreadable(detail) => detail.as_ref().into(),
        Problem::NotFound(detail) | Problem::Unprocessable(detail) => (*detail).into(),
        Problem::PreconditionFailed => {
            "The product is not in the state that If-Match or If-None-Match asks for.".into()
        }
        Problem::BodyTooLarge { limit } => {
            format!("The body must be at most {limit} bytes.").into()
        }
        Problem::BodyNotJson => "The content-type must be application/json, in UTF-8.".into(),
        Problem::Invalid(_) => "The body breaks the rules listed in errors.".into(),
        Problem::Internal { .. } => {
            "The shop failed to answer. Quote the x-request-id header when you report it.".into()
        }
        Problem::Unavailable { .. } | Problem::EnvironmentUnusable { .. } => {
            "The shop cannot answer right now. Try again after the time in Retry-After.".into()
        }
    }
}

/// The body that answers `problem`.
///
/// `type` is `about:blank`: the status says everything about the kind of problem. The RFC then
/// asks for the status phrase as `title`.
pub fn problem_json(problem: &Problem) -> String {
    let status = status(problem);
    let title = StatusCode::from_u16(status)
        .ok()
        .and_then(|status| status.canonical_reason())
        .unwrap_or("Error");
    let body = Body {
        kind: "about:blank",
        title,
        status,
        detail: &detail(problem),
        errors: problem.errors(),
    };
    // Strings and numbers are always valid JSON.
    serde_json::to_string(&body).unwrap_or_default()
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_problem_is_written_as_rfc_9457_has_it() {
        let problem = Problem::Invalid(vec![FieldError::new("/stock", "must be a whole number")]);

        let body: serde_json::Value = serde_json::from_str(&problem_json(&problem)).unwrap();

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
            assert!(!problem_json(&problem).contains("prod-7"));
            assert_eq!(problem.cause(), Some("table prod-7"));
        }
    }

    #[test]
    fn only_a_503_says_when_to_come_back() {
        assert_eq!(retry_after(&Problem::unavailable("throttled")), Some(1));
        assert_eq!(retry_after(&Problem::internal("defect")), None);
        assert_eq!(retry_after(&Problem::NotFound("nothing")), None);
    }
}
