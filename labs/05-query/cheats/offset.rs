//! Wrong: the index is asked, but a page is found by its number, so each reads all the pages before it.
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

const PAGE: usize = 20;

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
    let Ok(skip) = query.first("cursor").unwrap_or("0").parse::<usize>() else {
        return answer(400, &json!({"message": "this is no cursor of this list"}));
    };
    // One more than the page needs, to know whether there is a next one.
    let products = read_category(client, category, skip + PAGE + 1).await?;
    let page: Vec<_> = products.iter().skip(skip).take(PAGE).map(product).collect();
    let next = skip + PAGE;
    let next = (next < products.len()).then(|| next.to_string());
    answer(200, &json!({"products": page, "next": next}))
}

async fn read_category(client: &Client, category: &str, most: usize) -> Result<Vec<Item>, Error> {
    let query = client.query().table_name(env::var("PRODUCTS_TABLE")?);
    let query = query.index_name("by-price");
    let query = query.key_condition_expression("category = :category");
    let category = AttributeValue::S(category.to_owned());
    let query = query.expression_attribute_values(":category", category);
    let found = query.limit(i32::try_from(most)?).send().await?;
    Ok(found.items.unwrap_or_default())
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
