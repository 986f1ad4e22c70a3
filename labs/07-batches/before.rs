//! The worker behind the queue `Orders`: gives each order's customer the points for it.

use std::env;

use aws_config::BehaviorVersion;
use aws_lambda_events::event::sqs::SqsEvent;
use aws_sdk_dynamodb::Client;
use aws_sdk_dynamodb::types::AttributeValue::{N, S};
use aws_smithy_http_client::tls::{Provider, rustls_provider::CryptoMode};
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

async fn work(client: &Client, event: LambdaEvent<SqsEvent>) -> Result<(), Error> {
    for message in event.payload.records {
        let body = message.body.unwrap_or_default();
        give_points(client, &body).await?;
    }
    Ok(())
}

/// A point for each cent of an order's middle price.
async fn give_points(client: &Client, body: &str) -> Result<(), Error> {
    let order: Order = serde_json::from_str(body)?;
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
