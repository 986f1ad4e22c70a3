//! The lines that Lambda itself writes to a function's log, as text or as JSON.
//!
//! Text:
//! <https://docs.aws.amazon.com/lambda/latest/dg/monitoring-cloudwatchlogs-view.html>. JSON:
//! <https://docs.aws.amazon.com/lambda/latest/dg/telemetry-schema-reference.html>.

use std::fmt::{self, Display, Formatter};
use std::time::Duration;

use serde_json::{Value, json};
use time::OffsetDateTime;

use crate::template::{LogFormat, LogLevel};

/// What Lambda has to say.
#[derive(Debug)]
pub(super) enum Line<'a> {
    /// An init phase begins.
    InitStart { provisioned: bool },
    /// The end of an init phase. Lambda reports one that succeeded only for provisioned
    /// concurrency.
    InitReport {
        duration: Duration,
        phase: Phase,
        provisioned: bool,
        status: Option<Status>,
    },
    /// An invocation begins.
    Start { request_id: &'a str },
    /// An invocation failed.
    Failed {
        request_id: &'a str,
        status: Status,
        /// In text, the reason.
        reason: String,
    },
    /// The end of an invocation.
    Report(Report<'a>),
}

/// When an init phase runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Phase {
    Init,
    /// Inside an invocation, and a part of its duration: the second try, or after a crash.
    Invoke,
}

/// How an invocation or an init phase failed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Status {
    Timeout,
    Error(String),
}

/// The end of one invocation.
#[derive(Debug)]
pub(super) struct Report<'a> {
    pub(super) request_id: &'a str,
    pub(super) duration: Duration,
    /// The init phase, on the first invocation of an environment.
    pub(super) init: Option<InitReport>,
    pub(super) memory_size_mb: u32,
    /// Highest resident memory of the environment so far, in bytes.
    pub(super) max_memory_used: u64,
    /// CPU time of this invocation; unknown once the process is gone.
    pub(super) cpu: Option<Duration>,
    pub(super) status: Option<Status>,
}

/// A successful init phase.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct InitReport {
    pub(super) duration: Duration,
    pub(super) cpu: Option<Duration>,
    /// Init of provisioned concurrency is billed by the hour, not by invocation.
    pub(super) billed: bool,
}

/// On AWS the version of the managed runtime, which this host does not have.
const RUNTIME: (&str, &str) = (
    "provided:local",
    "arn:aws:lambda:us-east-1::runtime:provided-local",
);

impl Line<'_> {
    /// The whole line, with its end. Empty if the function's system log level leaves it out.
    pub(super) fn written(&self, format: LogFormat, least: LogLevel) -> String {
        match format {
            LogFormat::Text => self.text(),
            LogFormat::Json if self.severity() >= least => {
                let (kind, record) = self.record();
                let time = now();
                format!(
                    "{}\n",
                    json!({"time": time, "type": kind, "record": record})
                )
            }
            LogFormat::Json => String::new(),
        }
    }

    fn text(&self) -> String {
        match self {
            Line::InitStart { .. } => {
                let (version, arn) = RUNTIME;
                format!("INIT_START Runtime Version: {version}\tRuntime Version ARN: {arn}\n")
            }
            Line::InitReport {
                duration,
                phase,
                status,
                ..
            } => {
                let (duration, phase) = (millis(*duration), phase.name());
                let status = status
                    .as_ref()
                    .map_or(String::new(), |it| format!("{it}\t"));
                format!("INIT_REPORT Init Duration: {duration:.2} ms\tPhase: {phase}\t{status}\n")
            }
            Line::Start { request_id } => {
                format!("START RequestId: {request_id} Version: $LATEST\n")
            }
            Line::Failed {
                request_id,
                status: Status::Timeout,
                reason,
            } => format!("{} {request_id} {reason}\n\n", now()),
            Line::Failed { reason, .. } => format!("{reason}\n"),
            Line::Report(report) => report.text(),
        }
    }

    /// The type and the record of the event.
    fn record(&self) -> (&'static str, Value) {
        match self {
            Line::InitStart { provisioned } => {
                let (version, arn) = RUNTIME;
                let record = json!({
                    "initializationType": initialization(*provisioned),
                    "phase": "init",
                    "runtimeVersion": version,
                    "runtimeVersionArn": arn,
                });
                ("platform.initStart", record)
            }
            Line::InitReport {
                duration,
                phase,
                provisioned,
                status,
            } => {
                let mut record = json!({
                    "initializationType": initialization(*provisioned),
                    "phase": phase.name(),
                    "metrics": {"durationMs": hundredths(*duration)},
                });
                add_status(&mut record, status.as_ref());
                ("platform.initReport", record)
            }
            Line::Start { request_id } => {
                let record = json!({"requestId": request_id, "version": "$LATEST"});
                ("platform.start", record)
            }
            Line::Failed {
                request_id, status, ..
            } => {
                let mut record = json!({"requestId": request_id});
                add_status(&mut record, Some(status));
                ("platform.runtimeDone", record)
            }
            Line::Report(report) => ("platform.report", report.record()),
        }
    }

    /// <https://docs.aws.amazon.com/lambda/latest/dg/monitoring-cloudwatchlogs-log-level.html>
    fn severity(&self) -> LogLevel {
        match self {
            Line::InitReport {
                status: Some(_), ..
            }
            | Line::Failed { .. }
            | Line::Report(Report {
                status: Some(_), ..
            }) => LogLevel::Warn,
            _ => LogLevel::Info,
        }
    }
}

impl Report<'_> {
    fn billed(&self) -> u128 {
        // Custom runtimes have always been billed for init; since August 2025 all are.
        // https://aws.amazon.com/blogs/compute/aws-lambda-standardizes-billing-for-init-phase/
        let init = self.init.filter(|init| init.billed);
        let billed = self.duration + init.map_or(Duration::ZERO, |init| init.duration);
        billed.as_nanos().div_ceil(1_000_000)
    }

    /// Each field ends with a tab. Only this host writes the CPU times at the end.
    fn text(&self) -> String {
        let Report {
            request_id,
            memory_size_mb,
            ..
        } = self;
        let mut text = format!(
            "END RequestId: {request_id}\nREPORT RequestId: {request_id}\tDuration: {:.2} ms\t\
             Billed Duration: {} ms\tMemory Size: {memory_size_mb} MB\tMax Memory Used: {} MB\t",
            millis(self.duration),
            self.billed(),
            self.max_memory_used.div_ceil(1024 * 1024)
        );
        let time = |name: &str, duration: Option<Duration>| {
            let millis = duration.map(millis);
            millis.map(|millis| format!("{name}: {millis:.2} ms\t"))
        };
        let status = self.status.as_ref();
        let optional = [
            time("Init Duration", self.init.map(|init| init.duration)),
            status.map(|status| format!("{status}\t")),
            time("CPU Time", self.cpu),
            time("Init CPU Time", self.init.and_then(|init| init.cpu)),
        ];
        text.extend(optional.into_iter().flatten());
        text.push('\n');
        text
    }

    /// Only this host has the CPU times.
    fn record(&self) -> Value {
        let mut metrics = json!({
            "durationMs": hundredths(self.duration),
            "billedDurationMs": self.billed(),
            "memorySizeMB": self.memory_size_mb,
            "maxMemoryUsedMB": self.max_memory_used.div_ceil(1024 * 1024),
        });
        for (name, time) in [
            ("initDurationMs", self.init.map(|init| init.duration)),
            ("cpuTimeMs", self.cpu),
            ("initCpuTimeMs", self.init.and_then(|init| init.cpu)),
        ] {
            if let Some(time) = time {
                metrics[name] = hundredths(time).into();
            }
        }
        let mut record = json!({"requestId": self.request_id, "metrics": metrics});
        add_status(&mut record, self.status.as_ref());
        record
    }
}

impl Display for Status {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match self {
            Status::Timeout => write!(f, "Status: timeout"),
            Status::Error(error_type) => write!(f, "Status: error\tError Type: {error_type}"),
        }
    }
}

fn add_status(record: &mut Value, status: Option<&Status>) {
    record["status"] = match status {
        None => "success",
        Some(Status::Timeout) => "timeout",
        Some(Status::Error(error_type)) => {
            record["errorType"] = error_type.as_str().into();
            "error"
        }
    }
    .into();
}

impl Phase {
    fn name(self) -> &'static str {
        match self {
            Phase::Init => "init",
            Phase::Invoke => "invoke",
        }
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
    let (hour, minute, second, milli) = now.time().as_hms_milli();
    format!(
        "{}T{hour:02}:{minute:02}:{second:02}.{milli:03}Z",
        now.date()
    )
}

fn millis(duration: Duration) -> f64 {
    duration.as_secs_f64() * 1000.0
}

/// Milliseconds with two decimals, as the text has them.
fn hundredths(duration: Duration) -> f64 {
    (duration.as_secs_f64() * 100_000.0).round() / 100.0
}

#[cfg(test)]
mod tests {
    use super::*;

    fn report() -> Report<'static> {
        Report {
            request_id: "8476a536",
            duration: Duration::from_micros(1440),
            init: None,
            memory_size_mb: 512,
            max_memory_used: 15_000_000,
            cpu: Some(Duration::from_micros(440)),
            status: None,
        }
    }

    const COLD: InitReport = InitReport {
        duration: Duration::from_micros(18_450),
        cpu: Some(Duration::from_micros(1900)),
        billed: true,
    };

    #[test]
    fn a_warm_report_has_the_fields_of_lambda_and_then_cpu_time() {
        assert_eq!(
            Line::Report(report()).written(LogFormat::Text, LogLevel::Info),
            "END RequestId: 8476a536\n\
             REPORT RequestId: 8476a536\tDuration: 1.44 ms\tBilled Duration: 2 ms\t\
             Memory Size: 512 MB\tMax Memory Used: 15 MB\tCPU Time: 0.44 ms\t\n"
        );
    }

    #[test]
    fn a_cold_report_bills_init() {
        let init = Some(COLD);
        let cold = Report { init, ..report() };
        let cold = Line::Report(cold).written(LogFormat::Text, LogLevel::Info);
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
        let timeout = Report {
            cpu: None,
            status: Some(Status::Timeout),
            ..report()
        };
        let timeout = Line::Report(timeout).written(LogFormat::Text, LogLevel::Info);
        assert!(
            timeout.ends_with("Max Memory Used: 15 MB\tStatus: timeout\t\n"),
            "{timeout}"
        );
        let failed = Line::InitReport {
            duration: Duration::from_millis(12),
            phase: Phase::Init,
            provisioned: false,
            status: Some(Status::Error("Runtime.ExitError".to_owned())),
        };
        assert_eq!(
            failed.written(LogFormat::Text, LogLevel::Info),
            "INIT_REPORT Init Duration: 12.00 ms\tPhase: init\tStatus: error\tError Type: Runtime.ExitError\t\n"
        );
    }

    #[test]
    fn a_json_report_is_the_event_of_the_telemetry_schema() {
        let init = Some(COLD);
        let line =
            Line::Report(Report { init, ..report() }).written(LogFormat::Json, LogLevel::Info);
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
        let status = Some(Status::Error("Runtime.ExitError".to_owned()));
        let line =
            Line::Report(Report { status, ..report() }).written(LogFormat::Json, LogLevel::Warn);
        let event: Value = serde_json::from_str(&line).expect("JSON");
        assert_eq!(event["record"]["status"], "error");
        assert_eq!(event["record"]["errorType"], "Runtime.ExitError");
    }

    #[test]
    fn the_system_log_level_leaves_out_what_is_less_severe() {
        let request_id = "8476a536";
        for (level, lines) in [
            (LogLevel::Debug, 2),
            (LogLevel::Info, 2),
            (LogLevel::Warn, 0),
        ] {
            let written = [Line::Start { request_id }, Line::Report(report())];
            let written = written.map(|line| line.written(LogFormat::Json, level));
            assert_eq!(written.concat().lines().count(), lines, "{level:?}");
        }
    }
}
