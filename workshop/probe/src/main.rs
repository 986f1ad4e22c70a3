//! The probe of `make conditions`: measures, inside a region, what `local/conditions.toml` holds.
//!
//! One program for two functions of `template.yaml`. `Probe` does one task for each invocation, which names it:
//! `{"task": "table", "samples": 250}`. `Cold` is the function that `Probe` invokes, and that stands behind its queue.
//! Both have a table and two queues of their own, and touch nothing else.
//!
//! AWS calls: each operation of DynamoDB and SQS that the conditions have a time for, on items of 200 bytes.
//!
//! Run it with `make conditions STACK=shop-dev`; `workshop/tests/conditions.rs` runs it on this machine.

mod client;

use std::collections::BTreeMap;
use std::env;
use std::hint::black_box;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use client::Client;
use http::Method;
use lambda_runtime::{Error, LambdaEvent, run, service_fn};
use serde_json::{Value, json};
use sha2_soft::compress256;
use sha2_soft::digest::generic_array::GenericArray;
use tokio::time::sleep;

/// Hashes in the fixed work, as in `local/src/conditions/factor.rs`.
const HASHES: u32 = 500_000;
/// Items in the table, 5 to a partition: together 64 KB, which is the page that `Scan` reads.
const ITEMS: usize = 300;
/// Messages of a batch and items of a batch or transaction.
const BATCH: usize = 5;
/// Until a message has reached its function: many times what it takes.
const ARRIVAL_LIMIT: Duration = Duration::from_secs(20);
/// Until Lambda has taken a new configuration: some seconds as a rule.
const UPDATE_LIMIT: Duration = Duration::from_secs(60);

/// Milliseconds, by what took them.
type Samples = BTreeMap<String, Vec<f64>>;

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Error> {
    run(service_fn(|event: LambdaEvent<Value>| async move {
        let event = event.payload;
        let samples = event["samples"].as_u64().unwrap_or(1) as usize;
        match (event["task"].as_str(), event["Records"].as_array()) {
            (_, Some(records)) => note(records).await,
            (Some("table"), _) => Ok(json!({ "ms": table(samples).await? })),
            (Some("queue"), _) => Ok(json!({ "ms": queue(samples).await? })),
            (Some("connection"), _) => Ok(json!({ "ms": connection(samples).await? })),
            (Some("fixed_work"), _) => Ok(json!({ "ms": fixed_work(samples) })),
            (Some("trigger"), _) => Ok(json!({ "ms": trigger(samples).await? })),
            (Some(task @ ("warm" | "cold")), _) => invocations(samples, task == "cold").await,
            (Some(other), _) => Err(format!("there is no task {other:?}").into()),
            // `Cold`, invoked.
            (None, _) => Ok(json!({})),
        }
    }))
    .await
}

fn ms(time: Duration) -> f64 {
    time.as_secs_f64() * 1e3
}

fn add(samples: &mut Samples, name: &str, took: Duration) {
    samples.entry(name.to_owned()).or_default().push(ms(took));
}

/// All operations on the table, one after the other, so many times.
async fn table(rounds: usize) -> Result<Samples, Error> {
    let name = env::var("TABLE")?;
    let key = |n: usize| json!({"id": {"S": format!("p{}", n / BATCH)}, "n": {"N": n.to_string()}});
    let item = |n: usize| {
        let mut item = key(n);
        item["text"] = json!({"S": "x".repeat(200)});
        item
    };
    let put = |n| json!({"PutRequest": {"Item": item(n)}});
    let writes = |from: usize, to: usize| json!({"RequestItems": {&name: (from..to).map(put).collect::<Value>()}});
    let mut client = Client::new("dynamodb")?;
    for from in (0..ITEMS).step_by(25) {
        client
            .call("BatchWriteItem", &writes(from, from + 25))
            .await?;
    }
    let mut samples = Samples::new();
    for round in 0..rounds {
        let first = round % (ITEMS / BATCH) * BATCH;
        let five = first..first + BATCH;
        let keys: Vec<_> = five.clone().map(key).collect();
        let update = |key: &Value| {
            json!({
                "TableName": name, "Key": key, "UpdateExpression": "SET #t = :t", "ConditionExpression": "attribute_exists(id)",
                "ExpressionAttributeNames": {"#t": "text"}, "ExpressionAttributeValues": {":t": {"S": "y".repeat(200)}}
            })
        };
        let updates: Vec<_> = keys
            .iter()
            .map(|key| json!({"Update": update(key)}))
            .collect();
        let gets: Vec<_> = keys
            .iter()
            .map(|key| json!({"Get": {"TableName": name, "Key": key}}))
            .collect();
        let query = json!({"TableName": name, "KeyConditionExpression": "id = :id",
            "ExpressionAttributeValues": {":id": keys[0]["id"]}});
        for (operation, body) in [
            ("GetItem", json!({"TableName": name, "Key": keys[0]})),
            ("PutItem", json!({"TableName": name, "Item": item(ITEMS)})),
            ("DeleteItem", json!({"TableName": name, "Key": key(ITEMS)})),
            ("UpdateItem", update(&keys[0])),
            ("Query", query),
            ("Scan", json!({"TableName": name})),
            (
                "BatchGetItem",
                json!({"RequestItems": {&name: {"Keys": keys}}}),
            ),
            ("BatchWriteItem", writes(five.start, five.end)),
            ("TransactWriteItems", json!({"TransactItems": updates})),
            ("TransactGetItems", json!({"TransactItems": gets})),
        ] {
            let answer = client.call(operation, &body).await?;
            add(&mut samples, &format!("DynamoDB.{operation}"), answer.took);
        }
    }
    Ok(samples)
}

/// All operations on the queue that no function reads. A receive that finds nothing does not count.
async fn queue(rounds: usize) -> Result<Samples, Error> {
    let url = env::var("QUEUE_URL")?;
    let mut client = Client::new("sqs")?;
    client.connect().await?;
    let mut samples = Samples::new();
    let entry = |n: usize| json!({"Id": n.to_string(), "MessageBody": "x".repeat(200)});
    let entries: Vec<_> = (0..BATCH).map(entry).collect();
    for _ in 0..rounds {
        for (operation, body) in [
            (
                "SendMessage",
                json!({"QueueUrl": url, "MessageBody": "x".repeat(200)}),
            ),
            (
                "SendMessageBatch",
                json!({"QueueUrl": url, "Entries": entries}),
            ),
        ] {
            let answer = client.call(operation, &body).await?;
            add(&mut samples, &format!("SQS.{operation}"), answer.took);
        }
        let receive = json!({"QueueUrl": url, "MaxNumberOfMessages": 10, "WaitTimeSeconds": 1});
        let received = client.call("ReceiveMessage", &receive).await?;
        let messages = received.body["Messages"]
            .as_array()
            .cloned()
            .unwrap_or_default();
        let Some((first, others)) = messages.split_first() else {
            continue;
        };
        add(&mut samples, "SQS.ReceiveMessage", received.took);
        let handle = &first["ReceiptHandle"];
        let delete = json!({"QueueUrl": url, "ReceiptHandle": handle});
        add(
            &mut samples,
            "SQS.DeleteMessage",
            client.call("DeleteMessage", &delete).await?.took,
        );
        let entry = |(n, it): (usize, &Value)| json!({"Id": n.to_string(), "ReceiptHandle": it["ReceiptHandle"]});
        let entries: Vec<_> = others.iter().enumerate().map(entry).collect();
        if !entries.is_empty() {
            let delete = json!({"QueueUrl": url, "Entries": entries});
            let answer = client.call("DeleteMessageBatch", &delete).await?;
            add(&mut samples, "SQS.DeleteMessageBatch", answer.took);
        }
    }
    Ok(samples)
}

/// New connections, half of them to each service.
async fn connection(count: usize) -> Result<Samples, Error> {
    let mut clients = [Client::new("dynamodb")?, Client::new("sqs")?];
    let mut samples = Samples::new();
    for n in 0..count {
        let took = clients[n % 2].connect().await?;
        add(&mut samples, "connection", took);
    }
    Ok(samples)
}

/// 500,000 SHA-256, each of the one before, without the instructions that some processors have for it.
fn fixed_work(times: usize) -> Samples {
    let mut samples = Samples::new();
    for _ in 0..times {
        let begin = Instant::now();
        let (mut hash, block) = ([0; 8], [GenericArray::default()]);
        for _ in 0..HASHES {
            compress256(black_box(&mut hash), black_box(&block));
        }
        add(&mut samples, "fixed_work", begin.elapsed());
    }
    samples
}

/// Messages to the queue with `Cold` behind it, each after the one before has arrived. The first of them may meet a cold
/// start, so it does not count.
async fn trigger(count: usize) -> Result<Samples, Error> {
    let (table, url) = (env::var("TABLE")?, env::var("TRIGGER_URL")?);
    let (mut sqs, mut dynamodb) = (Client::new("sqs")?, Client::new("dynamodb")?);
    let mut samples = Samples::new();
    for n in 0..=count {
        let message = json!({"QueueUrl": url, "MessageBody": "x"});
        let id = sqs.call("SendMessage", &message).await?.body["MessageId"].clone();
        let get = json!({"TableName": table, "Key": {"id": {"S": id}, "n": {"N": "0"}}, "ConsistentRead": true});
        let deadline = Instant::now() + ARRIVAL_LIMIT;
        let took = loop {
            let found = dynamodb.call("GetItem", &get).await?.body;
            if let Some(took) = found["Item"]["us"]["N"].as_str() {
                break took.parse()?;
            }
            if Instant::now() > deadline {
                return Err("a message has not reached its function".into());
            }
            sleep(Duration::from_millis(20)).await;
        };
        if n > 0 {
            add(&mut samples, "trigger", Duration::from_micros(took));
        }
    }
    Ok(samples)
}

/// `Cold`, behind the queue: notes for each message how long after its sending this function has begun. Both are clocks
/// of AWS; SQS has whole milliseconds.
async fn note(records: &[Value]) -> Result<Value, Error> {
    let now = SystemTime::now().duration_since(UNIX_EPOCH)?;
    let mut client = Client::new("dynamodb")?;
    for record in records {
        let sent = record["attributes"]["SentTimestamp"]
            .as_str()
            .unwrap_or_default();
        let took = now.saturating_sub(Duration::from_millis(sent.parse()?));
        let item = json!({"id": {"S": record["messageId"]}, "n": {"N": "0"}, "us": {"N": took.as_micros().to_string()}});
        client
            .call(
                "PutItem",
                &json!({"TableName": env::var("TABLE")?, "Item": item}),
            )
            .await?;
    }
    Ok(json!({}))
}

/// Invocations of `Cold`: how long the caller waits for each, and what Lambda logs of it. For a cold one each
/// environment is made anew, by another value of a variable that nothing reads.
async fn invocations(count: usize, cold: bool) -> Result<Value, Error> {
    let path = format!("/2015-03-31/functions/{}", env::var("COLD")?);
    let mut client = Client::new("lambda")?;
    let mut waits = Vec::new();
    for _ in 0..count {
        if cold && let Err(why) = renew(&mut client, &path).await {
            return Ok(json!({"waits": waits, "skipped": why.to_string()}));
        }
        let invoke = format!("{path}/invocations");
        let answer = client
            .send(
                Method::POST,
                &invoke,
                &[("x-amz-log-type", "Tail")],
                &json!({}),
            )
            .await?;
        if answer.headers.contains_key("x-amz-function-error") {
            return Err(format!("the invoked function failed: {}", answer.body).into());
        }
        let log = answer
            .headers
            .get("x-amz-log-result")
            .ok_or("the answer has no log")?;
        let log = String::from_utf8(BASE64_STANDARD.decode(log)?)?;
        waits.push(json!({"ms": ms(answer.took), "log": log}));
    }
    Ok(json!({ "waits": waits }))
}

async fn renew(client: &mut Client, path: &str) -> Result<(), Error> {
    let configuration = format!("{path}/configuration");
    let now = SystemTime::now()
        .duration_since(UNIX_EPOCH)?
        .as_micros()
        .to_string();
    let change =
        json!({"Environment": {"Variables": {"TABLE": env::var("TABLE")?, "RENEWED": now}}});
    client
        .send(
            Method::PUT,
            &configuration,
            &[("content-type", "application/json")],
            &change,
        )
        .await?;
    let deadline = Instant::now() + UPDATE_LIMIT;
    loop {
        let found = client
            .send(Method::GET, &configuration, &[], &Value::Null)
            .await?
            .body;
        if found["LastUpdateStatus"] == "Successful" {
            return Ok(());
        }
        if Instant::now() > deadline {
            return Err("Lambda has not taken the new configuration".into());
        }
        sleep(Duration::from_millis(200)).await;
    }
}
