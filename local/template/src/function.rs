//! `AWS::Serverless::Function`.
//! <https://docs.aws.amazon.com/serverless-application-model/latest/developerguide/sam-resource-function.html>

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::de::Error;
use serde::{Deserialize, Deserializer};

use crate::error::Mistake;
use crate::events::{QueueTrigger, Route};
use crate::properties::{Reader, duration, executions, megabytes, of};

/// One Lambda function. Limits: <https://docs.aws.amazon.com/lambda/latest/api/API_CreateFunction.html>
#[derive(Debug, Clone, Deserialize)]
pub struct Function {
    /// Its name in the template.
    #[serde(skip)]
    pub logical_id: String,
    /// Its name on AWS: `FunctionName`, or `local-<logical id>`.
    #[serde(skip)]
    pub name: String,
    /// `CodeUri`: the folder that holds `bootstrap`.
    #[serde(rename = "CodeUri", deserialize_with = "folder")]
    pub code_dir: PathBuf,
    /// `Handler`, passed on as `_HANDLER`.
    #[serde(rename = "Handler")]
    pub handler: String,
    /// `MemorySize` in MB; 128 unless set.
    #[serde(rename = "MemorySize", default = "of::<128>")]
    #[serde(deserialize_with = "megabytes::<128, 10_240, _, _>")]
    pub memory_mb: u32,
    /// `Timeout`: the time limit of one invocation; 3 s unless set.
    #[serde(rename = "Timeout", default = "three_seconds")]
    #[serde(deserialize_with = "duration::<1, 900, _>")]
    pub timeout: Duration,
    /// `Environment.Variables`.
    #[serde(rename = "Environment.Variables", default)]
    pub environment: BTreeMap<String, String>,
    /// `ReservedConcurrentExecutions`: the most execution environments at one time.
    #[serde(rename = "ReservedConcurrentExecutions", default)]
    #[serde(deserialize_with = "executions::<0, { u32::MAX }, _, _>")]
    pub reserved_concurrency: Option<u32>,
    /// `ProvisionedConcurrencyConfig.ProvisionedConcurrentExecutions`: how many environments start
    /// ahead.
    #[serde(
        rename = "ProvisionedConcurrencyConfig.ProvisionedConcurrentExecutions",
        default
    )]
    #[serde(deserialize_with = "executions::<1, { u32::MAX }, _, _>")]
    pub provisioned_concurrency: u32,
    /// `LoggingConfig.LogFormat`; text unless set.
    #[serde(rename = "LoggingConfig.LogFormat", default)]
    pub log_format: LogFormat,
    /// `LoggingConfig.ApplicationLogLevel`: the least level of the function's own lines that is kept. Only with JSON,
    /// where it is `INFO` unless set.
    #[serde(rename = "LoggingConfig.ApplicationLogLevel")]
    pub application_log_level: Option<LogLevel>,
    /// `LoggingConfig.SystemLogLevel`: the same for the platform's lines, `DEBUG`, `INFO` or `WARN`.
    #[serde(rename = "LoggingConfig.SystemLogLevel")]
    pub system_log_level: Option<LogLevel>,
    /// `LoggingConfig.LogGroup`; `/aws/lambda/<name>` unless set.
    #[serde(rename = "LoggingConfig.LogGroup", default)]
    pub log_group: String,
    /// `HttpApi` events.
    #[serde(skip)]
    pub routes: Vec<Route>,
    /// `SQS` events.
    #[serde(skip)]
    pub queue_triggers: Vec<QueueTrigger>,
}

/// The form of a function's log.
/// <https://docs.aws.amazon.com/lambda/latest/dg/monitoring-cloudwatchlogs-logformat.html>
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
pub enum LogFormat {
    /// Lines as the function writes them, and `START`, `END` and `REPORT`.
    #[default]
    Text,
    /// One JSON object a line.
    #[serde(rename = "JSON")]
    Json,
}

/// The weight of a line of a JSON log, the lightest first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Deserialize)]
#[serde(rename_all = "UPPERCASE")]
#[expect(missing_docs, reason = "AWS's own words, in its order")]
pub enum LogLevel {
    Trace,
    Debug,
    Info,
    Warn,
    Error,
    Fatal,
}

#[derive(Deserialize)]
enum Runtime {
    #[serde(rename = "provided.al2023")]
    Al2023,
    #[serde(rename = "provided.al2")]
    Al2,
}

#[derive(Deserialize)]
enum PackageType {
    Zip,
}

fn three_seconds() -> Duration {
    Duration::from_secs(3)
}

fn folder<'n, D: Deserializer<'n>>(value: D) -> Result<PathBuf, D::Error> {
    match <&str>::deserialize(value) {
        Ok(uri) if !uri.is_empty() && !uri.ends_with(".zip") && !uri.contains("://") => {
            Ok(uri.into())
        }
        _ => Err(D::Error::custom(
            "must be a folder that holds the function's bootstrap",
        )),
    }
}

/// Reads a function without its events. `base` is the folder of the template.
pub(crate) fn read(place: &Reader<'_>, name: String, base: &Path) -> Result<Function, Mistake> {
    /// Bytes of names and values together: <https://docs.aws.amazon.com/lambda/latest/dg/configuration-envvars.html>
    const MOST_BYTES: usize = 4096;
    place.required::<Runtime>("Runtime")?;
    place.optional::<PackageType>("PackageType")?;
    let mut function: Function = place.read()?;
    let variables = function.environment.iter();
    let bytes: usize = variables
        .map(|(name, value)| name.len() + value.len())
        .sum();
    if bytes > MOST_BYTES {
        let message = format!("{bytes} bytes, and Lambda takes at most {MOST_BYTES}");
        return Err(place.mistake("Environment", message));
    }
    let provisioned = function.provisioned_concurrency;
    if let Some(reserved) = function
        .reserved_concurrency
        .filter(|most| provisioned > *most)
    {
        let message = format!("{provisioned} is above ReservedConcurrentExecutions, {reserved}");
        return Err(place.mistake("ProvisionedConcurrencyConfig", message));
    }
    match (
        function.log_format,
        function.application_log_level,
        function.system_log_level,
    ) {
        (LogFormat::Text, Some(_), _) | (LogFormat::Text, _, Some(_)) => {
            return Err(place.mistake("LoggingConfig", "log levels need LogFormat: JSON"));
        }
        (_, _, Some(LogLevel::Trace | LogLevel::Error | LogLevel::Fatal)) => {
            let message = "SystemLogLevel must be DEBUG or INFO or WARN";
            return Err(place.mistake("LoggingConfig", message));
        }
        _ => {}
    }
    if function.log_group.is_empty() {
        function.log_group = format!("/aws/lambda/{name}");
    }
    function.logical_id = place.path.clone();
    function.name = name;
    function.code_dir = base.join(function.code_dir);
    Ok(function)
}
