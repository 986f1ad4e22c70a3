//! `POST /products/batch-get`: reads up to a hundred products at once.
//!
//! AWS calls: one `BatchGetItem`, eventually consistent, half a read unit for each product of up to
//! 4 KB. It is repeated, with backoff and jitter, only for keys that DynamoDB left unprocessed.
//!
//! Why it is fast: a hundred reads are one round trip, and DynamoDB makes them side by side.
//!
//! Run it on its sample event, while `make run` runs: `make invoke FUNCTION=BatchGetProducts`.

use lambda_http::http::{Response, StatusCode};
use lambda_http::{Body, Error, Request, run, service_fn};
use shop::aws::{self, Aws};
use shop::domain::{BatchRequest, Fields, Problem, ProductId};
use shop::dynamodb::Catalog;
use shop::http;
use shop::time::{Deadline, PRIMING_TIMEOUT};

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Error> {
    shop::telemetry::init();
    let catalog = &Catalog::new(
        Aws::from_env()?.dynamodb(),
        aws::required("PRODUCTS_TABLE")?,
    );
    let nothing = [ProductId::parse("-")?];
    // Opens the connection before the first request does, see get-product. The answer is thrown away.
    aws::prime(catalog.batch_get(&nothing, Fields::all(), Deadline::after(PRIMING_TIMEOUT))).await;
    run(service_fn(|request: Request| async move {
        http::respond(&request, |deadline| {
            batch_get_products(catalog, &request, deadline)
        })
        .await
    }))
    .await
}

async fn batch_get_products(
    catalog: &Catalog,
    request: &Request,
    deadline: Deadline,
) -> Result<Response<Body>, Problem> {
    let BatchRequest { ids, fields } = BatchRequest::from_body(http::json_bytes(request)?)?;

    let batch = catalog.batch_get(&ids, fields, deadline).await?;

    http::json(StatusCode::OK, &batch)
}
