//! Answers of handlers.

use lambda_http::Body;
use lambda_http::http::header::{CACHE_CONTROL, CONTENT_TYPE, ETAG, HeaderValue};
use lambda_http::http::{Response, StatusCode};
use serde::Serialize;

use crate::domain::{Problem, Revision};

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

/// Marks `response` as this revision of a product, by its entity tag.
#[must_use]
pub fn with_etag(mut response: Response<Body>, revision: &Revision) -> Response<Body> {
    // Hexadecimal digits and a hyphen in quotes are always a valid header.
    if let Ok(etag) = HeaderValue::from_str(&format!("\"{revision}\"")) {
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

pub(super) fn with_content_type(
    status: StatusCode,
    kind: HeaderValue,
    body: String,
) -> Response<Body> {
    let mut response = Response::new(Body::Text(body));
    *response.status_mut() = status;
    response.headers_mut().insert(CONTENT_TYPE, kind);
    response
}
