//! `AWS::SQS::Queue`.
//! <https://docs.aws.amazon.com/AWSCloudFormation/latest/TemplateReference/aws-resource-sqs-queue.html>

use std::collections::BTreeMap;

use super::error::{Fault, Place};
use super::model::{Queue, Redrive};
use super::names;
use super::object::Object;
use super::resources::{Reading, properties};

/// Numbers of a queue: property, least, most, what AWS sets where the template is silent, unit.
const NUMBERS: [(&str, u32, u32, u32, &str); 5] = [
    ("DelaySeconds", 0, 900, 0, "seconds"),
    ("MaximumMessageSize", 1024, 1_048_576, 1_048_576, "bytes"),
    ("MessageRetentionPeriod", 60, 1_209_600, 345_600, "seconds"),
    ("ReceiveMessageWaitTimeSeconds", 0, 20, 0, "seconds"),
    ("VisibilityTimeout", 0, 43_200, 30, "seconds"),
];

pub(super) fn read(reading: &mut Reading<'_>, id: &str) -> Result<(), Fault> {
    let value = properties(reading.resolver, id, &["RedriveAllowPolicy", "Tags"])?;
    let section = Place::root("Resources");
    let resource = section.child(id);
    let queue = Object::of(&value, resource.child("Properties"))?;
    queue.only(&[
        "ContentBasedDeduplication",
        "DeduplicationScope",
        "DelaySeconds",
        "FifoQueue",
        "FifoThroughputLimit",
        "KmsDataKeyReusePeriodSeconds",
        "KmsMasterKeyId",
        "MaximumMessageSize",
        "MessageRetentionPeriod",
        "QueueName",
        "ReceiveMessageWaitTimeSeconds",
        "RedriveAllowPolicy",
        "RedrivePolicy",
        "SqsManagedSseEnabled",
        "Tags",
        "VisibilityTimeout",
    ])?;
    reading.skip(
        &queue,
        "RedriveAllowPolicy",
        "any queue may use this one for dead letters",
    );

    let mut attributes = BTreeMap::new();
    for (name, least, most, default, unit) in NUMBERS {
        let number = queue.integer(name, least..=most, unit)?.unwrap_or(default);
        attributes.insert(name.to_owned(), number.to_string());
    }
    let is_fifo = queue.boolean("FifoQueue")?.unwrap_or(false);
    if is_fifo {
        attributes.insert("FifoQueue".to_owned(), "true".to_owned());
    }
    for name in [
        "ContentBasedDeduplication",
        "DeduplicationScope",
        "FifoThroughputLimit",
    ] {
        if let Some(text) = queue.text(name)? {
            if !is_fifo {
                return Err(queue.fault(name, "is for queues with FifoQueue: true only"));
            }
            attributes.insert(name.to_owned(), text);
        }
    }
    let redrive = redrive(reading, &queue)?;
    reading.note_references(id);
    let name = names::name(reading.resolver, id, queue.place())?;
    reading.template.queues.push(Queue {
        logical_id: id.to_owned(),
        name,
        attributes,
        redrive,
    });
    Ok(())
}

fn redrive(reading: &Reading<'_>, queue: &Object<'_>) -> Result<Option<Redrive>, Fault> {
    let Some(policy) = queue.object("RedrivePolicy")? else {
        return Ok(None);
    };
    policy.only(&["deadLetterTargetArn", "maxReceiveCount"])?;
    let arn = policy.required_text("deadLetterTargetArn")?;
    let max_receive_count = policy
        .integer("maxReceiveCount", 1..=1000, "receives")?
        .ok_or_else(|| policy.missing("maxReceiveCount"))?;
    let dead_letter_queue = queue_of_arn(reading, &arn)?.ok_or_else(|| {
        policy.fault(
            "deadLetterTargetArn",
            "must be !GetAtt Queue.Arn of a queue in this template",
        )
    })?;
    Ok(Some(Redrive {
        dead_letter_queue,
        max_receive_count,
    }))
}

/// The logical id of the queue that has this ARN.
pub(super) fn queue_of_arn(reading: &Reading<'_>, arn: &str) -> Result<Option<String>, Fault> {
    let place = Place::root("Resources");
    for (id, resource) in &reading.resolver.resources {
        let is_queue = resource
            .get("Type")
            .is_some_and(|kind| kind == "AWS::SQS::Queue");
        if is_queue
            && reading.resolver.exists(id, &place)?
            && names::attribute(reading.resolver, id, "Arn", &place)? == arn
        {
            return Ok(Some(id.clone()));
        }
    }
    Ok(None)
}

/// A FIFO queue's dead letters go to a FIFO queue, and a standard queue's to a standard queue.
/// <https://docs.aws.amazon.com/AWSSimpleQueueService/latest/SQSDeveloperGuide/sqs-dead-letter-queues.html>
pub(super) fn check_redrive(reading: &Reading<'_>) -> Result<(), Fault> {
    let queues = &reading.template.queues;
    for queue in queues {
        let Some(redrive) = &queue.redrive else {
            continue;
        };
        let target = queues
            .iter()
            .find(|it| it.logical_id == redrive.dead_letter_queue);
        if target.is_some_and(|target| is_fifo(target) != is_fifo(queue)) {
            let section = Place::root("Resources");
            let resource = section.child(queue.logical_id.as_str());
            let properties = resource.child("Properties");
            return Err(properties.child("RedrivePolicy").fault(format!(
                "{} must be a FIFO queue exactly if this one is",
                redrive.dead_letter_queue
            )));
        }
    }
    Ok(())
}

pub(super) fn is_fifo(queue: &Queue) -> bool {
    queue.attributes.contains_key("FifoQueue")
}
