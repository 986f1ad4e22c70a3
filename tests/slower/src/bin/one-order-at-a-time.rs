//! process-orders with the usual mistake: it settles the orders of a batch one after another, so that each waits for the
//! transactions of all before it.

use aws_lambda_events::event::sqs::{SqsBatchResponse, SqsEvent, SqsMessage};
use lambda_runtime::{Error, LambdaEvent, run, service_fn};
use shop::aws::{self, Aws};
use shop::domain::OrderMessage;
use shop::dynamodb::Settlements;
use shop::time::Deadline;
use shop::use_cases::Fulfilment;

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Error> {
    shop::telemetry::init();
    let fulfilment = &Fulfilment::new(Settlements::new(
        Aws::from_env()?.patient().dynamodb(),
        aws::required("PRODUCTS_TABLE")?,
        aws::required("ORDERS_TABLE")?,
    ));
    run(service_fn(|event: LambdaEvent<SqsEvent>| async move {
        let deadline = Deadline::from_epoch_ms(event.context.deadline);
        let mut report = SqsBatchResponse::default();
        for message in event.payload.records {
            if settle(fulfilment, &message, deadline).await.is_err() {
                report.add_failure(message.message_id.unwrap_or_default());
            }
        }
        Ok::<_, Error>(report)
    }))
    .await
}

async fn settle(
    fulfilment: &Fulfilment,
    message: &SqsMessage,
    deadline: Deadline,
) -> Result<(), Error> {
    let order: OrderMessage = serde_json::from_str(message.body.as_deref().unwrap_or_default())?;
    let id = message.message_id.as_deref().unwrap_or_default();
    let settled = fulfilment.settle(&order, id, deadline).await?;
    tracing::info!(order_id = %order.order_id, outcome = settled.outcome.as_str(), "order settled");
    Ok(())
}
