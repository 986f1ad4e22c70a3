//! `GET /reports/{shop}`: a month of a shop. It only takes time, as code does that waits for a database.

use std::time::Duration;

use lambda_http::{Body, Error, Request, RequestExt, Response, run, service_fn};
use serde_json::json;
use tokio::time::sleep;

/// One report.
const WORK: Duration = Duration::from_secs(2);

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Error> {
    run(service_fn(report)).await
}

async fn report(request: Request) -> Result<Response<Body>, Error> {
    sleep(WORK).await;
    let body = json!({"shop": request.path_parameters().first("shop")});
    let response = Response::builder().header("content-type", "application/json");
    Ok(response.body(body.to_string().into())?)
}
