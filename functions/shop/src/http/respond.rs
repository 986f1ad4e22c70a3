//! The way from a handler's outcome to a response.

use std::convert::Infallible;
use std::future::{Future, ready};
use std::pin::Pin;

use lambda_http::http::header::{CACHE_CONTROL, HeaderName, HeaderValue, RETRY_AFTER};
use lambda_http::http::{Response, StatusCode};
use lambda_http::{Body, IntoResponse, Request, RequestExt};

use super::problem_json::{problem_json, retry_after, status};
use super::response::with_content_type;
use crate::aws;
use crate::domain::Problem;
use crate::time::{Deadline, REQUEST_LIMIT};

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
        Err(Problem::EnvironmentUnusable { cause }) => aws::end_environment(&cause),
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

fn refuse(problem: &Problem) -> Response<Body> {
    let status = status(problem);
    match (problem.cause(), status) {
        (Some(cause), 503) => tracing::warn!(status, cause, "request failed"),
        (Some(cause), _) => tracing::error!(status, cause, "request failed"),
        (None, _) => tracing::debug!(status, "request refused"),
    }
    let status = StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    let kind = HeaderValue::from_static("application/problem+json");
    let mut response = with_content_type(status, kind, problem_json(problem));
    if let Some(seconds) = retry_after(problem) {
        response
            .headers_mut()
            .insert(RETRY_AFTER, HeaderValue::from(seconds));
    }
    response
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;
    use std::time::{Duration, SystemTime, UNIX_EPOCH};

    use lambda_http::Context;
    use serde_json::Value;
    use tokio::time::Instant;

    use super::*;
    use crate::domain::{Revision, Version};
    use crate::http::request::tests::{GET, request};
    use crate::http::{json, revalidated, with_etag};

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
        let refusal = async |_| Err(Problem::NotFound("There is no such product."));

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
        let revision = Revision {
            written_by: None,
            version: Version::parse(7).unwrap(),
        };
        let answer = async |_| {
            Ok(revalidated(with_etag(
                json(StatusCode::OK, &serde_json::json!({"id": "mug"}))?,
                &revision,
            )))
        };

        let Answer(response) = respond(&request, answer).await.unwrap();

        assert_eq!(response.status(), 200);
        assert_eq!(response.headers()["etag"], "\"-7\"");
        assert_eq!(response.headers()["cache-control"], "no-cache");
        assert_eq!(response.headers()["content-type"], "application/json");
        assert_eq!(body(&response), serde_json::json!({"id": "mug"}));
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
}
