//! One invocation, from the caller to the environment that runs it.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use bytes::Bytes;
use tokio::sync::{OwnedSemaphorePermit, oneshot};
use tokio::time::Instant;
use uuid::Uuid;

use super::error::InvokeError;

/// What a caller asks of a function.
#[derive(Debug, Clone)]
pub struct Request {
    /// The event, in JSON.
    pub event: Bytes,
    /// As in the function's log.
    pub request_id: String,
    /// The trace header.
    pub trace_id: String,
    /// For the log of events: a route, a queue, or `Invoke`.
    pub source: String,
}

impl Request {
    /// A request with a new id. `trace_id` is the caller's `X-Amzn-Trace-Id`, if it has one.
    pub fn new(source: impl Into<String>, event: Bytes, trace_id: Option<&str>) -> Request {
        Request {
            event,
            request_id: Uuid::new_v4().to_string(),
            trace_id: trace_header(trace_id),
            source: source.into(),
        }
    }
}

/// An invocation that waits for an environment.
#[derive(Debug)]
pub(super) struct Job {
    pub(super) request: Request,
    pub(super) called: Instant,
    /// `None` once there is a result.
    pub(super) caller: Option<Caller>,
    /// Receives the end of the invocation's log, if someone asked for it.
    pub(super) log_tail: Option<oneshot::Sender<Bytes>>,
}

/// The receiver of the result, and the concurrency that the invocation holds until then.
#[derive(Debug)]
pub(super) struct Caller {
    pub(super) reply: oneshot::Sender<Result<Bytes, InvokeError>>,
    pub(super) concurrency: OwnedSemaphorePermit,
}

/// An invocation that an environment is running.
#[derive(Debug)]
pub(super) struct Invocation {
    pub(super) job: Job,
    pub(super) started: Instant,
    pub(super) deadline: Instant,
    pub(super) deadline_ms: u128,
    /// The type of the error that the function reported.
    pub(super) error: Option<String>,
}

impl Invocation {
    pub(super) fn begin(job: Job, timeout: Duration) -> Invocation {
        let started = Instant::now();
        let deadline = (SystemTime::now() + timeout).duration_since(UNIX_EPOCH);
        Invocation {
            job,
            started,
            deadline: started + timeout,
            deadline_ms: deadline.unwrap_or_default().as_millis(),
            error: None,
        }
    }

    pub(super) fn is_answered(&self) -> bool {
        self.job.caller.is_none()
    }

    /// Sends the result to the caller, once.
    pub(super) fn answer(&mut self, result: Result<Bytes, InvokeError>) {
        if let Some(caller) = self.job.caller.take() {
            // First, or a caller that invokes again at once could be throttled by its own last
            // invocation.
            drop(caller.concurrency);
            // An invocation goes on even if its caller has gone away, as on AWS.
            let _ = caller.reply.send(result);
        }
    }
}

/// The
/// [trace header](https://docs.aws.amazon.com/xray/latest/devguide/xray-concepts.html#xray-concepts-tracingheader)
/// of an invocation: the caller's, completed, or a new one. Nothing is traced here, so a new one is
/// not sampled.
fn trace_header(given: Option<&str>) -> String {
    let mut header = trace_or_new(given);
    if !header.contains("Parent=") {
        let parent = Uuid::new_v4().simple().to_string();
        header = format!("{header};Parent={}", &parent[..16]);
    }
    if !header.contains("Sampled=") {
        header.push_str(";Sampled=0");
    }
    header
}

/// The caller's trace header if it names a trace, else a new one.
pub(crate) fn trace_or_new(given: Option<&str>) -> String {
    given
        .filter(|given| given.split(';').any(is_root))
        .map_or_else(new_trace, str::to_owned)
}

/// `Root=`, version 1, seconds since 1970 in 8 hexadecimal digits, 96 random bits in 24.
fn is_root(part: &str) -> bool {
    let hex = |digits: &str| digits.bytes().all(|byte| byte.is_ascii_hexdigit());
    part.trim()
        .strip_prefix("Root=1-")
        .and_then(|root| root.split_once('-'))
        .is_some_and(|(time, random)| {
            time.len() == 8 && hex(time) && random.len() == 24 && hex(random)
        })
}

fn new_trace() -> String {
    let seconds = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default()
        .as_secs();
    let random = Uuid::new_v4().simple().to_string();
    format!("Root=1-{seconds:08x}-{}", &random[..24])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_trace_header_is_passed_on_and_completed() {
        let full = "Root=1-5bef4de7-ad49b0e87f6ef6c87fc2e700;Parent=9a9197af755a6419;Sampled=1";
        assert_eq!(trace_header(Some(full)), full);
        let root = "Root=1-5bef4de7-ad49b0e87f6ef6c87fc2e700";
        let completed = trace_header(Some(root));
        assert!(
            completed.starts_with(&format!("{root};Parent=")),
            "{completed}"
        );
        assert!(completed.ends_with(";Sampled=0"), "{completed}");
    }

    #[test]
    fn a_trace_header_that_is_none_is_replaced() {
        for given in [
            None,
            Some(""),
            Some("nonsense"),
            Some("Root=\n"),
            Some("Root=forged;Parent=9a9197af755a6419;Sampled=1"),
            Some("Root=1-5bef4de7-ad49b0e87f6ef6c87fc2e70"),
            Some("Root=1-5bef4de7-ad49b0e87f6ef6c87fc2e700-1"),
            Some("Root=1-5bef4deg-ad49b0e87f6ef6c87fc2e700"),
        ] {
            let header = trace_header(given);
            let parts: Vec<&str> = header.split(';').collect();
            assert!(is_root(parts[0]), "{given:?}: {header}");
            assert!(parts[1].starts_with("Parent="), "{given:?}: {header}");
            assert_eq!(parts[2..], ["Sampled=0"], "{given:?}: {header}");
        }
    }
}
