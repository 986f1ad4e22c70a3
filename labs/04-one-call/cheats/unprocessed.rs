//! Wrong: keys that DynamoDB leaves unprocessed are taken for products that do not exist.

use std::collections::{HashMap, HashSet};
use std::env;

use aws_config::BehaviorVersion;
use aws_sdk_dynamodb::Client;
use aws_sdk_dynamodb::types::{AttributeValue, KeysAndAttributes};
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
    // Neither needs the answer of the other, so both are under way at the same time.
    let (found, rate) =
        tokio::try_join!(read_products(client, &ids), read_rate(client, &currency))?;
    let products: Vec<_> = ids.iter().filter_map(|id| found.get(id)).collect();
    let missing: Vec<_> = ids.iter().filter(|id| !found.contains_key(*id)).collect();
    let body = json!({"rate": rate, "products": products, "missing": missing});
    let response = Response::builder().header("content-type", "application/json");
    Ok(response.body(body.to_string().into())?)
}

/// The products that exist, by id: one call for all of them, and more only for keys that DynamoDB leaves unprocessed.
async fn read_products(client: &Client, ids: &[String]) -> Result<HashMap<String, Value>, Error> {
    let table = env::var("PRODUCTS_TABLE")?;
    // A call may name a key once.
    let unique: HashSet<&String> = ids.iter().collect();
    let key = |id: &String| HashMap::from([("id".to_owned(), AttributeValue::S(id.clone()))]);
    // Only these attributes travel. The whole items are paid for in any case. `name` is a reserved word.
    let wanted = KeysAndAttributes::builder()
        .set_keys(Some(unique.into_iter().map(key).collect()))
        .projection_expression("id, #name, price_cents")
        .expression_attribute_names("#name", "name")
        .build()?;
    let wanted = HashMap::from([(table.clone(), wanted)]);
    let call = client.batch_get_item().set_request_items(Some(wanted));
    let mut responses = call.send().await?.responses.unwrap_or_default();
    let items = responses.remove(&table).unwrap_or_default();
    let by_id = |item: &Item| Some((text(item, "id")?.clone(), product(item)));
    Ok(items.iter().filter_map(by_id).collect())
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
