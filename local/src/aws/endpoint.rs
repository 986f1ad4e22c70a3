//! The TLS front of DynamoDB and SQS: a reverse proxy that meters every call.

use std::sync::{Arc, OnceLock};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use http::header::{
    AUTHORIZATION, CONNECTION, CONTENT_LENGTH, CONTENT_TYPE, EXPECT, HOST, HeaderName, HeaderValue,
    TRANSFER_ENCODING, UPGRADE,
};
use http::uri::PathAndQuery;
use http::{HeaderMap, Request, Response, StatusCode};
use http_body_util::{BodyExt, Full};
use hyper::body::{Body, Incoming};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use rustls::HandshakeKind;
use serde::Deserialize;
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;
use tokio_rustls::TlsAcceptor;

use super::capacity::{Metered, Units};
use super::faults::{self, Faults, HungUp};
use super::meter::{Call, Meter, Outcome};
use super::refusal::Refusal;
use super::sqs::Sqs;
use super::upstream::Upstream;

/// DynamoDB's limit for a request; SQS's is lower.
/// <https://docs.aws.amazon.com/amazondynamodb/latest/developerguide/ServiceQuotas.html>
const BODY_LIMIT: usize = 16 * 1024 * 1024;
/// Time for a client to complete the TLS handshake.
const HANDSHAKE_LIMIT: Duration = Duration::from_secs(10);
/// A CRC-32 of the body, which some SDKs check.
pub(super) const BODY_CHECKSUM: HeaderName = HeaderName::from_static("x-amz-crc32");
const TARGET: HeaderName = HeaderName::from_static("x-amz-target");
/// Headers that describe one connection, or that hyper writes itself.
const CONNECTION_HEADERS: [HeaderName; 7] = [
    CONNECTION,
    CONTENT_LENGTH,
    EXPECT,
    HOST,
    TRANSFER_ENCODING,
    UPGRADE,
    HeaderName::from_static("keep-alive"),
];

/// The services behind the endpoint.
pub(super) struct Backends {
    pub(super) dynamodb: Upstream,
    pub(super) sqs: Sqs,
    pub(super) meter: Meter,
    pub(super) faults: Faults,
}

/// Serves until this future is dropped; then every connection ends too.
pub(super) async fn serve(
    listener: TcpListener,
    tls: Arc<rustls::ServerConfig>,
    backends: Arc<Backends>,
) {
    let tls = TlsAcceptor::from(tls);
    let mut connections = JoinSet::new();
    loop {
        // Errors of `accept` concern one connection, or pass once a file descriptor is free.
        match listener.accept().await {
            Ok((stream, _)) => {
                connections.spawn(connection(stream, tls.clone(), backends.clone()));
            }
            Err(_) => tokio::time::sleep(Duration::from_millis(10)).await,
        }
        while connections.try_join_next().is_some() {}
    }
}

async fn connection(stream: TcpStream, tls: TlsAcceptor, backends: Arc<Backends>) {
    // Nagle's algorithm would delay the second segment of a response by up to 40 ms.
    let _ = stream.set_nodelay(true);
    // A client that does not trust the certificate reports that itself.
    let Ok(Ok(stream)) = tokio::time::timeout(HANDSHAKE_LIMIT, tls.accept(stream)).await else {
        return;
    };
    let full_handshake = stream.get_ref().1.handshake_kind() != Some(HandshakeKind::Resumed);
    let first_request = OnceLock::new();
    let service = service_fn(|request: Request<Incoming>| {
        let caller = caller(request.headers());
        first_request.get_or_init(|| backends.meter.connection(&caller, full_handshake));
        let backends = backends.clone();
        async move { backends.answer(&caller, request).await }
    });
    // Returns an error if the client just leaves, or if a fault drops the connection. Neither is
    // worth reporting.
    let _ = http1::Builder::new()
        .serve_connection(TokioIo::new(stream), service)
        .await;
}

impl Backends {
    async fn answer(
        self: Arc<Self>,
        caller: &str,
        request: Request<Incoming>,
    ) -> Result<Response<Full<Bytes>>, HungUp> {
        let (parts, body) = request.into_parts();
        let operation = Operation::of(&parts.headers);
        let name = operation.to_string();
        let mut request_bytes = 0;
        let (response, units) = match collect(body, &mut request_bytes).await {
            Err(Unread::Broken) => (failure(StatusCode::BAD_REQUEST, "the body broke off"), None),
            Err(Unread::TooLarge) => (
                failure(
                    StatusCode::PAYLOAD_TOO_LARGE,
                    "a request may have at most 16 MB",
                ),
                None,
            ),
            Ok(body) => {
                let call = faults::Call::new(&self.faults, caller, &name, &parts.headers);
                let backends = self.clone();
                let forward = |body| async move { backends.forward(&operation, parts, body).await };
                call.answer(body, forward).await?
            }
        };
        self.meter.call(
            caller,
            &name,
            &Call {
                outcome: outcome(response.status(), response.body()),
                units: units.unwrap_or_default(),
                request_bytes,
                response_bytes: response.body().len(),
            },
        );
        Ok(response.map(Full::new))
    }

    async fn forward(
        &self,
        operation: &Operation,
        mut parts: http::request::Parts,
        mut body: Bytes,
    ) -> (Response<Bytes>, Option<Units>) {
        let (upstream, metered) = match operation.service {
            Service::DynamoDb => (&self.dynamodb, Metered::ask(&operation.name, &mut body)),
            Service::DynamoDbStreams => (&self.dynamodb, None),
            Service::Sqs => {
                let answer = self.sqs.call(&operation.name, &body).await;
                return (answer.map_or_else(|it| it.response(), |it| json(&it)), None);
            }
            Service::Other => {
                let refusal = Refusal {
                    status: StatusCode::BAD_REQUEST,
                    kind: "com.amazon.coral.service#UnknownOperationException".to_owned(),
                    message: "only DynamoDB and SQS are hosted here, by their JSON protocols"
                        .to_owned(),
                    query_error: None,
                };
                return (refusal.response(), None);
            }
        };
        for header in &CONNECTION_HEADERS {
            parts.headers.remove(header);
        }
        let path = parts.uri.into_parts().path_and_query;
        let path = path.unwrap_or(PathAndQuery::from_static("/"));
        let mut response = match upstream.send(parts.method, path, parts.headers, body).await {
            Ok(response) => response,
            Err(why) => {
                return (
                    failure(StatusCode::SERVICE_UNAVAILABLE, &why.to_string()),
                    None,
                );
            }
        };
        for header in &CONNECTION_HEADERS {
            response.headers_mut().remove(header);
        }
        let units = metered
            .filter(|_| response.status().is_success())
            .map(|metered| {
                let (units, changed) = metered.answer(response.body_mut());
                if changed && response.headers().contains_key(BODY_CHECKSUM) {
                    let checksum = crc32fast::hash(response.body());
                    response
                        .headers_mut()
                        .insert(BODY_CHECKSUM, checksum.into());
                }
                units
            });
        (response, units)
    }
}

enum Unread {
    Broken,
    TooLarge,
}

/// Reads a body to its end, even a body that is too large: a client that is still sending does not
/// read the refusal.
async fn collect(mut body: Incoming, length: &mut usize) -> Result<Bytes, Unread> {
    let expected = usize::try_from(body.size_hint().lower()).unwrap_or(0);
    let mut collected = BytesMut::with_capacity(expected.min(BODY_LIMIT));
    while let Some(frame) = body.frame().await {
        let Ok(data) = frame.map_err(|_| Unread::Broken)?.into_data() else {
            continue;
        };
        *length += data.len();
        if *length <= BODY_LIMIT {
            collected.extend_from_slice(&data);
        }
    }
    if *length > BODY_LIMIT {
        Err(Unread::TooLarge)
    } else {
        Ok(collected.freeze())
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Service {
    DynamoDb,
    DynamoDbStreams,
    Sqs,
    Other,
}

/// The operation that a request asks for, from its `X-Amz-Target`.
struct Operation {
    service: Service,
    name: String,
}

impl Operation {
    fn of(headers: &HeaderMap) -> Operation {
        let target = headers
            .get(TARGET)
            .and_then(|value| value.to_str().ok())
            .unwrap_or("");
        let (service, name) = match target.split_once('.') {
            Some(("DynamoDB_20120810", name)) => (Service::DynamoDb, name),
            Some(("DynamoDBStreams_20120810", name)) => (Service::DynamoDbStreams, name),
            Some(("AmazonSQS", name)) => (Service::Sqs, name),
            _ => (Service::Other, "Unknown"),
        };
        Operation {
            service,
            name: name.to_owned(),
        }
    }
}

impl std::fmt::Display for Operation {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let service = match self.service {
            Service::DynamoDb => "DynamoDB",
            Service::DynamoDbStreams => "DynamoDBStreams",
            Service::Sqs => "SQS",
            Service::Other => "Other",
        };
        write!(f, "{service}.{}", self.name)
    }
}

/// The access key id of a signed request: `AWS4-HMAC-SHA256 Credential=<id>/<date>/…`.
fn caller(headers: &HeaderMap) -> String {
    headers
        .get(AUTHORIZATION)
        .and_then(|value| value.to_str().ok())
        .and_then(|value| value.split_once("Credential="))
        .and_then(|(_, credential)| credential.split_once('/'))
        .map_or("unsigned", |(id, _)| id)
        .to_owned()
}

/// An answer of SQS.
fn json(body: &serde_json::Value) -> Response<Bytes> {
    let mut response = Response::new(Bytes::from(body.to_string()));
    response.headers_mut().insert(
        CONTENT_TYPE,
        HeaderValue::from_static("application/x-amz-json-1.0"),
    );
    response
}

/// An error from the endpoint itself, in the JSON that both services and their SDKs use.
fn failure(status: StatusCode, message: &str) -> Response<Bytes> {
    let name = match status {
        StatusCode::SERVICE_UNAVAILABLE => "ServiceUnavailableException",
        StatusCode::PAYLOAD_TOO_LARGE => "RequestEntityTooLargeException",
        _ => "SerializationException",
    };
    let body = serde_json::json!({
        "__type": format!("com.amazon.coral.service#{name}"),
        "message": message,
    });
    let mut response = Response::new(Bytes::from(body.to_string()));
    *response.status_mut() = status;
    response.headers_mut().insert(
        CONTENT_TYPE,
        HeaderValue::from_static("application/x-amz-json-1.0"),
    );
    response
}

/// The part of an error response that describes the error.
#[derive(Deserialize)]
struct ErrorBody<'a> {
    #[serde(rename = "__type", borrow)]
    kind: std::borrow::Cow<'a, str>,
    #[serde(rename = "CancellationReasons", default)]
    reasons: Vec<Reason>,
}

/// Why one item cancelled its transaction.
#[derive(Deserialize)]
struct Reason {
    #[serde(rename = "Code")]
    code: String,
}

fn outcome(status: StatusCode, body: &[u8]) -> Outcome {
    if status.as_u16() < 400 {
        return Outcome::Success;
    }
    let Ok(error) = serde_json::from_slice::<ErrorBody<'_>>(body) else {
        return Outcome::Error;
    };
    match error.kind.rsplit('#').next().unwrap_or_default() {
        "ConditionalCheckFailedException" => Outcome::ConditionalFailure,
        "TransactionCanceledException" => {
            let mut codes = error.reasons.iter().map(|reason| reason.code.as_str());
            if codes.clone().any(|code| code == "ConditionalCheckFailed")
                && codes.all(|code| matches!(code, "None" | "ConditionalCheckFailed"))
            {
                Outcome::ConditionalFailure
            } else {
                Outcome::Error
            }
        }
        "ProvisionedThroughputExceededException"
        | "ThrottlingException"
        | "RequestLimitExceeded"
        | "RequestThrottled" => Outcome::Throttle,
        _ => Outcome::Error,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn outcome_of(body: &str) -> Outcome {
        outcome(StatusCode::BAD_REQUEST, body.as_bytes())
    }

    #[test]
    fn the_caller_is_the_access_key_id() {
        let mut headers = HeaderMap::new();
        assert_eq!(caller(&headers), "unsigned");
        let value = "AWS4-HMAC-SHA256 Credential=GetProduct/20260101/us-east-1/dynamodb/aws4_request, SignedHeaders=host, Signature=0";
        headers.insert(AUTHORIZATION, HeaderValue::from_static(value));
        assert_eq!(caller(&headers), "GetProduct");
    }

    #[test]
    fn a_failed_condition_is_not_an_error() {
        let alone =
            r#"{"__type":"com.amazonaws.dynamodb.v20120810#ConditionalCheckFailedException"}"#;
        assert_eq!(outcome_of(alone), Outcome::ConditionalFailure);
        let in_transaction = r#"{"__type":"com.amazonaws.dynamodb.v20120810#TransactionCanceledException",
            "CancellationReasons":[{"Code":"None"},{"Code":"ConditionalCheckFailed","Message":"m"}]}"#;
        assert_eq!(outcome_of(in_transaction), Outcome::ConditionalFailure);
    }

    #[test]
    fn a_transaction_cancelled_for_another_reason_is_an_error() {
        for codes in [
            r#"{"Code":"TransactionConflict"}"#,
            r#"{"Code":"ConditionalCheckFailed"},{"Code":"ValidationError"}"#,
            r#"{"Code":"None"}"#,
        ] {
            let body = format!(
                r#"{{"__type":"x#TransactionCanceledException","CancellationReasons":[{codes}]}}"#
            );
            assert_eq!(outcome_of(&body), Outcome::Error, "{codes}");
        }
    }

    #[test]
    fn throttles_are_counted_apart_from_errors() {
        let throttle = r#"{"__type":"com.amazonaws.dynamodb.v20120810#ProvisionedThroughputExceededException"}"#;
        assert_eq!(outcome_of(throttle), Outcome::Throttle);
        let error = r#"{"__type":"com.amazon.coral.validate#ValidationException"}"#;
        assert_eq!(outcome_of(error), Outcome::Error);
        assert_eq!(outcome_of("not JSON"), Outcome::Error);
    }
}
