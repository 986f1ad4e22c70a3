//! Wrong: a quick yes, and nothing behind it.

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
    table: String,
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
    put(aws, "order", &order.id, "PLACED").await?;
    answer(202, &json!({"id": order.id, "status": "PLACED"}))
}

async fn show(aws: &Aws, request: &Request) -> Result<Response<Body>, Error> {
    let parameters = request.path_parameters();
    let id = parameters.first("id").unwrap_or_default();
    let call = aws.dynamodb.get_item().table_name(&aws.table);
    let found = call.key("id", key("order", id)).send().await?;
    let text = found.item().and_then(|item| item.get("text")?.as_s().ok());
    match text {
        Some(status) => answer(200, &json!({"id": id, "status": status})),
        None => answer(404, &json!({"message": "there is no such order"})),
    }
}

/// The worker. An order that fails comes again.
async fn work(aws: &Aws, event: LambdaEvent<SqsEvent>) -> Result<(), Error> {
    for message in event.payload.records {
        let body = message.body.unwrap_or_default();
        settle(aws, &serde_json::from_str(&body)?).await?;
    }
    Ok(())
}

/// Takes the stock, writes the invoice, gives the points, and then says that the order is done.
async fn settle(aws: &Aws, order: &Order) -> Result<(), Error> {
    for product in &order.products {
        add(aws, "product", product, -1).await?;
    }
    let invoice = format!("{} bought {}", order.customer, order.products.join(", "));
    put(aws, "invoice", &order.id, &invoice).await?;
    add(aws, "customer", &order.customer, 10).await?;
    put(aws, "order", &order.id, "DONE").await
}

fn key(kind: &str, id: &str) -> AttributeValue {
    S(format!("{kind}-{id}"))
}

/// Writes the text of an order or an invoice.
async fn put(aws: &Aws, kind: &str, id: &str, text: &str) -> Result<(), Error> {
    let call = aws.dynamodb.put_item().table_name(&aws.table);
    let call = call.item("id", key(kind, id));
    call.item("text", S(text.to_owned())).send().await?;
    Ok(())
}

/// Adds to the number of a product or a customer: pieces in stock, or points.
async fn add(aws: &Aws, kind: &str, id: &str, by: i32) -> Result<(), Error> {
    let call = aws.dynamodb.update_item().table_name(&aws.table);
    let call = call
        .key("id", key(kind, id))
        .update_expression("ADD amount :by");
    let by = N(by.to_string());
    call.expression_attribute_values(":by", by).send().await?;
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
        table: env::var("TABLE")?,
    })
}
