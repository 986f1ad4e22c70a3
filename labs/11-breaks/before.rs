//! `GET /products/{id}`: a product, and what else its buyers liked.
//!
//! `{"id": "lamp", "name": "Lamp", "recommendations": ["Bulb", "Shade"]}`

use std::env;

use aws_config::BehaviorVersion;
use aws_sdk_dynamodb::Client;
use aws_sdk_dynamodb::types::AttributeValue;
use aws_smithy_http_client::tls::{Provider, rustls_provider::CryptoMode};
use lambda_http::{Body, Error, Request, RequestExt, Response, run, service_fn};
use serde_json::json;

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Error> {
    let client = &dynamodb().await;
    run(service_fn(|request: Request| async move {
        get_product(client, &request).await
    }))
    .await
}

async fn get_product(client: &Client, request: &Request) -> Result<Response<Body>, Error> {
    let parameters = request.path_parameters();
    let id = parameters.first("id").unwrap_or_default();
    let (name, recommendations) =
        tokio::try_join!(read_name(client, id), read_recommendations(client, id))?;
    let (status, body) = match name {
        Some(name) => (
            200,
            json!({"id": id, "name": name, "recommendations": recommendations}),
        ),
        None => (404, json!({"message": "there is no such product"})),
    };
    let response = Response::builder().status(status);
    let response = response.header("content-type", "application/json");
    Ok(response.body(body.to_string().into())?)
}

async fn read_name(client: &Client, id: &str) -> Result<Option<String>, Error> {
    let call = client.get_item().table_name(env::var("PRODUCTS_TABLE")?);
    let call = call.key("id", AttributeValue::S(id.to_owned()));
    let item = call.send().await?.item.unwrap_or_default();
    let name = item.get("name").and_then(|it| it.as_s().ok());
    Ok(name.cloned())
}

/// Names of other products, the best first.
async fn read_recommendations(client: &Client, id: &str) -> Result<Vec<String>, Error> {
    let found = client
        .query()
        .table_name(env::var("RECOMMENDATIONS_TABLE")?)
        .key_condition_expression("product = :id")
        .expression_attribute_values(":id", AttributeValue::S(id.to_owned()))
        .send()
        .await?;
    let names = found.items().iter().filter_map(|it| it.get("name"));
    Ok(names.filter_map(|it| it.as_s().ok().cloned()).collect())
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
