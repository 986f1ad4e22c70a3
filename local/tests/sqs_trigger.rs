//! The trigger of a queue: batches, partial failures, poison, throttling, concurrency.

#![allow(
    clippy::unwrap_used,
    reason = "a helper that fails is a test that fails"
)]

mod aws_support;

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use aws_sdk_sqs::primitives::Blob;
use aws_sdk_sqs::types::{
    MessageAttributeValue, MessageSystemAttributeNameForSends, MessageSystemAttributeValue,
};
use aws_support::{Host, measured, queues, sqs};
use bytes::Bytes;

use local::events::{Depth, Event, Move, QueueCounts, Snapshot, Trigger};
use local::lambda::InvokeError;
use local::sqs_trigger;
use local::task::Task;
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

const ORDERS_NAME: &str = "local-OrdersQueue";

async fn send(host: &Host, bodies: impl IntoIterator<Item = String>) {
    let url = host.queue_url(ORDERS_NAME);
    for body in bodies {
        let call = json!({"QueueUrl": url, "MessageBody": body}).to_string();
        let sqs = &host.aws.services.sqs;
        sqs.call("SendMessage", call.as_bytes()).await.unwrap();
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
) -> Task {
    let aws = &host.aws;
    sqs_trigger::start(trigger, ORDERS_NAME, "Function", aws, move |_, event| {
        let response = answer(serde_json::from_slice(&event).unwrap());
        async move { response.map(|response| Bytes::from(response.to_string())) }
    })
}

fn bodies(event: &Value) -> Vec<String> {
    let records = event["Records"].as_array().unwrap();
    records
        .iter()
        .map(|record| record["body"].as_str().unwrap().to_owned())
        .collect()
}

fn orders(measured: &Snapshot) -> (Trigger, Depth) {
    let QueueCounts { trigger, depth } = measured.queues[ORDERS].clone();
    (trigger.unwrap(), depth.unwrap())
}

fn empty(depth: Depth) -> bool {
    depth == Depth::default()
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
        .queue_url(host.queue_url(ORDERS_NAME))
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
    let received = host
        .aws
        .services
        .sqs
        .receive("local-OrdersDeadLetterQueue", 1, Duration::ZERO)
        .await
        .unwrap();
    assert_eq!(received[0].body, "poison");

    // The log has the way of each message.
    let (_, entries) = host.aws.services.log.since(0, usize::MAX);
    let way = |change: Move| -> Vec<String> {
        let changes = entries.iter().filter_map(|entry| match &entry.event {
            Event::Messages(it) if it.change == change && it.queue == ORDERS => Some(&it.ids),
            _ => None,
        });
        changes.flatten().cloned().collect()
    };
    let poison = received[0].message_id.clone();
    assert_eq!(way(Move::Dead), std::slice::from_ref(&poison));
    assert_eq!(way(Move::Returned), [poison.clone(), poison.clone()]);
    assert_eq!(way(Move::Sent).len(), 3);
    assert_eq!(way(Move::Deleted).len(), 2);
    assert!(!way(Move::Deleted).contains(&poison));
    assert_eq!(way(Move::Delivered).len(), 4);
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
    let _trigger = sqs_trigger::start(
        trigger(10),
        ORDERS_NAME,
        "Function",
        aws,
        move |_, event: Bytes| {
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
        move |_, _: Bytes| {
            let (running, most, both) = (running.clone(), most.clone(), both.clone());
            async move {
                most.fetch_max(running.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
                both.acquire().await.unwrap().forget();
                running.fetch_sub(1, Ordering::SeqCst);
                Ok(Bytes::from_static(b"null"))
            }
        }
    };
    let _trigger = sqs_trigger::start(trigger, ORDERS_NAME, "Function", aws, function);
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
    let function = move |_, _: Bytes| {
        counter.fetch_add(1, Ordering::SeqCst);
        std::future::pending()
    };
    let _trigger = sqs_trigger::start(trigger(1), ORDERS_NAME, "Function", aws, function);
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
    let function = move |_, _: Bytes| {
        starts.send(()).unwrap();
        let gate = gate.clone();
        async move {
            drop(gate.acquire().await);
            Ok(Bytes::from_static(b"null"))
        }
    };
    let trigger = sqs_trigger::start(trigger(1), ORDERS_NAME, "Function", aws, function);
    started.recv().await.unwrap();
    finish.add_permits(1);
    let began = Instant::now();
    trigger.shutdown().await;
    // A long poll takes 20 s.
    assert!(began.elapsed() < Duration::from_secs(10));
    assert_eq!(orders(&aws.measured()).0.deleted, 1);
    // Polling has stopped, and the poll that was under way takes nothing.
    send(&host, ["later".to_owned()]).await;
    let received = aws
        .services
        .sqs
        .receive(ORDERS_NAME, 10, Duration::ZERO)
        .await
        .unwrap();
    assert_eq!(received.len(), 1);
}
