//! `POST /orders` sends up to ten orders to the queue, whatever they are. `GET /customers/{id}` shows a customer's points.
//!
//! It is not what the lesson is about, and the same for all variants.

use std::env;

use aws_config::BehaviorVersion;
use aws_sdk_dynamodb::types::AttributeValue::S;
use aws_sdk_sqs::types::SendMessageBatchRequestEntry;
use aws_smithy_http_client::tls::{Provider, rustls_provider::CryptoMode};
use lambda_http::{Body, Error, Request, RequestExt, Response, run, service_fn};
use serde_json::{Value, json};

struct Aws {
    dynamodb: aws_sdk_dynamodb::Client,
    sqs: aws_sdk_sqs::Client,
    customers: String,
    queue_url: String,
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Error> {
    let aws = &aws().await?;
    run(service_fn(|request: Request| async move {
        match request.method().as_str() {
            "POST" => send(aws, &request).await,
            _ => show(aws, &request).await,
        }
    }))
    .await
}

async fn send(aws: &Aws, request: &Request) -> Result<Response<Body>, Error> {
    let orders: Vec<Value> = serde_json::from_slice(request.body())?;
    let mut call = aws.sqs.send_message_batch().queue_url(&aws.queue_url);
    for (number, order) in orders.iter().enumerate() {
        let entry = SendMessageBatchRequestEntry::builder().id(number.to_string());
        call = call.entries(entry.message_body(order.to_string()).build()?);
    }
    // A batch may fail in part, and is no error then.
    let failed = call.send().await?.failed.len();
    answer(
        if failed == 0 { 202 } else { 503 },
        &json!({"failed": failed}),
    )
}

async fn show(aws: &Aws, request: &Request) -> Result<Response<Body>, Error> {
    let parameters = request.path_parameters();
    let id = parameters.first("id").unwrap_or_default();
    let call = aws.dynamodb.get_item().table_name(&aws.customers);
    let found = call.key("id", S(id.to_owned())).send().await?;
    let points = found
        .item()
        .and_then(|item| item.get("points")?.as_n().ok());
    match points {
        Some(points) => answer(200, &json!({"id": id, "points": points.parse::<i64>()?})),
        None => answer(404, &json!({"message": "this customer has no points"})),
    }
}

fn answer(status: u16, body: &Value) -> Result<Response<Body>, Error> {
    let response = Response::builder().status(status);
    let response = response.header("content-type", "application/json");
    Ok(response.body(body.to_string().into())?)
}

async fn aws() -> Result<Aws, Error> {
    let https = aws_smithy_http_client::Builder::new()
        .tls_provider(Provider::Rustls(CryptoMode::Ring))
        .build_https();
    let config = aws_config::defaults(BehaviorVersion::latest())
        .http_client(https)
        .load()
        .await;
    Ok(Aws {
        dynamodb: aws_sdk_dynamodb::Client::new(&config),
        sqs: aws_sdk_sqs::Client::new(&config),
        customers: env::var("CUSTOMERS_TABLE")?,
        queue_url: env::var("QUEUE_URL")?,
    })
}
