//! SQS as clients see it: through the endpoint with the SDK, and call by call in its JSON protocol.
//! What needs hours of waiting is in the module's own tests, on a clock that they set.

#![allow(
    clippy::unwrap_used,
    reason = "a helper that fails is a test that fails"
)]

mod aws_support;

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use aws_sdk_sqs::types::{
    MessageAttributeValue, MessageSystemAttributeName, MessageSystemAttributeNameForSends,
    MessageSystemAttributeValue, QueueAttributeName, SendMessageBatchRequestEntry,
};
use aws_support::{Host, measured, queue, queues, sqs, start};
use local::aws_json::Refusal;
use local::events::{Depth, Log};
use local::sqs::Sqs;
use serde_json::{Value, json};

const ORDERS: &str = "OrdersQueue";
const TRACE: &str = "Root=1-5759e988-bd862e3fe1be46a994272793;Parent=53995c3f42cd8ad8;Sampled=0";
/// No test waits that long for something that happens.
const PATIENCE: Duration = Duration::from_secs(30);

fn trace() -> MessageSystemAttributeValue {
    let value = MessageSystemAttributeValue::builder().data_type("String");
    value.string_value(TRACE).build().unwrap()
}

fn orders_url(host: &Host) -> String {
    host.queue_url("local-OrdersQueue")
}

#[tokio::test]
async fn the_sdk_sends_receives_and_deletes_by_queue_url() {
    let host = Host::start(&[], &queues("30")).await;
    let client = sqs(&host.aws, "PlaceOrder");
    let url = orders_url(&host);
    client
        .send_message()
        .queue_url(&url)
        .message_body("hello")
        .send()
        .await
        .unwrap();
    let received = client
        .receive_message()
        .queue_url(&url)
        .send()
        .await
        .unwrap();
    let message = &received.messages()[0];
    assert_eq!(message.body(), Some("hello"));
    let handle = message.receipt_handle().unwrap();
    client
        .delete_message()
        .queue_url(&url)
        .receipt_handle(handle)
        .send()
        .await
        .unwrap();

    let snapshot = host.aws.measured();
    assert_eq!(snapshot.queues[ORDERS].depth, Some(Depth::default()));
    let caller = &snapshot.functions["PlaceOrder"];
    assert_eq!(caller.connections, 1);
    for operation in ["SQS.SendMessage", "SQS.ReceiveMessage", "SQS.DeleteMessage"] {
        assert_eq!(
            (
                caller.operations[operation].calls,
                caller.operations[operation].errors
            ),
            (1, 0)
        );
    }
}

#[tokio::test]
async fn a_missing_queue_is_a_typed_error() {
    let host = Host::start(&[], &queues("30")).await;
    let url = host.queue_url("local-Missing");
    let client = sqs(&host.aws, "PlaceOrder");
    let refused = client
        .send_message()
        .queue_url(url)
        .message_body("x")
        .send()
        .await
        .unwrap_err();
    assert!(refused.into_service_error().is_queue_does_not_exist());
    let caller = &host.aws.measured().functions["PlaceOrder"];
    assert_eq!(caller.operations["SQS.SendMessage"].errors, 1);
}

#[tokio::test]
async fn queues_have_the_attributes_of_the_template_and_of_aws() {
    let host = Host::start(&[], &queues("45")).await;
    let client = sqs(&host.aws, "Client");
    let attributes = client
        .get_queue_attributes()
        .queue_url(orders_url(&host))
        .attribute_names("All".into())
        .send()
        .await
        .unwrap();
    let attribute = |name: &str| attributes.attributes().unwrap()[&name.into()].as_str();
    assert_eq!(
        attribute("QueueArn"),
        "arn:aws:sqs:us-east-1:000000000000:local-OrdersQueue"
    );
    assert_eq!(attribute("VisibilityTimeout"), "45");
    assert_eq!(attribute("MaximumMessageSize"), "1048576");
    let policy: Value = serde_json::from_str(attribute("RedrivePolicy")).unwrap();
    assert_eq!(
        policy,
        json!({
            "deadLetterTargetArn": "arn:aws:sqs:us-east-1:000000000000:local-OrdersDeadLetterQueue",
            "maxReceiveCount": 2,
        })
    );
}

#[tokio::test]
async fn a_dead_letter_queue_that_is_not_there_is_named() {
    let dir = tempfile::tempdir().unwrap();
    let [orders, _] = queues("30");
    let refused = start(dir.path(), None, &[], &[orders]).await.unwrap_err();
    assert_eq!(
        refused.to_string(),
        "queue OrdersQueue: InvalidParameterValueException: Value local-OrdersDeadLetterQueue for \
         parameter RedrivePolicy is invalid. Reason: Dead letter target does not exist."
    );
}

#[tokio::test]
async fn an_attribute_out_of_range_is_named() {
    let dir = tempfile::tempdir().unwrap();
    let queue = queue("Slow", &[("VisibilityTimeout", "43201")], None);
    let refused = start(dir.path(), None, &[], &[queue]).await.unwrap_err();
    let refused = refused.to_string();
    assert!(
        refused.starts_with("queue Slow: InvalidAttributeValue"),
        "{refused}"
    );
}

#[tokio::test]
async fn a_trace_header_is_given_to_who_asks_for_it_and_is_no_attribute_of_the_sender() {
    let host = Host::start(&[], &queues("30")).await;
    let client = sqs(&host.aws, "Client");
    // From this one messages may be received as often as one likes.
    let url = host.queue_url("local-OrdersDeadLetterQueue");
    let text = MessageAttributeValue::builder().data_type("String");
    let text = text.string_value("web").build().unwrap();
    let entry = |id: &str| {
        let entry = SendMessageBatchRequestEntry::builder()
            .id(id)
            .message_body(id);
        match id {
            "traced" => entry.message_system_attributes(
                MessageSystemAttributeNameForSends::AwsTraceHeader,
                trace(),
            ),
            _ => entry.message_attributes("channel", text.clone()),
        }
    };
    let entries = ["traced", "attributed"].map(|id| entry(id).build().unwrap());
    let sent = client
        .send_message_batch()
        .queue_url(&url)
        .set_entries(Some(entries.into()));
    let sent = sent.send().await.unwrap();
    // The digest covers only the sender's own attributes.
    let digests = sent.successful().iter();
    let digests: Vec<_> = digests
        .map(|it| it.md5_of_message_attributes().is_some())
        .collect();
    assert_eq!(digests, [false, true]);

    let receive = async |asked: Option<MessageSystemAttributeName>| {
        let request = client.receive_message().queue_url(&url);
        let request = request
            .max_number_of_messages(10)
            .visibility_timeout(0)
            .message_attribute_names("All")
            .set_message_system_attribute_names(asked.map(|name| vec![name]));
        let messages = request.send().await.unwrap().messages.unwrap();
        let received = messages.into_iter().map(|message| {
            let name = MessageSystemAttributeName::AwsTraceHeader;
            let header = message.attributes.and_then(|mut it| it.remove(&name));
            let own = message.message_attributes.unwrap_or_default();
            let own: Vec<String> = own.into_keys().collect();
            (message.body.unwrap(), (header, own))
        });
        received.collect::<BTreeMap<_, _>>()
    };
    for (asked, header) in [
        (Some(MessageSystemAttributeName::All), Some(TRACE)),
        (
            Some(MessageSystemAttributeName::AwsTraceHeader),
            Some(TRACE),
        ),
        (Some(MessageSystemAttributeName::SentTimestamp), None),
        (None, None),
    ] {
        let received = receive(asked).await;
        let traced = (header.map(str::to_owned), vec![]);
        assert_eq!(received["traced"], traced);
        assert_eq!(received["attributed"], (None, vec!["channel".to_owned()]));
    }
}

#[tokio::test]
async fn a_client_that_leaves_a_long_poll_takes_no_message_with_it() {
    let host = Host::start(&[], &queues("30")).await;
    let url = orders_url(&host);
    let other = sqs(&host.aws, "Patient");
    let depth = || host.aws.services.sqs.depth("local-OrdersQueue").unwrap();
    // The host learns a moment later that a client has left; a poll that stays takes every message.
    for attempt in 1..=20 {
        let client = sqs(&host.aws, "Impatient");
        let poll = client.receive_message().queue_url(&url);
        let poll = poll.wait_time_seconds(20).send();
        let polled = measured(&host.aws, "polling", |snapshot| {
            let caller = snapshot.functions.get("Impatient");
            caller.is_some_and(|caller| caller.connections == attempt)
        });
        tokio::select! {
            _ = poll => panic!("the queue is empty"),
            _ = polled => {}
        }
        drop(client);
        let sending = other.send_message().queue_url(&url).message_body("order");
        sending.send().await.unwrap();
        if depth().visible > 0 {
            return;
        }
    }
    panic!(
        "every message went to a client that had left: {:?}",
        depth()
    );
}

#[tokio::test]
async fn a_long_poll_wakes_when_a_message_arrives_or_becomes_visible() {
    let host = Host::start(&[], &queues("30")).await;
    let client = sqs(&host.aws, "Client");
    let url = orders_url(&host);
    let poll = || {
        let poll = client.receive_message().queue_url(&url);
        let poll = poll.wait_time_seconds(20).visibility_timeout(1).send();
        // Less than the 20 s of the poll: what ends it is the message.
        tokio::spawn(tokio::time::timeout(Duration::from_secs(15), poll))
    };
    let waiting = poll();
    let sending = client.send_message().queue_url(&url).message_body("one");
    let id = sending.send().await.unwrap().message_id.unwrap();
    let received = waiting.await.unwrap().unwrap().unwrap();
    assert_eq!(received.messages()[0].message_id(), Some(&id[..]));
    // It comes back after its visibility timeout of one second.
    let again = poll().await.unwrap().unwrap().unwrap();
    assert_eq!(again.messages()[0].message_id(), Some(&id[..]));
}

#[tokio::test]
async fn a_fifo_queue_keeps_the_order_of_a_group_and_drops_duplicates() {
    let host = Host::start(&[], &[]).await;
    let client = sqs(&host.aws, "Client");
    let created = client
        .create_queue()
        .queue_name("orders.fifo")
        .attributes(QueueAttributeName::FifoQueue, "true")
        .attributes(QueueAttributeName::ContentBasedDeduplication, "true");
    let url = created.send().await.unwrap().queue_url.unwrap();
    let send = async |body: &str| {
        let sending = client.send_message().queue_url(&url).message_body(body);
        let sent = sending.message_group_id("a").send().await.unwrap();
        (sent.message_id.unwrap(), sent.sequence_number.unwrap())
    };
    let (first, second) = (send("one").await, send("two").await);
    assert!(
        first.1 < second.1 && first.1.len() == 20,
        "{first:?} {second:?}"
    );
    assert_eq!(send("one").await, first);
    let receive = async |most| {
        let receive = client.receive_message().queue_url(&url);
        let receive = receive.max_number_of_messages(most);
        let receive = receive.message_system_attribute_names(MessageSystemAttributeName::All);
        receive.send().await.unwrap().messages.unwrap_or_default()
    };
    let received = receive(1).await;
    let attributes = received[0].attributes().unwrap();
    assert_eq!(
        attributes[&MessageSystemAttributeName::SequenceNumber],
        first.1
    );
    assert_eq!(attributes[&MessageSystemAttributeName::MessageGroupId], "a");
    // SHA-256 of the body.
    let digest = "7692c3ad3540bb803c020b3aee66cd8887123234ea0c6e7143c0add73ff431ed";
    assert_eq!(
        attributes[&MessageSystemAttributeName::MessageDeduplicationId],
        digest
    );
    assert!(receive(10).await.is_empty());
    let delete = client.delete_message().queue_url(&url);
    let delete = delete.set_receipt_handle(received[0].receipt_handle.clone());
    delete.send().await.unwrap();
    assert_eq!(receive(10).await[0].body(), Some("two"));
}

#[tokio::test]
async fn a_move_task_brings_dead_letters_back() {
    let host = Host::start(&[], &queues("0")).await;
    let client = sqs(&host.aws, "Client");
    let url = orders_url(&host);
    let arn = local::sqs::queue_arn("local-OrdersDeadLetterQueue");
    for body in ["one", "two", "three"] {
        let sending = client.send_message().queue_url(&url).message_body(body);
        sending.send().await.unwrap();
    }
    let depth = |queue: &str| host.aws.services.sqs.depth(queue).unwrap().visible;
    // `maxReceiveCount` is 2.
    for _ in 0..3 {
        let receive = client.receive_message().queue_url(&url);
        receive.max_number_of_messages(10).send().await.unwrap();
    }
    assert_eq!(depth("local-OrdersDeadLetterQueue"), 3);
    let start = client.start_message_move_task().source_arn(&arn);
    let handle = start.send().await.unwrap().task_handle.unwrap();
    let list = async || {
        let list = client.list_message_move_tasks().source_arn(&arn);
        list.send().await.unwrap().results.unwrap().remove(0)
    };
    let completed = async {
        while list().await.status() != Some("COMPLETED") {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(PATIENCE, completed).await.unwrap();
    let task = list().await;
    assert_eq!(task.approximate_number_of_messages_moved(), 3);
    assert_eq!(task.approximate_number_of_messages_to_move(), Some(3));
    assert_eq!(task.task_handle(), None);
    assert_eq!(
        (
            depth("local-OrdersQueue"),
            depth("local-OrdersDeadLetterQueue")
        ),
        (3, 0)
    );
    let cancel = client.cancel_message_move_task().task_handle(handle);
    let refused = cancel.send().await.unwrap_err().into_service_error();
    assert!(refused.is_unsupported_operation(), "{refused:?}");
}

/// The queues alone, without endpoint.
fn alone() -> Sqs {
    Sqs::open(None, "https://127.0.0.1:1", Log::default()).unwrap()
}

async fn call(sqs: &Sqs, operation: &str, body: Value) -> Result<Value, Refusal> {
    sqs.call(operation, body.to_string().as_bytes()).await
}

async fn create(sqs: &Sqs, name: &str, attributes: Value) -> String {
    let body = json!({"QueueName": name, "Attributes": attributes});
    let created = call(sqs, "CreateQueue", body).await.unwrap();
    created["QueueUrl"].as_str().unwrap().to_owned()
}

fn arn(name: &str) -> String {
    format!("arn:aws:sqs:us-east-1:000000000000:{name}")
}

fn redrive(name: &str, most: impl Into<Value>) -> String {
    json!({"deadLetterTargetArn": arn(name), "maxReceiveCount": most.into()}).to_string()
}

/// Calls, each with the exception and the HTTP status of its refusal. `@q` is the URL of a queue,
/// `@fifo` of a FIFO queue, `@small` of one for messages of 1,024 bytes, `@arn` is the beginning of
/// ARNs, and `@` before a number stands for so many letters.
const REFUSALS: &str = r#"
UnknownOperationException 400 | Frobnicate | {}
UnsupportedOperation 400 | AddPermission | {"QueueUrl": "@q"}
SerializationException 400 | SendMessage | []
SerializationException 400 | SendMessage | {"QueueUrl": "@q", "MessageBody": 1}

QueueDoesNotExist 400 | SendMessage | {"MessageBody": "x"}
QueueDoesNotExist 400 | SendMessage | {"QueueUrl": "@q-none", "MessageBody": "x"}
QueueDoesNotExist 400 | DeleteQueue | {"QueueUrl": "https://h/111111111111/q"}
InvalidAddress 404 | ReceiveMessage | {"QueueUrl": "q"}
InvalidAddress 404 | ReceiveMessage | {"QueueUrl": "https://h/q"}
QueueDoesNotExist 400 | GetQueueUrl | {"QueueName": "none"}
QueueDoesNotExist 400 | GetQueueUrl | {"QueueName": "q", "QueueOwnerAWSAccountId": "1"}

InvalidParameterValueException 400 | CreateQueue | {"QueueName": ""}
InvalidParameterValueException 400 | CreateQueue | {"QueueName": "a b"}
InvalidParameterValueException 400 | CreateQueue | {"QueueName": "@81"}
InvalidParameterValueException 400 | CreateQueue | {"QueueName": "a.fifo"}
InvalidParameterValueException 400 | CreateQueue | {"QueueName": "a", "Attributes": {"FifoQueue": "true"}}
InvalidAttributeName 400 | CreateQueue | {"QueueName": "a", "Attributes": {"FifoQueue": "false"}}
QueueNameExists 400 | CreateQueue | {"QueueName": "q", "Attributes": {"DelaySeconds": "1"}}

InvalidAttributeName 400 | SetQueueAttributes | {"QueueUrl": "@q", "Attributes": {"Colour": "red"}}
InvalidAttributeName 400 | SetQueueAttributes | {"QueueUrl": "@q", "Attributes": {"QueueArn": "x"}}
InvalidAttributeName 400 | SetQueueAttributes | {"QueueUrl": "@q", "Attributes": {"FifoQueue": "true"}}
InvalidAttributeName 400 | SetQueueAttributes | {"QueueUrl": "@q", "Attributes": {"ContentBasedDeduplication": "true"}}
InvalidAttributeValue 400 | SetQueueAttributes | {"QueueUrl": "@fifo", "Attributes": {"FifoQueue": "false"}}
InvalidAttributeValue 400 | SetQueueAttributes | {"QueueUrl": "@fifo", "Attributes": {"DeduplicationScope": "x"}}
InvalidAttributeValue 400 | SetQueueAttributes | {"QueueUrl": "@q", "Attributes": {"DelaySeconds": "-1"}}
InvalidAttributeValue 400 | SetQueueAttributes | {"QueueUrl": "@q", "Attributes": {"DelaySeconds": "901"}}
InvalidAttributeValue 400 | SetQueueAttributes | {"QueueUrl": "@q", "Attributes": {"MaximumMessageSize": "1023"}}
InvalidAttributeValue 400 | SetQueueAttributes | {"QueueUrl": "@q", "Attributes": {"MaximumMessageSize": "1048577"}}
InvalidAttributeValue 400 | SetQueueAttributes | {"QueueUrl": "@q", "Attributes": {"MessageRetentionPeriod": "59"}}
InvalidAttributeValue 400 | SetQueueAttributes | {"QueueUrl": "@q", "Attributes": {"MessageRetentionPeriod": "1209601"}}
InvalidAttributeValue 400 | SetQueueAttributes | {"QueueUrl": "@q", "Attributes": {"ReceiveMessageWaitTimeSeconds": "21"}}
InvalidAttributeValue 400 | SetQueueAttributes | {"QueueUrl": "@q", "Attributes": {"VisibilityTimeout": "43201"}}
InvalidAttributeValue 400 | SetQueueAttributes | {"QueueUrl": "@q", "Attributes": {"VisibilityTimeout": "soon"}}
InvalidAttributeName 400 | GetQueueAttributes | {"QueueUrl": "@q", "AttributeNames": ["Colour"]}
InvalidParameterValueException 400 | ListQueues | {"MaxResults": 0}
InvalidParameterValueException 400 | ListQueues | {"MaxResults": 1001}

InvalidParameterValueException 400 | SetQueueAttributes | {"QueueUrl": "@q", "Attributes": {"RedrivePolicy": "{"}}
InvalidParameterValueException 400 | SetQueueAttributes | {"QueueUrl": "@q", "Attributes": {"RedrivePolicy": "{\"maxReceiveCount\": 3}"}}
InvalidParameterValueException 400 | SetQueueAttributes | {"QueueUrl": "@q", "Attributes": {"RedrivePolicy": "{\"deadLetterTargetArn\": \"@arn:dead\"}"}}
InvalidParameterValueException 400 | SetQueueAttributes | {"QueueUrl": "@q", "Attributes": {"RedrivePolicy": "{\"deadLetterTargetArn\": \"@arn:dead\", \"maxReceiveCount\": 0}"}}
InvalidParameterValueException 400 | SetQueueAttributes | {"QueueUrl": "@q", "Attributes": {"RedrivePolicy": "{\"deadLetterTargetArn\": \"@arn:dead\", \"maxReceiveCount\": 1001}"}}
InvalidParameterValueException 400 | SetQueueAttributes | {"QueueUrl": "@q", "Attributes": {"RedrivePolicy": "{\"deadLetterTargetArn\": \"@arn:none\", \"maxReceiveCount\": 3}"}}
InvalidParameterValueException 400 | SetQueueAttributes | {"QueueUrl": "@q", "Attributes": {"RedrivePolicy": "{\"deadLetterTargetArn\": \"@arn:q.fifo\", \"maxReceiveCount\": 3}"}}
InvalidParameterValueException 400 | SetQueueAttributes | {"QueueUrl": "@q", "Attributes": {"RedrivePolicy": "{\"deadLetterTargetArn\": \"@arn:closed\", \"maxReceiveCount\": 3}"}}
InvalidParameterValueException 400 | SetQueueAttributes | {"QueueUrl": "@q", "Attributes": {"RedrivePolicy": "{\"deadLetterTargetArn\": \"@arn:chosen\", \"maxReceiveCount\": 3}"}}
InvalidParameterValueException 400 | SetQueueAttributes | {"QueueUrl": "@q", "Attributes": {"RedriveAllowPolicy": "{\"redrivePermission\": \"x\"}"}}
InvalidParameterValueException 400 | SetQueueAttributes | {"QueueUrl": "@q", "Attributes": {"RedriveAllowPolicy": "{\"redrivePermission\": \"byQueue\"}"}}

MissingRequiredParameterException 400 | SendMessage | {"QueueUrl": "@q"}
InvalidMessageContents 400 | SendMessage | {"QueueUrl": "@q", "MessageBody": "\u0001"}
InvalidMessageContents 400 | SendMessage | {"QueueUrl": "@q", "MessageBody": "\u000b"}
InvalidMessageContents 400 | SendMessage | {"QueueUrl": "@q", "MessageBody": "\ufffe"}
InvalidParameterValueException 400 | SendMessage | {"QueueUrl": "@q", "MessageBody": "@1048577"}
InvalidParameterValueException 400 | SendMessage | {"QueueUrl": "@small", "MessageBody": "@1025"}
InvalidParameterValueException 400 | SendMessage | {"QueueUrl": "@q", "MessageBody": "x", "DelaySeconds": 901}
InvalidParameterValueException 400 | SendMessage | {"QueueUrl": "@q", "MessageBody": "x", "DelaySeconds": -1}
InvalidParameterValueException 400 | SendMessage | {"QueueUrl": "@q", "MessageBody": "x", "MessageDeduplicationId": "x"}
InvalidParameterValueException 400 | SendMessage | {"QueueUrl": "@q", "MessageBody": "x", "MessageGroupId": ""}
InvalidParameterValueException 400 | SendMessage | {"QueueUrl": "@q", "MessageBody": "x", "MessageGroupId": "a b"}
InvalidParameterValueException 400 | SendMessage | {"QueueUrl": "@q", "MessageBody": "x", "MessageGroupId": "@129"}

InvalidParameterValueException 400 | SendMessage | {"QueueUrl": "@q", "MessageBody": "x", "MessageAttributes": @eleven}
InvalidParameterValueException 400 | SendMessage | {"QueueUrl": "@q", "MessageBody": "x", "MessageAttributes": {"AWS.x": @text}}
InvalidParameterValueException 400 | SendMessage | {"QueueUrl": "@q", "MessageBody": "x", "MessageAttributes": {"amazon.x": @text}}
InvalidParameterValueException 400 | SendMessage | {"QueueUrl": "@q", "MessageBody": "x", "MessageAttributes": {".x": @text}}
InvalidParameterValueException 400 | SendMessage | {"QueueUrl": "@q", "MessageBody": "x", "MessageAttributes": {"x.": @text}}
InvalidParameterValueException 400 | SendMessage | {"QueueUrl": "@q", "MessageBody": "x", "MessageAttributes": {"x..y": @text}}
InvalidParameterValueException 400 | SendMessage | {"QueueUrl": "@q", "MessageBody": "x", "MessageAttributes": {"x y": @text}}
InvalidParameterValueException 400 | SendMessage | {"QueueUrl": "@q", "MessageBody": "x", "MessageAttributes": {"@257": @text}}
InvalidParameterValueException 400 | SendMessage | {"QueueUrl": "@q", "MessageBody": "x", "MessageAttributes": {"x": {"DataType": "String"}}}
InvalidParameterValueException 400 | SendMessage | {"QueueUrl": "@q", "MessageBody": "x", "MessageAttributes": {"x": {"DataType": "String", "StringValue": ""}}}
InvalidParameterValueException 400 | SendMessage | {"QueueUrl": "@q", "MessageBody": "x", "MessageAttributes": {"x": {"DataType": "String", "StringValue": "\u0008"}}}
InvalidParameterValueException 400 | SendMessage | {"QueueUrl": "@q", "MessageBody": "x", "MessageAttributes": {"x": {"DataType": "Number", "StringValue": "x"}}}
InvalidParameterValueException 400 | SendMessage | {"QueueUrl": "@q", "MessageBody": "x", "MessageAttributes": {"x": {"DataType": "Binary", "BinaryValue": "?"}}}
InvalidParameterValueException 400 | SendMessage | {"QueueUrl": "@q", "MessageBody": "x", "MessageAttributes": {"x": {"DataType": "Binary", "StringValue": "x"}}}
InvalidParameterValueException 400 | SendMessage | {"QueueUrl": "@q", "MessageBody": "x", "MessageAttributes": {"x": {"DataType": "Colour", "StringValue": "x"}}}
InvalidParameterValueException 400 | SendMessage | {"QueueUrl": "@q", "MessageBody": "x", "MessageSystemAttributes": {"x": @text}}

MissingRequiredParameterException 400 | SendMessage | {"QueueUrl": "@fifo", "MessageBody": "x", "MessageDeduplicationId": "x"}
InvalidParameterValueException 400 | SendMessage | {"QueueUrl": "@fifo", "MessageBody": "x", "MessageGroupId": "x"}
InvalidParameterValueException 400 | SendMessage | {"QueueUrl": "@fifo", "MessageBody": "x", "MessageGroupId": "x", "MessageDeduplicationId": "a b"}
InvalidParameterValueException 400 | SendMessage | {"QueueUrl": "@fifo", "MessageBody": "x", "MessageGroupId": "x", "MessageDeduplicationId": "x", "DelaySeconds": 2}

InvalidParameterValueException 400 | ReceiveMessage | {"QueueUrl": "@q", "MaxNumberOfMessages": 0}
InvalidParameterValueException 400 | ReceiveMessage | {"QueueUrl": "@q", "MaxNumberOfMessages": 11}
InvalidParameterValueException 400 | ReceiveMessage | {"QueueUrl": "@q", "WaitTimeSeconds": -1}
InvalidParameterValueException 400 | ReceiveMessage | {"QueueUrl": "@q", "WaitTimeSeconds": 21}
InvalidParameterValueException 400 | ReceiveMessage | {"QueueUrl": "@q", "VisibilityTimeout": 43201}
MissingRequiredParameterException 400 | DeleteMessage | {"QueueUrl": "@q"}
ReceiptHandleIsInvalid 404 | DeleteMessage | {"QueueUrl": "@q", "ReceiptHandle": "x"}
MissingRequiredParameterException 400 | ChangeMessageVisibility | {"QueueUrl": "@q", "ReceiptHandle": "x"}
InvalidParameterValueException 400 | ChangeMessageVisibility | {"QueueUrl": "@q", "ReceiptHandle": "x", "VisibilityTimeout": 43201}
ReceiptHandleIsInvalid 404 | ChangeMessageVisibility | {"QueueUrl": "@q", "ReceiptHandle": "x", "VisibilityTimeout": 1}

EmptyBatchRequest 400 | SendMessageBatch | {"QueueUrl": "@q", "Entries": []}
EmptyBatchRequest 400 | DeleteMessageBatch | {"QueueUrl": "@q", "Entries": []}
EmptyBatchRequest 400 | ChangeMessageVisibilityBatch | {"QueueUrl": "@q", "Entries": []}
TooManyEntriesInBatchRequest 400 | SendMessageBatch | {"QueueUrl": "@q", "Entries": [{}, {}, {}, {}, {}, {}, {}, {}, {}, {}, {}]}
TooManyEntriesInBatchRequest 400 | DeleteMessageBatch | {"QueueUrl": "@q", "Entries": [{}, {}, {}, {}, {}, {}, {}, {}, {}, {}, {}]}
TooManyEntriesInBatchRequest 400 | ChangeMessageVisibilityBatch | {"QueueUrl": "@q", "Entries": [{}, {}, {}, {}, {}, {}, {}, {}, {}, {}, {}]}
BatchEntryIdsNotDistinct 400 | SendMessageBatch | {"QueueUrl": "@q", "Entries": [{"Id": "a", "MessageBody": "x"}, {"Id": "a", "MessageBody": "y"}]}
InvalidBatchEntryId 400 | SendMessageBatch | {"QueueUrl": "@q", "Entries": [{"MessageBody": "x"}]}
InvalidBatchEntryId 400 | SendMessageBatch | {"QueueUrl": "@q", "Entries": [{"Id": "a:b", "MessageBody": "x"}]}
InvalidBatchEntryId 400 | DeleteMessageBatch | {"QueueUrl": "@q", "Entries": [{"Id": "@81", "ReceiptHandle": "x"}]}
BatchRequestTooLong 400 | SendMessageBatch | {"QueueUrl": "@q", "Entries": [{"Id": "a", "MessageBody": "x"}, {"Id": "b", "MessageBody": "@1048576"}]}
InvalidParameterValueException 400 | SendMessageBatch | {"QueueUrl": "@fifo", "Entries": [{"Id": "a", "MessageBody": "x"}]}

MissingRequiredParameterException 400 | StartMessageMoveTask | {}
ResourceNotFoundException 404 | StartMessageMoveTask | {"SourceArn": "@arn:none"}
InvalidParameterValueException 400 | StartMessageMoveTask | {"SourceArn": "@arn:q"}
ResourceNotFoundException 404 | StartMessageMoveTask | {"SourceArn": "@arn:dead", "DestinationArn": "@arn:none"}
InvalidParameterValueException 400 | StartMessageMoveTask | {"SourceArn": "@arn:dead", "DestinationArn": "@arn:q.fifo"}
InvalidParameterValueException 400 | StartMessageMoveTask | {"SourceArn": "@arn:dead", "DestinationArn": "@arn:dead"}
InvalidParameterValueException 400 | StartMessageMoveTask | {"SourceArn": "@arn:dead", "MaxNumberOfMessagesPerSecond": 501}
ResourceNotFoundException 404 | ListMessageMoveTasks | {"SourceArn": "@arn:none"}
InvalidParameterValueException 400 | ListMessageMoveTasks | {"SourceArn": "@arn:q", "MaxResults": 11}
MissingRequiredParameterException 400 | CancelMessageMoveTask | {}
InvalidParameterValueException 400 | CancelMessageMoveTask | {"TaskHandle": "foobared"}
"#;

/// Calls at a limit, each of which is accepted.
const ACCEPTED: &str = r#"
SendMessage | {"QueueUrl": "@q", "MessageBody": "@1048576"}
SendMessage | {"QueueUrl": "@q", "MessageBody": "\t\n\r \ud7ff\ue000\ufffd\ud800\udc00\udbff\udfff"}
SendMessage | {"QueueUrl": "@q", "MessageBody": "x", "DelaySeconds": 900}
SendMessage | {"QueueUrl": "@q", "MessageBody": "x", "MessageAttributes": @ten}
SendMessage | {"QueueUrl": "@q", "MessageBody": "x", "MessageAttributes": {"a.b_c-d": @text, "@256": @text}}
SendMessage | {"QueueUrl": "@q", "MessageBody": "x", "MessageAttributes": {"a": {"DataType": "Number.int", "StringValue": "-1.5e3"}}}
SendMessage | {"QueueUrl": "@q", "MessageBody": "x", "MessageGroupId": "!#$%&'()*+,-./:;<=>?@[]^_`{|}~aZ09"}
SendMessage | {"QueueUrl": "@q", "MessageBody": "x", "MessageGroupId": "@128"}
SendMessageBatch | {"QueueUrl": "@q", "Entries": [{"Id": "@80", "MessageBody": "@524288"}, {"Id": "-_", "MessageBody": "@524288"}]}
ReceiveMessage | {"QueueUrl": "@q", "MaxNumberOfMessages": 10, "WaitTimeSeconds": 20, "VisibilityTimeout": 0}
ReceiveMessage | {"QueueUrl": "@q", "VisibilityTimeout": 43200}
ReceiveMessage | {"QueueUrl": "@fifo", "ReceiveRequestAttemptId": "x"}
SetQueueAttributes | {"QueueUrl": "@q", "Attributes": {"DelaySeconds": "900", "MaximumMessageSize": "1024", "MessageRetentionPeriod": "60"}}
SetQueueAttributes | {"QueueUrl": "@q", "Attributes": {"ReceiveMessageWaitTimeSeconds": "20", "VisibilityTimeout": "43200"}}
SetQueueAttributes | {"QueueUrl": "@q", "Attributes": {"DelaySeconds": "0", "MaximumMessageSize": "1048576", "MessageRetentionPeriod": "1209600"}}
SetQueueAttributes | {"QueueUrl": "@q", "Attributes": {"RedrivePolicy": "{\"deadLetterTargetArn\": \"@arn:dead\", \"maxReceiveCount\": \"1000\"}"}}
SetQueueAttributes | {"QueueUrl": "@q", "Attributes": {"RedrivePolicy": "", "Policy": "{}"}}
CreateQueue | {"QueueName": "@80"}
"#;

/// Queues for the tables above.
async fn queues_of_tables() -> Sqs {
    let sqs = alone();
    create(&sqs, "q", json!({})).await;
    create(&sqs, "q.fifo", json!({"FifoQueue": "true"})).await;
    create(&sqs, "small", json!({"MaximumMessageSize": "1024"})).await;
    create(&sqs, "dead", json!({})).await;
    create(&sqs, "source", json!({"RedrivePolicy": redrive("dead", 3)})).await;
    for (name, policy) in [
        ("closed", json!({"redrivePermission": "denyAll"})),
        (
            "chosen",
            json!({"redrivePermission": "byQueue", "sourceQueueArns": [arn("other")]}),
        ),
    ] {
        create(
            &sqs,
            name,
            json!({"RedriveAllowPolicy": policy.to_string()}),
        )
        .await;
    }
    sqs
}

/// The body that stands in a table.
fn body_of_table(text: &str) -> Vec<u8> {
    let value = json!({"DataType": "String", "StringValue": "x"});
    let attributes = |count| -> Value {
        (0..count)
            .map(|n| (format!("a{n}"), value.clone()))
            .collect()
    };
    let url = |name: &str| format!("https://127.0.0.1:1/000000000000/{name}");
    let mut text = text
        .replace("\"@q", &format!("\"{}", url("q")))
        .replace("@fifo", &url("q.fifo"))
        .replace("@small", &url("small"))
        .replace("@arn:", &arn(""))
        .replace("@text", &value.to_string())
        .replace("@ten", &attributes(10).to_string())
        .replace("@eleven", &attributes(11).to_string());
    for length in [
        1_048_577, 1_048_576, 524_288, 1_025, 257, 256, 129, 128, 81, 80,
    ] {
        text = text.replace(&format!("@{length}"), &"x".repeat(length));
    }
    text.into_bytes()
}

#[tokio::test]
async fn calls_are_refused_as_aws_refuses_them() {
    let sqs = queues_of_tables().await;
    for row in REFUSALS.lines().filter(|row| !row.is_empty()) {
        let mut columns = row.splitn(3, " | ");
        let mut column = || columns.next().unwrap();
        let (expected, operation, body) = (column(), column(), column());
        let refusal = sqs
            .call(operation, &body_of_table(body))
            .await
            .expect_err(row);
        let kind = refusal.kind.rsplit('#').next().unwrap();
        assert_eq!(
            format!("{kind} {}", refusal.status.as_u16()),
            expected,
            "{row}: {refusal}"
        );
        assert!(!refusal.message.is_empty(), "{row}");
    }
}

#[tokio::test]
async fn the_limits_themselves_are_accepted() {
    let sqs = queues_of_tables().await;
    for row in ACCEPTED.lines().filter(|row| !row.is_empty()) {
        let (operation, body) = row.split_once(" | ").unwrap();
        let answer = sqs.call(operation, &body_of_table(body)).await;
        let answer = answer.unwrap_or_else(|refusal| panic!("{row}: {refusal}"));
        assert_eq!(answer.get("Failed"), None, "{row}");
    }
}

/// `more` beside or in place of the members of `body`.
fn merged(mut body: Value, more: &Value) -> Value {
    body.as_object_mut()
        .unwrap()
        .extend(more.as_object().unwrap().clone());
    body
}

/// `__type`, and the code that older SDKs and boto3 show.
#[tokio::test]
async fn an_exception_has_the_namespace_and_the_query_code_of_aws() {
    let sqs = alone();
    let url = create(&sqs, "q", json!({})).await;
    let rows = [
        (
            "GetQueueUrl",
            json!({"QueueName": "x"}),
            "com.amazonaws.sqs#QueueDoesNotExist",
            "AWS.SimpleQueueService.NonExistentQueue",
        ),
        (
            "CreateQueue",
            json!({"QueueName": "q", "Attributes": {"DelaySeconds": "1"}}),
            "com.amazonaws.sqs#QueueNameExists",
            "QueueAlreadyExists",
        ),
        (
            "SendMessageBatch",
            json!({"QueueUrl": url}),
            "com.amazonaws.sqs#EmptyBatchRequest",
            "AWS.SimpleQueueService.EmptyBatchRequest",
        ),
        (
            "DeleteMessage",
            json!({"QueueUrl": url, "ReceiptHandle": "x"}),
            "com.amazonaws.sqs#ReceiptHandleIsInvalid",
            "ReceiptHandleIsInvalid",
        ),
        (
            "SendMessage",
            json!({"QueueUrl": url}),
            "com.amazon.coral.service#MissingRequiredParameterException",
            "MissingParameter",
        ),
        (
            "ReceiveMessage",
            json!({"QueueUrl": url, "WaitTimeSeconds": 21}),
            "com.amazon.coral.service#InvalidParameterValueException",
            "InvalidParameterValue",
        ),
        (
            "Frobnicate",
            json!({}),
            "com.amazon.coral.service#UnknownOperationException",
            "InvalidAction",
        ),
    ];
    for (operation, body, kind, code) in rows {
        let refusal = call(&sqs, operation, body).await.unwrap_err();
        assert_eq!(
            (&refusal.kind[..], refusal.query_error.as_deref()),
            (kind, Some(code))
        );
    }
}

#[tokio::test]
async fn a_new_queue_has_aws_s_defaults() {
    let sqs = alone();
    let common = json!({
        "ApproximateNumberOfMessages": "0", "ApproximateNumberOfMessagesDelayed": "0",
        "ApproximateNumberOfMessagesNotVisible": "0", "DelaySeconds": "0",
        "MaximumMessageSize": "1048576", "MessageRetentionPeriod": "345600",
        "ReceiveMessageWaitTimeSeconds": "0", "SqsManagedSseEnabled": "true",
        "VisibilityTimeout": "30",
    });
    let fifo = json!({
        "ContentBasedDeduplication": "false", "DeduplicationScope": "queue", "FifoQueue": "true",
        "FifoThroughputLimit": "perQueue",
    });
    let rows = [
        ("q", json!({}), json!({})),
        ("q.fifo", json!({"FifoQueue": "true"}), fifo),
    ];
    for (name, asked, more) in rows {
        let url = create(&sqs, name, asked).await;
        let all = json!({"QueueUrl": url, "AttributeNames": ["All"]});
        let mut answer = call(&sqs, "GetQueueAttributes", all).await.unwrap();
        let attributes = answer["Attributes"].as_object_mut().unwrap();
        for time in ["CreatedTimestamp", "LastModifiedTimestamp"] {
            // Seconds since 1970.
            assert_eq!(attributes.remove(time).unwrap().as_str().unwrap().len(), 10);
        }
        let expected = merged(
            merged(common.clone(), &more),
            &json!({"QueueArn": arn(name)}),
        );
        assert_eq!(answer["Attributes"], expected);
        let one = json!({"QueueUrl": url, "AttributeNames": ["QueueArn"]});
        let answer = call(&sqs, "GetQueueAttributes", one).await.unwrap();
        assert_eq!(answer, json!({"Attributes": {"QueueArn": arn(name)}}));
        let answer = call(&sqs, "GetQueueAttributes", json!({"QueueUrl": url}))
            .await
            .unwrap();
        assert_eq!(answer, json!({}));
    }
}

#[tokio::test]
async fn creating_a_queue_again_compares_only_what_is_asked_for() {
    let sqs = alone();
    let url = create(&sqs, "q", json!({"VisibilityTimeout": "1"})).await;
    for same in [
        json!({}),
        json!({"VisibilityTimeout": "1"}),
        json!({"DelaySeconds": "0"}),
    ] {
        assert_eq!(create(&sqs, "q", same).await, url);
    }
    let change = json!({"QueueUrl": url, "Attributes": {"VisibilityTimeout": "2"}});
    call(&sqs, "SetQueueAttributes", change).await.unwrap();
    assert_eq!(
        create(&sqs, "q", json!({"VisibilityTimeout": "2"})).await,
        url
    );
    let other = json!({"QueueName": "q", "Attributes": {"VisibilityTimeout": "1"}});
    let refused = call(&sqs, "CreateQueue", other).await.unwrap_err();
    assert!(
        refused.message.ends_with("attribute VisibilityTimeout"),
        "{refused}"
    );
}

#[tokio::test]
async fn queues_are_listed_by_prefix_and_in_pages() {
    let sqs = alone();
    for name in ["a1", "a2", "a3", "b1"] {
        create(&sqs, name, json!({})).await;
    }
    let names = |answer: &Value, member: &str| -> Vec<String> {
        let urls = answer[member].as_array().cloned().unwrap_or_default();
        let name = |url: &Value| url.as_str().unwrap().rsplit('/').next().unwrap().to_owned();
        urls.iter().map(name).collect()
    };
    let list = async |body| call(&sqs, "ListQueues", body).await.unwrap();
    let all = list(json!({})).await;
    assert_eq!(names(&all, "QueueUrls"), ["a1", "a2", "a3", "b1"]);
    assert_eq!(all["QueueUrls"][0], "https://127.0.0.1:1/000000000000/a1");
    assert_eq!(list(json!({"QueueNamePrefix": "c"})).await, json!({}));
    let first = list(json!({"QueueNamePrefix": "a", "MaxResults": 2})).await;
    assert_eq!(names(&first, "QueueUrls"), ["a1", "a2"]);
    let next = json!({"QueueNamePrefix": "a", "MaxResults": 2, "NextToken": first["NextToken"]});
    let second = list(next).await;
    assert_eq!(
        (names(&second, "QueueUrls"), second.get("NextToken")),
        (vec!["a3".to_owned()], None)
    );

    for name in ["a1", "a2"] {
        let url = format!("https://elsewhere:9/000000000000/{name}");
        let attributes = json!({"RedrivePolicy": redrive("b1", 3)});
        let change = json!({"QueueUrl": url, "Attributes": attributes});
        call(&sqs, "SetQueueAttributes", change).await.unwrap();
    }
    let sources = json!({"QueueUrl": "https://elsewhere:9/000000000000/b1"});
    let sources = call(&sqs, "ListDeadLetterSourceQueues", sources)
        .await
        .unwrap();
    assert_eq!(names(&sources, "queueUrls"), ["a1", "a2"]);
}

#[tokio::test]
async fn tags_are_added_replaced_and_removed() {
    let sqs = alone();
    let body = json!({"QueueName": "q", "tags": {"a": "1", "b": "2"}});
    let url = call(&sqs, "CreateQueue", body).await.unwrap()["QueueUrl"].take();
    let change = json!({"QueueUrl": url, "Tags": {"b": "3", "c": ""}});
    call(&sqs, "TagQueue", change).await.unwrap();
    let removal = json!({"QueueUrl": url, "TagKeys": ["a", "none"]});
    call(&sqs, "UntagQueue", removal).await.unwrap();
    let tags = call(&sqs, "ListQueueTags", json!({"QueueUrl": url}))
        .await
        .unwrap();
    assert_eq!(tags, json!({"Tags": {"b": "3", "c": ""}}));
}

#[tokio::test]
async fn a_receive_gives_the_attributes_that_it_asks_for() {
    let sqs = alone();
    let url = create(&sqs, "q", json!({"VisibilityTimeout": "0"})).await;
    let text = |value| json!({"DataType": "String", "StringValue": value});
    let attributes =
        json!({"Hello": text("There"), "General": text("Kenobi"), "Help.Me": text("Me")});
    let send = json!({"QueueUrl": url, "MessageBody": "msg", "MessageAttributes": attributes});
    let sent = call(&sqs, "SendMessage", send).await.unwrap();
    // Recorded from AWS, as the digests below.
    assert_eq!(sent["MD5OfMessageBody"], "6e2baaf3b97dbeef01c0043275f9a0e7");
    assert_eq!(
        sent["MD5OfMessageAttributes"],
        "4c360f3fdafd970e05fae2f149d997f5"
    );
    let all = "4c360f3fdafd970e05fae2f149d997f5";
    let rows = [
        (json!([]), None),
        (json!(["All"]), Some(all)),
        (json!([".*"]), Some(all)),
        (json!(["None"]), None),
        (
            json!(["Hello", "General"]),
            Some("fca026605781cb4126a1e9044df24232"),
        ),
        (
            json!(["Hello", "None"]),
            Some("a311262e065454b75da111d535b8dacd"),
        ),
        (json!(["Hel.*"]), Some("83fee93c1bcd8b9a5a923ffacdc636c7")),
    ];
    for (names, digest) in rows {
        let receive = json!({"QueueUrl": url, "MessageAttributeNames": names});
        let received = call(&sqs, "ReceiveMessage", receive).await.unwrap();
        let message = &received["Messages"][0];
        assert_eq!(
            message["MD5OfMessageAttributes"].as_str(),
            digest,
            "{names}"
        );
        assert_eq!(message.get("MessageAttributes").is_some(), digest.is_some());
    }
    let every = [
        "ApproximateFirstReceiveTimestamp",
        "ApproximateReceiveCount",
        "SenderId",
        "SentTimestamp",
    ];
    for (names, given) in [
        (json!(["All"]), &every[..]),
        (json!(["SenderId"]), &every[2..3]),
        (json!([]), &[]),
    ] {
        for member in ["AttributeNames", "MessageSystemAttributeNames"] {
            let received = call(
                &sqs,
                "ReceiveMessage",
                json!({"QueueUrl": url, member: names}),
            )
            .await;
            let received = received.unwrap();
            let attributes = received["Messages"][0]["Attributes"].as_object().cloned();
            let attributes: BTreeSet<String> = attributes
                .unwrap_or_default()
                .into_iter()
                .map(|it| it.0)
                .collect();
            assert_eq!(
                attributes,
                given.iter().map(|it| (*it).to_owned()).collect(),
                "{member} {names}"
            );
        }
    }
    assert_eq!(
        call(
            &sqs,
            "ReceiveMessage",
            json!({"QueueUrl": create(&sqs, "empty", json!({})).await})
        )
        .await,
        Ok(json!({}))
    );
}

#[tokio::test]
async fn an_entry_that_is_refused_fails_alone() {
    let sqs = alone();
    let url = create(&sqs, "q", json!({"MaximumMessageSize": "1024"})).await;
    let entries = json!([
        {"Id": "good", "MessageBody": "x"},
        {"Id": "characters", "MessageBody": "\u{1}"},
        {"Id": "size", "MessageBody": "x".repeat(1_025)},
        {"Id": "empty"},
    ]);
    let answer = call(
        &sqs,
        "SendMessageBatch",
        json!({"QueueUrl": url, "Entries": entries}),
    )
    .await;
    let answer = answer.unwrap();
    let codes = |answer: &Value| -> BTreeMap<String, String> {
        let failed = answer["Failed"].as_array().cloned().unwrap_or_default();
        failed
            .iter()
            .map(|it| {
                assert_eq!(it["SenderFault"], true);
                let text = |member: &str| it[member].as_str().unwrap().to_owned();
                (text("Id"), text("Code"))
            })
            .collect()
    };
    let expected = [
        ("characters", "InvalidMessageContents"),
        ("empty", "MissingParameter"),
        ("size", "InvalidParameterValue"),
    ];
    assert_eq!(
        codes(&answer),
        expected.map(|(k, v)| (k.to_owned(), v.to_owned())).into()
    );
    assert_eq!(answer["Successful"][0]["Id"], "good");
    assert_eq!(answer["Successful"].as_array().unwrap().len(), 1);

    let received = call(&sqs, "ReceiveMessage", json!({"QueueUrl": url}))
        .await
        .unwrap();
    let handle = &received["Messages"][0]["ReceiptHandle"];
    for (operation, more) in [
        (
            "ChangeMessageVisibilityBatch",
            json!({"VisibilityTimeout": 60}),
        ),
        ("DeleteMessageBatch", json!({})),
    ] {
        let entry =
            |id: &str, handle: &Value| merged(json!({"Id": id, "ReceiptHandle": handle}), &more);
        let entries = [entry("good", handle), entry("bad", &json!("x"))];
        let answer = call(
            &sqs,
            operation,
            json!({"QueueUrl": url, "Entries": entries}),
        )
        .await
        .unwrap();
        assert_eq!(answer["Successful"], json!([{"Id": "good"}]), "{operation}");
        assert_eq!(
            codes(&answer),
            [("bad".to_owned(), "ReceiptHandleIsInvalid".to_owned())].into()
        );
    }
    assert_eq!(sqs.depth("q"), Ok(Depth::default()));
}

#[tokio::test]
async fn a_handle_of_another_queue_is_invalid() {
    let sqs = alone();
    let (one, other) = (
        create(&sqs, "one", json!({})).await,
        create(&sqs, "other", json!({})).await,
    );
    call(
        &sqs,
        "SendMessage",
        json!({"QueueUrl": one, "MessageBody": "x"}),
    )
    .await
    .unwrap();
    let received = sqs.receive("one", 1, Duration::ZERO).await.unwrap();
    let delete = json!({"QueueUrl": other, "ReceiptHandle": received[0].receipt_handle});
    let refused = call(&sqs, "DeleteMessage", delete).await.unwrap_err();
    assert_eq!(
        refused.query_error.as_deref(),
        Some("ReceiptHandleIsInvalid")
    );
    let left = sqs.delete("one", &["x", &received[0].receipt_handle]);
    assert_eq!(left, Ok(vec![0]));
    assert_eq!(sqs.depth("one"), Ok(Depth::default()));
}

#[tokio::test]
async fn a_dropped_receive_takes_no_message() {
    let sqs = alone();
    let url = create(&sqs, "q", json!({})).await;
    let poll = tokio::spawn({
        let sqs = sqs.clone();
        async move { sqs.receive("q", 10, PATIENCE).await }
    });
    tokio::task::yield_now().await; // it waits now
    poll.abort();
    assert!(poll.await.unwrap_err().is_cancelled());
    call(
        &sqs,
        "SendMessage",
        json!({"QueueUrl": url, "MessageBody": "x"}),
    )
    .await
    .unwrap();
    assert_eq!(sqs.depth("q").unwrap().visible, 1);
}

#[tokio::test]
async fn a_poll_of_a_fifo_queue_wakes_when_its_group_is_free() {
    let sqs = alone();
    let url = create(&sqs, "q.fifo", json!({"FifoQueue": "true"})).await;
    for id in ["one", "two"] {
        let send = json!({"QueueUrl": url, "MessageBody": id, "MessageGroupId": "a",
            "MessageDeduplicationId": id});
        call(&sqs, "SendMessage", send).await.unwrap();
    }
    let first = sqs.receive("q.fifo", 1, Duration::ZERO).await.unwrap();
    let poll = tokio::spawn({
        let sqs = sqs.clone();
        // Ends by itself in 20 s, and the group is free in 30 s.
        async move { sqs.receive("q.fifo", 1, Duration::from_secs(20)).await }
    });
    tokio::task::yield_now().await; // it waits now
    sqs.delete("q.fifo", &[&first[0].receipt_handle]).unwrap();
    let received = tokio::time::timeout(Duration::from_secs(15), poll).await;
    assert_eq!(received.unwrap().unwrap().unwrap()[0].body, "two");
}

#[tokio::test]
async fn a_poll_ends_when_its_queue_is_deleted() {
    let sqs = alone();
    let url = create(&sqs, "q", json!({})).await;
    let poll = tokio::spawn({
        let sqs = sqs.clone();
        async move { sqs.receive("q", 10, PATIENCE).await }
    });
    tokio::task::yield_now().await; // it waits now
    call(&sqs, "DeleteQueue", json!({"QueueUrl": url}))
        .await
        .unwrap();
    let refused = poll.await.unwrap().unwrap_err();
    assert!(refused.kind.ends_with("#QueueDoesNotExist"), "{refused}");
    // The name is free again, without the old messages.
    create(&sqs, "q", json!({})).await;
    assert_eq!(sqs.depth("q"), Ok(Depth::default()));
}

#[tokio::test]
async fn a_move_task_has_a_rate_can_be_cancelled_and_says_why_it_failed() {
    let sqs = alone();
    create(&sqs, "dead", json!({})).await;
    let attributes = json!({"VisibilityTimeout": "0", "RedrivePolicy": redrive("dead", 1)});
    let url = create(&sqs, "q", attributes).await;
    for _ in 0..3 {
        call(
            &sqs,
            "SendMessage",
            json!({"QueueUrl": url, "MessageBody": "x"}),
        )
        .await
        .unwrap();
    }
    for _ in 0..2 {
        sqs.receive("q", 10, Duration::ZERO).await.unwrap();
    }
    let start = async |more: Value| {
        let body = merged(json!({"SourceArn": arn("dead")}), &more);
        call(&sqs, "StartMessageMoveTask", body).await
    };
    let list = async |most: usize| {
        let body = json!({"SourceArn": arn("dead"), "MaxResults": most});
        call(&sqs, "ListMessageMoveTasks", body).await.unwrap()["Results"].take()
    };
    let ended = async || {
        let wait = async {
            while list(1).await[0]["Status"] == "RUNNING" {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        tokio::time::timeout(PATIENCE, wait).await.unwrap();
        list(1).await[0].take()
    };
    let started = start(json!({"MaxNumberOfMessagesPerSecond": 1}))
        .await
        .unwrap();
    let running = list(1).await;
    assert_eq!(running[0]["TaskHandle"], started["TaskHandle"]);
    assert_eq!(running[0]["MaxNumberOfMessagesPerSecond"], 1);
    let refused = start(json!({})).await.unwrap_err();
    assert!(
        refused
            .message
            .starts_with("There is already a task running"),
        "{refused}"
    );
    call(&sqs, "CancelMessageMoveTask", started).await.unwrap();
    let cancelled = ended().await;
    assert_eq!(
        (
            &cancelled["Status"],
            &cancelled["ApproximateNumberOfMessagesToMove"]
        ),
        (&json!("CANCELLED"), &json!(3))
    );
    let left = sqs.depth("dead").unwrap().visible;

    // A destination that goes away ends the task.
    let other = create(&sqs, "other", json!({})).await;
    start(json!({"DestinationArn": arn("other"), "MaxNumberOfMessagesPerSecond": 1}))
        .await
        .unwrap();
    call(&sqs, "DeleteQueue", json!({"QueueUrl": other}))
        .await
        .unwrap();
    let failed = ended().await;
    assert_eq!(
        (&failed["Status"], &failed["FailureReason"]),
        (
            &json!("FAILED"),
            &json!("AWS.SimpleQueueService.NonExistentQueue")
        )
    );
    assert_eq!(list(10).await.as_array().unwrap().len(), 2);
    assert!(sqs.depth("dead").unwrap().visible + 1 >= left);
}

/// Sends, receives and deletes messages of 200 bytes by JSON calls, one task after another.
#[tokio::test]
#[ignore = "measures: cargo test --profile host -p local --test sqs -- --ignored --nocapture"]
async fn messages_a_second() {
    const MESSAGES: usize = 20_000;
    let dir = tempfile::tempdir().unwrap();
    let body = "x".repeat(200);
    for (place, data_dir) in [("in memory", None), ("on disk", Some(dir.path()))] {
        let sqs = Sqs::open(data_dir, "https://127.0.0.1:1", Log::default()).unwrap();
        let url = create(&sqs, "q", json!({})).await;
        for batch in [1, 10] {
            let began = std::time::Instant::now();
            for _ in 0..MESSAGES / batch {
                let bodies =
                    (0..batch).map(|id| json!({"Id": id.to_string(), "MessageBody": body}));
                let entries: Vec<_> = bodies.collect();
                let send = json!({"QueueUrl": url, "Entries": entries});
                call(&sqs, "SendMessageBatch", send).await.unwrap();
                let receive = json!({"QueueUrl": url, "MaxNumberOfMessages": batch});
                let received = call(&sqs, "ReceiveMessage", receive).await.unwrap();
                let received = received["Messages"].as_array().unwrap().iter().enumerate();
                let handles = received.map(|(id, message)| {
                    json!({"Id": id.to_string(), "ReceiptHandle": message["ReceiptHandle"]})
                });
                let entries: Vec<_> = handles.collect();
                assert_eq!(entries.len(), batch);
                let delete = json!({"QueueUrl": url, "Entries": entries});
                call(&sqs, "DeleteMessageBatch", delete).await.unwrap();
            }
            let seconds = began.elapsed().as_secs_f64();
            println!(
                "{place}, by {batch}: {:.0} messages a second",
                MESSAGES as f64 / seconds
            );
        }
        assert_eq!(sqs.depth("q"), Ok(Depth::default()));
    }
}
