//! Wrong: the note that a message is done is written before it is done. If it fails in between, it never will be.

use std::env;
use std::panic::AssertUnwindSafe;

use aws_config::BehaviorVersion;
use aws_lambda_events::event::sqs::{SqsBatchResponse, SqsEvent, SqsMessage};
use aws_sdk_dynamodb::Client;
use aws_sdk_dynamodb::error::SdkError;
use aws_sdk_dynamodb::operation::put_item::PutItemError::ConditionalCheckFailedException;
use aws_sdk_dynamodb::types::AttributeValue::{N, S};
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
        let points = AssertUnwindSafe(give_points(client, id, message)).catch_unwind();
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
async fn give_points(client: &Client, id: &str, message: &SqsMessage) -> Result<(), Error> {
    let body = message.body.as_deref().unwrap_or_default();
    let order: Order = serde_json::from_str(body)?;
    let note = client.put_item().table_name(env::var("DONE_TABLE")?);
    let note = note.item("id", S(id.to_owned()));
    let note = note.condition_expression("attribute_not_exists(id)");
    match note.send().await.map_err(SdkError::into_service_error) {
        Ok(_) => {}
        Err(ConditionalCheckFailedException(_)) => return Ok(()),
        Err(error) => return Err(error.into()),
    }
    let points = order.cents / order.pieces;
    let call = client.update_item();
    let call = call.table_name(env::var("CUSTOMERS_TABLE")?);
    let call = call.key("id", S(order.customer));
    let call = call.update_expression("ADD points :points");
    let call = call.expression_attribute_values(":points", N(points.to_string()));
    call.send().await?;
    Ok(())
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
