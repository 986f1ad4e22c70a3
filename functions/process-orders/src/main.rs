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

mod batch;

#[cfg(panic = "abort")]
compile_error!(
    "one order that panics would take its batch with it: build process-orders with `--release`, \
     as `make build` does"
);

use aws_lambda_events::event::sqs::{SqsBatchResponse, SqsEvent};
use lambda_runtime::{Error, LambdaEvent, run, service_fn};
use shop::aws::{self, Aws};
use shop::deadline::Deadline;
use shop::fulfilment::{Fulfilment, Settled};
use shop::metrics::{Metric, Metrics, epoch_ms};
use shop::order::{OrderMessage, Status};

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Error> {
    shop::telemetry::init();
    let metrics = &Metrics::new(aws::required("METRICS_NAMESPACE")?);
    let fulfilment = &Fulfilment::new(
        Aws::from_env()?.patient().dynamodb(),
        aws::required("PRODUCTS_TABLE")?,
        aws::required("ORDERS_TABLE")?,
    );
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

    let (settled, response) = batch::process(event.payload, deadline, async |message| {
        // Each body is parsed here, by itself: a typed event would fail the batch for one of them.
        let order: OrderMessage = serde_json::from_str(&message.body)?;
        let settled = fulfilment.settle(&order, deadline).await?;
        let outcome = match settled {
            Settled::Fulfilled => Status::Fulfilled.as_str(),
            Settled::Rejected(_) => Status::Rejected.as_str(),
            Settled::Before => "SETTLED_BEFORE",
        };
        tracing::info!(
            order_id = %order.order_id,
            outcome,
            message_trace_id = message.trace_id,
            "order settled"
        );
        let took_ms = message.sent_ms.map(|sent| epoch_ms().saturating_sub(sent));
        Ok((settled, took_ms))
    })
    .await?;

    report(metrics, &settled, response.batch_item_failures.len());
    Ok(response)
}

/// Logs the metrics of a batch: how each order was settled, in how many milliseconds, and how many
/// messages failed.
fn report(metrics: &Metrics, settled: &[(Settled, Option<u64>)], failures: usize) {
    // What was settled before was counted then.
    let new = || settled.iter().filter(|(it, _)| *it != Settled::Before);
    let fulfilled = new().filter(|(it, _)| *it == Settled::Fulfilled).count();
    let count = |count: usize| u64::try_from(count).ok().filter(|count| *count > 0);
    let took_ms: Vec<u64> = new().filter_map(|(_, took_ms)| *took_ms).collect();
    metrics.log(
        "batch settled",
        &[],
        &[
            (Metric::OrdersFulfilled, count(fulfilled).as_slice()),
            (
                Metric::OrdersRejected,
                count(new().count() - fulfilled).as_slice(),
            ),
            (Metric::BatchItemFailures, count(failures).as_slice()),
            (Metric::PlacedToFinal, &took_ms),
        ],
    );
}
