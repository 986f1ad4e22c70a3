//! One invocation, from the caller to the environment that runs it.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use bytes::Bytes;
use http::HeaderValue;
use tokio::sync::{OwnedSemaphorePermit, oneshot};
use tokio::time::Instant;
use uuid::Uuid;

use super::error::InvokeError;

/// An invocation that waits for an environment.
#[derive(Debug)]
pub(super) struct Job {
    pub(super) payload: Bytes,
    pub(super) trace_id: HeaderValue,
    pub(super) caller: Caller,
}

/// Who waits for the result, and the concurrency that the invocation takes until then.
#[derive(Debug)]
pub(super) struct Caller {
    pub(super) reply: oneshot::Sender<Result<Bytes, InvokeError>>,
    pub(super) concurrency: OwnedSemaphorePermit,
}

impl Caller {
    pub(super) fn answer(self, result: Result<Bytes, InvokeError>) {
        // First, or a caller that invokes again at once could be throttled by its own last one.
        drop(self.concurrency);
        // A caller that has gone away does not stop an invocation, nor does it on AWS.
        let _ = self.reply.send(result);
    }
}

/// An invocation that an environment is running.
#[derive(Debug)]
pub(super) struct Invocation {
    pub(super) request_id: String,
    pub(super) started: Instant,
    pub(super) deadline: Instant,
    pub(super) deadline_ms: u128,
    /// Gone once there is a result.
    pub(super) caller: Option<Caller>,
}

impl Invocation {
    pub(super) fn begin(caller: Caller, timeout: Duration) -> Invocation {
        let started = Instant::now();
        let deadline = SystemTime::now() + timeout;
        Invocation {
            request_id: Uuid::new_v4().to_string(),
            started,
            deadline: started + timeout,
            deadline_ms: deadline
                .duration_since(UNIX_EPOCH)
                .unwrap_or_default()
                .as_millis(),
            caller: Some(caller),
        }
    }

    /// Gives the result to the caller, once.
    pub(super) fn answer(&mut self, result: Result<Bytes, InvokeError>) {
        if let Some(caller) = self.caller.take() {
            caller.answer(result);
        }
    }
}

/// The [trace header](https://docs.aws.amazon.com/xray/latest/devguide/xray-concepts.html#xray-concepts-tracingheader)
/// of an invocation: the given one, completed, or a new one. Nothing is traced here, so a new one is
/// not sampled.
pub(super) fn trace_header(given: Option<&str>) -> HeaderValue {
    let mut header = match given {
        Some(given) if given.contains("Root=") => given.to_owned(),
        _ => format!("Root={}", new_trace_root()),
    };
    if !header.contains("Parent=") {
        let parent = Uuid::new_v4().simple().to_string();
        header = format!("{header};Parent={}", &parent[..16]);
    }
    if !header.contains("Sampled=") {
        header.push_str(";Sampled=0");
    }
    HeaderValue::from_str(&header).unwrap_or_else(|_| HeaderValue::from_static("Sampled=0"))
}

/// A new trace: version, seconds since 1970 in hexadecimal, 96 random bits.
pub(crate) fn new_trace_root() -> String {
    let seconds = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default()
        .as_secs();
    let random = Uuid::new_v4().simple().to_string();
    format!("1-{seconds:08x}-{}", &random[..24])
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
        let completed = completed.to_str().expect("ASCII");
        assert!(
            completed.starts_with(&format!("{root};Parent=")),
            "{completed}"
        );
        assert!(completed.ends_with(";Sampled=0"), "{completed}");
    }

    #[test]
    fn a_trace_header_that_is_none_is_replaced() {
        for given in [None, Some(""), Some("nonsense"), Some("Root=\n")] {
            let header = trace_header(given);
            assert!(
                header.to_str().expect("ASCII").ends_with("Sampled=0"),
                "{given:?}: {header:?}"
            );
        }
    }
}
