//! The one way in which this host listens: limits on clients, whom it answers, and how a server
//! ends.
//!
//! Every listener is bound to loopback. That alone keeps no web page out: a browser on this machine
//! sends what a page of any site asks it to. Such a request names the site in `Origin`, or in `Host`
//! if the site's name was made to point to 127.0.0.1. Both are refused before a service sees them.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use bytes::Bytes;
use http::header::{ALLOW, CONTENT_TYPE, HOST, ORIGIN};
use http::uri::Authority;
use http::{HeaderMap, HeaderValue, Request, Response, StatusCode, Uri};
use http_body_util::channel::{Channel, Sender};
use http_body_util::{BodyExt, Either, Full, LengthLimitError, Limited};
use hyper::body::{Body, Incoming};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::server::graceful::{GracefulShutdown, Watcher};
use rustls::HandshakeKind;
use serde::Serialize;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpListener;
use tokio::sync::oneshot;
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};
use tokio_rustls::TlsAcceptor;

use crate::task::Task;

/// How long a client may take to send the head of a request, counted from the request before. An
/// environment that is frozen keeps its connections for as long as it may be idle.
const HEAD_LIMIT: Duration = Duration::from_secs(600);
/// How long a client may take for a TLS handshake.
const HANDSHAKE_LIMIT: Duration = Duration::from_secs(10);

/// The limits of a server, and the clients that it answers beside programs of this machine.
#[derive(Debug, Clone)]
pub(crate) struct Policy {
    /// The most connections at one time. More wait until one closes.
    pub(crate) connections: usize,
    /// Origins of web pages that may call, beside those of this machine.
    pub(crate) origins: Vec<String>,
    /// Speaks TLS with this configuration.
    pub(crate) tls: Option<Arc<rustls::ServerConfig>>,
}

impl Policy {
    /// For at most this many connections, without TLS.
    pub(crate) fn plain(connections: usize) -> Policy {
        Policy {
            connections,
            origins: Vec::new(),
            tls: None,
        }
    }
}

pub(crate) trait Service: Clone + Send + Sync + 'static {
    /// Answers one request, or hangs up without an answer.
    fn answer(
        &self,
        request: Request<Incoming>,
        connection: &Connection,
    ) -> impl Future<Output = Result<Answer, HungUp>> + Send;
}

/// A response: whole, or sent in parts as they come.
pub(crate) type Answer = Response<Either<Full<Bytes>, Channel<Bytes>>>;

/// The connection closes without an answer.
#[derive(Debug, thiserror::Error)]
#[error("the connection closes without an answer")]
pub(crate) struct HungUp;

#[derive(Debug)]
pub(crate) struct Connection {
    pub(crate) peer: SocketAddr,
    /// Whether it took a full TLS handshake, rather than resuming a session.
    pub(crate) full_handshake: bool,
    /// From its opening until a request can come: the TLS handshake.
    pub(crate) handshake: Duration,
    used: AtomicBool,
}

impl Connection {
    /// True once, for the first request that asks.
    pub(crate) fn is_first_use(&self) -> bool {
        !self.used.swap(true, Ordering::Relaxed)
    }
}

/// Serves on `listener`, which must be bound to loopback.
pub(crate) fn start(listener: TcpListener, policy: Policy, service: impl Service) -> Task {
    Task::start(|stopped| serve(listener, Arc::new(policy), service, stopped))
}

async fn serve(
    listener: TcpListener,
    policy: Arc<Policy>,
    service: impl Service,
    mut stopped: oneshot::Receiver<()>,
) {
    let tls = policy.tls.clone().map(TlsAcceptor::from);
    let graceful = GracefulShutdown::new();
    // The set aborts the connections when it is dropped, so they end with the server.
    let mut connections = JoinSet::new();
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept(), if connections.len() < policy.connections => accepted,
            Some(_) = connections.join_next() => continue,
            _ = &mut stopped => break,
        };
        let Ok((stream, peer)) = accepted else {
            // Probably out of file descriptors; an immediate retry would only burn CPU.
            sleep(Duration::from_millis(10)).await;
            continue;
        };
        // Otherwise a response may wait 40 ms for an acknowledgement that the other side delays.
        let _ = stream.set_nodelay(true);
        let (policy, service) = (Arc::clone(&policy), service.clone());
        let (tls, watcher) = (tls.clone(), graceful.watcher());
        connections.spawn(async move {
            let mut connection = Connection {
                peer,
                full_handshake: false,
                handshake: Duration::ZERO,
                used: AtomicBool::new(false),
            };
            let Some(tls) = tls else {
                return speak(stream, connection, policy, service, watcher).await;
            };
            let opened = Instant::now();
            // A client that does not trust the certificate reports that itself.
            if let Ok(Ok(stream)) = timeout(HANDSHAKE_LIMIT, tls.accept(stream)).await {
                let kind = stream.get_ref().1.handshake_kind();
                connection.full_handshake = kind != Some(HandshakeKind::Resumed);
                connection.handshake = opened.elapsed();
                speak(stream, connection, policy, service, watcher).await;
            }
        });
    }
    drop(listener);
    graceful.shutdown().await;
}

/// Speaks HTTP until the connection ends. How it ends concerns only its client.
async fn speak(
    stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
    connection: Connection,
    policy: Arc<Policy>,
    service: impl Service,
    watcher: Watcher,
) {
    let connection = Arc::new(connection);
    let answer = service_fn(move |request: Request<Incoming>| {
        let (policy, service) = (Arc::clone(&policy), service.clone());
        let connection = Arc::clone(&connection);
        async move {
            if !is_admitted(request.headers(), &policy.origins) {
                let why = "only for programs and pages of this machine\n";
                return Ok(text(StatusCode::FORBIDDEN, why));
            }
            service.answer(request, &connection).await
        }
    });
    let http = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD_LIMIT)
        // A bootstrap written in shell may look for `Lambda-Runtime-…` exactly as AWS sends it.
        .title_case_headers(true)
        .serve_connection(TokioIo::new(stream), answer);
    let _ = watcher.watch(http).await;
}

/// Whether a request comes from a program or page of this machine, or from a page of `origins`.
fn is_admitted(headers: &HeaderMap, origins: &[String]) -> bool {
    let is_local = |host: &HeaderValue| {
        let authority = host.to_str().ok().and_then(|host| host.parse().ok());
        authority.is_some_and(|it: Authority| is_loopback(it.host()))
    };
    headers.contains_key(HOST)
        && headers.get_all(HOST).iter().all(is_local)
        && headers.get_all(ORIGIN).iter().all(|origin| {
            let Ok(origin) = origin.to_str() else {
                return false;
            };
            let host = origin.parse::<Uri>().ok();
            let host = host.as_ref().and_then(Uri::host);
            host.is_some_and(is_loopback) || origins.iter().any(|it| it == origin)
        })
}

fn is_loopback(host: &str) -> bool {
    let address = host.trim_start_matches('[').trim_end_matches(']');
    host.eq_ignore_ascii_case("localhost")
        || address
            .parse::<IpAddr>()
            .is_ok_and(|address| address.is_loopback())
}

/// Why a body was not read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Unread {
    /// It has more bytes than the limit.
    TooLarge,
    /// The client broke it off.
    Truncated,
    /// It took too long.
    TooSlow,
}

/// Reads a whole body of at most `most` bytes, within `limit`. A larger one is read to its end and
/// thrown away, since a client that is still sending would not see the answer.
pub(crate) async fn read(
    mut body: Incoming,
    most: usize,
    limit: Duration,
) -> Result<Bytes, Unread> {
    let read = async {
        let announced = body.size_hint().lower();
        if announced <= most as u64 {
            match Limited::new(&mut body, most).collect().await {
                Ok(collected) => return Ok(collected.to_bytes()),
                Err(error) if error.is::<LengthLimitError>() => {}
                Err(_) => return Err(Unread::Truncated),
            }
        }
        while let Some(frame) = body.frame().await {
            frame.map_err(|_| Unread::Truncated)?;
        }
        Err(Unread::TooLarge)
    };
    timeout(limit, read).await.unwrap_or(Err(Unread::TooSlow))
}

pub(crate) fn empty(status: StatusCode) -> Answer {
    let mut answer = Response::new(Either::Left(Full::default()));
    *answer.status_mut() = status;
    answer
}

/// An answer that is sent in parts, and the sender of these. It fails once the client is gone.
pub(crate) fn parts(kind: &'static str) -> (Sender<Bytes>, Answer) {
    let (sender, body) = Channel::new(8);
    let mut answer = Response::new(Either::Right(body));
    let kind = HeaderValue::from_static(kind);
    answer.headers_mut().insert(CONTENT_TYPE, kind);
    (sender, answer)
}

pub(crate) fn text(status: StatusCode, body: impl Into<Bytes>) -> Answer {
    typed(status, "text/plain; charset=utf-8", body)
}

pub(crate) fn json(status: StatusCode, value: &impl Serialize) -> Answer {
    match serde_json::to_vec(value) {
        Ok(body) => typed(status, "application/json", body),
        Err(error) => text(StatusCode::INTERNAL_SERVER_ERROR, error.to_string()),
    }
}

/// An answer with a content type of its own.
pub(crate) fn typed(status: StatusCode, kind: &'static str, body: impl Into<Bytes>) -> Answer {
    let mut answer = Response::new(Either::Left(Full::new(body.into())));
    *answer.status_mut() = status;
    let kind = HeaderValue::from_static(kind);
    answer.headers_mut().insert(CONTENT_TYPE, kind);
    answer
}

/// 405, with the methods that are allowed.
pub(crate) fn not_allowed(methods: &'static str) -> Answer {
    let mut answer = empty(StatusCode::METHOD_NOT_ALLOWED);
    let methods = HeaderValue::from_static(methods);
    answer.headers_mut().insert(ALLOW, methods);
    answer
}

#[cfg(test)]
mod tests {
    use super::*;

    fn admits(headers: &[(http::HeaderName, &'static str)]) -> bool {
        let mut map = HeaderMap::new();
        for (name, value) in headers {
            map.append(name, HeaderValue::from_static(value));
        }
        is_admitted(&map, &["https://shop.example".to_owned()])
    }

    #[test]
    fn programs_and_pages_of_this_machine_are_admitted() {
        for host in [
            "127.0.0.1:3001",
            "localhost:3001",
            "LOCALHOST",
            "[::1]:3001",
            "127.0.0.1",
        ] {
            assert!(admits(&[(HOST, host)]), "{host}");
        }
        let origin = (ORIGIN, "http://localhost:8080");
        assert!(admits(&[(HOST, "localhost:3001"), origin]));
    }

    #[test]
    fn an_allowed_page_is_admitted_but_not_under_a_foreign_host() {
        let origin = (ORIGIN, "https://shop.example");
        assert!(admits(&[(HOST, "localhost:3001"), origin.clone()]));
        assert!(!admits(&[(HOST, "shop.example:3001"), origin]));
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
            assert!(!admits(&[(HOST, host)]), "{host}");
        }
        for origin in [
            "https://evil.example",
            "null",
            "http://localhost.evil.example",
            "https://shop.example.evil.example",
            "http://shop.example",
        ] {
            let headers = [(HOST, "127.0.0.1:3001"), (ORIGIN, origin)];
            assert!(!admits(&headers), "{origin}");
        }
        assert!(!admits(&[]));
        for name in [HOST, ORIGIN] {
            let second = match name {
                HOST => "evil.example",
                _ => "https://evil.example",
            };
            let local = [(HOST, "127.0.0.1"), (ORIGIN, "http://127.0.0.1")];
            let headers = [local[0].clone(), local[1].clone(), (name, second)];
            assert!(!admits(&headers), "{second} beside a name of this machine");
        }
    }
}
