//! The floor: a Rust function that does nothing. Its answer is as long as a product's.
//!
//! It costs only the process, the tokio runtime, the Runtime API and the JSON of the event. No
//! function with `lambda_http` can cost less, and none that reads a table can cost as little.

use lambda_http::{Body, Error, Request, Response, run, service_fn};

/// As many bytes as the product that the benchmark reads.
static PRODUCT: &str = include_str!("../../product.json");

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Error> {
    run(service_fn(get_product)).await
}

async fn get_product(_: Request) -> Result<Response<Body>, Error> {
    let response = Response::builder().header("content-type", "application/json");
    Ok(response.body(PRODUCT.into())?)
}
