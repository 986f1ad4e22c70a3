//! `AWS::Serverless::Function`.
//! <https://docs.aws.amazon.com/serverless-application-model/latest/developerguide/sam-resource-function.html>

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::de::Error;
use serde::{Deserialize, Deserializer};
use serde_json::Value;

use crate::error::Fault;
use crate::events::{QueueTrigger, Route};
use crate::properties::{Reader, executions, megabytes, seconds, show};

/// One Lambda function.
#[derive(Debug, Clone)]
pub struct Function {
    /// Its name in the template.
    pub logical_id: String,
    /// Its name on AWS: `FunctionName`, or `local-<logical id>`.
    pub name: String,
    /// `CodeUri`: the folder that holds `bootstrap`.
    pub code_dir: PathBuf,
    /// `Handler`, passed on as `_HANDLER`.
    pub handler: String,
    /// `MemorySize` in MB; 128 unless set.
    pub memory_mb: u32,
    /// `Timeout`: the time limit of one invocation; 3 s unless set.
    pub timeout: Duration,
    /// `Environment.Variables`.
    pub environment: BTreeMap<String, String>,
    /// `ReservedConcurrentExecutions`: the most execution environments at one time.
    pub reserved_concurrency: Option<u32>,
    /// `ProvisionedConcurrencyConfig.ProvisionedConcurrentExecutions`: how many environments start
    /// ahead.
    pub provisioned_concurrency: u32,
    /// `LoggingConfig.LogFormat`; text unless set.
    pub log_format: LogFormat,
    /// `LoggingConfig.LogGroup`; `/aws/lambda/<name>` unless set.
    pub log_group: String,
    /// `HttpApi` events.
    pub routes: Vec<Route>,
    /// `SQS` events.
    pub queue_triggers: Vec<QueueTrigger>,
}

/// The form of a function's log.
/// <https://docs.aws.amazon.com/lambda/latest/dg/monitoring-cloudwatchlogs-logformat.html>
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LogFormat {
    /// Lines as the function writes them, and `START`, `END` and `REPORT`.
    Text,
    /// One JSON object a line.
    Json {
        /// `ApplicationLogLevel`: the least level of the function's own lines that is kept; `INFO` unless set.
        application: LogLevel,
        /// `SystemLogLevel`: the same for the platform's lines. Never `TRACE`, `ERROR` or `FATAL`.
        system: LogLevel,
    },
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
#[serde(rename = "Function", rename_all = "PascalCase")]
struct Properties {
    #[serde(rename = "Runtime")]
    _runtime: Runtime,
    #[serde(rename = "PackageType")]
    _package_type: Option<PackageType>,
    #[serde(deserialize_with = "folder")]
    code_uri: String,
    handler: String,
    // Limits: https://docs.aws.amazon.com/lambda/latest/api/API_CreateFunction.html
    #[serde(default, deserialize_with = "megabytes::<128, 10_240, _, _>")]
    memory_size: Option<u32>,
    #[serde(default, deserialize_with = "seconds::<1, 900, _, _>")]
    timeout: Option<u32>,
    #[serde(default)]
    environment: Environment,
    #[serde(default, deserialize_with = "executions::<0, { u32::MAX }, _, _>")]
    reserved_concurrent_executions: Option<u32>,
    provisioned_concurrency_config: Option<ProvisionedConcurrencyConfig>,
    #[serde(default)]
    logging_config: LoggingConfig,
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

#[derive(Default, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Environment {
    #[serde(default)]
    variables: BTreeMap<String, String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct ProvisionedConcurrencyConfig {
    #[serde(deserialize_with = "executions::<1, { u32::MAX }, _, _>")]
    provisioned_concurrent_executions: u32,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct LoggingConfig {
    #[serde(default)]
    log_format: Format,
    application_log_level: Option<LogLevel>,
    system_log_level: Option<SystemLogLevel>,
    log_group: Option<String>,
}

#[derive(Default, Deserialize)]
enum Format {
    #[default]
    Text,
    #[serde(rename = "JSON")]
    Json,
}

/// The platform has lines of three levels only.
#[derive(Deserialize)]
#[serde(rename_all = "UPPERCASE")]
enum SystemLogLevel {
    Debug,
    Info,
    Warn,
}

fn folder<'n, D: Deserializer<'n>>(value: D) -> Result<String, D::Error> {
    match Value::deserialize(value)? {
        Value::String(uri) if !uri.is_empty() && !uri.ends_with(".zip") && !uri.contains("://") => {
            Ok(uri)
        }
        other => Err(D::Error::custom(format!(
            "must be a folder that holds the function's bootstrap, not {}",
            show(&other)
        ))),
    }
}

/// Reads a function without its events. `base` is the folder of the template.
pub(crate) fn read(function: &Reader<'_>, name: String, base: &Path) -> Result<Function, Fault> {
    /// Bytes of names and values together: <https://docs.aws.amazon.com/lambda/latest/dg/configuration-envvars.html>
    const MOST_BYTES: usize = 4096;
    let properties: Properties = function.read()?;
    let environment = properties.environment.variables;
    let bytes: usize = environment
        .iter()
        .map(|(name, value)| name.len() + value.len())
        .sum();
    if bytes > MOST_BYTES {
        let message = format!("{bytes} bytes, and Lambda takes at most {MOST_BYTES}");
        return Err(function.fault("Environment", message));
    }
    let reserved = properties.reserved_concurrent_executions;
    let provisioned = properties.provisioned_concurrency_config;
    let provisioned = provisioned.map_or(0, |config| config.provisioned_concurrent_executions);
    if let Some(reserved) = reserved.filter(|reserved| provisioned > *reserved) {
        let message = format!("{provisioned} is above ReservedConcurrentExecutions, {reserved}");
        return Err(function.fault("ProvisionedConcurrencyConfig", message));
    }
    let logging = properties.logging_config;
    let (application, system) = (logging.application_log_level, logging.system_log_level);
    let log_format = match logging.log_format {
        Format::Text if application.is_some() || system.is_some() => {
            return Err(function.fault("LoggingConfig", "log levels need LogFormat: JSON"));
        }
        Format::Text => LogFormat::Text,
        Format::Json => LogFormat::Json {
            application: application.unwrap_or(LogLevel::Info),
            system: match system {
                Some(SystemLogLevel::Debug) => LogLevel::Debug,
                Some(SystemLogLevel::Info) | None => LogLevel::Info,
                Some(SystemLogLevel::Warn) => LogLevel::Warn,
            },
        },
    };
    Ok(Function {
        logical_id: function.path.clone(),
        code_dir: base.join(properties.code_uri),
        handler: properties.handler,
        memory_mb: properties.memory_size.unwrap_or(128),
        timeout: Duration::from_secs(properties.timeout.unwrap_or(3).into()),
        environment,
        reserved_concurrency: reserved,
        provisioned_concurrency: provisioned,
        log_format,
        log_group: logging
            .log_group
            .unwrap_or_else(|| format!("/aws/lambda/{name}")),
        name,
        routes: Vec::new(),
        queue_triggers: Vec::new(),
    })
}
