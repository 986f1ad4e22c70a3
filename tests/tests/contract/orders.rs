//! Orders: place, replay, read.

use reqwest::{Method, StatusCode};
use serde_json::{Value, json};
use shop_tests::{Reply, shop};

fn order_of(product: &str, quantity: u64) -> Value {
    json!({"lines": [{"product_id": product, "quantity": quantity}]})
}

async fn place_with_key(key: &str, order: &Value) -> Reply {
    let headers = [
        ("content-type", "application/json"),
        ("idempotency-key", key),
    ];
    let body = Some(order.to_string().into_bytes());
    shop()
        .send_with(Method::POST, "/orders", &headers, body)
        .await
}

async fn stock_of(product: &str) -> Value {
    shop().get(&format!("/products/{product}")).await.body["stock"].clone()
}

#[tokio::test]
async fn an_order_is_accepted_then_fulfilled_and_takes_its_stock() {
    shop().has_product("order-a", "order", 250, 10).await;
    shop().has_product("order-b", "order", 1_000, 10).await;
    let order = json!({"lines": [
        {"product_id": "order-a", "quantity": 2}, {"product_id": "order-b", "quantity": 3},
    ]});
    let placed = shop()
        .post("/orders", &order)
        .await
        .expect(StatusCode::ACCEPTED);
    let id = placed.body["id"].as_str().unwrap();
    assert_eq!(placed.header("location"), format!("/orders/{id}"));
    assert_eq!(placed.header("idempotent-replayed"), "");
    assert_eq!(placed.body["status"], "PENDING");
    assert_eq!(placed.body["total_cents"], 2 * 250 + 3 * 1_000);
    assert_eq!(
        placed.body["lines"],
        json!([
            {"product_id": "order-a", "quantity": 2, "unit_price_cents": 250},
            {"product_id": "order-b", "quantity": 3, "unit_price_cents": 1_000},
        ])
    );
    assert!(placed.body["placed_at"].as_str().unwrap().ends_with('Z'));

    let order = shop().final_order(id).await;
    assert_eq!(order["status"], "FULFILLED");
    assert_eq!(order["lines"], placed.body["lines"]);
    assert_eq!(order["placed_at"], placed.body["placed_at"]);
    assert!(order["updated_at"].as_str().unwrap() >= order["placed_at"].as_str().unwrap());
    assert!(order.get("reason").is_none());
    assert_eq!(stock_of("order-a").await, 8);
    assert_eq!(stock_of("order-b").await, 7);
    // Stock is part of the product, so this is another version of it.
    let product = shop().get("/products/order-a").await;
    assert_eq!(product.body["version"], 2);
}

#[tokio::test]
async fn an_order_beyond_the_stock_is_rejected_and_takes_nothing() {
    shop().has_product("scarce", "order", 100, 2).await;
    shop().has_product("plenty", "order", 100, 50).await;
    let order = json!({"lines": [
        {"product_id": "plenty", "quantity": 1}, {"product_id": "scarce", "quantity": 3},
    ]});
    let placed = shop()
        .post("/orders", &order)
        .await
        .expect(StatusCode::ACCEPTED);
    let order = shop()
        .final_order(placed.body["id"].as_str().unwrap())
        .await;
    assert_eq!(order["status"], "REJECTED");
    assert!(
        order["reason"].as_str().unwrap().contains("scarce"),
        "{order}"
    );
    assert_eq!(stock_of("scarce").await, 2);
    assert_eq!(stock_of("plenty").await, 50);
}

#[tokio::test]
async fn a_key_used_again_gives_the_same_order_and_takes_stock_once() {
    shop().has_product("replayed", "order", 100, 10).await;
    let order = order_of("replayed", 4);
    let first = place_with_key("a-key-that-is-used-again", &order).await;
    let first = first.expect(StatusCode::ACCEPTED);
    let id = first.body["id"].as_str().unwrap();
    for _ in 0..3 {
        let again = place_with_key("a-key-that-is-used-again", &order).await;
        let again = again.expect(StatusCode::ACCEPTED);
        assert_eq!(again.body["id"], id);
        assert_eq!(again.header("idempotent-replayed"), "true");
        assert_eq!(again.header("location"), format!("/orders/{id}"));
    }
    assert_eq!(shop().final_order(id).await["status"], "FULFILLED");
    let again = place_with_key("a-key-that-is-used-again", &order).await;
    let again = again.expect(StatusCode::ACCEPTED);
    assert_eq!(again.body["status"], "FULFILLED");
    assert_eq!(stock_of("replayed").await, 6);
}

#[tokio::test]
async fn a_key_still_finds_its_order_when_the_product_has_gone() {
    shop().has_product("gone", "order", 100, 10).await;
    let order = order_of("gone", 1);
    let placed = place_with_key("key-of-a-gone-product", &order).await;
    let placed = placed.expect(StatusCode::ACCEPTED);
    shop()
        .final_order(placed.body["id"].as_str().unwrap())
        .await;
    shop().send(Method::DELETE, "/products/gone", None).await;

    let again = place_with_key("key-of-a-gone-product", &order).await;
    let again = again.expect(StatusCode::ACCEPTED);
    assert_eq!(again.body["id"], placed.body["id"]);
    place_with_key("another-key-entirely", &order)
        .await
        .expect_problem(422);
}

#[tokio::test]
async fn a_replay_keeps_the_price_of_the_first_time() {
    shop().has_product("repriced", "order", 100, 10).await;
    let order = order_of("repriced", 2);
    place_with_key("key-of-a-repriced-one", &order)
        .await
        .expect(StatusCode::ACCEPTED);
    shop().has_product("repriced", "order", 900, 10).await;
    let again = place_with_key("key-of-a-repriced-one", &order).await;
    assert_eq!(again.expect(StatusCode::ACCEPTED).body["total_cents"], 200);
}

#[tokio::test]
async fn a_key_with_another_body_is_refused() {
    shop().has_product("reused", "order", 100, 10).await;
    let first = place_with_key("a-key-with-two-bodies", &order_of("reused", 1)).await;
    first.expect(StatusCode::ACCEPTED);
    place_with_key("a-key-with-two-bodies", &order_of("reused", 2))
        .await
        .expect_problem(422);
}

#[tokio::test]
async fn a_key_outside_16_to_255_visible_ascii_is_refused() {
    shop().has_product("keyed", "order", 100, 10).await;
    let long = "k".repeat(256);
    for key in [
        "",
        "short",
        "fifteen-letters",
        &long,
        "a key with some spaces in it",
        "schlüssel-schlüssel",
    ] {
        place_with_key(key, &order_of("keyed", 1))
            .await
            .expect_problem(400);
    }
    place_with_key(&"k".repeat(16), &order_of("keyed", 1))
        .await
        .expect(StatusCode::ACCEPTED);
    place_with_key(&"k".repeat(255), &order_of("keyed", 1))
        .await
        .expect(StatusCode::ACCEPTED);
}

#[tokio::test]
async fn without_a_key_the_same_body_is_another_order() {
    shop().has_product("twice", "order", 100, 10).await;
    let first = shop()
        .post("/orders", &order_of("twice", 1))
        .await
        .expect(StatusCode::ACCEPTED);
    let second = shop()
        .post("/orders", &order_of("twice", 1))
        .await
        .expect(StatusCode::ACCEPTED);
    assert_ne!(first.body["id"], second.body["id"]);
}

#[tokio::test]
async fn an_unknown_product_is_named() {
    shop().has_product("known", "order", 100, 10).await;
    let order = json!({"lines": [
        {"product_id": "known", "quantity": 1}, {"product_id": "unknown", "quantity": 1},
    ]});
    let reply = shop().post("/orders", &order).await.expect_problem(422);
    assert_eq!(reply.pointers(), ["/lines/1/product_id"]);
}

#[tokio::test]
async fn each_wrong_line_is_named() {
    let many: Vec<_> = (0..26)
        .map(|n| json!({"product_id": format!("p-{n}"), "quantity": 1}))
        .collect();
    let line = |product: Value, quantity: Value| json!({"lines": [{"product_id": product, "quantity": quantity}]});
    let cases: [(Value, &[&str]); 12] = [
        (json!({"lines": []}), &["/lines"]),
        (json!({"lines": many}), &["/lines"]),
        (json!({}), &["/lines"]),
        (json!({"lines": {}}), &["/lines"]),
        (line(json!("p"), json!(0)), &["/lines/0/quantity"]),
        (line(json!("p"), json!(-1)), &["/lines/0/quantity"]),
        (line(json!("p"), json!(1.5)), &["/lines/0/quantity"]),
        (line(json!("p"), json!("1")), &["/lines/0/quantity"]),
        (line(json!("p"), json!(u64::MAX)), &["/lines/0/quantity"]),
        (
            line(json!("no such/id"), json!(0)),
            &["/lines/0/product_id", "/lines/0/quantity"],
        ),
        (
            json!({"lines": [{"product_id": "p"}]}),
            &["/lines/0/quantity"],
        ),
        (
            json!({"lines": [
                {"product_id": "p", "quantity": 1}, {"product_id": "p", "quantity": 1},
            ]}),
            &["/lines/1/product_id"],
        ),
    ];
    for (body, pointers) in cases {
        let reply = shop().post("/orders", &body).await.expect_problem(422);
        assert_eq!(reply.pointers(), pointers, "{body} {reply:?}");
    }
}

#[tokio::test]
async fn an_order_that_is_not_there_is_404() {
    for id in ["nobody", "00000000-0000-0000-0000-000000000000", "a%20b"] {
        shop()
            .get(&format!("/orders/{id}"))
            .await
            .expect_problem(404);
    }
}
