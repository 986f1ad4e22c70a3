//! The events that call a function: `HttpApi`, `SQS` and event source mappings.

use std::time::Duration;

use serde::{Deserialize, Deserializer};

use crate::Template;
use crate::error::Mistake;
use crate::function::Function;
use crate::intrinsics::Resolver;
use crate::names::{HTTP_API, IMPLICIT_API, api_id};
use crate::properties::{Reader, duration, invocations, messages, of};
use crate::queue::Queue;
use crate::yaml::{Content, Map, Node};

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
#[derive(Debug, Clone, Deserialize)]
#[serde(rename = "SqsEvent")]
pub struct QueueTrigger {
    /// The queue's logical id.
    #[serde(rename = "Queue", alias = "EventSourceArn")]
    pub queue: String,
    /// `BatchSize`: the most messages in one invocation; 10 unless set.
    #[serde(rename = "BatchSize", default = "of::<10>")]
    #[serde(deserialize_with = "messages::<1, 10_000, _, _>")]
    pub batch_size: u32,
    /// `MaximumBatchingWindowInSeconds`; zero unless set.
    #[serde(rename = "MaximumBatchingWindowInSeconds", default)]
    #[serde(deserialize_with = "duration::<0, 300, _>")]
    pub batching_window: Duration,
    /// `ScalingConfig.MaximumConcurrency`: the most invocations at one time.
    #[serde(rename = "ScalingConfig.MaximumConcurrency", default)]
    #[serde(deserialize_with = "invocations::<2, 1000, _, _>")]
    pub maximum_concurrency: Option<u32>,
    /// `FunctionResponseTypes` contains `ReportBatchItemFailures`.
    #[serde(
        rename = "FunctionResponseTypes",
        default,
        deserialize_with = "reports_failures"
    )]
    pub report_batch_item_failures: bool,
}

fn reports_failures<'n, D: Deserializer<'n>>(value: D) -> Result<bool, D::Error> {
    #[derive(Deserialize)]
    enum FunctionResponseType {
        ReportBatchItemFailures,
    }
    let types = Vec::<FunctionResponseType>::deserialize(value)?;
    Ok(!types.is_empty())
}

/// <https://docs.aws.amazon.com/serverless-application-model/latest/developerguide/sam-property-function-httpapi.html>
#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct HttpApiEvent {
    api_id: Option<String>,
    #[serde(rename = "PayloadFormatVersion")]
    _payload_format_version: Option<PayloadFormatVersion>,
    method: Option<String>,
    path: Option<String>,
}

#[derive(Deserialize)]
enum PayloadFormatVersion {
    #[serde(rename = "2.0")]
    Two,
}

/// Reads the events of a function into its routes and triggers.
pub(crate) fn read(
    function: &mut Function,
    properties: &Reader<'_>,
    resolver: &Resolver<'_>,
    queues: &[Queue],
    served_api: &mut Option<String>,
) -> Result<(), Mistake> {
    let Some(events) = properties.get("Events") else {
        return Ok(());
    };
    for (_, event) in events.entries()? {
        let kind = event.required("Type")?;
        let nothing = Node::new(event.node.line, Content::Map(Map::new()));
        let details = Reader {
            node: event.node.get("Properties").unwrap_or(&nothing),
            ..event.clone()
        };
        match kind {
            "HttpApi" => function.routes.push(route(&details, resolver, served_api)?),
            "SQS" => {
                let trigger = queue_trigger(&details, "Queue", function, resolver, queues)?;
                function.queue_triggers.extend(trigger);
            }
            "Api" => return Err(event.mistake("Type", "REST APIs are not hosted: use HttpApi")),
            _ => event.notices.property(&event.path, kind),
        }
    }
    Ok(())
}

fn route(
    event: &Reader<'_>,
    resolver: &Resolver<'_>,
    served: &mut Option<String>,
) -> Result<Route, Mistake> {
    let properties: HttpApiEvent = event.read()?;
    let api = properties.api_id.unwrap_or(api_id(IMPLICIT_API));
    let is_api = |(id, it): (&String, &Node)| api_id(id) == api && it.kind() == HTTP_API;
    if api != api_id(IMPLICIT_API) && !resolver.resources.iter().any(is_api) {
        let message = "must be !Ref of an AWS::Serverless::HttpApi of this template";
        return Err(event.mistake("ApiId", message));
    }
    if *served.get_or_insert(api.clone()) != api {
        return Err(event.mistake("ApiId", "this host serves one API, and it is another"));
    }
    let (method, path) = match (properties.method, properties.path) {
        (None, None) => (None, "$default".to_owned()),
        (Some(method), Some(path)) => (Some(method.to_ascii_uppercase()), path),
        (None, _) => return Err(event.missing("Method")),
        (_, None) => return Err(event.missing("Path")),
    };
    if !is_route_path(&path) {
        let message = "must start with / and hold {name} as a whole segment, {name+} as the last";
        return Err(event.mistake("Path", format!("{message}, not {path:?}")));
    }
    Ok(Route {
        method: method.filter(|method| method != "ANY"),
        path,
    })
}

/// <https://docs.aws.amazon.com/apigateway/latest/developerguide/http-api-develop-routes.html>
fn is_route_path(path: &str) -> bool {
    let is_segment = |segment: &str| {
        let rest = segment.strip_prefix('{');
        let name = rest.and_then(|rest| rest.strip_suffix('}'));
        name != Some("") && !name.unwrap_or(segment).contains(['{', '}'])
    };
    let greedy_is_last = path.find("+}").is_none_or(|at| at + 2 == path.len());
    let segments = path.strip_prefix('/').map(|rest| rest.split('/'));
    path == "$default" || greedy_is_last && segments.is_some_and(|mut all| all.all(is_segment))
}

/// `AWS::Lambda::EventSourceMapping` of a queue and a function of this template.
pub(crate) fn read_mapping(
    mapping: &Reader<'_>,
    resolver: &Resolver<'_>,
    template: &mut Template,
) -> Result<(), Mistake> {
    let source: &str = mapping.required("EventSourceArn")?;
    let name: &str = mapping.required("FunctionName")?;
    // A name, a partial ARN or an ARN.
    let name = name.rsplit("function:").next();
    let mut functions = template.functions.iter_mut();
    let function = functions.find(|function| Some(function.name.as_str()) == name);
    let is_queue = !source.starts_with("arn:") || source.starts_with("arn:aws:sqs:");
    match function.filter(|_| is_queue) {
        Some(function) => {
            let queues = &template.queues;
            let trigger = queue_trigger(mapping, "EventSourceArn", function, resolver, queues)?;
            function.queue_triggers.extend(trigger);
        }
        None => mapping.notices.property(&mapping.path, source),
    }
    Ok(())
}

/// A trigger, unless it is disabled.
fn queue_trigger(
    event: &Reader<'_>,
    queue_property: &str,
    function: &Function,
    resolver: &Resolver<'_>,
    queues: &[Queue],
) -> Result<Option<QueueTrigger>, Mistake> {
    let mut trigger: QueueTrigger = event.read()?;
    trigger.queue = resolver.queue_of_arn(&trigger.queue, event, queue_property)?;
    let queue = queues
        .iter()
        .find(|queue| queue.logical_id == trigger.queue);
    let attribute = |name: &str| queue.and_then(|queue| queue.attributes.get(name));
    match attribute("FifoQueue") {
        Some(_) if trigger.batch_size > 10 => {
            return Err(event.mistake("BatchSize", "must be 1 to 10 messages of a FIFO queue"));
        }
        Some(_) if !trigger.batching_window.is_zero() => {
            let message = "a FIFO queue has no batching window: leave it out";
            return Err(event.mistake("MaximumBatchingWindowInSeconds", message));
        }
        None if trigger.batch_size > 10 && trigger.batching_window.is_zero() => {
            let message =
                "above 10 messages MaximumBatchingWindowInSeconds must be at least 1 second";
            return Err(event.mistake("BatchSize", message));
        }
        _ => {}
    }
    if let (Some(most), Some(reserved)) =
        (trigger.maximum_concurrency, function.reserved_concurrency)
        && most > reserved
    {
        let message = format!("{most} is above ReservedConcurrentExecutions, {reserved}");
        return Err(event.mistake("ScalingConfig.MaximumConcurrency", message));
    }
    // https://docs.aws.amazon.com/lambda/latest/dg/services-sqs-configure.html
    let visibility = attribute("VisibilityTimeout").and_then(|seconds| seconds.parse().ok());
    let (visibility, timeout) = (visibility.unwrap_or(30), function.timeout.as_secs());
    if timeout > visibility {
        let (function, queue, advised) = (&function.logical_id, trigger.queue, timeout * 6);
        let message = format!(
            "{function} has a Timeout of {timeout} s, above the VisibilityTimeout of {queue}, \
             {visibility} s: set that to at least {advised} s"
        );
        return Err(event.mistake(queue_property, message));
    }
    let is_enabled = event.optional("Enabled")?.unwrap_or(true);
    Ok(is_enabled.then_some(trigger))
}
