//! `DELETE /products/{id}`: deletes a product, if `If-Match` or `If-None-Match` holds. Deleting one
//! that is not there succeeds too, so a client may repeat the request.
//!
//! AWS calls: one `DeleteItem`, one write unit for each 1 KB of the item, and as much again for the
//! index `by-category`.
//!
//! Why it is fast: nothing is read first, and nothing is returned. The condition travels with the
//! deletion.
//!
//! Run it on its sample event, while `make run` runs: `make invoke FUNCTION=DeleteProduct`.

use lambda_http::http::{Response, StatusCode};
use lambda_http::{Body, Error, Request, run, service_fn};
use shop::aws::{self, Aws};
use shop::domain::Problem;
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
            delete_product(catalog, &request, deadline)
        })
        .await
    }))
    .await
}

async fn delete_product(
    catalog: &Catalog,
    request: &Request,
    deadline: Deadline,
) -> Result<Response<Body>, Problem> {
    let id = http::product_id(request)?;
    let precondition = http::precondition(request)?;

    catalog.delete(&id, &precondition, deadline).await?;

    Ok(http::empty(StatusCode::NO_CONTENT))
}
