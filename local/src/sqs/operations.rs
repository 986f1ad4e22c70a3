//! The operations of SQS in its JSON protocol, except those that wait or go on in the background.
//! <https://docs.aws.amazon.com/AWSSimpleQueueService/latest/APIReference/API_Operations.html>

use std::collections::{BTreeMap, HashSet};

use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use super::attributes::{check_readable, is_id_character, queue_arn};
use super::error::{invalid, invalid_value, missing, no_queue, refuse};
use super::message::{
    MessageAttributes, check_attributes, check_body, check_token, digest, md5, size, trace_header,
};
use super::messages::{Outgoing, sequence_number};
use super::store::{Queue, Store};
use crate::aws_json::{ACCOUNT, Refusal};

/// A message, and all messages of a batch, may have 1 MiB; a queue may lower it for one message.
const MOST_BYTES: usize = 1_048_576;
const MOST_ENTRIES: usize = 10;

/// The body of a call about a queue, with the members of all such calls.
#[derive(Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
struct Request {
    queue_url: String,
    queue_name: String,
    queue_owner_a_w_s_account_id: Option<String>,
    queue_name_prefix: String,
    attributes: BTreeMap<String, String>,
    attribute_names: Vec<String>,
    #[serde(alias = "tags")]
    tags: BTreeMap<String, String>,
    tag_keys: Vec<String>,
    max_results: Option<usize>,
    next_token: Option<String>,
}

/// The body of a call about one message, or one entry of a batch.
#[derive(Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
struct Entry {
    queue_url: String,
    id: String,
    message_body: String,
    delay_seconds: Option<i64>,
    message_attributes: MessageAttributes,
    message_system_attributes: MessageAttributes,
    message_deduplication_id: Option<String>,
    message_group_id: Option<String>,
    receipt_handle: String,
    visibility_timeout: Option<i64>,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
struct Batch {
    queue_url: String,
    entries: Vec<Entry>,
}

/// Acts on one message of a queue.
type Act = fn(&mut Store, &str, &Entry, i64) -> Result<Value, Refusal>;

/// Carries out an operation; `endpoint_url` is the beginning of queues' URLs.
pub(super) fn answer(
    store: &mut Store,
    endpoint_url: &str,
    operation: &str,
    body: &[u8],
    now: i64,
) -> Result<Value, Refusal> {
    match operation {
        "SendMessage" => return single(store, body, send, now),
        "DeleteMessage" => return single(store, body, delete, now),
        "ChangeMessageVisibility" => return single(store, body, change_visibility, now),
        "SendMessageBatch" => return batch(store, body, send, now),
        "DeleteMessageBatch" => return batch(store, body, delete, now),
        "ChangeMessageVisibilityBatch" => return batch(store, body, change_visibility, now),
        "ListMessageMoveTasks" => return store.list_tasks(&parse(body)?),
        "CancelMessageMoveTask" => return store.cancel_task(&parse(body)?),
        _ => {}
    }
    let request: Request = parse(body)?;
    let url = |name: &str| format!("{endpoint_url}/{ACCOUNT}/{name}");
    // Without either it is the name of no queue.
    let name = match request.queue_url.as_str() {
        "" => &request.queue_name,
        url => queue_name(url)?,
    };
    match operation {
        "CreateQueue" => {
            store.create(name, &request.attributes, &request.tags, now)?;
            return Ok(json!({"QueueUrl": url(name)}));
        }
        "GetQueueUrl" => {
            store.queue(name)?;
            let owner = request.queue_owner_a_w_s_account_id.as_deref();
            let ours = owner.is_none_or(|owner| owner == ACCOUNT);
            return ours
                .then(|| json!({"QueueUrl": url(name)}))
                .ok_or_else(no_queue);
        }
        "ListQueues" => {
            let names = store.queues.keys();
            let names = names.filter(|name| name.starts_with(&request.queue_name_prefix));
            return page(names, &request, "QueueUrls", url);
        }
        "ListDeadLetterSourceQueues" => {
            store.queue(name)?;
            return page(store.sources_of(name), &request, "queueUrls", url);
        }
        "GetQueueAttributes" => return get_attributes(store, name, &request.attribute_names, now),
        "ListQueueTags" => return Ok(without_empty(json!({"Tags": store.queue(name)?.tags}))),
        "SetQueueAttributes" => store.set_attributes(name, &request.attributes, now)?,
        "DeleteQueue" => store.delete_queue(name)?,
        "PurgeQueue" => store.purge(name, now)?,
        "TagQueue" => {
            let mut tags = store.queue(name)?.tags.clone();
            tags.extend(request.tags);
            store.set_tags(name, tags)?;
        }
        "UntagQueue" => {
            let mut tags = store.queue(name)?.tags.clone();
            tags.retain(|key, _| !request.tag_keys.contains(key));
            store.set_tags(name, tags)?;
        }
        "AddPermission" | "RemovePermission" => {
            let message = format!("{operation} is not hosted: nothing here checks permissions.");
            return Err(refuse("UnsupportedOperation", message));
        }
        _ => {
            let message = format!("SQS has no operation {operation}.");
            return Err(refuse("UnknownOperationException", message));
        }
    }
    Ok(json!({}))
}

pub(super) fn parse<T: DeserializeOwned>(body: &[u8]) -> Result<T, Refusal> {
    // serde would take a list for the members in their order.
    if !body.trim_ascii_start().starts_with(b"{") {
        let message = "The body is not a JSON object.";
        return Err(refuse("SerializationException", message));
    }
    serde_json::from_slice(body).map_err(|e| refuse("SerializationException", e.to_string()))
}

/// The name in a queue's URL. Its host does not matter: the endpoint's port differs between runs.
pub(super) fn queue_name(url: &str) -> Result<&str, Refusal> {
    let parts: Vec<&str> = url.split('/').collect();
    match parts[..] {
        [_, "", _, ACCOUNT, name] => Ok(name),
        [""] | [_, "", _, _, _] => Err(no_queue()),
        _ => {
            let message = format!("The address {url} is not valid for this endpoint.");
            Err(refuse("InvalidAddress", message))
        }
    }
}

/// AWS leaves out lists and maps that are empty.
pub(super) fn without_empty(mut answer: Value) -> Value {
    if let Value::Object(members) = &mut answer {
        members.retain(|_, value| match value {
            Value::Null => false,
            Value::Array(items) => !items.is_empty(),
            Value::Object(members) => !members.is_empty(),
            _ => true,
        });
    }
    answer
}

/// The URLs of some queues, in pages if `MaxResults` asks for them. A token is the last name given.
fn page<'a>(
    names: impl Iterator<Item = &'a String>,
    request: &Request,
    member: &str,
    url: impl Fn(&str) -> String,
) -> Result<Value, Refusal> {
    let most = request.max_results.unwrap_or(1000);
    if !(1..=1000).contains(&most) {
        let reason = "Must be an integer value between 1 and 1000.";
        return Err(invalid_value(most, "MaxResults", reason));
    }
    let after = request.next_token.as_ref();
    let mut names = names
        .skip_while(|name| after.is_some_and(|it| *name <= it))
        .peekable();
    let listed: Vec<&String> = names.by_ref().take(most).collect();
    let more = request.max_results.is_some() && names.peek().is_some();
    let urls: Vec<String> = listed.iter().map(|name| url(name)).collect();
    let next = listed.last().filter(|_| more);
    Ok(without_empty(json!({member: urls, "NextToken": next})))
}

fn get_attributes(
    store: &mut Store,
    name: &str,
    wanted: &[String],
    now: i64,
) -> Result<Value, Refusal> {
    for name in wanted {
        check_readable(name)?;
    }
    let depth = store.depth(name, now)?;
    let queue = store.queue(name)?;
    let mut all = queue.attributes.0.clone();
    let mut add = |name: &str, value: String| all.insert(name.to_owned(), value);
    add("QueueArn", queue_arn(name));
    add("CreatedTimestamp", (queue.created / 1000).to_string());
    add("LastModifiedTimestamp", (queue.modified / 1000).to_string());
    add("ApproximateNumberOfMessages", depth.visible.to_string());
    let (in_flight, delayed) = (depth.in_flight.to_string(), depth.delayed.to_string());
    add("ApproximateNumberOfMessagesNotVisible", in_flight);
    add("ApproximateNumberOfMessagesDelayed", delayed);
    all.retain(|name, _| wanted.iter().any(|it| it == "All" || it == name));
    Ok(without_empty(json!({"Attributes": all})))
}

fn single(store: &mut Store, body: &[u8], act: Act, now: i64) -> Result<Value, Refusal> {
    let entry: Entry = parse(body)?;
    let queue = queue_name(&entry.queue_url)?;
    store.queue(queue)?;
    act(store, queue, &entry, now)
}

/// Acts on each entry. What is wrong with one entry fails that entry alone.
fn batch(store: &mut Store, body: &[u8], act: Act, now: i64) -> Result<Value, Refusal> {
    let batch: Batch = parse(body)?;
    let queue = queue_name(&batch.queue_url)?;
    check_batch(store.queue(queue)?, &batch.entries)?;
    let (mut successful, mut failed) = (Vec::new(), Vec::new());
    for entry in &batch.entries {
        match act(store, queue, entry, now) {
            Ok(mut result) => {
                result["Id"] = entry.id.as_str().into();
                successful.push(result);
            }
            // Nothing of the batch is kept then.
            Err(refusal) if !refusal.is_senders() => return Err(refusal),
            Err(refusal) => failed.push(json!({
                "Id": entry.id,
                "Code": refusal.query_error,
                "Message": refusal.message,
                "SenderFault": true,
            })),
        }
    }
    let answer = json!({"Successful": successful, "Failed": failed});
    Ok(without_empty(answer))
}

/// Refuses a batch as a whole.
fn check_batch(queue: &Queue, entries: &[Entry]) -> Result<(), Refusal> {
    let count = entries.len();
    if count == 0 {
        let message = "There should be at least one entry in the request.";
        return Err(refuse("EmptyBatchRequest", message));
    }
    if count > MOST_ENTRIES {
        let message = format!("Maximum number of entries per request are {MOST_ENTRIES}.");
        let message = format!("{message} You have sent {count}.");
        return Err(refuse("TooManyEntriesInBatchRequest", message));
    }
    let mut ids = HashSet::new();
    for Entry { id, .. } in entries {
        if !(1..=80).contains(&id.len()) || !id.chars().all(is_id_character) {
            let message = "A batch entry id can only contain alphanumeric characters, hyphens and \
                           underscores. It can be at most 80 letters long.";
            return Err(refuse("InvalidBatchEntryId", message));
        }
        if !ids.insert(id) {
            let message = format!("Id {id} repeated.");
            return Err(refuse("BatchEntryIdsNotDistinct", message));
        }
    }
    let size = |it: &Entry| size(&it.message_body, &it.message_attributes);
    let bytes: usize = entries.iter().map(size).sum();
    if bytes > MOST_BYTES {
        let message = format!("Batch requests cannot be longer than {MOST_BYTES} bytes.");
        let message = format!("{message} You have sent {bytes} bytes.");
        return Err(refuse("BatchRequestTooLong", message));
    }
    // Only a batch that sends has no handles.
    let sent = entries.iter().filter(|it| it.receipt_handle.is_empty());
    for entry in sent.filter(|_| queue.attributes.is_fifo()) {
        deduplication_id(queue, entry).map_err(|refusal| invalid(refusal.message))?;
    }
    Ok(())
}

fn send(store: &mut Store, name: &str, entry: &Entry, now: i64) -> Result<Value, Refusal> {
    let queue = store.queue(name)?;
    let attributes = &queue.attributes;
    check_body(&entry.message_body)?;
    check_attributes(&entry.message_attributes)?;
    let most = attributes.number("MaximumMessageSize");
    let bytes = size(&entry.message_body, &entry.message_attributes);
    if i64::try_from(bytes).is_ok_and(|bytes| bytes > most) {
        let message = "One or more parameters are invalid. Reason: Message must be shorter than";
        return Err(invalid(format!("{message} {most} bytes.")));
    }
    let delay = entry.delay_seconds.filter(|_| !attributes.is_fifo());
    check_range("DelaySeconds", delay, 900)?;
    let trace = trace_header(&entry.message_system_attributes)?;
    let message = Outgoing {
        body: &entry.message_body,
        attributes: &entry.message_attributes,
        trace,
        delay_seconds: delay.unwrap_or(attributes.number("DelaySeconds")),
        group_id: entry.message_group_id.as_deref(),
        dedup_id: deduplication_id(queue, entry)?,
    };
    let fifo = attributes.is_fifo();
    let (id, seq) = store.send(name, &message, now)?;
    Ok(without_empty(json!({
        "MessageId": id,
        "MD5OfMessageBody": md5(entry.message_body.as_bytes()),
        "MD5OfMessageAttributes": digest(&entry.message_attributes),
        "MD5OfMessageSystemAttributes": digest(&entry.message_system_attributes),
        "SequenceNumber": fifo.then(|| sequence_number(seq)),
    })))
}

/// Checks what only one type of queue takes. Returns the deduplication id, which only a FIFO queue
/// has: the sender's, or else the body's SHA-256.
fn deduplication_id(queue: &Queue, entry: &Entry) -> Result<Option<String>, Refusal> {
    const OTHER_TYPE: &str = "The request include parameter that is not valid for this queue type.";
    let given = entry.message_deduplication_id.as_deref();
    check_token("MessageGroupId", entry.message_group_id.as_deref())?;
    check_token("MessageDeduplicationId", given)?;
    if !queue.attributes.is_fifo() {
        return match given {
            Some(id) => Err(invalid_value(id, "MessageDeduplicationId", OTHER_TYPE)),
            None => Ok(None),
        };
    }
    if let Some(delay) = entry.delay_seconds.filter(|delay| *delay != 0) {
        return Err(invalid_value(delay, "DelaySeconds", OTHER_TYPE));
    }
    if entry.message_group_id.is_none() {
        return Err(missing("MessageGroupId"));
    }
    match given {
        Some(id) => Ok(Some(id.to_owned())),
        None if queue.attributes.is("ContentBasedDeduplication", "true") => {
            let digest = Sha256::digest(entry.message_body.as_bytes());
            let digest = digest.iter().map(|byte| format!("{byte:02x}"));
            Ok(Some(digest.collect()))
        }
        None => Err(invalid(
            "The queue should either have ContentBasedDeduplication enabled or \
             MessageDeduplicationId provided explicitly",
        )),
    }
}

fn delete(store: &mut Store, name: &str, entry: &Entry, now: i64) -> Result<Value, Refusal> {
    store.delete(name, &entry.receipt_handle, now)?;
    Ok(json!({}))
}

fn change_visibility(
    store: &mut Store,
    name: &str,
    entry: &Entry,
    now: i64,
) -> Result<Value, Refusal> {
    let seconds = entry.visibility_timeout;
    let seconds = seconds.ok_or_else(|| missing("VisibilityTimeout"))?;
    check_range("VisibilityTimeout", Some(seconds), 43_200)?;
    store.change_visibility(name, &entry.receipt_handle, seconds, now)?;
    Ok(json!({}))
}

/// Refuses a number that is not between 0 and `most`.
pub(super) fn check_range(parameter: &str, value: Option<i64>, most: i64) -> Result<(), Refusal> {
    let Some(value) = value.filter(|it| !(0..=most).contains(it)) else {
        return Ok(());
    };
    let reason = format!("Must be >= 0 and <= {most}, if provided.");
    Err(invalid_value(value, parameter, &reason))
}
