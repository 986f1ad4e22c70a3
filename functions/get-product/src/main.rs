//! `GET /products/{id}?fields=name,price_cents`: reads one product, or the part of it that is asked
//! for.
//!
//! AWS calls: one `GetItem`, eventually consistent, half a read unit for each 4 KB of the item.
//!
//! Why it is fast: the client and its TLS connection outlive the request, so a warm invocation is
//! one round trip. A projection expression leaves the other attributes in DynamoDB. A client that
//! has the product already (`If-None-Match`) gets a 304 without a body.
//!
//! Run it on its sample event, while `make run` runs: `make invoke FUNCTION=GetProduct`.

use lambda_http::http::{Response, StatusCode};
use lambda_http::{Body, Error, Request, run, service_fn};
use shop::aws::{self, Aws};
use shop::domain::{Field, Fields, Problem, ProductId};
use shop::dynamodb::Catalog;
use shop::http;

// Every function of the shop starts like this one.
//
// One thread: an execution environment serves one request at a time, and on a share of a vCPU more
// threads would only wait for each other.
#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Error> {
    shop::telemetry::init();
    // Built once, here, in the init phase: the client keeps its connections, and every request of this
    // environment uses them. The handler gets a reference, because it is called many times and each
    // call borrows the same catalogue.
    let catalog = &Catalog::new(
        Aws::from_env()?.dynamodb(),
        aws::required("PRODUCTS_TABLE")?,
    );
    // Priming: a first read opens the connection, with its TLS handshake, before a client waits for
    // it. Its answer is thrown away. Functions that only write are not primed: their roles allow them
    // no call that changes nothing.
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

    let response = if precondition.wants(&revision)? {
        http::json(StatusCode::OK, &product)?
    } else {
        http::empty(StatusCode::NOT_MODIFIED)
    };
    Ok(http::revalidated(http::with_etag(response, &revision)))
}
