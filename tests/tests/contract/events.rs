//! The log of events: what it says of one order, and that the meter is a sum over it.

use std::collections::{BTreeMap, BTreeSet};

use reqwest::StatusCode;
use serde_json::{Value, json};
use shop_tests::Shop;

async fn events(shop: &Shop) -> Vec<Value> {
    let url = format!("{}/events?until=now", shop.control_url());
    let text = reqwest::get(url).await.unwrap().text().await.unwrap();
    text.lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect()
}

fn only(mut found: Vec<Value>) -> Value {
    assert_eq!(found.len(), 1, "{found:#?}");
    found.remove(0)
}

#[tokio::test]
async fn the_log_tells_the_whole_story_of_an_order_and_the_meter_is_its_sum() {
    let shop = Shop::start("events", |template| template);
    shop.has_product("told", "events", 100, 10).await;
    let order = json!({"lines": [{"product_id": "told", "quantity": 1}]});
    let accepted = shop
        .post("/orders", &order)
        .await
        .expect(StatusCode::ACCEPTED);
    let id = accepted.body["id"].as_str().unwrap().to_owned();
    shop.final_order(&id).await;
    shop.drained("OrdersQueue").await;
    let log = events(&shop).await;
    let of = |kind: &str, fits: &dyn Fn(&Value) -> bool| -> Vec<Value> {
        let all = log.iter().filter(|it| it["event"] == kind && fits(it));
        all.cloned().collect()
    };

    // The request, and the calls that it made.
    let placed = only(of("invocation", &|it| it["source"] == "POST /orders"));
    assert_eq!(placed["function"], "PlaceOrder");
    assert_eq!(
        (&placed["cold"], &placed["outcome"]),
        (&json!(true), &json!("success"))
    );
    let calls = of("call", &|it| it["request_id"] == placed["request_id"]);
    let made: Vec<_> = calls
        .iter()
        .map(|it| {
            (
                it["operation"].as_str().unwrap(),
                it["resource"].as_str().unwrap(),
            )
        })
        .collect();
    assert_eq!(
        made,
        [
            ("DynamoDB.BatchGetItem", "ProductsTable"),
            ("DynamoDB.PutItem", "OrdersTable"),
            ("SQS.SendMessage", "OrdersQueue"),
        ]
    );
    for call in &calls {
        assert_eq!(call["environment"], placed["environment"]);
        assert!(
            call["duration_us"].as_u64() <= placed["duration_us"].as_u64(),
            "{call}"
        );
    }

    // The message, from its sending to its end, by the invocation that it was delivered to.
    let message = |change: &'static str| {
        only(of("messages", &|it| {
            it["queue"] == "OrdersQueue" && it["change"] == change
        }))
    };
    let settled = only(of("invocation", &|it| it["source"] == "OrdersQueue"));
    assert_eq!(settled["function"], "ProcessOrders");
    for change in ["sent", "received", "delivered", "deleted"] {
        assert_eq!(message(change)["ids"], message("sent")["ids"], "{change}");
    }
    for change in ["delivered", "deleted"] {
        assert_eq!(
            message(change)["request_id"],
            settled["request_id"],
            "{change}"
        );
    }
    let transaction = of("call", &|it| {
        it["operation"] == "DynamoDB.TransactWriteItems"
    });
    let transaction = only(transaction);
    assert_eq!(transaction["request_id"], settled["request_id"]);
    assert_eq!(transaction["resource"], "OrdersTable,ProductsTable");
    // Twice for each of two items, and once for the index on products.
    assert_eq!(transaction["write_units"], 5.0);

    // Every call comes from an environment that was started.
    let started = of("environment", &|it| it["change"] == "started");
    let started: BTreeSet<_> = started
        .iter()
        .map(|it| it["environment"].as_str())
        .collect();
    for call in of("call", &|_| true) {
        assert!(started.contains(&call["environment"].as_str()), "{call}");
    }

    // Reading the order goes on, so the sums are taken of what has come to rest.
    let meter = shop.meter().await;
    for function in ["PlaceOrder", "ProcessOrders", "PutProduct"] {
        let mut sums: BTreeMap<String, (u64, f64, u64)> = BTreeMap::new();
        for call in of("call", &|it| it["function"] == function) {
            let operation = call["operation"].as_str().unwrap().to_owned();
            let (calls, units, bytes) = sums.entry(operation).or_default();
            *calls += 1;
            *units += call["read_units"].as_f64().unwrap() + call["write_units"].as_f64().unwrap();
            *bytes += call["response_bytes"].as_u64().unwrap();
        }
        let metered = meter["functions"][function]["operations"]
            .as_object()
            .unwrap();
        assert_eq!(metered.len(), sums.len(), "{function}");
        for (operation, (calls, units, bytes)) in sums {
            let counted = &metered[&operation];
            assert_eq!(counted["calls"], calls, "{function} {operation}");
            assert_eq!(counted["response_bytes"], bytes, "{function} {operation}");
            let read = counted["read_units"].as_f64().unwrap();
            let written = counted["write_units"].as_f64().unwrap();
            assert!(
                (read + written - units).abs() < 1e-9,
                "{function} {operation}"
            );
        }
    }
    shop.stop().await;
}

#[tokio::test]
async fn a_reader_that_follows_the_log_gets_what_happens() {
    let shop = Shop::start("followed", |template| template);
    shop.get("/products/nothing")
        .await
        .expect(StatusCode::NOT_FOUND);
    let url = format!("{}/events?from=now", shop.control_url());
    let mut follower = reqwest::get(url).await.unwrap();
    shop.get("/products/nothing-else")
        .await
        .expect(StatusCode::NOT_FOUND);
    let mut text = String::new();
    while !text.contains(r#""event":"invocation""#) {
        let chunk = follower.chunk().await.unwrap().expect("it goes on");
        text.push_str(std::str::from_utf8(&chunk).unwrap());
    }
    assert!(
        !text.contains(r#""change":"started""#),
        "only what comes: {text}"
    );
    let refused = format!("{}/events?from=yesterday", shop.control_url());
    let refused = reqwest::get(refused).await.unwrap();
    assert_eq!(refused.status(), 400);
    shop.stop().await;
}
