//! `POST /products/batch-get`: reads up to a hundred products at once.
//!
//! AWS calls: one `BatchGetItem`, eventually consistent, half a read unit for each product of up to
//! 4 KB. It is repeated, with backoff and jitter, only for keys that DynamoDB left unprocessed.
//!
//! Why it is fast: a hundred reads are one round trip, and DynamoDB makes them side by side.

use lambda_http::http::{Response, StatusCode};
use lambda_http::{Body, Error, Request, run, service_fn};
use shop::aws::{self, Aws};
use shop::catalog::Catalog;
use shop::deadline::Deadline;
use shop::http;
use shop::problem::Problem;
use shop::product::{BatchRequest, Fields, ProductId};

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Error> {
    shop::telemetry::init();
    let catalog = &Catalog::new(
        Aws::from_env()?.dynamodb(),
        aws::required("PRODUCTS_TABLE")?,
    );
    let nothing = [ProductId::parse("-")?];
    // Opens the connection before the first request does. What it reads does not matter.
    aws::prime(catalog.batch_get(&nothing, Fields::ALL, Deadline::after(aws::PRIMING_TIMEOUT)))
        .await;
    run(service_fn(|request: Request| async move {
        http::respond(&request, batch_get_products(catalog, &request)).await
    }))
    .await
}

async fn batch_get_products(
    catalog: &Catalog,
    request: &Request,
) -> Result<Response<Body>, Problem> {
    let BatchRequest { ids, fields } = BatchRequest::from_body(http::json_body(request)?)?;

    let batch = catalog
        .batch_get(&ids, fields, http::deadline(request))
        .await?;

    http::json(StatusCode::OK, &batch)
}
