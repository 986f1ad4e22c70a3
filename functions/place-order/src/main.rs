//! `POST /orders`: accepts an order, to be settled by `process-orders`.
//!
//! AWS calls: three. `BatchGetItem` for the prices, strongly consistent, a read unit for each
//! product of up to 4 KB; a conditional `PutItem` of the order, a write unit for each 1 KB;
//! `SendMessage`.
//!
//! Why it is fast: taking stock is the slow and contended part, and it happens behind the queue.
//! 202 means that the order is stored and queued, not that it is fulfilled. `GET /orders/{id}`
//! shows its status.
//!
//! A client that got no 202 repeats the request with the same `Idempotency-Key` and gets the same
//! order. Without a key it has no promise: an order may or may not have been placed.
//!
//! Each order placed is one line of the log. Its metric is read from the same line.
//!
//! Run it on its sample event, while `make run` runs: `make invoke FUNCTION=PlaceOrder`.

use lambda_http::http::header::{HeaderName, HeaderValue, LOCATION};
use lambda_http::http::{Response, StatusCode};
use lambda_http::{Body, Error, Request, run, service_fn};
use shop::aws::{self, Aws};
use shop::domain::{IdempotencyKey, Lines, OrderId, Problem, ProductId};
use shop::dynamodb::{Catalog, Orders};
use shop::http;
use shop::sqs::OrderQueue;
use shop::telemetry::{Metric, Metrics};
use shop::time::{Deadline, PRIMING_TIMEOUT};
use shop::use_cases::{Checkout, Placed};

const IDEMPOTENT_REPLAYED: HeaderName = HeaderName::from_static("idempotent-replayed");

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Error> {
    shop::telemetry::init();
    let metrics = &Metrics::new(aws::required("METRICS_NAMESPACE")?);
    let aws = Aws::from_env()?;
    let catalog = Catalog::new(aws.dynamodb(), aws::required("PRODUCTS_TABLE")?);
    let nothing = [ProductId::parse("-")?];
    // Opens the connection before the first request does, see get-product. The answer is thrown away.
    aws::prime(catalog.prices(&nothing, Deadline::after(PRIMING_TIMEOUT))).await;
    let checkout = &Checkout::new(
        catalog,
        Orders::new(aws.dynamodb(), aws::required("ORDERS_TABLE")?),
        OrderQueue::new(aws.sqs(), aws::required("ORDERS_QUEUE_URL")?),
    );
    run(service_fn(|request: Request| async move {
        http::respond(&request, |deadline| {
            place_order(checkout, metrics, &request, deadline)
        })
        .await
    }))
    .await
}

async fn place_order(
    checkout: &Checkout,
    metrics: &Metrics,
    request: &Request,
    deadline: Deadline,
) -> Result<Response<Body>, Problem> {
    let key = http::header(request, "idempotency-key")?;
    let key = http::parsed("idempotency-key", key, IdempotencyKey::parse)?;
    let customer = http::customer(request)?;
    let lines = Lines::from_body(http::json_bytes(request)?)?;
    let id = key.map(|key| OrderId::derived_from(&key, customer.as_ref()));

    let placed = checkout.store(&lines, id, deadline).await?;
    // Counted before it is queued: if SQS does not answer, this is the only request that knows it has
    // placed the order.
    count(metrics, &placed);
    checkout.queue(&placed.order).await?;

    let mut response = http::json(StatusCode::ACCEPTED, &placed.order)?;
    let location = HeaderValue::from_str(&format!("/orders/{}", placed.order.id))
        .map_err(|error| Problem::internal(error.to_string()))?;
    response.headers_mut().insert(LOCATION, location);
    if placed.replayed {
        response
            .headers_mut()
            .insert(IDEMPOTENT_REPLAYED, HeaderValue::from_static("true"));
    }
    Ok(response)
}

/// Logs the order, and with it whether this request placed it.
fn count(metrics: &Metrics, placed: &Placed) {
    let (message, metric) = if placed.replayed {
        ("order replayed", Metric::OrdersReplayed)
    } else {
        ("order placed", Metric::OrdersPlaced)
    };
    let order_id = ("order_id", placed.order.id.as_str());
    metrics.log(message, &[order_id], &[(metric, &[1])]);
}
