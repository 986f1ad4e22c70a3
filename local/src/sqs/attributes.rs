//! The attributes of a queue: their names, limits and defaults.
//! <https://docs.aws.amazon.com/AWSSimpleQueueService/latest/APIReference/API_SetQueueAttributes.html>

use std::collections::BTreeMap;

use serde::Deserialize;
use serde_json::{Value, json};

use super::error::{invalid, invalid_value, refuse};
use crate::aws_json::{ACCOUNT, REGION, Refusal};

/// Attributes that are numbers: the least, the most, the default.
const NUMBERS: [(&str, i64, i64, i64); 5] = [
    ("DelaySeconds", 0, 900, 0),
    ("MaximumMessageSize", 1_024, 1_048_576, 1_048_576),
    ("MessageRetentionPeriod", 60, 1_209_600, 345_600),
    ("ReceiveMessageWaitTimeSeconds", 0, 20, 0),
    ("VisibilityTimeout", 0, 43_200, 30),
];

/// Attributes that are one of two words: the default, the other.
const WORDS: [(&str, &str, &str); 5] = [
    ("ContentBasedDeduplication", "false", "true"),
    ("DeduplicationScope", "queue", "messageGroup"),
    ("FifoQueue", "true", "true"),
    ("FifoThroughputLimit", "perQueue", "perMessageGroupId"),
    ("SqsManagedSseEnabled", "true", "false"),
];

/// Attributes that are any text, or none. Nothing here is encrypted, whatever the first two say.
const TEXTS: [&str; 5] = [
    "KmsDataKeyReusePeriodSeconds",
    "KmsMasterKeyId",
    "Policy",
    "RedriveAllowPolicy",
    "RedrivePolicy",
];

/// Attributes that only FIFO queues have.
const FIFO: [&str; 4] = [
    "ContentBasedDeduplication",
    "DeduplicationScope",
    "FifoQueue",
    "FifoThroughputLimit",
];

const READ_ONLY: [&str; 6] = [
    "ApproximateNumberOfMessages",
    "ApproximateNumberOfMessagesDelayed",
    "ApproximateNumberOfMessagesNotVisible",
    "CreatedTimestamp",
    "LastModifiedTimestamp",
    "QueueArn",
];

/// The attributes that can be set, by name, as text.
#[derive(Debug, Clone)]
pub(super) struct Attributes(pub(super) BTreeMap<String, String>);

/// Where messages go that were received too often.
pub(super) struct Redrive {
    /// The name of the dead-letter queue.
    pub(super) target: String,
    pub(super) max_receive_count: i64,
}

impl Attributes {
    pub(super) fn new(fifo: bool) -> Attributes {
        let numbers = NUMBERS.iter().map(|it| (it.0, it.3.to_string()));
        let words = WORDS.iter().filter(|it| fifo || !FIFO.contains(&it.0));
        let words = words.map(|it| (it.0, it.1.to_owned()));
        let all = numbers.chain(words);
        Attributes(all.map(|(name, value)| (name.to_owned(), value)).collect())
    }

    pub(super) fn is_fifo(&self) -> bool {
        self.0.contains_key("FifoQueue")
    }

    pub(super) fn is(&self, name: &str, value: &str) -> bool {
        self.0.get(name).is_some_and(|it| it == value)
    }

    /// The value of a number that every queue has.
    pub(super) fn number(&self, name: &str) -> i64 {
        let value = self.0.get(name).and_then(|value| value.parse().ok());
        value.unwrap_or_default()
    }

    pub(super) fn redrive(&self) -> Option<Redrive> {
        Redrive::parse(self.0.get("RedrivePolicy")?).ok()
    }

    /// These with some changed. An empty text removes the attribute.
    pub(super) fn with(&self, changes: &BTreeMap<String, String>) -> Result<Attributes, Refusal> {
        let mut changed = self.clone();
        for (name, value) in changes {
            match self.checked(name, value)? {
                removed if removed.is_empty() => changed.0.remove(name),
                value => changed.0.insert(name.clone(), value),
            };
        }
        Ok(changed)
    }

    /// The value as it is kept.
    fn checked(&self, name: &str, value: &str) -> Result<String, Refusal> {
        if FIFO.contains(&name) && !self.is_fifo() {
            return Err(unknown(name));
        }
        let number = NUMBERS.iter().find(|it| it.0 == name);
        let words = WORDS.iter().find(|it| it.0 == name);
        let kept = match (name, number, words) {
            (_, Some((_, least, most, _)), _) => {
                let number = value.parse().ok();
                let number = number.filter(|it| (*least..=*most).contains(it));
                number.map(|it| it.to_string())
            }
            (_, _, Some((_, one, other))) => {
                let mut words = [one, other].into_iter();
                let word = words.find(|it| it.eq_ignore_ascii_case(value));
                word.map(|it| (*it).to_owned())
            }
            ("RedrivePolicy", ..) if !value.is_empty() => Some(Redrive::parse(value)?.to_json()),
            ("RedriveAllowPolicy", ..) if !value.is_empty() => {
                AllowPolicy::parse(value)?;
                Some(value.to_owned())
            }
            _ if TEXTS.contains(&name) => Some(value.to_owned()),
            _ => return Err(unknown(name)),
        };
        let message = format!("Invalid value for the parameter {name}.");
        kept.ok_or_else(|| refuse("InvalidAttributeValue", message))
    }

    /// Whether a queue with these attributes lets another name it as its dead-letter queue.
    pub(super) fn allows(&self, source: &str) -> bool {
        let policy = self.0.get("RedriveAllowPolicy");
        let Some(Ok(policy)) = policy.map(|it| AllowPolicy::parse(it)) else {
            return true;
        };
        match policy.redrive_permission.as_str() {
            "byQueue" => policy.source_queue_arns.contains(&queue_arn(source)),
            permission => permission == "allowAll",
        }
    }
}

/// Refuses a name that no queue can be asked for.
pub(super) fn check_readable(name: &str) -> Result<(), Refusal> {
    let known = name == "All"
        || NUMBERS.iter().any(|it| it.0 == name)
        || WORDS.iter().any(|it| it.0 == name)
        || [&TEXTS[..], &READ_ONLY].concat().contains(&name);
    known.then_some(()).ok_or_else(|| unknown(name))
}

fn unknown(name: &str) -> Refusal {
    refuse("InvalidAttributeName", format!("Unknown Attribute {name}."))
}

impl Redrive {
    fn parse(text: &str) -> Result<Redrive, Refusal> {
        let bad = |reason| invalid_value(text, "RedrivePolicy", reason);
        let policy: Value = serde_json::from_str(text).unwrap_or_default();
        let target = policy["deadLetterTargetArn"].as_str().and_then(name_in_arn);
        // AWS takes "5" for 5.
        let count = &policy["maxReceiveCount"];
        let count = count.as_i64().or_else(|| count.as_str()?.parse().ok());
        let in_range = count.filter(|count| (1..=1000).contains(count));
        Ok(Redrive {
            target: target
                .ok_or_else(|| bad("Invalid value for deadLetterTargetArn."))?
                .to_owned(),
            max_receive_count: in_range.ok_or_else(|| {
                bad("Invalid value for maxReceiveCount, valid values are from 1 to 1000.")
            })?,
        })
    }

    fn to_json(&self) -> String {
        let (arn, count) = (queue_arn(&self.target), self.max_receive_count);
        json!({"deadLetterTargetArn": arn, "maxReceiveCount": count}).to_string()
    }
}

/// The queues that may name this one as their dead-letter queue.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct AllowPolicy {
    redrive_permission: String,
    #[serde(default)]
    source_queue_arns: Vec<String>,
}

impl AllowPolicy {
    fn parse(text: &str) -> Result<AllowPolicy, Refusal> {
        let valid = |policy: &AllowPolicy| {
            let sources = policy.source_queue_arns.len();
            match policy.redrive_permission.as_str() {
                "allowAll" | "denyAll" => sources == 0,
                "byQueue" => (1..=10).contains(&sources),
                _ => false,
            }
        };
        let policy = serde_json::from_str(text).ok().filter(valid);
        policy.ok_or_else(|| {
            let reason = "redrivePermission is allowAll, denyAll, or byQueue with 1 to 10 \
                          sourceQueueArns.";
            invalid_value(text, "RedriveAllowPolicy", reason)
        })
    }
}

/// Whether a new queue of this name is a FIFO queue: its name and `FifoQueue` have to agree.
pub(super) fn is_fifo(name: &str, asked: &BTreeMap<String, String>) -> Result<bool, Refusal> {
    let fifo = asked
        .get("FifoQueue")
        .is_some_and(|it| it.eq_ignore_ascii_case("true"));
    let base = name.strip_suffix(".fifo");
    if base.is_some() != fifo {
        let message = "A queue has the attribute FifoQueue exactly if its name ends in .fifo.";
        return Err(invalid(message));
    }
    let length = 1..=80;
    if !length.contains(&name.len()) || !base.unwrap_or(name).chars().all(is_id_character) {
        return Err(invalid(
            "Can only include alphanumeric characters, hyphens, or underscores. 1 to 80 in length",
        ));
    }
    Ok(fifo)
}

pub(super) fn is_id_character(it: char) -> bool {
    it.is_ascii_alphanumeric() || it == '-' || it == '_'
}

/// `arn:aws:sqs:<region>:<account>:<name>`.
pub fn queue_arn(name: &str) -> String {
    format!("arn:aws:sqs:{REGION}:{ACCOUNT}:{name}")
}

/// The name of a queue of this account and region.
pub(super) fn name_in_arn(arn: &str) -> Option<&str> {
    arn.strip_prefix(queue_arn("").as_str())
}
