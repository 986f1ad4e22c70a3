//! An API Gateway HTTP API in front of the functions: routes, events of payload format 2.0,
//! responses, limits and refusals as on AWS.

mod cors;
mod event;
mod response;
mod routes;
mod throttle;

use std::net::IpAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use bytes::Bytes;
use http::header::{CONTENT_LENGTH, EXPECT, HeaderName, HeaderValue};
use http::request::Parts;
use http::{HeaderMap, Request, StatusCode};
use hyper::body::Incoming;
use time::OffsetDateTime;
use tokio::net::TcpListener;
use tokio::time::timeout;
use uuid::Uuid;

use self::cors::Cors;
use self::event::Context;
use self::routes::Routes;
use crate::conditions::{Conditions, wait_until};
use crate::lambda::{self, Function, trace_or_new};
use crate::serve::{self, Answer, Connection, HungUp, Policy, Unread};
use crate::task::Task;
use crate::template;

// Limits of HTTP APIs, which AWS does not raise:
// https://docs.aws.amazon.com/apigateway/latest/developerguide/http-api-quotas.html
const MAX_BODY: usize = 10 * 1024 * 1024;
const MAX_HEADERS: usize = 10_240;
const INTEGRATION_TIMEOUT: Duration = Duration::from_secs(30);

/// Enough for any load that one machine sends to itself.
const MOST_CONNECTIONS: usize = 8192;

#[derive(Debug)]
struct Api {
    port: u16,
    routes: Routes,
    cors: Option<Cors>,
    conditions: Conditions,
}

/// Serves the routes of `functions` on `listener`, as `api` describes.
pub fn start(
    listener: TcpListener,
    functions: &[Function],
    api: &template::Api,
    conditions: Conditions,
) -> Task {
    let routes = functions.iter().flat_map(|function| {
        let routes = function.spec().routes.iter().cloned();
        routes.map(|route| (route, function.clone()))
    });
    let cors = api.cors.clone().map(Cors);
    let policy = Policy {
        origins: cors.as_ref().map(Cors::named_origins).unwrap_or_default(),
        ..Policy::plain(MOST_CONNECTIONS)
    };
    let api = Api {
        port: listener.local_addr().map_or(0, |address| address.port()),
        routes: Routes::new(routes, api),
        cors,
        conditions,
    };
    serve::start(listener, policy, Arc::new(api))
}

impl serve::Service for Arc<Api> {
    async fn answer(
        &self,
        request: Request<Incoming>,
        connection: &Connection,
    ) -> Result<Answer, HungUp> {
        let client = connection.peer.ip();
        let request_id = new_request_id();
        let (parts, body) = request.into_parts();
        let preflight = self.cors.as_ref().and_then(|cors| cors.preflight(&parts));
        let mut answer = if let Some(answer) = preflight {
            answer
        } else {
            let answer = self.respond(&parts, body, client, &request_id).await;
            let mut answer = answer.unwrap_or_else(response::refusal);
            if let Some(cors) = &self.cors {
                cors.complete(&parts.headers, &mut answer);
            }
            answer
        };
        if let Ok(value) = HeaderValue::try_from(request_id) {
            let name = HeaderName::from_static("apigw-requestid");
            answer.headers_mut().insert(name, value);
        }
        Ok(answer)
    }
}

impl Api {
    async fn respond(
        &self,
        parts: &Parts,
        body: Incoming,
        client: IpAddr,
        request_id: &str,
    ) -> Result<Answer, StatusCode> {
        check_headers(parts)?;
        let path = event::decoded_path(parts.uri.path());
        let (route, path_parameters) = self
            .routes
            .find(parts.method.as_str(), &path)
            .filter(|_| path.starts_with('/'))
            .ok_or(StatusCode::NOT_FOUND)?;
        if !route.throttle.lets_through(Instant::now()) {
            return Err(StatusCode::TOO_MANY_REQUESTS);
        }
        let body = read(&parts.headers, body).await?;
        let arrived = Instant::now();
        let trace = parts.headers.get("x-amzn-trace-id");
        let trace_id = trace_or_new(trace.and_then(|value| value.to_str().ok()));
        let context = Context {
            request_id,
            source_ip: client,
            port: self.port,
            route_key: &route.key,
            trace_id: &trace_id,
            now: OffsetDateTime::now_utc(),
        };
        let failed = StatusCode::INTERNAL_SERVER_ERROR;
        let event = event::encode(parts, &body, &path, &path_parameters, context);
        // The event holds a copy.
        drop(body);
        let aws = self.conditions.front_door(&route.key)
            + self.conditions.invoke(&route.function.spec().logical_id);
        wait_until(arrived + aws).await;
        let request = lambda::Request::new(&route.key, event.into(), Some(&trace_id));
        let invocation = route.function.invoke(request);
        match timeout(INTEGRATION_TIMEOUT, invocation).await {
            Ok(Ok(result)) => response::from_result(&result).ok_or(failed),
            Ok(Err(error)) => Err(response::status_of(&error)),
            Err(_) => Err(StatusCode::SERVICE_UNAVAILABLE),
        }
    }
}

/// The request line and the headers' values share a limit.
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
    Ok(())
}

async fn read(headers: &HeaderMap, body: Incoming) -> Result<Bytes, StatusCode> {
    let announced = headers
        .get(CONTENT_LENGTH)
        .and_then(|length| length.to_str().ok()?.parse::<usize>().ok());
    if announced.is_some_and(|length| length > MAX_BODY) && headers.contains_key(EXPECT) {
        // The client asks before it sends the body.
        return Err(StatusCode::PAYLOAD_TOO_LARGE);
    }
    let body = serve::read(body, MAX_BODY, INTEGRATION_TIMEOUT).await;
    body.map_err(|why| match why {
        Unread::TooLarge => StatusCode::PAYLOAD_TOO_LARGE,
        Unread::Truncated => StatusCode::BAD_REQUEST,
        Unread::TooSlow => StatusCode::REQUEST_TIMEOUT,
    })
}

/// Sixteen characters ending in `=`, like API Gateway's.
fn new_request_id() -> String {
    BASE64_STANDARD.encode(&Uuid::new_v4().as_bytes()[..11])
}
