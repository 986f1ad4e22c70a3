//! A batch of messages. Each message succeeds or fails by itself.

use std::panic::AssertUnwindSafe;

use aws_lambda_events::event::sqs::{SqsBatchResponse, SqsEvent, SqsMessage};
use futures_util::{FutureExt, StreamExt, stream};
use lambda_runtime::Error;
use shop::telemetry;
use shop::time::{Deadline, TIME_TO_SETTLE};
use tokio::time::timeout_at;

/// How many messages of a batch are worked on at the same time.
///
/// Each needs its own connection to DynamoDB, and each connection costs one TLS handshake. With
/// four, a batch of ten takes three round trips, and so few transactions run at once that orders of
/// the same product seldom conflict.
const CONCURRENCY: usize = 4;

/// The parts of a message that the shop reads.
pub(crate) struct Message {
    /// SQS's id for it, the same in each of its deliveries.
    pub(crate) id: String,
    /// Its text.
    pub(crate) body: String,
    /// When SQS took it, in milliseconds since 1970.
    pub(crate) sent_ms: Option<u64>,
    /// The sender's trace. The invocation has another one, because a batch has many senders.
    pub(crate) trace_id: Option<String>,
}

/// The outcome of a batch.
pub(crate) struct Batch<T> {
    /// The results of the messages that succeeded.
    pub(crate) done: Vec<T>,
    /// The messages that failed.
    pub(crate) report: SqsBatchResponse,
    /// Whether every message made the program panic. Then it is more likely the environment that is
    /// broken than each of them: a lock that an earlier panic poisoned, for example.
    pub(crate) all_panicked: bool,
}

/// Runs `process` on every message.
///
/// A message fails if `process` returns an error, panics, or cannot end before `deadline`. It goes
/// back to the queue, and after enough deliveries to the dead-letter queue.
///
/// # Errors
/// If a message has no id. It could not be reported as failed, and leaving it out would delete it,
/// so the whole batch goes back.
pub(crate) async fn process<T>(
    event: SqsEvent,
    deadline: Deadline,
    process: impl AsyncFn(&Message) -> Result<T, Error>,
) -> Result<Batch<T>, Error> {
    let messages = event
        .records
        .into_iter()
        .map(read)
        .collect::<Result<Vec<_>, _>>()?;
    let outcomes: Vec<_> = stream::iter(&messages)
        .map(async |message| {
            let outcome = run(message, deadline, &process).await;
            outcome.map_err(|failure| {
                tracing::error!(
                    message_id = message.id,
                    message_trace_id = message.trace_id,
                    error = %failure,
                    "message failed"
                );
                (&message.id, matches!(failure, Failure::Panicked))
            })
        })
        .buffer_unordered(CONCURRENCY)
        .collect()
        .await;
    let mut batch = Batch {
        done: Vec::with_capacity(outcomes.len()),
        report: SqsBatchResponse::default(),
        all_panicked: !outcomes.is_empty(),
    };
    for outcome in outcomes {
        match outcome {
            Ok(result) => {
                batch.done.push(result);
                batch.all_panicked = false;
            }
            Err((id, panicked)) => {
                batch.report.add_failure(id);
                batch.all_panicked &= panicked;
            }
        }
    }
    Ok(batch)
}

/// Why a message failed.
#[derive(Debug, thiserror::Error)]
enum Failure {
    #[error("too little time is left to begin")]
    NotBegun,
    #[error("{0}")]
    Process(Error),
    /// The panic hook has logged what panicked, and where.
    #[error("the message made the program panic")]
    Panicked,
    #[error("the time ran out")]
    TimedOut,
}

fn read(message: SqsMessage) -> Result<Message, Error> {
    let id = message.message_id.filter(|id| !id.is_empty());
    let id = id.ok_or("a message without an id cannot be reported as failed")?;
    let attribute = |name: &str| message.attributes.get(name).map(String::as_str);
    let trace_id = attribute("AWSTraceHeader").and_then(telemetry::trace_id);
    Ok(Message {
        id,
        sent_ms: attribute("SentTimestamp").and_then(|sent| sent.parse().ok()),
        trace_id: trace_id.map(str::to_owned),
        body: message.body.unwrap_or_default(),
    })
}

async fn run<T>(
    message: &Message,
    deadline: Deadline,
    process: &impl AsyncFn(&Message) -> Result<T, Error>,
) -> Result<T, Failure> {
    if !deadline.allows(TIME_TO_SETTLE) {
        return Err(Failure::NotBegun);
    }
    // Called inside, so that a panic before the first await is caught as well.
    let contained = AssertUnwindSafe(async { process(message).await }).catch_unwind();
    match timeout_at(deadline.instant(), contained).await {
        Ok(Ok(outcome)) => outcome.map_err(Failure::Process),
        Ok(Err(_)) => Err(Failure::Panicked),
        Err(_) => Err(Failure::TimedOut),
    }
}

#[cfg(test)]
mod tests {
    //! Each test is a known mistake of handlers of SQS batches.

    use std::cell::{Cell, RefCell};
    use std::collections::BTreeMap;
    use std::future::pending;
    use std::time::Duration;

    use proptest::prelude::*;
    use proptest::test_runner::TestRunner;
    use serde_json::{Value, json};
    use shop::domain::OrderMessage;
    use tokio::time::{Instant, timeout};

    use super::{process as process_all, *};

    const SAMPLE: &str = include_str!("../../../events/process-orders.json");

    fn soon() -> Deadline {
        Deadline::after(Duration::from_secs(25))
    }

    /// An event with these bodies, whose messages are named m-0, m-1 and so on.
    fn event(bodies: &[&str]) -> SqsEvent {
        let sample: Value = serde_json::from_str(SAMPLE).unwrap();
        let record = |(index, body): (usize, &&str)| {
            let mut record = sample["Records"][0].clone();
            record["messageId"] = json!(format!("m-{index}"));
            record["body"] = json!(body);
            record
        };
        let records: Vec<_> = bodies.iter().enumerate().map(record).collect();
        serde_json::from_value(json!({"Records": records})).unwrap()
    }

    fn failed(response: &SqsBatchResponse) -> Vec<&str> {
        let mut ids: Vec<_> = response
            .batch_item_failures
            .iter()
            .map(|failure| failure.item_identifier.as_str())
            .collect();
        ids.sort_unstable();
        ids
    }

    /// The report of a batch.
    async fn process<T>(
        event: SqsEvent,
        deadline: Deadline,
        process: impl AsyncFn(&Message) -> Result<T, Error>,
    ) -> Result<SqsBatchResponse, Error> {
        let batch = process_all(event, deadline, process).await?;
        Ok(batch.report)
    }

    async fn fail_on_bad(message: &Message) -> Result<(), Error> {
        if message.body == "bad" {
            Err("a bad message".into())
        } else {
            Ok(())
        }
    }

    #[tokio::test]
    async fn every_message_of_a_batch_is_processed() {
        let seen = RefCell::new(Vec::new());

        let response = process(
            event(&["a", "b", "c", "d", "e", "f"]),
            soon(),
            async |message| {
                seen.borrow_mut().push(message.body.clone());
                Ok(())
            },
        );

        assert!(failed(&response.await.unwrap()).is_empty());
        assert_eq!(seen.into_inner(), ["a", "b", "c", "d", "e", "f"]);
    }

    #[tokio::test]
    async fn the_failed_messages_are_reported_and_no_others() {
        let event = event(&["good", "bad", "good", "bad", "good"]);

        let response = process(event, soon(), fail_on_bad).await.unwrap();

        assert_eq!(failed(&response), ["m-1", "m-3"]);
    }

    #[tokio::test]
    async fn a_body_that_is_not_json_fails_alone() {
        let good = json!({
            "order_id": "0123456789abcdef0123456789abcdef",
            "lines": [{"product_id": "mug", "quantity": 1}],
        });
        let event = event(&[&good.to_string(), "not JSON", &good.to_string(), "{}", ""]);

        let response = process(event, soon(), async |message| {
            serde_json::from_str::<OrderMessage>(&message.body)?;
            Ok(())
        });

        assert_eq!(failed(&response.await.unwrap()), ["m-1", "m-3", "m-4"]);
    }

    #[tokio::test]
    async fn a_batch_without_a_failure_is_answered_by_an_empty_list() {
        let response = process(event(&["good"]), soon(), fail_on_bad)
            .await
            .unwrap();

        assert_eq!(
            serde_json::to_value(response).unwrap(),
            json!({"batchItemFailures": []})
        );
    }

    #[tokio::test]
    async fn an_empty_batch_is_a_success() {
        let response = process(event(&[]), soon(), fail_on_bad).await.unwrap();

        assert!(failed(&response).is_empty());
    }

    #[tokio::test]
    async fn a_failure_is_reported_in_the_form_that_lambda_reads() {
        let response = process(event(&["bad"]), soon(), fail_on_bad).await.unwrap();

        assert_eq!(
            serde_json::to_value(response).unwrap(),
            json!({"batchItemFailures": [{"itemIdentifier": "m-0"}]})
        );
    }

    #[tokio::test]
    async fn a_message_without_an_id_fails_the_batch_before_any_message_is_processed() {
        for id in [None, Some(String::new())] {
            let mut event = event(&["good", "good"]);
            event.records[1].message_id = id;
            let processed = Cell::new(0);

            let outcome = process(event, soon(), async |_| {
                processed.set(processed.get() + 1);
                Ok(())
            });

            assert!(outcome.await.is_err());
            assert_eq!(processed.get(), 0);
        }
    }

    #[tokio::test]
    async fn what_comes_of_the_good_messages_is_given_back() {
        let event = event(&["1", "bad", "3"]);

        let batch = process_all(event, soon(), async |message| {
            Ok(message.body.parse::<u8>()?)
        });

        let batch = batch.await.unwrap();
        assert_eq!(batch.done, [1, 3]);
        assert_eq!(failed(&batch.report), ["m-1"]);
    }

    #[tokio::test]
    async fn a_message_says_when_it_was_sent_and_in_which_trace() {
        let root = "1-5759e988-bd862e3fe1be46a994272793";
        let header = |root: &str| json!(format!("Root={root};Parent=53995c3f42cd8ad8;Sampled=0"));
        let mut event = event(&["sent"; 4]);
        let mut set = |index: usize, name: &str, value: Value| {
            let value = value.as_str().unwrap().to_owned();
            let attributes = &mut event.records[index].attributes;
            attributes.insert(name.to_owned(), value);
        };
        set(0, "AWSTraceHeader", header(root));
        set(1, "AWSTraceHeader", header("forged"));
        set(2, "SentTimestamp", json!("yesterday"));
        event.records[3].attributes.clear();

        let batch = process_all(event, soon(), async |message| {
            Ok((message.sent_ms, message.trace_id.clone()))
        });

        let sent = Some(1_769_851_800_123);
        assert_eq!(
            batch.await.unwrap().done,
            [
                (sent, Some(root.to_owned())),
                (sent, None),
                (None, None),
                (None, None)
            ]
        );
    }

    #[tokio::test]
    async fn a_batch_of_nothing_but_panics_is_told_from_every_other() {
        for (bodies, expected) in [
            (&["panic", "panic"][..], true),
            (&["panic", "good"], false),
            (&["panic", "bad"], false),
            (&["bad", "bad"], false),
            (&["good"], false),
            (&[], false),
        ] {
            let batch = process_all(event(bodies), soon(), async |message| {
                assert_ne!(message.body, "panic");
                fail_on_bad(message).await
            });

            assert_eq!(batch.await.unwrap().all_panicked, expected, "{bodies:?}");
        }
    }

    #[tokio::test]
    async fn a_panic_is_the_failure_of_its_message_alone() {
        let event = event(&["good", "panic", "good", "later", "good"]);

        let response = process(event, soon(), async |message| match message.body.as_str() {
            "panic" => panic!("at once"),
            "later" => {
                tokio::task::yield_now().await;
                panic!("after an await")
            }
            _ => Ok(()),
        });

        assert_eq!(failed(&response.await.unwrap()), ["m-1", "m-3"]);
    }

    #[tokio::test]
    async fn no_more_messages_than_the_bound_are_in_work_at_a_time() {
        let (working, most) = (Cell::new(0), Cell::new(0));

        let response = process(event(&["good"; 20]), soon(), async |_| {
            working.set(working.get() + 1);
            most.set(most.get().max(working.get()));
            tokio::task::yield_now().await;
            working.set(working.get() - 1);
            Ok(())
        });

        assert!(failed(&response.await.unwrap()).is_empty());
        assert_eq!(most.get(), CONCURRENCY);
    }

    #[tokio::test(start_paused = true)]
    async fn a_message_that_does_not_end_in_time_is_reported_and_the_others_are_not() {
        let event = event(&["good", "hangs", "good"]);

        let response = process(event, soon(), async |message| {
            if message.body == "hangs" {
                pending().await
            } else {
                Ok(())
            }
        });

        let begun = Instant::now();
        let response = timeout(Duration::from_secs(60), response).await;
        assert_eq!(failed(&response.expect("it ends").unwrap()), ["m-1"]);
        assert_eq!(begun.elapsed(), Duration::from_secs(25));
    }

    #[tokio::test(start_paused = true)]
    async fn a_message_is_not_begun_when_too_little_time_is_left() {
        let begun = Cell::new(0);

        // Eight seconds each, four at a time: the third round ends at 24 s, and 1 s is left for the
        // fourth.
        let response = process(event(&["slow"; 16]), soon(), async |_| {
            begun.set(begun.get() + 1);
            tokio::time::sleep(Duration::from_secs(8)).await;
            Ok(())
        });

        assert_eq!(failed(&response.await.unwrap()).len(), 4);
        assert_eq!(begun.get(), 12);
    }

    /// Any small JSON.
    fn any_json() -> impl Strategy<Value = Value> {
        let leaf = prop_oneof![
            Just(Value::Null),
            any::<bool>().prop_map(Value::from),
            any::<i64>().prop_map(Value::from),
            any::<f64>().prop_map(Value::from),
            ".{0,20}".prop_map(Value::from),
        ];
        leaf.prop_recursive(4, 24, 4, |inner| {
            let key = prop_oneof!["order_id", "lines", "product_id", "quantity", ".{0,8}"];
            prop_oneof![
                prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
                prop::collection::hash_map(key, inner, 0..4)
                    .prop_map(|members| Value::Object(members.into_iter().collect())),
            ]
        })
    }

    /// An order, almost an order, or anything else that a message may hold.
    fn any_body() -> impl Strategy<Value = String> {
        let order = r#"{"order_id": "0123456789abcdef0123456789abcdef",
            "lines": [{"product_id": "mug", "quantity": 12}]}"#;
        let changed = (0..order.len(), 0..4_usize, ".{0,4}").prop_map(|(at, cut, put)| {
            let end = (at + cut).min(order.len());
            format!("{}{put}{}", &order[..at], &order[end..])
        });
        prop_oneof![
            Just(order.to_owned()),
            changed,
            any_json().prop_map(|json| json.to_string()),
            ".{0,100}",
        ]
    }

    /// The sample with some of its values changed or removed.
    fn any_event() -> impl Strategy<Value = Value> {
        let pointer = prop::sample::select(vec![
            "",
            "/Records",
            "/Records/0",
            "/Records/0/messageId",
            "/Records/1/messageId",
            "/Records/0/body",
            "/Records/1/body",
            "/Records/0/attributes",
            "/Records/0/attributes/SentTimestamp",
            "/Records/1/attributes/AWSTraceHeader",
            "/Records/1/messageAttributes",
            "/Records/1/eventSourceARN",
        ]);
        // Most members are texts, and an event with anything else there is not read at all.
        let value = prop_oneof![
            6 => any_body().prop_map(Value::from),
            2 => Just(Value::Null),
            1 => any_json(),
        ];
        prop::collection::vec((pointer, value), 1..4).prop_map(|changes| {
            let mut event: Value = serde_json::from_str(SAMPLE).unwrap();
            for (pointer, value) in changes {
                if let Some(place) = event.pointer_mut(pointer) {
                    *place = value;
                }
            }
            event
        })
    }

    /// The part of `process_orders` that runs before it asks DynamoDB.
    async fn parse(message: &Message) -> Result<(), Error> {
        serde_json::from_str::<OrderMessage>(&message.body)?;
        Ok(())
    }

    fn run_now<T>(work: impl Future<Output = T>) -> T {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_time()
            .build();
        runtime.unwrap().block_on(work)
    }

    proptest! {
        #[test]
        fn whatever_the_bodies_just_those_that_are_no_orders_fail(
            bodies in prop::collection::vec(any_body(), 0..12),
        ) {
            let bodies: Vec<&str> = bodies.iter().map(String::as_str).collect();
            let is_order = |body: &str| serde_json::from_str::<OrderMessage>(body).is_ok();
            let mut expected: Vec<String> = (0..bodies.len())
                .filter(|index| !is_order(bodies[*index]))
                .map(|index| format!("m-{index}"))
                .collect();
            expected.sort();

            let response = run_now(async { process(event(&bodies), soon(), parse).await }).unwrap();

            prop_assert_eq!(failed(&response), expected);
        }

    }

    /// What became of an event.
    #[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
    enum Outcome {
        /// No event of SQS: `lambda_runtime` refuses it, and the batch goes back.
        NotRead,
        /// One of its messages has no id.
        RefusedWhole,
        AllSucceeded,
        SomeFailed,
    }

    #[test]
    fn whatever_the_event_it_is_refused_whole_or_just_its_messages_that_are_no_orders_fail() {
        let mut config = ProptestConfig::with_cases(1_000); // a second
        config.failure_persistence = None; // it would be kept beside the source, which a runner cannot find
        let outcomes = RefCell::new(BTreeMap::new());

        let looked = TestRunner::new(config).run(&any_event(), |event| {
            let Ok(event) = serde_json::from_value::<SqsEvent>(event) else {
                *outcomes.borrow_mut().entry(Outcome::NotRead).or_insert(0) += 1;
                return Ok(());
            };
            let records = event.records.clone();
            let nameless = records
                .iter()
                .any(|it| it.message_id.as_deref().is_none_or(str::is_empty));
            let is_order = |body: &str| serde_json::from_str::<OrderMessage>(body).is_ok();
            let mut expected: Vec<_> = records
                .iter()
                .filter(|it| !is_order(it.body.as_deref().unwrap_or_default()))
                .filter_map(|it| it.message_id.as_deref())
                .collect();
            expected.sort_unstable();

            let outcome = match run_now(async { process(event, soon(), parse).await }) {
                Ok(response) => {
                    prop_assert!(!nameless);
                    prop_assert_eq!(failed(&response), expected.clone());
                    if expected.is_empty() {
                        Outcome::AllSucceeded
                    } else {
                        Outcome::SomeFailed
                    }
                }
                Err(_) => {
                    prop_assert!(nameless);
                    Outcome::RefusedWhole
                }
            };
            *outcomes.borrow_mut().entry(outcome).or_insert(0) += 1;
            Ok(())
        });

        looked.unwrap_or_else(|failure| panic!("{failure}"));
        let outcomes = outcomes.into_inner();
        assert!(
            outcomes.len() == 4 && outcomes.values().all(|count| *count >= 10),
            "{outcomes:?}"
        );
    }

    #[test]
    fn the_sample_event_holds_orders() {
        let event: SqsEvent = serde_json::from_str(SAMPLE).unwrap();

        assert_eq!(event.records.len(), 2);
        for record in event.records {
            assert!(serde_json::from_str::<OrderMessage>(&record.body.unwrap()).is_ok());
        }
    }
}
