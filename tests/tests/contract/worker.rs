//! The worker: messages that are delivered twice, and messages without an order.

use std::sync::LazyLock;

use reqwest::StatusCode;
use serde_json::json;
use shop_tests::Shop;

/// A shop whose queue is as patient as the template's, in seconds instead of minutes.
fn shop() -> &'static Shop {
    static SHOP: LazyLock<Shop> = LazyLock::new(|| {
        Shop::start("impatient", |template| {
            let mut template = template;
            for (patient, impatient) in [
                ("VisibilityTimeout: 60", "VisibilityTimeout: 3"),
                ("Timeout: 10", "Timeout: 3"),
                ("maxReceiveCount: 10", "maxReceiveCount: 2"),
            ] {
                assert_eq!(template.matches(patient).count(), 1, "{patient}");
                template = template.replace(patient, impatient);
            }
            template
        })
    });
    &SHOP
}

#[tokio::test]
async fn poison_ends_in_the_dead_letter_queue_untouched_and_good_orders_pass_it_by() {
    shop().has_product("beside-poison", "worker", 100, 10).await;
    let order = json!({"lines": [{"product_id": "beside-poison", "quantity": 1}]});
    let accepted = shop()
        .post("/orders", &order)
        .await
        .expect(StatusCode::ACCEPTED);
    let accepted = accepted.body["id"].as_str().unwrap().to_owned();
    shop().final_order(&accepted).await;

    let line = json!({"product_id": "beside-poison", "quantity": 9});
    let mut poison = [
        "not JSON at all".to_owned(),
        "{\"order_id\": 7}".to_owned(),
        json!({"order_id": "nobody-has-ordered-this", "lines": [line]}).to_string(),
        // A real order, but not what was ordered.
        json!({"order_id": accepted, "lines": [line]}).to_string(),
    ];
    poison.sort();
    for body in &poison {
        shop().send_message("OrdersQueue", body).await;
    }
    let good = shop()
        .post("/orders", &order)
        .await
        .expect(StatusCode::ACCEPTED);
    let good = shop().final_order(good.body["id"].as_str().unwrap()).await;
    assert_eq!(good["status"], "FULFILLED");

    // With nothing left to be given up, all that was is there.
    shop().drained("OrdersQueue").await;
    assert_eq!(
        shop().messages("OrdersDeadLetterQueue", poison.len()).await,
        poison
    );
    assert_eq!(shop().get("/products/beside-poison").await.body["stock"], 8);
}

#[tokio::test]
async fn a_message_delivered_many_times_takes_stock_once() {
    shop()
        .has_product("delivered-twice", "worker", 100, 10)
        .await;
    let lines = json!([{"product_id": "delivered-twice", "quantity": 3}]);
    let placed = shop().post("/orders", &json!({"lines": lines})).await;
    let placed = placed.expect(StatusCode::ACCEPTED);
    let id = placed.body["id"].as_str().unwrap();
    let message = json!({"order_id": id, "lines": lines}).to_string();
    for _ in 0..12 {
        shop().send_message("OrdersQueue", &message).await;
    }
    assert_eq!(shop().final_order(id).await["status"], "FULFILLED");
    shop().drained("OrdersQueue").await;
    assert_eq!(
        shop().get("/products/delivered-twice").await.body["stock"],
        7
    );
}
