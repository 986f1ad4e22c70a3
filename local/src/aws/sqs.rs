//! A small client for SQS's JSON protocol. It calls fauxqs directly and is for the host's own use.

use std::collections::BTreeMap;
use std::time::Duration;

use bytes::Bytes;
use http::header::CONTENT_TYPE;
use http::uri::PathAndQuery;
use http::{HeaderMap, HeaderValue, Method};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use super::meter::Depth;
use super::upstream::{Unavailable, Upstream};
use super::{ACCOUNT, AwsError, REGION};
use crate::template;

/// Attributes that fauxqs accepts when a queue is created, but not later.
const FIXED_ATTRIBUTES: [&str; 3] = ["FifoQueue", "DeduplicationScope", "FifoThroughputLimit"];

/// A client of SQS for the host. Cheap to clone. Its calls are not metered.
#[derive(Debug, Clone)]
pub struct SqsClient {
    upstream: Upstream,
}

/// A call that did not succeed.
#[derive(Debug, Clone, thiserror::Error)]
pub enum SqsError {
    /// SQS is not running or did not answer.
    #[error(transparent)]
    Unavailable(#[from] Unavailable),
    /// SQS refused the call.
    #[error("{kind}: {message}")]
    Refused {
        /// The exception's name, such as `QueueDoesNotExist`.
        kind: String,
        /// The message from SQS.
        message: String,
    },
    /// SQS sent an answer that this client does not understand.
    #[error("SQS answered {operation} unexpectedly: {reason}")]
    Unexpected {
        /// The operation.
        operation: &'static str,
        /// Why the answer is not understood.
        reason: String,
    },
}

/// A received message.
#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct Message {
    /// Its id, the same each time it is received.
    pub message_id: String,
    /// The handle that deletes it; a new one for each receive.
    pub receipt_handle: String,
    /// Its text.
    pub body: String,
    /// MD5 of the body, in hex.
    #[serde(rename = "MD5OfBody")]
    pub md5_of_body: String,
    /// MD5 of the message attributes, where there are any.
    #[serde(rename = "MD5OfMessageAttributes")]
    pub md5_of_message_attributes: Option<String>,
    /// System attributes such as `SentTimestamp`.
    #[serde(default)]
    pub attributes: BTreeMap<String, String>,
    /// The sender's own attributes.
    #[serde(default)]
    pub message_attributes: BTreeMap<String, MessageAttribute>,
}

/// One attribute that the sender gave to a message.
#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct MessageAttribute {
    /// `String`, `Number` or `Binary`, perhaps with `.<custom type>`.
    pub data_type: String,
    /// The value of a `String` or `Number`.
    pub string_value: Option<String>,
    /// The value of a `Binary`, in base64.
    pub binary_value: Option<String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Received {
    #[serde(default)]
    messages: Vec<Message>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Attributes {
    #[serde(default)]
    attributes: BTreeMap<String, String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct BatchResult {
    #[serde(default)]
    successful: Vec<BatchEntry>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct BatchEntry {
    id: String,
}

impl SqsClient {
    pub(super) fn new(upstream: Upstream) -> SqsClient {
        SqsClient { upstream }
    }

    /// Receives up to `most` messages (1 to 10) with all their attributes, waiting up to `wait` (20 s
    /// at most) for the first.
    ///
    /// `wait` may have a fraction of a second, so that a batching window can end in time. fauxqs
    /// honours it; SQS itself does not.
    ///
    /// # Errors
    /// If SQS is down or the queue does not exist.
    pub async fn receive(
        &self,
        queue_url: &str,
        most: usize,
        wait: Duration,
    ) -> Result<Vec<Message>, SqsError> {
        let received: Received = self
            .call(
                "ReceiveMessage",
                &json!({
                    "QueueUrl": queue_url,
                    "MaxNumberOfMessages": most,
                    "WaitTimeSeconds": wait.as_secs_f64(),
                    "MessageSystemAttributeNames": ["All"],
                    "MessageAttributeNames": ["All"],
                }),
            )
            .await?;
        Ok(received.messages)
    }

    /// Deletes up to ten messages by their receipt handles. Returns the positions of those that
    /// were not deleted.
    ///
    /// # Errors
    /// If the whole call failed, so that none was deleted.
    pub async fn delete_batch(
        &self,
        queue_url: &str,
        receipt_handles: &[&str],
    ) -> Result<Vec<usize>, SqsError> {
        let entries: Vec<Value> = receipt_handles
            .iter()
            .enumerate()
            .map(|(id, handle)| json!({"Id": id.to_string(), "ReceiptHandle": handle}))
            .collect();
        let result: BatchResult = self
            .call(
                "DeleteMessageBatch",
                &json!({"QueueUrl": queue_url, "Entries": entries}),
            )
            .await?;
        let deleted = |position: &usize| {
            let id = position.to_string();
            result.successful.iter().any(|entry| entry.id == id)
        };
        Ok((0..receipt_handles.len())
            .filter(|position| !deleted(position))
            .collect())
    }

    /// Sends one message and returns its id.
    ///
    /// # Errors
    /// If SQS is down, the queue does not exist or the body is refused.
    pub async fn send(&self, queue_url: &str, body: &str) -> Result<String, SqsError> {
        #[derive(Deserialize)]
        #[serde(rename_all = "PascalCase")]
        struct Sent {
            message_id: String,
        }
        let sent: Sent = self
            .call(
                "SendMessage",
                &json!({"QueueUrl": queue_url, "MessageBody": body}),
            )
            .await?;
        Ok(sent.message_id)
    }

    /// Returns how many messages the queue holds.
    ///
    /// # Errors
    /// If SQS is down or the queue does not exist.
    pub async fn depth(&self, queue_url: &str) -> Result<Depth, SqsError> {
        let attributes = self.attributes(queue_url).await?;
        let number = |name: &str| attributes.get(name)?.parse().ok();
        Ok(Depth {
            visible: number("ApproximateNumberOfMessages").unwrap_or(0),
            in_flight: number("ApproximateNumberOfMessagesNotVisible").unwrap_or(0),
            delayed: number("ApproximateNumberOfMessagesDelayed").unwrap_or(0),
        })
    }

    /// Returns how long a received message stays invisible.
    ///
    /// # Errors
    /// If SQS is down or the queue does not exist.
    pub async fn visibility_timeout(&self, queue_url: &str) -> Result<Duration, SqsError> {
        let attributes = self.attributes(queue_url).await?;
        attributes
            .get("VisibilityTimeout")
            .and_then(|seconds| seconds.parse().ok())
            .map(Duration::from_secs)
            .ok_or_else(|| SqsError::Unexpected {
                operation: "GetQueueAttributes",
                reason: "no VisibilityTimeout".to_owned(),
            })
    }

    async fn attributes(&self, queue_url: &str) -> Result<BTreeMap<String, String>, SqsError> {
        let answer: Attributes = self
            .call(
                "GetQueueAttributes",
                &json!({"QueueUrl": queue_url, "AttributeNames": ["All"]}),
            )
            .await?;
        Ok(answer.attributes)
    }

    /// Creates the template's queues. A queue that exists gets the template's attributes.
    pub(super) async fn create_queues(&self, queues: &[template::Queue]) -> Result<(), AwsError> {
        for queue in queues {
            self.create_queue(queue, queues)
                .await
                .map_err(|reason| AwsError::Queue {
                    queue: queue.logical_id.clone(),
                    reason,
                })?;
        }
        Ok(())
    }

    async fn create_queue(
        &self,
        queue: &template::Queue,
        all: &[template::Queue],
    ) -> Result<(), String> {
        let (fixed, mut changeable): (BTreeMap<&str, &str>, BTreeMap<&str, &str>) = queue
            .attributes
            .iter()
            .map(|(name, value)| (name.as_str(), value.as_str()))
            .partition(|(name, _)| FIXED_ATTRIBUTES.contains(name));
        // An empty policy removes one that a data folder still has.
        let redrive = match &queue.redrive {
            None => String::new(),
            Some(redrive) => {
                let target = all
                    .iter()
                    .find(|queue| queue.logical_id == redrive.dead_letter_queue)
                    .ok_or_else(|| {
                        format!(
                            "its dead-letter queue {} does not exist",
                            redrive.dead_letter_queue
                        )
                    })?;
                json!({
                    "deadLetterTargetArn": queue_arn(&target.name),
                    "maxReceiveCount": redrive.max_receive_count,
                })
                .to_string()
            }
        };
        changeable.insert("RedrivePolicy", &redrive);
        // In two steps, because CreateQueue refuses a queue that exists with other attributes.
        let create = json!({"QueueName": queue.name, "Attributes": fixed});
        let created: Value = self
            .call("CreateQueue", &create)
            .await
            .map_err(|e| e.to_string())?;
        let set = json!({"QueueUrl": created["QueueUrl"], "Attributes": changeable});
        let _: Value = self
            .call("SetQueueAttributes", &set)
            .await
            .map_err(|e| e.to_string())?;
        Ok(())
    }

    async fn call<T: DeserializeOwned>(
        &self,
        operation: &'static str,
        body: &Value,
    ) -> Result<T, SqsError> {
        let unexpected = |reason: String| SqsError::Unexpected { operation, reason };
        let mut headers = HeaderMap::new();
        headers.insert(
            CONTENT_TYPE,
            HeaderValue::from_static("application/x-amz-json-1.0"),
        );
        let target = HeaderValue::try_from(format!("AmazonSQS.{operation}"))
            .map_err(|e| unexpected(e.to_string()))?;
        headers.insert("x-amz-target", target);
        let body = Bytes::from(body.to_string());
        let path = PathAndQuery::from_static("/");
        let response = self
            .upstream
            .send(Method::POST, path, headers, body)
            .await?;
        if response.status().is_success() {
            return serde_json::from_slice(response.body()).map_err(|e| unexpected(e.to_string()));
        }
        #[derive(Deserialize)]
        struct Refusal {
            #[serde(rename = "__type")]
            kind: String,
            #[serde(default)]
            message: String,
        }
        let refusal: Refusal = serde_json::from_slice(response.body())
            .map_err(|_| unexpected(response.status().to_string()))?;
        let kind = refusal
            .kind
            .rsplit('#')
            .next()
            .unwrap_or_default()
            .to_owned();
        Err(SqsError::Refused {
            kind,
            message: refusal.message,
        })
    }
}

/// `arn:aws:sqs:<region>:<account>:<name>`.
pub fn queue_arn(name: &str) -> String {
    format!("arn:aws:sqs:{REGION}:{ACCOUNT}:{name}")
}
