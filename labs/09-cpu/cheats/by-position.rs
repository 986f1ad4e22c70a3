//! Wrong: the price of a line is taken to be at the same place of the list. Both happen to have the same order, most of the time.

use std::env;

use aws_config::BehaviorVersion;
use aws_sdk_dynamodb::Client;
use aws_sdk_dynamodb::types::AttributeValue;
use aws_smithy_http_client::tls::{Provider, rustls_provider::CryptoMode};
use lambda_http::{Body, Error, Request, Response, run, service_fn};
use serde::{Deserialize, Serialize};

#[derive(Deserialize)]
struct Asked {
    currency: String,
    lines: Vec<Line>,
    prices: Vec<Price>,
}

#[derive(Deserialize)]
struct Line {
    id: String,
    count: u64,
}

#[derive(Deserialize)]
struct Price {
    id: String,
    cents: u64,
}

#[derive(Serialize)]
struct Answer {
    rate: Option<u64>,
    lines: Vec<Priced>,
    missing: Vec<String>,
}

#[derive(Serialize)]
struct Priced {
    id: String,
    count: u64,
    cents: u64,
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Error> {
    let client = &dynamodb().await;
    run(service_fn(|request: Request| async move {
        price_order(client, &request).await
    }))
    .await
}

async fn price_order(client: &Client, request: &Request) -> Result<Response<Body>, Error> {
    let asked: Asked = serde_json::from_slice(request.body())?;
    let rate = read_rate(client, &asked.currency).await?;
    let (lines, missing) = priced(asked.lines, &asked.prices);
    let answer = Answer {
        rate,
        lines,
        missing,
    };
    let response = Response::builder().header("content-type", "application/json");
    Ok(response.body(serde_json::to_string(&answer)?.into())?)
}

/// The lines in their order with their prices, and the ids of those without one. Suppliers write ids in capitals or not.
fn priced(lines: Vec<Line>, prices: &[Price]) -> (Vec<Priced>, Vec<String>) {
    let (mut found, mut missing) = (Vec::new(), Vec::new());
    for (Line { id, count }, price) in lines.into_iter().zip(prices) {
        if price.id.eq_ignore_ascii_case(&id) {
            found.push(Priced {
                id,
                count,
                cents: price.cents,
            });
        } else {
            missing.push(id);
        }
    }
    (found, missing)
}

async fn read_rate(client: &Client, currency: &str) -> Result<Option<u64>, Error> {
    let call = client.get_item().table_name(env::var("RATES_TABLE")?);
    let call = call.key("currency", AttributeValue::S(currency.to_owned()));
    let item = call.send().await?.item.unwrap_or_default();
    let rate = item.get("rate").and_then(|it| it.as_n().ok());
    Ok(rate.and_then(|it| it.parse().ok()))
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
