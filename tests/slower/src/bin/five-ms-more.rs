//! get-product with 5 ms of work more in the handler.

use std::time::{Duration, Instant};

use lambda_http::http::{Response, StatusCode};
use lambda_http::{Body, Error, Request, run, service_fn};
use shop::aws::{self, Aws};
use shop::domain::{Field, Fields, Problem, ProductId};
use shop::dynamodb::Catalog;
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
        http::respond(&request, |_| get_product(catalog, &request)).await
    }))
    .await
}

async fn get_product(catalog: &Catalog, request: &Request) -> Result<Response<Body>, Problem> {
    let id = http::product_id(request)?;
    let [fields] = http::query_parameters(request, ["fields"])?;
    let fields = http::parsed("fields", fields, Field::parse_list)?.unwrap_or_else(Fields::all);
    let precondition = http::precondition(request)?;
    let (product, revision) = catalog.get(&id, fields).await?;
    let begin = Instant::now();
    while begin.elapsed() < Duration::from_millis(5) {
        std::hint::spin_loop();
    }
    let response = if precondition.wants(&revision)? {
        http::json(StatusCode::OK, &product)?
    } else {
        http::empty(StatusCode::NOT_MODIFIED)
    };
    Ok(http::revalidated(http::with_etag(response, &revision)))
}
