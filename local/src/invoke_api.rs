//! Lambda's `Invoke` over HTTP, for AWS's SDKs and CLI at the AWS endpoint, and for `curl` at the
//! control server.
//!
//! <https://docs.aws.amazon.com/lambda/latest/api/API_Invoke.html>

use std::time::Duration;

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use bytes::Bytes;
use http::request::Parts;
use http::{HeaderValue, Method, StatusCode};
use hyper::body::Incoming;
use serde_json::json;

use crate::lambda::{Function, InvokeError, MAX_PAYLOAD, Request};
use crate::serve::{self, Answer, Unread};

/// The path of the operation, before and after the function's name.
const PATH: (&str, &str) = ("/2015-03-31/functions/", "/invocations");
/// A client on this machine needs milliseconds.
const BODY_LIMIT: Duration = Duration::from_secs(30);

/// The function that a path of `Invoke` names: the logical id, the name or the ARN.
pub(crate) fn function(path: &str) -> Option<String> {
    let name = path.strip_prefix(PATH.0)?.strip_suffix(PATH.1)?;
    let name = percent_encoding::percent_decode_str(name)
        .decode_utf8()
        .ok()?;
    let name = name.rsplit("function:").next()?;
    (!name.is_empty() && !name.contains('/')).then(|| name.to_owned())
}

/// Runs a function and answers as Lambda does: 200 even if the function failed, but then with the
/// header `X-Amz-Function-Error`.
pub(crate) async fn invoke(
    functions: &[Function],
    name: &str,
    request: &Parts,
    body: Incoming,
) -> Answer {
    if request.method != Method::POST {
        return serve::not_allowed("POST");
    }
    let is_it = |it: &&Function| it.spec().logical_id == name || it.spec().name == name;
    let Some(function) = functions.iter().find(is_it) else {
        let message = format!("Function not found: {name}");
        return refusal(StatusCode::NOT_FOUND, "ResourceNotFoundException", &message);
    };
    let event = match serve::read(body, MAX_PAYLOAD, BODY_LIMIT).await {
        Ok(event) => event,
        Err(Unread::TooLarge) => return too_large(),
        Err(Unread::Truncated | Unread::TooSlow) => {
            let kind = "InvalidRequestContentException";
            return refusal(StatusCode::BAD_REQUEST, kind, "the body broke off");
        }
    };
    let header = |name: &str| request.headers.get(name).and_then(|it| it.to_str().ok());
    let event = Request::new("Invoke", event, header("x-amzn-trace-id"));
    match (header("x-amz-invocation-type"), header("x-amz-log-type")) {
        (Some("DryRun"), _) => serve::empty(StatusCode::NO_CONTENT),
        (Some("Event"), _) => match function.invoke_later(event) {
            Ok(()) => serve::empty(StatusCode::ACCEPTED),
            Err(error) => refused(&error),
        },
        (None | Some("RequestResponse"), Some("Tail")) => {
            let (result, log_tail) = function.invoke_with_log(event).await;
            let mut answer = answer(result);
            if let Ok(tail) = HeaderValue::try_from(BASE64_STANDARD.encode(&log_tail)) {
                answer.headers_mut().insert("x-amz-log-result", tail);
            }
            answer
        }
        (None | Some("RequestResponse"), _) => answer(function.invoke(event).await),
        (Some(other), _) => {
            let kind = "InvalidParameterValueException";
            let message =
                format!("X-Amz-Invocation-Type is RequestResponse, Event or DryRun, not {other}");
            refusal(StatusCode::BAD_REQUEST, kind, &message)
        }
    }
}

fn answer(result: Result<Bytes, InvokeError>) -> Answer {
    let (body, failed) = match result {
        Ok(body) => (body, false),
        Err(InvokeError::FunctionError(error)) => (error.payload, true),
        Err(error) => return refused(&error),
    };
    let mut answer = serve::typed(StatusCode::OK, "application/json", body);
    let headers = answer.headers_mut();
    headers.insert(
        "x-amz-executed-version",
        HeaderValue::from_static("$LATEST"),
    );
    if failed {
        headers.insert(
            "x-amz-function-error",
            HeaderValue::from_static("Unhandled"),
        );
    }
    answer
}

/// The answer to an invocation that did not begin.
fn refused(error: &InvokeError) -> Answer {
    match error {
        InvokeError::Throttled => {
            let kind = "TooManyRequestsException";
            refusal(StatusCode::TOO_MANY_REQUESTS, kind, "Rate Exceeded.")
        }
        InvokeError::EventTooLarge => too_large(),
        InvokeError::FunctionError(_) | InvokeError::Service(_) | InvokeError::Stopped => {
            let status = StatusCode::INTERNAL_SERVER_ERROR;
            refusal(status, "ServiceException", &error.to_string())
        }
    }
}

fn too_large() -> Answer {
    let message = format!(
        "Request must be smaller than {MAX_PAYLOAD} bytes for the InvokeFunction operation"
    );
    refusal(
        StatusCode::PAYLOAD_TOO_LARGE,
        "RequestTooLargeException",
        &message,
    )
}

fn refusal(status: StatusCode, kind: &'static str, message: &str) -> Answer {
    let mut answer = serve::json(status, &json!({"Type": "User", "Message": message}));
    let kind = HeaderValue::from_static(kind);
    answer.headers_mut().insert("x-amzn-errortype", kind);
    answer
}
