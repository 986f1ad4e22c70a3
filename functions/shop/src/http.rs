//! Reads a request of the HTTP API, and answers it.

use std::convert::Infallible;
use std::future::{Future, ready};
use std::pin::Pin;

use lambda_http::http::header::{
    CACHE_CONTROL, CONTENT_TYPE, ETAG, HeaderName, HeaderValue, RETRY_AFTER,
};
use lambda_http::http::{Response, StatusCode};
use lambda_http::request::RequestContext;
use lambda_http::{Body, IntoResponse, Request, RequestExt};
use serde::Serialize;

use crate::aws;
use crate::deadline::{Deadline, REQUEST_LIMIT};
use crate::newtype::Invalid;
use crate::order::Customer;
use crate::precondition::{ETag, Precondition};
use crate::problem::Problem;
use crate::product::ProductId;

/// The largest body that is read, in bytes.
///
/// The largest valid one is a product whose 4,264 characters are all written as 12-byte escapes
/// (`\ud83d\ude00`): 52 KB. Lambda itself would accept 6 MB.
pub const MAX_BODY: usize = 64 * 1024;

/// The header that names a request, for a client that reports it to us. It holds Lambda's request
/// id, which is also in every log line.
const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

/// The result of [`respond`]: a finished response.
///
/// Otherwise `lambda_http` would look for a character set in its content type, and link the tables
/// of all character sets: 0.14 MB of the function's zip.
#[derive(Debug)]
pub struct Answer(pub Response<Body>);

impl IntoResponse for Answer {
    fn into_response(self) -> Pin<Box<dyn Future<Output = Response<Body>> + Send>> {
        Box::pin(ready(self.0))
    }
}

/// Passes `handler` the deadline of the request, runs it until then, and turns its outcome into a
/// response.
///
/// The deadline is the end of the invocation or of [`REQUEST_LIMIT`], whichever comes first. It is set
/// once for each request, here.
///
/// This is the one place where a [`Problem`] becomes HTTP, where a failure is logged, and where the
/// request id is set. It never fails: API Gateway would answer an error in its own words.
///
/// There is one exception. If AWS refuses the credentials of this execution environment, every
/// later request to it would fail as well. So the process ends, API Gateway answers this request
/// with 500, and Lambda starts a new environment, with new credentials, for the next.
///
/// # Errors
/// None: [`Infallible`].
pub async fn respond<F>(
    request: &Request,
    handler: impl FnOnce(Deadline) -> F,
) -> Result<Answer, Infallible>
where
    F: Future<Output = Result<Response<Body>, Problem>>,
{
    let context = request.lambda_context_ref();
    let end = context.map_or(0, |context| context.deadline);
    let deadline = Deadline::from_epoch_ms(end).within(REQUEST_LIMIT);
    let outcome = tokio::time::timeout_at(deadline.instant(), handler(deadline)).await;
    let outcome = outcome.unwrap_or_else(|_| Err(Problem::unavailable("the deadline has passed")));
    let mut response = match outcome {
        Ok(response) => response,
        Err(problem) if problem.ends_environment() => aws::end_environment(&problem.to_string()),
        Err(problem) => refuse(&problem),
    };
    let headers = response.headers_mut();
    let id = context.map(|context| context.request_id.as_str());
    if let Some(id) = id.and_then(|id| HeaderValue::from_str(id).ok()) {
        headers.insert(REQUEST_ID, id);
    }
    // Not stored by clients unless a handler allows it: prices, stock and orders change.
    headers
        .entry(CACHE_CONTROL)
        .or_insert(HeaderValue::from_static("no-store"));
    Ok(Answer(response))
}

/// A JSON answer.
///
/// # Errors
/// 500 if `body` cannot be written as JSON, which never happens with our types.
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

/// Marks `response` as this state of a product.
#[must_use]
pub fn with_etag(mut response: Response<Body>, etag: &ETag) -> Response<Body> {
    // Hexadecimal digits and a hyphen in quotes are always a valid header.
    if let Ok(etag) = HeaderValue::from_str(&format!("\"{etag}\"")) {
        response.headers_mut().insert(ETAG, etag);
    }
    response
}

/// Lets clients store `response`, which has an entity tag, if they check before each use that it is
/// still current.
#[must_use]
pub fn revalidated(mut response: Response<Body>) -> Response<Body> {
    response
        .headers_mut()
        .insert(CACHE_CONTROL, HeaderValue::from_static("no-cache"));
    response
}

/// A parameter of the path, as API Gateway passes it: percent-decoded, once. An encoded slash has
/// become a slash, which no id may contain.
///
/// # Errors
/// 500 if the route has no such parameter: template and function do not match.
pub fn path_parameter<'a>(request: &'a Request, name: &str) -> Result<&'a str, Problem> {
    request
        .extensions()
        .path_parameters_ref()
        .and_then(|parameters| parameters.first(name))
        .ok_or_else(|| Problem::internal(format!("the route has no path parameter {name}")))
}

/// The product id in the path.
///
/// # Errors
/// 400 for a malformed id; 500 as [`path_parameter`].
pub fn product_id(request: &Request) -> Result<ProductId, Problem> {
    ProductId::parse(path_parameter(request, "id")?)
        .map_err(|reason| Problem::bad_value("id", &reason))
}

/// The query parameters `names`, in that order.
///
/// # Errors
/// 400 for a parameter that is not one of `names`, so that a misspelt filter is not ignored, and
/// for a repeated one.
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

/// A parameter or header, parsed; `None` if it is absent.
///
/// # Errors
/// 400 that names the value and its rule.
pub fn parsed<T>(
    name: &str,
    value: Option<&str>,
    parse: impl FnOnce(&str) -> Result<T, Invalid>,
) -> Result<Option<T>, Problem> {
    let parsed = value.map(parse).transpose();
    parsed.map_err(|reason| Problem::bad_value(name, &reason))
}

/// The headers `If-Match` and `If-None-Match`.
///
/// # Errors
/// As [`Precondition::parse`].
pub fn precondition(request: &Request) -> Result<Precondition, Problem> {
    Precondition::parse(
        header(request, "if-match")?,
        header(request, "if-none-match")?,
    )
}

/// The customer whose token the request carries, if the route requires one. API Gateway has checked
/// it.
///
/// # Errors
/// 400 for a token without the claims `iss` and `sub`, which would belong to nobody.
pub fn customer(request: &Request) -> Result<Option<Customer>, Problem> {
    let Some(RequestContext::ApiGatewayV2(context)) = request.request_context_ref() else {
        return Ok(None);
    };
    let authorizer = context.authorizer.as_ref();
    let Some(token) = authorizer.and_then(|authorizer| authorizer.jwt.as_ref()) else {
        return Ok(None);
    };
    let claim = |name: &str| {
        let claim = token.claims.get(name).filter(|claim| !claim.is_empty());
        claim.cloned().ok_or_else(|| {
            let reason = Invalid("must hold a token with the claims iss and sub".to_owned());
            Problem::bad_value("authorization", &reason)
        })
    };
    Ok(Some(Customer {
        issuer: claim("iss")?,
        subject: claim("sub")?,
    }))
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

/// The bytes of a body that must be JSON. API Gateway passes it as text, or as base64-encoded
/// bytes, which `lambda_http` has decoded.
///
/// # Errors
/// 415 if the content type is not JSON in UTF-8; 413 above [`MAX_BODY`].
pub fn json_bytes(request: &Request) -> Result<&[u8], Problem> {
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
    use std::cell::Cell;
    use std::time::{Duration, SystemTime, UNIX_EPOCH};

    use lambda_http::Context;
    use serde_json::{Value, json};
    use tokio::time::Instant;

    use super::*;
    use crate::product::Version;

    /// A sample event as `lambda_http` reads it, with `changes`.
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
        let refusal = async |_| Err(Problem::not_found("There is no such product."));

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
        let etag = ETag {
            written_by: None,
            version: Version::parse(7).unwrap(),
        };
        let answer = async |_| {
            Ok(revalidated(with_etag(
                json(StatusCode::OK, &json!({"id": "mug"}))?,
                &etag,
            )))
        };

        let Answer(response) = respond(&request, answer).await.unwrap();

        assert_eq!(response.status(), 200);
        assert_eq!(response.headers()["etag"], "\"-7\"");
        assert_eq!(response.headers()["cache-control"], "no-cache");
        assert_eq!(response.headers()["content-type"], "application/json");
        assert_eq!(body(&response), json!({"id": "mug"}));
    }

    /// How long a handler may take if its invocation ends after `time`, and the answer if it takes
    /// longer.
    async fn patience(time: Duration) -> (Duration, Response<Body>) {
        let request = within(request(GET, &[]), time);
        let begun = Instant::now();
        let handed_over = Cell::new(None);

        let Answer(response) = respond(&request, |deadline| {
            handed_over.set(Some(deadline));
            std::future::pending()
        })
        .await
        .unwrap();

        let patience = handed_over.get().unwrap().instant() - begun;
        // The handler plans with the deadline that ends it. Timers are rounded up to 1 ms.
        let waited = begun.elapsed();
        assert!(waited >= patience && waited <= patience + Duration::from_millis(1));
        (patience, response)
    }

    #[tokio::test(start_paused = true)]
    async fn a_handler_that_runs_out_of_time_is_answered_for() {
        let (_, response) = patience(Duration::from_secs(5)).await;

        assert_eq!(response.status(), 503);
        assert_eq!(response.headers()["retry-after"], "1");
        assert_eq!(response.headers()["x-request-id"], "r-1");
    }

    #[tokio::test(start_paused = true)]
    async fn a_request_has_700_ms_or_what_its_invocation_has_left() {
        let (long, _) = patience(Duration::from_secs(5)).await;
        let (short, _) = patience(Duration::from_millis(500)).await;

        assert_eq!(long, REQUEST_LIMIT);
        // The invocation's end is in real time, some of which passes in this test.
        assert!(short < Duration::from_millis(500), "{short:?}");
        let (none, _) = patience(Duration::ZERO).await;
        assert_eq!(none, Duration::ZERO);
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

        assert_eq!(json_bytes(&text).unwrap(), b"{\"a\": 1}");
        assert_eq!(json_bytes(&encoded).unwrap(), b"{\"a\": 1}");
    }

    #[test]
    fn a_missing_body_is_an_empty_one() {
        let request = request(PUT, &[("/body", json!(null))]);

        assert_eq!(json_bytes(&request).unwrap(), b"");
    }

    #[test]
    fn only_json_in_utf_8_is_taken_for_json() {
        let read = |kind: Value| {
            let request = request(PUT, &[("/headers/content-type", kind)]);
            json_bytes(&request)
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

        assert_eq!(json_bytes(&request).unwrap_err().status(), 415);
    }

    #[test]
    fn a_body_may_be_64_kilobytes_long_and_no_longer() {
        let read = |length: usize| {
            json_bytes(&request(PUT, &[("/body", json!("x".repeat(length)))]))
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

    const ORDER: &str = include_str!("../../../events/place-order.json");

    #[test]
    fn a_request_with_a_token_is_its_subject_s() {
        let customer_of = |changes: &[(&str, Value)]| {
            let customer = customer(&request(ORDER, changes));
            let customer = customer.map_err(|problem| problem.status())?;
            Ok(customer.map(|it| (it.issuer, it.subject)))
        };
        let claims = "/requestContext/authorizer/jwt/claims";

        assert_eq!(
            customer_of(&[]),
            Ok(Some((
                "https://login.example.com/".to_owned(),
                "7f3a9c52-1d84-4e0b-9b6e-2c5d8f1a0e47".to_owned()
            )))
        );
        assert_eq!(
            customer_of(&[("/requestContext/authorizer", json!(null))]),
            Ok(None)
        );
        let iam = json!({"iam": {"accountId": "123456789012"}});
        assert_eq!(
            customer_of(&[("/requestContext/authorizer", iam)]),
            Ok(None)
        );
        for nobody in [
            json!({"iss": "https://a"}),
            json!({"sub": "1"}),
            json!({"iss": "a", "sub": ""}),
        ] {
            assert_eq!(
                customer_of(&[(claims, nobody.clone())]),
                Err(400),
                "{nobody}"
            );
        }
    }
}
