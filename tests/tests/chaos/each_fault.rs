//! Each fault by itself: that it strikes as AWS does, and what the SDK and the functions make of it.

use std::sync::LazyLock;

use reqwest::{Method, StatusCode};
use serde_json::{Value, json};
use shop_tests::Shop;
use tokio::sync::{Mutex, MutexGuard};

/// Attempts that the functions' SDK makes of a call that may be repeated.
const ATTEMPTS: u64 = 3;

/// A shop for one test at a time, because faults strike all of it.
struct Turn {
    shop: &'static Shop,
    _turn: MutexGuard<'static, ()>,
}

impl Turn {
    async fn take() -> Turn {
        static SHOP: LazyLock<Shop> = LazyLock::new(|| Shop::start("each-fault", |it| it));
        static TURN: Mutex<()> = Mutex::const_new(());
        let turn = TURN.lock().await;
        let shop = &*SHOP;
        shop.inject_nothing().await;
        // A new environment makes calls of its own; after this there is a warm one.
        shop.has_product("warm", "faults", 100, 10).await;
        shop.get("/products/warm").await.expect(StatusCode::OK);
        Turn { shop, _turn: turn }
    }

    /// Has one fault strike every call that it can.
    async fn always(&self, mut fault: Value) {
        fault["probability"] = json!(1);
        self.inject(&[fault]).await;
    }

    async fn inject(&self, faults: &[Value]) {
        self.shop.reset_meter().await;
        self.shop
            .inject(&json!({"seed": 1, "faults": faults}))
            .await;
    }

    async fn struck(&self, kind: &str) -> u64 {
        let meter = self.shop.meter().await;
        meter["faults"][kind].as_u64().unwrap_or_default()
    }

    async fn put(&self, id: &str) -> u16 {
        let product = json!({"name": "n", "category": "faults", "price_cents": 1, "stock": 1});
        let reply = self.shop.put(&format!("/products/{id}"), &product).await;
        reply.status.as_u16()
    }

    /// The version of a product, once nothing is wrong any more.
    async fn version(&self, id: &str) -> Option<u64> {
        self.shop.inject_nothing().await;
        let reply = self.shop.get(&format!("/products/{id}")).await;
        reply.body["version"].as_u64()
    }
}

#[tokio::test]
async fn what_may_be_repeated_is_repeated_and_then_refused_with_503() {
    let turn = Turn::take().await;
    for kind in [
        "provisioned_throughput_exceeded",
        "throttling",
        "service_unavailable",
        "connection_dropped",
    ] {
        turn.always(json!({"kind": kind, "functions": ["PutProduct"]}))
            .await;
        assert_eq!(turn.put("refused").await, 503, "{kind}");
        assert_eq!(turn.struck(kind).await, ATTEMPTS, "{kind}");
        assert_eq!(
            turn.version("refused").await,
            None,
            "{kind}: no call was made"
        );
    }
}

#[tokio::test]
async fn a_conflict_outside_of_a_transaction_is_tried_again_until_the_time_is_up() {
    let turn = Turn::take().await;
    turn.always(json!({"kind": "transaction_conflict"})).await;
    assert_eq!(turn.put("conflict").await, 503);
    assert!(turn.struck("transaction_conflict").await > ATTEMPTS);
}

#[tokio::test]
async fn a_call_whose_answer_is_lost_was_made() {
    let turn = Turn::take().await;
    turn.always(json!({"kind": "answer_lost", "functions": ["PutProduct"]}))
        .await;
    assert_eq!(turn.put("lost-answer").await, 503);
    assert_eq!(turn.version("lost-answer").await, Some(ATTEMPTS));
}

#[tokio::test]
async fn a_half_open_connection_costs_the_time_of_an_attempt_and_no_more() {
    let turn = Turn::take().await;
    // The first attempt of a call and not the next: every second call is struck with this seed.
    let rule =
        json!({"kind": "half_open", "operations": ["DynamoDB.UpdateItem"], "probability": 0.3});
    turn.inject(&[rule]).await;
    while turn.struck("half_open").await == 0 {
        assert!(matches!(turn.put("half-open").await, 200 | 201));
    }
}

#[tokio::test]
async fn a_batch_read_gets_every_key_however_many_are_left_out_at_a_time() {
    let turn = Turn::take().await;
    let ids: Vec<_> = (0..8).map(|number| format!("batch-{number}")).collect();
    for id in &ids {
        assert!(matches!(turn.put(id).await, 200 | 201));
    }
    turn.always(json!({"kind": "unprocessed_keys"})).await;
    let reply = turn
        .shop
        .post("/products/batch-get", &json!({"ids": ids}))
        .await;
    let products = reply.expect(StatusCode::OK).body["products"].clone();
    let found = products
        .as_array()
        .unwrap()
        .iter()
        .map(|product| &product["id"]);
    assert_eq!(found.collect::<Vec<_>>(), ids.iter().collect::<Vec<_>>());
    assert!(turn.struck("unprocessed_keys").await > 0);
}

#[tokio::test]
async fn a_clock_that_is_five_minutes_off_is_corrected_by_the_sdk() {
    let turn = Turn::take().await;
    for seconds in [310, -310] {
        turn.always(json!({"kind": "clock_skew", "seconds": seconds}))
            .await;
        for _ in 0..10 {
            turn.shop.get("/products/warm").await.expect(StatusCode::OK);
        }
        // The SDK keeps what it has learned: each environment is refused once.
        let struck = turn.struck("clock_skew").await;
        let environments = turn.shop.environments("GetProduct").await;
        assert!(
            (1..=environments).contains(&struck),
            "{seconds}: {struck} by {environments}"
        );
    }
}

#[tokio::test]
async fn a_killed_environment_is_an_error_for_its_client_and_a_new_one_for_the_next() {
    let turn = Turn::take().await;
    turn.always(json!({"kind": "kill", "functions": ["DeleteProduct"]}))
        .await;
    let mut failures = 0;
    // A third of them die just after their answer, perhaps too late to spoil it.
    while failures < 3 {
        let reply = turn
            .shop
            .send(Method::DELETE, "/products/nothing", None)
            .await;
        failures += u32::from(reply.status.is_server_error());
    }
    turn.shop.inject_nothing().await;
    let reply = turn
        .shop
        .send(Method::DELETE, "/products/nothing", None)
        .await;
    reply.expect(StatusCode::NO_CONTENT);
}

#[tokio::test]
async fn a_frozen_environment_is_timed_out() {
    let turn = Turn::take().await;
    turn.always(json!({"kind": "freeze", "operations": ["DynamoDB.GetItem"]}))
        .await;
    let reply = turn.shop.get("/products/warm").await;
    assert!(reply.status.is_server_error(), "{reply:?}");
    assert_eq!(turn.struck("freeze").await, 1);
    turn.shop.inject_nothing().await;
    turn.shop.get("/products/warm").await.expect(StatusCode::OK);
}

#[tokio::test]
async fn a_throttled_invocation_never_reaches_its_function() {
    let turn = Turn::take().await;
    turn.always(json!({"kind": "throttled_invocation", "functions": ["GetProduct"]}))
        .await;
    let reply = turn.shop.get("/products/warm").await;
    assert_eq!(reply.status, StatusCode::SERVICE_UNAVAILABLE);
    assert_eq!(turn.shop.meter().await["functions"], json!({}));
}

#[tokio::test]
async fn an_order_whose_message_is_late_and_comes_twice_is_fulfilled_once() {
    let turn = Turn::take().await;
    turn.shop.has_product("doubled", "faults", 100, 10).await;
    let twice = json!({"kind": "duplicate_delivery", "probability": 1});
    let late = json!({"kind": "delayed_delivery", "probability": 1, "seconds": 1});
    turn.inject(&[twice, late]).await;
    let order = json!({"lines": [{"product_id": "doubled", "quantity": 3}]});
    let placed = turn
        .shop
        .post("/orders", &order)
        .await
        .expect(StatusCode::ACCEPTED);
    let order = turn
        .shop
        .final_order(placed.body["id"].as_str().unwrap())
        .await;
    assert_eq!(order["status"], "FULFILLED");
    assert_eq!(turn.struck("delayed_delivery").await, 1);
    assert_eq!(turn.struck("duplicate_delivery").await, 1);
    assert_eq!(turn.shop.get("/products/doubled").await.body["stock"], 7);
}

#[tokio::test]
async fn a_plan_can_be_read_replaced_and_removed_and_nonsense_changes_nothing() {
    let turn = Turn::take().await;
    let url = format!("{}/faults", turn.shop.control_url());
    let http = reqwest::Client::new();
    let plan = json!({"seed": 3, "faults": [
        {"kind": "latency", "probability": 0.5, "functions": ["Nobody"], "ms": 1},
    ]});
    turn.shop.inject(&plan).await;
    for nonsense in [
        "",
        "null",
        r#"{"faults": [{"kind": "kill", "probability": 2}]}"#,
    ] {
        let reply = http.put(&url).body(nonsense).send().await.unwrap();
        assert_eq!(reply.status(), StatusCode::BAD_REQUEST, "{nonsense}");
        let reason = reply.text().await.unwrap();
        assert!(reason.len() > 10, "{reason}");
    }
    let present: Value = http.get(&url).send().await.unwrap().json().await.unwrap();
    assert_eq!(present, plan);
    let reply = http.delete(&url).send().await.unwrap();
    assert_eq!(reply.status(), StatusCode::NO_CONTENT);
    let present: Value = http.get(&url).send().await.unwrap().json().await.unwrap();
    assert_eq!(present, json!({"seed": 0, "faults": []}));
}
