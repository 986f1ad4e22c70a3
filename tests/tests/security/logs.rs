//! The logs hold no secrets, and clients write no lines.
//!
//! Secrets are what a client proves itself with: `Authorization`, cookies, API keys, and the
//! `Idempotency-Key`, since anyone who has it is given the order. Bodies are not secret, but are of no use
//! in a log either, and may hold personal data; so they are not logged.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::time::Duration;

use reqwest::Method;
use serde_json::{Value, json};
use shop_tests::{PATIENCE, Shop};

/// The logs of a stack, by file name.
fn logs(shop: &Shop) -> BTreeMap<String, String> {
    let files = fs::read_dir(&shop.stack().log_dir).unwrap();
    let logs = files.map(|entry| {
        let entry = entry.unwrap();
        let bytes = fs::read(entry.path()).unwrap();
        let text = String::from_utf8_lossy(&bytes).into_owned();
        (entry.file_name().into_string().unwrap(), text)
    });
    logs.collect()
}

/// The logs, once there is a REPORT for every START: the last lines of an invocation are written after
/// it was answered.
async fn complete_logs(shop: &Shop) -> BTreeMap<String, String> {
    let patience = tokio::time::Instant::now() + PATIENCE;
    loop {
        let logs = logs(shop);
        let count = |line: &str| {
            logs.values()
                .map(|log| log.matches(line).count())
                .sum::<usize>()
        };
        if count("START RequestId: ") == count("REPORT RequestId: ") {
            return logs;
        }
        assert!(
            tokio::time::Instant::now() < patience,
            "an invocation has no REPORT"
        );
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// Every route of the API.
const ROUTES: [(Method, &str); 7] = [
    (Method::PUT, "/products/logged"),
    (Method::GET, "/products/logged"),
    (Method::GET, "/products"),
    (Method::POST, "/products/batch-get"),
    (Method::POST, "/orders"),
    (Method::GET, "/orders/nobody"),
    (Method::DELETE, "/products/logged"),
];

#[tokio::test]
async fn no_secret_of_a_request_is_in_a_log() {
    // The functions say all that they can, so that this does not rest on the level alone.
    let shop = Shop::start("logs-of-secrets", |template| {
        let verbose = "Variables:\n          AWS_LAMBDA_LOG_LEVEL: TRACE\n";
        template.replace("Variables:\n", verbose)
    });
    shop.has_product("logged", "logs", 100, 10).await;
    let headers = [
        ("content-type", "application/json"),
        ("authorization", "Bearer s3cret-in-authorization"),
        ("cookie", "session=s3cret-in-cookie"),
        ("x-api-key", "s3cret-in-api-key"),
        ("idempotency-key", "s3cret-in-idempotency-key"),
    ];
    let accepted = json!({"lines": [{"product_id": "logged", "quantity": 1}]});
    let refused = json!({"s3cret-in-body": "s3cret-in-body"});
    let mut answers = BTreeSet::new();
    for (method, path) in ROUTES {
        for body in [&accepted, &refused] {
            let body = Some(body.to_string().into_bytes());
            let reply = shop.send_with(method.clone(), path, &headers, body).await;
            answers.insert(format!("{method} {path} {}", reply.status.as_u16()));
        }
    }
    shop.drained("OrdersQueue").await;

    let logs = complete_logs(&shop).await;
    // The secrets have come as far as they can: with an order, into the queue, and with a refusal.
    for expected in [
        "POST /orders 202",
        "POST /orders 422",
        "GET /products/logged 200",
    ] {
        assert!(answers.contains(expected), "{expected}: {answers:?}");
    }
    assert!(logs["ProcessOrders.log"].contains("order settled"));
    let debug = logs
        .values()
        .filter(|log| log.contains("\"level\":\"DEBUG\""))
        .count();
    assert_eq!(debug, 8, "every function logs as much as it can");
    for (file, log) in logs {
        for line in log.lines() {
            assert!(!line.contains("s3cret"), "{file}: {line}");
        }
    }
}

/// Texts that would be lines of a log, were they written down as they are.
const FORGERIES: [&str; 5] = [
    "\n{\"level\":\"ERROR\",\"message\":\"forged\"}\n",
    "\r\nREPORT RequestId: forged\tDuration: 1.00 ms\t\r\n",
    "\u{2028}START RequestId: forged\u{85}END RequestId: forged\u{c}",
    "\"}\n{\"level\":\"ERROR\",\"message\":\"forged\"",
    "\u{1b}[2J\u{0}\u{7}\u{8}\nforged",
];

/// The one line of Lambda's that names no request.
const INIT_START: &str = "INIT_START Runtime Version: provided:local\tRuntime Version ARN: \
                          arn:aws:lambda:us-east-1::runtime:provided-local";

/// One line of a function's log: what Lambda writes, or an object with a level.
fn is_genuine(line: &str, request_ids: &BTreeSet<&str>) -> bool {
    if line == INIT_START {
        return true;
    }
    let rest = ["START RequestId: ", "END RequestId: ", "REPORT RequestId: "]
        .iter()
        .find_map(|prefix| line.strip_prefix(prefix));
    let id = rest.map(|rest| rest.split([' ', '\t']).next().unwrap_or_default());
    match (id, serde_json::from_str::<Value>(line)) {
        (Some(id), _) => request_ids.contains(id),
        (None, Ok(line)) => line["level"].is_string() && line["message"] != "forged",
        (None, Err(_)) => false,
    }
}

#[tokio::test]
async fn nothing_that_a_client_sends_makes_a_line_of_its_own_in_a_log() {
    let shop = Shop::start("logs-of-forgeries", |template| {
        let verbose = "Variables:\n          AWS_LAMBDA_LOG_LEVEL: DEBUG\n";
        template.replace("Variables:\n", verbose)
    });
    let mut request_ids = BTreeSet::new();
    for forgery in FORGERIES {
        let encoded: String = forgery.bytes().map(|byte| format!("%{byte:02X}")).collect();
        // A header cannot carry control characters: the client would not send it.
        let in_header = forgery.replace(|c: char| c.is_control() && c != '\t', "\t");
        let headers = [
            ("content-type", "application/json"),
            ("idempotency-key", &in_header),
            ("if-match", &in_header),
            ("user-agent", &in_header),
            ("x-amzn-trace-id", &format!("Root={in_header}")),
        ];
        let body = json!({
            "name": forgery, "category": forgery, "ids": [forgery], forgery: forgery,
            "lines": [{"product_id": forgery, "quantity": forgery}],
        });
        for (method, path) in ROUTES {
            let path = path.replace("logged", &encoded).replace("nobody", &encoded);
            for query in [
                "",
                &format!("?category={encoded}&cursor={encoded}&{encoded}=1"),
            ] {
                for body in [body.to_string(), forgery.to_owned()] {
                    let path = format!("{path}{query}");
                    let sent = shop.send_with(method.clone(), &path, &headers, Some(body.into()));
                    let reply = sent.await;
                    assert!(!reply.status.is_server_error(), "{reply:?}");
                    // The HTTP API's own 404 has none.
                    let id = reply.header("x-request-id").to_owned();
                    request_ids.extend(Some(id).filter(|id| !id.is_empty()));
                }
            }
        }
        // The worker writes down why a message fails. SQS takes no control characters but these, unless
        // JSON hides them.
        let in_message = forgery.replace(|c: char| c.is_control() && !"\t\n\r".contains(c), " ");
        let named = json!({"order_id": forgery}).to_string();
        for poison in [in_message, body.to_string(), named] {
            shop.send_message("OrdersQueue", &poison).await;
        }
    }
    let patience = tokio::time::Instant::now() + PATIENCE;
    let failed = |logs: &BTreeMap<String, String>| {
        logs["ProcessOrders.log"].matches("message failed").count()
    };
    while failed(&logs(&shop)) < 3 * FORGERIES.len() && tokio::time::Instant::now() < patience {
        tokio::time::sleep(Duration::from_millis(50)).await;
    }

    let logs = complete_logs(&shop).await;
    assert!(failed(&logs) >= 3 * FORGERIES.len());
    assert!(request_ids.len() > 10 * FORGERIES.len(), "functions answer");
    for (file, log) in &logs {
        // Ids that Lambda gave, as its answers said; nobody answers for the worker.
        let known = request_ids.iter().map(String::as_str);
        let of_worker = log
            .lines()
            .filter_map(|line| line.strip_prefix("START RequestId: "));
        let of_worker = of_worker
            .filter_map(|rest| rest.split(' ').next())
            .filter(|id| id.len() == 36);
        let ids: BTreeSet<&str> = known.chain(of_worker).collect();
        for line in log.lines().filter(|_| file.ends_with(".log")) {
            assert!(is_genuine(line, &ids), "{file}: {line:?}");
            assert!(
                !line.contains(char::is_control)
                    || line.starts_with("REPORT ")
                    || line == INIT_START,
                "{file}: {line:?}"
            );
        }
    }
}

#[test]
fn a_forged_line_is_known_for_one() {
    let ids = BTreeSet::from(["r-1"]);
    let genuine = [
        "START RequestId: r-1 Version: $LATEST",
        "{\"level\":\"INFO\",\"message\":\"fine\"}",
    ];
    assert!(genuine.iter().all(|line| is_genuine(line, &ids)));
    for line in FORGERIES
        .iter()
        .flat_map(|forgery| forgery.lines())
        .filter(|line| line.contains("forged"))
    {
        assert!(!is_genuine(line, &ids), "{line:?}");
    }
}
