//! Lambda's `Invoke` over HTTP, for AWS's SDKs and CLI at the AWS endpoint, and for `curl` at the
//! control server.
//!
//! <https://docs.aws.amazon.com/lambda/latest/api/API_Invoke.html>

use std::time::Duration;

use http::request::Parts;
use http::{HeaderName, HeaderValue, Method, StatusCode};
use hyper::body::Incoming;
use serde_json::json;

use crate::lambda::{Function, InvokeError, MAX_PAYLOAD};
use crate::serve::{self, Answer, Unread};

/// The path of the operation, before and after the function's name.
const PATH: (&str, &str) = ("/2015-03-31/functions/", "/invocations");
/// A client on this machine needs milliseconds.
const BODY_LIMIT: Duration = Duration::from_secs(30);

const ERROR_TYPE: HeaderName = HeaderName::from_static("x-amzn-errortype");
const FUNCTION_ERROR: HeaderName = HeaderName::from_static("x-amz-function-error");

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
    match function.invoke(event, None).await {
        Ok(result) => serve::typed(StatusCode::OK, "application/json", result),
        Err(InvokeError::FunctionError(error) | InvokeError::TimedOut(error)) => {
            let mut answer = serve::typed(StatusCode::OK, "application/json", error.payload);
            let unhandled = HeaderValue::from_static("Unhandled");
            answer.headers_mut().insert(FUNCTION_ERROR, unhandled);
            answer
        }
        Err(InvokeError::Throttled) => {
            let kind = "TooManyRequestsException";
            refusal(StatusCode::TOO_MANY_REQUESTS, kind, "Rate Exceeded.")
        }
        Err(InvokeError::EventTooLarge) => too_large(),
        Err(error @ InvokeError::Stopped) => {
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
    answer.headers_mut().insert(ERROR_TYPE, kind);
    answer
}
