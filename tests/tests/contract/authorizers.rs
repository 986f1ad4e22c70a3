//! Requests as API Gateway sends them on AWS, where it has checked who sends them. The local host checks
//! nobody, so these go to the functions themselves, as the samples in `events/` with changes.

use serde_json::{Value, json};
use shop_tests::shop;

fn event(name: &str) -> Value {
    let path = format!("{}/../events/{name}.json", env!("CARGO_MANIFEST_DIR"));
    serde_json::from_str(&std::fs::read_to_string(path).unwrap()).unwrap()
}

/// Runs a function on an event, and gives status, headers and body of its response.
async fn invoke(function: &str, event: &Value) -> (u64, Value, Value) {
    let url = format!(
        "{}/2015-03-31/functions/{function}/invocations",
        shop().control_url()
    );
    let reply = reqwest::Client::new()
        .post(url)
        .body(event.to_string())
        .send();
    let reply = reply.await.unwrap();
    assert!(
        !reply.headers().contains_key("x-amz-function-error"),
        "{reply:?}"
    );
    let response: Value = serde_json::from_str(&reply.text().await.unwrap()).unwrap();
    let body = response["body"].as_str().unwrap_or_default();
    (
        response["statusCode"].as_u64().unwrap(),
        response["headers"].clone(),
        serde_json::from_str(body).unwrap_or_default(),
    )
}

/// An order of `subject`, by the key of the sample.
async fn order_of(subject: &str) -> Value {
    let mut event = event("place-order");
    event["requestContext"]["authorizer"]["jwt"]["claims"]["sub"] = json!(subject);
    event["body"] = json!(json!({"lines": [{"product_id": "claimed", "quantity": 1}]}).to_string());
    let (status, headers, body) = invoke("PlaceOrder", &event).await;
    assert_eq!(status, 202, "{body}");
    json!({"id": body["id"], "replayed": headers["idempotent-replayed"]})
}

#[tokio::test]
async fn a_key_is_its_customer_s_own() {
    shop().has_product("claimed", "authorizers", 100, 100).await;

    let one = order_of("customer-one").await;
    let other = order_of("customer-two").await;
    let again = order_of("customer-one").await;

    assert_ne!(one["id"], other["id"]);
    assert_eq!(
        (&one["replayed"], &other["replayed"]),
        (&Value::Null, &Value::Null)
    );
    assert_eq!(
        (&again["id"], &again["replayed"]),
        (&one["id"], &json!("true"))
    );
}

#[tokio::test]
async fn a_token_that_names_nobody_places_no_order() {
    let mut event = event("place-order");
    event["requestContext"]["authorizer"]["jwt"]["claims"]
        .as_object_mut()
        .unwrap()
        .remove("sub");

    let (status, _, body) = invoke("PlaceOrder", &event).await;

    assert_eq!((status, &body["status"]), (400, &json!(400)));
}

#[tokio::test]
async fn each_function_takes_its_sample() {
    shop().has_product("kettle-1l", "kitchen", 100, 100).await;
    // In this order each finds what it asks for; the catalogue is changed by signed requests.
    for (function, sample, expected) in [
        ("DeleteProduct", "delete-product", 204),
        ("PutProduct", "put-product", 201),
        ("PutProduct", "put-product", 412), // it asks that there be none
        ("GetProduct", "get-product", 200),
        ("ListProducts", "list-products", 200),
        ("BatchGetProducts", "batch-get-products", 200),
        ("PlaceOrder", "place-order", 202),
        ("GetOrder", "get-order", 404), // nobody has placed it
    ] {
        let (status, headers, body) = invoke(function, &event(sample)).await;

        assert_eq!(status, expected, "{function}: {body}");
        assert!(headers["x-request-id"].is_string(), "{function}: {headers}");
    }
}
