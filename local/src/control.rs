//! The control server: answers a load test's or a person's questions about a running stack.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::net::IpAddr;
use std::sync::Arc;

use bytes::Bytes;
use futures_util::future::join_all;
use http::header::{ALLOW, CONTENT_TYPE, HOST, ORIGIN};
use http::{HeaderMap, HeaderValue, Method, Request, Response, StatusCode, Uri};
use http_body_util::{BodyExt, Full, Limited};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use serde::Serialize;
use tokio::net::TcpListener;
use tokio::task::{JoinHandle, JoinSet};

use crate::aws::Aws;
use crate::aws::faults::Plan;
use crate::lambda::{Function, InvokeError, MAX_PAYLOAD, State};

/// A fault plan is a page of text at most; this allows a thousand pages.
const BODY_LIMIT: usize = 1024 * 1024;

const HELP: &str = "\
GET  /meter               calls to DynamoDB and SQS, by function and operation, and the queues, as JSON
POST /meter/reset         set the counts to zero
GET  /functions           execution environments of each function now, as JSON
POST /environments/reap   end the idle ones, so that the next invocations are cold starts
GET  /faults              the faults that are injected, as JSON (docs/faults.md)
PUT  /faults              inject these from now on
DELETE /faults            inject none
POST /2015-03-31/functions/<logical id>/invocations
                          run a function on the event in the body, as Lambda's Invoke does
";

/// The path of Lambda's `Invoke`, before and after the function's name.
/// <https://docs.aws.amazon.com/lambda/latest/api/API_Invoke.html>
const INVOKE: (&str, &str) = ("/2015-03-31/functions/", "/invocations");

/// The parts of the stack that the control server reports on.
#[derive(Debug)]
pub struct Subject {
    /// The metered AWS endpoint.
    pub aws: Arc<Aws>,
    /// All functions of the stack.
    pub functions: Vec<Function>,
}

/// The running server; it stops when dropped.
#[derive(Debug)]
pub struct Control {
    server: JoinHandle<()>,
}

impl Control {
    /// Serves on `listener`, which must be bound to loopback.
    pub fn start(listener: TcpListener, subject: Subject) -> Control {
        Control {
            server: tokio::spawn(serve(listener, Arc::new(subject))),
        }
    }
}

impl Drop for Control {
    fn drop(&mut self) {
        self.server.abort();
    }
}

async fn serve(listener: TcpListener, subject: Arc<Subject>) {
    // The set aborts the connections when it is dropped, so they end with the server.
    let mut connections = JoinSet::new();
    loop {
        while connections.try_join_next().is_some() {}
        let Ok((stream, _)) = listener.accept().await else {
            // Probably out of file descriptors: give the others time to close theirs.
            tokio::time::sleep(std::time::Duration::from_millis(100)).await;
            continue;
        };
        let subject = subject.clone();
        connections.spawn(async move {
            let service = service_fn(move |request| {
                let subject = subject.clone();
                async move { Ok::<_, Infallible>(answer(request, &subject).await) }
            });
            // A broken connection concerns only its client.
            let _ = http1::Builder::new()
                .serve_connection(TokioIo::new(stream), service)
                .await;
        });
    }
}

async fn answer(request: Request<Incoming>, subject: &Subject) -> Response<Full<Bytes>> {
    if !is_local(request.headers()) {
        return text(
            StatusCode::FORBIDDEN,
            "only for programs and pages of this machine\n",
        );
    }
    match (request.method(), request.uri().path()) {
        (&Method::GET, "/") => text(StatusCode::OK, HELP),
        (&Method::GET, "/meter") => json(&subject.aws.snapshot().await),
        (&Method::POST, "/meter/reset") => {
            subject.aws.meter().reset();
            status(StatusCode::NO_CONTENT)
        }
        (&Method::POST, "/environments/reap") => {
            join_all(subject.functions.iter().map(Function::reap)).await;
            status(StatusCode::NO_CONTENT)
        }
        (&Method::GET, "/functions") => {
            let functions = subject.functions.iter();
            let states: BTreeMap<&str, State> = functions
                .map(|function| (function.spec().logical_id.as_str(), function.state()))
                .collect();
            json(&states)
        }
        (&Method::GET, "/faults") => json(&subject.aws.faults().plan()),
        (&Method::PUT, "/faults") => set_faults(request.into_body(), subject).await,
        (&Method::DELETE, "/faults") => {
            subject.aws.faults().set(Plan::default());
            status(StatusCode::NO_CONTENT)
        }
        (_, "/" | "/meter" | "/functions") => not_allowed("GET"),
        (_, "/faults") => not_allowed("GET, PUT, DELETE"),
        (_, "/meter/reset" | "/environments/reap") => not_allowed("POST"),
        (method, path) => match invoked(path) {
            Some(name) if method == Method::POST => {
                let function = subject
                    .functions
                    .iter()
                    .find(|it| it.spec().logical_id == name);
                invoke(function, request.into_body()).await
            }
            Some(_) => not_allowed("POST"),
            None => text(StatusCode::NOT_FOUND, HELP),
        },
    }
}

async fn set_faults(body: Incoming, subject: &Subject) -> Response<Full<Bytes>> {
    let Ok(body) = Limited::new(body, BODY_LIMIT).collect().await else {
        return text(StatusCode::PAYLOAD_TOO_LARGE, "a plan has at most 1 MB\n");
    };
    match Plan::parse(&body.to_bytes()) {
        Ok(plan) => {
            subject.aws.faults().set(plan);
            status(StatusCode::NO_CONTENT)
        }
        Err(error) => text(StatusCode::BAD_REQUEST, format!("{error}\n")),
    }
}

/// The function in a path of `Invoke`.
fn invoked(path: &str) -> Option<String> {
    let name = path.strip_prefix(INVOKE.0)?.strip_suffix(INVOKE.1)?;
    (!name.is_empty() && !name.contains('/')).then(|| name.to_owned())
}

/// Runs a function and answers like Lambda's `Invoke` with `RequestResponse`: 200 even if the
/// function failed, but then with the header `X-Amz-Function-Error`.
async fn invoke(function: Option<&Function>, event: Incoming) -> Response<Full<Bytes>> {
    let refusal = |code, kind: &'static str, message: &str| {
        let body = serde_json::json!({"Type": "User", "Message": message});
        let mut response = json(&body);
        *response.status_mut() = code;
        let kind = HeaderValue::from_static(kind);
        response.headers_mut().insert("x-amzn-errortype", kind);
        response
    };
    let Some(function) = function else {
        let message = "Function not found; GET /functions lists them";
        return refusal(StatusCode::NOT_FOUND, "ResourceNotFoundException", message);
    };
    let too_large = "Request must be smaller than 6291456 bytes for the InvokeFunction operation";
    let too_large = || {
        let kind = "RequestTooLargeException";
        refusal(StatusCode::PAYLOAD_TOO_LARGE, kind, too_large)
    };
    let Ok(event) = Limited::new(event, MAX_PAYLOAD).collect().await else {
        return too_large();
    };
    match function.invoke(event.to_bytes(), None).await {
        Ok(result) => {
            let mut response = status(StatusCode::OK);
            let json = HeaderValue::from_static("application/json");
            response.headers_mut().insert(CONTENT_TYPE, json);
            *response.body_mut() = Full::new(result);
            response
        }
        Err(InvokeError::FunctionError(error) | InvokeError::TimedOut(error)) => {
            let mut response = status(StatusCode::OK);
            let headers = response.headers_mut();
            headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
            let unhandled = HeaderValue::from_static("Unhandled");
            headers.insert("x-amz-function-error", unhandled);
            *response.body_mut() = Full::new(error.payload);
            response
        }
        Err(InvokeError::Throttled) => refusal(
            StatusCode::TOO_MANY_REQUESTS,
            "TooManyRequestsException",
            "Rate Exceeded.",
        ),
        Err(InvokeError::EventTooLarge) => too_large(),
        Err(InvokeError::Stopped) => refusal(
            StatusCode::INTERNAL_SERVER_ERROR,
            "ServiceException",
            "the host is shutting down",
        ),
    }
}

/// Whether the request comes from a program or page of this machine.
///
/// A page of another site can make a browser send requests here. Such a request names that site in
/// `Origin`, or in `Host` if the site's name points to 127.0.0.1.
fn is_local(headers: &HeaderMap) -> bool {
    let of_host = |value: &HeaderValue| {
        let authority = value.to_str().ok()?.parse::<http::uri::Authority>().ok()?;
        Some(is_loopback(authority.host()))
    };
    let of_origin = |value: &HeaderValue| {
        let uri = value.to_str().ok()?.parse::<Uri>().ok()?;
        Some(is_loopback(uri.host()?))
    };
    headers.get(HOST).and_then(of_host).unwrap_or(false)
        && headers
            .get(ORIGIN)
            .is_none_or(|origin| of_origin(origin).unwrap_or(false))
}

fn is_loopback(host: &str) -> bool {
    let address = host.trim_start_matches('[').trim_end_matches(']');
    host.eq_ignore_ascii_case("localhost")
        || address
            .parse::<IpAddr>()
            .is_ok_and(|address| address.is_loopback())
}

fn status(status: StatusCode) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::default());
    *response.status_mut() = status;
    response
}

fn text(code: StatusCode, body: impl Into<Bytes>) -> Response<Full<Bytes>> {
    let mut response = status(code);
    let plain = HeaderValue::from_static("text/plain; charset=utf-8");
    response.headers_mut().insert(CONTENT_TYPE, plain);
    *response.body_mut() = Full::new(body.into());
    response
}

fn json(value: &impl Serialize) -> Response<Full<Bytes>> {
    match serde_json::to_vec(value) {
        Ok(body) => {
            let mut response = status(StatusCode::OK);
            let json = HeaderValue::from_static("application/json");
            response.headers_mut().insert(CONTENT_TYPE, json);
            *response.body_mut() = Full::from(body);
            response
        }
        Err(_) => text(StatusCode::INTERNAL_SERVER_ERROR, "not serializable\n"),
    }
}

fn not_allowed(method: &'static str) -> Response<Full<Bytes>> {
    let mut response = status(StatusCode::METHOD_NOT_ALLOWED);
    response
        .headers_mut()
        .insert(ALLOW, HeaderValue::from_static(method));
    response
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(pairs: &[(http::HeaderName, &'static str)]) -> HeaderMap {
        pairs
            .iter()
            .map(|(n, v)| (n.clone(), HeaderValue::from_static(v)))
            .collect()
    }

    #[test]
    fn programs_and_pages_of_this_machine_are_served() {
        for host in [
            "127.0.0.1:3001",
            "localhost:3001",
            "LOCALHOST",
            "[::1]:3001",
            "127.0.0.1",
        ] {
            assert!(is_local(&headers(&[(HOST, host)])), "{host}");
        }
        assert!(is_local(&headers(&[
            (HOST, "localhost:3001"),
            (ORIGIN, "http://localhost:8080")
        ])));
    }

    #[test]
    fn pages_of_other_sites_are_refused() {
        for host in [
            "evil.example:3001",
            "127.0.0.1.evil.example",
            "192.168.0.2:3001",
            "",
            "a b",
        ] {
            assert!(!is_local(&headers(&[(HOST, host)])), "{host}");
        }
        for origin in [
            "https://evil.example",
            "null",
            "http://localhost.evil.example",
        ] {
            assert!(
                !is_local(&headers(&[(HOST, "127.0.0.1:3001"), (ORIGIN, origin)])),
                "{origin}"
            );
        }
        assert!(!is_local(&headers(&[])));
    }
}
