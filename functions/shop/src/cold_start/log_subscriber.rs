//! Writes events of `tracing` as lines of JSON.
//!
//! `tracing-subscriber` costs 0.11 ms and 0.25 MB of zip more. An execution environment serves one
//! invocation at a time and writes a handful of lines in its life, so it needs only a level, a name
//! and the current invocation. The registry, layers and filters of the crate would be built at
//! every cold start to produce the same line.
//!
//! | member of a line | is |
//! |---|---|
//! | `timestamp`, `level`, `function`, `target` | time, severity, function, module |
//! | `requestId` | the invocation; none in the init phase |
//! | `coldStart` | whether a client waited for the environment to start: true in its first invocation |
//! | `traceId` | the root of the invocation's trace, the same in every service that a request reaches |

use std::fmt::Write as _;
use std::io::Write;
use std::sync::{Mutex, MutexGuard, PoisonError};

use serde::Serialize;
use serde_json::{Map, Value};
use tracing::field::{Field, Visit};
use tracing::span::{Attributes, Id, Record};
use tracing::{Event, Metadata, Subscriber, level_filters::LevelFilter};

use super::trace::trace_id;
use crate::domain::Timestamp;

/// The fields with which `lambda_runtime` names the invocation in the span around it.
const REQUEST_ID: &str = "requestId";
const TRACE_HEADER: &str = "xrayTraceId";

/// Writes a line that is not an event of `tracing`, at any level: its members may be any JSON.
pub(crate) fn write_line(target: &str, members: &Map<String, Value>) {
    tracing::dispatcher::get_default(|log| {
        if let Some(log) = log.downcast_ref::<JsonLog>() {
            log.write("INFO", target, members);
        }
    });
}

/// A [`Subscriber`] that writes events. Of spans it keeps only the current invocation.
pub(crate) struct JsonLog {
    function: String,
    level: LevelFilter,
    state: Mutex<State>,
}

struct State {
    request_id: Option<Value>,
    trace_id: Option<String>,
    cold_start: bool,
    out: Box<dyn Write + Send>,
}

impl JsonLog {
    /// A log of `function` to `out`, of events at `level` and above. `cold_start` says whether a
    /// client waits for this environment to start.
    pub(crate) fn new(
        function: String,
        level: LevelFilter,
        cold_start: bool,
        out: Box<dyn Write + Send>,
    ) -> Self {
        Self {
            function,
            level,
            state: Mutex::new(State {
                request_id: None,
                trace_id: None,
                cold_start,
                out,
            }),
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn write(&self, level: &'static str, target: &str, fields: &Map<String, Value>) {
        let mut state = self.state();
        let line = Line {
            timestamp: Timestamp::now(),
            level,
            function: &self.function,
            request_id: state.request_id.as_ref(),
            cold_start: state.cold_start,
            trace_id: state.trace_id.as_deref(),
            target,
            fields,
        };
        let mut text = serde_json::to_string(&line).unwrap_or_default();
        text.push('\n');
        // A failed write to the log must not fail the request.
        let _ = state.out.write_all(text.as_bytes());
        let _ = state.out.flush();
    }
}

impl Subscriber for JsonLog {
    /// The span around an invocation is needed at any level, because it names the invocation of a
    /// line.
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        metadata.is_span() || *metadata.level() <= self.level
    }

    fn max_level_hint(&self) -> Option<LevelFilter> {
        Some(self.level.max(LevelFilter::INFO))
    }

    fn new_span(&self, span: &Attributes<'_>) -> Id {
        let mut fields = Fields::default();
        span.record(&mut fields);
        if let Some(id) = fields.0.remove(REQUEST_ID) {
            let header = fields.0.remove(TRACE_HEADER);
            let trace_id = header.as_ref().and_then(Value::as_str).and_then(trace_id);
            let mut state = self.state();
            state.cold_start &= state.request_id.is_none();
            state.request_id = Some(id);
            state.trace_id = trace_id.map(str::to_owned);
        }
        // All spans have one id: an invocation ends before the next one begins.
        Id::from_u64(1)
    }

    fn event(&self, event: &Event<'_>) {
        let mut fields = Fields::default();
        event.record(&mut fields);
        let metadata = event.metadata();
        self.write(metadata.level().as_str(), metadata.target(), &fields.0);
    }

    fn record(&self, _: &Id, _: &Record<'_>) {}
    fn record_follows_from(&self, _: &Id, _: &Id) {}
    fn enter(&self, _: &Id) {}
    fn exit(&self, _: &Id) {}
}

/// A line of the log, with the names of Lambda's own
/// [JSON log format](https://docs.aws.amazon.com/lambda/latest/dg/monitoring-cloudwatchlogs-logformat.html).
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Line<'a> {
    timestamp: Timestamp,
    level: &'static str,
    function: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    request_id: Option<&'a Value>,
    cold_start: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    trace_id: Option<&'a str>,
    target: &'a str,
    #[serde(flatten)]
    fields: &'a Map<String, Value>,
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
pub(crate) mod tests {
    use std::sync::{Arc, Mutex};

    use super::*;

    #[derive(Clone, Default)]
    struct Buffer(Arc<Mutex<Vec<u8>>>);

    impl Write for Buffer {
        fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
            self.0.lock().unwrap().extend_from_slice(bytes);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }

    fn lines_at(level: LevelFilter, cold_start: bool, work: impl FnOnce()) -> Vec<Value> {
        let buffer = Buffer::default();
        let out = Box::new(buffer.clone());
        let log = JsonLog::new("place-order".to_owned(), level, cold_start, out);
        tracing::subscriber::with_default(log, work);
        let bytes = buffer.0.lock().unwrap().clone();
        let text = String::from_utf8(bytes).unwrap();
        text.lines()
            .map(|line| serde_json::from_str(line).unwrap())
            .collect()
    }

    /// The lines that `work` logs at the usual level.
    pub(crate) fn lines(work: impl FnOnce()) -> Vec<Value> {
        lines_at(LevelFilter::INFO, true, work)
    }

    const ROOT: &str = "1-5759e988-bd862e3fe1be46a994272793";

    /// Logs a line in one invocation after another, as `lambda_runtime` would.
    fn serve(ids: &[&str]) {
        for id in ids {
            let header = format!("Root={ROOT};Parent=53995c3f42cd8ad8;Sampled=0");
            tracing::info_span!(
                "Lambda runtime invoke",
                requestId = id,
                xrayTraceId = &header
            )
            .in_scope(|| tracing::warn!("served"));
        }
    }

    fn each(lines: &[Value], member: &str) -> Vec<Value> {
        lines.iter().map(|line| line[member].clone()).collect()
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
        assert!(line.get("traceId").is_none());
    }

    #[test]
    fn each_invocation_has_its_own_request_id_and_its_trace() {
        let lines = lines(|| serve(&["r-1", "r-2"]));

        assert_eq!(each(&lines, "requestId"), ["r-1", "r-2"]);
        assert_eq!(each(&lines, "traceId"), [ROOT, ROOT]);
    }

    #[test]
    fn the_init_phase_and_the_first_invocation_are_the_cold_start() {
        let work = || {
            tracing::info!("starting");
            serve(&["r-1", "r-2", "r-3"]);
        };

        let cold = lines_at(LevelFilter::INFO, true, work);
        let started_ahead = lines_at(LevelFilter::INFO, false, work);

        assert_eq!(each(&cold, "coldStart"), [true, true, false, false]);
        assert_eq!(each(&started_ahead, "coldStart"), [false; 4]);
    }

    #[test]
    fn the_invocation_is_known_where_only_warnings_are_written() {
        for level in [LevelFilter::WARN, LevelFilter::ERROR] {
            let lines = lines_at(level, true, || {
                let span = tracing::info_span!("Lambda runtime invoke", requestId = "r-1");
                let _span = span.entered();
                tracing::info!("noise");
                tracing::error!("failed");
            });

            assert_eq!(each(&lines, "message"), ["failed"]);
            assert_eq!(each(&lines, "requestId"), ["r-1"]);
        }
    }

    #[test]
    fn what_is_below_the_level_is_not_written() {
        assert!(lines(|| tracing::debug!("noise")).is_empty());
    }
}
