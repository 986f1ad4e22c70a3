//! Answers to clients, and counts in metrics, when answers of AWS are lost on their way to a function.
//!
//! The SDK repeats a call whose answer did not come. Faults are drawn by seed, and requests are sent one
//! after another, so each run loses the same answers.

use std::collections::{BTreeMap, HashSet};

use reqwest::{Method, StatusCode};
use serde_json::{Value, json};
use shop_tests::{Reply, Shop};

use crate::telemetry::{settled_log, sums};

/// A fault that loses 3 answers in 10 of `operation`. With this seed no call loses the answers of all
/// three attempts that the SDK makes, which would be answered 503.
fn lost(operation: &str) -> Value {
    let fault = json!({"kind": "answer_lost", "probability": 0.3, "operations": [operation]});
    json!({"seed": 0, "faults": [fault]})
}

async fn struck(shop: &Shop) -> u64 {
    let meter = shop.meter().await;
    meter["faults"]["answer_lost"].as_u64().unwrap_or_default()
}

async fn place(shop: &Shop, key: &str, quantity: u64) -> Reply {
    let headers = [
        ("content-type", "application/json"),
        ("idempotency-key", key),
    ];
    let order = json!({"lines": [{"product_id": "mug", "quantity": quantity}]});
    let body = Some(order.to_string().into_bytes());
    shop.send_with(Method::POST, "/orders", &headers, body)
        .await
}

fn key(number: usize) -> String {
    format!("key-of-the-order-number-{number}")
}

#[tokio::test]
async fn an_order_that_was_sent_once_is_no_replay_and_is_counted_as_placed() {
    let shop = Shop::start("lost-orders", |template| template);
    shop.has_product("mug", "lost", 100, 1_000).await;
    shop.inject(&lost("DynamoDB.PutItem")).await;

    for number in 0..20 {
        let reply = place(&shop, &key(number), 1)
            .await
            .expect(StatusCode::ACCEPTED);
        assert_eq!(reply.header("idempotent-replayed"), "", "{number}");
    }

    assert!(struck(&shop).await > 0, "no answer was lost");
    shop.inject_nothing().await;
    let again = place(&shop, &key(0), 1).await.expect(StatusCode::ACCEPTED);
    assert_eq!(again.header("idempotent-replayed"), "true");
    settled_log(&shop, "PlaceOrder").await;
    let sums = sums(&shop, "PlaceOrder");
    assert_eq!(sums["OrdersPlaced"], 20);
    assert_eq!(sums["OrdersReplayed"], 1);
    shop.stop().await;
}

#[tokio::test]
async fn a_product_is_created_once_and_told_so() {
    let shop = Shop::start("lost-products", |template| template);
    shop.inject(&lost("DynamoDB.UpdateItem")).await;
    let mug = json!({"name": "Mug", "category": "lost", "price_cents": 1, "stock": 1});

    let mut tags = HashSet::new();
    for number in 0..20 {
        let path = format!("/products/lost-{number}");
        let created = shop.put(&path, &mug).await.expect(StatusCode::CREATED);
        assert_eq!(created.body["version"], 1);
        let replaced = shop.put(&path, &mug).await.expect(StatusCode::OK);
        assert_eq!(replaced.body["version"], 2);
        tags.extend([
            created.header("etag").to_owned(),
            replaced.header("etag").to_owned(),
        ]);
    }

    assert!(struck(&shop).await > 0, "no answer was lost");
    assert_eq!(tags.len(), 40);
    shop.stop().await;
}

#[tokio::test]
async fn an_order_that_was_stored_but_not_queued_is_counted_as_placed() {
    let shop = Shop::start("unqueued", |template| template);
    shop.has_product("mug", "lost", 100, 1_000).await;
    let out =
        json!({"kind": "service_unavailable", "probability": 1, "operations": ["SQS.SendMessage"]});
    shop.inject(&json!({"seed": 1, "faults": [out]})).await;
    place(&shop, &key(1), 1).await.expect_problem(503);

    shop.inject_nothing().await;
    let order = place(&shop, &key(1), 1).await.expect(StatusCode::ACCEPTED);

    assert_eq!(order.header("idempotent-replayed"), "true");
    shop.final_order(order.body["id"].as_str().unwrap()).await;
    settled_log(&shop, "PlaceOrder").await;
    let sums = sums(&shop, "PlaceOrder");
    assert_eq!((sums["OrdersPlaced"], sums["OrdersReplayed"]), (1, 1));
    shop.stop().await;
}

#[tokio::test]
async fn an_order_whose_worker_died_after_its_transaction_is_counted_as_fulfilled() {
    // A message whose worker died comes back when its visibility timeout is over.
    let shop = Shop::start("died", |template| {
        let quick = template.replace("VisibilityTimeout: 60", "VisibilityTimeout: 4");
        assert_ne!(quick, template);
        quick.replace("      Timeout: 10\n", "      Timeout: 3\n")
    });
    shop.has_product("mug", "lost", 100, 5).await;
    // With this seed the worker is killed while its first transaction is made, which DynamoDB
    // completes, and the second call is left alone.
    let kill = json!({
        "kind": "kill", "probability": 0.7, "functions": ["ProcessOrders"],
        "operations": ["DynamoDB.TransactWriteItems"],
    });
    shop.inject(&json!({"seed": 6, "faults": [kill]})).await;

    let order = place(&shop, &key(1), 1).await.expect(StatusCode::ACCEPTED);

    let order = shop.final_order(order.body["id"].as_str().unwrap()).await;
    assert_eq!(order["status"], "FULFILLED");
    assert_eq!(shop.meter().await["faults"]["kill"], 1);
    shop.drained("OrdersQueue").await;
    settled_log(&shop, "ProcessOrders").await;
    assert_eq!(
        sums(&shop, "ProcessOrders"),
        BTreeMap::from([("OrdersFulfilled".to_owned(), 1)])
    );
    shop.stop().await;
}

#[tokio::test]
async fn an_environment_whose_credentials_expired_ends_itself() {
    let shop = Shop::start("expired", |template| template);
    // With this seed the first environment of each function is struck, and the second is not.
    let expired =
        json!({"kind": "credentials_expired", "probability": 0.5, "functions": ["GetOrder"]});
    shop.inject(&json!({"seed": 0, "faults": [expired]})).await;
    let path = format!("/orders/{}", "0".repeat(32));

    let first = shop.get(&path).await;
    assert_eq!(first.status, StatusCode::INTERNAL_SERVER_ERROR, "{first:?}");
    for _ in 0..5 {
        shop.get(&path).await.expect_problem(404);
    }

    let refused = shop.meter().await["faults"]["credentials_expired"].clone();
    assert!(refused.as_u64().unwrap() > 0, "{refused}");
    shop.stop().await;
}
