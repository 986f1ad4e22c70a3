//! The control server: answers a load test's or a person's questions about a running stack.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures_util::future::join_all;
use http::{Method, Request, StatusCode};
use http_body_util::channel::Sender;
use hyper::body::Incoming;
use tokio::net::TcpListener;
use tokio::time::sleep;

use crate::aws::Aws;
use crate::events::{Entry, Event, Log};
use crate::faults::Plan;
use crate::invoke_api;
use crate::lambda::Function;
use crate::serve::{self, Answer, Connection, HungUp, Policy, Unread};
use crate::task::Task;

/// A fault plan is a page of text at most; this allows a thousand pages.
const MOST_BYTES: usize = 1024 * 1024;
/// A client on this machine needs milliseconds.
const BODY_LIMIT: Duration = Duration::from_secs(30);
/// A load test uses one or two.
const MOST_CONNECTIONS: usize = 64;

/// Events that are written at one time.
const EVENTS: usize = 1000;
/// How often a client that follows gets what is new.
const FOLLOW: Duration = Duration::from_millis(20);

const HELP: &str = "\
GET  /meter               calls to DynamoDB and SQS, by function and operation, and the queues, as JSON
POST /meter/reset         set the counts to zero
GET  /events              what happened, one JSON object a line, and what happens from now on
                          (?from=now: only that; ?until=now: only what happened; ?from=7&until=now: that, without
                          the first 7)
GET  /functions           execution environments of each function now, as JSON
POST /environments/reap   end the idle ones, so that the next invocations are cold starts
GET  /conditions          what AWS takes, at the median, as JSON (docs/conditions.md)
GET  /faults              the faults that are injected, as JSON (docs/faults.md)
PUT  /faults              inject these from now on
DELETE /faults            inject none
POST /2015-03-31/functions/<logical id>/invocations
                          run a function on the event in the body, as Lambda's Invoke does
";

/// The parts of the stack that the control server reports on.
#[derive(Debug, Clone)]
pub(crate) struct Control {
    pub(crate) aws: Arc<Aws>,
    pub(crate) functions: Vec<Function>,
}

impl Control {
    /// Serves on `listener`, which must be bound to loopback.
    pub(crate) fn serve(self, listener: TcpListener) -> Task {
        serve::start(listener, Policy::plain(MOST_CONNECTIONS), self)
    }

    /// The log of events, as it grows.
    fn events(&self, query: &str) -> Answer {
        let log = self.aws.services.log.clone();
        let Some((from, until)) = range(query, log.next()) else {
            let why = "the query is from=start, from=now or from=<number>, until=now, or both\n";
            return serve::text(StatusCode::BAD_REQUEST, why);
        };
        let (sender, answer) = serve::parts("application/x-ndjson");
        tokio::spawn(send_events(log, from, until, sender));
        answer
    }

    async fn set_faults(&self, body: Incoming) -> Answer {
        let body = match serve::read(body, MOST_BYTES, BODY_LIMIT).await {
            Ok(body) => body,
            Err(Unread::TooLarge) => {
                let why = "a plan has at most 1 MB\n";
                return serve::text(StatusCode::PAYLOAD_TOO_LARGE, why);
            }
            Err(Unread::Truncated | Unread::TooSlow) => {
                return serve::text(StatusCode::BAD_REQUEST, "the body broke off\n");
            }
        };
        match Plan::parse(&body) {
            Ok(plan) => {
                self.aws.services.faults.set(plan);
                serve::empty(StatusCode::NO_CONTENT)
            }
            Err(error) => serve::text(StatusCode::BAD_REQUEST, format!("{error}\n")),
        }
    }
}

/// The numbers of the first event that is wanted, and of the one after the last.
fn range(query: &str, next: u64) -> Option<(u64, u64)> {
    let (mut from, mut until) = (0, u64::MAX);
    for part in query.split('&').filter(|part| !part.is_empty()) {
        match part.split_once('=')? {
            ("from", "start") => from = 0,
            ("from", "now") => from = next,
            ("from", number) => from = number.parse().ok()?,
            ("until", "now") => until = next,
            _ => return None,
        }
    }
    Some((from, until))
}

/// Sends events until a number is reached or the client is gone. Those that are no longer kept are
/// counted in a line of their own.
async fn send_events(log: Log, mut next: u64, until: u64, mut client: Sender<Bytes>) {
    while next < until {
        let (first, entries) = log.since(next, EVENTS);
        let lost = (first > next).then(|| {
            Arc::new(Entry {
                at_us: log.now(),
                event: Event::Lost {
                    count: first - next,
                },
            })
        });
        let mut lines = Vec::new();
        for entry in lost.iter().chain(&entries) {
            // It fails only for maps whose keys are no text.
            let _ = serde_json::to_writer(&mut lines, &**entry);
            lines.push(b'\n');
        }
        next = first + entries.len() as u64;
        if lines.is_empty() {
            sleep(FOLLOW).await;
        } else if client.send_data(lines.into()).await.is_err() {
            return;
        }
    }
}

impl serve::Service for Control {
    async fn answer(
        &self,
        request: Request<Incoming>,
        _connection: &Connection,
    ) -> Result<Answer, HungUp> {
        let (parts, body) = request.into_parts();
        let done = || serve::empty(StatusCode::NO_CONTENT);
        Ok(match (&parts.method, parts.uri.path()) {
            (&Method::GET, "/") => serve::text(StatusCode::OK, HELP),
            (&Method::GET, "/meter") => serve::json(StatusCode::OK, &self.aws.measured()),
            (&Method::POST, "/meter/reset") => {
                self.aws.services.log.reset_sums();
                done()
            }
            (&Method::POST, "/environments/reap") => {
                join_all(self.functions.iter().map(Function::reap)).await;
                done()
            }
            (&Method::GET, "/functions") => {
                let functions = self.functions.iter();
                let environments: BTreeMap<_, _> = functions
                    .map(|function| (function.spec().logical_id.as_str(), function.environments()))
                    .collect();
                serve::json(StatusCode::OK, &environments)
            }
            (&Method::GET, "/events") => self.events(parts.uri.query().unwrap_or_default()),
            (&Method::GET, "/conditions") => {
                serve::json(StatusCode::OK, &self.aws.services.conditions.medians())
            }
            (&Method::GET, "/faults") => {
                serve::json(StatusCode::OK, &self.aws.services.faults.plan())
            }
            (&Method::PUT, "/faults") => self.set_faults(body).await,
            (&Method::DELETE, "/faults") => {
                self.aws.services.faults.set(Plan::default());
                done()
            }
            (_, "/" | "/meter" | "/functions" | "/events" | "/conditions") => {
                serve::not_allowed("GET")
            }
            (_, "/faults") => serve::not_allowed("GET, PUT, DELETE"),
            (_, "/meter/reset" | "/environments/reap") => serve::not_allowed("POST"),
            (_, path) => match invoke_api::function(path) {
                Some(name) => invoke_api::invoke(&self.functions, &name, &parts, body).await,
                None => serve::text(StatusCode::NOT_FOUND, HELP),
            },
        })
    }
}
