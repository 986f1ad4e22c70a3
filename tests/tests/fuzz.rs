//! For any bytes that reach the running shop: it answers or hangs up, in bounded time and memory, and goes
//! on.
//!
//! Other ways in have tests of their own: the template reader in `local/template/tests/reading.rs`, the Runtime
//! API in `local/tests/lambda_runtime_api.rs`, SQS events in `functions/process-orders/src/batch.rs`.

#![allow(clippy::unwrap_used, reason = "a helper that fails is a failed test")]

use std::cell::Cell;
use std::panic;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use proptest::prelude::*;
use proptest::test_runner::TestRunner;
use reqwest::StatusCode;
use serde_json::json;
use shop_tests::{PATIENCE, shop};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::runtime::Runtime;
use tokio::time::timeout;

async fn connect() -> TcpStream {
    let address = shop().api_url.trim_start_matches("http://");
    TcpStream::connect(address).await.unwrap()
}

/// Sends bytes and reads all that comes until the other side hangs up; `None` if it does neither.
async fn exchange(bytes: &[u8]) -> Option<String> {
    let mut stream = connect().await;
    // It may hang up before all is sent.
    let _ = stream.write_all(bytes).await;
    let mut answer = Vec::new();
    // A client that hangs up is not waited for, and its request is dropped. So this says that nothing
    // follows only when no answer comes of what it has sent.
    let first = stream.read_buf(&mut answer);
    let _ = timeout(Duration::from_millis(20), first).await;
    let _ = stream.shutdown().await;
    let read = stream.read_to_end(&mut answer);
    // It may have broken the connection, which is one way to hang up.
    let _ = timeout(PATIENCE, read).await.ok()?;
    Some(String::from_utf8_lossy(&answer).into_owned())
}

async fn still_sells() {
    // No request of the fuzz deletes this one: it is longer than the ids that are made up.
    let id = "sold-while-others-are-fuzzed";
    shop().has_product(id, "fuzz", 100, 1_000).await;
    let order = json!({"lines": [{"product_id": id, "quantity": 1}]});
    let placed = shop()
        .post("/orders", &order)
        .await
        .expect(StatusCode::ACCEPTED);
    let order = shop()
        .final_order(placed.body["id"].as_str().unwrap())
        .await;
    assert_eq!(order["status"], "FULFILLED");
}

/// A body that a function reads, nearly reads, or does not.
fn body() -> impl Strategy<Value = Vec<u8>> {
    let valid = prop::sample::select(vec![
        r#"{"name": "N", "category": "c", "price_cents": 1, "stock": 1}"#,
        r#"{"ids": ["alive", "b"], "fields": ["id"]}"#,
        r#"{"lines": [{"product_id": "alive", "quantity": 1}]}"#,
    ]);
    let changed = (
        valid.clone(),
        any::<prop::sample::Index>(),
        prop::collection::vec(any::<u8>(), 0..4),
    );
    let changed = changed.prop_map(|(valid, at, put)| {
        let mut bytes = valid.as_bytes().to_vec();
        let at = at.index(bytes.len());
        bytes.splice(at..at + 1, put);
        bytes
    });
    prop_oneof![
        valid.prop_map(|text| text.as_bytes().to_vec()),
        changed,
        prop::collection::vec(any::<u8>(), 0..200),
    ]
}

/// A request to a route of the shop, more or less well made.
fn request() -> impl Strategy<Value = Vec<u8>> {
    let target = prop_oneof![
        2 => Just("/products".to_owned()),
        2 => Just("/orders".to_owned()),
        2 => Just("/products/batch-get".to_owned()),
        2 => "/products/[A-Za-z0-9_-]{1,9}",
        1 => "/products/[A-Za-z0-9_%./-]{0,20}",
        1 => "/orders/[0-9a-f%]{0,33}",
        1 => "/products\\?(category|limit|cursor|fields)=[!-~]{0,20}",
        1 => "/products/alive\\?[!-~]{0,20}",
        1 => "[ -~]{0,30}",
        1 => "/products/\\PC{0,10}",
    ];
    let name = prop_oneof![
        4 => prop::sample::select(vec!["If-Match", "If-None-Match", "Idempotency-Key", "X-Amzn-Trace-Id"])
            .prop_map(str::to_owned),
        2 => "[a-zA-Z-]{1,12}",
        1 => prop::sample::select(vec![
            "Content-Type", "Content-Length", "Transfer-Encoding", "Expect", "Connection",
        ])
        .prop_map(str::to_owned),
    ];
    // A byte that no header may hold ends the whole request: seldom, or little else would be tried.
    let value = prop_oneof![
        5 => "[ -~]{0,40}".prop_map(String::into_bytes),
        2 => prop::sample::select(vec!["application/json", "chunked", "*", "100-continue", "close"])
            .prop_map(|text| text.as_bytes().to_vec()),
        1 => "[0-9]{1,20}".prop_map(String::into_bytes),
        1 => prop::collection::vec(any::<u8>(), 0..40),
    ];
    let headers = prop::collection::vec((name, value), 0..4);
    // How the body's end is told: by its length, in chunks, or as the headers above happen to say.
    let framing = 0..3;
    let method = prop_oneof![
        9 => prop::sample::select(vec!["GET", "PUT", "POST", "DELETE"]).prop_map(str::to_owned),
        1 => "[A-Z]{0,8}",
    ];
    (method, target, headers, framing, body()).prop_map(
        |(method, target, headers, framing, body)| {
            let mut bytes =
                format!("{method} {target} HTTP/1.1\r\nHost: localhost\r\n").into_bytes();
            for (name, value) in headers {
                bytes.extend_from_slice(format!("{name}: ").as_bytes());
                bytes.extend_from_slice(&value);
                bytes.extend_from_slice(b"\r\n");
            }
            match framing {
                0 => {
                    let head = format!(
                        "Content-Type: application/json\r\nContent-Length: {}\r\n\r\n",
                        body.len()
                    );
                    bytes.extend_from_slice(head.as_bytes());
                    bytes.extend_from_slice(&body);
                }
                1 => {
                    bytes.extend_from_slice(b"Transfer-Encoding: chunked\r\n\r\n");
                    bytes.extend_from_slice(format!("{:x}\r\n", body.len()).as_bytes());
                    bytes.extend_from_slice(&body);
                    bytes.extend_from_slice(b"\r\n0\r\n\r\n");
                }
                _ => {
                    bytes.extend_from_slice(b"\r\n");
                    bytes.extend_from_slice(&body);
                }
            }
            bytes
        },
    )
}

/// Has panics counted, wherever in this process: one in the host would look like a connection that is
/// hung up.
fn count_panics() -> &'static AtomicUsize {
    static PANICS: AtomicUsize = AtomicUsize::new(0);
    let show = panic::take_hook();
    panic::set_hook(Box::new(move |what| {
        PANICS.fetch_add(1, Ordering::Relaxed);
        show(what);
    }));
    &PANICS
}

#[test]
fn whatever_bytes_come_the_shop_answers_or_hangs_up() {
    let panics = count_panics();
    let runtime = Runtime::new().unwrap();
    // One request, several on one connection, or no requests at all.
    let bytes = prop_oneof![
        4 => request(),
        2 => prop::collection::vec(request(), 2..4).prop_map(|requests| requests.concat()),
        1 => prop::collection::vec(any::<u8>(), 0..300),
    ];
    let mut config = ProptestConfig::with_cases(1000); // a few seconds
    config.failure_persistence = None; // it would be kept beside the source, which a test cannot find
    let mut runner = TestRunner::new(config);

    let (by_functions, successes) = (Cell::new(0), Cell::new(0));

    let outcome = runner.run(&bytes, |bytes| {
        let answer = runtime.block_on(exchange(&bytes));
        prop_assert!(answer.is_some(), "it hangs");
        let answer = answer.unwrap_or_default();
        prop_assert!(
            answer.is_empty() || answer.starts_with("HTTP/1.1 "),
            "{}",
            answer
        );
        // Nothing that a client sends is the shop's own fault.
        prop_assert!(!answer.contains("HTTP/1.1 5"), "{}", answer);
        by_functions.set(by_functions.get() + answer.matches("\r\nX-Request-Id: ").count());
        successes.set(successes.get() + answer.matches("HTTP/1.1 20").count());
        Ok(())
    });

    outcome.unwrap();
    // Refused before any function sees them, they would say little of the shop.
    let (by_functions, successes) = (by_functions.get(), successes.get());
    assert!(
        by_functions >= 150 && successes >= 30,
        "{by_functions}, {successes}"
    );
    runtime.block_on(still_sells());
    assert_eq!(panics.load(Ordering::Relaxed), 0);
}

/// Sends `head`, then `piece` again and again, until `megabytes` are sent or the other side hangs up.
async fn flood(head: &str, piece: Vec<u8>, megabytes: usize) {
    let mut stream = connect().await;
    stream.write_all(head.as_bytes()).await.unwrap();
    for _ in 0..megabytes * 1024 * 1024 / piece.len() {
        if stream.write_all(&piece).await.is_err() {
            return;
        }
    }
}

/// The most memory that this process, and the host in it, ever had; in kilobytes.
#[cfg(target_os = "linux")]
fn peak_memory() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status
        .lines()
        .find(|line| line.starts_with("VmHWM:"))
        .unwrap();
    line.split_whitespace().nth(1).unwrap().parse().unwrap()
}

#[test]
#[cfg(target_os = "linux")] // where a process can tell its peak memory without more libraries
fn bodies_and_headers_without_end_are_not_kept() {
    const MEGABYTES: usize = 128; // each of eight connections
    let runtime = Runtime::new().unwrap();
    runtime.block_on(still_sells());
    let before = peak_memory();

    let floods = (0..8).map(|n| {
        let (head, piece) = match n % 4 {
            0 => (
                "POST /orders HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n",
                [b"10000\r\n".as_slice(), &[b'x'; 0x10000], b"\r\n"].concat(),
            ),
            1 => (
                "POST /orders HTTP/1.1\r\nHost: localhost\r\nContent-Length: 99999999999\r\n\r\n",
                vec![b' '; 65_536],
            ),
            2 => (
                "GET /products HTTP/1.1\r\nHost: localhost\r\nX: ",
                vec![b'x'; 65_536],
            ),
            _ => ("GET /products?category=", vec![b'x'; 65_536]),
        };
        runtime.spawn(flood(head, piece, MEGABYTES))
    });
    for flood in floods.collect::<Vec<_>>() {
        let ended = runtime.block_on(async { timeout(2 * PATIENCE, flood).await });
        ended.expect("the bytes are taken or refused").unwrap();
    }

    // The four bodies may be kept up to API Gateway's limit of 10 MB, and as a buffer grows, twice.
    let grown = (peak_memory() - before) / 1024;
    assert!(
        grown < 4 * 2 * 10 + 40,
        "{grown} MB more for {MEGABYTES} MB a connection"
    );
    runtime.block_on(still_sells());
}

#[test]
fn connections_that_say_nothing_or_stop_in_the_middle_keep_nobody_out() {
    let runtime = Runtime::new().unwrap();
    runtime.block_on(async {
        let mut open = Vec::new();
        for n in 0..200 {
            let mut stream = connect().await;
            let said = [
                "",
                "G",
                "GET /products HTTP/1.1\r\n",
                "POST /orders HTTP/1.1\r\nHost: localhost\r\nContent-Length: 9\r\n\r\n{",
            ];
            stream.write_all(said[n % 4].as_bytes()).await.unwrap();
            open.push(stream);
        }
        timeout(PATIENCE, still_sells()).await.unwrap();
        drop(open);
        timeout(PATIENCE, still_sells()).await.unwrap();
    });
}
