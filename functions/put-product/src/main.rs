//! `PUT /products/{id}`: creates or replaces a product, if `If-Match` or `If-None-Match` holds.
//!
//! AWS calls: one `UpdateItem`, one write unit for each 1 KB of the item, and as much again for the
//! index `by-category`.
//!
//! Why it is fast: nothing is read first. The condition and the counting of the version travel with
//! the write, so there is one round trip and no race between a read and a write.

use lambda_http::http::{Response, StatusCode};
use lambda_http::{Body, Error, Request, run, service_fn};
use shop::aws::{self, Aws};
use shop::catalog::Catalog;
use shop::http;
use shop::precondition::Precondition;
use shop::problem::Problem;
use shop::product::{NewProduct, ProductId, Version};

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Error> {
    shop::telemetry::init();
    let catalog = &Catalog::new(
        Aws::from_env()?.dynamodb(),
        aws::required("PRODUCTS_TABLE")?,
    );
    run(service_fn(|request: Request| async move {
        http::respond(&request, put_product(catalog, &request)).await
    }))
    .await
}

async fn put_product(catalog: &Catalog, request: &Request) -> Result<Response<Body>, Problem> {
    let id = ProductId::parse(http::path_parameter(request, "id")?)
        .map_err(|reason| Problem::bad_value("id", &reason))?;
    let precondition = Precondition::parse(
        http::header(request, "if-match")?,
        http::header(request, "if-none-match")?,
    )?;
    let new = NewProduct::from_body(http::json_body(request)?)?;

    let (product, version) = catalog
        .put(&id, new, precondition, http::deadline(request))
        .await?;

    let created = version.get() == Version::MIN;
    let status = if created {
        StatusCode::CREATED
    } else {
        StatusCode::OK
    };
    Ok(http::with_etag(http::json(status, &product)?, version))
}
