//! The event source mapping between a queue and a function: receives messages in batches, invokes
//! the function with them, and deletes those that succeeded.
//! <https://docs.aws.amazon.com/lambda/latest/dg/with-sqs.html>

use std::collections::{HashSet, VecDeque};
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use bytes::Bytes;
use futures_util::future::BoxFuture;
use serde_json::{Map, Value, json};
use tokio::task::{JoinError, JoinSet};
use uuid::Uuid;

use crate::aws::{Aws, Services};
use crate::aws_json::REGION;
use crate::conditions::wait_until;
use crate::events::{Event, Messages, Move};
use crate::faults::Duplicate;
use crate::lambda::{InvokeError, MAX_PAYLOAD};
use crate::sqs::{Message, queue_arn};
use crate::task::Task;
use crate::template::QueueTrigger;

/// The longest wait that SQS allows a receive.
const LONG_POLL: Duration = Duration::from_secs(20);
/// SQS handles at most ten messages a call.
const MOST_PER_CALL: usize = 10;
/// The concurrency that a mapping starts with, and returns to when the queue is empty.
/// <https://docs.aws.amazon.com/lambda/latest/dg/services-sqs-scaling.html>
const FIRST_CONCURRENCY: usize = 5;
/// While messages are waiting, 300 more invocations a minute.
const ONE_MORE: Duration = Duration::from_millis(60_000 / 300);
/// The most invocations of one mapping.
const MOST_CONCURRENCY: usize = 1_250;
/// The bytes left for records in the largest event, beside `{"Records":[]}`.
const MOST_RECORDS: usize = MAX_PAYLOAD - r#"{"Records":[]}"#.len();
/// Pauses while the function is throttled: the first, doubled each time up to the second.
const BACK_OFF: (Duration, Duration) = (Duration::from_millis(100), Duration::from_secs(5));

/// Runs the function once, under a request id, with an event.
type Invoke = dyn Fn(String, Bytes) -> BoxFuture<'static, Result<Bytes, InvokeError>> + Send + Sync;

/// Starts polling the queue of this name. `invoke` runs the function once, under a request id, with an
/// event. Messages that are not finished when the task ends are delivered again after their
/// visibility timeout.
pub fn start<F, R>(trigger: QueueTrigger, queue: &str, function: &str, aws: &Aws, invoke: F) -> Task
where
    F: Fn(String, Bytes) -> R + Send + Sync + 'static,
    R: Future<Output = Result<Bytes, InvokeError>> + Send + 'static,
{
    let services = &aws.services;
    services.log.know_trigger(&trigger.queue);
    let mapping = Arc::new(Mapping {
        queue_arn: queue_arn(queue),
        trigger,
        queue: queue.to_owned(),
        function: function.to_owned(),
        services: Arc::clone(services),
        invoke: Box::new(move |request_id, event| Box::pin(invoke(request_id, event))),
    });
    Task::start(|stopped| async move {
        let mut invocations = JoinSet::new();
        tokio::select! {
            () = mapping.poll(&mut invocations) => {}
            _ = stopped => {}
        }
        while invocations.join_next().await.is_some() {}
    })
}

struct Mapping {
    trigger: QueueTrigger,
    queue: String,
    queue_arn: String,
    function: String,
    services: Arc<Services>,
    invoke: Box<Invoke>,
}

/// A received message, with its part of the event.
#[derive(Clone)]
struct Received {
    id: String,
    receipt_handle: String,
    /// Milliseconds since 1970, if this is its first receive.
    first_sent: Option<u64>,
    /// JSON.
    record: String,
    /// The start of its visibility timeout.
    at: Instant,
    /// A fault: it is not deleted even if the function succeeded with it.
    not_deleted: bool,
}

/// How many invocations may run at one time.
/// <https://docs.aws.amazon.com/lambda/latest/dg/services-sqs-scaling.html>
#[derive(Debug)]
struct Scale {
    concurrency: usize,
    least: usize,
    most: usize,
    changed: Instant,
}

impl Scale {
    fn new(maximum_concurrency: Option<u32>) -> Scale {
        let most = maximum_concurrency.and_then(|most| usize::try_from(most).ok());
        let most = most.unwrap_or(MOST_CONCURRENCY);
        let least = FIRST_CONCURRENCY.min(most);
        Scale {
            concurrency: least,
            least,
            most,
            changed: Instant::now(),
        }
    }

    fn may_grow(&self) -> bool {
        self.concurrency < self.most
    }

    fn next_step(&self) -> tokio::time::Instant {
        (self.changed + ONE_MORE).into()
    }

    fn grow(&mut self) {
        self.concurrency += 1;
        self.changed = Instant::now();
    }

    /// Backs off after an invocation that failed as a whole, down to one at a time.
    /// <https://docs.aws.amazon.com/lambda/latest/dg/services-sqs-errorhandling.html>
    fn ended(&mut self, ended: &Result<Ended, JoinError>) {
        if !matches!(ended, Ok(Ended::Succeeded)) {
            self.concurrency = (self.concurrency - 1).max(1);
            self.changed = Instant::now();
        }
    }

    /// The queue is empty.
    fn rest(&mut self) {
        self.concurrency = self.least;
    }
}

/// How an invocation with a batch ended. One that reports failed messages succeeded.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Ended {
    Succeeded,
    Failed,
}

impl Mapping {
    /// Gathers batches one after another and invokes the function with each, several at a time.
    ///
    /// AWS has one poller for each concurrent batch. One is enough here: the queue is on the same
    /// machine and answers in less than a millisecond.
    async fn poll(self: &Arc<Self>, invocations: &mut JoinSet<Ended>) {
        let mut scale = Scale::new(self.trigger.maximum_concurrency);
        let mut waiting = VecDeque::new();
        loop {
            while invocations.len() >= scale.concurrency {
                tokio::select! {
                    Some(ended) = invocations.join_next() => scale.ended(&ended),
                    () = tokio::time::sleep_until(scale.next_step()), if scale.may_grow() => scale.grow(),
                }
            }
            while let Some(ended) = invocations.try_join_next() {
                scale.ended(&ended);
            }
            match self.gather(&mut waiting).await {
                Some(batch) => {
                    let mapping = Arc::clone(self);
                    invocations.spawn(async move { mapping.process(batch).await });
                }
                None => scale.rest(),
            }
        }
    }

    /// Waits for a message, then for more, until the batch or the event is full or the batching
    /// window is over. Messages that do not fit the event stay for the next. `None` if the queue
    /// stayed empty for a whole long poll.
    async fn gather(&self, waiting: &mut VecDeque<Received>) -> Option<Vec<Received>> {
        let most = usize::try_from(self.trigger.batch_size).unwrap_or(usize::MAX);
        if waiting.is_empty() {
            self.receive(most, LONG_POLL, waiting).await;
        }
        let window_end = waiting.front()?.at + self.trigger.batching_window;
        while waiting.len() < most && fitting(waiting) == waiting.len() {
            let wait = window_end
                .saturating_duration_since(Instant::now())
                .min(LONG_POLL);
            if wait.is_zero() {
                break;
            }
            self.receive(most - waiting.len(), wait, waiting).await;
        }
        let batch = fitting(waiting).min(most);
        Some(waiting.drain(..batch).collect())
    }

    async fn receive(&self, most: usize, wait: Duration, waiting: &mut VecDeque<Received>) {
        let most = most.min(MOST_PER_CALL);
        let Ok(messages) = self.services.sqs.receive(&self.queue, most, wait).await else {
            // The queue is gone, or has too many messages in flight; that may pass.
            return tokio::time::sleep(BACK_OFF.1).await;
        };
        let at = Instant::now();
        let mut again = Vec::new();
        for message in messages {
            let mut received = self.received(message, at);
            self.note(Move::Received, vec![received.id.clone()], None);
            match self.services.faults.duplicates_delivery(&self.function) {
                None => {}
                Some(Duplicate::NotDeleted) => received.not_deleted = true,
                Some(Duplicate::AtOnce) => {
                    self.note(Move::Received, vec![received.id.clone()], None);
                    again.push(received.clone());
                }
            }
            waiting.push_back(received);
        }
        // In this batch, or in another if this one is full.
        waiting.extend(again);
    }

    fn received(&self, message: Message, at: Instant) -> Received {
        let attribute = |name: &str| message.attributes.get(name)?.parse::<u64>().ok();
        let first = attribute("ApproximateReceiveCount") == Some(1);
        Received {
            first_sent: attribute("SentTimestamp").filter(|_| first),
            record: record(&message, &self.queue_arn),
            id: message.message_id,
            receipt_handle: message.receipt_handle,
            at,
            not_deleted: false,
        }
    }

    /// Invokes the function with a batch and deletes the messages that succeeded. The others become
    /// visible again after their visibility timeout, and the queue counts the receives.
    async fn process(&self, batch: Vec<Received>) -> Ended {
        let queue = &self.trigger.queue;
        let records: Vec<&str> = batch
            .iter()
            .map(|received| received.record.as_str())
            .collect();
        let event = Bytes::from(format!(r#"{{"Records":[{}]}}"#, records.join(",")));
        let request_id = Uuid::new_v4().to_string();
        let (ended, failed) = match self.invoke(&batch, &request_id, event).await {
            Ok(response) => (Ended::Succeeded, self.failed(&batch, &response)),
            Err(_) => (
                Ended::Failed,
                batch.iter().map(|received| received.id.as_str()).collect(),
            ),
        };
        let (left, done): (Vec<_>, Vec<_>) = batch
            .iter()
            .partition(|received| failed.contains(received.id.as_str()) || received.not_deleted);
        let handles = done.iter().map(|received| received.receipt_handle.as_str());
        let handles: Vec<&str> = handles.collect();
        let undeleted = self
            .services
            .sqs
            .delete(&self.queue, &handles)
            .unwrap_or_else(|why| {
                eprintln!("local: messages of {queue} are not deleted, and come again: {why}");
                (0..done.len()).collect()
            });
        let mut deleted: Vec<_> = done.iter().map(|it| Some(it.id.clone())).collect();
        let mut returned: Vec<_> = left.iter().map(|it| it.id.clone()).collect();
        returned.extend(undeleted.into_iter().filter_map(|at| deleted[at].take()));
        self.note(
            Move::Deleted,
            deleted.into_iter().flatten().collect(),
            Some(&request_id),
        );
        self.note(Move::Returned, returned, Some(&request_id));
        ended
    }

    fn note(&self, change: Move, ids: Vec<String>, request_id: Option<&str>) {
        if !ids.is_empty() {
            self.services.log.add(Event::Messages(Messages {
                queue: self.trigger.queue.clone(),
                change,
                ids,
                request_id: request_id.map(str::to_owned),
                waited: Vec::new(),
            }));
        }
    }

    /// Invokes once. Retries while the function is throttled and the messages are still invisible
    /// to others; AWS asks for a long visibility timeout for this reason.
    /// <https://docs.aws.amazon.com/lambda/latest/dg/services-sqs-configure.html>
    async fn invoke(
        &self,
        batch: &[Received],
        request_id: &str,
        event: Bytes,
    ) -> Result<Bytes, InvokeError> {
        let mut pause = BACK_OFF.0;
        let now = || {
            SystemTime::now()
                .duration_since(UNIX_EPOCH)
                .unwrap_or_default()
        };
        let sent = batch.iter().filter_map(|received| received.first_sent);
        let sent: Vec<_> = sent.map(Duration::from_millis).collect();
        if let Some(first) = sent.first() {
            // AWS takes longer to notice a message.
            let due = (*first + self.services.conditions.trigger(&self.trigger.queue))
                .saturating_sub(now());
            wait_until(Instant::now() + due).await;
        }
        loop {
            let begun = now();
            let result = (self.invoke)(request_id.to_owned(), event.clone()).await;
            if !matches!(result, Err(InvokeError::Throttled)) {
                let waited = sent.iter().map(|sent| begun.saturating_sub(*sent));
                self.services.log.add(Event::Messages(Messages {
                    queue: self.trigger.queue.clone(),
                    change: Move::Delivered,
                    ids: batch.iter().map(|received| received.id.clone()).collect(),
                    request_id: Some(request_id.to_owned()),
                    waited: waited.collect(),
                }));
                return result;
            }
            let Ok(visibility) = self.services.sqs.visibility_timeout(&self.queue) else {
                return result;
            };
            let age = batch
                .first()
                .map_or(Duration::ZERO, |received| received.at.elapsed());
            if age + pause >= visibility {
                return result;
            }
            tokio::time::sleep(pause).await;
            pause = (pause * 2).min(BACK_OFF.1);
        }
    }

    /// The ids of the messages that failed, as the response reports them.
    fn failed<'a>(&self, batch: &'a [Received], response: &[u8]) -> HashSet<&'a str> {
        if !self.trigger.report_batch_item_failures {
            return HashSet::new();
        }
        let ids = batch.iter().map(|received| received.id.as_str()).collect();
        reported_failures(response, &ids).unwrap_or_else(|why| {
            eprintln!(
                "local: the whole batch of {} from {} counts as failed: {why}",
                batch.len(),
                self.trigger.queue
            );
            ids
        })
    }
}

/// How many of the first messages fit one event: at least one, since a message has at most 1 MiB.
fn fitting(waiting: &VecDeque<Received>) -> usize {
    let mut size = 0;
    waiting
        .iter()
        .take_while(|received| {
            size += received.record.len() + 1;
            size <= MOST_RECORDS
        })
        .count()
}

/// Reads a partial batch response as strictly as AWS. The whole batch fails if the response cannot
/// be understood, or names a message that is not in the batch.
/// <https://docs.aws.amazon.com/lambda/latest/dg/services-sqs-errorhandling.html#services-sqs-batchfailurereporting>
fn reported_failures<'a>(
    response: &[u8],
    ids: &HashSet<&'a str>,
) -> Result<HashSet<&'a str>, String> {
    if response.is_empty() {
        return Ok(HashSet::new());
    }
    let response: Option<Map<String, Value>> =
        serde_json::from_slice(response).map_err(|e| format!("its response is no object ({e})"))?;
    let failures = response.and_then(|mut response| response.remove("batchItemFailures"));
    let failures: Option<Vec<Map<String, Value>>> =
        serde_json::from_value(failures.unwrap_or_default())
            .map_err(|e| format!("batchItemFailures is no list of objects ({e})"))?;
    let ids = failures.into_iter().flatten().map(|failure| {
        let id = failure.get("itemIdentifier").and_then(Value::as_str);
        let id = id.ok_or_else(|| format!("{failure:?} has no itemIdentifier"))?;
        let known = ids.get(id).copied();
        known.ok_or_else(|| format!("no message has the id {id:?}"))
    });
    ids.collect()
}

/// One message of the event, in AWS's format.
/// <https://docs.aws.amazon.com/lambda/latest/dg/with-sqs.html#example-standard-queue-message-event>
fn record(message: &Message, queue_arn: &str) -> String {
    let mut record = json!({
        "messageId": message.message_id,
        "receiptHandle": message.receipt_handle,
        "body": message.body,
        "attributes": message.attributes,
        "messageAttributes": {},
        "md5OfBody": message.md5_of_body,
        "eventSource": "aws:sqs",
        "eventSourceARN": queue_arn,
        "awsRegion": REGION,
    });
    for (name, attribute) in &message.message_attributes {
        // SQS has reserved these lists for years; they are always present and always empty.
        let mut value = json!({
            "dataType": attribute.data_type,
            "stringListValues": [],
            "binaryListValues": [],
        });
        if let Some(text) = &attribute.string_value {
            value["stringValue"] = text.as_str().into();
        }
        if let Some(base64) = &attribute.binary_value {
            value["binaryValue"] = base64.as_str().into();
        }
        record["messageAttributes"][name] = value;
    }
    if let Some(md5) = &message.md5_of_message_attributes {
        record["md5OfMessageAttributes"] = md5.as_str().into();
    }
    record.to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn failed_invocations_lower_the_concurrency_to_one_and_an_empty_queue_resets_it() {
        let mut scale = Scale::new(Some(7));
        assert_eq!(scale.concurrency, 5);
        scale.grow();
        scale.ended(&Ok(Ended::Succeeded));
        assert_eq!(scale.concurrency, 6);
        for concurrency in [5, 4, 3, 2, 1, 1] {
            scale.ended(&Ok(Ended::Failed));
            assert_eq!(scale.concurrency, concurrency);
        }
        scale.rest();
        assert_eq!(scale.concurrency, 5);
        scale.grow();
        scale.grow();
        assert!(!scale.may_grow(), "7 is the most");
    }

    #[test]
    fn a_mapping_never_starts_above_its_maximum() {
        assert_eq!(Scale::new(Some(2)).concurrency, 2);
        assert_eq!(Scale::new(None).most, MOST_CONCURRENCY);
    }

    fn failures(response: &str) -> Result<Vec<&'static str>, String> {
        let ids = HashSet::from(["one", "two"]);
        let mut failed: Vec<_> = reported_failures(response.as_bytes(), &ids)?
            .into_iter()
            .collect();
        failed.sort_unstable();
        Ok(failed)
    }

    #[test]
    fn nothing_reported_is_full_success() {
        for response in [
            "",
            "null",
            "{}",
            r#"{"batchItemFailures":[]}"#,
            r#"{"batchItemFailures":null}"#,
            r#"{"statusCode":200}"#,
        ] {
            assert_eq!(failures(response), Ok(vec![]), "{response}");
        }
    }

    #[test]
    fn the_reported_messages_failed() {
        let one = r#"{"batchItemFailures":[{"itemIdentifier":"two"}]}"#;
        assert_eq!(failures(one), Ok(vec!["two"]));
        let twice = r#"{"batchItemFailures":[{"itemIdentifier":"two"},{"itemIdentifier":"two"},{"itemIdentifier":"one"}]}"#;
        assert_eq!(failures(twice), Ok(vec!["one", "two"]));
    }

    #[test]
    fn a_malformed_report_fails_the_whole_batch() {
        for response in [
            "Success!",
            r#""ok""#,
            "[]",
            "[null]",
            "true",
            r#"{"batchItemFailures":{}}"#,
            r#"{"batchItemFailures":"one"}"#,
            r#"{"batchItemFailures":["one"]}"#,
            r#"{"batchItemFailures":[["one"]]}"#,
            r#"{"batchItemFailures":[null]}"#,
            r#"{"batchItemFailures":[{}]}"#,
            r#"{"batchItemFailures":[{"itemIdentifier":""}]}"#,
            r#"{"batchItemFailures":[{"itemIdentifier":null}]}"#,
            r#"{"batchItemFailures":[{"itemIdentifier":1}]}"#,
            r#"{"batchItemFailures":[{"itemIdentifier":"three"}]}"#,
            r#"{"batchItemFailures":[{"itemidentifier":"one"}]}"#,
            r#"{"batchItemFailures":[{"itemIdentifier":"one"},{"itemIdentifier":"three"}]}"#,
        ] {
            assert!(failures(response).is_err(), "{response}");
        }
    }
}
