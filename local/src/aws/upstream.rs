//! A plain HTTP server on loopback that does the work of one service behind the endpoint.

use std::fmt;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use http::uri::{Authority, PathAndQuery, Scheme};
use http::{HeaderMap, Method, Request, Response, Uri};
use http_body_util::{BodyExt, Full};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::{TokioExecutor, TokioTimer};

use super::lock;

/// Keep-alive connections end after this time without a request.
const IDLE: Duration = Duration::from_secs(60);

/// A service, with its state and a pool of keep-alive connections to it.
#[derive(Clone)]
pub(crate) struct Upstream {
    shared: Arc<Shared>,
}

struct Shared {
    service: &'static str,
    state: Mutex<State>,
    client: Client<HttpConnector, Full<Bytes>>,
    /// Whether the last request failed and was reported, so that an outage is one line.
    reported: AtomicBool,
}

#[derive(Debug, Clone)]
enum State {
    NotStarted,
    Up(SocketAddr),
    Failed(String),
}

/// The service did not answer. The text is for the caller.
#[derive(Debug, Clone, thiserror::Error)]
#[error("{0}")]
pub(crate) struct Unavailable(pub(crate) String);

impl Upstream {
    pub(crate) fn new(service: &'static str) -> Upstream {
        let mut connector = HttpConnector::new();
        connector.set_nodelay(true);
        let client = Client::builder(TokioExecutor::new())
            .pool_idle_timeout(IDLE)
            .pool_timer(TokioTimer::new())
            .build(connector);
        Upstream {
            shared: Arc::new(Shared {
                service,
                state: Mutex::new(State::NotStarted),
                client,
                reported: AtomicBool::new(false),
            }),
        }
    }

    pub(crate) fn started(&self, address: SocketAddr) {
        *lock(&self.shared.state) = State::Up(address);
    }

    /// Marks the service as gone for good and reports it once.
    pub(crate) fn failed(&self, why: &str) {
        *lock(&self.shared.state) = State::Failed(why.to_owned());
        eprintln!("local: {why}");
    }

    /// Why the service is gone for good, if it is.
    pub(crate) fn failure(&self) -> Option<String> {
        match &*lock(&self.shared.state) {
            State::Failed(why) => Some(why.clone()),
            State::NotStarted | State::Up(_) => None,
        }
    }

    fn address(&self) -> Result<SocketAddr, Unavailable> {
        match &*lock(&self.shared.state) {
            State::Up(address) => Ok(*address),
            State::Failed(why) => Err(Unavailable(why.clone())),
            State::NotStarted => Err(Unavailable(format!(
                "{} is not running: the template has no resource that needs it, or it is still starting",
                self.shared.service
            ))),
        }
    }

    /// Sends a request and waits for the whole response. There is no time limit, because a long
    /// poll may take 20 s.
    pub(crate) async fn send(
        &self,
        method: Method,
        path: PathAndQuery,
        headers: HeaderMap,
        body: Bytes,
    ) -> Result<Response<Bytes>, Unavailable> {
        let address = self.address()?;
        let unavailable = |reason: String| {
            let why = format!("{} does not answer: {reason}", self.shared.service);
            // If the service is known to be gone, that was reported already.
            if !self.shared.reported.swap(true, Ordering::Relaxed) && self.failure().is_none() {
                eprintln!("local: {why}");
            }
            Unavailable(why)
        };
        let authority =
            Authority::try_from(address.to_string()).map_err(|e| unavailable(e.to_string()))?;
        let uri = Uri::builder()
            .scheme(Scheme::HTTP)
            .authority(authority)
            .path_and_query(path)
            .build()
            .map_err(|e| unavailable(e.to_string()))?;
        let mut request = Request::new(Full::new(body));
        *request.method_mut() = method;
        *request.uri_mut() = uri;
        *request.headers_mut() = headers;
        let response = self
            .shared
            .client
            .request(request)
            .await
            .map_err(|e| unavailable(chain(&e)))?;
        let (parts, body) = response.into_parts();
        let body = body
            .collect()
            .await
            .map_err(|e| unavailable(chain(&e)))?
            .to_bytes();
        self.shared.reported.store(false, Ordering::Relaxed);
        Ok(Response::from_parts(parts, body))
    }
}

impl fmt::Debug for Upstream {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Upstream")
            .field("service", &self.shared.service)
            .field("state", &*lock(&self.shared.state))
            .finish_non_exhaustive()
    }
}

/// An error with its causes. hyper's own text is just "client error (Connect)".
fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text.push_str(": ");
        text.push_str(&error.to_string());
        cause = error.source();
    }
    text
}
