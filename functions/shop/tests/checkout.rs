//! Placing orders on a real DynamoDB: three calls, and the same order however often it is asked for.
#![allow(clippy::unwrap_used)] // In tests a panic is how a surprise is reported.

mod common;

use std::time::Duration;

use common::{Fault, Shop, lines, product_id, soon};
use serde_json::json;
use shop::domain::{IdempotencyKey, Lines, OrderId, Precondition, Problem, Status};
use shop::http::{problem_json, status};
use shop::time::Deadline;
use shop::use_cases::Placed;

fn key() -> IdempotencyKey {
    IdempotencyKey::parse("a-key-of-our-own-1").unwrap()
}

/// Stores and queues an order, as `place-order` does.
async fn place_as(shop: &Shop, lines: &Lines, id: Option<OrderId>) -> Result<Placed, Problem> {
    let placed = shop.checkout.store(lines, id, soon()).await?;
    shop.checkout.queue(&placed.order).await?;
    Ok(placed)
}

async fn place(shop: &Shop, lines: &Lines, key: &IdempotencyKey) -> Result<Placed, Problem> {
    place_as(shop, lines, Some(OrderId::derived_from(key, None))).await
}

#[tokio::test]
async fn an_order_takes_three_calls_and_is_stored_and_queued() {
    let shop = Shop::open().await;
    shop.stock("mug", 250, 9).await;
    shop.stock("pan", 1000, 9).await;
    shop.wire.calls();
    let lines = lines(&[("pan", 1), ("mug", 2)]);

    let placed = place_as(&shop, &lines, None).await.unwrap();

    assert_eq!(
        shop.wire.calls(),
        ["BatchGetItem", "PutItem", "SendMessage"]
    );
    assert!(!placed.replayed);
    assert_eq!(placed.order.status, Status::Pending);
    assert_eq!(placed.order.total_cents.get(), 1500);
    let stored = shop.orders.get(&placed.order.id).await.unwrap().unwrap();
    assert_eq!(stored.order, placed.order);
    assert_eq!(stored.fingerprint, lines.fingerprint());
}

#[tokio::test]
async fn the_message_says_all_that_the_worker_needs() {
    let shop = Shop::open().await;
    shop.stock("mug", 250, 9).await;

    let placed = place(&shop, &lines(&[("mug", 2)]), &key()).await.unwrap();

    let lines = json!([{"product_id": "mug", "quantity": 2}]);
    assert_eq!(
        shop.wire.sent(),
        [json!({"order_id": placed.order.id, "lines": lines})]
    );
}

#[tokio::test]
async fn a_repeated_request_gets_the_same_order_and_queues_it_again_while_it_is_pending() {
    let shop = Shop::open().await;
    shop.stock("mug", 250, 9).await;
    let lines = lines(&[("mug", 2)]);

    let first = place(&shop, &lines, &key()).await.unwrap();
    let again = place(&shop, &lines, &key()).await.unwrap();

    assert_eq!(again.order, first.order);
    assert!(!first.replayed && again.replayed);
    assert_eq!(shop.count_orders().await, 1);
    let sent = shop.wire.sent();
    assert_eq!(sent.len(), 2);
    assert_eq!(sent[0], sent[1]);
}

#[tokio::test]
async fn a_repeated_request_for_a_settled_order_gets_it_as_it_is_and_queues_nothing() {
    let shop = Shop::open().await;
    shop.stock("mug", 250, 9).await;
    let lines = lines(&[("mug", 2)]);
    let first = place(&shop, &lines, &key()).await.unwrap();
    shop.fulfilment
        .settle(&first.order.message(), "m-1", soon())
        .await
        .unwrap();
    shop.wire.calls();

    let again = place(&shop, &lines, &key()).await.unwrap();

    assert_eq!(again.order.status, Status::Fulfilled);
    assert!(again.replayed);
    assert_eq!(shop.wire.calls(), ["BatchGetItem", "PutItem"]);
}

#[tokio::test]
async fn the_order_of_the_lines_makes_no_other_order() {
    let shop = Shop::open().await;
    shop.stock("mug", 250, 9).await;
    shop.stock("pan", 1000, 9).await;

    let first = place(&shop, &lines(&[("mug", 1), ("pan", 2)]), &key())
        .await
        .unwrap();
    let again = place(&shop, &lines(&[("pan", 2), ("mug", 1)]), &key())
        .await
        .unwrap();

    assert_eq!(again.order, first.order);
}

#[tokio::test]
async fn a_key_does_not_stand_for_other_lines() {
    let shop = Shop::open().await;
    shop.stock("mug", 250, 9).await;
    shop.stock("pan", 1000, 9).await;
    place(&shop, &lines(&[("mug", 1)]), &key()).await.unwrap();

    for other in [&[("mug", 2)][..], &[("pan", 1)], &[("mug", 1), ("pan", 1)]] {
        let problem = place(&shop, &lines(other), &key()).await.unwrap_err();
        assert_eq!(status(&problem), 422, "{other:?}");
    }
    // Not even where the other lines could not be ordered at all.
    let problem = place(&shop, &lines(&[("nothing", 1)]), &key())
        .await
        .unwrap_err();
    assert_eq!(status(&problem), 422);
    assert_eq!(shop.count_orders().await, 1);
}

#[tokio::test]
async fn a_repeated_request_is_answered_though_the_product_has_changed_or_gone() {
    let shop = Shop::open().await;
    shop.stock("mug", 250, 9).await;
    let lines = lines(&[("mug", 2)]);
    let first = place(&shop, &lines, &key()).await.unwrap();

    shop.stock("mug", 999, 9).await;
    assert_eq!(
        place(&shop, &lines, &key()).await.unwrap().order,
        first.order
    );
    // So dear that the order could not be placed any more.
    shop.stock("mug", 9_007_199_254_740_991, 9).await;
    assert_eq!(
        place(&shop, &lines, &key()).await.unwrap().order,
        first.order
    );
    shop.catalog
        .delete(&product_id("mug"), &Precondition::default(), soon())
        .await
        .unwrap();
    assert_eq!(
        place(&shop, &lines, &key()).await.unwrap().order,
        first.order
    );
}

#[tokio::test]
async fn each_product_that_is_not_sold_is_named() {
    let shop = Shop::open().await;
    shop.stock("mug", 250, 9).await;
    shop.wire.calls();
    let lines = lines(&[("nothing", 1), ("mug", 1), ("never", 1)]);

    for key in [None, Some(&key())] {
        let id = key.map(|key| OrderId::derived_from(key, None));
        let problem = place_as(&shop, &lines, id).await.unwrap_err();

        assert_eq!(status(&problem), 422);
        let pointers: Vec<_> = problem
            .errors()
            .iter()
            .map(|error| error.pointer.as_str())
            .collect();
        assert_eq!(pointers, ["/lines/0/product_id", "/lines/2/product_id"]);
    }
    assert_eq!(
        shop.wire.calls(),
        ["BatchGetItem", "BatchGetItem", "GetItem"]
    );
    assert_eq!(shop.count_orders().await, 0);
}

#[tokio::test]
async fn a_total_that_no_client_could_read_is_refused() {
    let shop = Shop::open().await;
    shop.stock("palace", 9_007_199_254_740_991, 9).await;

    for quantity in [2, 10_000] {
        let lines = lines(&[("palace", quantity)]);
        let problem = place_as(&shop, &lines, None).await.unwrap_err();
        assert_eq!(
            (status(&problem), problem.errors()[0].pointer.as_str()),
            (422, "/lines")
        );
    }
    assert!(
        place_as(&shop, &lines(&[("palace", 1)]), None)
            .await
            .is_ok()
    );
}

#[tokio::test]
async fn without_a_key_each_request_is_an_order() {
    let shop = Shop::open().await;
    shop.stock("mug", 250, 9).await;
    let lines = lines(&[("mug", 2)]);

    let first = place_as(&shop, &lines, None).await.unwrap();
    let second = place_as(&shop, &lines, None).await.unwrap();

    assert_ne!(first.order.id, second.order.id);
    assert_eq!(shop.count_orders().await, 2);
}

#[tokio::test]
async fn an_order_that_could_not_be_queued_is_queued_when_it_is_asked_for_again() {
    let shop = Shop::open().await;
    shop.stock("mug", 250, 9).await;
    let lines = lines(&[("mug", 2)]);
    for refusal in ["AccessDenied", "AWS.SimpleQueueService.NonExistentQueue"] {
        shop.wire
            .break_next("SendMessage", Fault::refusal(400, refusal));

        let problem = place(&shop, &lines, &key()).await.unwrap_err();

        assert_eq!(status(&problem), 503);
        assert!(!problem_json(&problem).contains("secret"));
    }
    shop.wire.calls();

    let placed = place(&shop, &lines, &key()).await.unwrap();

    assert_eq!(placed.order.status, Status::Pending);
    assert!(placed.replayed);
    assert_eq!(
        shop.wire.calls(),
        ["BatchGetItem", "PutItem", "SendMessage"]
    );
    assert_eq!(shop.count_orders().await, 1);
}

#[tokio::test]
async fn a_write_whose_answer_is_lost_places_one_order_and_is_no_replay() {
    let shop = Shop::open().await;
    shop.stock("mug", 250, 9).await;
    for id in [None, Some(OrderId::derived_from(&key(), None))] {
        let before = shop.count_orders().await;
        shop.wire.calls();
        shop.wire.break_next("PutItem", Fault::LostAnswer);

        let placed = place_as(&shop, &lines(&[("mug", 2)]), id).await.unwrap();

        assert!(!placed.replayed);
        assert_eq!(
            shop.wire.calls(),
            ["BatchGetItem", "PutItem", "PutItem", "SendMessage"]
        );
        assert_eq!(shop.count_orders().await, before + 1);
    }
    let again = place(&shop, &lines(&[("mug", 2)]), &key()).await.unwrap();
    assert!(again.replayed);
}

#[tokio::test]
async fn an_order_that_is_asked_for_while_it_is_settled_is_found() {
    let shop = Shop::open().await;
    shop.stock("mug", 250, 9).await;
    let lines = lines(&[("mug", 2)]);
    let first = place(&shop, &lines, &key()).await.unwrap();
    let conflict = "com.amazonaws.dynamodb.v20120810#TransactionConflictException";
    for _ in 0..2 {
        shop.wire
            .break_next("PutItem", Fault::refusal(400, conflict));
    }

    let again = place(&shop, &lines, &key()).await.unwrap();

    assert!(again.replayed);
    assert_eq!(again.order, first.order);
}

#[tokio::test]
async fn an_order_that_meets_transactions_until_its_time_is_up_is_refused_for_now() {
    let shop = Shop::open().await;
    shop.stock("mug", 250, 9).await;
    let conflict = "com.amazonaws.dynamodb.v20120810#TransactionConflictException";
    for _ in 0..100 {
        shop.wire
            .break_next("PutItem", Fault::refusal(400, conflict));
    }
    let soon_over = Deadline::after(Duration::from_millis(200));

    let id = Some(OrderId::derived_from(&key(), None));
    let outcome = shop
        .checkout
        .store(&lines(&[("mug", 2)]), id, soon_over)
        .await;

    let problem = outcome.unwrap_err();
    assert_eq!(status(&problem), 503);
}

#[tokio::test]
async fn requests_with_the_same_key_at_the_same_time_place_one_order() {
    let shop = Shop::open().await;
    shop.stock("mug", 250, 9).await;

    let requests: Vec<_> = (0..8)
        .map(|_| {
            let checkout = shop.checkout.clone();
            tokio::spawn(async move {
                let id = Some(OrderId::derived_from(&key(), None));
                let placed = checkout.store(&lines(&[("mug", 2)]), id, soon()).await;
                placed.unwrap().order.id
            })
        })
        .collect();

    for request in requests {
        assert_eq!(request.await.unwrap(), OrderId::derived_from(&key(), None));
    }
    assert_eq!(shop.count_orders().await, 1);
}
