//! `AWS::Serverless::Function`.
//! <https://docs.aws.amazon.com/serverless-application-model/latest/developerguide/sam-resource-function.html>

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::Deserialize;

use crate::error::refuse;
use crate::properties::Properties;

/// One Lambda function. Limits: <https://docs.aws.amazon.com/lambda/latest/api/API_CreateFunction.html>
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
    /// `ProvisionedConcurrentExecutions`: how many environments start ahead.
    pub provisioned_concurrency: u32,
    /// `LogFormat`; text unless set.
    pub log_format: LogFormat,
    /// `ApplicationLogLevel`: the least level of the function's own lines that is kept. Only with JSON, where it is
    /// `INFO` unless set.
    pub application_log_level: Option<LogLevel>,
    /// `SystemLogLevel`: the same for the platform's lines, `DEBUG`, `INFO` or `WARN`.
    pub system_log_level: Option<LogLevel>,
    /// `LogGroup`; `/aws/lambda/<name>` unless set.
    pub log_group: String,
    /// `HttpApi` events.
    pub routes: Vec<Route>,
    /// `SQS` events and event source mappings.
    pub queue_triggers: Vec<QueueTrigger>,
}

/// One route of the HTTP API.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Route {
    /// Upper-case HTTP method; none is any method.
    pub method: Option<String>,
    /// `/products/{id}`, `/files/{proxy+}` or `$default`.
    pub path: String,
}

/// An event source mapping from a queue to a function: an `SQS` event, or an `AWS::Lambda::EventSourceMapping`. Limits:
/// <https://docs.aws.amazon.com/lambda/latest/api/API_CreateEventSourceMapping.html>
#[derive(Debug, Clone)]
pub struct QueueTrigger {
    /// The queue's logical id.
    pub queue: String,
    /// `BatchSize`: the most messages in one invocation; 10 unless set.
    pub batch_size: u32,
    /// `MaximumBatchingWindowInSeconds`; zero unless set.
    pub batching_window: Duration,
    /// `ScalingConfig.MaximumConcurrency`: the most invocations at one time.
    pub maximum_concurrency: Option<u32>,
    /// `FunctionResponseTypes` contains `ReportBatchItemFailures`.
    pub report_batch_item_failures: bool,
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

/// Reads a function without its events. `base` is the folder of the template.
pub(crate) fn read(given: &Properties<'_>, id: &str, base: &Path) -> Result<Function, String> {
    let name = given.resolver.name(id)?;
    given.need::<String>("Runtime")?;
    given.one_of("Runtime", &["provided.al2023", "provided.al2"])?;
    given.one_of("PackageType", &["Zip"])?;
    let uri: String = given.need("CodeUri")?;
    if uri.is_empty() || uri.ends_with(".zip") || uri.contains("://") {
        refuse!(given, "CodeUri" => "must be a folder that holds the function's bootstrap, not {uri:?}");
    }
    let memory_mb = given.number("MemorySize", 128..=10_240)?;
    let timeout = given.number("Timeout", 1..=900)?;
    let environment = given.within("Environment", |it| it.get("Variables"))?;
    let mut function = Function {
        logical_id: id.to_owned(),
        code_dir: base.join(uri),
        handler: given.need("Handler")?,
        memory_mb: memory_mb.unwrap_or(128),
        timeout: Duration::from_secs(timeout.unwrap_or(3)),
        environment: environment.unwrap_or_default(),
        reserved_concurrency: given.number("ReservedConcurrentExecutions", 0..=u32::MAX)?,
        provisioned_concurrency: 0,
        log_format: LogFormat::Text,
        application_log_level: None,
        system_log_level: None,
        log_group: format!("/aws/lambda/{name}"),
        name,
        routes: Vec::new(),
        queue_triggers: Vec::new(),
    };
    // https://docs.aws.amazon.com/lambda/latest/dg/configuration-envvars.html
    let bytes = |(name, value): (&String, &String)| name.len() + value.len();
    let bytes: usize = function.environment.iter().map(bytes).sum();
    if bytes > 4096 {
        refuse!(given, "Environment" => "{bytes} bytes, and Lambda takes at most 4096");
    }
    given.within("ProvisionedConcurrencyConfig", |config| {
        let provisioned = config.number("ProvisionedConcurrentExecutions", 1..=u32::MAX)?;
        function.provisioned_concurrency = provisioned.unwrap_or(0);
        match function.reserved_concurrency {
            Some(most) if provisioned > Some(most) => {
                refuse!("must not be above ReservedConcurrentExecutions, {most}")
            }
            _ => Ok(()),
        }
    })?;
    given.within("LoggingConfig", |logging| {
        function.log_format = logging.get("LogFormat")?.unwrap_or_default();
        let application: Option<LogLevel> = logging.get("ApplicationLogLevel")?;
        let system: Option<LogLevel> = logging.get("SystemLogLevel")?;
        if let Some(group) = logging.get("LogGroup")? {
            function.log_group = group;
        }
        if function.log_format == LogFormat::Text && (application, system) != (None, None) {
            refuse!("log levels need LogFormat: JSON");
        }
        if system.is_some_and(|it| it < LogLevel::Debug || it > LogLevel::Warn) {
            refuse!(logging, "SystemLogLevel" => "must be DEBUG or INFO or WARN");
        }
        function.application_log_level = application;
        function.system_log_level = system;
        Ok(())
    })?;
    Ok(function)
}
