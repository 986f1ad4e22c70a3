//! Wrong: the client is built anew for every tenth request, as code does that "refreshes" it to be on the safe side.

use std::sync::atomic::{AtomicUsize, Ordering};

use aws_config::BehaviorVersion;
use aws_sdk_dynamodb::Client;
use aws_sdk_dynamodb::types::AttributeValue;
use aws_smithy_http_client::tls::{Provider, rustls_provider::CryptoMode};
use lambda_http::{Body, Error, Request, RequestExt, Response, run, service_fn};
use serde_json::json;
use tokio::sync::Mutex;

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Error> {
    let client = &Mutex::new(dynamodb().await);
    let requests = &AtomicUsize::new(1);
    run(service_fn(|request: Request| async move {
        let mut client = client.lock().await;
        if requests.fetch_add(1, Ordering::Relaxed) % 10 == 0 {
            *client = dynamodb().await;
        }
        get_product(&client, &request).await
    }))
    .await
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

async fn get_product(client: &Client, request: &Request) -> Result<Response<Body>, Error> {
    let parameters = request.path_parameters();
    let id = parameters.first("id").unwrap_or_default();
    let found = client
        .get_item()
        .table_name(std::env::var("PRODUCTS_TABLE")?)
        .key("id", AttributeValue::S(id.to_owned()))
        .send()
        .await?;
    let (status, body) = match found.item() {
        Some(item) => {
            let name = item.get("name").and_then(|name| name.as_s().ok());
            (200, json!({"id": id, "name": name}))
        }
        None => (404, json!({"message": "there is no such product"})),
    };
    let response = Response::builder().status(status);
    let response = response.header("content-type", "application/json");
    Ok(response.body(body.to_string().into())?)
}
