//! `AWS::SQS::Queue`.
//! <https://docs.aws.amazon.com/AWSCloudFormation/latest/TemplateReference/aws-resource-sqs-queue.html>

use std::collections::BTreeMap;

use serde::Deserialize;

use crate::error::Fault;
use crate::intrinsics::Resolver;
use crate::names::QUEUE;
use crate::properties::{Reader, bytes, receives, seconds};
use crate::yaml::Node;

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

#[derive(Deserialize)]
#[serde(rename = "Queue", rename_all = "PascalCase")]
struct Properties {
    #[serde(default, deserialize_with = "seconds::<0, 900, _, _>")]
    delay_seconds: Option<u32>,
    #[serde(default, deserialize_with = "bytes::<1024, 1_048_576, _, _>")]
    maximum_message_size: Option<u32>,
    #[serde(default, deserialize_with = "seconds::<60, 1_209_600, _, _>")]
    message_retention_period: Option<u32>,
    #[serde(default, deserialize_with = "seconds::<0, 20, _, _>")]
    receive_message_wait_time_seconds: Option<u32>,
    #[serde(default, deserialize_with = "seconds::<0, 43_200, _, _>")]
    visibility_timeout: Option<u32>,
    #[serde(default)]
    fifo_queue: bool,
    content_based_deduplication: Option<String>,
    deduplication_scope: Option<String>,
    fifo_throughput_limit: Option<String>,
    redrive_policy: Option<RedrivePolicy>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct RedrivePolicy {
    dead_letter_target_arn: String,
    #[serde(deserialize_with = "receives::<1, 1000, _, _>")]
    max_receive_count: u32,
}

pub(crate) fn read(
    queue: &Reader<'_>,
    name: String,
    resolver: &Resolver<'_>,
) -> Result<Queue, Fault> {
    let properties: Properties = queue.read()?;
    let number = |given: Option<u32>, default: u32| Some(given.unwrap_or(default).to_string());
    let attributes = [
        ("DelaySeconds", number(properties.delay_seconds, 0)),
        (
            "MaximumMessageSize",
            number(properties.maximum_message_size, 1_048_576),
        ),
        (
            "MessageRetentionPeriod",
            number(properties.message_retention_period, 345_600),
        ),
        (
            "ReceiveMessageWaitTimeSeconds",
            number(properties.receive_message_wait_time_seconds, 0),
        ),
        (
            "VisibilityTimeout",
            number(properties.visibility_timeout, 30),
        ),
        (
            "FifoQueue",
            properties.fifo_queue.then(|| "true".to_owned()),
        ),
        (
            "ContentBasedDeduplication",
            properties.content_based_deduplication,
        ),
        ("DeduplicationScope", properties.deduplication_scope),
        ("FifoThroughputLimit", properties.fifo_throughput_limit),
    ];
    let attributes = attributes.into_iter();
    let attributes = attributes.filter_map(|(name, value)| Some((name.to_owned(), value?)));
    let redrive = match (properties.redrive_policy, queue.get("RedrivePolicy")) {
        (Some(policy), Some(place)) => {
            let (arn, property) = (&policy.dead_letter_target_arn, "deadLetterTargetArn");
            Some(Redrive {
                dead_letter_queue: queue_of_arn(arn, &place, property, resolver)?,
                max_receive_count: policy.max_receive_count,
            })
        }
        _ => None,
    };
    Ok(Queue {
        logical_id: queue.path.clone(),
        name,
        attributes: attributes.collect(),
        redrive,
    })
}

/// The logical id of the queue whose ARN a property holds.
pub(crate) fn queue_of_arn(
    arn: &str,
    place: &Reader<'_>,
    property: &str,
    resolver: &Resolver<'_>,
) -> Result<String, Fault> {
    for (id, resource) in &resolver.resources {
        let is_queue = resource.get("Type").and_then(Node::text) == Some(QUEUE);
        if is_queue && resolver.exists(resource)? && resolver.arn("sqs", &resolver.name(id)?) == arn
        {
            return Ok(id.clone());
        }
    }
    Err(place.fault(
        property,
        "must be !GetAtt Queue.Arn of a queue in this template",
    ))
}
