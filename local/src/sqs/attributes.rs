//! The attributes of a queue: their names, limits and defaults.
//! <https://docs.aws.amazon.com/AWSSimpleQueueService/latest/APIReference/API_SetQueueAttributes.html>

use std::collections::BTreeMap;

use serde::Deserialize;
use serde_json::{Value, json};

use super::error::{invalid, invalid_value, refuse};
use crate::aws_json::{ACCOUNT, REGION, Refusal};

enum Kind {
    /// From, to.
    Number(i64, i64),
    /// One of two.
    Word(&'static str, &'static str),
    Text,
}
use Kind::{Number, Text, Word};

/// Attributes that can be set: name, whether FIFO queues alone have it, what it may be, default.
const ATTRIBUTES: [(&str, bool, Kind, &str); 15] = [
    (
        "ContentBasedDeduplication",
        true,
        Word("true", "false"),
        "false",
    ),
    (
        "DeduplicationScope",
        true,
        Word("queue", "messageGroup"),
        "queue",
    ),
    ("DelaySeconds", false, Number(0, 900), "0"),
    ("FifoQueue", true, Word("true", "true"), "true"),
    (
        "FifoThroughputLimit",
        true,
        Word("perQueue", "perMessageGroupId"),
        "perQueue",
    ),
    (
        "KmsDataKeyReusePeriodSeconds",
        false,
        Number(60, 86_400),
        "",
    ),
    ("KmsMasterKeyId", false, Text, ""),
    (
        "MaximumMessageSize",
        false,
        Number(1_024, 1_048_576),
        "1048576",
    ),
    (
        "MessageRetentionPeriod",
        false,
        Number(60, 1_209_600),
        "345600",
    ),
    ("Policy", false, Text, ""),
    ("ReceiveMessageWaitTimeSeconds", false, Number(0, 20), "0"),
    ("RedriveAllowPolicy", false, Text, ""),
    ("RedrivePolicy", false, Text, ""),
    ("SqsManagedSseEnabled", false, Word("true", "false"), "true"),
    ("VisibilityTimeout", false, Number(0, 43_200), "30"),
];

/// Attributes that can only be read.
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
        let own = ATTRIBUTES
            .iter()
            .filter(|it| (fifo || !it.1) && !it.3.is_empty());
        Attributes(own.map(|it| (it.0.to_owned(), it.3.to_owned())).collect())
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
        let (_, fifo, kind, _) = known(name)?;
        if *fifo && !self.is_fifo() {
            return Err(unknown(name));
        }
        let kept = match kind {
            Number(from, to) => {
                let number = value.parse().ok().filter(|it| (*from..=*to).contains(it));
                number.map(|it: i64| it.to_string())
            }
            Word(one, other) => {
                let mut words = [one, other].into_iter();
                let word = words.find(|it| it.eq_ignore_ascii_case(value));
                word.map(|it| (*it).to_owned())
            }
            Text if value.is_empty() => Some(String::new()),
            Text if name == "RedrivePolicy" => Some(Redrive::parse(value)?.to_json()),
            Text if name == "RedriveAllowPolicy" => {
                AllowPolicy::parse(value)?;
                Some(value.to_owned())
            }
            Text => Some(value.to_owned()),
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

/// The row of an attribute that can be set.
fn known(name: &str) -> Result<&'static (&'static str, bool, Kind, &'static str), Refusal> {
    let row = ATTRIBUTES.iter().find(|it| it.0 == name);
    row.ok_or_else(|| unknown(name))
}

/// Refuses a name that no queue can be asked for.
pub(super) fn check_readable(name: &str) -> Result<(), Refusal> {
    match name == "All" || READ_ONLY.contains(&name) {
        true => Ok(()),
        false => known(name).map(|_| ()),
    }
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
