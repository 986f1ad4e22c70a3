//! The four functions of the lesson: each answers `GET /<its name>/{category}` with the things of a category. Nothing in here
//! has to be changed: look at what it writes to its log.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Instant, SystemTime, UNIX_EPOCH};

use aws_config::BehaviorVersion;
use aws_sdk_dynamodb::Client;
use aws_sdk_dynamodb::types::AttributeValue;
use aws_smithy_http_client::tls::{Provider, rustls_provider::CryptoMode};
use lambda_runtime::{Error, LambdaEvent, run, service_fn};
use serde_json::{Value, json};

static IS_FIRST: AtomicBool = AtomicBool::new(true);

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Error> {
    let https = aws_smithy_http_client::Builder::new()
        .tls_provider(Provider::Rustls(CryptoMode::Ring))
        .build_https();
    let config = aws_config::defaults(BehaviorVersion::latest());
    let client = &Client::new(&config.http_client(https).load().await);
    run(service_fn(|event| answer(client, event))).await
}

async fn answer(client: &Client, event: LambdaEvent<Value>) -> Result<Value, Error> {
    let began = Instant::now();
    let (event, context) = event.into_parts();
    let function = std::env::var("NAME")?;
    let category = event["pathParameters"]["category"]
        .as_str()
        .unwrap_or_default();
    let list = get(client, "LISTS_TABLE", &format!("{function}/{category}")).await?;
    let list = list.unwrap_or_default();
    let ids = list.get("things").and_then(|it| it.as_l().ok());
    let (mut status, mut things) = (200, Vec::new());
    // One after another, as in lesson 4.
    for id in ids.into_iter().flatten().filter_map(|it| it.as_s().ok()) {
        match get(client, "THINGS_TABLE", id).await? {
            Some(thing) => {
                let text = |name: &str| thing.get(name).and_then(|it| it.as_s().ok());
                things.push(
                    json!({"id": id, "name": text("name"), "description": text("description")}),
                );
            }
            None => status = 500,
        }
    }
    let body = json!({"things": things});
    // One line a request. `_aws` makes a metric of two of its members: CloudWatch reads it from the log.
    let since_1970 = SystemTime::now().duration_since(UNIX_EPOCH)?.as_millis() as u64;
    let line = json!({
        "level": if status == 200 { "INFO" } else { "ERROR" },
        "message": "answered",
        "function": function,
        "category": category,
        "status": status,
        "things": things.len(),
        "took_ms": began.elapsed().as_micros() as f64 / 1e3,
        "coldStart": IS_FIRST.swap(false, Ordering::Relaxed),
        "requestId": context.request_id,
        "_aws": {
            "Timestamp": since_1970,
            "CloudWatchMetrics": [{
                "Namespace": "lab-12",
                "Dimensions": [["function"]],
                "Metrics": [{"Name": "took_ms", "Unit": "Milliseconds"}, {"Name": "things", "Unit": "Count"}],
            }],
        },
    });
    println!("{line}");
    // Somebody was looking for a mistake once, and left it on.
    if list.contains_key("debug") {
        println!(
            "{}",
            json!({"level": "DEBUG", "message": "whole event", "event": event, "answer": body})
        );
    }
    let headers = json!({"content-type": "application/json"});
    Ok(json!({"statusCode": status, "headers": headers, "body": body.to_string()}))
}

type Item = std::collections::HashMap<String, AttributeValue>;

async fn get(client: &Client, table: &str, id: &str) -> Result<Option<Item>, Error> {
    let call = client.get_item().table_name(std::env::var(table)?);
    let call = call.key("id", AttributeValue::S(id.to_owned()));
    Ok(call.send().await?.item)
}
