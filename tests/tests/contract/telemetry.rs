//! The logs of the functions: each line names its invocation, a trace follows an order from the API
//! through the queue to the worker, and the metrics add up.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use reqwest::{Method, StatusCode};
use serde_json::{Value, json};
use shop_tests::{PATIENCE, Reply, Shop, shop};

/// The lines that a function itself wrote.
fn lines(shop: &Shop, function: &str) -> Vec<Value> {
    let log = shop.log(function);
    let lines = log.lines().filter(|line| line.starts_with('{'));
    lines
        .map(|line| serde_json::from_str(line).unwrap())
        .collect()
}

/// The ids of the invocations that a log has such a line of.
fn invocations<'a>(log: &'a str, prefix: &str) -> BTreeSet<&'a str> {
    let rest = log.lines().filter_map(|line| line.strip_prefix(prefix));
    rest.filter_map(|rest| rest.split([' ', '\t']).next())
        .collect()
}

/// Asks again and again, because a line is in its file a little after it was written.
async fn until<T>(what: &str, mut look: impl AsyncFnMut() -> Option<T>) -> T {
    let patience = tokio::time::Instant::now() + PATIENCE;
    loop {
        if let Some(found) = look().await {
            return found;
        }
        assert!(tokio::time::Instant::now() < patience, "{what}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// The first line of a function that `wanted` holds for.
async fn line(shop: &Shop, function: &str, wanted: impl Fn(&Value) -> bool) -> Value {
    until(&format!("{function} has no such line"), async || {
        lines(shop, function).into_iter().find(|line| wanted(line))
    })
    .await
}

async fn place(shop: &Shop, headers: &[(&str, &str)], product: &str, quantity: u64) -> Reply {
    let headers = [headers, &[("content-type", "application/json")]].concat();
    let order = json!({"lines": [{"product_id": product, "quantity": quantity}]});
    let body = Some(order.to_string().into_bytes());
    let reply = shop.send_with(Method::POST, "/orders", &headers, body);
    reply.await.expect(StatusCode::ACCEPTED)
}

fn is_root(trace: &Value) -> bool {
    let parts: Vec<&str> = trace.as_str().unwrap_or_default().split('-').collect();
    let lengths: Vec<usize> = parts.iter().map(|part| part.len()).collect();
    let hex = |part: &&str| part.bytes().all(|byte| byte.is_ascii_hexdigit());
    lengths == [1, 8, 24] && parts.iter().all(hex)
}

#[tokio::test]
async fn an_order_is_followed_from_the_api_to_the_worker_by_its_trace() {
    const ROOT: &str = "1-5759e988-bd862e3fe1be46a994272793";
    shop().has_product("traced", "telemetry", 100, 10).await;
    let trace = format!("Root={ROOT};Parent=53995c3f42cd8ad8;Sampled=0");

    let placed = place(shop(), &[("x-amzn-trace-id", &trace)], "traced", 1).await;

    let of_order = |line: &Value| line["order_id"] == placed.body["id"];
    let accepted = line(shop(), "PlaceOrder", of_order).await;
    assert_eq!(accepted["traceId"], ROOT);
    assert_eq!(accepted["requestId"], placed.header("x-request-id"));
    assert_eq!(accepted["message"], "order placed");
    let settled = line(shop(), "ProcessOrders", of_order).await;
    assert_eq!(settled["message_trace_id"], ROOT);
    assert_eq!(settled["outcome"], "FULFILLED");
    // The batch has a trace of its own, since its orders may have come by many.
    assert!(is_root(&settled["traceId"]), "{settled}");
    assert_ne!(settled["traceId"], ROOT);
}

#[tokio::test]
async fn an_order_without_a_trace_is_given_one() {
    shop().has_product("untraced", "telemetry", 100, 10).await;
    for forged in ["", "Root=", "Root=1-2-3;Sampled=1"] {
        let placed = place(shop(), &[("x-amzn-trace-id", forged)], "untraced", 1).await;

        let of_order = |line: &Value| line["order_id"] == placed.body["id"];
        let accepted = line(shop(), "PlaceOrder", of_order).await;
        assert!(is_root(&accepted["traceId"]), "{accepted}");
        let settled = line(shop(), "ProcessOrders", of_order).await;
        assert_eq!(settled["message_trace_id"], accepted["traceId"]);
    }
}

#[tokio::test]
async fn a_message_that_fails_is_logged_with_its_trace() {
    const ROOT: &str = "1-5759e988-0123456789abcdef01234567";
    let shop = Shop::start("unsettled", |template| {
        assert_eq!(template.matches("Timeout: 10").count(), 1);
        template.replace("Timeout: 10", "Timeout: 3")
    });
    shop.has_product("unsettled", "telemetry", 100, 10).await;
    let conflict = json!({
        "kind": "transaction_conflict", "probability": 1, "functions": ["ProcessOrders"],
    });
    shop.inject(&json!({"seed": 1, "faults": [conflict]})).await;
    let trace = format!("Root={ROOT}");

    place(&shop, &[("x-amzn-trace-id", &trace)], "unsettled", 1).await;

    let failed = |line: &Value| line["message"] == "message failed";
    let failed = line(&shop, "ProcessOrders", failed).await;
    assert_eq!(failed["message_trace_id"], ROOT);
    assert!(failed["message_id"].is_string(), "{failed}");
    shop.inject_nothing().await;
    shop.stop().await;
}

#[tokio::test]
async fn every_line_says_which_invocation_it_is_of_and_whether_that_was_a_cold_start() {
    let shop = Shop::start("verbose", |template| {
        let verbose = "Variables:\n          AWS_LAMBDA_LOG_LEVEL: DEBUG\n";
        template.replace("Variables:\n", verbose)
    });
    shop.has_product("verbose", "telemetry", 100, 100).await;
    for _ in 0..3 {
        let placed = place(&shop, &[], "verbose", 1).await;
        let id = placed.body["id"].as_str().unwrap();
        shop.final_order(id).await;
        shop.get("/products/verbose").await.expect(StatusCode::OK);
    }

    for function in ["GetProduct", "PlaceOrder", "ProcessOrders", "GetOrder"] {
        // Lambda writes what it knows of an invocation after the function's own lines.
        let log = until(&format!("{function} has no REPORT"), async || {
            let log = shop.log(function);
            let started = invocations(&log, "START RequestId: ");
            (started == invocations(&log, "REPORT RequestId: ")).then_some(log.clone())
        })
        .await;
        let reports = log.lines().filter(|line| line.starts_with("REPORT "));
        let cold: String = reports
            .filter(|line| line.contains("Init Duration: "))
            .map(|line| format!("{line}\n"))
            .collect();
        let cold = invocations(&cold, "REPORT RequestId: ");
        let mut seen = BTreeSet::new();
        for line in lines(&shop, function) {
            assert_eq!(line["function"], format!("local-{function}"), "{line}");
            for member in ["timestamp", "level", "target"] {
                assert!(line[member].is_string(), "{member}: {line}");
            }
            let cold_start = line["coldStart"].as_bool().unwrap();
            match line["requestId"].as_str() {
                Some(id) => {
                    assert_eq!(cold_start, cold.contains(id), "{line}");
                    assert!(is_root(&line["traceId"]), "{line}");
                    seen.insert(cold_start);
                }
                // The init phase.
                None => assert!(cold_start, "{line}"),
            }
        }
        assert_eq!(seen, BTreeSet::from([false, true]), "{function}");
    }
    shop.stop().await;
}

/// The values of all metrics in the log of a function.
fn metrics(shop: &Shop, function: &str) -> BTreeMap<String, Vec<u64>> {
    let mut metrics: BTreeMap<_, Vec<u64>> = BTreeMap::new();
    for line in lines(shop, function) {
        let Some(directives) = line["_aws"]["CloudWatchMetrics"].as_array() else {
            continue;
        };
        for directive in directives {
            assert_eq!(directive["Namespace"], "local");
            for definition in directive["Metrics"].as_array().unwrap() {
                let name = definition["Name"].as_str().unwrap();
                let value = &line[name];
                let one = std::slice::from_ref(value);
                let values = value.as_array().map_or(one, Vec::as_slice).iter();
                let values = values.map(|value| value.as_u64().unwrap());
                metrics.entry(name.to_owned()).or_default().extend(values);
            }
        }
    }
    metrics
}

/// The sum of each metric in the log of a function, except the one that measures time.
pub(crate) fn sums(shop: &Shop, function: &str) -> BTreeMap<String, u64> {
    let sums = metrics(shop, function).into_iter();
    let sums = sums.filter(|(name, _)| name != "PlacedToFinal");
    sums.map(|(name, values)| (name, values.iter().sum::<u64>()))
        .collect()
}

/// Waits until the log of a function has the last line of each invocation that has begun.
pub(crate) async fn settled_log(shop: &Shop, function: &str) {
    until("an invocation has no REPORT", async || {
        let log = shop.log(function);
        let begun = invocations(&log, "START RequestId: ");
        (begun == invocations(&log, "REPORT RequestId: ")).then_some(())
    })
    .await;
}

#[tokio::test]
async fn the_metrics_add_up_to_what_was_placed() {
    let shop = Shop::start("counted", |template| template);
    shop.has_product("counted", "telemetry", 100, 100).await;
    let key = [("idempotency-key", "key-of-a-counted-order")];
    let mut orders = Vec::new();
    for _ in 0..5 {
        orders.push(place(&shop, &[], "counted", 2).await);
    }
    for _ in 0..3 {
        orders.push(place(&shop, &[], "counted", 1_000).await);
    }
    orders.push(place(&shop, &key, "counted", 2).await);
    for order in &orders {
        shop.final_order(order.body["id"].as_str().unwrap()).await;
    }
    for _ in 0..3 {
        place(&shop, &key, "counted", 2).await;
    }
    // Delivered once more, and nothing that was ever ordered.
    let again = json!({"order_id": orders[0].body["id"], "lines": [{"product_id": "counted", "quantity": 2}]});
    shop.send_message("OrdersQueue", &again.to_string()).await;
    shop.send_message("OrdersQueue", "not JSON").await;
    let by_another = |line: &Value| line["outcome"] == "SETTLED_BY_ANOTHER";
    line(&shop, "ProcessOrders", by_another).await;

    let expected = |sums: &[(&str, u64)]| -> BTreeMap<_, _> {
        let sums = sums.iter();
        sums.map(|(name, sum)| ((*name).to_owned(), *sum)).collect()
    };
    let failed = |line: &Value| line["message"] == "message failed";
    line(&shop, "ProcessOrders", failed).await;
    settled_log(&shop, "PlaceOrder").await;
    settled_log(&shop, "ProcessOrders").await;
    assert_eq!(
        sums(&shop, "PlaceOrder"),
        expected(&[("OrdersPlaced", 9), ("OrdersReplayed", 3)])
    );
    assert_eq!(
        sums(&shop, "ProcessOrders"),
        expected(&[
            ("OrdersFulfilled", 6),
            ("OrdersRejected", 3),
            ("BatchItemFailures", 1)
        ])
    );
    let took_ms = &metrics(&shop, "ProcessOrders")["PlacedToFinal"];
    assert_eq!(took_ms.len(), 9);
    let most = u64::try_from(PATIENCE.as_millis()).unwrap();
    assert!(took_ms.iter().all(|ms| *ms < most), "{took_ms:?}");
    // One line an invocation, and the worker's orders one each.
    let worker = shop.log("ProcessOrders");
    let documents = worker.matches("\"_aws\":").count();
    assert!(
        documents <= invocations(&worker, "START RequestId: ").len(),
        "{documents}"
    );
    assert_eq!(worker.matches("\"order settled\"").count(), 10);
    shop.stop().await;
}
