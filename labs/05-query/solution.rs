//! `GET /products?category=lamps`: the products of a category, the cheapest first, twenty a page.
//!
//! `{"products": [{"id": "a1", "name": "Lamp", "price_cents": 2499}, …], "next": "…"}`. With `next` as `cursor` a client asks
//! for the next page; on the last page `next` is null.

use std::collections::HashMap;
use std::env;

use aws_config::BehaviorVersion;
use aws_sdk_dynamodb::Client;
use aws_sdk_dynamodb::types::AttributeValue;
use aws_smithy_http_client::tls::{Provider, rustls_provider::CryptoMode};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use lambda_http::{Body, Error, Request, RequestExt, Response, run, service_fn};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

type Item = HashMap<String, AttributeValue>;

const PAGE: i32 = 20;

/// Where a page ended: all keys of its last product, those of the index and that of the table. Products of the same price
/// differ by `id` alone.
#[derive(Deserialize, Serialize)]
struct Cursor {
    category: String,
    price_cents: i64,
    id: String,
}

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
    let after = match query.first("cursor") {
        None => None,
        Some(given) => match Cursor::read(given).filter(|it| it.category == category) {
            Some(cursor) => Some(cursor.key()),
            None => return answer(400, &json!({"message": "this is no cursor of this list"})),
        },
    };
    let found = client
        .query()
        .table_name(env::var("PRODUCTS_TABLE")?)
        .index_name("by-price")
        .key_condition_expression("category = :category")
        .expression_attribute_values(":category", AttributeValue::S(category.to_owned()))
        .limit(PAGE)
        .set_exclusive_start_key(after)
        .send()
        .await?;
    let page: Vec<_> = found.items().iter().map(product).collect();
    let next = found.last_evaluated_key().and_then(Cursor::at);
    let next = next.map(|cursor| cursor.write()).transpose()?;
    answer(200, &json!({"products": page, "next": next}))
}

impl Cursor {
    fn at(key: &Item) -> Option<Self> {
        Some(Self {
            category: text(key, "category")?.clone(),
            price_cents: number(key, "price_cents")?,
            id: text(key, "id")?.clone(),
        })
    }

    fn key(self) -> Item {
        HashMap::from([
            ("category".to_owned(), AttributeValue::S(self.category)),
            (
                "price_cents".to_owned(),
                AttributeValue::N(self.price_cents.to_string()),
            ),
            ("id".to_owned(), AttributeValue::S(self.id)),
        ])
    }

    /// For clients a text without a meaning, which needs no encoding in a URL.
    fn write(&self) -> Result<String, Error> {
        Ok(URL_SAFE_NO_PAD.encode(serde_json::to_vec(self)?))
    }

    /// None for a text that is no cursor. Nothing in it can be trusted but its form.
    fn read(given: &str) -> Option<Self> {
        let json = URL_SAFE_NO_PAD.decode(given).ok()?;
        serde_json::from_slice(&json).ok()
    }
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
