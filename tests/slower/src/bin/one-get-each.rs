//! batch-get-products with the usual mistake: one `GetItem` for each product, one after another, where one
//! `BatchGetItem` reads them all.

use lambda_http::http::{Response, StatusCode};
use lambda_http::{Body, Error, Request, run, service_fn};
use shop::aws::{self, Aws};
use shop::domain::{BatchRequest, Fields, Problem, ProductId};
use shop::dynamodb::{Batch, Catalog};
use shop::http;

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Error> {
    shop::telemetry::init();
    let catalog = &Catalog::new(
        Aws::from_env()?.dynamodb(),
        aws::required("PRODUCTS_TABLE")?,
    );
    aws::prime(catalog.get(&ProductId::parse("-")?, Fields::all())).await;
    run(service_fn(|request: Request| async move {
        http::respond(&request, |_| batch_get_products(catalog, &request)).await
    }))
    .await
}

async fn batch_get_products(
    catalog: &Catalog,
    request: &Request,
) -> Result<Response<Body>, Problem> {
    let BatchRequest { ids, fields } = BatchRequest::from_body(http::json_bytes(request)?)?;
    let (mut products, mut missing) = (Vec::new(), Vec::new());
    for id in ids {
        match catalog.get(&id, fields).await {
            Ok((product, _)) => products.push(product),
            Err(Problem::NotFound(_)) => missing.push(id),
            Err(problem) => return Err(problem),
        }
    }
    http::json(StatusCode::OK, &Batch { products, missing })
}
