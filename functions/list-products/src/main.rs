//! `GET /products?category=&limit=&cursor=&fields=`: lists products, a page at a time.
//!
//! AWS calls: one. With a category a `Query` on the index `by-category`, without one a `Scan`; both
//! eventually consistent, half a read unit for each 4 KB of the page.
//!
//! Why it is fast: a page has a limited size and cost, however large the table grows. Nothing is
//! filtered after the read, so everything that is paid for is returned.
//!
//! Run it on its sample event, while `make run` runs: `make invoke FUNCTION=ListProducts`.

use lambda_http::http::{Response, StatusCode};
use lambda_http::{Body, Error, Request, run, service_fn};
use shop::aws::{self, Aws};
use shop::domain::{Category, Field, Fields, Limit, Listing, Problem};
use shop::dynamodb::Catalog;
use shop::http;

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Error> {
    shop::telemetry::init();
    let catalog = &Catalog::new(
        Aws::from_env()?.dynamodb(),
        aws::required("PRODUCTS_TABLE")?,
    );
    let nothing = Listing::Category(Category::parse("-")?);
    // Opens the connection before the first request does, see get-product. The answer is thrown away.
    aws::prime(catalog.list(&nothing, Limit::default(), None, Fields::all())).await;
    run(service_fn(|request: Request| async move {
        http::respond(&request, |_| list_products(catalog, &request)).await
    }))
    .await
}

async fn list_products(catalog: &Catalog, request: &Request) -> Result<Response<Body>, Problem> {
    let [category, limit, cursor, fields] =
        http::query_parameters(request, ["category", "limit", "cursor", "fields"])?;
    let category = http::parsed("category", category, Category::parse)?;
    let limit = http::parsed("limit", limit, str::parse)?.unwrap_or_default();
    let fields = http::parsed("fields", fields, Field::parse_list)?.unwrap_or_else(Fields::all);
    let listing = category.map_or(Listing::All, Listing::Category);
    let after = http::parsed("cursor", cursor, |cursor| listing.position(cursor))?;

    let page = catalog
        .list(&listing, limit, after.as_deref(), fields)
        .await?;

    http::json(StatusCode::OK, &page)
}
