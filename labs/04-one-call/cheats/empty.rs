//! Wrong: an answer that has the right form, and nothing in it. No call is made.

use lambda_http::{Body, Error, Request, Response, run, service_fn};

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Error> {
    run(service_fn(quote)).await
}

async fn quote(_: Request) -> Result<Response<Body>, Error> {
    let response = Response::builder().header("content-type", "application/json");
    Ok(response.body(r#"{"rate": 1, "products": [], "missing": []}"#.into())?)
}
