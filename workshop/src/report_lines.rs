//! One parser for Lambda's REPORT lines from any source: the log files of `local`, `aws logs tail`,
//! `aws logs filter-log-events`, and results of Logs Insights as JSON or CSV.
//!
//! The text form is tab-separated
//! (<https://docs.aws.amazon.com/lambda/latest/dg/monitoring-cloudwatchlogs-view.html>):
//! `REPORT RequestId: …  Duration: 1.44 ms  Billed Duration: 20 ms  Memory Size: 512 MB  Max Memory
//! Used: 15 MB  Init Duration: 18.45 ms`, with `Status`, `Error Type` and X-Ray's fields where they
//! apply. The JSON form is the event `platform.report`
//! (<https://docs.aws.amazon.com/lambda/latest/dg/telemetry-schema-reference.html>). `local` adds the
//! CPU time of the invocation and of init to both.

use std::collections::BTreeMap;

use anyhow::{Context, Result};
use serde::{Deserialize, Deserializer};
use serde_json::{Map, Value};

/// One invocation, as Lambda reports it. What a line does not say is `None`. All forms have the same names, but for
/// capitals, spaces and units; see [`canonical`].
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(default)]
pub struct Report {
    /// The function, as far as an export names its log group.
    #[serde(rename = "log")]
    pub function: Option<String>,
    #[serde(rename = "requestid")]
    pub request_id: Option<String>,
    #[serde(rename = "duration", deserialize_with = "number")]
    pub duration_ms: Option<f64>,
    /// With init.
    #[serde(rename = "billedduration", deserialize_with = "number")]
    pub billed_ms: Option<f64>,
    /// Memory of the function.
    #[serde(rename = "memorysize", deserialize_with = "number")]
    pub memory_mb: Option<f64>,
    /// Highest memory of the environment so far.
    #[serde(rename = "maxmemoryused", deserialize_with = "number")]
    pub peak_memory_mb: Option<f64>,
    /// On a cold start.
    #[serde(rename = "initduration", deserialize_with = "number")]
    pub init_ms: Option<f64>,
    /// CPU time of the invocation; `local` alone tells it.
    #[serde(rename = "cputime", deserialize_with = "number")]
    pub cpu_ms: Option<f64>,
    /// CPU time of init; `local` alone tells it.
    #[serde(rename = "initcputime", deserialize_with = "number")]
    pub init_cpu_ms: Option<f64>,
    /// `error` or `timeout`.
    pub status: Option<String>,
    #[serde(rename = "errortype")]
    pub error_type: Option<String>,
}

/// `initduration` of `Init Duration` in the text form, `initDurationMs` in the JSON form, `@initDuration` in Logs
/// Insights.
fn canonical(name: &str) -> String {
    let name = name.trim().trim_start_matches("REPORT ").to_lowercase();
    let name = name.replace(['@', ' '], "");
    name.trim_end_matches("ms")
        .trim_end_matches("mb")
        .to_owned()
}

/// A number, or a text that begins with one: `1.44 ms`.
fn number<'de, D: Deserializer<'de>>(value: D) -> Result<Option<f64>, D::Error> {
    let value = Value::deserialize(value)?;
    let text = value.as_str().and_then(|text| text.split(' ').next());
    Ok(value.as_f64().or_else(|| text?.parse().ok()))
}

fn report<'a>(fields: impl IntoIterator<Item = (&'a str, Value)>) -> Option<Report> {
    let fields = fields
        .into_iter()
        .map(|(name, value)| (canonical(name), value));
    let mut report: Report = serde_json::from_value(fields.collect()).ok()?;
    let group = report.function.as_deref();
    report.function = group
        .and_then(|group| group.rsplit('/').next())
        .map(str::to_owned);
    // The text form leaves the status of a success out.
    report.status = report.status.filter(|status| status != "success");
    // Logs Insights has bytes, by a thousand twice; and no function has a million MB.
    for size in [&mut report.memory_mb, &mut report.peak_memory_mb] {
        *size = size.map(|size| if size >= 1e6 { size / 1e6 } else { size });
    }
    Some(report)
}

const MARK: &str = "REPORT RequestId: ";

/// Every REPORT in `text`, in any of the forms above.
pub fn parse_reports(text: &str) -> Result<Vec<Report>> {
    let start = text.trim_start();
    if start.starts_with(['{', '['])
        && let Ok(json) = serde_json::from_str(text)
    {
        return from_json(&json);
    }
    let header = start.lines().next().unwrap_or_default();
    if header.trim_start_matches('"').starts_with('@') {
        let rows = csv::Reader::from_reader(start.as_bytes()).into_deserialize();
        let rows: Vec<BTreeMap<String, String>> = rows.collect::<Result<_, _>>()?;
        let rows = rows.into_iter().map(|row| {
            let filled = row.into_iter().filter(|(_, value)| !value.is_empty());
            filled.map(|(name, value)| (name, value.into())).collect()
        });
        return Ok(rows.flat_map(|row| from_insights(&row)).collect());
    }
    Ok(parse_log(text))
}

/// Every REPORT in a plain log with any other lines: the log files of `local`, the text of `aws logs tail`.
pub fn parse_log(text: &str) -> Vec<Report> {
    text.lines().filter_map(from_line).collect()
}

fn from_json(json: &Value) -> Result<Vec<Report>> {
    if let Some(events) = json["events"].as_array() {
        let messages = events.iter().filter_map(|event| event["message"].as_str());
        return Ok(messages.flat_map(parse_log).collect());
    }
    if let Some(report) = from_event(json) {
        return Ok(vec![report]);
    }
    let rows = json["results"].as_array().or(json.as_array());
    let rows = rows.context("not an export of log events or of a Logs Insights query")?;
    // The CLI returns each row as a list of {field, value}, the console as an object.
    let rows = rows.iter().map(|row| match row.as_array() {
        Some(cells) => {
            let name = |cell: &Value| cell["field"].as_str().unwrap_or_default().to_owned();
            let cells = cells.iter().map(|cell| (name(cell), cell["value"].clone()));
            cells.collect()
        }
        None => row.as_object().cloned().unwrap_or_default(),
    });
    Ok(rows.flat_map(|row| from_insights(&row)).collect())
}

fn from_line(line: &str) -> Option<Report> {
    if let Some(begin) = line.find(MARK) {
        let fields = line[begin..].split('\t');
        let fields = fields.filter_map(|field| field.split_once(": "));
        return report(fields.map(|(name, value)| (name, value.trim().into())));
    }
    // The cheap look first: most lines of a log are no events of the platform.
    if !line.contains("\"platform.report\"") {
        return None;
    }
    from_event(&serde_json::from_str(&line[line.find('{')?..]).ok()?)
}

fn from_event(event: &Value) -> Option<Report> {
    if event["type"] != "platform.report" {
        return None;
    }
    let (record, metrics) = (&event["record"], &event["record"]["metrics"]);
    let fields = record.as_object()?.iter().chain(metrics.as_object()?);
    report(fields.map(|(name, value)| (name.as_str(), value.clone())))
}

/// The reports of a row of Logs Insights: of its message, or of the fields that Logs Insights has found in it.
fn from_insights(row: &Map<String, Value>) -> Vec<Report> {
    let text = |name: &str| row.get(name).and_then(Value::as_str);
    let whole = report(
        row.iter()
            .map(|(name, value)| (name.as_str(), value.clone())),
    );
    let mut reports = parse_log(text("@message").unwrap_or_default());
    if !reports.is_empty() {
        let function = whole.and_then(|row| row.function);
        reports
            .iter_mut()
            .for_each(|report| report.function.clone_from(&function));
    } else if text("@type").is_none_or(|kind| kind == "REPORT") {
        reports.extend(whole.filter(|report| report.duration_ms.is_some()));
    }
    reports
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    const WARM: &str = "REPORT RequestId: 3604209a-e9a3-11e6-939a-754dd98c7be3\tDuration: 12.34 ms\tBilled Duration: 13 ms\tMemory Size: 128 MB\tMax Memory Used: 18 MB\t";
    const COLD: &str = "REPORT RequestId: 7b2d1f5c-8f0e-4c3a-9f57-2d2b1c9b6a10\tDuration: 1.44 ms\tBilled Duration: 20 ms\tMemory Size: 512 MB\tMax Memory Used: 15 MB\tInit Duration: 18.45 ms\t";

    fn parsed(text: &str) -> Vec<Report> {
        parse_reports(text).unwrap()
    }

    #[test]
    fn a_warm_line_of_aws_is_read_in_full() {
        let expected = Report {
            request_id: Some("3604209a-e9a3-11e6-939a-754dd98c7be3".to_owned()),
            duration_ms: Some(12.34),
            billed_ms: Some(13.0),
            memory_mb: Some(128.0),
            peak_memory_mb: Some(18.0),
            ..Report::default()
        };
        assert_eq!(parsed(WARM), [expected]);
    }

    #[test]
    fn a_log_file_of_local_is_read_with_its_cpu_times_and_other_lines_are_skipped() {
        let log = [
            "INIT_START Runtime Version: provided:al2023",
            "START RequestId: 7b2d1f5c Version: $LATEST",
            r#"{"level":"INFO","message":"REPORT follows"}"#,
            "END RequestId: 7b2d1f5c",
            &format!("{COLD}CPU Time: 0.44 ms\tInit CPU Time: 1.90 ms\t"),
            &format!("{WARM}CPU Time: 0.41 ms\t"),
            "",
        ]
        .join("\n");
        let times: Vec<_> = parsed(&log)
            .iter()
            .map(|it| (it.init_ms, it.cpu_ms, it.init_cpu_ms, it.peak_memory_mb))
            .collect();
        assert_eq!(
            times,
            [
                (Some(18.45), Some(0.44), Some(1.9), Some(15.0)),
                (None, Some(0.41), None, Some(18.0)),
            ]
        );
    }

    #[test]
    fn the_json_form_is_read_as_the_text_form() {
        let event = json!({
            "time": "2026-01-01T00:00:00.000Z",
            "type": "platform.report",
            "record": {
                "requestId": "7b2d1f5c-8f0e-4c3a-9f57-2d2b1c9b6a10",
                "metrics": {
                    "durationMs": 1.44, "billedDurationMs": 20, "memorySizeMB": 512, "maxMemoryUsedMB": 15,
                    "initDurationMs": 18.45, "cpuTimeMs": 0.44, "initCpuTimeMs": 1.9
                },
                "status": "success"
            }
        });
        let text = parsed(&format!(
            "{COLD}CPU Time: 0.44 ms\tInit CPU Time: 1.90 ms\t"
        ));
        assert_eq!(parsed(&event.to_string()), text);
        // Among other lines, which are JSON too.
        let start = json!({"type": "platform.start", "record": {"requestId": "1"}});
        assert_eq!(parsed(&format!("{start}\n{event}\n")), text);
        let events =
            json!({"events": [{"message": start.to_string()}, {"message": event.to_string()}]});
        assert_eq!(parsed(&events.to_string()), text);
    }

    #[test]
    fn a_failure_in_the_json_form_has_its_status_and_kind() {
        let event = json!({
            "type": "platform.report",
            "record": {"requestId": "1", "metrics": {"durationMs": 9.11}, "status": "error", "errorType": "Runtime.ExitError"}
        });
        let [report] = parsed(&event.to_string()).try_into().unwrap();
        assert_eq!(report.status.as_deref(), Some("error"));
        assert_eq!(report.error_type.as_deref(), Some("Runtime.ExitError"));
        assert_eq!(report.billed_ms, None);
    }

    #[test]
    fn timeouts_errors_and_the_fields_of_x_ray_are_told_apart() {
        let timeout = "REPORT RequestId: 1\tDuration: 3000.00 ms\tBilled Duration: 3000 ms\tMemory Size: 128 MB\tMax Memory Used: 30 MB\tStatus: timeout\n";
        let error = "REPORT RequestId: 2\tDuration: 9.11 ms\tBilled Duration: 160 ms\tMemory Size: 128 MB\tMax Memory Used: 31 MB\tInit Duration: 150.20 ms\tStatus: error\tError Type: Runtime.ExitError\n";
        let traced = format!(
            "{WARM}\nXRAY TraceId: 1-5e34a614-10bdxmplf1fb44f07bc535a1\tSegmentId: 07f5xmpl2d1f6f85\tSampled: true\t\n"
        );
        let reports = parsed(&format!("{timeout}{error}{traced}"));
        let told: Vec<_> = reports
            .iter()
            .map(|it| {
                (
                    it.status.as_deref(),
                    it.error_type.as_deref(),
                    it.duration_ms,
                )
            })
            .collect();
        assert_eq!(
            told,
            [
                (Some("timeout"), None, Some(3000.0)),
                (Some("error"), Some("Runtime.ExitError"), Some(9.11)),
                (None, None, Some(12.34)),
            ]
        );
    }

    #[test]
    fn the_json_of_filter_log_events_is_read() {
        let export = json!({
            "events": [
                {"logStreamName": "s", "timestamp": 1_740_823_200_000_u64, "message": "START RequestId: 1 Version: $LATEST\n", "eventId": "1"},
                {"logStreamName": "s", "timestamp": 1_740_823_200_100_u64, "message": format!("{COLD}\n"), "eventId": "2"},
            ],
            "searchedLogStreams": []
        });
        let export = serde_json::to_string_pretty(&export).unwrap();
        let [report] = parsed(&export).try_into().unwrap();
        assert_eq!(
            (report.duration_ms, report.init_ms),
            (Some(1.44), Some(18.45))
        );
    }

    #[test]
    fn the_text_of_logs_tail_is_read_with_time_and_stream_before_each_line() {
        let text = format!(
            "2025-03-01T10:00:00.100000+00:00 2025/03/01/[$LATEST]8c1f START RequestId: 1 Version: $LATEST\n2025-03-01T10:00:00.200000+00:00 2025/03/01/[$LATEST]8c1f {WARM}\n"
        );
        let [report] = parsed(&text).try_into().unwrap();
        assert_eq!(
            (report.duration_ms, report.memory_mb),
            (Some(12.34), Some(128.0))
        );
    }

    #[test]
    fn a_result_of_logs_insights_has_its_memory_in_bytes_and_names_the_function() {
        let fields = json!({
            "@log": "123456789012:/aws/lambda/shop-GetProduct-4x7", "@type": "REPORT", "@requestId": "1", "@duration": "1.44",
            "@billedDuration": "20.0", "@memorySize": "512000000", "@maxMemoryUsed": "15000000", "@initDuration": "18.45"
        });
        let started = json!({"@log": fields["@log"], "@type": "START", "@requestId": "1"});
        let expected = Report {
            function: Some("shop-GetProduct-4x7".to_owned()),
            request_id: Some("1".to_owned()),
            duration_ms: Some(1.44),
            billed_ms: Some(20.0),
            memory_mb: Some(512.0),
            peak_memory_mb: Some(15.0),
            init_ms: Some(18.45),
            ..Report::default()
        };
        let cells = |row: &Value| -> Value {
            let row = row.as_object().unwrap();
            row.iter()
                .map(|(field, value)| json!({"field": field, "value": value}))
                .collect()
        };
        let cli = json!({"status": "Complete", "results": [cells(&started), cells(&fields)]});
        let names: Vec<_> = fields.as_object().unwrap().keys().cloned().collect();
        let csv: Vec<_> = [&started, &fields]
            .map(|row| {
                names
                    .iter()
                    .map(|name| row[name].as_str().unwrap_or_default())
                    .collect::<Vec<_>>()
                    .join(",")
            })
            .into();
        let csv = format!("{}\n{}", names.join(","), csv.join("\n"));
        for export in [cli.to_string(), json!([started, fields]).to_string(), csv] {
            assert_eq!(parsed(&export), std::slice::from_ref(&expected), "{export}");
        }
    }

    #[test]
    fn a_csv_of_logs_insights_with_whole_messages_is_read() {
        let csv = format!(
            "@timestamp,@message,@log\n2025-03-01 10:00:00.200,\"{COLD}\n\",123456789012:/aws/lambda/shop-PutProduct\n"
        );
        let [report] = parsed(&csv).try_into().unwrap();
        assert_eq!(
            (report.function.as_deref(), report.init_ms),
            (Some("shop-PutProduct"), Some(18.45))
        );
    }

    #[test]
    fn json_that_is_no_export_is_refused() {
        let refused = parse_reports(r#"{"message": "hello"}"#).unwrap_err();
        assert!(
            refused.to_string().starts_with("not an export"),
            "{refused}"
        );
    }
}
