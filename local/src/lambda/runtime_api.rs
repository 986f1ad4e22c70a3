//! The Runtime API of one execution environment.
//!
//! It only translates between HTTP and [`ApiCall`]s; the environment decides which call is allowed
//! when. Answers are those of
//! [AWS's runtime API](https://docs.aws.amazon.com/lambda/latest/dg/runtimes-api.html). Where it is silent, they
//! are those of its open-source
//! [emulator](https://github.com/aws/aws-lambda-runtime-interface-emulator).

use std::convert::Infallible;
use std::io;
use std::net::{Ipv4Addr, SocketAddr};

use bytes::Bytes;
use http::header::{CONTENT_TYPE, HeaderName, HeaderValue};
use http::{Method, Request, Response, StatusCode};
use http_body_util::{BodyExt, Full, Limited};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use serde_json::json;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{mpsc, oneshot};
use tokio::task::{JoinHandle, JoinSet};

use super::MAX_PAYLOAD;
use super::invocation::Invocation;

/// A runtime needs one connection, some use two. The limit keeps a function that opens more and
/// more from using up this host's file descriptors and memory.
const MAX_CONNECTIONS: usize = 16;

/// Listens on a port of its own, so that each request is known to come from this environment.
#[derive(Debug)]
pub(super) struct RuntimeApi {
    address: SocketAddr,
    calls: mpsc::Receiver<ApiCall>,
    server: JoinHandle<()>,
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
        body: Result<Bytes, BodyError>,
    },
    Error {
        request_id: String,
        error_type: Option<String>,
        body: Result<Bytes, BodyError>,
    },
    InitError {
        error_type: Option<String>,
        body: Result<Bytes, BodyError>,
    },
}

/// Why a body is not complete.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum BodyError {
    TooLarge,
    Truncated,
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
        let server = tokio::spawn(serve(listener, sender));
        Ok(RuntimeApi {
            address,
            calls,
            server,
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

impl Drop for RuntimeApi {
    fn drop(&mut self) {
        self.server.abort();
    }
}

async fn serve(listener: TcpListener, calls: mpsc::Sender<ApiCall>) {
    let mut connections = JoinSet::new();
    loop {
        while connections.len() >= MAX_CONNECTIONS {
            connections.join_next().await;
        }
        match listener.accept().await {
            Ok((stream, _)) => {
                connections.spawn(connection(stream, calls.clone()));
            }
            // Probably out of file descriptors: wait until one of ours is closed.
            Err(_) if connections.join_next().await.is_some() => {}
            Err(_) => tokio::time::sleep(std::time::Duration::from_millis(10)).await,
        }
        while connections.try_join_next().is_some() {}
    }
}

async fn connection(stream: TcpStream, calls: mpsc::Sender<ApiCall>) {
    // Otherwise a response may wait 40 ms for an acknowledgement that the other side delays.
    let _ = stream.set_nodelay(true);
    let service = service_fn(|request| handle(request, calls.clone()));
    // A bootstrap written in shell may look for `Lambda-Runtime-…` exactly as AWS sends it. How the
    // connection ended concerns only the runtime.
    let _ = http1::Builder::new()
        .title_case_headers(true)
        .serve_connection(TokioIo::new(stream), service)
        .await;
}

async fn handle(
    request: Request<Incoming>,
    calls: mpsc::Sender<ApiCall>,
) -> Result<Response<Full<Bytes>>, Infallible> {
    Ok(match translate(request).await {
        Ok(request) => {
            let (reply, response) = oneshot::channel();
            let sent = calls
                .send(ApiCall {
                    request,
                    reply: Responder(reply),
                })
                .await;
            match (sent, response.await) {
                (Ok(()), Ok(response)) => response,
                // The environment is being ended, and its process with it.
                _ => error(
                    StatusCode::INTERNAL_SERVER_ERROR,
                    "InternalServerError",
                    "Internal Server Error",
                ),
            }
        }
        Err(response) => response,
    })
}

async fn translate(request: Request<Incoming>) -> Result<ApiRequest, Response<Full<Bytes>>> {
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
    let body = read(request.into_body()).await;
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

/// Reads a body up to the limit. The rest is read too, but thrown away: otherwise a client that is
/// still writing would never see the answer.
async fn read(mut body: Incoming) -> Result<Bytes, BodyError> {
    match Limited::new(&mut body, MAX_PAYLOAD).collect().await {
        Ok(collected) => Ok(collected.to_bytes()),
        Err(error) if error.is::<http_body_util::LengthLimitError>() => {
            while let Some(frame) = body.frame().await {
                frame.map_err(|_| BodyError::Truncated)?;
            }
            Err(BodyError::TooLarge)
        }
        Err(_) => Err(BodyError::Truncated),
    }
}

/// Answers one request. It does not matter if the runtime has hung up.
#[derive(Debug)]
pub(super) struct Responder(oneshot::Sender<Response<Full<Bytes>>>);

impl Responder {
    /// Sends the event of an invocation of the function with this ARN, or returns an error if the
    /// runtime has hung up.
    pub(super) fn event(self, invocation: &Invocation, function: &str) -> Result<(), ()> {
        let mut response = Response::new(Full::new(invocation.payload.clone()));
        let headers = response.headers_mut();
        let mut set = |name, value: Result<HeaderValue, _>| {
            if let Ok(value) = value {
                headers.insert(HeaderName::from_static(name), value);
            }
        };
        set(
            "content-type",
            Ok(HeaderValue::from_static("application/json")),
        );
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
            .send(json(StatusCode::ACCEPTED, &json!({"status": "OK"})));
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
    pub(super) fn bad_body(self, reason: BodyError) {
        let _ = self.0.send(match reason {
            BodyError::TooLarge => {
                let message =
                    format!("Exceeded maximum allowed payload size ({MAX_PAYLOAD} bytes).");
                error(
                    StatusCode::PAYLOAD_TOO_LARGE,
                    "RequestEntityTooLarge",
                    &message,
                )
            }
            BodyError::Truncated => {
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

fn error(status: StatusCode, error_type: &str, message: &str) -> Response<Full<Bytes>> {
    json(
        status,
        &json!({"errorMessage": message, "errorType": error_type}),
    )
}

fn json(status: StatusCode, body: &serde_json::Value) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(body.to_string().into()));
    *response.status_mut() = status;
    response
        .headers_mut()
        .insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    response
}
