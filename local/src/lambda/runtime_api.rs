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
use super::invocation::Invocation;
use crate::serve::{self, Answer, Connection, HungUp, Policy, Server, Unread};

/// A runtime needs one connection, some use two. The limit keeps a function that opens more and
/// more from using up this host's file descriptors and memory.
const MAX_CONNECTIONS: usize = 16;
/// As long as a function may run: its own timeout ends it sooner.
const BODY_LIMIT: Duration = Duration::from_secs(900);

/// Listens on a port of its own, so that each request is known to come from this environment.
#[derive(Debug)]
pub(super) struct RuntimeApi {
    address: SocketAddr,
    calls: mpsc::Receiver<ApiCall>,
    _server: Server,
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
    Response {
        request_id: String,
        body: Result<Bytes, Unread>,
    },
    Error {
        request_id: String,
        error_type: Option<String>,
        body: Result<Bytes, Unread>,
    },
    InitError {
        error_type: Option<String>,
        body: Result<Bytes, Unread>,
    },
}

/// The state of an environment, in the emulator's names.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum RuntimeState {
    Started,
    Ready,
    Running,
    InvocationResponseSent,
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
            _server: Server::start(listener, policy, Translator(sender)),
        })
    }

    /// For `AWS_LAMBDA_RUNTIME_API`.
    pub(super) fn address(&self) -> SocketAddr {
        self.address
    }

    /// The next request of the runtime.
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
    let path = request.uri().path().to_owned();
    let segments: Vec<&str> = path.split('/').skip(1).collect();
    let (method, call) = match segments.as_slice() {
        ["2018-06-01", "runtime", "invocation", "next"] => (Method::GET, "next"),
        ["2018-06-01", "runtime", "init", "error"] => (Method::POST, "init"),
        [
            "2018-06-01",
            "runtime",
            "invocation",
            _,
            call @ ("response" | "error"),
        ] => (Method::POST, *call),
        _ => {
            return Err(error(
                StatusCode::NOT_FOUND,
                "NotFound",
                "there is no such operation",
            ));
        }
    };
    if request.method() != method {
        let message = "the operation takes another method";
        return Err(error(
            StatusCode::METHOD_NOT_ALLOWED,
            "MethodNotAllowed",
            message,
        ));
    }
    if call == "next" {
        return Ok(ApiRequest::Next);
    }
    let error_type = request
        .headers()
        .get("lambda-runtime-function-error-type")
        .map(|value| String::from_utf8_lossy(value.as_bytes()).into_owned());
    let body = serve::read(request.into_body(), MAX_PAYLOAD, BODY_LIMIT).await;
    let request_id = segments.get(3).copied().unwrap_or_default().to_owned();
    Ok(match call {
        "init" => ApiRequest::InitError { error_type, body },
        "response" => ApiRequest::Response { request_id, body },
        _ => ApiRequest::Error {
            request_id,
            error_type,
            body,
        },
    })
}

/// Answers one request. It does not matter if the runtime has hung up.
#[derive(Debug)]
pub(super) struct Responder(oneshot::Sender<Answer>);

impl Responder {
    /// Sends the event of an invocation of the function with this ARN, or returns an error if the
    /// runtime has hung up.
    pub(super) fn event(self, invocation: &Invocation, function: &str) -> Result<(), ()> {
        let payload = invocation.payload.clone();
        let mut response = serve::typed(StatusCode::OK, "application/json", payload);
        let headers = response.headers_mut();
        let mut set = |name, value: Result<HeaderValue, _>| {
            if let Ok(value) = value {
                headers.insert(HeaderName::from_static(name), value);
            }
        };
        set(
            "lambda-runtime-aws-request-id",
            HeaderValue::from_str(&invocation.request_id),
        );
        set(
            "lambda-runtime-deadline-ms",
            HeaderValue::from_str(&invocation.deadline_ms.to_string()),
        );
        set(
            "lambda-runtime-invoked-function-arn",
            HeaderValue::from_str(function),
        );
        set("lambda-runtime-trace-id", Ok(invocation.trace_id.clone()));
        self.0.send(response).map_err(|_| ())
    }

    /// 202.
    pub(super) fn accepted(self) {
        let _ = self
            .0
            .send(serve::json(StatusCode::ACCEPTED, &json!({"status": "OK"})));
    }

    /// 400: the invocation is not running in this environment, or no longer.
    pub(super) fn invalid_request_id(self) {
        let _ = self.0.send(error(
            StatusCode::BAD_REQUEST,
            "InvalidRequestID",
            "Invalid request ID",
        ));
    }

    /// 413 or 400.
    pub(super) fn bad_body(self, reason: Unread) {
        let _ = self.0.send(match reason {
            Unread::TooLarge => {
                let message =
                    format!("Exceeded maximum allowed payload size ({MAX_PAYLOAD} bytes).");
                error(
                    StatusCode::PAYLOAD_TOO_LARGE,
                    "RequestEntityTooLarge",
                    &message,
                )
            }
            Unread::Truncated | Unread::TooSlow => {
                let message = "HTTP request detected as truncated";
                error(StatusCode::BAD_REQUEST, "TruncatedHTTPRequest", message)
            }
        });
    }

    /// 403: a request that is not allowed in the current state.
    pub(super) fn invalid_state(self, from: RuntimeState, request: &str) {
        let message = format!(
            "State transition from {from:?} to {request} failed for runtime. \
             Error: State transition is not allowed"
        );
        let _ = self.0.send(error(
            StatusCode::FORBIDDEN,
            "InvalidStateTransition",
            &message,
        ));
    }
}

impl ApiCall {
    /// Refuses a request that is not allowed in `state`.
    pub(super) fn refuse(self, state: RuntimeState) {
        match self.request {
            ApiRequest::Next => self.reply.invalid_state(state, "Ready"),
            ApiRequest::InitError { .. } => self.reply.invalid_state(state, "InitError"),
            ApiRequest::Response { .. } | ApiRequest::Error { .. } => {
                self.reply.invalid_request_id();
            }
        }
    }
}

fn error(status: StatusCode, error_type: &str, message: &str) -> Answer {
    serve::json(
        status,
        &json!({"errorMessage": message, "errorType": error_type}),
    )
}
