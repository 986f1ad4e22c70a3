//! The records of log files, with the fields that Logs Insights discovers in them
//! (<https://docs.aws.amazon.com/AmazonCloudWatch/latest/logs/CWL_AnalyzeLogData-discoverable-fields.html>).

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use anyhow::Result;
use fs_err as fs;
use serde_json::Value as Json;
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use super::value::Value;
use crate::report_lines::parse_log;
use crate::session::BadInput;

/// A line of a log, or a row of a result: values by name.
pub type Record = BTreeMap<String, Value>;

/// The account of the host of this machine.
const ACCOUNT: &str = "000000000000";

/// All records of the log files of a folder, `<function>.log`, in the order of their names.
///
/// # Errors
/// [`BadInput`] if there is none.
pub fn read_folder(folder: &Path) -> Result<Vec<Record>> {
    let entries = fs::read_dir(folder).map_err(|error| BadInput(error.to_string()))?;
    let files: std::io::Result<Vec<PathBuf>> = entries.map(|it| Ok(it?.path())).collect();
    let mut files = files?;
    files.retain(|it| it.extension().is_some_and(|it| it == "log"));
    files.sort();
    if files.is_empty() {
        let shown = folder.display();
        return Err(BadInput(format!("{shown} has no log file: NAME.log")).into());
    }
    let mut records = Vec::new();
    for file in files {
        let name = file.file_stem().unwrap_or_default().to_string_lossy();
        records.extend(read(&name, &fs::read_to_string(&file)?));
    }
    Ok(records)
}

/// The records of a function's log. A line without a time of its own has that of the line before it.
pub fn read(function: &str, log: &str) -> Vec<Record> {
    let mut now = Value::None;
    let lines = log.lines().filter(|line| !line.trim().is_empty());
    lines
        .map(|line| {
            let mut record = Record::new();
            discover(line, &mut record);
            if let Some(own) = own_time(&record) {
                now = Value::Time(own);
            }
            record.insert("@timestamp".to_owned(), now.clone());
            record.insert("@message".to_owned(), Value::Text(line.to_owned()));
            let log = format!("{ACCOUNT}:/aws/lambda/{function}");
            record.insert("@log".to_owned(), Value::Text(log));
            record
        })
        .collect()
}

fn discover(line: &str, record: &mut Record) {
    let kind = line.split(' ').next().unwrap_or_default();
    if matches!(kind, "INIT_START" | "START" | "END" | "REPORT") {
        record.insert("@type".to_owned(), Value::Text(kind.to_owned()));
        let id = line.split_once("RequestId: ").map(|(_, rest)| rest);
        let id = id.and_then(|rest| rest.split_whitespace().next());
        if let Some(id) = id {
            record.insert("@requestId".to_owned(), Value::Text(id.to_owned()));
        }
        if let [report] = &parse_log(line)[..] {
            // Sizes are bytes, and a MB is a million of them.
            for (name, value) in [
                ("@duration", report.duration_ms),
                ("@billedDuration", report.billed_ms),
                ("@initDuration", report.init_ms),
                ("@memorySize", report.memory_mb.map(|it| it * 1e6)),
                ("@maxMemoryUsed", report.peak_memory_mb.map(|it| it * 1e6)),
            ] {
                if let Some(value) = value {
                    record.insert(name.to_owned(), Value::Number(value));
                }
            }
        }
        return;
    }
    // The first JSON of a line, whatever stands before it.
    if let Some(begin) = line.find('{') {
        let mut json = serde_json::Deserializer::from_str(&line[begin..]).into_iter();
        if let Some(Ok(json)) = json.next() {
            flatten(String::new(), &json, record);
        }
    }
}

/// Members of members have names such as `user.id` and `ids.0`.
fn flatten(name: String, json: &Json, record: &mut Record) {
    let inside = |member: &str| match &*name {
        "" => member.to_owned(),
        name => format!("{name}.{member}"),
    };
    let value = match json {
        Json::Object(members) => {
            for (member, json) in members {
                flatten(inside(member), json, record);
            }
            return;
        }
        Json::Array(all) => {
            for (index, json) in all.iter().enumerate() {
                flatten(inside(&index.to_string()), json, record);
            }
            return;
        }
        Json::Null => return,
        Json::Bool(is) => Value::truth(*is),
        Json::Number(number) => number.as_f64().map_or(Value::None, Value::Number),
        Json::String(text) => Value::Text(text.clone()),
    };
    record.insert(name, value);
}

/// Milliseconds since 1970 that a JSON line says of itself.
fn own_time(record: &Record) -> Option<f64> {
    if let Some(Value::Number(ms)) = record.get("_aws.Timestamp") {
        return Some(*ms);
    }
    ["timestamp", "time"].iter().find_map(|name| {
        let Some(Value::Text(text)) = record.get(*name) else {
            return None;
        };
        let at = OffsetDateTime::parse(text, &Rfc3339).ok()?;
        Some(at.unix_timestamp_nanos() as f64 / 1e6)
    })
}
