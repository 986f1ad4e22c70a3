//! The Runtime API of one execution environment.
//!
//! It only translates between HTTP and [`ApiCall`]s; the environment decides which call is allowed
//! when. Answers are those of
//! [AWS's runtime API](https://docs.aws.amazon.com/lambda/latest/dg/runtimes-api.html). Where it is silent, they
//! are those of its open-source
//! [emulator](https://github.com/aws/aws-lambda-runtime-interface-emulator).

use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;

use bytes::Bytes;
use http::header::{HeaderName, HeaderValue};
use http::{Method, Request, StatusCode};
use hyper::body::Incoming;
use serde_json::json;
use tokio::net::TcpListener;
use tokio::sync::{mpsc, oneshot};

use super::MAX_PAYLOAD;
use super::error::FunctionError;
use super::invocation::Invocation;
use crate::serve::{self, Answer, Connection, HungUp, Policy, Unread};
use crate::task::Task;

/// A runtime needs one connection, some use two. The limit keeps a function that opens more and
/// more from using up this host's file descriptors and memory.
const MAX_CONNECTIONS: usize = 16;
const VERSION: &str = "2018-06-01";
/// As long as a function may run: its own timeout ends it sooner.
const BODY_LIMIT: Duration = Duration::from_secs(900);

/// Listens on a port of its own, so that each request is known to come from this environment.
#[derive(Debug)]
pub(super) struct RuntimeApi {
    /// For `AWS_LAMBDA_RUNTIME_API`.
    pub(super) address: SocketAddr,
    calls: mpsc::Receiver<ApiCall>,
    _server: Task,
}

/// One request of the runtime, and the way to answer it.
#[derive(Debug)]
pub(super) struct ApiCall {
    pub(super) request: ApiRequest,
    pub(super) reply: Responder,
}

#[derive(Debug)]
pub(super) enum ApiRequest {
    Next,
    /// The result of an invocation, and the answer if that invocation is running.
    Result {
        request_id: String,
        result: Result<Bytes, FunctionError>,
        answer: Box<Answer>,
    },
    InitError(FunctionError),
}

impl RuntimeApi {
    pub(super) async fn start() -> io::Result<RuntimeApi> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
        let address = listener.local_addr()?;
        let (sender, calls) = mpsc::channel(MAX_CONNECTIONS);
        let policy = Policy::plain(MAX_CONNECTIONS);
        Ok(RuntimeApi {
            address,
            calls,
            _server: serve::start(listener, policy, Translator(sender)),
        })
    }

    pub(super) async fn call(&mut self) -> ApiCall {
        match self.calls.recv().await {
            Some(call) => call,
            // The server holds the other end for as long as this exists.
            None => std::future::pending().await,
        }
    }
}

/// Turns requests into calls.
#[derive(Debug, Clone)]
struct Translator(mpsc::Sender<ApiCall>);

impl serve::Service for Translator {
    async fn answer(
        &self,
        request: Request<Incoming>,
        _connection: &Connection,
    ) -> Result<Answer, HungUp> {
        let request = match translate(request).await {
            Ok(request) => request,
            Err(refusal) => return Ok(refusal),
        };
        let (reply, answer) = oneshot::channel();
        let reply = Responder(reply);
        // Either fails if the environment is being ended, and its process with it.
        self.0
            .send(ApiCall { request, reply })
            .await
            .map_err(|_| HungUp)?;
        answer.await.map_err(|_| HungUp)
    }
}

async fn translate(request: Request<Incoming>) -> Result<ApiRequest, Answer> {
    let (parts, body) = request.into_parts();
    let path: Vec<&str> = parts.uri.path().split('/').collect();
    let (method, request_id, call) = match path.as_slice() {
        ["", VERSION, "runtime", "invocation", "next"] => (Method::GET, "", "next"),
        ["", VERSION, "runtime", "init", "error"] => (Method::POST, "", "init"),
        [
            "",
            VERSION,
            "runtime",
            "invocation",
            id,
            call @ ("response" | "error"),
        ] => (Method::POST, *id, *call),
        _ => {
            let message = "there is no such operation";
            return Err(error(StatusCode::NOT_FOUND, "NotFound", message));
        }
    };
    if parts.method != method {
        let (status, message) = (
            StatusCode::METHOD_NOT_ALLOWED,
            "the operation takes another method",
        );
        return Err(error(status, "MethodNotAllowed", message));
    }
    if call == "next" {
        return Ok(ApiRequest::Next);
    }
    let error_type = parts.headers.get("lambda-runtime-function-error-type");
    let error_type = error_type.map(|value| String::from_utf8_lossy(value.as_bytes()).into_owned());
    let body = serve::read(body, MAX_PAYLOAD, BODY_LIMIT).await;
    let (result, answer) = match (call, body) {
        ("init", Ok(body)) => {
            let error = FunctionError::reported(error_type, body);
            return Ok(ApiRequest::InitError(error));
        }
        ("init", Err(reason)) => return Err(unread(reason)),
        ("response", Ok(body)) => (Ok(body), accepted()),
        ("response", Err(reason)) => (Err(FunctionError::bad_response(reason)), unread(reason)),
        (_, body) => {
            let error = FunctionError::reported(error_type, body.unwrap_or_default());
            (Err(error), accepted())
        }
    };
    Ok(ApiRequest::Result {
        request_id: request_id.to_owned(),
        result,
        answer: Box::new(answer),
    })
}

/// 202.
pub(super) fn accepted() -> Answer {
    serve::json(StatusCode::ACCEPTED, &json!({"status": "OK"}))
}

/// 413 or 400: a body that is not complete.
fn unread(reason: Unread) -> Answer {
    match reason {
        Unread::TooLarge => {
            let status = StatusCode::PAYLOAD_TOO_LARGE;
            let message = format!("Exceeded maximum allowed payload size ({MAX_PAYLOAD} bytes).");
            error(status, "RequestEntityTooLarge", &message)
        }
        Unread::Truncated | Unread::TooSlow => {
            let message = "HTTP request detected as truncated";
            error(StatusCode::BAD_REQUEST, "TruncatedHTTPRequest", message)
        }
    }
}

/// Answers one request. It does not matter if the runtime has hung up.
#[derive(Debug)]
pub(super) struct Responder(oneshot::Sender<Answer>);

impl Responder {
    /// Sends the event of an invocation of the function with this ARN, or returns an error if the
    /// runtime has hung up.
    pub(super) fn event(self, invocation: &Invocation, function: &str) -> Result<(), ()> {
        let request = &invocation.job.request;
        let mut answer = serve::typed(StatusCode::OK, "application/json", request.event.clone());
        let deadline_ms = invocation.deadline_ms.to_string();
        for (name, value) in [
            ("aws-request-id", request.request_id.as_str()),
            ("deadline-ms", &deadline_ms),
            ("invoked-function-arn", function),
            ("trace-id", &request.trace_id),
        ] {
            let name = HeaderName::try_from(format!("lambda-runtime-{name}"));
            if let (Ok(name), Ok(value)) = (name, HeaderValue::from_str(value)) {
                answer.headers_mut().insert(name, value);
            }
        }
        self.0.send(answer).map_err(|_| ())
    }

    pub(super) fn send(self, answer: Answer) {
        let _ = self.0.send(answer);
    }
}

impl ApiCall {
    /// Refuses a request that is not allowed in `state`, by the emulator's name of it.
    pub(super) fn refuse(self, state: &str) {
        let asked = match self.request {
            ApiRequest::Next => "Ready",
            ApiRequest::InitError(_) => "InitError",
            ApiRequest::Result { .. } => {
                let status = StatusCode::BAD_REQUEST;
                let answer = error(status, "InvalidRequestID", "Invalid request ID");
                return self.reply.send(answer);
            }
        };
        let message = format!(
            "State transition from {state} to {asked} failed for runtime. \
             Error: State transition is not allowed"
        );
        let status = StatusCode::FORBIDDEN;
        self.reply
            .send(error(status, "InvalidStateTransition", &message));
    }
}

fn error(status: StatusCode, error_type: &str, message: &str) -> Answer {
    serve::json(
        status,
        &json!({"errorMessage": message, "errorType": error_type}),
    )
}
