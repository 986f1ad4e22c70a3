//! `POST /quotes`: the names and prices of some products, and the rate of a currency.
//!
//! `{"ids": ["lamp", "chair"], "currency": "EUR"}` is answered with
//! `{"rate": 92, "products": [{"id": "lamp", "name": "Lamp", "price_cents": 2499}, …], "missing": []}`.

use std::collections::HashMap;
use std::env;

use aws_config::BehaviorVersion;
use aws_sdk_dynamodb::Client;
use aws_sdk_dynamodb::types::AttributeValue;
use aws_smithy_http_client::tls::{Provider, rustls_provider::CryptoMode};
use lambda_http::{Body, Error, Request, Response, run, service_fn};
use serde::Deserialize;
use serde_json::{Value, json};

type Item = HashMap<String, AttributeValue>;

#[derive(Deserialize)]
struct Asked {
    ids: Vec<String>,
    currency: String,
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Error> {
    let client = &dynamodb().await;
    run(service_fn(|request: Request| async move {
        quote(client, &request).await
    }))
    .await
}

async fn quote(client: &Client, request: &Request) -> Result<Response<Body>, Error> {
    let Asked { ids, currency } = serde_json::from_slice(request.body())?;
    // TODO: these are as many calls as there are products, and one more, each after the one before.
    // One call can read a hundred products, and the rate does not have to wait for them.
    let found = read_products(client, &ids).await?;
    let rate = read_rate(client, &currency).await?;
    let products: Vec<_> = ids.iter().filter_map(|id| found.get(id)).collect();
    let missing: Vec<_> = ids.iter().filter(|id| !found.contains_key(*id)).collect();
    let body = json!({"rate": rate, "products": products, "missing": missing});
    let response = Response::builder().header("content-type", "application/json");
    Ok(response.body(body.to_string().into())?)
}

/// The products that exist, by id.
async fn read_products(client: &Client, ids: &[String]) -> Result<HashMap<String, Value>, Error> {
    let table = env::var("PRODUCTS_TABLE")?;
    let mut found = HashMap::new();
    for id in ids {
        let call = client.get_item().table_name(&table);
        let call = call.key("id", AttributeValue::S(id.clone()));
        if let Some(item) = call.send().await?.item {
            found.insert(id.clone(), product(&item));
        }
    }
    Ok(found)
}

async fn read_rate(client: &Client, currency: &str) -> Result<Option<i64>, Error> {
    let call = client.get_item().table_name(env::var("RATES_TABLE")?);
    let call = call.key("currency", AttributeValue::S(currency.to_owned()));
    let item = call.send().await?.item.unwrap_or_default();
    Ok(number(&item, "rate"))
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
