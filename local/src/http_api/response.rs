//! Turns a function's result into an HTTP response, and holds API Gateway's own responses.

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use bytes::Bytes;
use http::StatusCode;
use http::header::{
    CONNECTION, CONTENT_LENGTH, CONTENT_TYPE, HeaderName, HeaderValue, SET_COOKIE,
    TRANSFER_ENCODING, UPGRADE,
};
use http_body_util::{Either, Full};
use serde::Deserialize;
use serde_json::{Map, Value, json};

use crate::lambda::InvokeError;
use crate::serve::{self, Answer};

const JSON: &str = "application/json";

/// A result with a `statusCode`.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Reply {
    status_code: Value,
    headers: Option<Map<String, Value>>,
    cookies: Option<Vec<String>>,
    body: Option<String>,
    is_base64_encoded: Option<bool>,
}

/// Reads a result
/// [of format 2.0](https://docs.aws.amazon.com/apigateway/latest/developerguide/http-api-develop-integrations-lambda.html#http-api-develop-integrations-lambda.response).
/// A result without `statusCode` is the body of a 200; a JSON string loses its quotes. `None` for one
/// that API Gateway cannot turn into a response.
pub(super) fn from_result(result: &Bytes) -> Option<Answer> {
    match serde_json::from_slice(result).ok()? {
        Value::Object(object) if object.contains_key("statusCode") => {
            structured(serde_json::from_value(Value::Object(object)).ok()?)
        }
        Value::String(text) => Some(serve::typed(StatusCode::OK, JSON, text)),
        _ => Some(serve::typed(StatusCode::OK, JSON, result.clone())),
    }
}

fn structured(reply: Reply) -> Option<Answer> {
    let body = reply.body.unwrap_or_default();
    let body = if reply.is_base64_encoded.unwrap_or_default() {
        BASE64_STANDARD.decode(body).ok()?.into()
    } else {
        Bytes::from(body)
    };
    let mut response = serve::empty(status(&reply.status_code)?);
    *response.body_mut() = Either::Left(Full::new(body));
    let headers = response.headers_mut();
    for (name, value) in reply.headers.unwrap_or_default() {
        let value = match value {
            Value::String(value) => value,
            Value::Number(value) => value.to_string(),
            Value::Bool(value) => value.to_string(),
            _ => return None,
        };
        let name = HeaderName::from_bytes(name.as_bytes()).ok()?;
        headers.append(name, HeaderValue::from_str(&value).ok()?);
    }
    for cookie in reply.cookies.unwrap_or_default() {
        headers.append(SET_COOKIE, HeaderValue::from_str(&cookie).ok()?);
    }
    // This server itself sets the headers about the connection and the length of the body.
    for name in [CONNECTION, CONTENT_LENGTH, TRANSFER_ENCODING, UPGRADE] {
        headers.remove(name);
    }
    let text = HeaderValue::from_static("text/plain; charset=utf-8");
    headers.entry(CONTENT_TYPE).or_insert(text);
    Some(response)
}

/// A final status, as a number or as digits.
fn status(code: &Value) -> Option<StatusCode> {
    let code = match code {
        Value::Number(code) => u16::try_from(code.as_u64()?).ok()?,
        Value::String(code) => code.parse().ok()?,
        _ => return None,
    };
    // 1xx are not final, and HTTP has none above 599 (RFC 9110, section 15).
    StatusCode::from_u16(code)
        .ok()
        .filter(|_| (200..600).contains(&code))
}

/// API Gateway's answer if a function returned no result.
pub(super) fn status_of(error: &InvokeError) -> StatusCode {
    match error {
        InvokeError::FunctionError(_) | InvokeError::Service(_) => {
            StatusCode::INTERNAL_SERVER_ERROR
        }
        InvokeError::Throttled | InvokeError::Stopped => StatusCode::SERVICE_UNAVAILABLE,
        InvokeError::EventTooLarge => StatusCode::PAYLOAD_TOO_LARGE,
    }
}

/// API Gateway's own response: `{"message": …}` with the reason phrase of the status.
pub(super) fn refusal(status: StatusCode) -> Answer {
    let message = match status {
        // Its name before RFC 9110.
        StatusCode::PAYLOAD_TOO_LARGE => "Request Entity Too Large",
        _ => status.canonical_reason().unwrap_or_default(),
    };
    serve::json(status, &json!({"message": message}))
}
