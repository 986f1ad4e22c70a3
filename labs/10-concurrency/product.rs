//! `GET /products/{id}`: a page. It only takes time, as code does that waits for others.

use std::time::Duration;

use lambda_http::{Body, Error, Request, RequestExt, Response, run, service_fn};
use serde_json::json;
use tokio::time::sleep;

/// Clients, connections and configuration, before the first request.
const INIT: Duration = Duration::from_millis(200);
/// One request.
const WORK: Duration = Duration::from_millis(20);

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Error> {
    sleep(INIT).await;
    run(service_fn(get_product)).await
}

async fn get_product(request: Request) -> Result<Response<Body>, Error> {
    sleep(WORK).await;
    let body = json!({"id": request.path_parameters().first("id")});
    let response = Response::builder().header("content-type", "application/json");
    Ok(response.body(body.to_string().into())?)
}
