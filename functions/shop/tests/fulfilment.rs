//! Settling orders on a real DynamoDB: once each, all or nothing, and never below zero.
#![allow(clippy::unwrap_used)] // In tests a panic is how a surprise is reported.

mod common;

use std::time::Duration;

use common::{Fault, ORDERS, Shop, lines, product_id, soon};
use serde_json::json;
use shop::deadline::Deadline;
use shop::fulfilment::{NotSettled, Settled};
use shop::order::{Order, OrderId, OrderMessage, Status};

async fn place(shop: &Shop, ordered: &[(&str, u64)]) -> OrderMessage {
    shop.checkout
        .place(&lines(ordered), None, soon())
        .await
        .unwrap()
        .order
        .message()
}

async fn order(shop: &Shop, message: &OrderMessage) -> Order {
    shop.orders
        .get(&message.order_id)
        .await
        .unwrap()
        .unwrap()
        .order
}

#[tokio::test]
async fn an_order_is_fulfilled_by_one_transaction_that_takes_its_stock() {
    let shop = Shop::open().await;
    shop.stock("mug", 250, 9).await;
    shop.stock("pan", 900, 1).await;
    let message = place(&shop, &[("mug", 2), ("pan", 1)]).await;
    shop.wire.calls();

    assert_eq!(
        shop.fulfilment.settle(&message, soon()).await,
        Ok(Settled::Fulfilled)
    );

    assert_eq!(shop.wire.calls(), ["TransactWriteItems"]);
    assert_eq!(
        (shop.stock_of("mug").await, shop.stock_of("pan").await),
        (7, 0)
    );
    let settled = order(&shop, &message).await;
    assert_eq!(settled.status, Status::Fulfilled);
    assert_eq!(settled.reason, None);
}

#[tokio::test]
async fn a_sale_is_a_new_version_of_the_product() {
    let shop = Shop::open().await;
    shop.stock("mug", 250, 9).await;
    let message = place(&shop, &[("mug", 2)]).await;

    shop.fulfilment.settle(&message, soon()).await.unwrap();

    let fields = shop::product::Fields::ALL;
    let (_, version) = shop.catalog.get(&product_id("mug"), fields).await.unwrap();
    assert_eq!(version.get(), 2);
}

#[tokio::test]
async fn a_message_that_comes_twice_takes_stock_once() {
    let shop = Shop::open().await;
    shop.stock("mug", 250, 9).await;
    let message = place(&shop, &[("mug", 2)]).await;

    assert_eq!(
        shop.fulfilment.settle(&message, soon()).await,
        Ok(Settled::Fulfilled)
    );
    assert_eq!(
        shop.fulfilment.settle(&message, soon()).await,
        Ok(Settled::Before)
    );

    assert_eq!(shop.stock_of("mug").await, 7);
}

#[tokio::test]
async fn workers_that_get_the_same_message_at_the_same_time_take_stock_once() {
    let shop = Shop::open().await;
    shop.stock("mug", 250, 9).await;
    let message = place(&shop, &[("mug", 2)]).await;

    let workers: Vec<_> = (0..8)
        .map(|_| {
            let (fulfilment, message) = (shop.fulfilment.clone(), message.clone());
            tokio::spawn(async move { fulfilment.settle(&message, soon()).await.unwrap() })
        })
        .collect();

    let mut fulfilled = 0;
    for worker in workers {
        fulfilled += u32::from(worker.await.unwrap() == Settled::Fulfilled);
    }
    assert_eq!(fulfilled, 1);
    assert_eq!(shop.stock_of("mug").await, 7);
}

#[tokio::test]
async fn orders_that_compete_for_the_last_pieces_never_take_more_than_there_are() {
    let shop = Shop::open().await;
    shop.stock("mug", 250, 10).await;
    let mut messages = Vec::new();
    for _ in 0..8 {
        messages.push(place(&shop, &[("mug", 3)]).await);
    }

    let workers: Vec<_> = messages
        .iter()
        .cloned()
        .map(|message| {
            let fulfilment = shop.fulfilment.clone();
            tokio::spawn(async move { fulfilment.settle(&message, soon()).await.unwrap() })
        })
        .collect();
    for worker in workers {
        worker.await.unwrap();
    }

    let mut fulfilled = 0;
    for message in &messages {
        let status = order(&shop, message).await.status;
        assert_ne!(status, Status::Pending);
        fulfilled += u64::from(status == Status::Fulfilled);
    }
    assert_eq!(fulfilled, 3);
    assert_eq!(shop.stock_of("mug").await, 1);
}

#[tokio::test]
async fn an_order_without_enough_stock_is_rejected_and_takes_nothing() {
    let shop = Shop::open().await;
    shop.stock("mug", 250, 9).await;
    shop.stock("pan", 900, 1).await;
    shop.stock("pot", 900, 0).await;
    let message = place(&shop, &[("pot", 1), ("mug", 2), ("pan", 2)]).await;
    let reason = "insufficient stock: pot, pan".to_owned();

    let settled = shop.fulfilment.settle(&message, soon()).await;

    assert_eq!(settled, Ok(Settled::Rejected(reason.clone())));
    assert_eq!(
        (shop.stock_of("mug").await, shop.stock_of("pan").await),
        (9, 1)
    );
    let rejected = order(&shop, &message).await;
    assert_eq!(
        (rejected.status, rejected.reason),
        (Status::Rejected, Some(reason))
    );
    assert_eq!(
        shop.fulfilment.settle(&message, soon()).await,
        Ok(Settled::Before)
    );
}

#[tokio::test]
async fn a_rejected_order_stays_rejected_when_stock_comes_in() {
    let shop = Shop::open().await;
    shop.stock("mug", 250, 0).await;
    let message = place(&shop, &[("mug", 1)]).await;
    shop.fulfilment.settle(&message, soon()).await.unwrap();

    shop.stock("mug", 250, 5).await;

    assert_eq!(
        shop.fulfilment.settle(&message, soon()).await,
        Ok(Settled::Before)
    );
    assert_eq!(shop.stock_of("mug").await, 5);
}

#[tokio::test]
async fn an_order_for_a_product_that_has_gone_is_rejected() {
    let shop = Shop::open().await;
    shop.stock("mug", 250, 9).await;
    shop.stock("pan", 900, 0).await;
    let message = place(&shop, &[("mug", 1), ("pan", 1)]).await;
    shop.catalog
        .delete(&product_id("mug"), soon())
        .await
        .unwrap();

    let settled = shop.fulfilment.settle(&message, soon()).await;

    let reason = "insufficient stock: pan; no longer sold: mug".to_owned();
    assert_eq!(settled, Ok(Settled::Rejected(reason)));
}

#[tokio::test]
async fn a_message_that_fits_no_order_is_never_settled() {
    let shop = Shop::open().await;
    shop.stock("mug", 250, 9).await;
    let placed = place(&shop, &[("mug", 1)]).await;
    let no_order = OrderMessage {
        order_id: OrderId::random(),
        ..placed.clone()
    };
    let other_lines = OrderMessage {
        lines: lines(&[("mug", 2)]),
        ..placed.clone()
    };
    // Not even where its lines could not be fulfilled.
    let too_many = OrderMessage {
        lines: lines(&[("mug", 99)]),
        ..placed.clone()
    };

    for message in [no_order, other_lines, too_many] {
        let outcome = shop.fulfilment.settle(&message, soon()).await;
        assert!(matches!(outcome, Err(NotSettled::Poison(_))), "{outcome:?}");
    }
    assert_eq!(shop.stock_of("mug").await, 9);
    assert_eq!(order(&shop, &placed).await.status, Status::Pending);
}

/// DynamoDB cancels a transaction for these reasons: the order's first, then the lines'.
fn cancelled(codes: &[&str]) -> Fault {
    let reasons: Vec<_> = codes.iter().map(|code| json!({"Code": code})).collect();
    let kind = "com.amazonaws.dynamodb.v20120810#TransactionCanceledException";
    Fault::Answer(
        400,
        json!({"__type": kind, "message": "cancelled", "CancellationReasons": reasons}),
    )
}

#[tokio::test]
async fn a_transaction_that_meets_another_is_tried_again() {
    let shop = Shop::open().await;
    shop.stock("mug", 250, 9).await;
    let message = place(&shop, &[("mug", 1)]).await;
    shop.wire.break_next(
        "TransactWriteItems",
        cancelled(&["None", "TransactionConflict"]),
    );
    shop.wire.break_next(
        "TransactWriteItems",
        cancelled(&["ThrottlingError", "None"]),
    );
    let in_progress = "com.amazonaws.dynamodb.v20120810#TransactionInProgressException";
    shop.wire
        .break_next("TransactWriteItems", Fault::refusal(400, in_progress));
    shop.wire.calls();

    assert_eq!(
        shop.fulfilment.settle(&message, soon()).await,
        Ok(Settled::Fulfilled)
    );

    assert_eq!(shop.wire.calls(), ["TransactWriteItems"; 4]);
    assert_eq!(shop.stock_of("mug").await, 8);
}

#[tokio::test]
async fn a_rejection_that_meets_a_transaction_is_tried_again() {
    let shop = Shop::open().await;
    shop.stock("mug", 250, 1).await;
    let message = place(&shop, &[("mug", 1)]).await;
    shop.stock("mug", 250, 0).await;
    let conflict = "com.amazonaws.dynamodb.v20120810#TransactionConflictException";
    for _ in 0..2 {
        shop.wire
            .break_next("UpdateItem", Fault::refusal(400, conflict));
    }
    shop.wire.calls();

    let settled = shop.fulfilment.settle(&message, soon()).await;

    assert!(matches!(settled, Ok(Settled::Rejected(_))), "{settled:?}");
    let expected = [
        "TransactWriteItems",
        "UpdateItem",
        "UpdateItem",
        "UpdateItem",
    ];
    assert_eq!(shop.wire.calls(), expected);
}

#[tokio::test]
async fn an_order_whose_time_runs_out_stays_pending_for_the_next_delivery() {
    let shop = Shop::open().await;
    shop.stock("mug", 250, 9).await;
    let message = place(&shop, &[("mug", 1)]).await;
    for _ in 0..100 {
        shop.wire.break_next(
            "TransactWriteItems",
            cancelled(&["TransactionConflict", "None"]),
        );
    }

    let deadline = Deadline::after(Duration::from_millis(200));
    let outcome = shop.fulfilment.settle(&message, deadline).await;

    assert!(matches!(outcome, Err(NotSettled::Failed(_))), "{outcome:?}");
    assert_eq!(order(&shop, &message).await.status, Status::Pending);
    assert_eq!(shop.stock_of("mug").await, 9);
}

#[tokio::test]
async fn an_order_goes_back_to_the_queue_when_dynamodb_is_out() {
    let shop = Shop::open().await;
    shop.stock("mug", 250, 9).await;
    let message = place(&shop, &[("mug", 1)]).await;
    for _ in 0..100 {
        shop.wire
            .break_next("TransactWriteItems", Fault::refusal(503, "Unavailable"));
    }
    shop.wire.calls();

    let outcome = shop.fulfilment.settle(&message, soon()).await;

    assert!(matches!(outcome, Err(NotSettled::Failed(_))), "{outcome:?}");
    // Four, each of which the SDK of this test repeats once.
    assert_eq!(shop.wire.calls(), ["TransactWriteItems"; 8]);
}

#[tokio::test]
async fn a_rejection_goes_back_to_the_queue_when_dynamodb_is_out() {
    let shop = Shop::open().await;
    shop.stock("mug", 250, 1).await;
    let message = place(&shop, &[("mug", 1)]).await;
    shop.stock("mug", 250, 0).await;
    for _ in 0..100 {
        shop.wire
            .break_next("UpdateItem", Fault::refusal(503, "Unavailable"));
    }
    shop.wire.calls();

    let outcome = shop.fulfilment.settle(&message, soon()).await;

    assert!(matches!(outcome, Err(NotSettled::Failed(_))), "{outcome:?}");
    assert_eq!(shop.wire.calls()[1..], ["UpdateItem"; 8]);
}

#[tokio::test]
async fn a_transaction_whose_answer_is_lost_takes_stock_once() {
    let shop = Shop::open().await;
    shop.stock("mug", 250, 9).await;
    let message = place(&shop, &[("mug", 1)]).await;
    shop.wire
        .break_next("TransactWriteItems", Fault::LostAnswer);

    shop.fulfilment.settle(&message, soon()).await.unwrap();

    assert_eq!(order(&shop, &message).await.status, Status::Fulfilled);
    assert_eq!(shop.stock_of("mug").await, 8);
}

#[tokio::test]
async fn an_order_that_another_worker_fulfils_meanwhile_is_not_rejected() {
    let shop = Shop::open().await;
    shop.stock("mug", 250, 9).await;
    let message = place(&shop, &[("mug", 1)]).await;
    // This worker learns that stock is short just before the other one fulfils the order.
    shop.wire.break_next(
        "TransactWriteItems",
        cancelled(&["None", "ConditionalCheckFailed"]),
    );
    shop.dynamodb
        .update_item()
        .table_name(ORDERS)
        .key(
            "id",
            aws_sdk_dynamodb::types::AttributeValue::S(message.order_id.to_string()),
        )
        .update_expression("SET #status = :fulfilled")
        .expression_attribute_names("#status", "status")
        .expression_attribute_values(
            ":fulfilled",
            aws_sdk_dynamodb::types::AttributeValue::S("FULFILLED".to_owned()),
        )
        .send()
        .await
        .unwrap();

    assert_eq!(
        shop.fulfilment.settle(&message, soon()).await,
        Ok(Settled::Before)
    );
    assert_eq!(order(&shop, &message).await.status, Status::Fulfilled);
}

#[tokio::test]
async fn a_transaction_that_cannot_succeed_is_not_tried_again() {
    let shop = Shop::open().await;
    shop.stock("mug", 250, 9).await;
    let message = place(&shop, &[("mug", 1)]).await;
    shop.wire.break_next(
        "TransactWriteItems",
        cancelled(&["None", "ValidationError"]),
    );
    shop.wire.calls();

    let outcome = shop.fulfilment.settle(&message, soon()).await;

    assert!(matches!(outcome, Err(NotSettled::Failed(_))), "{outcome:?}");
    assert_eq!(shop.wire.calls(), ["TransactWriteItems"]);
}
