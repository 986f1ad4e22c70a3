//! A batch of messages, each of which succeeds or fails by itself.

use std::panic::AssertUnwindSafe;

use aws_lambda_events::event::sqs::{SqsBatchResponse, SqsEvent, SqsMessage};
use futures_util::{FutureExt, StreamExt, stream};
use lambda_runtime::Error;
use shop::deadline::Deadline;
use shop::fulfilment::TIME_TO_SETTLE;
use tokio::time::timeout_at;

/// Messages of a batch that are worked on at a time.
///
/// Each needs a connection of its own to DynamoDB, and each connection costs a TLS handshake once.
/// Four keep a batch of ten within three round trips, and few enough transactions in flight that
/// orders of the same product seldom meet.
const CONCURRENCY: usize = 4;

/// Runs `process` on the body of every message and reports those that failed.
///
/// A message fails if `process` returns an error, panics, or cannot end before `deadline`. What
/// fails goes back to the queue, and after enough deliveries to the dead-letter queue.
///
/// # Errors
/// When a message has no id. It could not be reported as failed, and leaving it out would delete
/// it; so the whole batch goes back.
pub(crate) async fn process(
    event: SqsEvent,
    deadline: Deadline,
    process: impl AsyncFn(String) -> Result<(), Error>,
) -> Result<SqsBatchResponse, Error> {
    let messages = event.records.into_iter().map(identify).collect::<Result<Vec<_>, _>>()?;
    let failures: Vec<String> = stream::iter(messages)
        .map(|(id, body)| {
            let outcome = run(body, deadline, &process);
            async { outcome.await.err().map(|error| (id, error)) }
        })
        .buffer_unordered(CONCURRENCY)
        .filter_map(async |failure| {
            let (message_id, error) = failure?;
            tracing::error!(message_id, %error, "message failed");
            Some(message_id)
        })
        .collect()
        .await;
    let mut response = SqsBatchResponse::default();
    for id in failures {
        response.add_failure(id);
    }
    Ok(response)
}

fn identify(message: SqsMessage) -> Result<(String, String), Error> {
    let id = message.message_id.filter(|id| !id.is_empty());
    let id = id.ok_or("a message without an id cannot be reported as failed")?;
    Ok((id, message.body.unwrap_or_default()))
}

async fn run(
    body: String,
    deadline: Deadline,
    process: &impl AsyncFn(String) -> Result<(), Error>,
) -> Result<(), Error> {
    if !deadline.allows(TIME_TO_SETTLE) {
        return Err("too little time is left to begin".into());
    }
    // Built in here, so that a panic before the first await is caught as well.
    let contained = AssertUnwindSafe(async { process(body).await }).catch_unwind();
    match timeout_at(deadline.instant(), contained).await {
        Ok(Ok(outcome)) => outcome,
        // The panic hook has logged what and where.
        Ok(Err(_)) => Err("the message made the program panic".into()),
        Err(_) => Err("the time ran out".into()),
    }
}
