//! `GET /products/{id}` with every default of the SDK and of `lambda_http`, as their guides write it
//! (<https://docs.aws.amazon.com/sdk-for-rust/latest/dg/lambda.html>).

use std::collections::HashMap;

use aws_config::BehaviorVersion;
use aws_sdk_dynamodb::{Client, types::AttributeValue};
use lambda_http::{Body, Error, Request, RequestExt, Response, run, service_fn, tracing};
use serde_json::{Map, Value};

#[tokio::main]
async fn main() -> Result<(), Error> {
    tracing::init_default_subscriber();
    let config = aws_config::load_defaults(BehaviorVersion::latest()).await;
    let client = &Client::new(&config);
    let table = &std::env::var("PRODUCTS_TABLE")?;
    run(service_fn(|request: Request| async move {
        get_product(client, table, request).await
    }))
    .await
}

async fn get_product(
    client: &Client,
    table: &str,
    request: Request,
) -> Result<Response<Body>, Error> {
    let parameters = request.path_parameters();
    let id = parameters.first("id").ok_or("the route has no id")?;
    let answer = client
        .get_item()
        .table_name(table)
        .key("id", AttributeValue::S(id.to_owned()))
        .send()
        .await?;
    let response = Response::builder().header("content-type", "application/json");
    match answer.item {
        Some(item) => Ok(response.body(serde_json::to_string(&product(item))?.into())?),
        None => Ok(response.status(404).body(Body::Empty)?),
    }
}

fn product(item: HashMap<String, AttributeValue>) -> Value {
    let fields = item.into_iter().filter_map(|(name, value)| match value {
        AttributeValue::S(text) => Some((name, Value::from(text))),
        AttributeValue::N(number) => Some((name, Value::from(number.parse::<i64>().ok()?))),
        _ => None,
    });
    fields.collect::<Map<_, _>>().into()
}
