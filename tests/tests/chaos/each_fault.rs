//! Each fault by itself: it strikes as it does at AWS, and the SDK and the functions cope with it.

use std::sync::LazyLock;

use reqwest::{Method, StatusCode};
use serde_json::{Value, json};
use shop_tests::{Reply, Shop};
use tokio::sync::{Mutex, MutexGuard};

use crate::wreck::{impatient, wait_until};

/// Attempts that the functions' SDK makes of a call that may be repeated.
const ATTEMPTS: u64 = 3;

/// A shop for one test at a time, because faults strike all of it.
struct Turn {
    shop: &'static Shop,
    _turn: MutexGuard<'static, ()>,
}

impl Turn {
    async fn take() -> Turn {
        static SHOP: LazyLock<Shop> = LazyLock::new(|| Shop::start("each-fault", impatient));
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

    /// The version of a product, if there is one, once nothing is wrong any more.
    async fn version(&self, id: &str) -> Option<u64> {
        self.shop.inject_nothing().await;
        let reply = self.shop.get(&format!("/products/{id}")).await;
        if reply.status == StatusCode::NOT_FOUND {
            return None;
        }
        let product = reply.expect(StatusCode::OK).body;
        Some(product["version"].as_u64().unwrap())
    }

    async fn delete_nothing(&self) -> Reply {
        let path = "/products/nothing";
        self.shop.send(Method::DELETE, path, None).await
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
async fn a_conflict_outside_of_a_transaction_is_tried_again_more_often_and_then_refused_with_503() {
    let turn = Turn::take().await;
    turn.always(json!({"kind": "transaction_conflict"})).await;
    assert_eq!(turn.put("conflict").await, 503);
    assert!(turn.struck("transaction_conflict").await > ATTEMPTS);
}

#[tokio::test]
async fn a_call_whose_answers_are_all_lost_was_made_once() {
    let turn = Turn::take().await;
    turn.always(json!({"kind": "answer_lost", "functions": ["PutProduct"]}))
        .await;
    assert_eq!(turn.put("lost-answer").await, 503);
    // The repeats find the mark of the first attempt.
    assert_eq!(turn.struck("answer_lost").await, ATTEMPTS);
    assert_eq!(turn.version("lost-answer").await, Some(1));
}

#[tokio::test]
async fn a_call_on_a_half_open_connection_is_given_up_and_made_again_on_another() {
    let turn = Turn::take().await;
    // Often enough that one of a few calls is struck, and too seldom for three in a row.
    let rule = json!({
        "kind": "half_open", "functions": ["PutProduct"], "operations": ["DynamoDB.UpdateItem"],
        "probability": 0.3,
    });
    turn.inject(&[rule]).await;
    for _ in 0..4 {
        assert!(matches!(turn.put("half-open").await, 200 | 201));
    }
    let struck = turn.struck("half_open").await;
    assert!(struck > 0);
    let caller = turn.shop.meter().await["functions"]["PutProduct"].clone();
    let answered = &caller["operations"]["DynamoDB.UpdateItem"]["calls"];
    assert_eq!(
        (answered, &caller["connections"]),
        (&json!(4), &json!(struck)),
        "{caller}"
    );
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
async fn a_killed_environment_is_an_error_for_its_client_and_nothing_to_the_next() {
    const REQUESTS: u64 = 12;
    let turn = Turn::take().await;
    turn.always(json!({"kind": "kill", "functions": ["DeleteProduct"]}))
        .await;
    let mut failures = 0;
    for _ in 0..REQUESTS {
        let reply = turn.delete_nothing().await;
        // A third of them die just after their answer, perhaps too late to spoil it.
        if reply.status != StatusCode::NO_CONTENT {
            assert_eq!(reply.status, StatusCode::INTERNAL_SERVER_ERROR, "{reply:?}");
            failures += 1;
        }
    }
    // One that dies after its answer may be given the next request before.
    assert!(turn.struck("kill").await >= REQUESTS / 2);
    assert!(failures >= REQUESTS / 3, "{failures} of {REQUESTS}");
    let log = turn.shop.log("DeleteProduct");
    assert!(log.contains("signal: killed"), "{log}");
    // The last one may have answered and not died yet, and one that was started besides has met no fault.
    let none_lives = || async {
        turn.shop.reap().await;
        turn.shop.environments("DeleteProduct").await == 0
    };
    assert!(wait_until(none_lives).await, "one lives on");
    turn.shop.inject_nothing().await;
    turn.delete_nothing().await.expect(StatusCode::NO_CONTENT);
}

#[tokio::test]
async fn a_frozen_environment_is_timed_out() {
    let turn = Turn::take().await;
    turn.always(json!({"kind": "freeze", "operations": ["DynamoDB.GetItem"]}))
        .await;
    let reply = turn.shop.get("/products/warm").await;
    assert_eq!(reply.status, StatusCode::INTERNAL_SERVER_ERROR, "{reply:?}");
    assert_eq!(turn.struck("freeze").await, 1);
    let log = turn.shop.log("GetProduct");
    assert_eq!(log.matches("Task timed out after").count(), 1, "{log}");
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
    let id = placed.body["id"].as_str().unwrap().to_owned();
    let order = turn.shop.final_order(&id).await;
    assert_eq!(order["status"], "FULFILLED");
    assert_eq!(turn.struck("delayed_delivery").await, 1);
    assert_eq!(turn.struck("duplicate_delivery").await, 1);
    // With this seed its deletion was lost. It comes again when it is visible again, and this time it goes.
    turn.shop.inject_nothing().await;
    turn.shop.drained("OrdersQueue").await;
    let received = &turn.shop.meter().await["queues"]["OrdersQueue"]["received"];
    assert_eq!(*received, 2);
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
