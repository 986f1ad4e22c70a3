//! The lines that Lambda itself writes to a function's log, as text or as JSON.
//!
//! Text:
//! <https://docs.aws.amazon.com/lambda/latest/dg/monitoring-cloudwatchlogs-view.html>. JSON:
//! <https://docs.aws.amazon.com/lambda/latest/dg/telemetry-schema-reference.html>.

use std::fmt::Write;
use std::time::Duration;

use serde_json::{Value, json};
use time::OffsetDateTime;
use time::format_description::BorrowedFormatItem;
use time::macros::format_description;

use super::error::{FunctionError, TIMED_OUT};
use crate::events::Invocation;
use crate::template::{LogFormat, LogLevel};

/// On AWS the version of the managed runtime, which this host does not have.
const RUNTIME: (&str, &str) = (
    "provided:local",
    "arn:aws:lambda:us-east-1::runtime:provided-local",
);

/// Metrics in the order of the text. Only this host writes the CPU times, behind the status.
const METRICS: [(&str, &str); 5] = [
    ("Duration", "durationMs"),
    ("Billed Duration", "billedDurationMs"),
    ("Memory Size", "memorySizeMB"),
    ("Max Memory Used", "maxMemoryUsedMB"),
    ("Init Duration", "initDurationMs"),
];
const CPU_METRICS: [(&str, &str); 2] = [
    ("CPU Time", "cpuTimeMs"),
    ("Init CPU Time", "initCpuTimeMs"),
];

/// `2026-01-31T09:30:00.000Z`.
const MILLISECONDS: &[BorrowedFormatItem<'_>] =
    format_description!("[year]-[month]-[day]T[hour]:[minute]:[second].[subsecond digits:3]Z");

/// Something that happened, in the telemetry schema.
#[derive(Debug)]
pub(super) struct Entry {
    kind: &'static str,
    record: Value,
    text: String,
}

impl Entry {
    /// An init phase begins.
    pub(super) fn init_start(provisioned: bool) -> Entry {
        let (version, arn) = RUNTIME;
        Entry {
            kind: "platform.initStart",
            record: json!({
                "initializationType": initialization(provisioned),
                "phase": "init",
                "runtimeVersion": version,
                "runtimeVersionArn": arn,
            }),
            text: format!("INIT_START Runtime Version: {version}\tRuntime Version ARN: {arn}\n"),
        }
    }

    /// The end of an init phase. `phase` is `init`, or `invoke` for one that is a part of an
    /// invocation. Lambda reports one that succeeded only for provisioned concurrency.
    pub(super) fn init_report(
        duration: Duration,
        phase: &str,
        provisioned: bool,
        error: Option<&FunctionError>,
    ) -> Entry {
        let mut record = json!({
            "initializationType": initialization(provisioned),
            "phase": phase,
            "metrics": {"durationMs": millis(duration)},
        });
        let status = add_status(&mut record, error);
        let duration = millis(duration);
        Entry {
            kind: "platform.initReport",
            record,
            text: format!(
                "INIT_REPORT Init Duration: {duration:.2} ms\tPhase: {phase}\t{status}\n"
            ),
        }
    }

    /// An invocation begins.
    pub(super) fn start(request_id: &str) -> Entry {
        Entry {
            kind: "platform.start",
            record: json!({"requestId": request_id, "version": "$LATEST"}),
            text: format!("START RequestId: {request_id} Version: $LATEST\n"),
        }
    }

    /// An invocation failed.
    pub(super) fn failed(request_id: &str, error: &FunctionError) -> Entry {
        let mut record = json!({"requestId": request_id});
        add_status(&mut record, Some(error));
        let FunctionError {
            error_type,
            message,
            ..
        } = error;
        Entry {
            kind: "platform.runtimeDone",
            record,
            text: match message.split_once(" Error: ") {
                Some((_, reason)) if error_type == TIMED_OUT => {
                    format!("{} {request_id} {reason}\n\n", now())
                }
                _ => format!("{message}\n{error_type}\n"),
            },
        }
    }

    /// The end of an invocation. `error` is one that Lambda itself has seen.
    pub(super) fn report(
        ended: &Invocation,
        provisioned: bool,
        error: Option<&FunctionError>,
    ) -> Entry {
        // Custom runtimes have always been billed for init; since August 2025 all are.
        // https://aws.amazon.com/blogs/compute/aws-lambda-standardizes-billing-for-init-phase/
        // Init of provisioned concurrency is billed by the hour, not by invocation.
        let init = ended.init.filter(|_| !provisioned);
        let billed = ended.duration + init.map_or(Duration::ZERO, |init| init.duration);
        let mut metrics = json!({
            "durationMs": millis(ended.duration),
            "billedDurationMs": billed.as_nanos().div_ceil(1_000_000),
            "memorySizeMB": ended.memory_mb,
            "maxMemoryUsedMB": ended.peak_memory.div_ceil(1024 * 1024),
        });
        for (name, time) in [
            ("initDurationMs", ended.init.map(|init| init.duration)),
            ("cpuTimeMs", ended.cpu),
            ("initCpuTimeMs", ended.init.map(|init| init.cpu)),
        ] {
            if let Some(time) = time {
                metrics[name] = millis(time).into();
            }
        }
        let request_id = &ended.request_id;
        let mut text = format!("END RequestId: {request_id}\nREPORT RequestId: {request_id}\t");
        add_metrics(&mut text, &METRICS, &metrics);
        let mut record = json!({"requestId": request_id, "metrics": metrics});
        text += &add_status(&mut record, error);
        add_metrics(&mut text, &CPU_METRICS, &record["metrics"]);
        text.push('\n');
        Entry {
            kind: "platform.report",
            record,
            text,
        }
    }

    /// The line, with its end. Empty if the function's system log level leaves it out.
    /// <https://docs.aws.amazon.com/lambda/latest/dg/monitoring-cloudwatchlogs-log-level.html>
    pub(super) fn written(self, format: LogFormat, least: LogLevel) -> String {
        let Entry { kind, record, text } = self;
        if format == LogFormat::Text {
            return text;
        }
        let is_warning = record["status"].as_str().is_some_and(|it| it != "success");
        if least > LogLevel::Info && !is_warning {
            return String::new();
        }
        let event = json!({"time": now(), "type": kind, "record": record});
        format!("{event}\n")
    }
}

/// Adds the status to a record, and returns it as text.
fn add_status(record: &mut Value, error: Option<&FunctionError>) -> String {
    let (status, text) = match error {
        None => ("success", String::new()),
        Some(error) if error.error_type == TIMED_OUT => ("timeout", "Status: timeout\t".to_owned()),
        Some(FunctionError { error_type, .. }) => {
            record["errorType"] = error_type.as_str().into();
            let text = format!("Status: error\tError Type: {error_type}\t");
            ("error", text)
        }
    };
    record["status"] = status.into();
    text
}

/// Each field ends with a tab. Whole numbers have no decimals, others two.
fn add_metrics(text: &mut String, names: &[(&str, &str)], metrics: &Value) {
    for (name, metric) in names {
        let unit = if metric.ends_with("MB") { "MB" } else { "ms" };
        let value = &metrics[metric];
        let _ = match (value.as_u64(), value.as_f64()) {
            (Some(whole), _) => write!(text, "{name}: {whole} {unit}\t"),
            (None, Some(number)) => write!(text, "{name}: {number:.2} {unit}\t"),
            (None, None) => Ok(()),
        };
    }
}

/// The value of `AWS_LAMBDA_INITIALIZATION_TYPE`.
pub(super) fn initialization(provisioned: bool) -> &'static str {
    if provisioned {
        "provisioned-concurrency"
    } else {
        "on-demand"
    }
}

/// UTC, to the millisecond.
fn now() -> String {
    let now = OffsetDateTime::now_utc();
    now.format(MILLISECONDS).unwrap_or_default()
}

/// Milliseconds with two decimals.
fn millis(duration: Duration) -> f64 {
    (duration.as_secs_f64() * 100_000.0).round() / 100.0
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::events::Init;

    fn ended() -> Invocation {
        Invocation {
            request_id: "8476a536".to_owned(),
            duration: Duration::from_micros(1440),
            memory_mb: 512,
            peak_memory: 15_000_000,
            cpu: Some(Duration::from_micros(440)),
            ..Invocation::default()
        }
    }

    const COLD: Init = Init {
        duration: Duration::from_micros(18_450),
        cpu: Duration::from_micros(1900),
        platform: Duration::ZERO,
    };

    #[test]
    fn a_warm_report_has_the_fields_of_lambda_and_then_cpu_time() {
        assert_eq!(
            Entry::report(&ended(), false, None).written(LogFormat::Text, LogLevel::Info),
            "END RequestId: 8476a536\n\
             REPORT RequestId: 8476a536\tDuration: 1.44 ms\tBilled Duration: 2 ms\t\
             Memory Size: 512 MB\tMax Memory Used: 15 MB\tCPU Time: 0.44 ms\t\n"
        );
    }

    #[test]
    fn a_cold_report_bills_init() {
        let init = Some(COLD);
        let cold = Invocation { init, ..ended() };
        let cold = Entry::report(&cold, false, None).written(LogFormat::Text, LogLevel::Info);
        assert!(cold.contains("Billed Duration: 20 ms\t"), "{cold}");
        assert!(
            cold.ends_with(
                "\tInit Duration: 18.45 ms\tCPU Time: 0.44 ms\tInit CPU Time: 1.90 ms\t\n"
            ),
            "{cold}"
        );
    }

    #[test]
    fn a_failed_invocation_reports_its_status_after_the_fields_of_lambda() {
        let error = FunctionError::timed_out("8476a536", Duration::from_secs(1));
        let timeout = Invocation {
            cpu: None,
            ..ended()
        };
        let timeout = Entry::report(&timeout, false, Some(&error));
        let timeout = timeout.written(LogFormat::Text, LogLevel::Info);
        assert!(
            timeout.ends_with("Max Memory Used: 15 MB\tStatus: timeout\t\n"),
            "{timeout}"
        );
        let error = FunctionError::new("Runtime.ExitError", String::new());
        let failed = Entry::init_report(Duration::from_millis(12), "init", false, Some(&error));
        assert_eq!(
            failed.written(LogFormat::Text, LogLevel::Info),
            "INIT_REPORT Init Duration: 12.00 ms\tPhase: init\tStatus: error\tError Type: Runtime.ExitError\t\n"
        );
    }

    #[test]
    fn a_json_report_is_the_event_of_the_telemetry_schema() {
        let init = Some(COLD);
        let cold = Invocation { init, ..ended() };
        let line = Entry::report(&cold, false, None).written(LogFormat::Json, LogLevel::Info);
        let mut event: Value = serde_json::from_str(&line).expect("JSON");
        let time = event["time"].take();
        assert_eq!(
            time.as_str().map(str::len),
            Some("2026-01-01T00:00:00.000Z".len())
        );
        assert_eq!(
            event,
            json!({
                "time": null,
                "type": "platform.report",
                "record": {
                    "requestId": "8476a536",
                    "metrics": {
                        "durationMs": 1.44,
                        "billedDurationMs": 20,
                        "memorySizeMB": 512,
                        "maxMemoryUsedMB": 15,
                        "initDurationMs": 18.45,
                        "cpuTimeMs": 0.44,
                        "initCpuTimeMs": 1.9,
                    },
                    "status": "success",
                },
            })
        );
        let error = FunctionError::new("Runtime.ExitError", String::new());
        let failed = Entry::report(&ended(), false, Some(&error));
        let line = failed.written(LogFormat::Json, LogLevel::Warn);
        let event: Value = serde_json::from_str(&line).expect("JSON");
        assert_eq!(event["record"]["status"], "error");
        assert_eq!(event["record"]["errorType"], "Runtime.ExitError");
    }

    #[test]
    fn the_system_log_level_leaves_out_what_is_less_severe() {
        for (level, lines) in [
            (LogLevel::Debug, 2),
            (LogLevel::Info, 2),
            (LogLevel::Warn, 0),
        ] {
            let written = [
                Entry::start("8476a536"),
                Entry::report(&ended(), false, None),
            ];
            let written = written.map(|line| line.written(LogFormat::Json, level));
            assert_eq!(written.concat().lines().count(), lines, "{level:?}");
        }
    }
}
