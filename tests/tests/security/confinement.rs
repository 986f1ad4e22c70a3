//! An id, a cursor, a body or a header reaches the item that it names, in the table that the route is
//! for, and nothing else.

use reqwest::{Method, StatusCode};
use serde_json::{Value, json};
use shop_tests::{Reply, shop};

async fn put(id: &str, headers: &[(&str, &str)]) -> Reply {
    let product = json!({"name": "Impostor", "category": "confined", "price_cents": 1, "stock": 1});
    let headers = [headers, &[("content-type", "application/json")]].concat();
    let body = Some(product.to_string().into_bytes());
    shop()
        .send_with(Method::PUT, &format!("/products/{id}"), &headers, body)
        .await
}

/// An order that is final, and thus does not change any more.
async fn settled_order(product: &str) -> Value {
    shop().has_product(product, "confined", 100, 10).await;
    let order = json!({"lines": [{"product_id": product, "quantity": 1}]});
    let placed = shop()
        .post("/orders", &order)
        .await
        .expect(StatusCode::ACCEPTED);
    shop()
        .final_order(placed.body["id"].as_str().unwrap())
        .await
}

#[tokio::test]
async fn the_id_of_an_order_names_no_product_and_touches_no_order() {
    let order = settled_order("confined-ordered").await;
    let id = order["id"].as_str().unwrap();
    let path = format!("/products/{id}");

    shop().get(&path).await.expect_problem(404);
    let batch = shop()
        .post("/products/batch-get", &json!({"ids": [id]}))
        .await;
    assert_eq!(batch.body, json!({"products": [], "missing": [id]}));
    let line = json!({"lines": [{"product_id": id, "quantity": 1}]});
    shop().post("/orders", &line).await.expect_problem(422);
    put(id, &[("if-match", "*")]).await.expect_problem(412);
    put(id, &[]).await.expect(StatusCode::CREATED);
    let deleted = shop().send(Method::DELETE, &path, None).await;
    deleted.expect(StatusCode::NO_CONTENT);

    let after = shop()
        .get(&format!("/orders/{id}"))
        .await
        .expect(StatusCode::OK);
    assert_eq!(after.body, order);
}

#[tokio::test]
async fn the_id_of_a_product_names_no_order() {
    // Fits the rule for both.
    let id = "0123456789abcdef0123456789abcdef";
    put(id, &[]).await.expect(StatusCode::CREATED);

    shop()
        .get(&format!("/orders/{id}"))
        .await
        .expect_problem(404);
}

#[tokio::test]
async fn names_of_tables_attributes_and_expressions_are_only_ids_that_nobody_has() {
    let tables = &shop().stack().template.tables;
    assert_eq!(tables.len(), 2);
    for table in tables {
        shop()
            .get(&format!("/products/{}", table.name))
            .await
            .expect_problem(404);
    }
    for id in [
        "id",
        "fingerprint",
        "attribute_exists",
        "by-category",
        "NULL",
        "__type",
    ] {
        shop()
            .get(&format!("/products/{id}"))
            .await
            .expect_problem(404);
    }
}

#[tokio::test]
async fn headers_and_parameters_that_other_layers_know_change_nothing() {
    let order = settled_order("confined-headers").await;
    shop()
        .has_product("confined-untouched", "confined", 100, 7)
        .await;
    let table = &shop().stack().template.tables[1].name;
    let headers = [
        ("x-amz-target", "DynamoDB_20120810.DeleteTable"),
        ("x-http-method-override", "DELETE"),
        ("x-original-url", "/orders"),
        ("x-forwarded-host", "example.org"),
        ("lambda-runtime-aws-request-id", "1"),
        ("tablename", table),
    ];

    let path = "/products/confined-untouched";
    let read = shop().send_with(Method::GET, path, &headers, None).await;
    let read = read.expect(StatusCode::OK);

    assert_eq!(read.body["stock"], 7);
    assert_eq!(shop().get(path).await.body, read.body);
    for query in [
        "IndexName=x",
        "fields=id&ConsistentRead=true",
        "%00=1",
        "$filter=1",
    ] {
        shop()
            .get(&format!("{path}?{query}"))
            .await
            .expect_problem(400);
    }
    let order_path = format!("/orders/{}", order["id"].as_str().unwrap());
    assert_eq!(shop().get(&order_path).await.body, order);
}

#[tokio::test]
async fn a_key_of_one_order_gives_nobody_else_its_contents() {
    shop()
        .has_product("confined-keyed", "confined", 100, 10)
        .await;
    let key = [
        ("content-type", "application/json"),
        ("idempotency-key", "confined-key-0001"),
    ];
    let place = |quantity: u64| async move {
        let order = json!({"lines": [{"product_id": "confined-keyed", "quantity": quantity}]});
        let body = Some(order.to_string().into_bytes());
        shop().send_with(Method::POST, "/orders", &key, body).await
    };
    let placed = place(3).await.expect(StatusCode::ACCEPTED);

    let refused = place(4).await.expect_problem(422);

    let id = placed.body["id"].as_str().unwrap();
    assert!(!refused.text.contains(id), "{refused:?}");
    assert!(refused.pointers().is_empty());
}
