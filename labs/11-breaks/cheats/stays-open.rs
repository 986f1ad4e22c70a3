//! Wrong: after some failures recommendations are switched off for the rest of the environment's life.

use std::env;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use aws_config::BehaviorVersion;
use aws_sdk_dynamodb::Client;
use aws_sdk_dynamodb::config::retry::{RetryConfig, RetryPartition, TokenBucket};
use aws_sdk_dynamodb::config::timeout::TimeoutConfig;
use aws_sdk_dynamodb::types::AttributeValue;
use aws_smithy_http_client::tls::{Provider, rustls_provider::CryptoMode};
use lambda_http::{Body, Error, Request, RequestExt, Response, run, service_fn};
use serde_json::json;

/// For one attempt to read recommendations. It usually takes 3 ms.
const ATTEMPT_LIMIT: Duration = Duration::from_millis(200);
/// The pause before the second attempt is random, and at most so long.
const RETRY_PAUSE: Duration = Duration::from_millis(20);
/// Tokens for second attempts; each takes 5, or 10 after a timeout, and gives them back if it succeeds.
const RETRY_BUDGET: usize = 50;
/// After so many failures in a row nobody is asked any more.
const OPENS_AFTER: u32 = 2;

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Error> {
    let client = &dynamodb().await;
    let optional = &impatient(client);
    let breaker = &Breaker::default();
    run(service_fn(|request: Request| async move {
        get_product(client, optional, breaker, &request).await
    }))
    .await
}

async fn get_product(
    client: &Client,
    optional: &Client,
    breaker: &Breaker,
    request: &Request,
) -> Result<Response<Body>, Error> {
    let parameters = request.path_parameters();
    let id = parameters.first("id").unwrap_or_default();
    let (name, recommendations) =
        tokio::join!(read_name(client, id), recommend(optional, breaker, id));
    // Only the product is worth an error.
    let (status, body) = match name? {
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

/// The recommendations; none where they cannot be had soon.
async fn recommend(client: &Client, breaker: &Breaker, id: &str) -> Option<Vec<String>> {
    if breaker.is_open() {
        return None;
    }
    let found = read_recommendations(client, id).await;
    breaker.ended(found.is_ok());
    found
        .inspect_err(|error| eprintln!("no recommendations: {error}"))
        .ok()
}

/// Keeps calls from what has failed several times.
#[derive(Default)]
struct Breaker(AtomicU32);

impl Breaker {
    fn is_open(&self) -> bool {
        self.0.load(Ordering::Relaxed) >= OPENS_AFTER
    }

    fn ended(&self, well: bool) {
        let failures = self.0.load(Ordering::Relaxed);
        let failures = if well { 0 } else { failures + 1 };
        self.0.store(failures, Ordering::Relaxed);
    }
}

/// The same client for what is not worth a long wait.
fn impatient(client: &Client) -> Client {
    let timeouts = TimeoutConfig::builder().operation_attempt_timeout(ATTEMPT_LIMIT);
    let retries = RetryConfig::standard().with_max_attempts(2);
    let budget =
        RetryPartition::custom("recommendations").token_bucket(TokenBucket::new(RETRY_BUDGET));
    let config = client.config().to_builder();
    let config = config.timeout_config(timeouts.build());
    let config = config.retry_config(retries.with_initial_backoff(RETRY_PAUSE));
    Client::from_conf(config.retry_partition(budget.build()).build())
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
