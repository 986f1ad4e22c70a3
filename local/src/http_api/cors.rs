//! CORS: what API Gateway itself tells browsers.
//! <https://docs.aws.amazon.com/apigateway/latest/developerguide/http-api-cors.html>

use http::header::{
    ACCESS_CONTROL_ALLOW_CREDENTIALS, ACCESS_CONTROL_ALLOW_HEADERS, ACCESS_CONTROL_ALLOW_METHODS,
    ACCESS_CONTROL_ALLOW_ORIGIN, ACCESS_CONTROL_EXPOSE_HEADERS, ACCESS_CONTROL_MAX_AGE,
    ACCESS_CONTROL_REQUEST_METHOD, HeaderName, ORIGIN,
};
use http::request::Parts;
use http::{HeaderMap, HeaderValue, Method, StatusCode};

use crate::serve::{self, Answer};
use crate::template;

/// The headers that only API Gateway sets, if CORS is configured.
const ALL: [HeaderName; 6] = [
    ACCESS_CONTROL_ALLOW_ORIGIN,
    ACCESS_CONTROL_ALLOW_CREDENTIALS,
    ACCESS_CONTROL_ALLOW_METHODS,
    ACCESS_CONTROL_ALLOW_HEADERS,
    ACCESS_CONTROL_EXPOSE_HEADERS,
    ACCESS_CONTROL_MAX_AGE,
];

#[derive(Debug)]
pub(super) struct Cors(pub(super) template::Cors);

impl Cors {
    /// The origins that are allowed by name. A pattern such as `*` admits no page of another site
    /// here, since it was written for an API that is public anyway.
    pub(super) fn named_origins(&self) -> Vec<String> {
        let origins = self.0.allow_origins.iter();
        origins.filter(|it| !it.contains('*')).cloned().collect()
    }

    /// The answer to a browser that asks before it sends a request.
    pub(super) fn preflight(&self, request: &Parts) -> Option<Answer> {
        let asks = request.method == Method::OPTIONS
            && request.headers.contains_key(ORIGIN)
            && request.headers.contains_key(ACCESS_CONTROL_REQUEST_METHOD);
        if !asks {
            return None;
        }
        let mut answer = serve::empty(StatusCode::NO_CONTENT);
        let headers = answer.headers_mut();
        if self.allow(&request.headers, headers) {
            let (methods, names) = (&self.0.allow_methods, &self.0.allow_headers);
            set(headers, ACCESS_CONTROL_ALLOW_METHODS, methods.join(","));
            set(headers, ACCESS_CONTROL_ALLOW_HEADERS, names.join(","));
            let seconds = self.0.max_age.map(|seconds| seconds.to_string());
            set(headers, ACCESS_CONTROL_MAX_AGE, seconds.unwrap_or_default());
        }
        Some(answer)
    }

    /// Adds the headers that a browser wants on an answer to a page of an allowed origin. Those that
    /// the function has set are left out.
    pub(super) fn complete(&self, request: &HeaderMap, answer: &mut Answer) {
        let headers = answer.headers_mut();
        for name in ALL {
            headers.remove(name);
        }
        if self.allow(request, headers) {
            let exposed = self.0.expose_headers.join(",");
            set(headers, ACCESS_CONTROL_EXPOSE_HEADERS, exposed);
        }
    }

    /// Allows the page that asks, if its origin is one of the allowed ones.
    fn allow(&self, request: &HeaderMap, answer: &mut HeaderMap) -> bool {
        let Some(origin) = self.allowed(request) else {
            return false;
        };
        answer.insert(ACCESS_CONTROL_ALLOW_ORIGIN, origin);
        if self.0.allow_credentials {
            let yes = HeaderValue::from_static("true");
            answer.insert(ACCESS_CONTROL_ALLOW_CREDENTIALS, yes);
        }
        true
    }

    /// The value of `Access-Control-Allow-Origin` for the page that asks.
    fn allowed(&self, request: &HeaderMap) -> Option<HeaderValue> {
        let origin = request.get(ORIGIN)?;
        let text = origin.to_str().ok()?;
        let allows = |pattern: &String| match pattern.as_str() {
            "http://*" => text.starts_with("http://"),
            "https://*" => text.starts_with("https://"),
            pattern => pattern == text,
        };
        if self.0.allow_origins.iter().any(|origin| origin == "*") {
            return Some(HeaderValue::from_static("*"));
        }
        self.0
            .allow_origins
            .iter()
            .any(allows)
            .then(|| origin.clone())
    }
}

fn set(headers: &mut HeaderMap, name: HeaderName, value: String) {
    if let Ok(value) = HeaderValue::try_from(value)
        && !value.is_empty()
    {
        headers.insert(name, value);
    }
}
