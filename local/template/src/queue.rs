//! `AWS::SQS::Queue`.
//! <https://docs.aws.amazon.com/AWSCloudFormation/latest/TemplateReference/aws-resource-sqs-queue.html>

use std::collections::BTreeMap;

use serde_json::{Value, json};

use crate::error::refuse;
use crate::properties::Properties;

/// One SQS queue.
#[derive(Debug, Clone)]
pub struct Queue {
    /// Its name in the template.
    pub logical_id: String,
    /// Its name on AWS: `QueueName`, or `local-<logical id>`.
    pub name: String,
    /// Attributes in the form of `CreateQueue`, all strings, without the redrive policy.
    pub attributes: BTreeMap<String, String>,
    /// `RedrivePolicy` as JSON: where messages go that were received too often.
    pub redrive_policy: Option<String>,
}

pub(crate) fn read(properties: &Properties<'_>, id: &str) -> Result<Queue, String> {
    let mut attributes = BTreeMap::new();
    for (name, limits, default) in [
        ("DelaySeconds", 0..=900, 0),
        ("MaximumMessageSize", 1024..=1_048_576, 1_048_576),
        ("MessageRetentionPeriod", 60..=1_209_600, 345_600),
        ("ReceiveMessageWaitTimeSeconds", 0..=20, 0),
        ("VisibilityTimeout", 0..=43_200, 30),
    ] {
        let number: u32 = properties.number(name, limits)?.unwrap_or(default);
        attributes.insert(name.to_owned(), number.to_string());
    }
    for name in ["FifoQueue", "ContentBasedDeduplication"] {
        // `CreateQueue` takes no FifoQueue that is false.
        if properties.number(name, false..=true)? == Some(true) {
            attributes.insert(name.to_owned(), true.to_string());
        }
    }
    for name in ["DeduplicationScope", "FifoThroughputLimit"] {
        let text: Option<String> = properties.get(name)?;
        attributes.extend(text.map(|text| (name.to_owned(), text)));
    }
    let resolver = properties.resolver;
    let redrive = |policy: &Properties<'_>| {
        let arn: String = policy.need("deadLetterTargetArn")?;
        let Some(most) = policy.number::<u32>("maxReceiveCount", 1..=1000)? else {
            refuse!("the property maxReceiveCount is missing");
        };
        resolver.at(&["deadLetterTargetArn"], || resolver.queue_of_arn(&arn))?;
        Ok(json!({"deadLetterTargetArn": arn, "maxReceiveCount": most}).to_string())
    };
    let policy: Option<Value> = properties.get("RedrivePolicy")?;
    let redrive_policy = policy
        .map(|_| properties.within("RedrivePolicy", redrive))
        .transpose()?;
    Ok(Queue {
        logical_id: id.to_owned(),
        name: resolver.name(id)?,
        attributes,
        redrive_policy,
    })
}
