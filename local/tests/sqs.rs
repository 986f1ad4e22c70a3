//! SQS and its trigger, with fauxqs behind them.

#![allow(
    clippy::unwrap_used,
    reason = "a helper that fails is a test that fails"
)]

mod aws_support;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use aws_sdk_sqs::primitives::Blob;
use aws_sdk_sqs::types::{
    DeleteMessageBatchRequestEntry, MessageAttributeValue, MessageSystemAttributeName,
    MessageSystemAttributeNameForSends, MessageSystemAttributeValue, SendMessageBatchRequestEntry,
};
use aws_support::{Host, measured, options, queue, queues, sqs, start};
use bytes::Bytes;
use local::aws::Snapshot;
use local::aws::meter::{Depth, Queue, Trigger};
use local::children::Children;
use local::lambda::InvokeError;
use local::sqs_trigger::SqsTrigger;
use local::template::QueueTrigger;
use serde_json::{Value, json};
use tokio::sync::{Semaphore, mpsc};

const ORDERS: &str = "OrdersQueue";
const DEAD: &str = "OrdersDeadLetterQueue";

fn trigger(batch_size: u32) -> QueueTrigger {
    QueueTrigger {
        queue: ORDERS.to_owned(),
        batch_size,
        batching_window: Duration::ZERO,
        maximum_concurrency: None,
        report_batch_item_failures: true,
    }
}

fn orders_url(host: &Host) -> String {
    host.aws.queue_url("local-OrdersQueue")
}

async fn send(host: &Host, bodies: impl IntoIterator<Item = String>) {
    for body in bodies {
        host.aws.sqs().send(&orders_url(host), &body).await.unwrap();
    }
}

const TRACE: &str = "Root=1-5759e988-bd862e3fe1be46a994272793;Parent=53995c3f42cd8ad8;Sampled=0";

fn trace() -> MessageSystemAttributeValue {
    let value = MessageSystemAttributeValue::builder().data_type("String");
    value.string_value(TRACE).build().unwrap()
}

fn numbered(count: usize) -> impl Iterator<Item = String> {
    (0..count).map(|number| format!("order {number}"))
}

/// Starts a trigger whose function is `answer`: from the event to the response.
fn start_trigger(
    host: &Host,
    trigger: QueueTrigger,
    answer: impl Fn(Value) -> Result<Value, InvokeError> + Send + Sync + 'static,
) -> SqsTrigger {
    let aws = &host.aws;
    SqsTrigger::start(
        trigger,
        orders_url(host),
        aws.sqs().clone(),
        aws.meter().clone(),
        aws.faults().of("Function"),
        move |event| {
            let response = answer(serde_json::from_slice(&event).unwrap());
            async move { response.map(|response| Bytes::from(response.to_string())) }
        },
    )
}

fn bodies(event: &Value) -> Vec<String> {
    let records = event["Records"].as_array().unwrap();
    records
        .iter()
        .map(|record| record["body"].as_str().unwrap().to_owned())
        .collect()
}

fn orders(snapshot: &Snapshot) -> (Trigger, Depth) {
    let Queue { trigger, depth } = snapshot.queues[ORDERS].clone();
    (trigger.unwrap(), depth.unwrap())
}

/// Kills the one that was started with these children.
fn kill_fauxqs(children: &Children) {
    let found = std::process::Command::new("pgrep")
        .args(["-g", &children.group().to_string(), "-f", "server.mjs"])
        .output()
        .unwrap();
    let pid = String::from_utf8(found.stdout)
        .unwrap()
        .trim()
        .parse()
        .unwrap();
    nix::sys::signal::kill(
        nix::unistd::Pid::from_raw(pid),
        nix::sys::signal::Signal::SIGKILL,
    )
    .unwrap();
}

fn empty(depth: Depth) -> bool {
    depth == Depth::default()
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

    let snapshot = host.aws.snapshot().await;
    assert!(empty(snapshot.queues[ORDERS].depth.unwrap()));
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
    let url = host.aws.queue_url("local-Missing");
    let client = sqs(&host.aws, "PlaceOrder");
    let refused = client
        .send_message()
        .queue_url(url)
        .message_body("x")
        .send()
        .await
        .unwrap_err();
    assert!(refused.into_service_error().is_queue_does_not_exist());
    let caller = &host.aws.snapshot().await.functions["PlaceOrder"];
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
    let children = Children::start().unwrap();
    let [orders, _] = queues("30");
    let refused = start(options(dir.path(), &children), &[], &[orders])
        .await
        .unwrap_err();
    assert_eq!(
        refused.to_string(),
        "queue OrdersQueue: its dead-letter queue OrdersDeadLetterQueue does not exist"
    );
}

#[tokio::test]
async fn an_attribute_out_of_range_is_named() {
    let dir = tempfile::tempdir().unwrap();
    let children = Children::start().unwrap();
    let queue = queue("Slow", &[("VisibilityTimeout", "43201")], None);
    let refused = start(options(dir.path(), &children), &[], &[queue])
        .await
        .unwrap_err();
    let refused = refused.to_string();
    assert!(
        refused.starts_with("queue Slow: InvalidAttributeValue"),
        "{refused}"
    );
}

#[tokio::test]
async fn a_batch_that_succeeds_is_deleted() {
    let host = Host::start(&[], &queues("30")).await;
    send(&host, numbered(25)).await;
    let seen = Arc::new(Mutex::new(BTreeSet::new()));
    let seen_by_function = seen.clone();
    let trigger = start_trigger(&host, trigger(10), move |event| {
        seen_by_function.lock().unwrap().extend(bodies(&event));
        Ok(Value::Null)
    });
    let snapshot = measured(&host.aws, "deleting all", |s| orders(s).0.deleted == 25).await;
    let (counts, depth) = orders(&snapshot);
    assert_eq!(*seen.lock().unwrap(), numbered(25).collect());
    assert_eq!(
        (counts.received, counts.failed, counts.invocations),
        (25, 0, 3)
    );
    assert_eq!(counts.queue_time_ms.count, 25);
    assert!(counts.queue_time_ms.p50 <= counts.queue_time_ms.p99);
    assert!(counts.queue_time_ms.p99 <= counts.queue_time_ms.max * 1.001);
    assert!(empty(depth));
    trigger.shutdown().await;

    let mut queues = serde_json::to_value(&snapshot).unwrap()["queues"].take();
    let times = queues[ORDERS]["queue_time_ms"].take();
    for field in ["count", "p50", "p95", "p99", "max"] {
        assert!(times[field].is_number(), "{field}: {times}");
    }
    assert_eq!(
        queues,
        json!({
            ORDERS: {
                "received": 25, "deleted": 25, "invocations": 3, "failed": 0, "queue_time_ms": null,
                "visible": 0, "in_flight": 0, "delayed": 0,
            },
            DEAD: {"visible": 0, "in_flight": 0, "delayed": 0},
        })
    );
}

#[tokio::test]
async fn the_event_is_what_aws_sends() {
    let host = Host::start(&[], &queues("30")).await;
    let text = MessageAttributeValue::builder()
        .data_type("String")
        .string_value("web");
    let bytes = MessageAttributeValue::builder()
        .data_type("Binary")
        .binary_value(Blob::new([1, 2]));
    let sent = sqs(&host.aws, "PlaceOrder")
        .send_message()
        .queue_url(orders_url(&host))
        .message_body("{\"order\":\"ä\"}")
        .message_attributes("channel", text.build().unwrap())
        .message_attributes("seal", bytes.build().unwrap())
        .message_system_attributes(MessageSystemAttributeNameForSends::AwsTraceHeader, trace())
        .send()
        .await
        .unwrap();
    let (events, mut received) = mpsc::unbounded_channel();
    let _trigger = start_trigger(&host, trigger(10), move |event| {
        events.send(event).unwrap();
        Ok(Value::Null)
    });
    let mut event = received.recv().await.unwrap();
    let record = &mut event["Records"][0];
    assert!(!record["receiptHandle"].take().as_str().unwrap().is_empty());
    let mut attributes = record["attributes"].take();
    for time in ["SentTimestamp", "ApproximateFirstReceiveTimestamp"] {
        // Milliseconds since 1970, as a string.
        assert_eq!(attributes[time].take().as_str().unwrap().len(), 13);
    }
    assert_eq!(
        attributes,
        json!({
            "ApproximateReceiveCount": "1", "SenderId": "000000000000", "AWSTraceHeader": TRACE,
            "SentTimestamp": null, "ApproximateFirstReceiveTimestamp": null,
        })
    );
    assert_eq!(
        event,
        json!({"Records": [{
            "messageId": sent.message_id(),
            "receiptHandle": null,
            "body": "{\"order\":\"ä\"}",
            "attributes": null,
            "messageAttributes": {
                "channel": {"stringValue": "web", "stringListValues": [], "binaryListValues": [], "dataType": "String"},
                "seal": {"binaryValue": "AQI=", "stringListValues": [], "binaryListValues": [], "dataType": "Binary"},
            },
            "md5OfBody": sent.md5_of_message_body(),
            "md5OfMessageAttributes": sent.md5_of_message_attributes(),
            "eventSource": "aws:sqs",
            "eventSourceARN": "arn:aws:sqs:us-east-1:000000000000:local-OrdersQueue",
            "awsRegion": "us-east-1",
        }]})
    );
}

#[tokio::test]
async fn a_trace_header_is_given_to_who_asks_for_it_and_is_no_attribute_of_the_sender() {
    let host = Host::start(&[], &queues("30")).await;
    let client = sqs(&host.aws, "Client");
    // From this one messages may be received as often as one likes.
    let url = host.aws.queue_url("local-OrdersDeadLetterQueue");
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
async fn a_partial_failure_keeps_only_what_failed() {
    let host = Host::start(&[], &queues("30")).await;
    send(&host, numbered(10)).await;
    let _trigger = start_trigger(&host, trigger(10), |event| {
        let records = event["Records"].as_array().unwrap();
        let bad = records
            .iter()
            .filter(|r| r["body"] == "order 3" || r["body"] == "order 7");
        let failures: Vec<_> = bad
            .map(|r| json!({"itemIdentifier": r["messageId"]}))
            .collect();
        Ok(json!({"batchItemFailures": failures}))
    });
    let snapshot = measured(&host.aws, "deleting eight", |s| orders(s).0.deleted == 8).await;
    let (counts, depth) = orders(&snapshot);
    assert_eq!((counts.received, counts.failed), (10, 2));
    assert_eq!((depth.visible, depth.in_flight), (0, 2));
}

#[tokio::test]
async fn a_malformed_report_deletes_nothing() {
    let host = Host::start(&[], &queues("30")).await;
    let response = Arc::new(Mutex::new(Value::Null));
    let answer = response.clone();
    let _trigger = start_trigger(&host, trigger(10), move |_| {
        Ok(answer.lock().unwrap().clone())
    });
    let malformed = [
        json!("Success"),
        json!({"batchItemFailures": [{"itemIdentifier": ""}]}),
        json!({"batchItemFailures": [{"itemIdentifier": null}]}),
        json!({"batchItemFailures": [{"itemIdentifier": "no-such-message"}]}),
        json!({"batchItemFailures": [{"id": "x"}]}),
    ];
    for (before, malformed) in malformed.into_iter().enumerate() {
        *response.lock().unwrap() = malformed.clone();
        send(&host, numbered(3)).await;
        let expected = 3 * (before as u64 + 1);
        let snapshot = measured(&host.aws, "failing the batch", |s| {
            orders(s).0.failed == expected
        })
        .await;
        let (counts, depth) = orders(&snapshot);
        assert_eq!(
            (counts.deleted, depth.in_flight),
            (0, expected),
            "{malformed}"
        );
    }
}

#[tokio::test]
async fn without_partial_responses_the_response_is_ignored() {
    let host = Host::start(&[], &queues("30")).await;
    send(&host, numbered(3)).await;
    let mut trigger = trigger(10);
    trigger.report_batch_item_failures = false;
    let _trigger = start_trigger(&host, trigger, |event| {
        let failures: Vec<_> = event["Records"].as_array().unwrap().clone();
        let id = |record: &Value| json!({"itemIdentifier": record["messageId"]});
        Ok(json!({"batchItemFailures": failures.iter().map(id).collect::<Vec<_>>()}))
    });
    measured(&host.aws, "deleting all", |s| orders(s).0.deleted == 3).await;
}

#[tokio::test]
async fn poison_goes_to_the_dead_letter_queue_untouched_and_harms_no_other() {
    let host = Host::start(&[], &queues("1")).await;
    send(
        &host,
        ["good".to_owned(), "poison".to_owned(), "good".to_owned()],
    )
    .await;
    let poisoned = Arc::new(AtomicUsize::new(0));
    let counter = poisoned.clone();
    let _trigger = start_trigger(&host, trigger(10), move |event| {
        let records = event["Records"].as_array().unwrap();
        let bad = records.iter().filter(|record| record["body"] == "poison");
        let failures: Vec<_> = bad
            .map(|r| json!({"itemIdentifier": r["messageId"]}))
            .collect();
        counter.fetch_add(failures.len(), Ordering::SeqCst);
        Ok(json!({"batchItemFailures": failures}))
    });
    let dead = |s: &Snapshot| s.queues[DEAD].depth.is_some_and(|depth| depth.visible == 1);
    let snapshot = measured(&host.aws, "giving up on poison", dead).await;
    let (counts, depth) = orders(&snapshot);
    // `maxReceiveCount` is 2.
    assert_eq!(poisoned.load(Ordering::SeqCst), 2);
    assert_eq!((counts.deleted, counts.failed), (2, 2));
    assert!(empty(depth));
    let dead_url = host.aws.queue_url("local-OrdersDeadLetterQueue");
    let received = host
        .aws
        .sqs()
        .receive(&dead_url, 1, Duration::ZERO)
        .await
        .unwrap();
    assert_eq!(received[0].body, "poison");
}

#[tokio::test]
async fn a_function_error_deletes_nothing() {
    let host = Host::start(&[], &queues("30")).await;
    send(&host, numbered(3)).await;
    let _trigger = start_trigger(&host, trigger(10), |_| Err(InvokeError::Stopped));
    let snapshot = measured(&host.aws, "failing", |s| orders(s).0.failed == 3).await;
    let (counts, depth) = orders(&snapshot);
    assert_eq!(
        (counts.deleted, counts.invocations, depth.in_flight),
        (0, 1, 3)
    );
}

#[tokio::test]
async fn a_throttled_batch_is_tried_again_without_a_new_receive() {
    let host = Host::start(&[], &queues("30")).await;
    send(&host, numbered(3)).await;
    let attempts = AtomicUsize::new(0);
    let _trigger = start_trigger(&host, trigger(10), move |event| {
        assert_eq!(
            event["Records"][0]["attributes"]["ApproximateReceiveCount"],
            "1"
        );
        match attempts.fetch_add(1, Ordering::SeqCst) {
            0 | 1 => Err(InvokeError::Throttled),
            _ => Ok(Value::Null),
        }
    });
    let snapshot = measured(&host.aws, "deleting all", |s| orders(s).0.deleted == 3).await;
    let (counts, _) = orders(&snapshot);
    assert_eq!(
        (counts.received, counts.invocations, counts.failed),
        (3, 1, 0)
    );
}

#[tokio::test]
async fn a_batch_that_stays_throttled_is_given_back_by_its_visibility_timeout() {
    let host = Host::start(&[], &queues("1")).await;
    send(&host, ["order".to_owned()]).await;
    let _trigger = start_trigger(&host, trigger(10), move |event| {
        match event["Records"][0]["attributes"]["ApproximateReceiveCount"].as_str() {
            Some("1") => Err(InvokeError::Throttled),
            _ => Ok(Value::Null),
        }
    });
    let snapshot = measured(&host.aws, "deleting it", |s| orders(s).0.deleted == 1).await;
    let (counts, _) = orders(&snapshot);
    assert_eq!((counts.received, counts.failed), (2, 1));
}

#[tokio::test]
async fn a_batching_window_gathers_more_than_one_receive() {
    let host = Host::start(&[], &queues("30")).await;
    send(&host, numbered(15)).await;
    let mut trigger = trigger(100);
    trigger.batching_window = Duration::from_secs(1);
    let (sizes, mut received) = mpsc::unbounded_channel();
    let started = Instant::now();
    let _trigger = start_trigger(&host, trigger, move |event| {
        sizes.send(bodies(&event).len()).unwrap();
        Ok(Value::Null)
    });
    assert_eq!(received.recv().await, Some(15));
    assert!(started.elapsed() >= Duration::from_secs(1));
    measured(&host.aws, "deleting all", |s| orders(s).0.deleted == 15).await;
}

#[tokio::test]
async fn a_full_batch_does_not_wait_for_the_window() {
    let host = Host::start(&[], &queues("30")).await;
    send(&host, numbered(20)).await;
    let mut trigger = trigger(20);
    trigger.batching_window = Duration::from_secs(300);
    let (sizes, mut received) = mpsc::unbounded_channel();
    let _trigger = start_trigger(&host, trigger, move |event| {
        sizes.send(bodies(&event).len()).unwrap();
        Ok(Value::Null)
    });
    let size = tokio::time::timeout(Duration::from_secs(30), received.recv()).await;
    assert_eq!(size, Ok(Some(20)));
}

#[tokio::test]
async fn no_event_is_larger_than_an_invocation_takes() {
    let host = Host::start(&[], &queues("30")).await;
    let body = "x".repeat(1_000_000);
    send(&host, (0..9).map(|_| body.clone())).await;
    let (sizes, mut received) = mpsc::unbounded_channel();
    let aws = &host.aws;
    let _trigger = SqsTrigger::start(
        trigger(10),
        orders_url(&host),
        aws.sqs().clone(),
        aws.meter().clone(),
        aws.faults().of("Function"),
        move |event: Bytes| {
            sizes.send(event.len()).unwrap();
            async { Ok(Bytes::from_static(b"null")) }
        },
    );
    let snapshot = measured(aws, "deleting all", |s| orders(s).0.deleted == 9).await;
    assert_eq!(orders(&snapshot).0.invocations, 2);
    for _ in 0..2 {
        assert!(received.recv().await.unwrap() <= local::lambda::MAX_PAYLOAD);
    }
}

#[tokio::test]
async fn no_more_invocations_run_at_one_time_than_maximum_concurrency() {
    let host = Host::start(&[], &queues("30")).await;
    send(&host, numbered(30)).await;
    let mut trigger = trigger(1);
    trigger.maximum_concurrency = Some(2);
    let running = Arc::new(AtomicUsize::new(0));
    let most = Arc::new(AtomicUsize::new(0));
    let both = Arc::new(Semaphore::new(0));
    let aws = &host.aws;
    let function = {
        let (running, most, both) = (running.clone(), most.clone(), both.clone());
        move |_: Bytes| {
            let (running, most, both) = (running.clone(), most.clone(), both.clone());
            async move {
                most.fetch_max(running.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
                both.acquire().await.unwrap().forget();
                running.fetch_sub(1, Ordering::SeqCst);
                Ok(Bytes::from_static(b"null"))
            }
        }
    };
    let _trigger = SqsTrigger::start(
        trigger,
        orders_url(&host),
        aws.sqs().clone(),
        aws.meter().clone(),
        aws.faults().of("Function"),
        function,
    );
    measured(aws, "two at one time", |_| {
        running.load(Ordering::SeqCst) == 2
    })
    .await;
    // One at a time, so that others have 28 times the occasion to run beside the two.
    for ended in 1..=28 {
        both.add_permits(1);
        measured(aws, "two at one time again", |s| {
            orders(s).0.deleted == ended && running.load(Ordering::SeqCst) == 2
        })
        .await;
    }
    both.add_permits(2);
    measured(aws, "deleting all", |s| orders(s).0.deleted == 30).await;
    assert_eq!(most.load(Ordering::SeqCst), 2);
}

#[tokio::test]
async fn a_backlog_is_worked_on_by_more_and_more_invocations() {
    let host = Host::start(&[], &queues("30")).await;
    send(&host, numbered(8)).await;
    let running = Arc::new(AtomicUsize::new(0));
    let counter = running.clone();
    let aws = &host.aws;
    let function = move |_: Bytes| {
        counter.fetch_add(1, Ordering::SeqCst);
        std::future::pending()
    };
    let _trigger = SqsTrigger::start(
        trigger(1),
        orders_url(&host),
        aws.sqs().clone(),
        aws.meter().clone(),
        aws.faults().of("Function"),
        function,
    );
    // Five at once; the rest by scaling out, for none of the five ever ends.
    measured(aws, "eight at one time", |_| {
        running.load(Ordering::SeqCst) == 8
    })
    .await;
}

#[tokio::test]
async fn shutdown_stops_a_long_poll_and_lets_an_invocation_finish() {
    let host = Host::start(&[], &queues("30")).await;
    send(&host, numbered(1)).await;
    let (starts, mut started) = mpsc::unbounded_channel();
    let finish = Arc::new(Semaphore::new(0));
    let gate = finish.clone();
    let aws = &host.aws;
    let function = move |_: Bytes| {
        starts.send(()).unwrap();
        let gate = gate.clone();
        async move {
            drop(gate.acquire().await);
            Ok(Bytes::from_static(b"null"))
        }
    };
    let trigger = SqsTrigger::start(
        trigger(1),
        orders_url(&host),
        aws.sqs().clone(),
        aws.meter().clone(),
        aws.faults().of("Function"),
        function,
    );
    started.recv().await.unwrap();
    // All polls that wait answer when one of them leaves: this one says that it has happened.
    let other = tokio::spawn({
        let (sqs, url) = (aws.sqs().clone(), orders_url(&host));
        async move { sqs.receive(&url, 1, Duration::from_secs(20)).await }
    });
    tokio::time::sleep(Duration::from_millis(500)).await;
    finish.add_permits(1);
    let began = Instant::now();
    trigger.shutdown().await;
    assert!(other.await.unwrap().unwrap().is_empty());
    // A long poll takes 20 s.
    assert!(began.elapsed() < Duration::from_secs(10));
    assert_eq!(orders(&aws.snapshot().await).0.deleted, 1);
    // Polling has stopped, and the poll that was under way takes nothing.
    send(&host, ["later".to_owned()]).await;
    let received = aws
        .sqs()
        .receive(&orders_url(&host), 10, Duration::ZERO)
        .await
        .unwrap();
    assert_eq!(received.len(), 1);
}

#[tokio::test]
async fn a_client_that_leaves_a_long_poll_takes_no_message_with_it() {
    let host = Host::start(&[], &queues("30")).await;
    let client = sqs(&host.aws, "Impatient");
    let url = orders_url(&host);
    let poll = client
        .receive_message()
        .queue_url(&url)
        .wait_time_seconds(20)
        .send();
    let other = tokio::spawn({
        let (sqs, url) = (host.aws.sqs().clone(), url.clone());
        async move { sqs.receive(&url, 1, Duration::from_secs(20)).await }
    });
    let began = Instant::now();
    tokio::select! {
        _ = poll => panic!("the queue is empty"),
        () = tokio::time::sleep(Duration::from_millis(500)) => {}
    }
    drop(client);
    // The other one answers as soon as the server has noticed, long before its 20 s are over.
    assert!(other.await.unwrap().unwrap().is_empty());
    assert!(began.elapsed() < Duration::from_secs(10));
    send(&host, ["order".to_owned()]).await;
    let received = host
        .aws
        .sqs()
        .receive(&url, 10, Duration::ZERO)
        .await
        .unwrap();
    assert_eq!(received.len(), 1);
}

#[tokio::test]
async fn deleting_more_than_ten_at_once_is_refused() {
    let host = Host::start(&[], &queues("30")).await;
    let entry = |id: usize| {
        let entry = DeleteMessageBatchRequestEntry::builder().id(id.to_string());
        entry.receipt_handle("x").build().unwrap()
    };
    let refused = sqs(&host.aws, "Client")
        .delete_message_batch()
        .queue_url(orders_url(&host))
        .set_entries(Some((0..11).map(entry).collect()))
        .send()
        .await
        .unwrap_err();
    assert!(
        refused
            .into_service_error()
            .is_too_many_entries_in_batch_request()
    );
}

#[tokio::test]
async fn when_fauxqs_dies_callers_get_503_and_the_reason_is_known() {
    let host = Host::start(&[], &queues("30")).await;
    let trigger = start_trigger(&host, trigger(10), |_| Ok(Value::Null));
    assert_eq!(host.aws.sqs_failure(), None);
    kill_fauxqs(&host.children);
    measured(&host.aws, "noticing", |_| host.aws.sqs_failure().is_some()).await;
    let why = host.aws.sqs_failure().unwrap();
    assert!(
        why.starts_with("SQS (fauxqs) ended by itself: signal: 9"),
        "{why}"
    );

    let client = sqs(&host.aws, "PlaceOrder");
    let send = client
        .send_message()
        .queue_url(orders_url(&host))
        .message_body("x");
    let refused = send.send().await.unwrap_err();
    assert_eq!(refused.raw_response().unwrap().status().as_u16(), 503);
    assert_eq!(
        refused.into_service_error().meta().message(),
        Some(why.as_str())
    );
    let snapshot = host.aws.snapshot().await;
    assert_eq!(
        snapshot.functions["PlaceOrder"].operations["SQS.SendMessage"].errors,
        1
    );
    assert!(snapshot.queues[ORDERS].depth.is_none());
    trigger.shutdown().await;
    host.aws.shutdown().await;
}

#[tokio::test]
async fn messages_in_a_data_folder_survive_kill_9() {
    let dir = tempfile::tempdir().unwrap();
    let children = Children::start().unwrap();
    let options = || {
        let mut options = options(dir.path(), &children);
        options.data_dir = Some(dir.path().join("data"));
        options
    };
    let first = start(options(), &[], &queues("30")).await.unwrap();
    let url = first.queue_url("local-OrdersQueue");
    let client = sqs(&first, "Client");
    // Poison: after two receives the third moves it to the dead-letter queue.
    let poison = client.send_message().queue_url(&url).message_body("poison");
    let poison = poison
        .message_system_attributes(MessageSystemAttributeNameForSends::AwsTraceHeader, trace());
    poison.send().await.unwrap();
    for expected in [1, 1, 0] {
        let receive = client
            .receive_message()
            .queue_url(&url)
            .visibility_timeout(0);
        assert_eq!(receive.send().await.unwrap().messages().len(), expected);
    }
    for body in numbered(8) {
        first.sqs().send(&url, &body).await.unwrap();
    }
    let received = first.sqs().receive(&url, 5, Duration::ZERO).await.unwrap();
    let handles: Vec<_> = received[..2]
        .iter()
        .map(|m| m.receipt_handle.as_str())
        .collect();
    assert!(
        first
            .sqs()
            .delete_batch(&url, &handles)
            .await
            .unwrap()
            .is_empty()
    );
    kill_fauxqs(&children);
    drop(first);

    let second = start(options(), &[], &queues("30")).await.unwrap();
    let queues = second.snapshot().await.queues;
    let depth = |visible, in_flight| {
        Some(Depth {
            visible,
            in_flight,
            delayed: 0,
        })
    };
    assert_eq!(queues[ORDERS].depth, depth(3, 3));
    assert_eq!(queues[DEAD].depth, depth(1, 0));
    let dead = second.queue_url("local-OrdersDeadLetterQueue");
    let dead = second.sqs().receive(&dead, 1, Duration::ZERO).await;
    assert_eq!(dead.unwrap()[0].attributes["AWSTraceHeader"], TRACE);
}

#[tokio::test]
async fn a_node_that_is_too_old_or_missing_is_named() {
    let dir = tempfile::tempdir().unwrap();
    let children = Children::start().unwrap();
    let old = dir.path().join("old-node");
    std::fs::write(&old, "#!/bin/sh\necho v20.11.0\n").unwrap();
    std::fs::set_permissions(&old, std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
    for (node, says) in [
        (old, "is \"v20.11.0\""),
        ("/nowhere/node".into(), "was not found"),
    ] {
        let mut options = options(dir.path(), &children);
        options.node = node;
        let refused = start(options, &[], &queues("30"))
            .await
            .unwrap_err()
            .to_string();
        assert!(refused.starts_with("cannot start SQS: "), "{refused}");
        assert!(
            refused.contains(says) && refused.contains("Node.js 22.5"),
            "{refused}"
        );
    }
}
