//! `POST /products/batch-get`.

use reqwest::StatusCode;
use serde_json::{Value, json};
use shop_tests::shop;

const PATH: &str = "/products/batch-get";

#[tokio::test]
async fn products_come_in_the_order_asked_and_the_rest_is_missing() {
    for id in ["batch-a", "batch-b", "batch-c"] {
        shop().has_product(id, "batch", 100, 1).await;
    }
    let asked = json!({"ids": ["batch-c", "nobody-1", "batch-a", "nobody-2", "batch-b"]});
    let reply = shop().post(PATH, &asked).await.expect(StatusCode::OK);
    let ids: Vec<_> = reply.body["products"]
        .as_array()
        .unwrap()
        .iter()
        .map(|p| &p["id"])
        .collect();
    assert_eq!(ids, ["batch-c", "batch-a", "batch-b"]);
    assert_eq!(reply.body["missing"], json!(["nobody-1", "nobody-2"]));
    assert!(!reply.header("x-request-id").is_empty());
}

#[tokio::test]
async fn fields_are_projected_for_each_product() {
    shop().has_product("batch-lean", "batch", 1_234, 1).await;
    let asked = json!({"ids": ["batch-lean"], "fields": ["price_cents"]});
    let reply = shop().post(PATH, &asked).await.expect(StatusCode::OK);
    assert_eq!(reply.body["products"], json!([{"price_cents": 1_234}]));
}

#[tokio::test]
async fn a_hundred_ids_are_one_request() {
    for n in 0..100 {
        shop()
            .has_product(&format!("hundred-{n}"), "hundred", n, 1)
            .await;
    }
    let ids: Vec<_> = (0..100).rev().map(|n| format!("hundred-{n}")).collect();
    let reply = shop()
        .post(PATH, &json!({"ids": ids}))
        .await
        .expect(StatusCode::OK);
    let found: Vec<_> = reply.body["products"]
        .as_array()
        .unwrap()
        .iter()
        .map(|p| p["id"].clone())
        .collect();
    assert_eq!(found, ids);
    assert_eq!(reply.body["missing"], json!([]));
}

#[tokio::test]
async fn what_is_no_list_of_1_to_100_ids_is_refused_by_pointer() {
    let many: Vec<_> = (0..101).map(|n| format!("id-{n}")).collect();
    let cases: [(Value, &str); 8] = [
        (json!({"ids": many}), "/ids"),
        (json!({"ids": []}), "/ids"),
        (json!({"ids": "one"}), "/ids"),
        (json!({"ids": ["good", "bad id"]}), "/ids/1"),
        (json!({"ids": [1]}), "/ids/0"),
        (json!({"fields": ["name"]}), "/ids"),
        (json!({"ids": ["one"], "fields": ["colour"]}), "/fields/0"),
        (json!({"ids": ["one"], "also": 1}), "/also"),
    ];
    for (body, pointer) in cases {
        let reply = shop().post(PATH, &body).await.expect_problem(422);
        assert_eq!(reply.pointers(), [pointer], "{reply:?}");
    }
}
