//! The events that call a function: `HttpApi`, `SQS` and event source mappings.

use std::time::Duration;

use super::error::{Fault, short};
use super::model::{Function, Queue, QueueTrigger, Route, Template};
use super::names::{HTTP_API, IMPLICIT_API, api_id};
use super::object::{Object, refusal};
use super::yaml::{Content, Map, Node};

/// Reads the events of a function into its routes and triggers.
pub(super) fn read(
    function: &mut Function,
    properties: &Object<'_>,
    queues: &[Queue],
    served_api: &mut Option<String>,
) -> Result<(), Fault> {
    let mut read_one = |event: &Object<'_>| {
        let kind = event.required_text("Type")?;
        if let Some(reason) = refusal(&kind, "Type") {
            return Err(event.fault("Type", reason));
        }
        let empty = Node::new(event.line, Content::Map(Map::new()));
        let given = event.get("Properties")?.unwrap_or(empty);
        let details = Object::of(event.resolver, &kind, event.path.as_str(), &given)?;
        match kind.as_str() {
            "HttpApi" => function.routes.push(route(&details, served_api)?),
            "SQS" => {
                let trigger = queue_trigger(&details, "Queue", function, queues)?;
                function.queue_triggers.extend(trigger);
            }
            _ => {
                event.resolver.notice(&event.path, &kind);
                return Ok(());
            }
        }
        details.finish()
    };
    let read_all = |events: &Object<'_>| {
        let mut names = events.names();
        names.try_for_each(|name| events.object(name, &mut read_one).map(drop))
    };
    properties.object("Events", read_all).map(drop)
}

/// <https://docs.aws.amazon.com/serverless-application-model/latest/developerguide/sam-property-function-httpapi.html>
fn route(event: &Object<'_>, served: &mut Option<String>) -> Result<Route, Fault> {
    let api = event.text("ApiId")?.unwrap_or(api_id(IMPLICIT_API));
    let is_api = |(id, it): (&String, &Node)| api_id(id) == api && it.kind() == HTTP_API;
    if api != api_id(IMPLICIT_API) && !event.resolver.resources.iter().any(is_api) {
        let message = "must be !Ref of an AWS::Serverless::HttpApi of this template";
        return Err(event.fault("ApiId", message));
    }
    if *served.get_or_insert(api.clone()) != api {
        return Err(event.fault("ApiId", "this host serves one API, and it is another"));
    }
    event.one_of("PayloadFormatVersion", &["2.0"])?;
    let (method, path) = match (event.text("Method")?, event.text("Path")?) {
        (None, None) => (None, "$default".to_owned()),
        (method, path) => {
            let method = event.required("Method", method)?.to_ascii_uppercase();
            (
                Some(method).filter(|it| it != "ANY"),
                event.required("Path", path)?,
            )
        }
    };
    if !is_route_path(&path) {
        let message = "must start with / and hold {name} as a whole segment, {name+} as the last";
        return Err(event.fault("Path", format!("{message}, not {:?}", short(&path))));
    }
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
pub(super) fn read_mapping(mapping: &Object<'_>, template: &mut Template) -> Result<(), Fault> {
    let source = mapping.required_text("EventSourceArn")?;
    let name = mapping.required_text("FunctionName")?;
    // A name, a partial ARN or an ARN.
    let name = name.rsplit("function:").next();
    let mut functions = template.functions.iter_mut();
    let function = functions.find(|function| Some(function.name.as_str()) == name);
    let is_queue = !source.starts_with("arn:") || source.starts_with("arn:aws:sqs:");
    let Some(function) = function.filter(|_| is_queue) else {
        mapping.resolver.notice(&mapping.path, &source);
        return Ok(());
    };
    let trigger = queue_trigger(mapping, "EventSourceArn", function, &template.queues)?;
    function.queue_triggers.extend(trigger);
    mapping.finish()
}

/// A trigger, unless it is disabled, within the limits of
/// <https://docs.aws.amazon.com/lambda/latest/api/API_CreateEventSourceMapping.html>.
fn queue_trigger(
    event: &Object<'_>,
    queue_property: &'static str,
    function: &Function,
    queues: &[Queue],
) -> Result<Option<QueueTrigger>, Fault> {
    let id = event.queue(queue_property)?;
    let queue = queues.iter().find(|queue| queue.logical_id == id);
    let attribute = |name: &str| queue.and_then(|queue| queue.attributes.get(name));
    let most = attribute("FifoQueue").map_or(10_000, |_| 10);
    let batch_size = event.integer("BatchSize", 1..=most, "messages")?;
    let window = event.integer("MaximumBatchingWindowInSeconds", 0..=300, "seconds")?;
    let (batch_size, window) = (batch_size.unwrap_or(10), window.unwrap_or(0));
    if batch_size > 10 && window == 0 {
        let message = "above 10 messages MaximumBatchingWindowInSeconds must be at least 1 second";
        return Err(event.fault("BatchSize", message));
    }
    let maximum_concurrency = event.object("ScalingConfig", |scaling| {
        let most = scaling.integer("MaximumConcurrency", 2..=1000, "invocations at one time")?;
        match (most, function.reserved_concurrency) {
            (Some(most), Some(reserved)) if most > reserved => {
                let message = format!("{most} is above ReservedConcurrentExecutions, {reserved}");
                Err(scaling.fault("MaximumConcurrency", message))
            }
            _ => Ok(most),
        }
    })?;
    let response_types = event.list("FunctionResponseTypes")?;
    let is_report = |kind: &Node| kind.text() == Some("ReportBatchItemFailures");
    if !response_types.iter().all(is_report) {
        return Err(event.fault("FunctionResponseTypes", "must be [ReportBatchItemFailures]"));
    }
    // https://docs.aws.amazon.com/lambda/latest/dg/services-sqs-configure.html
    let visibility = attribute("VisibilityTimeout").and_then(|seconds| seconds.parse().ok());
    let (visibility, timeout) = (visibility.unwrap_or(30), function.timeout.as_secs());
    if timeout > visibility {
        let (function, advised) = (&function.logical_id, timeout * 6);
        let message = format!(
            "{function} has a Timeout of {timeout} s, above the VisibilityTimeout of {id}, \
             {visibility} s: set that to at least {advised} s"
        );
        return Err(event.fault(queue_property, message));
    }
    let is_enabled = event.one_of("Enabled", &["true", "false"])?.as_deref() != Some("false");
    Ok(is_enabled.then_some(QueueTrigger {
        queue: id,
        batch_size,
        batching_window: Duration::from_secs(u64::from(window)),
        maximum_concurrency: maximum_concurrency.flatten(),
        report_batch_item_failures: !response_types.is_empty(),
    }))
}
