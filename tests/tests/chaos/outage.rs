//! DynamoDB or SQS out altogether: every request is refused by its function, before Lambda would end
//! it, in the words of the contract; and nothing is left of it when they are back.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use futures_util::future::join_all;
use reqwest::{Method, StatusCode};
use serde_json::{Value, json};
use shop_tests::{Reply, Shop};
use tokio::task::JoinSet;

/// The ways in which a service is out. `half_open` is a black hole.
const WAYS: [&str; 7] = [
    "half_open",
    "connection_dropped",
    "answer_lost",
    "internal_error",
    "service_unavailable",
    "throttling",
    "provisioned_throughput_exceeded",
];

const DYNAMODB: [&str; 8] = [
    "DynamoDB.BatchGetItem",
    "DynamoDB.DeleteItem",
    "DynamoDB.GetItem",
    "DynamoDB.PutItem",
    "DynamoDB.Query",
    "DynamoDB.Scan",
    "DynamoDB.TransactWriteItems",
    "DynamoDB.UpdateItem",
];

async fn take_out(shop: &Shop, operations: &[&str], way: &str) {
    let fault = json!({"kind": way, "probability": 1, "operations": operations});
    shop.reset_meter().await;
    shop.inject(&json!({"seed": 1, "faults": [fault]})).await;
}

async fn struck(shop: &Shop, way: &str) -> u64 {
    let meter = shop.meter().await;
    meter["faults"][way].as_u64().unwrap_or_default()
}

/// A request that succeeds when all is well.
struct Request {
    method: Method,
    path: String,
    body: Option<Value>,
}

impl Request {
    async fn send(&self, shop: &Shop) -> Reply {
        let method = self.method.clone();
        shop.send(method, &self.path, self.body.as_ref()).await
    }
}

/// A shop with a product and an order in it, and a request for each call that its functions make.
async fn shop_and_requests(name: &str) -> (Shop, Vec<Request>) {
    let shop = Shop::start(name, |template| template);
    shop.has_product("mug", "outage", 100, 1_000_000).await;
    let order = json!({"lines": [{"product_id": "mug", "quantity": 1}]});
    let placed = shop.post("/orders", &order).await;
    let placed = placed.expect(StatusCode::ACCEPTED).body["id"].clone();
    let placed = placed.as_str().unwrap().to_owned();
    let product = json!({"name": "n", "category": "c", "price_cents": 1, "stock": 1});
    let requests = [
        (Method::GET, "/products/mug", None),
        (Method::GET, "/products", None),
        (Method::GET, "/products?category=outage", None),
        (
            Method::POST,
            "/products/batch-get",
            Some(json!({"ids": ["mug"]})),
        ),
        (Method::PUT, "/products/other", Some(product)),
        (Method::DELETE, "/products/none", None),
        (Method::POST, "/orders", Some(order)),
        (Method::GET, &format!("/orders/{placed}"), None),
    ];
    let request = |(method, path, body): (_, &str, _)| Request {
        method,
        path: path.to_owned(),
        body,
    };
    (shop, requests.map(request).into())
}

#[tokio::test]
async fn while_dynamodb_is_out_every_route_refuses_and_the_first_request_after_it_succeeds() {
    let (shop, requests) = shop_and_requests("outage").await;
    for way in WAYS {
        take_out(&shop, &DYNAMODB, way).await;
        // Twice, so that some meet a connection and some have to make one.
        for _ in 0..2 {
            let replies = join_all(requests.iter().map(|request| request.send(&shop))).await;
            for (reply, request) in replies.into_iter().zip(&requests) {
                assert_eq!(reply.status, 503, "{way}: {} {reply:?}", request.path);
                assert_eq!(reply.header("retry-after"), "1", "{way}: {reply:?}");
                reply.expect_problem(503);
            }
        }
        shop.inject_nothing().await;
        for request in &requests {
            let reply = request.send(&shop).await;
            let path = &request.path;
            assert!(reply.status.is_success(), "after {way}: {path} {reply:?}");
        }
    }
    shop.stop().await;
}

#[tokio::test]
async fn an_order_refused_while_sqs_is_out_is_the_one_that_its_key_gets_afterwards() {
    let shop = Shop::start("outage-of-sqs", |template| template);
    shop.has_product("mug", "outage", 100, 1_000).await;
    for way in WAYS {
        let key = format!("refused-{way}-0123456789");
        let headers = [
            ("content-type", "application/json"),
            ("idempotency-key", key.as_str()),
        ];
        let order = json!({"lines": [{"product_id": "mug", "quantity": 1}]}).to_string();
        let place = || {
            shop.send_with(
                Method::POST,
                "/orders",
                &headers,
                Some(order.clone().into()),
            )
        };
        // SQS knows no error of this name.
        if way == "provisioned_throughput_exceeded" {
            continue;
        }

        take_out(&shop, &["SQS.SendMessage"], way).await;
        let refused = place().await.expect_problem(503);
        assert_eq!(refused.header("retry-after"), "1", "{way}: {refused:?}");
        shop.inject_nothing().await;

        let placed = place().await.expect(StatusCode::ACCEPTED);
        assert_eq!(placed.header("idempotent-replayed"), "true", "{way}");
        let settled = shop.final_order(placed.body["id"].as_str().unwrap()).await;
        assert_eq!(settled["status"], "FULFILLED", "{way}");
    }
    shop.stop().await;
}

#[tokio::test]
async fn a_service_that_is_out_is_asked_once_for_each_request_when_the_retry_budget_is_used_up() {
    // Without a budget it would be asked three times each.
    const REQUESTS: u64 = 100;
    let shop = Shop::start("retry-budget", |template| template);
    shop.has_product("mug", "outage", 100, 1).await;
    // Repeats that an environment's budget is good for, and that is good for again afterwards.
    for (way, budget) in [("service_unavailable", 10), ("throttling", 20)] {
        for _ in 0..REQUESTS {
            let reply = shop.get("/products/mug").await;
            reply.expect(StatusCode::OK);
        }
        take_out(&shop, &["DynamoDB.GetItem"], way).await;
        for _ in 0..REQUESTS {
            shop.get("/products/mug").await.expect_problem(503);
        }
        let calls = struck(&shop, way).await;
        // One, unless another had to start while it was not back yet from the request before. Each
        // makes a call of its own when it starts.
        let functions = reqwest::get(format!("{}/functions", shop.control_url())).await;
        let functions: Value = functions.unwrap().json().await.unwrap();
        let environments = functions["GetProduct"]["environments"].as_u64().unwrap();
        let expected = REQUESTS + budget..=REQUESTS + (budget + 1) * environments;
        assert!(
            expected.contains(&calls),
            "{way}: {calls}, not {expected:?}"
        );
        shop.inject_nothing().await;
    }
    shop.stop().await;
}

/// Prints how long refusals take. `make test` does not run it: what it measures is this machine.
#[tokio::test(flavor = "multi_thread")]
#[ignore = "measures; `make outage` runs it"]
async fn how_long_refusals_take() {
    const CLIENTS: usize = 8;
    const REQUESTS: usize = 800;
    println!("{REQUESTS} requests to all routes by {CLIENTS} clients, cold starts included");
    println!("                                 p50 ms  p99 ms  max ms  calls a request");
    for way in WAYS {
        let (shop, requests) = shop_and_requests(&format!("refusals-{way}")).await;
        take_out(&shop, &DYNAMODB, way).await;
        let (shop, requests) = (Arc::new(shop), Arc::new(requests));
        let next = Arc::new(AtomicUsize::new(0));
        let mut clients = JoinSet::new();
        for _ in 0..CLIENTS {
            let (shop, requests, next) = (shop.clone(), requests.clone(), next.clone());
            clients.spawn(async move {
                let mut times = Vec::new();
                loop {
                    let number = next.fetch_add(1, Ordering::Relaxed);
                    if number >= REQUESTS {
                        return times;
                    }
                    let begun = Instant::now();
                    let reply = requests[number % requests.len()].send(&shop).await;
                    times.push(begun.elapsed());
                    assert_eq!(reply.status, 503, "{reply:?}");
                }
            });
        }
        let mut times: Vec<Duration> = clients.join_all().await.into_iter().flatten().collect();
        times.sort();
        let at =
            |share: f64| times[((times.len() - 1) as f64 * share) as usize].as_secs_f64() * 1e3;
        let calls = struck(&shop, way).await as f64 / REQUESTS as f64;
        println!(
            "{way:32} {:7.1} {:7.1} {:7.1} {calls:7.2}",
            at(0.5),
            at(0.99),
            at(1.0)
        );
        shop.inject_nothing().await;
        Arc::into_inner(shop).unwrap().stop().await;
    }
}
