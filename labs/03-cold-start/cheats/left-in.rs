//! Wrong: the TLS library that is no longer used is still a feature of its crate.

use std::{env, fs};

use aws_config::BehaviorVersion;
use aws_sdk_dynamodb::Client;
use aws_sdk_dynamodb::types::AttributeValue;
use aws_smithy_http_client::tls::{Provider, TlsContext, TrustStore, rustls_provider::CryptoMode};
use lambda_http::{Body, Error, Request, RequestExt, Response, run, service_fn};
use serde_json::json;
use tokio::sync::OnceCell;

/// The five authorities that AWS's endpoints have their certificates from.
const AMAZON: &[u8] = include_bytes!("../amazon-roots.pem");

/// The client of all tables, with their one connection.
static CLIENT: OnceCell<Client> = OnceCell::const_new();

struct Table {
    variable: &'static str,
}

static PRODUCTS: Table = Table::named_by("PRODUCTS_TABLE");
static SHELVES: Table = Table::named_by("SHELVES_TABLE");

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Error> {
    // Builds the client and opens its connection while there is a whole CPU. No product has this name, and none is needed. If
    // DynamoDB does not answer, the first request says so.
    let _ = PRODUCTS.read("-", "name").await;
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
        Self { variable }
    }

    /// One attribute of an item.
    async fn read(&self, id: &str, attribute: &str) -> Result<Option<String>, Error> {
        let client = CLIENT.get_or_try_init(dynamodb).await?;
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
    let mut roots = TrustStore::empty().with_pem_certificate(AMAZON);
    if let Ok(file) = env::var("SSL_CERT_FILE") {
        roots = roots.with_pem_certificate(fs::read(file)?); // of `local`, which stands in for AWS
    }
    let https = aws_smithy_http_client::Builder::new()
        .tls_provider(Provider::Rustls(CryptoMode::Ring))
        .tls_context(TlsContext::builder().with_trust_store(roots).build()?)
        .build_https();
    let config = aws_config::defaults(BehaviorVersion::latest())
        .http_client(https)
        .load()
        .await;
    Ok(Client::new(&config))
}
