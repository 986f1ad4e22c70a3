//! An API Gateway HTTP API in front of the functions: routes, events of payload format 2.0,
//! responses, limits and refusals as on AWS.

mod event;
mod response;
mod routes;

use std::convert::Infallible;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use bytes::Bytes;
use http::header::{CONTENT_LENGTH, EXPECT, HOST, HeaderName, HeaderValue};
use http::request::Parts;
use http::{HeaderMap, Request, StatusCode};
use http_body_util::{BodyExt, LengthLimitError, Limited};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use hyper_util::server::graceful::GracefulShutdown;
use time::OffsetDateTime;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::oneshot;
use tokio::task::JoinHandle;
use tokio::time::timeout;
use url::Url;
use uuid::Uuid;

use self::event::Context;
use self::response::HttpResponse;
use self::routes::Routes;
use crate::lambda::{Function, trace_or_new};

// Limits of HTTP APIs, which AWS does not raise:
// https://docs.aws.amazon.com/apigateway/latest/developerguide/http-api-quotas.html
const MAX_BODY: usize = 10 * 1024 * 1024;
const MAX_HEADERS: usize = 10_240;
const INTEGRATION_TIMEOUT: Duration = Duration::from_secs(30);

/// How long running requests may take to finish at shutdown. Ctrl-C should feel immediate.
const SHUTDOWN_LIMIT: Duration = Duration::from_secs(2);

/// A running HTTP API.
#[derive(Debug)]
pub struct HttpApi {
    address: SocketAddr,
    stop: oneshot::Sender<()>,
    server: JoinHandle<()>,
}

#[derive(Debug)]
struct Api {
    port: u16,
    routes: Routes,
}

impl HttpApi {
    /// Serves the routes of `functions` on `listener`.
    pub fn start(listener: TcpListener, functions: &[Function]) -> HttpApi {
        let address = listener.local_addr().unwrap_or(([127, 0, 0, 1], 0).into());
        let routes = functions.iter().flat_map(|function| {
            let routes = function.spec().routes.iter().cloned();
            routes.map(|route| (route, function.clone()))
        });
        let api = Api {
            port: address.port(),
            routes: Routes::new(routes),
        };
        let (stop, stopped) = oneshot::channel();
        let server = tokio::spawn(serve(listener, Arc::new(api), stopped));
        HttpApi {
            address,
            stop,
            server,
        }
    }

    /// The address that it listens on.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Takes no new connections, lets running requests finish for two seconds, and ends.
    pub async fn shutdown(self) {
        drop(self.stop);
        // Fails only if the server panicked.
        let _ = self.server.await;
    }
}

async fn serve(listener: TcpListener, api: Arc<Api>, mut stopped: oneshot::Receiver<()>) {
    let connections = GracefulShutdown::new();
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            _ = &mut stopped => break,
        };
        match accepted {
            Ok((stream, client)) => {
                let connection = connection(stream, client.ip(), Arc::clone(&api));
                let connection = connections.watch(connection);
                // How a connection ended concerns only its client.
                tokio::spawn(async move {
                    let _ = connection.await;
                });
            }
            // Probably out of file descriptors; an immediate retry would only burn CPU.
            Err(_) => tokio::time::sleep(Duration::from_millis(10)).await,
        }
    }
    drop(listener);
    let _ = timeout(SHUTDOWN_LIMIT, connections.shutdown()).await;
}

fn connection(
    stream: TcpStream,
    client: IpAddr,
    api: Arc<Api>,
) -> http1::Connection<
    TokioIo<TcpStream>,
    impl hyper::service::Service<
        Request<Incoming>,
        Response = HttpResponse,
        Error = Infallible,
        Future = impl Future<Output = Result<HttpResponse, Infallible>>,
    >,
> {
    // Otherwise a response may wait 40 ms for an acknowledgement that the other side delays.
    let _ = stream.set_nodelay(true);
    let service = service_fn(move |request| {
        let api = Arc::clone(&api);
        async move { Ok(api.handle(request, client).await) }
    });
    http1::Builder::new()
        .title_case_headers(true)
        .serve_connection(TokioIo::new(stream), service)
}

impl Api {
    async fn handle(&self, request: Request<Incoming>, client: IpAddr) -> HttpResponse {
        let request_id = new_request_id();
        let mut response = self
            .respond(request, client, &request_id)
            .await
            .unwrap_or_else(response::refusal);
        if let Ok(value) = HeaderValue::try_from(request_id) {
            response
                .headers_mut()
                .insert(HeaderName::from_static("apigw-requestid"), value);
        }
        response
    }

    async fn respond(
        &self,
        request: Request<Incoming>,
        client: IpAddr,
        request_id: &str,
    ) -> Result<HttpResponse, StatusCode> {
        let (parts, body) = request.into_parts();
        check_headers(&parts)?;
        let path = event::decoded_path(parts.uri.path());
        let route = self
            .routes
            .find(parts.method.as_str(), &path)
            .filter(|_| path.starts_with('/'))
            .ok_or(StatusCode::NOT_FOUND)?;
        let body = timeout(INTEGRATION_TIMEOUT, read(&parts.headers, body))
            .await
            .map_err(|_| StatusCode::REQUEST_TIMEOUT)??;
        let trace = parts.headers.get("x-amzn-trace-id");
        let trace_id = trace_or_new(trace.and_then(|value| value.to_str().ok()));
        let context = Context {
            account_id: route.function.account_id(),
            request_id,
            source_ip: client,
            port: self.port,
            route_key: route.key,
            trace_id: &trace_id,
            now: OffsetDateTime::now_utc(),
        };
        let failed = StatusCode::INTERNAL_SERVER_ERROR;
        let event = event::encode(&parts, &body, &path, &route.path_parameters, context)
            .map_err(|_| failed)?;
        // The event holds a copy.
        drop(body);
        let invocation = route.function.invoke(event.into(), Some(&trace_id));
        match timeout(INTEGRATION_TIMEOUT, invocation).await {
            Ok(Ok(result)) => response::from_result(&result).map_err(|_| failed),
            Ok(Err(error)) => Err(response::status_of(&error)),
            Err(_) => Err(StatusCode::SERVICE_UNAVAILABLE),
        }
    }
}

/// The request line and the headers' values share a limit. Any host is accepted, as AWS accepts
/// custom domains, but it must be a valid one.
fn check_headers(request: &Parts) -> Result<(), StatusCode> {
    let target = request
        .uri
        .path_and_query()
        .map_or(0, |target| target.as_str().len());
    let request_line = request.method.as_str().len() + target + " HTTP/1.1".len() + 1;
    let values: usize = request.headers.values().map(HeaderValue::len).sum();
    if request_line + values > MAX_HEADERS {
        return Err(StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE);
    }
    let is_host = |host: &HeaderValue| {
        let host = host.to_str().unwrap_or_default();
        !host.contains(['/', '\\', '?', '#', '@']) && Url::parse(&format!("http://{host}/")).is_ok()
    };
    if !request.headers.get_all(HOST).iter().all(is_host) {
        return Err(StatusCode::BAD_REQUEST);
    }
    Ok(())
}

/// Reads a body up to the limit. The rest is read too, but thrown away: otherwise a client that is
/// still sending would see a broken connection instead of the answer.
async fn read(headers: &HeaderMap, mut body: Incoming) -> Result<Bytes, StatusCode> {
    let announced = headers
        .get(CONTENT_LENGTH)
        .and_then(|length| length.to_str().ok()?.parse::<u64>().ok());
    let too_large = announced.is_some_and(|length| length > MAX_BODY as u64);
    if too_large && headers.contains_key(EXPECT) {
        // The client asks before it sends the body.
        return Err(StatusCode::PAYLOAD_TOO_LARGE);
    }
    if !too_large {
        match Limited::new(&mut body, MAX_BODY).collect().await {
            Ok(collected) => return Ok(collected.to_bytes()),
            Err(error) if error.is::<LengthLimitError>() => {}
            Err(_) => return Err(StatusCode::BAD_REQUEST),
        }
    }
    while let Some(Ok(_)) = body.frame().await {}
    Err(StatusCode::PAYLOAD_TOO_LARGE)
}

/// Sixteen characters ending in `=`, like API Gateway's.
fn new_request_id() -> String {
    BASE64_STANDARD.encode(&Uuid::new_v4().as_bytes()[..11])
}
