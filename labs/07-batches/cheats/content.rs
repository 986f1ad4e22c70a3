//! Wrong: a message is known by its content. A customer who orders the same again is taken for a duplicate.

use std::env;
use std::panic::AssertUnwindSafe;

use aws_config::BehaviorVersion;
use aws_lambda_events::event::sqs::{SqsBatchResponse, SqsEvent, SqsMessage};
use aws_sdk_dynamodb::Client;
use aws_sdk_dynamodb::error::SdkError;
use aws_sdk_dynamodb::operation::transact_write_items::TransactWriteItemsError::TransactionCanceledException;
use aws_sdk_dynamodb::types::AttributeValue::{N, S};
use aws_sdk_dynamodb::types::error::TransactionCanceledException as Cancelled;
use aws_sdk_dynamodb::types::{Put, TransactWriteItem, Update};
use aws_smithy_http_client::tls::{Provider, rustls_provider::CryptoMode};
use futures_util::FutureExt;
use lambda_runtime::{Error, LambdaEvent, run, service_fn};
use serde::Deserialize;

#[derive(Deserialize)]
struct Order {
    customer: String,
    cents: u64,
    pieces: u64,
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Error> {
    let client = &dynamodb().await;
    run(service_fn(|event: LambdaEvent<SqsEvent>| {
        work(client, event)
    }))
    .await
}

async fn work(client: &Client, event: LambdaEvent<SqsEvent>) -> Result<SqsBatchResponse, Error> {
    let mut failed = SqsBatchResponse::default();
    for message in &event.payload.records {
        let id = message
            .message_id
            .as_ref()
            .ok_or("a message without an id")?;
        // Each by itself: neither an error nor a panic reaches the other messages.
        let points = AssertUnwindSafe(give_points(client, message)).catch_unwind();
        match points.await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => {
                eprintln!("{id}: {error}");
                failed.add_failure(id);
            }
            Err(_) => failed.add_failure(id), // what panicked is in the log already
        }
    }
    Ok(failed)
}

/// A point for each cent of an order's middle price, once for each message.
async fn give_points(client: &Client, message: &SqsMessage) -> Result<(), Error> {
    let body = message.body.as_deref().unwrap_or_default();
    let order: Order = serde_json::from_str(body)?;
    let points = order.cents / order.pieces;
    // The note that the message is done, and the points: both or neither.
    let note = Put::builder()
        .table_name(env::var("DONE_TABLE")?)
        .item("id", S(body.to_owned()))
        .condition_expression("attribute_not_exists(id)");
    let give = Update::builder()
        .table_name(env::var("CUSTOMERS_TABLE")?)
        .key("id", S(order.customer))
        .update_expression("ADD points :points")
        .expression_attribute_values(":points", N(points.to_string()));
    let call = client.transact_write_items();
    let call = call.transact_items(TransactWriteItem::builder().put(note.build()?).build());
    let call = call.transact_items(TransactWriteItem::builder().update(give.build()?).build());
    match call.send().await.map_err(SdkError::into_service_error) {
        Ok(_) => Ok(()),
        // An earlier delivery has left its note.
        Err(TransactionCanceledException(why)) if has_note(&why) => Ok(()),
        Err(error) => Err(error.into()),
    }
}

/// Whether a transaction failed by the condition of its first item.
fn has_note(why: &Cancelled) -> bool {
    let first = why.cancellation_reasons().first();
    first.and_then(|it| it.code()) == Some("ConditionalCheckFailed")
}

/// A client for DynamoDB. Lambda sets region and credentials as variables.
async fn dynamodb() -> Client {
    let https = aws_smithy_http_client::Builder::new()
        .tls_provider(Provider::Rustls(CryptoMode::Ring))
        .build_https();
    let config = aws_config::defaults(BehaviorVersion::latest())
        .http_client(https)
        .load()
        .await;
    Client::new(&config)
}
