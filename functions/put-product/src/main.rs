//! `PUT /products/{id}`: creates or replaces a product, if `If-Match` or `If-None-Match` holds.
//!
//! AWS calls: one `UpdateItem`, one write unit for each 1 KB of the item, and as much again for the
//! index `by-category`.
//!
//! Why it is fast: nothing is read first. The condition and the counting of the version travel with
//! the write, so there is one round trip and no race between a read and a write.
//!
//! Run it on its sample event, while `make run` runs: `make invoke FUNCTION=PutProduct`.

use lambda_http::http::{Response, StatusCode};
use lambda_http::{Body, Error, Request, run, service_fn};
use shop::aws::{self, Aws};
use shop::domain::{NewProduct, Problem};
use shop::dynamodb::Catalog;
use shop::http;
use shop::time::Deadline;

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Error> {
    shop::telemetry::init();
    let catalog = &Catalog::new(
        Aws::from_env()?.dynamodb(),
        aws::required("PRODUCTS_TABLE")?,
    );
    run(service_fn(|request: Request| async move {
        http::respond(&request, |deadline| {
            put_product(catalog, &request, deadline)
        })
        .await
    }))
    .await
}

async fn put_product(
    catalog: &Catalog,
    request: &Request,
    deadline: Deadline,
) -> Result<Response<Body>, Problem> {
    let id = http::product_id(request)?;
    let precondition = http::precondition(request)?;
    let new = NewProduct::from_body(http::json_bytes(request)?)?;

    let written = catalog.put(&id, new, &precondition, deadline).await?;

    let status = if written.created {
        StatusCode::CREATED
    } else {
        StatusCode::OK
    };
    let response = http::json(status, &written.product)?;
    Ok(http::with_etag(response, &written.revision))
}
