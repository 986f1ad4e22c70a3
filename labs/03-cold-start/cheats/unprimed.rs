//! Wrong: little work, and all of it in the first invocation, which has 7 % of a CPU.

use std::{env, fs};

use aws_config::BehaviorVersion;
use aws_config::environment::EnvironmentVariableCredentialsProvider;
use aws_sdk_dynamodb::Client;
use aws_sdk_dynamodb::types::AttributeValue;
use aws_smithy_http_client::tls::{Provider, TlsContext, TrustStore, rustls_provider::CryptoMode};
use lambda_http::{Body, Error, Request, RequestExt, Response, run, service_fn};
use serde_json::json;

/// The five authorities of AWS's endpoints.
const AMAZON: &[u8] = include_bytes!("amazon-roots.pem");

/// A table. All tables share a client.
struct Table {
    name: String,
    client: Client,
}

struct Tables {
    products: Table,
    stock: Table,
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Error> {
    let client = dynamodb().await?;
    let tables = &Tables {
        products: Table::new("PRODUCTS_TABLE", &client)?,
        stock: Table::new("STOCK_TABLE", &client)?,
    };
    run(service_fn(|request: Request| async move {
        get_product(tables, &request).await
    }))
    .await
}

async fn get_product(tables: &Tables, request: &Request) -> Result<Response<Body>, Error> {
    let parameters = request.path_parameters();
    let id = parameters.first("id").unwrap_or_default();
    let (status, body) = match tables.products.read(id, "name").await? {
        Some(name) => {
            let stock = tables.stock.read(id, "count").await?;
            (200, json!({"id": id, "name": name, "stock": stock}))
        }
        None => (404, json!({"message": "there is no such product"})),
    };
    let response = Response::builder().status(status);
    let response = response.header("content-type", "application/json");
    Ok(response.body(body.to_string().into())?)
}

impl Table {
    fn new(variable: &str, client: &Client) -> Result<Self, Error> {
        let client = client.clone(); // of the same connections
        let name = env::var(variable)?;
        Ok(Self { name, client })
    }

    /// One attribute of an item.
    async fn read(&self, id: &str, attribute: &str) -> Result<Option<String>, Error> {
        let call = self.client.get_item().table_name(&self.name);
        let found = call.key("id", AttributeValue::S(id.to_owned()));
        let mut item = found.send().await?.item.unwrap_or_default();
        let value = item.remove(attribute).and_then(|it| match it {
            AttributeValue::S(text) | AttributeValue::N(text) => Some(text),
            _ => None,
        });
        Ok(value)
    }
}

/// A client for DynamoDB. Lambda sets region and credentials as variables.
async fn dynamodb() -> Result<Client, Error> {
    let mut roots = TrustStore::empty().with_pem_certificate(AMAZON);
    if let Ok(file) = env::var("SSL_CERT_FILE") {
        roots = roots.with_pem_certificate(fs::read(file)?); // what `local` stands in for AWS with
    }
    let https = aws_smithy_http_client::Builder::new()
        .tls_provider(Provider::Rustls(CryptoMode::Ring))
        .tls_context(TlsContext::builder().with_trust_store(roots).build()?)
        .build_https();
    let config = aws_config::defaults(BehaviorVersion::latest())
        .credentials_provider(EnvironmentVariableCredentialsProvider::new())
        .http_client(https)
        .load()
        .await;
    Ok(Client::new(&config))
}
