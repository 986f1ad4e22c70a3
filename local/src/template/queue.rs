//! `AWS::SQS::Queue`.
//! <https://docs.aws.amazon.com/AWSCloudFormation/latest/TemplateReference/aws-resource-sqs-queue.html>

use std::collections::BTreeMap;

use super::error::Fault;
use super::model::{Queue, Redrive};
use super::object::Object;

/// Numbers of a queue: property, minimum, maximum, AWS's default, unit.
const NUMBERS: [(&str, u32, u32, u32, &str); 5] = [
    ("DelaySeconds", 0, 900, 0, "seconds"),
    ("MaximumMessageSize", 1024, 1_048_576, 1_048_576, "bytes"),
    ("MessageRetentionPeriod", 60, 1_209_600, 345_600, "seconds"),
    ("ReceiveMessageWaitTimeSeconds", 0, 20, 0, "seconds"),
    ("VisibilityTimeout", 0, 43_200, 30, "seconds"),
];

const FIFO_TEXTS: [&str; 3] = [
    "ContentBasedDeduplication",
    "DeduplicationScope",
    "FifoThroughputLimit",
];

pub(super) fn read(queue: &Object<'_>) -> Result<Queue, Fault> {
    let mut attributes = BTreeMap::new();
    for (name, least, most, default, unit) in NUMBERS {
        let number = queue.integer(name, least..=most, unit)?.unwrap_or(default);
        attributes.insert(name.to_owned(), number.to_string());
    }
    if queue.is_true("FifoQueue")? {
        attributes.insert("FifoQueue".to_owned(), "true".to_owned());
    }
    for name in FIFO_TEXTS {
        let text = queue.text(name)?;
        attributes.extend(text.map(|text| (name.to_owned(), text)));
    }
    let redrive = queue.object("RedrivePolicy", |policy| {
        let receives = policy.integer("maxReceiveCount", 1..=1000, "receives")?;
        Ok(Redrive {
            dead_letter_queue: policy.queue("deadLetterTargetArn")?,
            max_receive_count: policy.required("maxReceiveCount", receives)?,
        })
    })?;
    Ok(Queue {
        logical_id: queue.path.clone(),
        name: queue.physical_name("QueueName")?,
        attributes,
        redrive,
    })
}
