//! A call that a service refuses, in the form of AWS's JSON protocols.

use bytes::Bytes;
use http::header::CONTENT_TYPE;
use http::{HeaderValue, Response, StatusCode};
use serde_json::json;

/// Why a call was refused.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refusal {
    /// The HTTP status.
    pub status: StatusCode,
    /// `__type`, such as `com.amazonaws.sqs#QueueDoesNotExist`.
    pub kind: String,
    /// A sentence for people.
    pub message: String,
    /// The code in the older query protocol, which SDKs show in place of `kind`; SQS alone has it.
    /// <https://smithy.io/2.0/aws/protocols/aws-query-protocol.html#aws-protocols-awsquerycompatible-trait>
    pub query_error: Option<String>,
}

impl Refusal {
    /// The response that says so.
    pub fn response(&self) -> Response<Bytes> {
        let body = json!({"__type": self.kind, "message": self.message});
        let mut response = Response::new(Bytes::from(body.to_string()));
        *response.status_mut() = self.status;
        let json = HeaderValue::from_static("application/x-amz-json-1.0");
        response.headers_mut().insert(CONTENT_TYPE, json);
        if let Some(code) = &self.query_error {
            let fault = if self.is_senders() {
                "Sender"
            } else {
                "Receiver"
            };
            if let Ok(value) = HeaderValue::try_from(format!("{code};{fault}")) {
                response.headers_mut().insert("x-amzn-query-error", value);
            }
        }
        response
    }

    /// Whether the caller can do something about it.
    pub fn is_senders(&self) -> bool {
        self.status.is_client_error()
    }
}

impl std::fmt::Display for Refusal {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let name = self.kind.rsplit('#').next().unwrap_or_default();
        write!(f, "{name}: {}", self.message)
    }
}

impl std::error::Error for Refusal {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_query_code_is_a_header_that_says_whose_fault_it_is() {
        let refused = |status| Refusal {
            status,
            kind: "com.amazonaws.sqs#OverLimit".to_owned(),
            message: "m".to_owned(),
            query_error: Some("OverLimit".to_owned()),
        };
        for (status, fault) in [
            (StatusCode::FORBIDDEN, "OverLimit;Sender"),
            (StatusCode::INTERNAL_SERVER_ERROR, "OverLimit;Receiver"),
        ] {
            let response = refused(status).response();
            assert_eq!(response.status(), status);
            assert_eq!(response.headers()["x-amzn-query-error"], fault);
            let body = br#"{"__type":"com.amazonaws.sqs#OverLimit","message":"m"}"#;
            assert_eq!(&response.body()[..], body);
        }
        let mut other = refused(StatusCode::BAD_REQUEST);
        other.query_error = None;
        let response = other.response();
        assert!(!response.headers().contains_key("x-amzn-query-error"));
    }
}
