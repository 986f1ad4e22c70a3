//! `GET /products/{id}?fields=name,price_cents`: reads one product, or the part of it that is asked
//! for.
//!
//! AWS calls: one `GetItem`, eventually consistent, half a read unit for each 4 KB of the item.
//!
//! Why it is fast: the client and its TLS connection outlive the request, so a warm invocation is
//! one round trip. A projection expression leaves what nobody asked for in DynamoDB.

use lambda_http::http::{Response, StatusCode};
use lambda_http::{Body, Error, Request, run, service_fn};
use shop::aws::{self, Aws};
use shop::catalog::Catalog;
use shop::http;
use shop::problem::Problem;
use shop::product::{Fields, ProductId};

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Error> {
    shop::telemetry::init();
    let catalog = &Catalog::new(
        Aws::from_env()?.dynamodb(),
        aws::required("PRODUCTS_TABLE")?,
    );
    // Opens the connection before the first request does. What it reads does not matter.
    aws::prime(catalog.get(&ProductId::parse("-")?, Fields::ALL)).await;
    run(service_fn(|request: Request| async move {
        http::respond(&request, get_product(catalog, &request)).await
    }))
    .await
}

async fn get_product(catalog: &Catalog, request: &Request) -> Result<Response<Body>, Problem> {
    let id = ProductId::parse(http::path_parameter(request, "id")?)
        .map_err(|reason| Problem::bad_value("id", &reason))?;
    let [fields] = http::query_parameters(request, ["fields"])?;
    let fields = fields
        .map_or(Ok(Fields::ALL), Fields::parse)
        .map_err(|reason| Problem::bad_value("fields", &reason))?;

    let (product, version) = catalog.get(&id, fields).await?;

    let response = http::json(StatusCode::OK, &product)?;
    Ok(http::revalidated(http::with_etag(response, version)))
}
