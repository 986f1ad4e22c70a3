//! Requests that no honest client sends. Each is refused, nothing leaks, and the shop goes on.

use reqwest::{Method, StatusCode};
use serde_json::{Value, json};
use shop_tests::{Reply, shop};

const JSON: (&str, &str) = ("content-type", "application/json");

/// Every route that takes a body.
const BODIES: [(Method, &str); 3] = [
    (Method::PUT, "/products/hostile"),
    (Method::POST, "/products/batch-get"),
    (Method::POST, "/orders"),
];

async fn send(method: &Method, path: &str, body: impl Into<Vec<u8>>) -> Reply {
    shop()
        .send_with(method.clone(), path, &[JSON], Some(body.into()))
        .await
}

fn product(change: &Value) -> Value {
    let mut product = json!({"name": "N", "category": "c", "price_cents": 1, "stock": 1});
    for (field, value) in change.as_object().unwrap() {
        product[field] = value.clone();
    }
    product
}

#[tokio::test]
async fn a_body_that_is_no_json_is_400() {
    let deep = [b"[".repeat(100_000), b"]".repeat(100_000)].concat();
    let cases: [&[u8]; 8] = [
        b"",
        b"{",
        b"nope",
        b"{\"a\": 1,}",
        b"\xff\xfe\xfd",
        b"\"\xc3\x28\"",
        b"{} {}",
        &deep[..60_000],
    ];
    for (method, path) in &BODIES {
        for body in cases {
            send(method, path, body).await.expect_problem(400);
        }
    }
}

#[tokio::test]
async fn json_that_is_no_object_is_422() {
    for (method, path) in &BODIES {
        for body in ["[]", "null", "1", "\"text\""] {
            send(method, path, body).await.expect_problem(422);
        }
    }
}

#[tokio::test]
async fn json_nested_deeper_than_anything_real_is_400() {
    let deep = format!("{{\"name\": {}{}}}", "[".repeat(1_000), "]".repeat(1_000));
    for (method, path) in &BODIES {
        send(method, path, deep.clone()).await.expect_problem(400);
    }
}

#[tokio::test]
async fn a_body_too_large_for_the_function_is_413() {
    let large = product(&json!({"description": "x".repeat(2_000_000)})).to_string();
    for (method, path) in &BODIES {
        send(method, path, large.clone()).await.expect_problem(413);
    }
}

#[tokio::test]
async fn a_body_too_large_for_the_api_is_413() {
    for (method, path) in &BODIES {
        let reply = send(method, path, vec![b' '; 10 * 1024 * 1024 + 1]).await;
        assert_eq!(reply.status, StatusCode::PAYLOAD_TOO_LARGE);
        assert_eq!(reply.body, json!({"message": "Request Entity Too Large"}));
    }
}

#[tokio::test]
async fn another_content_type_is_415() {
    for (method, path) in &BODIES {
        for content_type in [
            "text/plain",
            "application/xml",
            "application/x-www-form-urlencoded",
            "",
        ] {
            let headers = [("content-type", content_type)];
            let reply = shop()
                .send_with(method.clone(), path, &headers, Some(b"{}".to_vec()))
                .await;
            reply.expect_problem(415);
        }
        let reply = shop()
            .send_with(method.clone(), path, &[], Some(b"{}".to_vec()))
            .await;
        reply.expect_problem(415);
    }
}

#[tokio::test]
async fn a_charset_does_not_make_it_another_content_type() {
    let headers = [("content-type", "Application/JSON; charset=utf-8")];
    let body = product(&json!({})).to_string().into_bytes();
    let reply = shop()
        .send_with(Method::PUT, "/products/charset", &headers, Some(body))
        .await;
    reply.expect(StatusCode::CREATED);
}

#[tokio::test]
async fn each_wrong_field_of_a_product_is_named() {
    let cases: [(Value, &[&str]); 17] = [
        (product(&json!({"name": 1})), &["/name"]),
        (product(&json!({"name": ""})), &["/name"]),
        (product(&json!({"name": "\u{0}\u{7}"})), &["/name"]),
        (product(&json!({"name": "x".repeat(10_000)})), &["/name"]),
        (product(&json!({"category": ""})), &["/category"]),
        (product(&json!({"category": null})), &["/category"]),
        (product(&json!({"price_cents": -1})), &["/price_cents"]),
        (product(&json!({"price_cents": 1.5})), &["/price_cents"]),
        (product(&json!({"price_cents": "1"})), &["/price_cents"]),
        (
            product(&json!({"price_cents": u64::MAX})),
            &["/price_cents"],
        ),
        (product(&json!({"stock": -1})), &["/stock"]),
        (product(&json!({"stock": true})), &["/stock"]),
        (product(&json!({"description": ["x"]})), &["/description"]),
        (product(&json!({"colour": "red"})), &["/colour"]),
        (product(&json!({"a/b~c": "red"})), &["/a~1b~0c"]),
        (product(&json!({"version": 7})), &["/version"]),
        (
            json!({"name": "N", "price_cents": 1, "stock": -5}),
            &["/category", "/stock"],
        ),
    ];
    for (body, pointers) in cases {
        let reply = shop()
            .put("/products/hostile", &body)
            .await
            .expect_problem(422);
        let mut named = reply.pointers();
        named.sort_unstable();
        assert_eq!(named, pointers, "{reply:?}");
    }
    shop().get("/products/hostile").await.expect_problem(404);
}

#[tokio::test]
async fn an_id_outside_the_rules_is_400() {
    let long = "x".repeat(65);
    for id in [
        "a%20b",
        "%00",
        "%FF",
        "sm%C3%B8r",
        "a.b",
        "%F0%9F%92%A1",
        &long,
    ] {
        let path = format!("/products/{id}");
        shop().get(&path).await.expect_problem(400);
        shop()
            .put(&path, &product(&json!({})))
            .await
            .expect_problem(400);
        shop()
            .send(Method::DELETE, &path, None)
            .await
            .expect_problem(400);
    }
    let longest = format!("/products/{}", "x".repeat(64));
    shop()
        .put(&longest, &product(&json!({})))
        .await
        .expect(StatusCode::CREATED);
}

#[tokio::test]
async fn an_encoded_slash_makes_another_path() {
    // API Gateway decodes the path before it looks for a route, so no function sees these.
    for path in ["/products/a%2Fb", "/products/..%2F..", "/orders/a%2fb"] {
        let reply = shop().get(path).await.expect(StatusCode::NOT_FOUND);
        assert_eq!(reply.body, json!({"message": "Not Found"}));
    }
}

#[tokio::test]
async fn an_unknown_route_or_method_is_the_apis_own_404() {
    for (method, path) in [
        (Method::GET, "/"),
        (Method::GET, "/nothing"),
        (Method::GET, "/products/a/b"),
        (Method::GET, "/orders"),
        (Method::POST, "/products"),
        (Method::PATCH, "/products/a"),
        (Method::DELETE, "/orders/a"),
        (Method::PUT, "/orders"),
    ] {
        let reply = shop()
            .send(method, path, None)
            .await
            .expect(StatusCode::NOT_FOUND);
        assert_eq!(reply.body, json!({"message": "Not Found"}));
    }
}

#[tokio::test]
async fn a_query_parameter_that_is_unknown_or_given_twice_is_400() {
    for query in [
        "categroy=lighting",
        "limit=1&limit=2",
        "category=a&category=b",
        "=",
        "limit[]=1",
    ] {
        shop()
            .get(&format!("/products?{query}"))
            .await
            .expect_problem(400);
    }
}

#[tokio::test]
async fn text_that_looks_like_an_expression_is_only_text() {
    let names = [
        "#id = :v",
        "'; DROP TABLE products; --",
        "{{7*7}}",
        "\u{202e}gnp.exe",
    ];
    for (n, name) in names.into_iter().enumerate() {
        let path = format!("/products/text-{n}");
        let reply = shop().put(&path, &product(&json!({"name": name}))).await;
        reply.expect(StatusCode::CREATED);
        let read = shop().get(&path).await.expect(StatusCode::OK);
        assert_eq!(read.body["name"], name);
    }
}
