//! `POST /orders` takes an order and settles it: stock, invoice, points. `GET /orders/{id}` says how far it is.
//!
//! The same program is the worker behind the queue `Orders`, which settles the orders that it gets. Nobody sends it any.

use std::env;

use aws_config::BehaviorVersion;
use aws_lambda_events::event::sqs::SqsEvent;
use aws_sdk_dynamodb::types::AttributeValue::{self, N, S};
use aws_smithy_http_client::tls::{Provider, rustls_provider::CryptoMode};
use lambda_http::{Body, Request, RequestExt, Response};
use lambda_runtime::{Error, LambdaEvent, service_fn};
use serde::{Deserialize, Serialize};
use serde_json::json;

#[derive(Serialize, Deserialize)]
struct Order {
    id: String,
    customer: String,
    /// One piece of each.
    products: Vec<String>,
}

struct Aws {
    dynamodb: aws_sdk_dynamodb::Client,
    sqs: aws_sdk_sqs::Client,
    table: String,
    queue_url: String,
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Error> {
    let aws = &aws().await?;
    // `Handler` in the template.
    if env::var("_HANDLER")? == "worker" {
        let work = service_fn(|event: LambdaEvent<SqsEvent>| work(aws, event));
        return lambda_runtime::run(work).await;
    }
    let api = service_fn(|request: Request| async move {
        match request.method().as_str() {
            "POST" => place(aws, &request).await,
            _ => show(aws, &request).await,
        }
    });
    lambda_http::run(api).await
}

async fn place(aws: &Aws, request: &Request) -> Result<Response<Body>, Error> {
    let order: Order = serde_json::from_slice(request.body())?;
    let item = [("id", key("order", &order.id)), ("status", S("PLACED".to_owned()))];
    put(aws, item).await?;
    settle(aws, &order).await?;
    answer(200, &json!({"id": order.id, "status": "DONE"}))
}

async fn show(aws: &Aws, request: &Request) -> Result<Response<Body>, Error> {
    let parameters = request.path_parameters();
    let id = parameters.first("id").unwrap_or_default();
    let call = aws.dynamodb.get_item().table_name(&aws.table);
    let found = call.key("id", key("order", id)).send().await?;
    let status = found.item().and_then(|item| item.get("status")?.as_s().ok());
    match status {
        Some(status) => answer(200, &json!({"id": id, "status": status})),
        None => answer(404, &json!({"message": "there is no such order"})),
    }
}

/// The worker: an order that fails comes again.
async fn work(aws: &Aws, event: LambdaEvent<SqsEvent>) -> Result<(), Error> {
    for message in event.payload.records {
        let order: Order = serde_json::from_str(&message.body.unwrap_or_default())?;
        settle(aws, &order).await?;
    }
    Ok(())
}

/// Takes the stock, writes the invoice, gives the points, and says that it is done.
async fn settle(aws: &Aws, order: &Order) -> Result<(), Error> {
    for product in &order.products {
        update(aws, key("product", product), "ADD stock :by", N("-1".to_owned())).await?;
    }
    let text = format!("{} bought {}", order.customer, order.products.join(", "));
    put(aws, [("id", key("invoice", &order.id)), ("text", S(text))]).await?;
    let points = N(order.products.len().to_string());
    update(aws, key("customer", &order.customer), "ADD points :by", points).await?;
    let done = S("DONE".to_owned());
    update(aws, key("order", &order.id), "SET #status = :by", done).await
}

fn key(kind: &str, id: &str) -> AttributeValue {
    S(format!("{kind}-{id}"))
}

async fn put(aws: &Aws, item: [(&str, AttributeValue); 2]) -> Result<(), Error> {
    let mut call = aws.dynamodb.put_item().table_name(&aws.table);
    for (name, value) in item {
        call = call.item(name, value);
    }
    call.send().await?;
    Ok(())
}

async fn update(aws: &Aws, id: AttributeValue, how: &str, by: AttributeValue) -> Result<(), Error> {
    let call = aws.dynamodb.update_item().table_name(&aws.table);
    let call = call.key("id", id).update_expression(how);
    let mut call = call.expression_attribute_values(":by", by);
    if how.contains("#status") {
        call = call.expression_attribute_names("#status", "status");
    }
    call.send().await?;
    Ok(())
}

fn answer(status: u16, body: &serde_json::Value) -> Result<Response<Body>, Error> {
    let response = Response::builder().status(status);
    let response = response.header("content-type", "application/json");
    Ok(response.body(body.to_string().into())?)
}

/// The clients, once for each environment. Lambda sets region and credentials as variables.
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
        table: env::var("TABLE")?,
        queue_url: env::var("QUEUE_URL")?,
    })
}
