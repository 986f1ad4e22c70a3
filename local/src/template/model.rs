//! The resources of a template, after parameters and intrinsic functions are resolved.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use serde_json::Value;

/// A resolved template: the resources that this host runs.
#[derive(Debug, Clone, Default)]
pub struct Template {
    /// `AWS::Serverless::Function`, in the order of the file.
    pub functions: Vec<Function>,
    /// `AWS::DynamoDB::Table` and `AWS::Serverless::SimpleTable`.
    pub tables: Vec<Table>,
    /// `AWS::SQS::Queue`.
    pub queues: Vec<Queue>,
    /// The HTTP API.
    pub api: Api,
    /// The parts of the template that this host leaves out: one sentence for all kinds of
    /// resources, one for each property.
    pub notices: Vec<String>,
}

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
    /// `MemorySize` in MB.
    pub memory_mb: u32,
    /// `Timeout`: the time limit of one invocation.
    pub timeout: Duration,
    /// `Environment.Variables`.
    pub environment: BTreeMap<String, String>,
    /// `ReservedConcurrentExecutions`: the most execution environments at one time.
    pub reserved_concurrency: Option<u32>,
    /// `ProvisionedConcurrencyConfig.ProvisionedConcurrentExecutions`: how many environments start
    /// ahead.
    pub provisioned_concurrency: u32,
    /// `HttpApi` events.
    pub routes: Vec<Route>,
    /// `SQS` events.
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

/// An event source mapping from a queue to a function.
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

/// One DynamoDB table.
#[derive(Debug, Clone)]
pub struct Table {
    /// Its name in the template.
    pub logical_id: String,
    /// Its name on AWS: `TableName`, or `local-<logical id>`.
    pub name: String,
    /// The body of `CreateTable`, which CloudFormation's properties follow.
    pub create: Value,
    /// `TimeToLiveSpecification.AttributeName`, where enabled.
    pub ttl_attribute: Option<String>,
}

/// One SQS queue.
#[derive(Debug, Clone)]
pub struct Queue {
    /// Its name in the template.
    pub logical_id: String,
    /// Its name on AWS: `QueueName`, or `local-<logical id>`.
    pub name: String,
    /// Attributes in the form of `CreateQueue`, all strings, without the redrive policy.
    pub attributes: BTreeMap<String, String>,
    /// The destination of messages that were received too often.
    pub redrive: Option<Redrive>,
}

/// A queue's redrive policy.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Redrive {
    /// Logical id of the dead-letter queue.
    pub dead_letter_queue: String,
    /// How often a message may be received before it moves there.
    pub max_receive_count: u32,
}

/// Temporary.
#[derive(Debug, Clone, Default)]
pub struct Api {
    /// C.
    pub cors: Option<Cors>,
    /// T.
    pub throttling: Throttling,
}
/// C.
#[derive(Debug, Clone, Default)]
pub struct Cors {
    /// x
    pub allow_origins: Vec<String>,
    /// x
    pub allow_methods: Vec<String>,
    /// x
    pub allow_headers: Vec<String>,
    /// x
    pub expose_headers: Vec<String>,
    /// x
    pub max_age: Option<u32>,
    /// x
    pub allow_credentials: bool,
}
/// T.
#[derive(Debug, Clone, Default)]
pub struct Throttling;
impl Throttling {
    /// x
    pub fn of_route(&self, _key: &str) -> RouteLimit {
        RouteLimit {
            rate: 10_000.0,
            burst: 5_000.0,
        }
    }
}
/// R
#[derive(Debug, Clone, Copy)]
pub struct RouteLimit {
    /// x
    pub rate: f64,
    /// x
    pub burst: f64,
}
