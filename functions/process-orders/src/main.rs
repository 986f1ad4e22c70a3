//! Settles the orders that come from the queue: takes their stock, or rejects them.
//!
//! AWS calls: one `TransactWriteItems` an order, two write units for each 1 KB of the order and of
//! each product in it; an `UpdateItem` more for an order that is rejected.
//!
//! Why it is fast: the message says all that the transaction needs, so nothing is read first. A few
//! orders of a batch are settled at a time, and each failed message is reported by itself, so a bad
//! one never makes a good one run again.

mod batch;

use aws_lambda_events::event::sqs::{SqsBatchResponse, SqsEvent};
use lambda_runtime::{Error, LambdaEvent, run, service_fn};
use shop::aws::{self, Aws};
use shop::deadline::Deadline;
use shop::fulfilment::Fulfilment;

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Error> {
    shop::telemetry::init();
    let fulfilment = &Fulfilment::new(
        Aws::from_env()?.dynamodb(),
        aws::required("PRODUCTS_TABLE")?,
        aws::required("ORDERS_TABLE")?,
    );
    run(service_fn(|event: LambdaEvent<SqsEvent>| {
        process_orders(fulfilment, event)
    }))
    .await
}

async fn process_orders(
    fulfilment: &Fulfilment,
    event: LambdaEvent<SqsEvent>,
) -> Result<SqsBatchResponse, Error> {
    let deadline = Deadline::from_epoch_ms(event.context.deadline);

    batch::process(event.payload, deadline, async |body| {
        // Each body is parsed here, by itself: a typed event would fail the batch for one of them.
        let message = serde_json::from_str(&body)?;
        let settled = fulfilment.settle(&message, deadline).await?;
        tracing::debug!(order_id = %message.order_id, ?settled, "order settled");
        Ok(())
    })
    .await
}
