//! `DELETE /products/{id}`: deletes a product. Deleting one that is not there succeeds too, so a
//! client may repeat the request.
//!
//! AWS calls: one `DeleteItem`, one write unit for each 1 KB of the item, and as much again for the
//! index `by-category`.
//!
//! Why it is fast: nothing is read first, and nothing is returned.

use lambda_http::http::{Response, StatusCode};
use lambda_http::{Body, Error, Request, run, service_fn};
use shop::aws::{self, Aws};
use shop::catalog::Catalog;
use shop::http;
use shop::problem::Problem;
use shop::product::ProductId;

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Error> {
    shop::telemetry::init();
    let catalog = &Catalog::new(
        Aws::from_env()?.dynamodb(),
        aws::required("PRODUCTS_TABLE")?,
    );
    run(service_fn(|request: Request| async move {
        http::respond(&request, delete_product(catalog, &request)).await
    }))
    .await
}

async fn delete_product(catalog: &Catalog, request: &Request) -> Result<Response<Body>, Problem> {
    let id = ProductId::parse(http::path_parameter(request, "id")?)
        .map_err(|reason| Problem::bad_value("id", &reason))?;

    catalog.delete(&id, http::deadline(request)).await?;

    Ok(http::empty(StatusCode::NO_CONTENT))
}
