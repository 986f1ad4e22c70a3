//! Reading a request of the HTTP API, and answering it.

use std::convert::Infallible;
use std::future::{Future, ready};
use std::pin::Pin;

use lambda_http::http::header::{
    CACHE_CONTROL, CONTENT_TYPE, ETAG, HeaderName, HeaderValue, RETRY_AFTER,
};
use lambda_http::http::{Response, StatusCode};
use lambda_http::{Body, IntoResponse, Request, RequestExt};
use serde::Serialize;

use crate::deadline::{Deadline, REQUEST_LIMIT};
use crate::newtype::Invalid;
use crate::problem::Problem;
use crate::product::Version;

/// The largest body that is read, in bytes.
///
/// The largest valid one is a product whose 4,264 characters are all written as 12-byte escapes
/// (`\ud83d\ude00`): 52 KB. Lambda itself would let 6 MB through.
pub const MAX_BODY: usize = 64 * 1024;

/// The header by which a client can name its request to us. It holds Lambda's request id, which
/// every log line bears too.
const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

/// What [`respond`] makes: a response that needs nothing more.
///
/// `lambda_http` would otherwise look into its content type for a character set, and link the
/// tables of all there are: 0.14 MB of the function's zip.
#[derive(Debug)]
pub struct Answer(pub Response<Body>);

impl IntoResponse for Answer {
    fn into_response(self) -> Pin<Box<dyn Future<Output = Response<Body>> + Send>> {
        Box::pin(ready(self.0))
    }
}

/// Runs `handler` until the [`deadline`] and turns what comes out into a response.
///
/// This is the one place where a [`Problem`] becomes HTTP, where a failure is logged, and where
/// the request id is set. It never fails: an error that reaches Lambda would be answered by API
/// Gateway, in words that are not ours.
///
/// # Errors
/// None: [`Infallible`].
pub async fn respond(
    request: &Request,
    handler: impl Future<Output = Result<Response<Body>, Problem>>,
) -> Result<Answer, Infallible> {
    let outcome = tokio::time::timeout_at(deadline(request).instant(), handler).await;
    let outcome = outcome.unwrap_or_else(|_| Err(Problem::unavailable("the deadline has passed")));
    let mut response = outcome.unwrap_or_else(|problem| refuse(&problem));
    let headers = response.headers_mut();
    let id = request
        .lambda_context_ref()
        .map(|context| context.request_id.as_str());
    if let Some(id) = id.and_then(|id| HeaderValue::from_str(id).ok()) {
        headers.insert(REQUEST_ID, id);
    }
    // What a handler does not allow to be kept is not kept: prices, stock and orders change.
    headers
        .entry(CACHE_CONTROL)
        .or_insert(HeaderValue::from_static("no-store"));
    Ok(Answer(response))
}

/// When the handler of `request`, which starts now, must be done: at the end of the invocation or of
/// [`REQUEST_LIMIT`], whichever comes first.
pub fn deadline(request: &Request) -> Deadline {
    let end = request
        .lambda_context_ref()
        .map_or(0, |context| context.deadline);
    Deadline::from_epoch_ms(end).within(REQUEST_LIMIT)
}

/// A JSON answer.
///
/// # Errors
/// 500 if `body` cannot be written as JSON, which no type of ours does.
pub fn json(status: StatusCode, body: &impl Serialize) -> Result<Response<Body>, Problem> {
    let body = serde_json::to_string(body).map_err(|error| Problem::internal(error.to_string()))?;
    Ok(with_content_type(
        status,
        HeaderValue::from_static("application/json"),
        body,
    ))
}

/// An answer without a body.
pub fn empty(status: StatusCode) -> Response<Body> {
    let mut response = Response::new(Body::Empty);
    *response.status_mut() = status;
    response
}

/// Marks `response` as this version of a product.
#[must_use]
pub fn with_etag(mut response: Response<Body>, version: Version) -> Response<Body> {
    // Digits in quotes are always a valid header.
    if let Ok(etag) = HeaderValue::from_str(&format!("\"{version}\"")) {
        response.headers_mut().insert(ETAG, etag);
    }
    response
}

/// Lets clients keep `response` if they ask again before they use it.
#[must_use]
pub fn revalidated(mut response: Response<Body>) -> Response<Body> {
    response
        .headers_mut()
        .insert(CACHE_CONTROL, HeaderValue::from_static("no-cache"));
    response
}

/// A parameter of the path, as API Gateway hands it over: percent-decoded, once. An encoded slash
/// has thus become a slash, which no id may hold.
///
/// # Errors
/// 500 if the route has no such parameter: then template and function do not fit each other.
pub fn path_parameter<'a>(request: &'a Request, name: &str) -> Result<&'a str, Problem> {
    request
        .extensions()
        .path_parameters_ref()
        .and_then(|parameters| parameters.first(name))
        .ok_or_else(|| Problem::internal(format!("the route has no path parameter {name}")))
}

/// The query parameters `names`, in that order.
///
/// # Errors
/// 400 for a parameter that is not one of `names`, so that a misspelt filter is not ignored, and
/// for one that is given twice.
pub fn query_parameters<'a, const N: usize>(
    request: &'a Request,
    names: [&str; N],
) -> Result<[Option<&'a str>; N], Problem> {
    let mut values = [None; N];
    let Some(query) = request.query_string_parameters_ref() else {
        return Ok(values);
    };
    for (name, value) in query.iter() {
        let Some(index) = names.iter().position(|known| *known == name) else {
            let known = if N == 0 {
                "none".to_owned()
            } else {
                names.join(", ")
            };
            return Err(Problem::bad_request(format!(
                "The query parameter {name:?} is not known; the route takes {known}."
            )));
        };
        if values[index].replace(value).is_some() {
            let reason = Invalid("must be given once".to_owned());
            return Err(Problem::bad_value(name, &reason));
        }
    }
    Ok(values)
}

/// A header of the request.
///
/// # Errors
/// 400 if it holds anything but visible ASCII and spaces.
pub fn header<'a>(request: &'a Request, name: &str) -> Result<Option<&'a str>, Problem> {
    let Some(value) = request.headers().get(name) else {
        return Ok(None);
    };
    value.to_str().map(Some).map_err(|_| {
        Problem::bad_value(
            name,
            &Invalid("must be visible ASCII characters".to_owned()),
        )
    })
}

/// The body of a request that must be JSON. API Gateway hands it over as text or, base64-encoded,
/// as bytes; `lambda_http` has decoded the latter.
///
/// # Errors
/// 415 without a content type of JSON in UTF-8; 413 above [`MAX_BODY`].
pub fn json_body(request: &Request) -> Result<&[u8], Problem> {
    let content_type = request
        .headers()
        .get(CONTENT_TYPE)
        .and_then(|value| value.to_str().ok());
    if !content_type.is_some_and(is_json) {
        return Err(Problem::unsupported_media_type());
    }
    let body: &[u8] = request.body();
    if body.len() > MAX_BODY {
        return Err(Problem::body_too_large(MAX_BODY));
    }
    Ok(body)
}

/// `application/json`, alone or with `charset=utf-8`.
fn is_json(content_type: &str) -> bool {
    let mut parts = content_type.split(';').map(str::trim);
    let is_json = parts
        .next()
        .is_some_and(|kind| kind.eq_ignore_ascii_case("application/json"));
    is_json
        && parts.all(|parameter| {
            parameter.is_empty()
                || parameter.eq_ignore_ascii_case("charset=utf-8")
                || parameter.eq_ignore_ascii_case("charset=\"utf-8\"")
        })
}

fn refuse(problem: &Problem) -> Response<Body> {
    let status = problem.status();
    match (problem.cause(), status) {
        (Some(cause), 503) => tracing::warn!(status, cause, "request failed"),
        (Some(cause), _) => tracing::error!(status, cause, "request failed"),
        (None, _) => tracing::debug!(status, "request refused"),
    }
    let status = StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    let kind = HeaderValue::from_static("application/problem+json");
    let mut response = with_content_type(status, kind, problem.to_json());
    if let Some(seconds) = problem.retry_after() {
        response
            .headers_mut()
            .insert(RETRY_AFTER, HeaderValue::from(seconds));
    }
    response
}

fn with_content_type(status: StatusCode, kind: HeaderValue, body: String) -> Response<Body> {
    let mut response = Response::new(Body::Text(body));
    *response.status_mut() = status;
    response.headers_mut().insert(CONTENT_TYPE, kind);
    response
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, SystemTime, UNIX_EPOCH};

    use lambda_http::Context;
    use serde_json::{Value, json};

    use super::*;

    /// A sample event as `lambda_http` reads it, with `changes` made to it.
    fn request(sample: &str, changes: &[(&str, Value)]) -> Request {
        let mut event: Value = serde_json::from_str(sample).unwrap();
        for (pointer, value) in changes {
            let (parent, key) = pointer.rsplit_once('/').unwrap();
            event.pointer_mut(parent).unwrap()[key] = value.clone();
        }
        lambda_http::request::from_str(&event.to_string()).unwrap()
    }

    const GET: &str = include_str!("../../../events/get-product.json");
    const LIST: &str = include_str!("../../../events/list-products.json");
    const PUT: &str = include_str!("../../../events/put-product.json");

    fn within(request: Request, time: Duration) -> Request {
        let end = SystemTime::now().duration_since(UNIX_EPOCH).unwrap() + time;
        let mut context = Context::default();
        context.request_id = "r-1".to_owned();
        context.deadline = u64::try_from(end.as_millis()).unwrap();
        request.with_lambda_context(context)
    }

    fn body(response: &Response<Body>) -> Value {
        serde_json::from_slice(response.body()).unwrap()
    }

    #[tokio::test]
    async fn a_refusal_is_problem_json_with_the_request_id() {
        let request = within(request(GET, &[]), Duration::from_secs(5));
        let refusal = async { Err(Problem::not_found("There is no such product.")) };

        let Answer(response) = respond(&request, refusal).await.unwrap();

        assert_eq!(response.status(), 404);
        assert_eq!(
            response.headers()["content-type"],
            "application/problem+json"
        );
        assert_eq!(response.headers()["x-request-id"], "r-1");
        assert_eq!(response.headers()["cache-control"], "no-store");
        assert_eq!(body(&response)["status"], 404);
    }

    #[tokio::test]
    async fn an_answer_keeps_what_the_handler_set() {
        let request = within(request(GET, &[]), Duration::from_secs(5));
        let version = Version::parse(7).unwrap();
        let answer = async {
            Ok(revalidated(with_etag(
                json(StatusCode::OK, &json!({"id": "mug"}))?,
                version,
            )))
        };

        let Answer(response) = respond(&request, answer).await.unwrap();

        assert_eq!(response.status(), 200);
        assert_eq!(response.headers()["etag"], "\"7\"");
        assert_eq!(response.headers()["cache-control"], "no-cache");
        assert_eq!(response.headers()["content-type"], "application/json");
        assert_eq!(body(&response), json!({"id": "mug"}));
    }

    #[tokio::test]
    async fn a_handler_that_runs_out_of_time_is_answered_for() {
        let request = within(request(GET, &[]), Duration::from_millis(250));

        let Answer(response) = respond(&request, std::future::pending()).await.unwrap();

        assert_eq!(response.status(), 503);
        assert_eq!(response.headers()["retry-after"], "1");
        assert_eq!(response.headers()["x-request-id"], "r-1");
    }

    #[tokio::test(start_paused = true)]
    async fn a_client_does_not_wait_for_the_end_of_the_invocation() {
        let request = within(request(GET, &[]), Duration::from_secs(5));
        let begun = tokio::time::Instant::now();

        let Answer(response) = respond(&request, std::future::pending()).await.unwrap();

        assert_eq!(response.status(), 503);
        // Timers of tokio are rounded up to a millisecond.
        assert!(begun.elapsed() <= REQUEST_LIMIT + Duration::from_millis(1));
    }

    #[test]
    fn an_id_comes_from_the_path() {
        assert_eq!(path_parameter(&request(GET, &[]), "id").unwrap(), "mug-350");
        assert_eq!(
            path_parameter(&request(LIST, &[]), "id")
                .unwrap_err()
                .status(),
            500
        );
    }

    #[test]
    fn an_encoded_slash_is_no_part_of_an_id() {
        for id in ["a/b", "a%2Fb"] {
            let request = request(GET, &[("/pathParameters/id", json!(id))]);
            assert!(
                crate::product::ProductId::parse(path_parameter(&request, "id").unwrap()).is_err()
            );
        }
    }

    #[test]
    fn query_parameters_are_read_by_name() {
        let plain = request(LIST, &[]);
        let read = query_parameters(&plain, ["cursor", "category", "limit"]).unwrap();
        assert_eq!(read, [None, Some("kitchen"), Some("10")]);

        let encoded = request(
            LIST,
            &[("/rawQueryString", json!("category=caf%C3%A9+%26%20more"))],
        );
        let [category] = query_parameters(&encoded, ["category"]).unwrap();
        assert_eq!(category, Some("café & more"));
    }

    #[test]
    fn a_query_parameter_that_is_unknown_or_repeated_is_refused() {
        for query in [
            "categroy=mugs",
            "limit=1&limit=2",
            "limit=1&limit=1",
            "x",
            "LIMIT=1",
        ] {
            let request = request(LIST, &[("/rawQueryString", json!(query))]);
            let problem = query_parameters(&request, ["category", "limit"]).unwrap_err();
            assert_eq!(problem.status(), 400, "{query}");
        }
    }

    #[test]
    fn a_body_is_read_as_text_and_as_base64() {
        let text = request(PUT, &[("/body", json!("{\"a\": 1}"))]);
        let encoded = request(
            PUT,
            &[
                ("/body", json!("eyJhIjogMX0=")),
                ("/isBase64Encoded", json!(true)),
            ],
        );

        assert_eq!(json_body(&text).unwrap(), b"{\"a\": 1}");
        assert_eq!(json_body(&encoded).unwrap(), b"{\"a\": 1}");
    }

    #[test]
    fn a_missing_body_is_an_empty_one() {
        let request = request(PUT, &[("/body", json!(null))]);

        assert_eq!(json_body(&request).unwrap(), b"");
    }

    #[test]
    fn only_json_in_utf_8_is_taken_for_json() {
        let read = |kind: Value| {
            let request = request(PUT, &[("/headers/content-type", kind)]);
            json_body(&request)
                .map(<[u8]>::len)
                .map_err(|problem| problem.status())
        };

        for kind in [
            "application/json",
            "application/json; charset=utf-8",
            "Application/JSON;charset=\"UTF-8\"",
            "application/json;",
        ] {
            assert!(read(json!(kind)).is_ok(), "{kind}");
        }
        for kind in [
            "",
            "text/plain",
            "application/jsonp",
            "application/problem+json",
            "application/x-www-form-urlencoded",
            "application/json; charset=iso-8859-1",
            "application/json, text/plain",
        ] {
            assert_eq!(read(json!(kind)), Err(415), "{kind}");
        }
    }

    #[test]
    fn a_body_without_a_content_type_is_not_guessed_at() {
        let mut request = request(PUT, &[]);
        request.headers_mut().remove(CONTENT_TYPE);

        assert_eq!(json_body(&request).unwrap_err().status(), 415);
    }

    #[test]
    fn a_body_may_be_64_kilobytes_long_and_no_longer() {
        let read = |length: usize| {
            json_body(&request(PUT, &[("/body", json!("x".repeat(length)))]))
                .map(<[u8]>::len)
                .map_err(|problem| problem.status())
        };

        assert_eq!(read(65_536), Ok(65_536));
        assert_eq!(read(65_537), Err(413));
    }

    #[test]
    fn a_header_that_is_not_ascii_is_refused() {
        let request = request(PUT, &[("/headers/if-match", json!("\"é\""))]);

        assert_eq!(header(&request, "if-match").unwrap_err().status(), 400);
    }
}
