//! Settles the orders that come from the queue: takes their stock, or rejects them.
//!
//! AWS calls: one `TransactWriteItems` an order, two write units for each 1 KB of the order and of
//! each product in it; an `UpdateItem` more for an order that is rejected.
//!
//! Why it is fast: the message says all that the transaction needs, so nothing is read first. A few
//! orders of a batch are settled at a time, and each failed message is reported by itself, so a bad
//! one never makes a good one run again.
//!
//! Each order settled is one line of the log, and the metrics of a batch are one more.
//!
//! Run it on its sample event, while `make run` runs: `make invoke FUNCTION=ProcessOrders`.

mod batch;

#[cfg(panic = "abort")]
compile_error!(
    "one order that panics would take its batch with it: build process-orders as `make build` does"
);

use aws_lambda_events::event::sqs::{SqsBatchResponse, SqsEvent};
use lambda_runtime::{Error, LambdaEvent, run, service_fn};
use shop::aws::{self, Aws};
use shop::domain::OrderMessage;
use shop::dynamodb::Settlements;
use shop::telemetry::{Metric, Metrics};
use shop::time::Deadline;
use shop::use_cases::{Fulfilment, NotSettled, Outcome, Settled};

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Error> {
    shop::telemetry::init();
    let metrics = &Metrics::new(aws::required("METRICS_NAMESPACE")?);
    let fulfilment = &Fulfilment::new(Settlements::new(
        Aws::from_env()?.patient().dynamodb(),
        aws::required("PRODUCTS_TABLE")?,
        aws::required("ORDERS_TABLE")?,
    ));
    run(service_fn(|event: LambdaEvent<SqsEvent>| {
        process_orders(fulfilment, metrics, event)
    }))
    .await
}

async fn process_orders(
    fulfilment: &Fulfilment,
    metrics: &Metrics,
    event: LambdaEvent<SqsEvent>,
) -> Result<SqsBatchResponse, Error> {
    let deadline = Deadline::from_epoch_ms(event.context.deadline);

    let batch = batch::process(event.payload, deadline, async |message| {
        // Each body is parsed here, by itself: a typed event would fail the batch for one of them.
        let order: OrderMessage = serde_json::from_str(&message.body)?;
        let settled = fulfilment.settle(&order, &message.id, deadline).await;
        if let Err(NotSettled::CredentialsRefused(cause)) = &settled {
            // The whole batch goes back to the queue, for another environment.
            aws::end_environment(cause);
        }
        let settled = settled?;
        tracing::info!(
            order_id = %order.order_id,
            outcome = settled.outcome.as_str(),
            message_trace_id = message.trace_id,
            "order settled"
        );
        Ok((settled, message.sent_ms))
    })
    .await?;

    if batch.all_panicked {
        aws::end_environment("every message of a batch made the program panic");
    }
    let failed = batch.report.batch_item_failures.len();
    report(metrics, &batch.done, failed as u64);
    Ok(batch.report)
}

/// Logs the metrics of a batch: how each order was settled, how many milliseconds after SQS took its
/// message, and how many messages failed.
fn report(metrics: &Metrics, settled: &[(Settled, Option<u64>)], failed: u64) {
    let (mut fulfilled, mut rejected) = (0, 0);
    let mut placed_to_final = Vec::new();
    for (order, sent_ms) in settled {
        match order.outcome {
            Outcome::Fulfilled => fulfilled += 1,
            Outcome::Rejected(_) => rejected += 1,
            // The other message's delivery counts it.
            Outcome::SettledByAnother => continue,
        }
        if let (Some(settled_ms), Some(sent_ms)) = (order.at.epoch_ms(), sent_ms) {
            placed_to_final.push(settled_ms.saturating_sub(*sent_ms));
        }
    }
    metrics.log(
        "batch settled",
        &[],
        &[
            (Metric::OrdersFulfilled, unless_zero(&fulfilled)),
            (Metric::OrdersRejected, unless_zero(&rejected)),
            (Metric::BatchItemFailures, unless_zero(&failed)),
            (Metric::PlacedToFinal, &placed_to_final),
        ],
    );
}

/// A count as the values of a metric: no values if it is zero.
fn unless_zero(count: &u64) -> &[u64] {
    if *count == 0 {
        &[]
    } else {
        std::slice::from_ref(count)
    }
}
