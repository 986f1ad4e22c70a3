//! Products: create, replace, read, delete, list.

use std::collections::HashSet;

use reqwest::{Method, StatusCode};
use serde_json::{Value, json};
use shop::domain::{Category, Listing};
use shop_tests::shop;

fn lamp() -> Value {
    json!({
        "name": "Desk lamp", "category": "lighting", "price_cents": 2_499, "stock": 7,
        "description": "Bends, dims and stays put. Ünïcödé too: 灯 💡",
    })
}

#[tokio::test]
async fn a_product_is_created_and_read_back_whole() {
    let created = shop()
        .put("/products/created", &lamp())
        .await
        .expect(StatusCode::CREATED);
    assert!(!created.header("x-request-id").is_empty());

    let read = shop().get("/products/created").await.expect(StatusCode::OK);
    assert_eq!(read.body, created.body);
    assert!(!created.header("etag").is_empty());
    assert_eq!(read.header("etag"), created.header("etag"));
    assert_eq!(read.header("content-type"), "application/json");
    let mut expected = lamp();
    expected["id"] = json!("created");
    expected["version"] = json!(1);
    assert_eq!(read.body, expected);
}

#[tokio::test]
async fn a_replaced_product_forgets_what_the_new_one_leaves_out() {
    shop()
        .put("/products/replaced", &lamp())
        .await
        .expect(StatusCode::CREATED);
    let mut shorter = lamp();
    shorter.as_object_mut().unwrap().remove("description");
    let replaced = shop()
        .put("/products/replaced", &shorter)
        .await
        .expect(StatusCode::OK);
    assert_eq!(replaced.body["version"], 2);
    let read = shop()
        .get("/products/replaced")
        .await
        .expect(StatusCode::OK);
    assert!(read.body.get("description").is_none());
}

#[tokio::test]
async fn fields_asks_for_just_those_attributes() {
    let created = shop()
        .put("/products/projected", &lamp())
        .await
        .expect(StatusCode::CREATED);
    let reply = shop()
        .get("/products/projected?fields=name,price_cents")
        .await;
    let reply = reply.expect(StatusCode::OK);
    assert_eq!(
        reply.body,
        json!({"name": "Desk lamp", "price_cents": 2_499})
    );
    assert_eq!(reply.header("etag"), created.header("etag"));
}

#[tokio::test]
async fn an_unknown_field_is_refused() {
    for fields in ["colour", "name,colour", "", "name,", "id;DROP", "stock%20"] {
        let reply = shop().get(&format!("/products/any?fields={fields}")).await;
        reply.expect_problem(400);
    }
}

#[tokio::test]
async fn a_product_that_is_not_there_is_404() {
    shop().get("/products/nobody").await.expect_problem(404);
    shop()
        .get("/products/nobody?fields=name")
        .await
        .expect_problem(404);
}

#[tokio::test]
async fn deleting_twice_is_as_good_as_once() {
    shop()
        .put("/products/deleted", &lamp())
        .await
        .expect(StatusCode::CREATED);
    for _ in 0..2 {
        let reply = shop().send(Method::DELETE, "/products/deleted", None).await;
        let reply = reply.expect(StatusCode::NO_CONTENT);
        assert_eq!(reply.text, "");
        assert!(!reply.header("x-request-id").is_empty());
    }
    shop().get("/products/deleted").await.expect_problem(404);
}

#[tokio::test]
async fn pages_of_a_category_hold_each_product_once() {
    for n in 0..25 {
        shop()
            .has_product(&format!("paged-{n:02}"), "paged", 100, 1)
            .await;
        shop()
            .has_product(&format!("unpaged-{n:02}"), "unpaged", 100, 1)
            .await;
    }
    let mut seen = Vec::new();
    let mut path = "/products?category=paged&limit=10".to_owned();
    for size in [10, 10, 5] {
        let page = shop().get(&path).await.expect(StatusCode::OK).body;
        let products = page["products"].as_array().unwrap();
        assert_eq!(products.len(), size, "{page}");
        for product in products {
            assert_eq!(product["category"], "paged");
            seen.push(product["id"].as_str().unwrap().to_owned());
        }
        let cursor = page["next_cursor"].as_str();
        assert_eq!(cursor.is_none(), seen.len() == 25, "{page}");
        let cursor = cursor.unwrap_or_default();
        path = format!("/products?category=paged&limit=10&cursor={cursor}");
    }
    assert_eq!(seen.len(), 25);
    assert_eq!(seen.iter().collect::<HashSet<_>>().len(), 25);
}

#[tokio::test]
async fn pages_without_a_category_hold_each_product_once() {
    for n in 0..5 {
        shop()
            .has_product(&format!("scanned-{n}"), "scanned", 100, 1)
            .await;
    }
    let mut seen = Vec::new();
    let mut path = "/products?limit=3&fields=id".to_owned();
    loop {
        let page = shop().get(&path).await.expect(StatusCode::OK).body;
        let products = page["products"].as_array().unwrap();
        assert!(products.len() <= 3);
        for product in products {
            assert_eq!(product.as_object().unwrap().len(), 1);
            seen.push(product["id"].as_str().unwrap().to_owned());
        }
        // The other tests beside this one write a few hundred.
        assert!(seen.len() < 10_000, "the pages do not end");
        let Some(cursor) = page["next_cursor"].as_str() else {
            break;
        };
        path = format!("/products?limit=3&fields=id&cursor={cursor}");
    }
    assert_eq!(seen.iter().collect::<HashSet<_>>().len(), seen.len());
    for n in 0..5 {
        assert!(seen.contains(&format!("scanned-{n}")));
    }
}

#[tokio::test]
async fn an_empty_category_is_an_empty_page() {
    let page = shop()
        .get("/products?category=nothing-here")
        .await
        .expect(StatusCode::OK)
        .body;
    assert_eq!(page, json!({"products": [], "next_cursor": null}));
}

#[tokio::test]
async fn a_limit_outside_1_to_100_is_refused() {
    for limit in ["0", "101", "-1", "ten", "", "1.5", "99999999999999999999"] {
        let reply = shop()
            .get(&format!("/products?category=x&limit={limit}"))
            .await;
        reply.expect_problem(400);
        shop()
            .get(&format!("/products?limit={limit}"))
            .await
            .expect_problem(400);
    }
}

#[tokio::test]
async fn a_cursor_serves_only_the_listing_that_gave_it() {
    for n in 0..3 {
        shop()
            .has_product(&format!("bound-{n}"), "bound", 100, 1)
            .await;
        shop()
            .has_product(&format!("other-{n}"), "other", 100, 1)
            .await;
    }
    let page = shop()
        .get("/products?category=bound&limit=1")
        .await
        .expect(StatusCode::OK);
    let of_category = page.body["next_cursor"].as_str().unwrap().to_owned();
    let page = shop().get("/products?limit=1").await.expect(StatusCode::OK);
    let of_scan = page.body["next_cursor"].as_str().unwrap().to_owned();

    for path in [
        format!("/products?category=other&cursor={of_category}"),
        format!("/products?cursor={of_category}"),
        format!("/products?category=bound&cursor={of_scan}"),
    ] {
        shop().get(&path).await.expect_problem(400);
    }
}

#[tokio::test]
async fn a_bad_cursor_is_refused() {
    let long = "A".repeat(4_000);
    for cursor in [
        "x",
        "AAAA",
        "%00",
        "eyJpZCI6ICJhIn0",
        "../../etc",
        "",
        "💡",
        &long,
    ] {
        for listing in ["/products?category=bound&", "/products?"] {
            let reply = shop().get(&format!("{listing}cursor={cursor}")).await;
            reply.expect_problem(400);
        }
    }
}

#[tokio::test]
async fn every_character_of_a_cursor_counts() {
    const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
    // Of the 22 characters that stand for `forged-0`, ten and a part of the next say which listing it is.
    const TAG: usize = 10;
    let ids = ["forged-0", "forged-1", "forged-2"];
    for id in ids {
        shop().has_product(id, "forged", 100, 1).await;
    }
    let listing = Listing::Category(Category::parse("forged").unwrap());
    let page = shop()
        .get("/products?category=forged&limit=1")
        .await
        .expect(StatusCode::OK);
    let cursor = page.body["next_cursor"].as_str().unwrap().to_owned();
    let follow = async |cursor: &str| {
        let path = format!("/products?category=forged&fields=id&cursor={cursor}");
        shop().get(&path).await
    };
    let page_after = |position: &str| {
        let rest = ids.into_iter().filter(|id| *id > position);
        let rest: Vec<_> = rest.map(|id| json!({"id": id})).collect();
        json!({"products": rest, "next_cursor": null})
    };
    let genuine = follow(&cursor).await.expect(StatusCode::OK);
    assert_eq!(genuine.body, page_after("forged-0"));

    let (mut refused, mut moved) = (0, 0);
    for at in 0..cursor.len() {
        let digit = ALPHABET
            .iter()
            .position(|it| *it == cursor.as_bytes()[at])
            .unwrap();
        for bit in 0..6 {
            let mut forged = cursor.clone().into_bytes();
            forged[at] = ALPHABET[digit ^ (1 << bit)];
            let forged = String::from_utf8(forged).unwrap();
            let reply = follow(&forged).await;
            match listing.position(&forged) {
                // A forged id may still be one. Then it stands for itself, and not for the genuine one.
                Ok(position) => {
                    assert!(at >= TAG, "{forged} is of another listing");
                    assert_ne!(position.as_str(), "forged-0", "{forged}");
                    let reply = reply.expect(StatusCode::OK);
                    assert_eq!(reply.body, page_after(position.as_str()), "{forged}");
                    moved += 1;
                }
                Err(_) => {
                    reply.expect_problem(400);
                    refused += 1;
                }
            }
        }
    }
    assert!(
        refused >= TAG * 6 && moved >= 20,
        "{refused} refused, {moved} moved"
    );
}
