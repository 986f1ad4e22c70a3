//! `AWS::SQS::Queue`.
//! <https://docs.aws.amazon.com/AWSCloudFormation/latest/TemplateReference/aws-resource-sqs-queue.html>

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::error::Mistake;
use crate::intrinsics::Resolver;
use crate::properties::{Reader, bytes, of, receives, seconds};

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
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct Redrive {
    /// Logical id of the dead-letter queue.
    #[serde(rename = "deadLetterTargetArn")]
    pub dead_letter_queue: String,
    /// How often a message may be received before it moves there.
    #[serde(
        rename = "maxReceiveCount",
        deserialize_with = "receives::<1, 1000, _, _>"
    )]
    pub max_receive_count: u32,
}

/// The attributes of `CreateQueue`, with AWS's defaults.
#[derive(Deserialize, Serialize)]
#[serde(rename = "Queue", rename_all = "PascalCase")]
struct Attributes {
    #[serde(default = "of::<0>", deserialize_with = "seconds::<0, 900, _, _>")]
    delay_seconds: u32,
    #[serde(
        default = "of::<1_048_576>",
        deserialize_with = "bytes::<1024, 1_048_576, _, _>"
    )]
    maximum_message_size: u32,
    #[serde(
        default = "of::<345_600>",
        deserialize_with = "seconds::<60, 1_209_600, _, _>"
    )]
    message_retention_period: u32,
    #[serde(default = "of::<0>", deserialize_with = "seconds::<0, 20, _, _>")]
    receive_message_wait_time_seconds: u32,
    #[serde(default = "of::<30>", deserialize_with = "seconds::<0, 43_200, _, _>")]
    visibility_timeout: u32,
    fifo_queue: Option<bool>,
    content_based_deduplication: Option<String>,
    deduplication_scope: Option<String>,
    fifo_throughput_limit: Option<String>,
    #[serde(skip_serializing)]
    redrive_policy: Option<Redrive>,
}

pub(crate) fn read(
    place: &Reader<'_>,
    name: String,
    resolver: &Resolver<'_>,
) -> Result<Queue, Mistake> {
    let mut attributes: Attributes = place.read()?;
    let mut redrive = attributes.redrive_policy.take();
    if let (Some(redrive), Some(place)) = (&mut redrive, place.get("RedrivePolicy")) {
        let arn = &redrive.dead_letter_queue;
        redrive.dead_letter_queue = resolver.queue_of_arn(arn, &place, "deadLetterTargetArn")?;
    }
    // `CreateQueue` takes no FifoQueue that is false.
    attributes.fifo_queue = attributes.fifo_queue.filter(|is_fifo| *is_fifo);
    let texts = json!(attributes);
    let texts = texts
        .as_object()
        .into_iter()
        .flatten()
        .filter(|(_, value)| !value.is_null());
    let text = |value: &Value| {
        value
            .as_str()
            .map_or_else(|| value.to_string(), str::to_owned)
    };
    Ok(Queue {
        logical_id: place.path.clone(),
        name,
        attributes: texts
            .map(|(name, value)| (name.clone(), text(value)))
            .collect(),
        redrive,
    })
}
