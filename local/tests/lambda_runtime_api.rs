//! The Runtime API as a runtime sees it. The tests themselves are the runtime: `bootstrap` only tells
//! them where the API is.

#![allow(clippy::expect_used, reason = "a helper that fails is a failed test")]

mod support;

use std::cell::Cell;
use std::path::PathBuf;
use std::sync::atomic::Ordering;
use std::time::Duration;

use bytes::Bytes;
use local::lambda::{Function, InvokeError, MAX_PAYLOAD};
use local::template;
use proptest::prelude::*;
use reqwest::{Client, Response};
use serde_json::{Value, json};
use support::{TestHost, count_panics, eventually, exchange, request};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::task::JoinHandle;

/// A function whose only environment is played by a test.
struct Played {
    host: TestHost,
    function: Function,
    address_file: PathBuf,
    client: Client,
}

impl Played {
    async fn start(change: impl FnOnce(&mut template::Function)) -> Played {
        let host = TestHost::new();
        let address_file = host.folder.path().join("address");
        let script = format!(
            "#!/bin/sh\necho $AWS_LAMBDA_RUNTIME_API > {0}.new\nmv {0}.new {0}\nexec sleep 3600\n",
            address_file.display()
        );
        let mut spec = host.script("Played", script);
        spec.reserved_concurrency = Some(1);
        change(&mut spec);
        let function = host.start(spec).await.expect("it starts");
        Played {
            host,
            function,
            address_file,
            client: Client::new(),
        }
    }

    fn invoke(&self, event: &'static str) -> JoinHandle<Result<Bytes, InvokeError>> {
        let function = self.function.clone();
        tokio::spawn(async move { function.invoke(request(Bytes::from(event))).await })
    }

    /// Where the Runtime API of the environment is, once that has been started.
    async fn address(&self) -> String {
        eventually(|| self.address_file.exists()).await;
        let address = std::fs::read_to_string(&self.address_file).expect("it can be read");
        address.trim().to_owned()
    }

    async fn url(&self, path: &str) -> String {
        format!("http://{}/2018-06-01/runtime/{path}", self.address().await)
    }

    async fn next(&self) -> Response {
        let response = self
            .client
            .get(self.url("invocation/next").await)
            .send()
            .await;
        response.expect("the API answers")
    }

    async fn post(&self, path: &str, body: impl Into<reqwest::Body>) -> (u16, Value) {
        let request = self.client.post(self.url(path).await).body(body);
        let response = request.send().await.expect("the API answers");
        (
            response.status().as_u16(),
            response.json().await.expect("JSON"),
        )
    }
}

fn id(next: &Response) -> String {
    let id = next.headers()["lambda-runtime-aws-request-id"]
        .to_str()
        .expect("ASCII");
    id.to_owned()
}

#[tokio::test(flavor = "multi_thread")]
async fn an_event_comes_with_its_headers_and_the_response_is_accepted_once() {
    let played = Played::start(|_| {}).await;
    let invocation = played.invoke(r#"{"a":1}"#);
    let next = played.next().await;
    assert_eq!(next.status(), 200);
    let header = |name: &str| next.headers()[name].to_str().expect("ASCII").to_owned();
    assert_eq!(header("content-type"), "application/json");
    assert_eq!(
        header("lambda-runtime-invoked-function-arn"),
        "arn:aws:lambda:us-east-1:000000000000:function:local-Played"
    );
    let trace = header("lambda-runtime-trace-id");
    assert!(
        trace.starts_with("Root=1-") && trace.contains(";Parent="),
        "{trace}"
    );
    assert!(trace.ends_with(";Sampled=0"), "{trace}");
    let id = id(&next);
    assert_eq!(next.text().await.expect("a body"), r#"{"a":1}"#);

    let refused = (
        400,
        json!({"errorMessage": "Invalid request ID", "errorType": "InvalidRequestID"}),
    );
    assert_eq!(played.post("invocation/wrong/response", "1").await, refused);
    assert_eq!(played.post("invocation/wrong/error", "{}").await, refused);
    let path = format!("invocation/{id}/response");
    assert_eq!(
        played.post(&path, "\"done\"").await,
        (202, json!({"status": "OK"}))
    );
    assert_eq!(
        invocation.await.expect("joined").expect("a result"),
        "\"done\""
    );
    assert_eq!(played.post(&path, "\"again\"").await, refused);
    played.function.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_error_is_accepted_in_any_form() {
    let played = Played::start(|_| {}).await;
    for (body, error_type, message) in [
        (
            r#"{"errorType":"Oh.No","errorMessage":"broken","stackTrace":[]}"#,
            "Oh.No",
            "broken",
        ),
        ("not JSON", "Unhandled", ""),
        ("", "Unhandled", ""),
        (r#"{"errorType":17}"#, "Unhandled", ""),
    ] {
        let invocation = played.invoke("{}");
        let path = format!("invocation/{}/error", id(&played.next().await));
        assert_eq!(played.post(&path, body).await.0, 202);
        let error = invocation.await.expect("joined").expect_err("it failed");
        let InvokeError::FunctionError(error) = error else {
            panic!("{error:?}")
        };
        assert_eq!(
            (error.error_type.as_str(), error.message.as_str()),
            (error_type, message)
        );
        assert_eq!(error.payload, body);
    }
    played.function.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_response_that_is_too_large_is_refused_and_fails_the_invocation() {
    let played = Played::start(|_| {}).await;
    let invocation = played.invoke("{}");
    let path = format!("invocation/{}/response", id(&played.next().await));
    let (status, body) = played.post(&path, vec![b'x'; MAX_PAYLOAD + 1]).await;
    assert_eq!(
        (status, &body["errorType"]),
        (413, &json!("RequestEntityTooLarge"))
    );
    assert_eq!(
        body["errorMessage"],
        "Exceeded maximum allowed payload size (6291556 bytes)."
    );
    let error = invocation.await.expect("joined").expect_err("it failed");
    assert!(
        error
            .to_string()
            .starts_with("Function.ResponseSizeTooLarge: "),
        "{error}"
    );
    // The environment goes on.
    let invocation = played.invoke("{}");
    let path = format!("invocation/{}/response", id(&played.next().await));
    assert_eq!(played.post(&path, "2").await.0, 202);
    assert_eq!(invocation.await.expect("joined").expect("a result"), "2");
    played.function.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn requests_that_have_no_place_are_refused() {
    let played = Played::start(|_| {}).await;
    let invocation = played.invoke("{}");
    // In the init phase.
    assert_eq!(played.post("invocation/none/response", "1").await.0, 400);
    let next = played.next().await;
    // In an invocation.
    let again = played.next().await;
    assert_eq!(again.status(), 403);
    let body: Value = again.json().await.expect("JSON");
    assert_eq!(body["errorType"], "InvalidStateTransition");
    assert_eq!(played.post("init/error", "{}").await.0, 403);
    for path in [
        "invocation/next",
        "restore/next",
        "",
        "invocation//x",
        "../../etc",
    ] {
        assert!(
            [404, 405].contains(&played.post(path, "1").await.0),
            "{path}"
        );
    }
    let path = format!("invocation/{}/response", id(&next));
    let wrong_method = played.client.get(played.url(&path).await).send().await;
    assert_eq!(wrong_method.expect("it answers").status(), 405);
    assert_eq!(played.post(&path, "1").await.0, 202);
    assert!(invocation.await.expect("joined").is_ok());
    played.function.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_event_that_found_no_runtime_is_for_its_next_request() {
    let played = Played::start(|_| {}).await;
    let invocation = played.invoke("{}");
    let path = format!("invocation/{}/response", id(&played.next().await));
    assert_eq!(played.post(&path, "1").await.0, 202);
    invocation.await.expect("joined").expect("a result");
    // A runtime that asks and hangs up, three times, and then asks in earnest.
    for _ in 0..3 {
        let asked = tokio::time::timeout(Duration::from_millis(50), played.next()).await;
        assert!(asked.is_err());
    }
    // Nothing tells when the host has noticed. An event sent into a connection that is just closing
    // is lost, on AWS as here.
    tokio::time::sleep(Duration::from_millis(200)).await;
    let invocation = played.invoke(r#"{"second":true}"#);
    let next = played.next().await;
    let path = format!("invocation/{}/response", id(&next));
    assert_eq!(next.text().await.expect("a body"), r#"{"second":true}"#);
    assert_eq!(played.post(&path, "2").await.0, 202);
    assert_eq!(invocation.await.expect("joined").expect("a result"), "2");
    played.function.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_result_that_is_followed_by_no_request_still_ends_at_the_timeout() {
    let played = Played::start(|spec| spec.timeout = Duration::from_secs(1)).await;
    let invocation = played.invoke("{}");
    let path = format!("invocation/{}/response", id(&played.next().await));
    assert_eq!(played.post(&path, "1").await.0, 202);
    assert!(invocation.await.expect("joined").is_ok());
    let report = played.host.lines("Played", "REPORT", 1).await.remove(0);
    assert!(report.contains("\tStatus: timeout\t"), "{report}");
    played.function.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn connections_without_number_and_half_requests_do_no_harm() {
    let played = Played::start(|_| {}).await;
    let invocation = played.invoke("{}");
    let address = played.address().await;
    let mut half_open = Vec::new();
    for n in 0..12 {
        let mut stream = TcpStream::connect(&address).await.expect("it connects");
        let half = [
            "GET /2018",
            "POST /2018-06-01/runtime/init/error HTTP/1.1\r\nhost: localhost\r\ncontent-length: 9\r\n\r\n{",
        ];
        stream
            .write_all(half[n % 2].as_bytes())
            .await
            .expect("it writes");
        half_open.push(stream);
    }
    let path = format!("invocation/{}/response", id(&played.next().await));
    assert_eq!(played.post(&path, "1").await.0, 202);
    assert!(invocation.await.expect("joined").is_ok());
    // Far more than are served at one time: they wait, and are served once others are gone.
    for _ in 0..100 {
        half_open.push(TcpStream::connect(&address).await.expect("it connects"));
    }
    drop(half_open);
    let invocation = played.invoke("{}");
    let path = format!("invocation/{}/response", id(&played.next().await));
    assert_eq!(played.post(&path, "2").await.0, 202);
    assert!(invocation.await.expect("joined").is_ok());
    played.function.shutdown().await;
}

/// The most memory that this process, and the host in it, ever had; in megabytes.
#[cfg(target_os = "linux")]
fn peak_memory() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").expect("Linux has it");
    let peak = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    let peak = peak.and_then(|line| line.split_whitespace().next());
    peak.and_then(|kilobytes| kilobytes.parse::<u64>().ok())
        .expect("kilobytes")
        / 1024
}

#[tokio::test(flavor = "multi_thread")]
#[cfg(target_os = "linux")] // where a process can tell its peak memory without more libraries
async fn a_response_without_end_is_not_kept() {
    const MEGABYTES: usize = 512;
    let played = Played::start(|_| {}).await;
    let invocation = played.invoke("{}");
    let id = id(&played.next().await);
    let before = peak_memory();

    let mut stream = TcpStream::connect(played.address().await)
        .await
        .expect("it connects");
    let head = format!(
        "POST /2018-06-01/runtime/invocation/{id}/response HTTP/1.1\r\nhost: localhost\r\n\
         transfer-encoding: chunked\r\n\r\n"
    );
    stream.write_all(head.as_bytes()).await.expect("it writes");
    let chunk = [b"100000\r\n".as_slice(), &[b'x'; 1024 * 1024], b"\r\n"].concat();
    for _ in 0..MEGABYTES {
        stream.write_all(&chunk).await.expect("it writes");
    }
    stream.write_all(b"0\r\n\r\n").await.expect("it writes");
    let mut answer = [0; 12];
    stream.read_exact(&mut answer).await.expect("it answers");

    assert_eq!(&answer, b"HTTP/1.1 413");
    let error = invocation.await.expect("joined").expect_err("it failed");
    assert!(error.to_string().contains("ResponseSizeTooLarge"));
    // The other tests of this file run beside it, and may hold a payload of 6 MB each.
    let grown = peak_memory() - before;
    assert!(grown < 128, "{grown} MB more for {MEGABYTES} MB");
    played.function.shutdown().await;
}

/// Bytes that look more or less like a request.
fn requests() -> impl Strategy<Value = Vec<u8>> {
    let path = prop_oneof![
        Just("/2018-06-01/runtime/invocation/next".to_owned()),
        Just("/2018-06-01/runtime/invocation/x/response".to_owned()),
        Just("/2018-06-01/runtime/invocation/x/error".to_owned()),
        "/2018-06-01/runtime/[a-z/%0-9]{0,20}",
        "/[!-~]{0,30}",
    ];
    // A byte that no header may hold ends the whole request: seldom, or little else would be tried.
    let value = prop_oneof![
        6 => "[ -~]{0,20}".prop_map(String::into_bytes),
        1 => prop::collection::vec(any::<u8>(), 0..20),
    ];
    let header = ("[a-zA-Z-]{1,20}", value);
    let request = (
        prop_oneof![8 => prop::sample::select(vec!["GET", "POST"]).prop_map(str::to_owned), 1 => "[A-Z]{0,8}"],
        path,
        prop::collection::vec(header, 0..4),
        prop::option::weighted(0.2, 0_usize..100),
        prop::collection::vec(any::<u8>(), 0..100),
    );
    let request = request.prop_map(|(method, path, headers, length, body)| {
        let mut bytes = format!("{method} {path} HTTP/1.1\r\nhost: localhost\r\n").into_bytes();
        for (name, value) in headers {
            bytes.extend_from_slice(format!("{name}: ").as_bytes());
            bytes.extend_from_slice(&value);
            bytes.extend_from_slice(b"\r\n");
        }
        // Not all say the truth about it.
        let length = length.unwrap_or(body.len());
        bytes.extend_from_slice(format!("content-length: {length}\r\n\r\n").as_bytes());
        bytes.extend_from_slice(&body);
        bytes
    });
    prop_oneof![3 => request, 1 => prop::collection::vec(any::<u8>(), 0..300)]
}

#[test]
fn no_bytes_at_all_harm_an_environment() {
    let panics = count_panics();
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    let played = runtime.block_on(Played::start(|_| {}));
    let (address, first) = runtime.block_on(async {
        let invocation = played.invoke("{}");
        let first = id(&played.next().await);
        drop(invocation);
        (played.address().await, first)
    });
    // While an invocation runs, which no guess at its id can answer.
    let mut config = ProptestConfig::with_cases(300);
    config.failure_persistence = None; // it would be kept beside the source, which a runner cannot find
    let understood = Cell::new(0);
    let mut runner = proptest::test_runner::TestRunner::new(config);
    let outcome = runner.run(&requests(), |bytes| {
        runtime.block_on(async {
            let answer = exchange(&address, &bytes).await;
            prop_assert!(answer.is_some(), "it hangs");
            let answer = answer.unwrap_or_default();
            prop_assert!(!answer.starts_with("HTTP/1.1 5"), "{answer}");
            // The API's own refusals are JSON, those of what cannot be read as HTTP are empty.
            understood.set(understood.get() + usize::from(answer.ends_with('}')));
            Ok(())
        })
    });
    outcome.expect("no bytes harm it");
    let understood = understood.get();
    assert!(understood >= 100, "{understood} of 300 were requests");
    assert_eq!(panics.load(Ordering::Relaxed), 0);
    runtime.block_on(async {
        let path = format!("invocation/{first}/response");
        assert_eq!(played.post(&path, "1").await.0, 202);
        let invocation = played.invoke("{}");
        let path = format!("invocation/{}/response", id(&played.next().await));
        assert_eq!(played.post(&path, "\"alive\"").await.0, 202);
        assert_eq!(
            invocation.await.expect("joined").expect("a result"),
            "\"alive\""
        );
        played.function.shutdown().await;
    });
}
