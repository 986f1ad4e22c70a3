//! Event source mappings from a queue: the `SQS` events of functions and
//! `AWS::Lambda::EventSourceMapping`.
//! <https://docs.aws.amazon.com/lambda/latest/api/API_CreateEventSourceMapping.html>

use std::time::Duration;

use super::error::{Fault, Place, show};
use super::model::{Function, QueueTrigger};
use super::object::Object;
use super::queue;
use super::resources::{Reading, properties};

/// Properties of both forms, besides the names of queue and function.
const COMMON: [&str; 11] = [
    "BatchSize",
    "Enabled",
    "FilterCriteria",
    "FunctionResponseTypes",
    "KmsKeyArn",
    "LoggingConfig",
    "MaximumBatchingWindowInSeconds",
    "MetricsConfig",
    "ProvisionedPollerConfig",
    "ScalingConfig",
    "Tags",
];

/// One `SQS` event; none where it is not enabled.
pub(super) fn read_event(
    reading: &Reading<'_>,
    function: &Function,
    event: &Object<'_>,
) -> Result<Option<QueueTrigger>, Fault> {
    let known: Vec<&str> = COMMON.into_iter().chain(["Queue"]).collect();
    event.only(&known)?;
    read(reading, function, event, "Queue")
}

/// `AWS::Lambda::EventSourceMapping`.
pub(super) fn read_mapping(reading: &mut Reading<'_>, id: &str) -> Result<(), Fault> {
    let value = properties(reading.resolver, id, &["Tags"])?;
    reading.note_references(id);
    let section = Place::root("Resources");
    let resource = section.child(id);
    let mapping = Object::of(&value, resource.child("Properties"))?;
    let source = mapping.required_text("EventSourceArn")?;
    if !source.starts_with("arn:aws:sqs:") {
        let message = "this host has triggers for SQS queues only";
        return Err(mapping.fault("EventSourceArn", message));
    }
    let known: Vec<&str> = COMMON
        .into_iter()
        .chain(["EventSourceArn", "FunctionName"])
        .collect();
    mapping.only(&known)?;
    // A name, a partial ARN or an ARN.
    let wanted = mapping.required_text("FunctionName")?;
    let wanted = wanted.rsplit("function:").next().unwrap_or_default();
    let index = reading
        .template
        .functions
        .iter()
        .position(|function| function.name == wanted)
        .ok_or_else(|| {
            mapping.fault(
                "FunctionName",
                "is no AWS::Serverless::Function of this template",
            )
        })?;
    let trigger = read(
        reading,
        &reading.template.functions[index],
        &mapping,
        "EventSourceArn",
    )?;
    reading.template.functions[index]
        .queue_triggers
        .extend(trigger);
    Ok(())
}

fn read(
    reading: &Reading<'_>,
    function: &Function,
    event: &Object<'_>,
    queue_property: &str,
) -> Result<Option<QueueTrigger>, Fault> {
    for property in ["FilterCriteria", "ProvisionedPollerConfig"] {
        if event.get(property).is_some() {
            return Err(event.fault(property, "is not hosted"));
        }
    }
    let arn = event.required_text(queue_property)?;
    let queue = queue::queue_of_arn(reading, &arn)?.and_then(|id| {
        reading
            .template
            .queues
            .iter()
            .find(|queue| queue.logical_id == id)
    });
    let queue = queue.ok_or_else(|| {
        event.fault(
            queue_property,
            "must be !GetAtt Queue.Arn of a queue in this template",
        )
    })?;
    let is_fifo = queue::is_fifo(queue);

    let most = if is_fifo { 10 } else { 10_000 };
    let batch_size = event
        .integer("BatchSize", 1..=most, "messages")?
        .unwrap_or(10);
    let window = event.integer("MaximumBatchingWindowInSeconds", 0..=300, "seconds")?;
    if is_fifo && window.is_some_and(|window| window > 0) {
        let message = "a FIFO queue has no batching window";
        return Err(event.fault("MaximumBatchingWindowInSeconds", message));
    }
    let window = window.unwrap_or(0);
    if batch_size > 10 && window == 0 {
        let message = "above 10 messages MaximumBatchingWindowInSeconds must be at least 1 second";
        return Err(event.fault("BatchSize", message));
    }
    let maximum_concurrency = maximum_concurrency(function, event)?;
    let report_batch_item_failures = reports_failures(event)?;
    check_visibility(function, queue, event, queue_property)?;
    if !event.boolean("Enabled")?.unwrap_or(true) {
        return Ok(None);
    }
    if function
        .queue_triggers
        .iter()
        .any(|other| other.queue == queue.logical_id)
    {
        let message = format!(
            "{} has a trigger for this queue already",
            function.logical_id
        );
        return Err(event.fault(queue_property, message));
    }
    Ok(Some(QueueTrigger {
        queue: queue.logical_id.clone(),
        batch_size,
        batching_window: Duration::from_secs(u64::from(window)),
        maximum_concurrency,
        report_batch_item_failures,
    }))
}

fn maximum_concurrency(function: &Function, event: &Object<'_>) -> Result<Option<u32>, Fault> {
    let Some(scaling) = event.object("ScalingConfig")? else {
        return Ok(None);
    };
    scaling.only(&["MaximumConcurrency"])?;
    let most = scaling.integer("MaximumConcurrency", 2..=1000, "invocations at one time")?;
    if let (Some(most), Some(reserved)) = (most, function.reserved_concurrency)
        && reserved < most
    {
        return Err(scaling.fault(
            "MaximumConcurrency",
            format!(
                "{most} is more than the {reserved} that ReservedConcurrentExecutions of {} leaves",
                function.logical_id
            ),
        ));
    }
    Ok(most)
}

fn reports_failures(event: &Object<'_>) -> Result<bool, Fault> {
    let Some((types, place)) = event.list("FunctionResponseTypes")? else {
        return Ok(false);
    };
    for kind in types {
        if kind != "ReportBatchItemFailures" {
            let message = format!("must be ReportBatchItemFailures, not {}", show(kind));
            return Err(place.fault(message));
        }
    }
    Ok(!types.is_empty())
}

/// AWS refuses a mapping whose function may run longer than its messages stay hidden, and asks for
/// six times the function's timeout.
/// <https://docs.aws.amazon.com/lambda/latest/dg/services-sqs-configure.html>
fn check_visibility(
    function: &Function,
    queue: &super::model::Queue,
    event: &Object<'_>,
    queue_property: &str,
) -> Result<(), Fault> {
    let visibility: u64 = queue
        .attributes
        .get("VisibilityTimeout")
        .and_then(|seconds| seconds.parse().ok())
        .unwrap_or(30);
    let timeout = function.timeout.as_secs();
    if timeout <= visibility {
        return Ok(());
    }
    Err(event.fault(
        queue_property,
        format!(
            "{} has a Timeout of {timeout} s, above the VisibilityTimeout of {}, {visibility} s: \
             set that to at least {} s",
            function.logical_id,
            queue.logical_id,
            timeout * 6
        ),
    ))
}
