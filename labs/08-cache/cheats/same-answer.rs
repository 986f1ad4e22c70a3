//! Wrong: the key of the cache leaves out what the answer depends on: here the id, in real code a language or a user.
//!
//! `GET /products/{id}` reads a product from DynamoDB, and `PUT /products/{id}` writes it.
//!
//! `{"id": "lamp", "name": "Lamp", "manual": "…"}`

use std::env;
use std::num::NonZero;
use std::time::{Duration, Instant};

use aws_config::BehaviorVersion;
use aws_sdk_dynamodb::Client;
use aws_sdk_dynamodb::types::AttributeValue;
use aws_smithy_http_client::tls::{Provider, rustls_provider::CryptoMode};
use lambda_http::http::Method;
use lambda_http::{Body, Error, Request, RequestExt, Response, run, service_fn};
use lru::LruCache;
use serde::Deserialize;
use serde_json::json;
use tokio::sync::Mutex;

#[derive(Deserialize)]
struct Product {
    name: String,
    manual: String,
}

/// What this environment remembers: of each product the time of its last reading, and what was found.
struct Cache {
    /// The bound: a new product takes the place of the one that was not asked for the longest.
    entries: LruCache<String, (Instant, Option<String>)>,
    ttl: Duration,
}

impl Cache {
    fn new() -> Result<Self, Error> {
        let ttl = env::var("CACHE_TTL_MS")?.parse()?;
        let most: NonZero<usize> = env::var("CACHE_ENTRIES")?.parse()?;
        Ok(Self {
            entries: LruCache::new(most),
            ttl: Duration::from_millis(ttl),
        })
    }

    /// None if it has to be read. That a product does not exist is remembered too, and no longer than a product.
    fn get(&mut self, id: &str) -> Option<Option<String>> {
        let (read_at, found) = self.entries.get(id)?;
        (read_at.elapsed() < self.ttl).then(|| found.clone())
    }
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Error> {
    let client = &dynamodb().await;
    let cache = &Mutex::new(Cache::new()?);
    let key = "GET /products/{id}";
    run(service_fn(|request: Request| async move {
        let mut cache = cache.lock().await; // never waits: an environment has one request at a time
        handle(client, &mut cache, key, &request).await
    }))
    .await
}

async fn handle(
    client: &Client,
    cache: &mut Cache,
    key: &str,
    request: &Request,
) -> Result<Response<Body>, Error> {
    let parameters = request.path_parameters();
    let id = parameters.first("id").unwrap_or_default();
    if request.method() == Method::PUT {
        let written = write(client, id, serde_json::from_slice(request.body())?).await;
        // Whether it was written or not: after a timeout nobody knows. The other environments learn nothing of it.
        cache.entries.pop(key);
        written?;
        return answer(200, json!({"id": id}).to_string());
    }
    let found = if let Some(found) = cache.get(key) {
        found
    } else {
        // The age counts from before the reading: the table may change while the answer travels. An error is not remembered.
        let read_at = Instant::now();
        let found = read(client, id).await?;
        cache.entries.put(key.to_owned(), (read_at, found.clone()));
        found
    };
    match found {
        Some(product) => answer(200, product),
        None => answer(
            404,
            json!({"message": "there is no such product"}).to_string(),
        ),
    }
}

/// The product as it is answered; none if there is none.
async fn read(client: &Client, id: &str) -> Result<Option<String>, Error> {
    let call = client.get_item().table_name(env::var("PRODUCTS_TABLE")?);
    let call = call.key("id", AttributeValue::S(id.to_owned()));
    // A consistent read: an old answer, just after a write, would be remembered for a whole TTL.
    let found = call.consistent_read(true).send().await?;
    Ok(found.item().map(|item| {
        let text = |name| item.get(name).and_then(|it| it.as_s().ok());
        json!({"id": id, "name": text("name"), "manual": text("manual")}).to_string()
    }))
}

async fn write(client: &Client, id: &str, product: Product) -> Result<(), Error> {
    let call = client.put_item().table_name(env::var("PRODUCTS_TABLE")?);
    let call = call.item("id", AttributeValue::S(id.to_owned()));
    let call = call.item("name", AttributeValue::S(product.name));
    let call = call.item("manual", AttributeValue::S(product.manual));
    call.send().await?;
    Ok(())
}

fn answer(status: u16, body: String) -> Result<Response<Body>, Error> {
    let response = Response::builder().status(status);
    let response = response.header("content-type", "application/json");
    Ok(response.body(body.into())?)
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
