//! The events that call a function: `HttpApi`, `SQS` and event source mappings.

use std::time::Duration;

use crate::error::refuse;
use crate::function::{Function, QueueTrigger, Route};
use crate::intrinsics::entries;
use crate::names::{HTTP_API, IMPLICIT_API, api_id};
use crate::properties::Properties;
use crate::queue::Queue;

/// Reads the events of a function into its routes and triggers. `served` is the id of the API that is hosted.
pub(crate) fn read(
    properties: &Properties<'_>,
    function: &mut Function,
    queues: &[Queue],
    served: &mut Option<String>,
) -> Result<(), String> {
    let (events, resolver) = (properties.raw("Events"), properties.resolver);
    if !events.is_null() && !events.is_object() {
        refuse!(properties, "Events" => "must be a map");
    }
    for (id, event) in entries(events) {
        let names = ["Events", id, "Properties"];
        let (kind, values) = (&event["Type"], &event["Properties"]);
        match kind.as_str().unwrap_or_default() {
            "HttpApi" => {
                let route = resolver.at(&names, || resolver.read(values, |it| route(it, served)));
                function.routes.push(route?);
            }
            "SQS" => {
                let read = |it: &Properties<'_>| trigger(it, "Queue", function, queues);
                let trigger = resolver.at(&names, || resolver.read(values, read));
                function.queue_triggers.extend(trigger?);
            }
            kind => resolver.at(&names[..2], || {
                match kind {
                    "" => refuse!("the property Type is missing"),
                    "Api" => refuse!("REST APIs are not hosted: use HttpApi"),
                    _ => resolver.note(kind),
                }
                Ok(())
            })?,
        }
    }
    Ok(())
}

/// <https://docs.aws.amazon.com/serverless-application-model/latest/developerguide/sam-property-function-httpapi.html>
fn route(event: &Properties<'_>, served: &mut Option<String>) -> Result<Route, String> {
    event.one_of("PayloadFormatVersion", &["2.0"])?;
    let api = event.get("ApiId")?.unwrap_or(api_id(IMPLICIT_API));
    let mut resources = event.resolver.resources.iter();
    let is_api = resources.any(|(id, it)| it["Type"] == HTTP_API && api_id(id) == api);
    if !is_api && api != api_id(IMPLICIT_API) {
        refuse!(event, "ApiId" => "must be !Ref of an AWS::Serverless::HttpApi of this template");
    }
    if *served.get_or_insert(api.clone()) != api {
        refuse!(event, "ApiId" => "this host serves one API, and it is another");
    }
    let (method, path): (Option<String>, Option<String>) =
        (event.get("Method")?, event.get("Path")?);
    let (method, path) = match (method, path) {
        (None, None) => (None, "$default".to_owned()),
        (Some(method), Some(path)) => (Some(method.to_ascii_uppercase()), path),
        _ => refuse!("needs Method and Path, or neither"),
    };
    if !is_route_path(&path) {
        refuse!(event, "Path" => "must start with / and hold {{name}} as a whole segment, {{name+}} as the last, not {path:?}");
    }
    let method = method.filter(|method| method != "ANY");
    Ok(Route { method, path })
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
    mapping: &Properties<'_>,
    functions: &mut [Function],
    queues: &[Queue],
) -> Result<(), String> {
    let source: String = mapping.need("EventSourceArn")?;
    let name: String = mapping.need("FunctionName")?;
    // A name, a partial ARN or an ARN.
    let name = name.rsplit("function:").next().unwrap_or_default();
    let function = functions.iter_mut().find(|function| function.name == name);
    let is_queue = !source.starts_with("arn:") || source.starts_with("arn:aws:sqs:");
    if let Some(function) = function.filter(|_| is_queue) {
        let trigger = trigger(mapping, "EventSourceArn", function, queues)?;
        function.queue_triggers.extend(trigger);
    } else {
        mapping.resolver.note(&source);
    }
    Ok(())
}

/// A trigger, unless it is disabled. `source` is the property that holds the queue's ARN.
fn trigger(
    event: &Properties<'_>,
    source: &'static str,
    function: &Function,
    queues: &[Queue],
) -> Result<Option<QueueTrigger>, String> {
    let (arn, resolver): (String, _) = (event.need(source)?, event.resolver);
    let id = resolver.at(&[source], || resolver.queue_of_arn(&arn))?;
    let queue = queues.iter().find(|queue| queue.logical_id == id);
    let attribute = |name: &str| queue.and_then(|queue| queue.attributes.get(name));
    let is_fifo = attribute("FifoQueue").is_some();
    let batch_size = event.number("BatchSize", 1..=10_000)?.unwrap_or(10);
    let window = event.number("MaximumBatchingWindowInSeconds", 0..=300)?;
    let window = window.unwrap_or(0);
    if is_fifo && batch_size > 10 {
        refuse!(event, "BatchSize" => "must be 1 to 10 of a FIFO queue, not {batch_size}");
    }
    if is_fifo && window > 0 {
        refuse!(event, "MaximumBatchingWindowInSeconds" => "a FIFO queue has no batching window: leave it out");
    }
    if batch_size > 10 && window == 0 {
        refuse!(event, "BatchSize" => "above 10 needs a MaximumBatchingWindowInSeconds of at least 1");
    }
    let maximum_concurrency = event.within("ScalingConfig", |it| {
        it.number("MaximumConcurrency", 2..=1000)
    })?;
    if let Some(reserved) = function.reserved_concurrency
        && maximum_concurrency > Some(reserved)
    {
        refuse!(event, "ScalingConfig" => "MaximumConcurrency is above ReservedConcurrentExecutions, {reserved}");
    }
    // https://docs.aws.amazon.com/lambda/latest/dg/services-sqs-configure.html
    let visibility = attribute("VisibilityTimeout").and_then(|seconds| seconds.parse().ok());
    let (visibility, timeout) = (visibility.unwrap_or(30), function.timeout.as_secs());
    if timeout > visibility {
        let (function, advised) = (&function.logical_id, timeout * 6);
        refuse!(
            "{function} has a Timeout of {timeout} s, above the VisibilityTimeout of {id}, {visibility} s: set that to \
             at least {advised} s"
        );
    }
    let types: Vec<String> = event.get("FunctionResponseTypes")?.unwrap_or_default();
    if types.iter().any(|it| it != "ReportBatchItemFailures") {
        refuse!(event, "FunctionResponseTypes" => "must be [ReportBatchItemFailures]");
    }
    let is_enabled = event.number("Enabled", false..=true)?.unwrap_or(true);
    Ok(is_enabled.then(|| QueueTrigger {
        queue: id,
        batch_size,
        batching_window: Duration::from_secs(window),
        maximum_concurrency,
        report_batch_item_failures: !types.is_empty(),
    }))
}
