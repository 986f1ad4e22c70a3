//! Settling orders on a real DynamoDB: once each, all or nothing, and never below zero.
#![allow(clippy::unwrap_used)] // In tests a panic is how a surprise is reported.

mod common;

use std::collections::HashMap;
use std::time::Duration;

use aws_sdk_dynamodb::types::AttributeValue;
use common::{Fault, ORDERS, Shop, lines, product_id, soon};
use proptest::prelude::*;
use serde_json::json;
use shop::domain::{Order, OrderId, OrderMessage, Precondition, Status};
use shop::http::status;
use shop::time::Deadline;
use shop::use_cases::{NotSettled, Outcome};

async fn place(shop: &Shop, ordered: &[(&str, u64)]) -> OrderMessage {
    let placed = shop.checkout.store(&lines(ordered), None, soon()).await;
    placed.unwrap().order.message()
}

/// The order's outcome when a message of this id is delivered.
async fn deliver(shop: &Shop, message: &OrderMessage, id: &str) -> Result<Outcome, NotSettled> {
    let settled = shop.fulfilment.settle(message, id, soon()).await;
    settled.map(|settled| settled.outcome)
}

/// The outcome of the order of a message.
async fn settle(shop: &Shop, message: &OrderMessage) -> Result<Outcome, NotSettled> {
    deliver(shop, message, "m-1").await
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

    assert_eq!(settle(&shop, &message).await, Ok(Outcome::Fulfilled));

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

    let fields = shop::domain::Fields::all();
    let (_, before) = shop.catalog.get(&product_id("mug"), fields).await.unwrap();

    settle(&shop, &message).await.unwrap();

    let (_, after) = shop.catalog.get(&product_id("mug"), fields).await.unwrap();
    assert_eq!((before.version.get(), after.version.get()), (1, 2));
    assert_ne!(before, after);
}

#[tokio::test]
async fn a_message_that_comes_twice_takes_stock_once() {
    let shop = Shop::open().await;
    shop.stock("mug", 250, 9).await;
    let message = place(&shop, &[("mug", 2)]).await;
    let first = shop.fulfilment.settle(&message, "m-1", soon()).await;

    // The worker may have died before it counted the order, so the next delivery gets the same outcome.
    let again = shop.fulfilment.settle(&message, "m-1", soon()).await;

    assert_eq!(first.as_ref().unwrap().outcome, Outcome::Fulfilled);
    assert_eq!(again, first);
    assert_eq!(shop.stock_of("mug").await, 7);
    assert_eq!(order(&shop, &message).await.updated_at, first.unwrap().at);
}

#[tokio::test]
async fn two_messages_for_an_order_take_stock_once_and_one_of_them_settles_it() {
    let shop = Shop::open().await;
    for (product, outcome) in [
        ("mug", Outcome::Fulfilled),
        (
            "pot",
            Outcome::Rejected("insufficient stock: pot".to_owned()),
        ),
    ] {
        shop.stock(product, 250, if product == "mug" { 9 } else { 0 })
            .await;
        let message = place(&shop, &[(product, 2)]).await;

        assert_eq!(deliver(&shop, &message, "m-1").await, Ok(outcome.clone()));
        assert_eq!(
            deliver(&shop, &message, "m-2").await,
            Ok(Outcome::SettledByAnother)
        );
        assert_eq!(deliver(&shop, &message, "m-1").await, Ok(outcome));
    }
    assert_eq!(shop.stock_of("mug").await, 7);
}

#[tokio::test]
async fn workers_that_settle_the_same_order_at_the_same_time_take_stock_once() {
    let shop = Shop::open().await;
    shop.stock("mug", 250, 9).await;
    let message = place(&shop, &[("mug", 2)]).await;

    let workers: Vec<_> = (0..8)
        .map(|worker| {
            let (fulfilment, message) = (shop.fulfilment.clone(), message.clone());
            let id = format!("m-{worker}");
            tokio::spawn(async move { fulfilment.settle(&message, &id, soon()).await.unwrap() })
        })
        .collect();

    let mut fulfilled = 0;
    for worker in workers {
        fulfilled += u32::from(worker.await.unwrap().outcome == Outcome::Fulfilled);
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
            tokio::spawn(async move { fulfilment.settle(&message, "m-1", soon()).await.unwrap() })
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

    let settled = settle(&shop, &message).await;

    assert_eq!(settled, Ok(Outcome::Rejected(reason.clone())));
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
        deliver(&shop, &message, "m-2").await,
        Ok(Outcome::SettledByAnother)
    );
}

#[tokio::test]
async fn a_rejected_order_stays_rejected_when_stock_comes_in() {
    let shop = Shop::open().await;
    shop.stock("mug", 250, 0).await;
    let message = place(&shop, &[("mug", 1)]).await;
    settle(&shop, &message).await.unwrap();

    shop.stock("mug", 250, 5).await;

    let reason = "insufficient stock: mug".to_owned();
    assert_eq!(settle(&shop, &message).await, Ok(Outcome::Rejected(reason)));
    assert_eq!(shop.stock_of("mug").await, 5);
}

#[tokio::test]
async fn an_order_for_a_product_that_has_gone_is_rejected() {
    let shop = Shop::open().await;
    shop.stock("mug", 250, 9).await;
    shop.stock("pan", 900, 0).await;
    let message = place(&shop, &[("mug", 1), ("pan", 1)]).await;
    shop.catalog
        .delete(&product_id("mug"), &Precondition::default(), soon())
        .await
        .unwrap();

    let settled = settle(&shop, &message).await;

    let reason = "insufficient stock: pan; no longer sold: mug".to_owned();
    assert_eq!(settled, Ok(Outcome::Rejected(reason)));
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
        let outcome = settle(&shop, &message).await;
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
    let in_progress = "com.amazonaws.dynamodb.v20120810#TransactionInProgressException";
    shop.wire
        .break_next("TransactWriteItems", Fault::refusal(400, in_progress));
    shop.wire.calls();

    assert_eq!(settle(&shop, &message).await, Ok(Outcome::Fulfilled));

    assert_eq!(shop.wire.calls(), ["TransactWriteItems"; 3]);
    assert_eq!(shop.stock_of("mug").await, 8);
}

#[tokio::test]
async fn throttling_is_met_by_four_transactions_wherever_it_shows() {
    let shop = Shop::open().await;
    shop.stock("mug", 250, 9).await;
    for codes in [
        ["ThrottlingError", "None"],
        ["None", "ProvisionedThroughputExceeded"],
        ["TransactionConflict", "ThrottlingError"],
    ] {
        let message = place(&shop, &[("mug", 1)]).await;
        for _ in 0..4 {
            shop.wire
                .break_next("TransactWriteItems", cancelled(&codes));
        }
        shop.wire.calls();

        let outcome = settle(&shop, &message).await;

        assert!(matches!(outcome, Err(NotSettled::Failed(_))), "{outcome:?}");
        assert_eq!(shop.wire.calls(), ["TransactWriteItems"; 4], "{codes:?}");
        // Once it is over, the next delivery settles the order.
        assert_eq!(settle(&shop, &message).await, Ok(Outcome::Fulfilled));
    }
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

    let settled = settle(&shop, &message).await;

    assert!(matches!(settled, Ok(Outcome::Rejected(_))), "{settled:?}");
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
    let outcome = shop.fulfilment.settle(&message, "m-1", deadline).await;

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

    let outcome = settle(&shop, &message).await;

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

    let outcome = settle(&shop, &message).await;

    assert!(matches!(outcome, Err(NotSettled::Failed(_))), "{outcome:?}");
    assert_eq!(shop.wire.calls()[1..], ["UpdateItem"; 8]);
}

#[tokio::test]
async fn a_transaction_whose_answers_are_lost_takes_stock_once_and_is_counted() {
    let shop = Shop::open().await;
    shop.stock("mug", 250, 9).await;
    // One is repeated by the SDK with the same token. Two are more than it repeats: then the next
    // transaction finds the order settled by its own message.
    for lost in [1, 2] {
        let message = place(&shop, &[("mug", 1)]).await;
        for _ in 0..lost {
            shop.wire
                .break_next("TransactWriteItems", Fault::LostAnswer);
        }

        assert_eq!(settle(&shop, &message).await, Ok(Outcome::Fulfilled));

        assert_eq!(order(&shop, &message).await.status, Status::Fulfilled);
        assert_eq!(shop.stock_of("mug").await, 9 - lost);
    }
}

#[tokio::test]
async fn a_rejection_whose_answer_is_lost_is_counted() {
    let shop = Shop::open().await;
    shop.stock("mug", 250, 0).await;
    let message = place(&shop, &[("mug", 1)]).await;
    shop.wire.break_next("UpdateItem", Fault::LostAnswer);

    let outcome = settle(&shop, &message).await;

    let reason = "insufficient stock: mug".to_owned();
    assert_eq!(outcome, Ok(Outcome::Rejected(reason)));
}

#[tokio::test]
async fn refused_credentials_are_told_from_what_passes() {
    let shop = Shop::open().await;
    shop.stock("mug", 250, 9).await;
    let message = place(&shop, &[("mug", 1)]).await;
    for code in [
        "com.amazon.coral.service#ExpiredTokenException",
        "com.amazon.coral.service#UnrecognizedClientException",
    ] {
        shop.wire
            .break_next("TransactWriteItems", Fault::refusal(400, code));

        let outcome = settle(&shop, &message).await;

        assert!(
            matches!(outcome, Err(NotSettled::CredentialsRefused(_))),
            "{outcome:?}"
        );
    }
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
        .key("id", AttributeValue::S(message.order_id.to_string()))
        .update_expression("SET #status = :fulfilled")
        .expression_attribute_names("#status", "status")
        .expression_attribute_values(":fulfilled", AttributeValue::S("FULFILLED".to_owned()))
        .send()
        .await
        .unwrap();

    assert_eq!(settle(&shop, &message).await, Ok(Outcome::SettledByAnother));
    assert_eq!(order(&shop, &message).await.status, Status::Fulfilled);
}

#[tokio::test]
async fn a_transaction_that_cannot_succeed_is_not_tried_again() {
    let shop = Shop::open().await;
    shop.stock("mug", 250, 9).await;
    let message = place(&shop, &[("mug", 1)]).await;
    for (codes, settled) in [
        // It is the order that cannot be written: a person must look.
        (["ValidationError", "None"], None),
        // It is the product: the order is rejected, because no repeat would ever sell it.
        (["None", "ValidationError"], Some("no longer sold: mug")),
    ] {
        shop.wire
            .break_next("TransactWriteItems", cancelled(&codes));
        shop.wire.calls();

        let outcome = settle(&shop, &message).await;

        match settled {
            None => assert!(matches!(outcome, Err(NotSettled::Failed(_))), "{outcome:?}"),
            Some(reason) => assert_eq!(outcome, Ok(Outcome::Rejected(reason.to_owned()))),
        }
        assert_eq!(shop.wire.calls()[0], "TransactWriteItems");
    }
}

/// An attribute of a product as any program may have written it.
fn any_value() -> impl Strategy<Value = Option<AttributeValue>> {
    let number = prop_oneof![
        (0..20_u64).prop_map(|number| number.to_string()),
        Just("-1".to_owned()),
        Just("1.5".to_owned()),
        Just("9007199254740990".to_owned()),
        Just("9007199254740991".to_owned()),
        Just("9007199254740992".to_owned()),
        Just("1e125".to_owned()),
        Just("-1e125".to_owned()),
        Just("1e-130".to_owned()),
    ];
    prop_oneof![
        1 => Just(None),
        4 => number.prop_map(|number| Some(AttributeValue::N(number))),
        1 => "[0-9a-z ]{0,4}".prop_map(|text| Some(AttributeValue::S(text))),
        1 => any::<bool>().prop_map(|flag| Some(AttributeValue::Bool(flag))),
        1 => Just(Some(AttributeValue::Null(true))),
        1 => Just(Some(AttributeValue::L(vec![]))),
        1 => Just(Some(AttributeValue::Ns(vec!["1".to_owned()]))),
    ]
}

/// An item of the products table: the attributes that an order reads or changes.
fn any_item() -> impl Strategy<Value = HashMap<String, AttributeValue>> {
    // Most attributes are right most of the time, so that orders are accepted too.
    let attribute = |right: u64| {
        prop_oneof![
            3 => Just(Some(AttributeValue::N(right.to_string()))),
            2 => any_value(),
        ]
    };
    (attribute(250), attribute(9), attribute(1)).prop_map(|(price, stock, version)| {
        let attributes = [
            ("price_cents", price),
            ("stock", stock),
            ("version", version),
        ];
        let present = attributes
            .into_iter()
            .filter_map(|(name, it)| Some((name, it?)));
        let mut item: HashMap<_, _> = present.map(|(name, it)| (name.to_owned(), it)).collect();
        item.insert("id".to_owned(), AttributeValue::S("mug".to_owned()));
        item
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]

    #[test]
    fn whatever_the_catalogue_holds_no_accepted_order_stays_pending(
        ordered_from in any_item(),
        settled_from in any_item(),
        quantity in 1..=12_u64,
    ) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let shop = Shop::open().await;
            shop.store_item(ordered_from.clone()).await;
            let lines = lines(&[("mug", quantity)]);
            let placed = match shop.checkout.store(&lines, None, soon()).await {
                Ok(placed) => placed,
                Err(problem) => {
                    prop_assert_eq!(status(&problem), 422, "{}", problem);
                    return Ok(());
                }
            };

            // The item may have changed by the time that the order is settled.
            shop.store_item(settled_from.clone()).await;
            let settled = settle(&shop, &placed.order.message()).await;

            prop_assert!(settled.is_ok(), "{:?}", settled);
            let order = shop.orders.get(&placed.order.id).await.unwrap().unwrap().order;
            prop_assert_ne!(order.status, Status::Pending);
            Ok(())
        })?;
    }
}
