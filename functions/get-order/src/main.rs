//! `GET /orders/{id}`: reads an order and its status.
//!
//! AWS calls: one `GetItem`, strongly consistent, a read unit for each 4 KB of the item.
//!
//! Why it is fast: one read by key. It is strongly consistent because the client has often placed
//! the order a moment ago; half a read unit less would now and then answer 404.
//!
//! Run it on its sample event, while `make run` runs: `make invoke FUNCTION=GetOrder`.

use lambda_http::http::{Response, StatusCode};
use lambda_http::{Body, Error, Request, run, service_fn};
use shop::aws::{self, Aws};
use shop::domain::{OrderId, Problem};
use shop::dynamodb::Orders;
use shop::http;

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Error> {
    shop::telemetry::init();
    let orders = &Orders::new(Aws::from_env()?.dynamodb(), aws::required("ORDERS_TABLE")?);
    // Opens the connection before the first request does, see get-product. The answer is thrown away.
    aws::prime(orders.get(&OrderId::random())).await;
    run(service_fn(|request: Request| async move {
        http::respond(&request, |_| get_order(orders, &request)).await
    }))
    .await
}

async fn get_order(orders: &Orders, request: &Request) -> Result<Response<Body>, Problem> {
    let no_such_order = || Problem::NotFound("There is no such order.");
    // The shop makes the ids of orders. A malformed one cannot exist: 404, not 400.
    let id = OrderId::parse(http::path_parameter(request, "id")?).map_err(|_| no_such_order())?;

    let stored = orders.get(&id).await?.ok_or_else(no_such_order)?;

    http::json(StatusCode::OK, &stored.order)
}
