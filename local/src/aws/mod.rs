//! The AWS endpoint: one TLS front for DynamoDB, SQS and Lambda's `Invoke`, and the only way in.
//!
//! It finds out who calls, holds the call back as AWS would, lets faults strike, passes the call on to
//! the service in this process, and logs it.

mod answers;
mod certificate;
mod outcome;
mod struck;

use std::collections::BTreeMap;
use std::hash::RandomState;
use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use bytes::Bytes;
use http::header::{AUTHORIZATION, DATE};
use http::{HeaderMap, HeaderName, HeaderValue, Request, StatusCode};
use hyper::body::Incoming;
use tokio::net::TcpListener;
use uuid::Uuid;

use crate::aws_json::{Operation, Refusal, Reply, Service};
use crate::conditions::{Conditions, wait_until};
use crate::dynamodb::DynamoDb;
use crate::events::{Call, Event, Handshake, Log, Outcome, Snapshot};
use crate::faults::Faults;
use crate::invoke_api;
use crate::lambda::Function;
use crate::sandboxes::{Sandbox, Sandboxes};
use crate::serve::{self, Answer, Connection, HungUp, Policy, Unread};
use crate::sqs::Sqs;
use crate::task::Task;
use crate::template;
use struck::Struck;

/// DynamoDB's limit for a request, in bytes; SQS's is lower.
/// <https://docs.aws.amazon.com/amazondynamodb/latest/developerguide/ServiceQuotas.html>
const MOST_BYTES: usize = 16 * 1024 * 1024;
/// A client on this machine needs milliseconds.
const BODY_LIMIT: Duration = Duration::from_secs(30);
/// Two connections for each of a thousand environments, and room for other clients.
const MOST_CONNECTIONS: usize = 4096;

const SESSION_TOKEN: HeaderName = HeaderName::from_static("x-amz-security-token");
const REQUEST_ID: HeaderName = HeaderName::from_static("x-amzn-requestid");
/// A CRC-32 of the body, which some SDKs check for DynamoDB.
const BODY_CHECKSUM: HeaderName = HeaderName::from_static("x-amz-crc32");
const QUERY_ERROR: HeaderName = HeaderName::from_static("x-amzn-query-error");

/// The TLS endpoint, and the services behind it.
#[derive(Debug)]
pub struct Aws {
    /// `https://127.0.0.1:<port>`, without a slash at the end.
    pub endpoint_url: String,
    /// The certificate, as PEM, that a client has to trust. Deleted when this is dropped.
    pub ca_file: PathBuf,
    /// What the endpoint leads to.
    pub services: Arc<Services>,
    _server: Task,
}

/// The services, what disturbs calls to them, and what is known of the calls.
#[derive(Debug)]
pub struct Services {
    /// The queues, without the endpoint in between.
    pub sqs: Sqs,
    /// Everything that happens.
    pub log: Log,
    /// None until a plan is set.
    pub faults: Faults,
    /// The environments, which call the endpoint.
    pub sandboxes: Sandboxes,
    /// The conditions of this run.
    pub conditions: Conditions,
    dynamodb: DynamoDb,
    /// Empty until the functions have started, which need this endpoint to start.
    functions: OnceLock<Vec<Function>>,
    /// Logical ids of the template's tables and queues, by name.
    resources: OnceLock<BTreeMap<String, String>>,
    /// The secret of this run in fingerprints.
    fingerprints: RandomState,
}

impl Aws {
    /// Starts DynamoDB, SQS and the endpoint on a free port of 127.0.0.1, and writes the certificate
    /// that clients must trust to `ca_dir`. Tables and queues are in memory without a `data_dir`.
    /// Calls of functions take the time that the conditions say.
    ///
    /// # Errors
    /// One line, if a folder, a port or a database file is not available.
    pub async fn start(
        ca_dir: &Path,
        data_dir: Option<&Path>,
        conditions: Conditions,
    ) -> Result<Aws, String> {
        for dir in std::iter::once(ca_dir).chain(data_dir) {
            std::fs::create_dir_all(dir)
                .map_err(|e| format!("cannot use the folder {}: {e}", dir.display()))?;
        }
        let (pem, tls) = certificate::authority()
            .map_err(|e| format!("cannot make a certificate for the AWS endpoint: {e}"))?;
        let ca_file = ca_dir.join("ca.pem");
        std::fs::write(&ca_file, pem)
            .map_err(|e| format!("cannot write {}: {e}", ca_file.display()))?;
        let listen = |e| format!("cannot start the AWS endpoint: {e}");
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))
            .await
            .map_err(listen)?;
        let endpoint_url = format!("https://{}", listener.local_addr().map_err(listen)?);
        let log = Log::default();
        let sqs = Sqs::open(data_dir, &endpoint_url, log.clone());
        let services = Arc::new(Services {
            dynamodb: DynamoDb::open(data_dir)
                .map_err(|e| format!("cannot start DynamoDB: {e}"))?,
            sqs: sqs.map_err(|e| format!("cannot start SQS: {e}"))?,
            functions: OnceLock::new(),
            resources: OnceLock::new(),
            faults: Faults::new(&log),
            log,
            sandboxes: Sandboxes::default(),
            conditions,
            fingerprints: RandomState::new(),
        });
        let policy = Policy {
            tls: Some(tls),
            ..Policy::plain(MOST_CONNECTIONS)
        };
        Ok(Aws {
            _server: serve::start(listener, policy, Arc::clone(&services)),
            endpoint_url,
            ca_file,
            services,
        })
    }

    /// Creates the template's tables and queues. Those that a data folder already holds are kept and
    /// updated.
    ///
    /// # Errors
    /// One line that names the table or queue.
    pub async fn create(
        &self,
        tables: &[template::Table],
        queues: &[template::Queue],
    ) -> Result<(), String> {
        self.services.dynamodb.create_tables(tables).await?;
        self.services.sqs.create_queues(queues)?;
        let tables = tables.iter().map(|it| (&it.name, &it.logical_id));
        let all = tables.chain(queues.iter().map(|it| (&it.name, &it.logical_id)));
        let all = all.map(|(name, id)| (name.clone(), id.clone()));
        // Set twice only by a mistake, which changes nothing.
        let _ = self.services.resources.set(all.collect());
        Ok(())
    }

    /// From now on the endpoint invokes these functions, by their name or logical id.
    pub fn invoke_from_now_on(&self, functions: &[Function]) {
        // Set twice only by a mistake, which changes nothing.
        let _ = self.services.functions.set(functions.to_vec());
    }

    /// The sums of the log, and the queues with their depth now.
    pub fn measured(&self) -> Snapshot {
        let mut sums = self.services.log.snapshot();
        for (name, logical_id) in self.services.resources.get().into_iter().flatten() {
            // A table has no depth.
            if let Ok(depth) = self.services.sqs.depth(name) {
                let queue = sums.queues.entry(logical_id.clone()).or_default();
                queue.depth = Some(depth);
            }
        }
        sums
    }
}

impl Drop for Aws {
    fn drop(&mut self) {
        // The file may be gone already, and a certificate without its key is harmless.
        let _ = std::fs::remove_file(&self.ca_file);
    }
}

impl serve::Service for Arc<Services> {
    async fn answer(
        &self,
        request: Request<Incoming>,
        connection: &Connection,
    ) -> Result<Answer, HungUp> {
        let (parts, body) = request.into_parts();
        let operation = Operation::of(&parts.headers);
        let Some(caller) = caller(&parts.headers) else {
            let kind = "com.amazon.coral.service#MissingAuthenticationTokenException";
            let message = "Request is missing Authentication Token";
            let refusal = Refusal::new(StatusCode::BAD_REQUEST, kind, message);
            return Ok(render(&operation, refusal.into()));
        };
        let handshake = match connection.is_first_use() {
            true if connection.full_handshake => Some(Handshake::Full),
            true => Some(Handshake::Resumed),
            false => None,
        };
        if let Some(handshake) = handshake {
            let function = caller.clone();
            self.log.add(Event::Connection {
                function,
                handshake,
            });
        }
        if let Some(name) = invoke_api::function(parts.uri.path()) {
            let functions = self.functions.get().map_or(&[][..], Vec::as_slice);
            return Ok(invoke_api::invoke(functions, &name, &parts, body).await);
        }
        let handshake = handshake.map(|kind| (kind, connection.handshake));
        let call = Arrived::new(self, caller, &operation, &parts.headers, handshake);
        let reply = call.answer(&operation, body, &parts.headers).await?;
        Ok(render(&operation, reply))
    }
}

/// A call that has arrived. It is logged when this is dropped, whatever has become of it.
struct Arrived<'a> {
    services: &'a Arc<Services>,
    sandbox: Option<Arc<Sandbox>>,
    started: Instant,
    call: Call,
}

impl<'a> Arrived<'a> {
    fn new(
        services: &'a Arc<Services>,
        caller: String,
        operation: &Operation,
        headers: &HeaderMap,
        handshake: Option<(Handshake, Duration)>,
    ) -> Arrived<'a> {
        let token = headers.get(SESSION_TOKEN).and_then(|it| it.to_str().ok());
        let sandbox = token.and_then(|token| services.sandboxes.of_token(token));
        Arrived {
            services,
            started: Instant::now(),
            call: Call {
                function: caller,
                environment: sandbox.as_ref().map(|it| it.name.clone()),
                request_id: sandbox.as_ref().and_then(|it| it.request_id()),
                operation: operation.to_string(),
                connection: handshake.map(|(kind, _)| kind),
                handshake: handshake.map(|(_, time)| time),
                ..Call::default()
            },
            sandbox,
        }
    }

    async fn answer(
        mut self,
        operation: &Operation,
        body: Incoming,
        headers: &HeaderMap,
    ) -> Result<Reply, HungUp> {
        let reply = match serve::read(body, MOST_BYTES, BODY_LIMIT).await {
            Ok(body) => self.carry_out(operation, body, headers).await?,
            Err(why) => unreadable(why).into(),
        };
        let call = &mut self.call;
        (call.read_units, call.write_units) = (reply.units.read, reply.units.write);
        call.read = reply.units.items;
        match &reply.result {
            Ok(body) => {
                call.outcome = Outcome::Success;
                call.response_bytes = body.len() as u64;
            }
            Err(refusal) => {
                call.outcome = outcome::of(refusal);
                call.response_bytes = refusal.body().len() as u64;
                call.error = Some(refusal.name().to_owned());
            }
        }
        Ok(reply)
    }

    /// Makes the call when AWS would, and returns its answer when AWS would.
    async fn carry_out(
        &mut self,
        operation: &Operation,
        body: Bytes,
        headers: &HeaderMap,
    ) -> Result<Reply, HungUp> {
        let Services {
            faults, conditions, ..
        } = &**self.services;
        self.call.request_bytes = body.len() as u64;
        self.call.resource = self.services.resources(&body);
        let secret = &self.services.fingerprints;
        self.call.fingerprint = outcome::fingerprint(secret, &operation.name, &body);
        self.started = Instant::now();
        let mut due = self.started;
        if let Some(sandbox) = &self.sandbox {
            // The work before the call takes as long as the environment's share of a CPU says.
            let sent = sandbox.done_at();
            wait_until(sent).await;
            self.call.held = sent.saturating_duration_since(self.started);
            self.started = sent;
            due = self.started + conditions.call(&self.call.function, &self.call.operation);
            if self.call.connection.is_some() {
                let connecting = conditions.connection(&self.call.function);
                self.call.connecting = Some(connecting);
                due += connecting;
            }
        }
        let (caller, name) = (&self.call.function, &self.call.operation);
        let struck = Struck::new(faults, caller, name, self.sandbox.clone(), headers);
        let (services, made) = (Arc::clone(self.services), operation.clone());
        let make = |body| async move { services.call(&made, body).await };
        let reply = struck.answer(body, make).await?;
        wait_until(due).await;
        if let Some(sandbox) = &self.sandbox {
            // The time in which it waited for the answer is none in which it worked.
            sandbox.done_at();
        }
        Ok(reply)
    }
}

impl Drop for Arrived<'_> {
    fn drop(&mut self) {
        self.call.duration = self.started.elapsed();
        let call = std::mem::take(&mut self.call);
        self.services.log.add(Event::Call(Box::new(call)));
    }
}

impl Services {
    /// The tables or the queue of a request, by logical id where the template has them.
    fn resources(&self, body: &[u8]) -> String {
        let known = self.resources.get();
        let names = outcome::resources(body).into_iter().map(|name| {
            let id = known.and_then(|known| known.get(&name));
            id.cloned().unwrap_or(name)
        });
        names.collect::<Vec<_>>().join(",")
    }

    async fn call(&self, operation: &Operation, body: Bytes) -> Reply {
        match operation.service {
            Service::DynamoDb | Service::DynamoDbStreams => {
                self.dynamodb.call(&operation.name, body).await
            }
            Service::Sqs => {
                let result = self.sqs.call(&operation.name, &body).await;
                result.map(|answer| answer.to_string().into()).into()
            }
            Service::Other => Refusal::unknown_operation(operation).into(),
        }
    }
}

/// The access key id of a signed request: `AWS4-HMAC-SHA256 Credential=<id>/<date>/…`.
fn caller(headers: &HeaderMap) -> Option<String> {
    let authorization = headers.get(AUTHORIZATION)?.to_str().ok()?;
    let (_, credential) = authorization.split_once("Credential=")?;
    let (id, _) = credential.split_once('/')?;
    Some(id.to_owned())
}

fn unreadable(why: Unread) -> Refusal {
    let (status, kind, message) = match why {
        Unread::TooLarge => (
            StatusCode::PAYLOAD_TOO_LARGE,
            "RequestEntityTooLargeException",
            "a request may have at most 16 MB",
        ),
        Unread::Truncated | Unread::TooSlow => (
            StatusCode::BAD_REQUEST,
            "SerializationException",
            "the body broke off",
        ),
    };
    let kind = format!("com.amazon.coral.service#{kind}");
    Refusal::new(status, &kind, message)
}

fn render(operation: &Operation, reply: Reply) -> Answer {
    let (status, body, query_error) = match reply.result {
        Ok(body) => (StatusCode::OK, body, None),
        Err(refusal) => {
            let side = if refusal.is_senders() {
                "Sender"
            } else {
                "Receiver"
            };
            let query_error = refusal.query_error.as_ref();
            let query_error = query_error.map(|code| format!("{code};{side}"));
            (refusal.status, refusal.body(), query_error)
        }
    };
    let checksum = crc32fast::hash(&body);
    let mut answer = serve::typed(status, "application/x-amz-json-1.0", body);
    let headers = answer.headers_mut();
    let mut set = |name: HeaderName, value: String| {
        if let Ok(value) = HeaderValue::try_from(value) {
            headers.insert(name, value);
        }
    };
    set(REQUEST_ID, Uuid::new_v4().to_string());
    if operation.service == Service::DynamoDb {
        set(BODY_CHECKSUM, checksum.to_string());
    }
    if let Some(query_error) = query_error {
        set(QUERY_ERROR, query_error);
    }
    if let Some(date) = reply.date {
        // An SDK learns from this date how far its clock is off.
        set(DATE, httpdate::fmt_http_date(date));
    }
    answer
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_caller_is_the_access_key_id() {
        let mut headers = HeaderMap::new();
        assert_eq!(caller(&headers), None);
        let value = "AWS4-HMAC-SHA256 Credential=GetProduct/20260101/us-east-1/dynamodb/aws4_request, SignedHeaders=host, Signature=0";
        headers.insert(AUTHORIZATION, HeaderValue::from_static(value));
        assert_eq!(caller(&headers).as_deref(), Some("GetProduct"));
    }
}
