//! The catalogue on a real DynamoDB: conditions, projections, pages and batches.
#![allow(clippy::unwrap_used)] // In tests a panic is how a surprise is reported.

mod common;

use std::collections::HashMap;

use aws_sdk_dynamodb::types::AttributeValue;
use common::{Fault, PRODUCTS, Shop, product, product_id, soon};
use serde_json::json;
use shop::domain::{
    Category, Field, Fields, Limit, Listing, NewProduct, Precondition, Product, Revision, Revisions,
};
use shop::http::{problem_json, status};
use shop::time::Deadline;

fn category(name: &str) -> Listing {
    Listing::Category(Category::parse(name).unwrap())
}

fn ids(products: &[Product]) -> Vec<&str> {
    products
        .iter()
        .map(|product| product.id.as_ref().unwrap().as_str())
        .collect()
}

/// Reads every page of `listing` and checks that none is longer than `limit`.
async fn read_all(shop: &Shop, listing: &Listing, limit: u64) -> Vec<Product> {
    let mut products = Vec::new();
    let mut after = None;
    // More pages than any test has items: a listing that never ends fails instead of hanging.
    for _ in 0..100 {
        let limit = Limit::parse(limit).unwrap();
        let page = shop
            .catalog
            .list(listing, limit, after.as_deref(), Fields::all())
            .await
            .unwrap();
        assert!(page.products.len() as u64 <= limit.get());
        products.extend(page.products);
        match page.next_cursor {
            Some(cursor) => after = Some(listing.position(&cursor).unwrap()),
            None => return products,
        }
    }
    panic!("the listing does not end");
}

#[tokio::test]
async fn the_version_of_a_product_counts_its_writes() {
    let shop = Shop::open().await;
    let id = product_id("mug");

    for expected in 1..=3 {
        let new = product("mugs", 100, expected);
        let written = shop
            .catalog
            .put(&id, new, &Precondition::default(), soon())
            .await
            .unwrap();
        assert_eq!(written.revision.version.get(), expected);
        assert_eq!(written.product.version, Some(written.revision.version));
        assert_eq!(written.created, expected == 1);
    }

    assert_eq!(shop.wire.calls(), ["UpdateItem"; 3]);
}

#[tokio::test]
async fn what_is_put_is_what_is_read() {
    let shop = Shop::open().await;
    let body = json!({
        "name": "Kettle “Emaille” ☕", "category": "kitchen & more", "price_cents": 0,
        "stock": 9_007_199_254_740_991_u64, "description": "line one\n\tline two",
    });
    let new = NewProduct::from_body(body.to_string().as_bytes()).unwrap();

    let written = shop
        .catalog
        .put(&product_id("k"), new, &Precondition::default(), soon())
        .await
        .unwrap();
    let (read, revision) = shop
        .catalog
        .get(&product_id("k"), Fields::all())
        .await
        .unwrap();

    assert_eq!(
        (written.product, written.revision),
        (read.clone(), revision)
    );
    let mut expected = body;
    expected["id"] = json!("k");
    expected["version"] = json!(1);
    assert_eq!(serde_json::to_value(&read).unwrap(), expected);
}

#[tokio::test]
async fn a_description_that_is_left_out_is_removed() {
    let shop = Shop::open().await;
    let mut with = product("mugs", 100, 1);
    with.description = Some(shop::domain::Description::parse("red").unwrap());

    shop.catalog
        .put(&product_id("mug"), with, &Precondition::default(), soon())
        .await
        .unwrap();
    shop.stock("mug", 100, 1).await;

    let (read, revision) = shop
        .catalog
        .get(&product_id("mug"), Fields::all())
        .await
        .unwrap();
    assert_eq!(read.description, None);
    assert_eq!(revision.version.get(), 2);
}

/// The product is in one of these revisions.
fn one_of(revisions: &[&Revision]) -> Precondition {
    Precondition {
        one_of: Some(these(revisions)),
        none_of: None,
    }
}

/// The product is in none of these revisions.
fn none_of(revisions: &[&Revision]) -> Precondition {
    Precondition {
        one_of: None,
        none_of: Some(these(revisions)),
    }
}

fn these(revisions: &[&Revision]) -> Revisions {
    Revisions::These(revisions.iter().copied().cloned().collect())
}

fn is_there() -> Precondition {
    Precondition {
        one_of: Some(Revisions::Any),
        none_of: None,
    }
}

fn is_new() -> Precondition {
    Precondition {
        one_of: None,
        none_of: Some(Revisions::Any),
    }
}

#[tokio::test]
async fn a_write_happens_only_in_the_state_that_it_asks_for() {
    let shop = Shop::open().await;
    let put = async |precondition: &Precondition| {
        let (id, new) = (product_id("mug"), product("a", 1, 1));
        let outcome = shop.catalog.put(&id, new, precondition, soon()).await;
        outcome
            .map(|written| written.revision)
            .map_err(|problem| status(&problem))
    };
    // A tag that the shop never gave names no revision.
    let foreign = one_of(&[]);

    assert_eq!(put(&is_there()).await, Err(412));
    assert_eq!(put(&foreign).await, Err(412));
    let first = put(&is_new()).await.unwrap();
    assert_eq!(put(&is_new()).await, Err(412));
    assert_eq!(put(&foreign).await, Err(412));
    let second = put(&one_of(&[&first])).await.unwrap();
    assert_eq!(put(&one_of(&[&first])).await, Err(412));
    let third = put(&one_of(&[&first, &second])).await.unwrap();
    assert_eq!(put(&none_of(&[&third])).await, Err(412));
    let fourth = put(&none_of(&[&first, &second])).await;
    assert_eq!(fourth.unwrap().version.get(), 4);
    assert!(put(&is_there()).await.is_ok());
}

#[tokio::test]
async fn a_deletion_happens_only_in_the_state_that_it_asks_for() {
    let shop = Shop::open().await;
    let id = product_id("mug");
    let delete = async |precondition: &Precondition| {
        let outcome = shop.catalog.delete(&id, precondition, soon()).await;
        outcome.map_err(|problem| status(&problem))
    };
    let revision = async || {
        shop.catalog
            .get(&id, Fields::all())
            .await
            .map(|(_, revision)| revision)
    };
    shop.stock("mug", 1, 1).await;
    let old = revision().await.unwrap();
    shop.stock("mug", 2, 2).await;

    assert_eq!(delete(&one_of(&[&old])).await, Err(412));
    assert_eq!(delete(&is_new()).await, Err(412));
    let newer = revision().await.unwrap();
    assert_eq!(delete(&one_of(&[&newer])).await, Ok(()));
    assert_eq!(status(&revision().await.unwrap_err()), 404);
    // It is gone, as was asked: this may be the repeat of a request whose answer was lost.
    assert_eq!(delete(&one_of(&[&newer])).await, Ok(()));
    assert_eq!(delete(&is_new()).await, Ok(()));
}

#[tokio::test]
async fn an_entity_tag_is_never_given_again() {
    let shop = Shop::open().await;
    let id = product_id("mug");
    let mut given = Vec::new();
    for _ in 0..3 {
        for _ in 0..2 {
            shop.stock("mug", 1, 1).await;
            let (_, revision) = shop.catalog.get(&id, Fields::all()).await.unwrap();
            assert!(!given.contains(&revision), "{revision}");
            given.push(revision);
        }
        let any = Precondition::default();
        shop.catalog.delete(&id, &any, soon()).await.unwrap();
    }
    shop.stock("mug", 1, 1).await;

    for old in given {
        let new = product("a", 9, 9);
        let put = shop.catalog.put(&id, new, &one_of(&[&old]), soon()).await;
        assert_eq!(status(&put.unwrap_err()), 412, "{old}");
    }
}

#[tokio::test]
async fn an_item_that_another_program_wrote_has_an_entity_tag_too() {
    let shop = Shop::open().await;
    let id = product_id("mug");
    let item = json!({"id": "mug", "name": "Mug", "category": "a"});
    let mut item: HashMap<_, _> = item
        .as_object()
        .unwrap()
        .iter()
        .map(|(name, text)| {
            let text = text.as_str().unwrap().to_owned();
            (name.clone(), AttributeValue::S(text))
        })
        .collect();
    for (name, number) in [("price_cents", "5"), ("stock", "1"), ("version", "7")] {
        item.insert(name.to_owned(), AttributeValue::N(number.to_owned()));
    }
    shop.store_item(item).await;

    let (_, revision) = shop.catalog.get(&id, Fields::all()).await.unwrap();
    let new = product("a", 9, 9);
    let written = shop
        .catalog
        .put(&id, new, &one_of(&[&revision]), soon())
        .await;

    let written = written.unwrap();
    assert_eq!(
        (written.revision.version.get(), written.created),
        (8, false)
    );
    let stale = shop
        .catalog
        .delete(&id, &one_of(&[&revision]), soon())
        .await;
    assert_eq!(status(&stale.unwrap_err()), 412);
}

#[tokio::test]
async fn a_write_whose_answer_is_lost_is_told_as_it_was_made() {
    let shop = Shop::open().await;
    let id = product_id("mug");
    let put = async |precondition: &Precondition| {
        shop.wire.calls();
        shop.wire.break_next("UpdateItem", Fault::LostAnswer);
        let new = product("a", 1, 7);
        let written = shop.catalog.put(&id, new, precondition, soon()).await;
        assert_eq!(shop.wire.calls(), ["UpdateItem"; 2]);
        written.unwrap()
    };

    // Created once and once only, whether or not it was asked that there be none.
    let created = put(&is_new()).await;
    assert_eq!((created.created, created.revision.version.get()), (true, 1));
    let any = Precondition::default();
    shop.catalog.delete(&id, &any, soon()).await.unwrap();
    let created = put(&any).await;
    assert_eq!((created.created, created.revision.version.get()), (true, 1));
    // Replaced once.
    let replaced = put(&any).await;
    assert_eq!(
        (replaced.created, replaced.revision.version.get()),
        (false, 2)
    );
    let replaced = put(&one_of(&[&replaced.revision])).await;
    assert_eq!(
        (replaced.created, replaced.revision.version.get()),
        (false, 3)
    );
    let (read, revision) = shop.catalog.get(&id, Fields::all()).await.unwrap();
    assert_eq!((replaced.product, replaced.revision), (read, revision));
}

#[tokio::test]
async fn of_many_who_create_the_same_product_one_does() {
    let shop = Shop::open().await;
    let id = product_id("mug");

    let attempts = (0..8).map(|stock| {
        let (catalog, id) = (shop.catalog.clone(), id.clone());
        tokio::spawn(async move {
            catalog
                .put(&id, product("mugs", 1, stock), &is_new(), soon())
                .await
                .is_ok()
        })
    });

    let mut created = 0;
    for attempt in attempts.collect::<Vec<_>>() {
        created += u32::from(attempt.await.unwrap());
    }
    assert_eq!(created, 1);
    let (_, revision) = shop.catalog.get(&id, Fields::all()).await.unwrap();
    assert_eq!(revision.version.get(), 1);
}

#[tokio::test]
async fn only_the_fields_asked_for_are_read() {
    let shop = Shop::open().await;
    shop.stock("mug", 250, 7).await;

    let fields = Field::Name | Field::PriceCents;
    let (read, revision) = shop.catalog.get(&product_id("mug"), fields).await.unwrap();

    assert_eq!(
        serde_json::to_value(&read).unwrap(),
        json!({"name": "Enamel mug", "price_cents": 250})
    );
    assert_eq!(revision.version.get(), 1);
}

#[tokio::test]
async fn a_product_that_is_not_there_is_not_found() {
    let shop = Shop::open().await;

    let problem = shop
        .catalog
        .get(&product_id("mug"), Fields::all())
        .await
        .unwrap_err();

    assert_eq!(status(&problem), 404);
}

#[tokio::test]
async fn a_product_can_be_deleted_twice() {
    let shop = Shop::open().await;
    shop.stock("mug", 1, 1).await;

    shop.catalog
        .delete(&product_id("mug"), &Precondition::default(), soon())
        .await
        .unwrap();
    shop.catalog
        .delete(&product_id("mug"), &Precondition::default(), soon())
        .await
        .unwrap();

    let problem = shop
        .catalog
        .get(&product_id("mug"), Fields::all())
        .await
        .unwrap_err();
    assert_eq!(status(&problem), 404);
}

#[tokio::test]
async fn the_pages_of_a_category_hold_each_of_its_products_once_by_id() {
    let shop = Shop::open().await;
    let mut expected: Vec<_> = (0..23).map(|number| format!("mug-{number}")).collect();
    for id in &expected {
        shop.catalog
            .put(
                &product_id(id),
                product("mugs", 1, 1),
                &Precondition::default(),
                soon(),
            )
            .await
            .unwrap();
    }
    shop.catalog
        .put(
            &product_id("pan"),
            product("pans", 1, 1),
            &Precondition::default(),
            soon(),
        )
        .await
        .unwrap();
    expected.sort();

    for limit in [1, 5, 23, 100] {
        let products = read_all(&shop, &category("mugs"), limit).await;
        assert_eq!(ids(&products), expected, "limit {limit}");
    }
}

#[tokio::test]
async fn the_pages_of_the_whole_catalogue_hold_each_product_once() {
    let shop = Shop::open().await;
    let mut expected = Vec::new();
    for number in 0..12 {
        let (id, name) = (format!("p-{number}"), format!("category-{}", number % 3));
        shop.catalog
            .put(
                &product_id(&id),
                product(&name, 1, 1),
                &Precondition::default(),
                soon(),
            )
            .await
            .unwrap();
        expected.push(id);
    }
    expected.sort();

    let products = read_all(&shop, &Listing::All, 5).await;

    let mut found = ids(&products);
    found.sort_unstable();
    assert_eq!(found, expected);
}

#[tokio::test]
async fn a_category_that_nobody_uses_is_an_empty_page() {
    let shop = Shop::open().await;

    assert!(read_all(&shop, &category("nothing"), 10).await.is_empty());
}

#[tokio::test]
async fn a_made_up_position_stays_within_the_listing() {
    let shop = Shop::open().await;
    for (id, name) in [("a", "mugs"), ("b", "secret"), ("c", "mugs")] {
        shop.catalog
            .put(
                &product_id(id),
                product(name, 1, 1),
                &Precondition::default(),
                soon(),
            )
            .await
            .unwrap();
    }
    let mugs = category("mugs");
    // A cursor of "mugs" at the id of a product of another category: the worst that can be made up.
    let forged = mugs.cursor_after("b");

    let after = mugs.position(&forged).unwrap();
    let page = shop
        .catalog
        .list(&mugs, Limit::default(), Some(&after), Fields::all())
        .await
        .unwrap();

    assert_eq!(ids(&page.products), ["c"]);
}

#[tokio::test]
async fn a_listing_with_fields_holds_those_alone() {
    let shop = Shop::open().await;
    shop.stock("mug", 250, 7).await;
    let fields = Fields::only(Field::Name);

    for listing in [category("mugs"), Listing::All] {
        let page = shop
            .catalog
            .list(&listing, Limit::default(), None, fields)
            .await
            .unwrap();
        assert_eq!(
            serde_json::to_value(&page).unwrap(),
            json!({"products": [{"name": "Enamel mug"}], "next_cursor": null})
        );
    }
}

#[tokio::test]
async fn an_item_that_is_no_product_does_not_take_the_others_with_it() {
    let shop = Shop::open().await;
    shop.stock("a", 1, 1).await;
    shop.store_malformed_product("b", "mugs").await;
    shop.stock("c", 1, 1).await;

    assert_eq!(
        ids(&read_all(&shop, &category("mugs"), 1).await),
        ["a", "c"]
    );
    // Its key need not even be one that a product can have.
    shop.store_malformed_product("b b", "mugs").await;
    for listing in [category("mugs"), Listing::All] {
        for limit in 1..=4 {
            let mut products = read_all(&shop, &listing, limit).await;
            products.sort_by_key(|product| product.id.clone());
            assert_eq!(ids(&products), ["a", "c"], "{listing:?} {limit}");
        }
    }
    let batch = [product_id("a"), product_id("b"), product_id("c")];
    let batch = shop
        .catalog
        .batch_get(&batch, Fields::all(), soon())
        .await
        .unwrap();
    assert_eq!(ids(&batch.products), ["a", "c"]);
    assert_eq!(batch.missing, [product_id("b")]);
    let problem = shop
        .catalog
        .get(&product_id("b"), Fields::all())
        .await
        .unwrap_err();
    assert_eq!(status(&problem), 500);
}

#[tokio::test]
async fn a_batch_answers_in_the_order_asked_and_names_what_is_missing() {
    let shop = Shop::open().await;
    let asked: Vec<_> = (0..100)
        .rev()
        .map(|number| product_id(&format!("p-{number}")))
        .collect();
    for id in asked.iter().filter(|id| id.as_str().ends_with('7')) {
        shop.catalog
            .put(id, product("a", 1, 1), &Precondition::default(), soon())
            .await
            .unwrap();
    }
    shop.wire.calls();

    let batch = shop
        .catalog
        .batch_get(&asked, Fields::only(Field::Id), soon())
        .await
        .unwrap();

    let expected: Vec<_> = (0..10)
        .rev()
        .map(|ten| format!("p-{ten}7").replace("p-07", "p-7"))
        .collect();
    assert_eq!(ids(&batch.products), expected);
    assert_eq!(batch.missing.len(), 90);
    assert_eq!(batch.missing[0].as_str(), "p-99");
    assert_eq!(shop.wire.calls(), ["BatchGetItem"]);
}

/// An answer in which DynamoDB has read `found` and left `rest` for later.
fn partial(found: &str, rest: &[&str]) -> Fault {
    let keys: Vec<_> = rest.iter().map(|id| json!({"id": {"S": id}})).collect();
    let item = json!({
        "id": {"S": found}, "name": {"S": "n"}, "category": {"S": "c"},
        "price_cents": {"N": "1"}, "stock": {"N": "1"}, "version": {"N": "1"},
    });
    Fault::Answer(
        200,
        json!({"Responses": {PRODUCTS: [item]}, "UnprocessedKeys": {PRODUCTS: {"Keys": keys}}}),
    )
}

#[tokio::test]
async fn keys_that_are_left_unprocessed_are_asked_for_again() {
    let shop = Shop::open().await;
    shop.stock("b", 1, 1).await;
    shop.wire.calls();
    shop.wire
        .break_next("BatchGetItem", partial("a", &["b", "c"]));
    let asked = [product_id("c"), product_id("b"), product_id("a")];

    let batch = shop
        .catalog
        .batch_get(&asked, Fields::all(), soon())
        .await
        .unwrap();

    assert_eq!(ids(&batch.products), ["b", "a"]);
    assert_eq!(batch.missing, [product_id("c")]);
    assert_eq!(shop.wire.calls(), ["BatchGetItem"; 2]);
}

#[tokio::test]
async fn keys_that_stay_unprocessed_are_an_answer_to_come_back_later() {
    let shop = Shop::open().await;
    for _ in 0..8 {
        shop.wire.break_next("BatchGetItem", partial("a", &["b"]));
    }
    let asked = [product_id("a"), product_id("b")];

    let problem = shop
        .catalog
        .batch_get(&asked, Fields::all(), soon())
        .await
        .unwrap_err();

    assert_eq!(status(&problem), 503);
    assert_eq!(shop.wire.calls(), ["BatchGetItem"; 8]);
}

#[tokio::test]
async fn a_batch_read_does_not_go_on_beyond_its_deadline() {
    let shop = Shop::open().await;
    shop.wire.break_next("BatchGetItem", partial("a", &["b"]));
    let asked = [product_id("a"), product_id("b")];
    let over = Deadline::after(std::time::Duration::ZERO);

    let problem = shop
        .catalog
        .batch_get(&asked, Fields::all(), over)
        .await
        .unwrap_err();

    assert_eq!(status(&problem), 503);
    assert_eq!(shop.wire.calls(), ["BatchGetItem"]);
}

#[tokio::test]
async fn a_failure_of_dynamodb_says_nothing_but_whether_to_come_back() {
    let shop = Shop::open().await;
    // How it refuses, how often it is asked, what the client gets.
    let cases = [
        (
            400,
            "com.amazonaws.dynamodb.v20120810#ProvisionedThroughputExceededException",
            2,
            503,
        ),
        (
            400,
            "com.amazon.coral.availability#ThrottlingException",
            2,
            503,
        ),
        (500, "InternalServerError", 2, 503),
        (503, "ServiceUnavailable", 2, 503),
        (
            400,
            "com.amazon.coral.service#AccessDeniedException",
            1,
            500,
        ),
        (
            400,
            "com.amazonaws.dynamodb.v20120810#ResourceNotFoundException",
            1,
            500,
        ),
    ];

    for (answer, code, attempts, expected) in cases {
        for _ in 0..attempts {
            shop.wire
                .break_next("GetItem", Fault::refusal(answer, code));
        }

        let problem = shop
            .catalog
            .get(&product_id("mug"), Fields::all())
            .await
            .unwrap_err();

        assert_eq!(status(&problem), expected, "{code}");
        assert_eq!(shop.wire.calls().len(), attempts, "{code}");
        assert!(
            !problem_json(&problem).contains("secret"),
            "{}",
            problem_json(&problem)
        );
        assert!(
            problem.cause().unwrap().contains("secret"),
            "{:?}",
            problem.cause()
        );
    }
}

#[tokio::test]
async fn a_call_that_fails_once_is_repeated() {
    let shop = Shop::open().await;
    shop.stock("mug", 1, 1).await;
    shop.wire.calls();
    shop.wire
        .break_next("GetItem", Fault::refusal(500, "InternalServerError"));

    let read = shop.catalog.get(&product_id("mug"), Fields::all()).await;

    assert!(read.is_ok(), "{read:?}");
    assert_eq!(shop.wire.calls(), ["GetItem"; 2]);
}

const CONFLICT: &str = "com.amazonaws.dynamodb.v20120810#TransactionConflictException";

#[tokio::test]
async fn a_write_that_meets_the_sale_of_its_product_is_made_again() {
    let shop = Shop::open().await;
    let id = product_id("mug");
    for operation in ["UpdateItem", "DeleteItem"] {
        for _ in 0..3 {
            shop.wire
                .break_next(operation, Fault::refusal(400, CONFLICT));
        }
    }
    shop.wire.calls();

    let new = product("mugs", 1, 1);
    let put = shop
        .catalog
        .put(&id, new, &Precondition::default(), soon())
        .await;
    assert!(put.is_ok(), "{put:?}");
    assert_eq!(shop.wire.calls(), ["UpdateItem"; 4]);

    let any = Precondition::default();
    shop.catalog.delete(&id, &any, soon()).await.unwrap();
    assert_eq!(shop.wire.calls(), ["DeleteItem"; 4]);
}

#[tokio::test]
async fn a_write_that_meets_transactions_until_its_time_is_up_is_an_answer_to_come_back_later() {
    let shop = Shop::open().await;
    for operation in ["UpdateItem", "DeleteItem"] {
        for _ in 0..100 {
            shop.wire
                .break_next(operation, Fault::refusal(400, CONFLICT));
        }
    }
    let soon_over = || Deadline::after(std::time::Duration::from_millis(200));
    let (id, new) = (product_id("mug"), product("mugs", 1, 1));
    let any = Precondition::default();
    shop.wire.calls();

    let put = shop.catalog.put(&id, new, &any, soon_over()).await;
    let puts = shop.wire.calls();
    let delete = shop.catalog.delete(&id, &any, soon_over()).await;
    let deletes = shop.wire.calls();

    // The first pause is 25 ms at most, so each is made again at least once.
    assert!(puts.len() > 1 && deletes.len() > 1, "{puts:?} {deletes:?}");
    for problem in [put.unwrap_err(), delete.unwrap_err()] {
        assert_eq!(status(&problem), 503);
    }
}
