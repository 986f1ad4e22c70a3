//! `GET /products/{id}` again, with each choice of `shop` as a cargo feature, so that each can be measured by itself.
//! The features are described in Cargo.toml, the results in docs/cold-start.md.

use std::collections::HashMap;
use std::env;

use aws_sdk_dynamodb::{Client, types::AttributeValue};
use aws_smithy_runtime_api::client::http::SharedHttpClient;
use lambda_http::{Body, Error, Request, RequestExt, Response, run, service_fn};
use serde_json::{Map, Value};

#[cfg(feature = "mimalloc")]
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

#[cfg(feature = "own-client")]
mod own_client;
#[cfg(feature = "own-client")]
#[path = "../../../functions/shop/src/cold_start/tls/mod.rs"]
mod tls; // what ships, to the letter

#[cfg_attr(feature = "multi-thread", tokio::main)]
#[cfg_attr(not(feature = "multi-thread"), tokio::main(flavor = "current_thread"))]
async fn main() -> Result<(), Error> {
    #[cfg(feature = "subscriber")]
    tracing_subscriber::fmt()
        .json()
        .with_env_filter(tracing_subscriber::EnvFilter::new("info"))
        .init();
    #[cfg(feature = "own-client")]
    let http_client = own_client::client().await?;
    #[cfg(not(feature = "own-client"))]
    let http_client = sdk_client();
    let client = &client(http_client).await?;
    let table = &env::var("PRODUCTS_TABLE")?;
    #[cfg(feature = "prime-call")]
    let _ = read(client, table, "-").await; // it is no matter of init whether it succeeds
    run(service_fn(|request: Request| async move {
        #[cfg(feature = "plain-answer")]
        return get_product(client, table, request).await.map(Answer);
        #[cfg(not(feature = "plain-answer"))]
        get_product(client, table, request).await
    }))
    .await
}

#[cfg(not(feature = "own-client"))]
fn sdk_client() -> SharedHttpClient {
    use aws_smithy_http_client::tls::{Provider, rustls_provider::CryptoMode};
    #[cfg(feature = "sdk-client-ring")]
    const CRYPTO: CryptoMode = CryptoMode::Ring;
    #[cfg(not(feature = "sdk-client-ring"))]
    const CRYPTO: CryptoMode = CryptoMode::AwsLc;
    aws_smithy_http_client::Builder::new()
        .tls_provider(Provider::Rustls(CRYPTO))
        .build_https()
}

#[cfg(feature = "chain")]
async fn client(http_client: SharedHttpClient) -> Result<Client, Error> {
    let loader = aws_config::from_env().http_client(http_client);
    Ok(Client::new(&loader.load().await))
}

#[cfg(not(feature = "chain"))]
async fn client(http_client: SharedHttpClient) -> Result<Client, Error> {
    use aws_sdk_dynamodb::config::{Credentials, Region};
    let credentials = Credentials::from_keys(
        env::var("AWS_ACCESS_KEY_ID")?,
        env::var("AWS_SECRET_ACCESS_KEY")?,
        env::var("AWS_SESSION_TOKEN").ok(),
    );
    let config = aws_sdk_dynamodb::Config::builder()
        .region(Region::new(env::var("AWS_REGION")?))
        .credentials_provider(credentials)
        .http_client(http_client);
    #[cfg(feature = "lean-config")]
    let config = config
        .stalled_stream_protection(
            aws_sdk_dynamodb::config::StalledStreamProtectionConfig::disabled(),
        )
        .identity_cache(aws_sdk_dynamodb::config::IdentityCache::no_cache());
    #[cfg(not(feature = "fixed-endpoint"))]
    let config = config.endpoint_url(env::var("AWS_ENDPOINT_URL")?);
    #[cfg(feature = "fixed-endpoint")]
    let config = config.endpoint_resolver(Fixed(env::var("AWS_ENDPOINT_URL")?));
    Ok(Client::from_conf(config.build()))
}

/// One endpoint for every call: what the rules come to for one region without FIPS or dual stack.
#[cfg(feature = "fixed-endpoint")]
#[derive(Debug)]
struct Fixed(String);

#[cfg(feature = "fixed-endpoint")]
impl aws_sdk_dynamodb::config::endpoint::ResolveEndpoint for Fixed {
    fn resolve_endpoint<'a>(
        &'a self,
        _: &'a aws_sdk_dynamodb::config::endpoint::Params,
    ) -> aws_sdk_dynamodb::config::endpoint::EndpointFuture<'a> {
        let endpoint = aws_smithy_types::endpoint::Endpoint::builder()
            .url(self.0.clone())
            .build();
        aws_sdk_dynamodb::config::endpoint::EndpointFuture::ready(Ok(endpoint))
    }
}

/// A response that is ready to go. `lambda_http` would look for a charset in it, with tables for all of them.
#[cfg(feature = "plain-answer")]
struct Answer(Response<Body>);

#[cfg(feature = "plain-answer")]
impl lambda_http::IntoResponse for Answer {
    fn into_response(self) -> std::pin::Pin<Box<dyn Future<Output = Response<Body>> + Send>> {
        Box::pin(std::future::ready(self.0))
    }
}

async fn read(
    client: &Client,
    table: &str,
    id: &str,
) -> Result<Option<HashMap<String, AttributeValue>>, Error> {
    let request = client.get_item().table_name(table);
    let request = request.key("id", AttributeValue::S(id.to_owned()));
    let answer = request.send().await?;
    Ok(answer.item)
}

async fn get_product(
    client: &Client,
    table: &str,
    request: Request,
) -> Result<Response<Body>, Error> {
    let parameters = request.path_parameters();
    let id = parameters.first("id").ok_or("the route has no id")?;
    #[cfg(feature = "log")]
    tracing::info!(id, "a product is read");
    let response = Response::builder().header("content-type", "application/json");
    match read(client, table, id).await? {
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
