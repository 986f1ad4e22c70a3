//! `GET /products/{id}`: reads a product, and on which shelf it lies.

use std::env;

use aws_config::BehaviorVersion;
use aws_sdk_dynamodb::Client;
use aws_sdk_dynamodb::types::AttributeValue;
use aws_smithy_http_client::tls::{Provider, rustls_provider::CryptoMode};
use lambda_http::{Body, Error, Request, RequestExt, Response, run, service_fn};
use serde_json::json;
use tokio::sync::OnceCell;

/// A table, with a client that is built when it is first needed.
struct Table {
    variable: &'static str,
    client: OnceCell<Client>,
}

static PRODUCTS: Table = Table::named_by("PRODUCTS_TABLE");
static SHELVES: Table = Table::named_by("SHELVES_TABLE");

// TODO: the first request waits for all that this program does until then. Build one client for both tables, use it once
// before `run`, give it only the certificates that it needs (amazon-roots.pem) and a TLS library that starts quickly
// (in Cargo.toml too), and start no more threads than one.
#[tokio::main]
async fn main() -> Result<(), Error> {
    run(service_fn(get_product)).await
}

async fn get_product(request: Request) -> Result<Response<Body>, Error> {
    let parameters = request.path_parameters();
    let id = parameters.first("id").unwrap_or_default();
    let (status, body) = match PRODUCTS.read(id, "name").await? {
        Some(name) => {
            let shelf = SHELVES.read(id, "shelf").await?;
            (200, json!({"id": id, "name": name, "shelf": shelf}))
        }
        None => (404, json!({"message": "there is no such product"})),
    };
    let response = Response::builder().status(status);
    let response = response.header("content-type", "application/json");
    Ok(response.body(body.to_string().into())?)
}

impl Table {
    const fn named_by(variable: &'static str) -> Self {
        let client = OnceCell::const_new();
        Self { variable, client }
    }

    /// One attribute of an item.
    async fn read(&self, id: &str, attribute: &str) -> Result<Option<String>, Error> {
        let client = self.client.get_or_try_init(dynamodb).await?;
        let call = client.get_item().table_name(env::var(self.variable)?);
        let call = call.key("id", AttributeValue::S(id.to_owned()));
        let mut item = call.send().await?.item.unwrap_or_default();
        Ok(match item.remove(attribute) {
            Some(AttributeValue::S(text)) => Some(text),
            _ => None,
        })
    }
}

/// A client for DynamoDB. Lambda sets region and credentials as variables.
async fn dynamodb() -> Result<Client, Error> {
    let https = aws_smithy_http_client::Builder::new()
        .tls_provider(Provider::Rustls(CryptoMode::AwsLc))
        .build_https();
    let config = aws_config::defaults(BehaviorVersion::latest())
        .http_client(https)
        .load()
        .await;
    Ok(Client::new(&config))
}
