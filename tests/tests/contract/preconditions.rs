//! `ETag`, `If-Match` and `If-None-Match` on the three routes of a product.

use reqwest::{Method, StatusCode};
use serde_json::{Value, json};
use shop_tests::{Reply, shop};

fn lamp(price_cents: u64) -> Value {
    json!({"name": "Desk lamp", "category": "lighting", "price_cents": price_cents, "stock": 7})
}

async fn send(method: Method, id: &str, headers: &[(&str, &str)], body: Option<&Value>) -> Reply {
    let headers = [headers, &[("content-type", "application/json")]].concat();
    let body = body.map(|body| body.to_string().into_bytes());
    let path = format!("/products/{id}");
    shop().send_with(method, &path, &headers, body).await
}

async fn put(id: &str, headers: &[(&str, &str)], price_cents: u64) -> Reply {
    send(Method::PUT, id, headers, Some(&lamp(price_cents))).await
}

async fn get(id: &str, headers: &[(&str, &str)]) -> Reply {
    send(Method::GET, id, headers, None).await
}

async fn delete(id: &str, headers: &[(&str, &str)]) -> Reply {
    send(Method::DELETE, id, headers, None).await
}

/// The entity tag of a success.
fn etag(reply: &Reply) -> String {
    assert!(reply.status.is_success(), "{reply:?}");
    let etag = reply.header("etag").to_owned();
    assert!(
        etag.len() > 2 && etag.starts_with('"') && etag.ends_with('"'),
        "{reply:?}"
    );
    etag
}

#[tokio::test]
async fn if_none_match_creates_but_never_replaces() {
    let only_new = [("if-none-match", "*")];
    put("once", &only_new, 2_499)
        .await
        .expect(StatusCode::CREATED);

    put("once", &only_new, 1).await.expect_problem(412);

    assert_eq!(get("once", &[]).await.body["price_cents"], 2_499);
}

#[tokio::test]
async fn if_match_replaces_only_the_state_that_was_read() {
    let any = [("if-match", "*")];
    put("guarded", &any, 1).await.expect_problem(412);
    put("guarded", &[("if-match", "\"1\"")], 1)
        .await
        .expect_problem(412);
    let first = etag(&put("guarded", &[], 1).await);
    let second = etag(&put("guarded", &[("if-match", &first)], 2).await);

    put("guarded", &[("if-match", &first)], 3)
        .await
        .expect_problem(412);
    let either = format!("{first}, {second}");
    put("guarded", &[("if-match", &either)], 4)
        .await
        .expect(StatusCode::OK);
    put("guarded", &any, 5).await.expect(StatusCode::OK);
    for unreadable in ["version one", "\"a", "a\"", "\"a\" \"b\"", ""] {
        let reply = put("guarded", &[("if-match", unreadable)], 6).await;
        reply.expect_problem(400);
    }
    assert_eq!(get("guarded", &[]).await.body["price_cents"], 5);
}

#[tokio::test]
async fn a_reader_that_has_the_product_is_told_so_and_sent_nothing() {
    let tag = etag(&put("known", &[], 1).await);

    let not_modified = get("known", &[("if-none-match", &tag)]).await;
    let not_modified = not_modified.expect(StatusCode::NOT_MODIFIED);
    assert_eq!(not_modified.text, "");
    assert_eq!(not_modified.header("etag"), tag);
    assert_eq!(not_modified.header("cache-control"), "no-cache");
    assert!(!not_modified.header("x-request-id").is_empty());
    for same in [
        format!("W/{tag}"),
        format!("\"abc\", {tag}"),
        "*".to_owned(),
    ] {
        let reply = get("known", &[("if-none-match", &same)]).await;
        reply.expect(StatusCode::NOT_MODIFIED);
    }

    put("known", &[], 2).await.expect(StatusCode::OK);
    let changed = get("known", &[("if-none-match", &tag)])
        .await
        .expect(StatusCode::OK);
    assert_eq!(changed.body["price_cents"], 2);
    get("known", &[("if-match", &tag)])
        .await
        .expect_problem(412);
    let now = etag(&changed);
    get("known", &[("if-match", &now)])
        .await
        .expect(StatusCode::OK);
    get("nobody", &[("if-none-match", "*")])
        .await
        .expect_problem(404);
}

#[tokio::test]
async fn a_deletion_spares_a_newer_state() {
    let read = etag(&put("deleted-by-tag", &[], 1).await);
    let newer = etag(&put("deleted-by-tag", &[], 2).await);

    delete("deleted-by-tag", &[("if-match", &read)])
        .await
        .expect_problem(412);
    assert_eq!(get("deleted-by-tag", &[]).await.body["price_cents"], 2);

    for _ in 0..2 {
        // The second may be the repeat of a request whose answer was lost.
        let reply = delete("deleted-by-tag", &[("if-match", &newer)]).await;
        reply.expect(StatusCode::NO_CONTENT);
    }
    delete("deleted-by-tag", &[("if-match", "newer")])
        .await
        .expect_problem(400);
}

#[tokio::test]
async fn a_product_that_is_made_anew_has_none_of_its_old_tags() {
    let old = etag(&put("anew", &[], 1).await);
    delete("anew", &[]).await.expect(StatusCode::NO_CONTENT);
    let new = etag(&put("anew", &[], 2).await);

    assert_ne!(old, new);
    put("anew", &[("if-match", &old)], 3)
        .await
        .expect_problem(412);
    delete("anew", &[("if-match", &old)])
        .await
        .expect_problem(412);
    get("anew", &[("if-none-match", &old)])
        .await
        .expect(StatusCode::OK);
}

#[tokio::test]
async fn a_sale_is_a_new_state() {
    let before = etag(&put("sold", &[], 1).await);
    let order = json!({"lines": [{"product_id": "sold", "quantity": 2}]});
    let order = shop()
        .post("/orders", &order)
        .await
        .expect(StatusCode::ACCEPTED);
    shop().final_order(order.body["id"].as_str().unwrap()).await;

    // A client that read the product before the sale cannot put the sold pieces back.
    put("sold", &[("if-match", &before)], 1)
        .await
        .expect_problem(412);
    assert_eq!(get("sold", &[]).await.body["stock"], 5);
}

#[tokio::test]
async fn a_list_may_not_be_kept() {
    for path in ["/products?category=lighting", "/products"] {
        let list = shop().get(path).await.expect(StatusCode::OK);

        // It has nothing by which a client could ask whether it is still true.
        assert_eq!(list.header("cache-control"), "no-store");
        assert_eq!(list.header("etag"), "");
    }
}
