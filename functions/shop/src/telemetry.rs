//! Logs: one JSON object a line on stdout, where Lambda collects them.
//!
//! This is a subscriber of its own and not `tracing-subscriber`: an execution environment serves
//! one invocation at a time and writes a handful of lines in its life, so all it needs is a level,
//! a name and the current request id. The registry, layers and filters of the crate would be
//! built at every cold start to produce the same line.

use std::fmt::Write as _;
use std::sync::{Mutex, PoisonError};

use serde::Serialize;
use serde_json::{Map, Value};
use tracing::field::{Field, Visit};
use tracing::span::{Attributes, Id, Record};
use tracing::{Event, Metadata, Subscriber, level_filters::LevelFilter};

use crate::order::Timestamp;

/// The field by which `lambda_runtime` names the invocation in the span around it.
const REQUEST_ID: &str = "requestId";

/// Sends the program's logs, panics included, to stdout. Call it first in `main`.
///
/// The level is `INFO`, or what `AWS_LAMBDA_LOG_LEVEL` says: Lambda sets it from the function's
/// [logging configuration](https://docs.aws.amazon.com/lambda/latest/dg/monitoring-cloudwatchlogs-log-level.html).
/// `TRACE` is taken for `DEBUG`: at `TRACE`, `lambda_runtime` writes whole events, and with them the
/// credentials that clients send.
pub fn init() {
    let level = std::env::var("AWS_LAMBDA_LOG_LEVEL")
        .ok()
        .and_then(|level| level.parse().ok());
    let function = std::env::var("AWS_LAMBDA_FUNCTION_NAME").unwrap_or_default();
    let log = JsonLog::new(
        function,
        level.unwrap_or(LevelFilter::INFO).min(LevelFilter::DEBUG),
        std::io::stdout(),
    );
    // It fails only where a subscriber is set already, whose logs then go where it sends them.
    let _ = tracing::subscriber::set_global_default(log);
    // A panic is logged like anything else; by default it goes to stderr, as plain text.
    std::panic::set_hook(Box::new(|panic| tracing::error!(%panic, "panicked")));
}

/// A [`Subscriber`] that writes events and keeps of spans only the request id.
struct JsonLog<W> {
    function: String,
    level: LevelFilter,
    state: Mutex<State<W>>,
}

struct State<W> {
    request_id: Option<Value>,
    out: W,
}

impl<W: std::io::Write + Send + 'static> JsonLog<W> {
    fn new(function: String, level: LevelFilter, out: W) -> Self {
        Self {
            function,
            level,
            state: Mutex::new(State {
                request_id: None,
                out,
            }),
        }
    }
}

impl<W: std::io::Write + Send + 'static> Subscriber for JsonLog<W> {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        *metadata.level() <= self.level
    }

    fn max_level_hint(&self) -> Option<LevelFilter> {
        Some(self.level)
    }

    fn new_span(&self, span: &Attributes<'_>) -> Id {
        let mut fields = Fields::default();
        span.record(&mut fields);
        if let Some(id) = fields.0.remove(REQUEST_ID) {
            self.state
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .request_id = Some(id);
        }
        // Spans are not told apart: an invocation ends before the next one begins.
        Id::from_u64(1)
    }

    fn event(&self, event: &Event<'_>) {
        let mut fields = Fields::default();
        event.record(&mut fields);
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let line = line(
            &self.function,
            state.request_id.as_ref(),
            event.metadata(),
            fields.0,
        );
        // A log that cannot be written is no reason to fail the request.
        let _ = state.out.write_all(line.as_bytes());
        let _ = state.out.flush();
    }

    fn record(&self, _: &Id, _: &Record<'_>) {}
    fn record_follows_from(&self, _: &Id, _: &Id) {}
    fn enter(&self, _: &Id) {}
    fn exit(&self, _: &Id) {}
}

fn line(
    function: &str,
    request_id: Option<&Value>,
    metadata: &Metadata<'_>,
    fields: Map<String, Value>,
) -> String {
    let line = Line {
        timestamp: Timestamp::now(),
        level: metadata.level().as_str(),
        function,
        request_id,
        target: metadata.target(),
        fields,
    };
    let mut text = serde_json::to_string(&line).unwrap_or_default();
    text.push('\n');
    text
}

/// A line of the log, under the names of Lambda's own
/// [JSON log format](https://docs.aws.amazon.com/lambda/latest/dg/monitoring-cloudwatchlogs-logformat.html).
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Line<'a> {
    timestamp: Timestamp,
    level: &'static str,
    function: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    request_id: Option<&'a Value>,
    target: &'a str,
    #[serde(flatten)]
    fields: Map<String, Value>,
}

#[derive(Default)]
struct Fields(Map<String, Value>);

impl Fields {
    fn insert(&mut self, field: &Field, value: impl Into<Value>) {
        self.0.insert(field.name().to_owned(), value.into());
    }
}

impl Visit for Fields {
    fn record_str(&mut self, field: &Field, value: &str) {
        self.insert(field, value);
    }

    fn record_u64(&mut self, field: &Field, value: u64) {
        self.insert(field, value);
    }

    fn record_i64(&mut self, field: &Field, value: i64) {
        self.insert(field, value);
    }

    fn record_bool(&mut self, field: &Field, value: bool) {
        self.insert(field, value);
    }

    fn record_debug(&mut self, field: &Field, value: &dyn std::fmt::Debug) {
        let mut text = String::new();
        let _ = write!(text, "{value:?}");
        self.insert(field, text);
    }
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};

    use super::*;

    #[derive(Clone, Default)]
    struct Buffer(Arc<Mutex<Vec<u8>>>);

    impl std::io::Write for Buffer {
        fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
            self.0.lock().unwrap().extend_from_slice(bytes);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }

    fn lines(work: impl FnOnce()) -> Vec<Value> {
        let buffer = Buffer::default();
        let log = JsonLog::new("place-order".to_owned(), LevelFilter::INFO, buffer.clone());
        tracing::subscriber::with_default(log, work);
        let bytes = buffer.0.lock().unwrap().clone();
        let text = String::from_utf8(bytes).unwrap();
        text.lines()
            .map(|line| serde_json::from_str(line).unwrap())
            .collect()
    }

    #[test]
    fn a_line_names_the_function_the_request_and_the_level() {
        let lines = lines(|| {
            let _span = tracing::info_span!("Lambda runtime invoke", requestId = "r-1").entered();
            tracing::warn!(cause = "a \"quoted\"\nline", attempt = 2_u64, "call failed");
        });

        assert_eq!(lines.len(), 1);
        let line = &lines[0];
        assert_eq!(line["function"], "place-order");
        assert_eq!(line["requestId"], "r-1");
        assert_eq!(line["level"], "WARN");
        assert_eq!(line["message"], "call failed");
        assert_eq!(line["cause"], "a \"quoted\"\nline");
        assert_eq!(line["attempt"], 2);
        assert!(line["timestamp"].as_str().unwrap().ends_with('Z'));
    }

    #[test]
    fn each_invocation_has_its_own_request_id() {
        let lines = lines(|| {
            for id in ["r-1", "r-2"] {
                tracing::info_span!("Lambda runtime invoke", requestId = id)
                    .in_scope(|| tracing::info!("served"));
            }
        });

        let ids: Vec<_> = lines.iter().map(|line| line["requestId"].clone()).collect();
        assert_eq!(ids, ["r-1", "r-2"]);
    }

    #[test]
    fn what_is_below_the_level_is_not_written() {
        assert!(lines(|| tracing::debug!("noise")).is_empty());
    }
}
