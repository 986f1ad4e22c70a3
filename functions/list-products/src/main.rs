//! `GET /products?category=&limit=&cursor=&fields=`: lists products, a page at a time.
//!
//! AWS calls: one. With a category a `Query` on the index `by-category`, without one a `Scan`; both
//! eventually consistent, half a read unit for each 4 KB of the page.
//!
//! Why it is fast: a page is bounded, and so is what it costs, however large the table grows.
//! Nothing is filtered after it was read, so all that is paid for is answered.

use lambda_http::http::{Response, StatusCode};
use lambda_http::{Body, Error, Request, run, service_fn};
use shop::aws::{self, Aws};
use shop::catalog::Catalog;
use shop::cursor::Listing;
use shop::http;
use shop::problem::Problem;
use shop::product::{Category, Fields, Limit};

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Error> {
    shop::telemetry::init();
    let catalog = &Catalog::new(
        Aws::from_env()?.dynamodb(),
        aws::required("PRODUCTS_TABLE")?,
    );
    let nothing = Listing::Category(Category::parse("-")?);
    // Opens the connection before the first request does. What it reads does not matter.
    aws::prime(catalog.list(&nothing, Limit::default(), None, Fields::ALL)).await;
    run(service_fn(|request: Request| async move {
        http::respond(&request, list_products(catalog, &request)).await
    }))
    .await
}

async fn list_products(catalog: &Catalog, request: &Request) -> Result<Response<Body>, Problem> {
    let [category, limit, cursor, fields] =
        http::query_parameters(request, ["category", "limit", "cursor", "fields"])?;
    let listing = category
        .map_or(Ok(Listing::All), |name| {
            Category::parse(name).map(Listing::Category)
        })
        .map_err(|reason| Problem::bad_value("category", &reason))?;
    let limit = limit
        .map_or(Ok(Limit::default()), str::parse)
        .map_err(|reason| Problem::bad_value("limit", &reason))?;
    let after = cursor
        .map(|cursor| listing.position(cursor))
        .transpose()
        .map_err(|reason| Problem::bad_value("cursor", &reason))?;
    let fields = fields
        .map_or(Ok(Fields::ALL), Fields::parse)
        .map_err(|reason| Problem::bad_value("fields", &reason))?;

    let page = catalog
        .list(&listing, limit, after.as_ref(), fields)
        .await?;

    Ok(http::revalidated(http::json(StatusCode::OK, &page)?))
}
