//! Wrong: a plausible answer without DynamoDB. No client, no certificates, no handshake, and no product either.

use lambda_http::{Body, Error, Request, RequestExt, Response, run, service_fn};
use serde_json::json;

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Error> {
    run(service_fn(get_product)).await
}

async fn get_product(request: Request) -> Result<Response<Body>, Error> {
    let parameters = request.path_parameters();
    let id = parameters.first("id").unwrap_or_default();
    let body = json!({"id": id, "name": "Lamp", "shelf": "A1"});
    let response = Response::builder().header("content-type", "application/json");
    Ok(response.body(body.to_string().into())?)
}
