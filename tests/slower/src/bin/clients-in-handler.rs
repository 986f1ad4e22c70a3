//! get-product with the usual mistake: the client is built in the handler, so each request opens a connection
//! and makes a TLS handshake.

use lambda_http::http::{Response, StatusCode};
use lambda_http::{Body, Error, Request, run, service_fn};
use shop::aws::{self, Aws};
use shop::domain::{Field, Fields, Problem};
use shop::dynamodb::Catalog;
use shop::http;

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Error> {
    shop::telemetry::init();
    run(service_fn(|request: Request| async move {
        http::respond(&request, |_| get_product(&request)).await
    }))
    .await
}

async fn get_product(request: &Request) -> Result<Response<Body>, Problem> {
    let fault = |error: &dyn std::fmt::Display| Problem::internal(error.to_string());
    let aws = Aws::from_env().map_err(|error| fault(&error))?;
    let table = aws::required("PRODUCTS_TABLE").map_err(|error| fault(&error))?;
    let catalog = Catalog::new(aws.dynamodb(), table);
    let id = http::product_id(request)?;
    let [fields] = http::query_parameters(request, ["fields"])?;
    let fields = http::parsed("fields", fields, Field::parse_list)?.unwrap_or_else(Fields::all);
    let precondition = http::precondition(request)?;
    let (product, revision) = catalog.get(&id, fields).await?;
    let response = if precondition.wants(&revision)? {
        http::json(StatusCode::OK, &product)?
    } else {
        http::empty(StatusCode::NOT_MODIFIED)
    };
    Ok(http::revalidated(http::with_etag(response, &revision)))
}
