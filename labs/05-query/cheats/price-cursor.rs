//! Wrong: the cursor is the price of the last product, and of those with the same price some are never listed.
//!
//! `GET /products?category=lamps`: the products of a category, the cheapest first, twenty a page.
//! `{"products": [{"id": "a1", "name": "Lamp", "price_cents": 2499}, …], "next": "…"}`. With `next` as `cursor` a client asks
//! for the next page; on the last page `next` is null.

use std::collections::HashMap;
use std::env;

use aws_config::BehaviorVersion;
use aws_sdk_dynamodb::Client;
use aws_sdk_dynamodb::types::AttributeValue;
use aws_smithy_http_client::tls::{Provider, rustls_provider::CryptoMode};
use lambda_http::{Body, Error, Request, RequestExt, Response, run, service_fn};
use serde_json::{Value, json};

type Item = HashMap<String, AttributeValue>;

const PAGE: i32 = 20;

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Error> {
    let client = &dynamodb().await;
    run(service_fn(|request: Request| async move {
        list(client, &request).await
    }))
    .await
}

async fn list(client: &Client, request: &Request) -> Result<Response<Body>, Error> {
    let query = request.query_string_parameters();
    let Some(category) = query.first("category").filter(|it| !it.is_empty()) else {
        return answer(400, &json!({"message": "category is missing"}));
    };
    let Ok(after) = query.first("cursor").unwrap_or("-1").parse::<i64>() else {
        return answer(400, &json!({"message": "this is no cursor of this list"}));
    };
    let found = client
        .query()
        .table_name(env::var("PRODUCTS_TABLE")?)
        .index_name("by-price")
        .key_condition_expression("category = :category AND price_cents > :after")
        .expression_attribute_values(":category", AttributeValue::S(category.to_owned()))
        .expression_attribute_values(":after", AttributeValue::N(after.to_string()))
        .limit(PAGE)
        .send()
        .await?;
    let page: Vec<_> = found.items().iter().map(product).collect();
    let next = found
        .last_evaluated_key()
        .and_then(|key| number(key, "price_cents"));
    let next = next.map(|price| price.to_string());
    answer(200, &json!({"products": page, "next": next}))
}

fn product(item: &Item) -> Value {
    json!({"id": text(item, "id"), "name": text(item, "name"), "price_cents": number(item, "price_cents")})
}

fn text<'a>(item: &'a Item, name: &str) -> Option<&'a String> {
    item.get(name)?.as_s().ok()
}

fn number(item: &Item, name: &str) -> Option<i64> {
    item.get(name)?.as_n().ok()?.parse().ok()
}

fn answer(status: u16, body: &Value) -> Result<Response<Body>, Error> {
    let response = Response::builder().status(status);
    let response = response.header("content-type", "application/json");
    Ok(response.body(body.to_string().into())?)
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
