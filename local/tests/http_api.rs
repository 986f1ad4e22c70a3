//! The HTTP API before real functions, through real connections.

#![allow(clippy::expect_used, reason = "a helper that fails is a failed test")]

mod support;

use std::cell::Cell;
use std::net::SocketAddr;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use local::http_api;
use local::lambda::Function;
use local::task::Task;
use local::template::{self, Route};
use proptest::prelude::*;
use reqwest::{Client, Method, RequestBuilder};
use serde_json::{Value, json};
use support::{TestHost, invoke};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

/// An API with one function behind a few routes. It gives its event back, or does what the body says.
struct Api {
    host: TestHost,
    function: Function,
    api: Task,
    address: SocketAddr,
    client: Client,
}

const ROUTES: &[(&str, &str)] = &[
    ("ANY", "/echo"),
    ("GET", "/items/{id}"),
    ("GET", "/items/first"),
    ("GET", "/files/{path+}"),
    ("POST", "/do"),
    ("HEAD", "/do"),
];

impl Api {
    async fn start() -> Api {
        Api::with(|_| {}).await
    }

    async fn with(change: impl FnOnce(&mut local::template::Function)) -> Api {
        Api::described(template::Api::default(), change).await
    }

    async fn described(
        described: template::Api,
        change: impl FnOnce(&mut local::template::Function),
    ) -> Api {
        let host = TestHost::new();
        let mut spec = host.spec("Web");
        spec.memory_mb = 512;
        spec.routes = ROUTES
            .iter()
            .map(|(method, path)| Route {
                method: Some((*method).to_owned()).filter(|method| method != "ANY"),
                path: (*path).to_owned(),
            })
            .collect();
        change(&mut spec);
        let function = host.start(spec).await.expect("it starts");
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = listener.local_addr().expect("an address");
        let api = http_api::start(
            listener,
            std::slice::from_ref(&function),
            &described,
            local::conditions::Conditions::default(),
        );
        Api {
            host,
            function,
            api,
            address,
            client: Client::new(),
        }
    }

    fn address(&self) -> SocketAddr {
        self.address
    }

    fn request(&self, method: Method, path: &str) -> RequestBuilder {
        self.client
            .request(method, format!("http://{}{path}", self.address()))
    }

    async fn event(&self, request: RequestBuilder) -> Value {
        let response = request.send().await.expect("it answers");
        assert_eq!(response.status(), 200);
        assert_eq!(response.headers()["content-type"], "application/json");
        response.json().await.expect("JSON")
    }

    /// The response that a function's result becomes.
    async fn reply(&self, reply: Value) -> reqwest::Response {
        let command = json!({"do": "reply", "reply": reply});
        self.request(Method::POST, "/do")
            .json(&command)
            .send()
            .await
            .expect("it answers")
    }

    /// Sends bytes as they are and reads up to the end of the connection.
    async fn raw(&self, bytes: &[u8]) -> String {
        let mut stream = TcpStream::connect(self.address())
            .await
            .expect("it connects");
        // It may hang up before all is sent.
        let _ = stream.write_all(bytes).await;
        let mut answer = Vec::new();
        let read = stream.read_to_end(&mut answer);
        let _ = tokio::time::timeout(Duration::from_secs(30), read)
            .await
            .expect("it ends");
        String::from_utf8_lossy(&answer).into_owned()
    }

    async fn shutdown(self) {
        self.api.shutdown().await;
        self.function.shutdown().await;
    }
}

async fn refused(response: reqwest::Response) -> (u16, Value) {
    assert_eq!(response.headers()["content-type"], "application/json");
    assert_eq!(response.headers()["apigw-requestid"].len(), 16);
    (
        response.status().as_u16(),
        response.json().await.expect("JSON"),
    )
}

fn now_ms() -> u64 {
    let since_1970 = SystemTime::now().duration_since(UNIX_EPOCH);
    u64::try_from(since_1970.expect("after 1970").as_millis()).expect("milliseconds")
}

#[tokio::test(flavor = "multi_thread")]
async fn an_event_has_every_field_of_payload_format_2() {
    let api = Api::start().await;
    let before = now_ms();
    let event = api
        .event(
            api.request(Method::PUT, "/echo?b=2&a=1&b=x%20y%2Bz&c&=&%FF=1")
                .header("User-Agent", "test/1.0")
                .header("X-Twice", "one")
                .header("X-Twice", "two")
                .header("Cookie", "a=1; b=2")
                .header("Cookie", "c=3")
                .header("Host", "LocalHost:8443")
                .header("X-Forwarded-For", "10.0.0.1")
                .header("X-Forwarded-Proto", "gopher")
                .header("Content-Type", "application/json; charset=utf-8")
                .body("{\"name\":\"ü\"}"),
        )
        .await;
    let port = api.address().port().to_string();
    let context = &event["requestContext"];
    let trace = event["headers"]["x-amzn-trace-id"]
        .as_str()
        .expect("a trace");
    assert!(trace.starts_with("Root=1-"), "{trace}");
    let time = context["time"].as_str().expect("a time");
    assert_eq!(time.len(), "12/Mar/2020:19:03:58 +0000".len(), "{time}");
    assert_eq!(
        (&time[2..3], &time[6..7], &time[11..12]),
        ("/", "/", ":"),
        "{time}"
    );
    let epoch = context["timeEpoch"].as_u64().expect("milliseconds");
    assert!((before..=now_ms()).contains(&epoch), "{epoch}");
    let expected = json!({
        "version": "2.0",
        "routeKey": "ANY /echo",
        "rawPath": "/echo",
        "rawQueryString": "b=2&a=1&b=x%20y%2Bz&c&=&%FF=1",
        "cookies": ["a=1", "b=2", "c=3"],
        "headers": {
            "accept": "*/*",
            "content-length": "13",
            "content-type": "application/json; charset=utf-8",
            "host": "LocalHost:8443",
            "user-agent": "test/1.0",
            "x-amzn-trace-id": trace,
            "x-forwarded-for": "10.0.0.1, 127.0.0.1",
            "x-forwarded-port": port,
            "x-forwarded-proto": "http",
            "x-twice": "one,two",
        },
        "queryStringParameters": {"": "", "a": "1", "b": "2,x y+z", "c": "", "\u{fffd}": "1"},
        "requestContext": {
            "accountId": "000000000000",
            "apiId": "local",
            "domainName": "LocalHost",
            "domainPrefix": "LocalHost",
            "http": {
                "method": "PUT",
                "path": "/echo",
                "protocol": "HTTP/1.1",
                "sourceIp": "127.0.0.1",
                "userAgent": "test/1.0",
            },
            "requestId": context["requestId"],
            "routeKey": "ANY /echo",
            "stage": "$default",
            "time": time,
            "timeEpoch": epoch,
        },
        "body": "{\"name\":\"ü\"}",
        "isBase64Encoded": false,
    });
    assert_eq!(event, expected);
    api.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_request_does_not_have_is_absent_from_its_event() {
    let api = Api::start().await;
    let response = api
        .request(Method::GET, "/echo")
        .send()
        .await
        .expect("it answers");
    let request_id = response.headers()["apigw-requestid"].clone();
    let event: Value = response.json().await.expect("JSON");
    for name in [
        "cookies",
        "queryStringParameters",
        "pathParameters",
        "body",
        "stageVariables",
    ] {
        assert!(event.get(name).is_none(), "{name}");
    }
    assert_eq!(event["rawQueryString"], "");
    assert_eq!(event["isBase64Encoded"], false);
    assert_eq!(event["headers"]["content-length"], "0");
    assert_eq!(
        event["requestContext"]["requestId"],
        request_id.to_str().expect("ASCII")
    );
    api.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_trace_of_the_client_reaches_the_function() {
    let api = Api::start().await;
    let trace = "Root=1-5bef4de7-ad49b0e87f6ef6c87fc2e700;Parent=9a9197af755a6419;Sampled=1";
    let command = json!({"do": "environment"});
    let request = api
        .request(Method::POST, "/do")
        .header("X-Amzn-Trace-Id", trace)
        .json(&command);
    assert_eq!(api.event(request).await["trace_id"], trace);
    api.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_body_is_text_or_base64_by_its_content_type_and_its_bytes() {
    let api = Api::start().await;
    for (content_type, body, expected, encoded) in [
        (Some("text/plain"), &b"hello"[..], "hello", false),
        (Some("application/json"), b"[1]", "[1]", false),
        (
            Some("Application/Problem+JSON; charset=utf-8"),
            b"{}",
            "{}",
            false,
        ),
        (Some("application/xml"), b"<a/>", "<a/>", false),
        (None, b"plain", "plain", false),
        (Some("application/octet-stream"), b"hello", "aGVsbG8=", true),
        (
            Some("application/x-www-form-urlencoded"),
            b"a=1",
            "YT0x",
            true,
        ),
        (Some("image/png"), b"\x89PNG", "iVBORw==", true),
        (Some("application/json"), b"\xff\xfe", "//4=", true),
        (None, b"\xff", "/w==", true),
    ] {
        let mut request = api.request(Method::POST, "/echo").body(body);
        if let Some(content_type) = content_type {
            request = request.header("Content-Type", content_type);
        }
        let event = api.event(request).await;
        assert_eq!(event["body"], expected, "{content_type:?} {body:?}");
        assert_eq!(
            event["isBase64Encoded"], encoded,
            "{content_type:?} {body:?}"
        );
        assert_eq!(event["headers"]["content-length"], body.len().to_string());
    }
    api.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn routes_are_chosen_as_on_aws_and_paths_decoded_before() {
    let api = Api::start().await;
    for (path, key, raw_path, parameters) in [
        (
            "/items/7",
            "GET /items/{id}",
            "/items/7",
            json!({"id": "7"}),
        ),
        (
            "/items/a%20b%C3%BC",
            "GET /items/{id}",
            "/items/a bü",
            json!({"id": "a bü"}),
        ),
        (
            "/items/first",
            "GET /items/first",
            "/items/first",
            Value::Null,
        ),
        (
            "/items/%66irst",
            "GET /items/first",
            "/items/first",
            Value::Null,
        ),
        (
            "/files/a/b%2Fc",
            "GET /files/{path+}",
            "/files/a/b/c",
            json!({"path": "a/b/c"}),
        ),
        (
            "/items/%FF",
            "GET /items/{id}",
            "/items/\u{fffd}",
            json!({"id": "\u{fffd}"}),
        ),
    ] {
        let event = api.event(api.request(Method::GET, path)).await;
        assert_eq!(event["routeKey"], key, "{path}");
        assert_eq!(event["requestContext"]["routeKey"], key, "{path}");
        assert_eq!(event["rawPath"], raw_path, "{path}");
        assert_eq!(event["requestContext"]["http"]["path"], raw_path, "{path}");
        assert_eq!(event["pathParameters"], parameters, "{path}");
    }
    let not_found = (404, json!({"message": "Not Found"}));
    for (method, path) in [
        (Method::GET, "/"),
        (Method::GET, "/unknown"),
        (Method::POST, "/items/7"),
        (Method::GET, "/items/"),
        (Method::GET, "/items/a%2Fb"),
        (Method::GET, "/do"),
    ] {
        let response = api
            .request(method.clone(), path)
            .send()
            .await
            .expect("it answers");
        assert_eq!(refused(response).await, not_found, "{method} {path}");
    }
    api.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_result_with_a_status_code_is_the_response() {
    let api = Api::start().await;
    let response = api
        .reply(json!({
            "statusCode": 201,
            "headers": {"Content-Type": "text/css", "X-Number": 7, "Vary": "a, b", "Content-Length": "999"},
            "cookies": ["a=1; Path=/", "b=2"],
            "body": "ünï",
        }))
        .await;
    assert_eq!(response.status(), 201);
    let headers = response.headers();
    assert_eq!(headers["content-type"], "text/css");
    assert_eq!(headers["content-length"], "5");
    assert_eq!(
        (&headers["x-number"], &headers["vary"]),
        (&"7".parse().unwrap(), &"a, b".parse().unwrap())
    );
    let cookies: Vec<_> = headers.get_all("set-cookie").iter().collect();
    assert_eq!(cookies, ["a=1; Path=/", "b=2"]);
    assert_eq!(headers["apigw-requestid"].len(), 16);
    assert_eq!(response.text().await.expect("a body"), "ünï");

    let response = api
        .reply(json!({"statusCode": 200, "body": "AP8=", "isBase64Encoded": true}))
        .await;
    assert_eq!(
        response.headers()["content-type"],
        "text/plain; charset=utf-8"
    );
    assert_eq!(response.bytes().await.expect("a body"), &[0, 255][..]);

    for status in [204, 304] {
        let response = api
            .reply(json!({"statusCode": status, "body": "dropped"}))
            .await;
        assert_eq!(response.status(), status);
        assert_eq!(response.text().await.expect("no body"), "");
    }
    let response = api.reply(json!({"statusCode": "404"})).await;
    assert_eq!(response.status(), 404);
    assert_eq!(response.text().await.expect("no body"), "");
    api.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_result_without_a_status_code_is_the_body_of_a_200() {
    let api = Api::start().await;
    for (result, body) in [
        (json!({"message": "hello"}), r#"{"message":"hello"}"#),
        (json!("Hello from Lambda!"), "Hello from Lambda!"),
        (json!([1, 2]), "[1,2]"),
        (json!(null), "null"),
        (json!({"body": "not special"}), r#"{"body":"not special"}"#),
    ] {
        let response = api.reply(result).await;
        assert_eq!(response.status(), 200);
        assert_eq!(response.headers()["content-type"], "application/json");
        assert_eq!(response.text().await.expect("a body"), body);
    }
    api.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_malformed_result_is_an_internal_server_error() {
    let api = Api::start().await;
    for result in [
        json!({"statusCode": 99}),
        json!({"statusCode": 101}),
        json!({"statusCode": 600}),
        json!({"statusCode": 70_000}),
        json!({"statusCode": -1}),
        json!({"statusCode": 200.5}),
        json!({"statusCode": null}),
        json!({"statusCode": {}}),
        json!({"statusCode": 200, "body": {"a": 1}}),
        json!({"statusCode": 200, "body": "%%%", "isBase64Encoded": true}),
        json!({"statusCode": 200, "headers": []}),
        json!({"statusCode": 200, "headers": {"a b": "c"}}),
        json!({"statusCode": 200, "headers": {"a": "b\r\nc: d"}}),
        json!({"statusCode": 200, "headers": {"a": ["b"]}}),
        json!({"statusCode": 200, "cookies": ["a\nb"]}),
        json!({"statusCode": 200, "cookies": "a=1"}),
    ] {
        let response = api.reply(result.clone()).await;
        let expected = (500, json!({"message": "Internal Server Error"}));
        assert_eq!(refused(response).await, expected, "{result}");
    }
    api.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn errors_and_timeouts_of_a_function_are_500_and_say_nothing() {
    let api = Api::with(|spec| spec.timeout = Duration::from_secs(1)).await;
    for command in [
        json!({"do": "fail"}),
        json!({"do": "exit"}),
        json!({"do": "sleep", "ms": 9000}),
    ] {
        let request = api.request(Method::POST, "/do").json(&command);
        let response = request.send().await.expect("it answers");
        let expected = (500, json!({"message": "Internal Server Error"}));
        assert_eq!(refused(response).await, expected, "{command}");
    }
    api.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_integration_that_takes_thirty_seconds_or_is_throttled_is_503() {
    let api = Api::with(|spec| {
        spec.timeout = Duration::from_secs(900);
        spec.reserved_concurrency = Some(1);
    })
    .await;
    let start = Instant::now();
    let slow = api.host.wait_for_gate();
    let slow = api.request(Method::POST, "/do").json(&slow).send();
    let throttled = async {
        // Once the first runs.
        api.host.lines("Web", "START", 1).await;
        api.request(Method::GET, "/echo").send().await
    };
    let (slow, throttled) = tokio::join!(slow, throttled);
    let expected = (503, json!({"message": "Service Unavailable"}));
    assert_eq!(refused(throttled.expect("it answers")).await, expected);
    assert_eq!(refused(slow.expect("it answers")).await, expected);
    assert!(start.elapsed() >= Duration::from_secs(30));
    api.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_body_over_ten_megabytes_is_refused_however_it_is_sent() {
    let api = Api::start().await;
    let expected = (413, json!({"message": "Request Entity Too Large"}));
    let body = vec![b'x'; 10 * 1024 * 1024 + 1];
    let response = api
        .request(Method::POST, "/echo")
        .body(body)
        .send()
        .await
        .expect("it answers");
    assert_eq!(refused(response).await, expected);
    // Over Lambda's limit, though not over that of the API.
    let body = vec![b'x'; 7 * 1024 * 1024];
    let response = api
        .request(Method::POST, "/echo")
        .body(body)
        .send()
        .await
        .expect("it answers");
    assert_eq!(refused(response).await, expected);
    // In chunks, without a length.
    let mut chunks = b"POST /echo HTTP/1.1\r\nhost: localhost\r\ntransfer-encoding: chunked\r\nconnection: close\r\n\r\n".to_vec();
    for _ in 0..11 {
        chunks.extend_from_slice(b"100000\r\n");
        chunks.extend_from_slice(&vec![b'x'; 0x10_0000]);
        chunks.extend_from_slice(b"\r\n");
    }
    chunks.extend_from_slice(b"0\r\n\r\n");
    let answer = api.raw(&chunks).await;
    assert!(
        answer.starts_with("HTTP/1.1 413 Payload Too Large\r\n"),
        "{answer}"
    );
    assert!(
        answer.ends_with("\r\n\r\n{\"message\":\"Request Entity Too Large\"}"),
        "{answer}"
    );
    // Asked first, refused before anything is sent.
    let ask = b"POST /echo HTTP/1.1\r\nhost: localhost\r\ncontent-length: 99999999999\r\nexpect: 100-continue\r\n\r\n";
    assert!(api.raw(ask).await.starts_with("HTTP/1.1 413 "));
    // Five megabytes pass both ways.
    let body = vec![b'x'; 5 * 1024 * 1024];
    let event = api
        .event(
            api.request(Method::POST, "/echo")
                .header("content-type", "text/plain")
                .body(body),
        )
        .await;
    assert_eq!(event["body"].as_str().map(str::len), Some(5 * 1024 * 1024));
    api.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn headers_have_a_limit_together() {
    let api = Api::start().await;
    let with = |length: usize| {
        let request = api
            .request(Method::GET, "/echo")
            .header("X-Long", "x".repeat(length));
        async { request.send().await.expect("it answers") }
    };
    assert_eq!(with(10_000).await.status(), 200);
    let expected = (431, json!({"message": "Request Header Fields Too Large"}));
    assert_eq!(refused(with(10_240).await).await, expected);
    let response = api.request(Method::GET, &format!("/echo?q={}", "x".repeat(10_240)));
    assert_eq!(
        refused(response.send().await.expect("it answers")).await,
        expected
    );
    api.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_head_request_has_the_length_but_not_the_body() {
    let api = Api::start().await;
    let answer = api
        .raw(b"HEAD /do HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n")
        .await;
    let (head, body) = answer.split_once("\r\n\r\n").expect("a head");
    assert!(head.starts_with("HTTP/1.1 200 OK\r\n"), "{answer}");
    let length = head
        .lines()
        .find_map(|line| line.strip_prefix("Content-Length: "));
    assert!(length.is_some_and(|length| length != "0"), "{answer}");
    assert_eq!(body, "");
    // And is refused in the same way.
    let answer = api
        .raw(b"HEAD /none HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n")
        .await;
    assert!(
        answer.starts_with("HTTP/1.1 404 Not Found\r\n") && answer.ends_with("\r\n\r\n"),
        "{answer}"
    );
    api.shutdown().await;
}

/// A browser sends a page's request with the page's origin, or with a host that the page's own name
/// server has pointed to 127.0.0.1.
#[tokio::test(flavor = "multi_thread")]
async fn a_page_of_another_site_gets_nothing_and_runs_nothing() {
    let api = Api::start().await;
    for headers in [
        "host: shop.example.com",
        "host: a b",
        "host: [",
        "host: user@a",
        "host:",
        "accept: */*",
        "host: localhost\r\norigin: https://evil.example",
        "host: localhost\r\norigin: null",
    ] {
        for method in ["GET", "OPTIONS"] {
            let request =
                format!("{method} /echo HTTP/1.1\r\n{headers}\r\nconnection: close\r\n\r\n");
            let answer = api.raw(request.as_bytes()).await;
            let refused =
                answer.starts_with("HTTP/1.1 403 ") || answer.starts_with("HTTP/1.1 400 ");
            assert!(refused, "{headers}: {answer}");
            assert!(
                !answer.to_lowercase().contains("access-control"),
                "{answer}"
            );
        }
    }
    assert_eq!(api.host.lines("Web", "START", 0).await, [""; 0]);
    for headers in [
        "host: 127.0.0.1:9",
        "host: [::1]:9",
        "host: LOCALHOST",
        "host: localhost\r\norigin: http://localhost:5173",
    ] {
        let request = format!("GET /echo HTTP/1.1\r\n{headers}\r\nconnection: close\r\n\r\n");
        let answer = api.raw(request.as_bytes()).await;
        assert!(answer.starts_with("HTTP/1.1 200 "), "{headers}: {answer}");
    }
    api.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn cors_is_answered_by_the_api_and_not_by_the_function() {
    let cors = template::Cors {
        allow_origins: vec!["https://shop.example".to_owned()],
        allow_methods: vec!["GET".to_owned(), "PUT".to_owned()],
        allow_headers: vec!["content-type".to_owned()],
        expose_headers: vec!["etag".to_owned(), "location".to_owned()],
        max_age: Some(3600),
        allow_credentials: true,
    };
    let described = template::Api {
        cors: Some(cors),
        ..template::Api::default()
    };
    let api = Api::described(described, |_| {}).await;
    let ask = |origin: &'static str| {
        let request = api
            .request(Method::OPTIONS, "/echo")
            .header("origin", origin);
        let request = request.header("access-control-request-method", "PUT");
        async { request.send().await.expect("it answers") }
    };
    let of = |response: &reqwest::Response| -> Vec<(String, String)> {
        let headers = response.headers().iter();
        let headers = headers.filter(|(name, _)| name.as_str().starts_with("access-control"));
        let text = |value: &reqwest::header::HeaderValue| value.to_str().expect("text").to_owned();
        let mut headers: Vec<_> = headers
            .map(|(name, value)| {
                (
                    name.as_str()["access-control-".len()..].to_owned(),
                    text(value),
                )
            })
            .collect();
        headers.sort();
        headers
    };
    let pairs = |pairs: &[(&str, &str)]| -> Vec<(String, String)> {
        let pairs = pairs.iter();
        pairs
            .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
            .collect()
    };

    let asked = ask("https://shop.example").await;
    assert_eq!(asked.status(), 204);
    assert_eq!(
        of(&asked),
        pairs(&[
            ("allow-credentials", "true"),
            ("allow-headers", "content-type"),
            ("allow-methods", "GET,PUT"),
            ("allow-origin", "https://shop.example"),
            ("max-age", "3600"),
        ])
    );
    // A page of this machine is answered, but its browser is told nothing.
    let asked = ask("http://localhost:5173").await;
    assert_eq!((asked.status().as_u16(), of(&asked)), (204, pairs(&[])));
    assert_eq!(ask("https://evil.example").await.status(), 403);
    assert_eq!(api.host.lines("Web", "START", 0).await, [""; 0]);

    let reply = json!({
        "statusCode": 200, "body": "",
        "headers": {"access-control-allow-origin": "*", "access-control-allow-methods": "DELETE"},
    });
    let command = json!({"do": "reply", "reply": reply});
    let request = api.request(Method::POST, "/do").json(&command);
    let answer = request
        .header("origin", "https://shop.example")
        .send()
        .await;
    assert_eq!(
        of(&answer.expect("it answers")),
        pairs(&[
            ("allow-credentials", "true"),
            ("allow-origin", "https://shop.example"),
            ("expose-headers", "etag,location"),
        ])
    );
    // An API's own refusals can be read by the page too.
    let request = api
        .request(Method::GET, "/none")
        .header("origin", "https://shop.example");
    let refused = request.send().await.expect("it answers");
    assert_eq!(refused.status(), 404);
    assert_eq!(
        refused.headers()["access-control-allow-origin"],
        "https://shop.example"
    );
    api.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_route_that_gets_more_requests_than_its_limit_answers_429() {
    let mut described = template::Api::default();
    // None come back during the test.
    let limit = |burst| template::Throttle {
        rate: Some(0.0),
        burst: Some(burst),
    };
    described.throttle = limit(2);
    described.route_throttles = [("GET /items/{id}".to_owned(), limit(1))].into();
    let api = Api::described(described, |_| {}).await;
    let statuses = async |path: &str| {
        let mut statuses = Vec::new();
        for _ in 0..3 {
            let response = api
                .request(Method::GET, path)
                .send()
                .await
                .expect("it answers");
            statuses.push(response.status().as_u16());
        }
        statuses
    };
    assert_eq!(statuses("/echo").await, [200, 200, 429]);
    assert_eq!(statuses("/items/7").await, [200, 429, 429]);
    // Each route counts by itself.
    assert_eq!(statuses("/items/first").await, [200, 200, 429]);
    let expected = (429, json!({"message": "Too Many Requests"}));
    let response = api.request(Method::GET, "/echo").send().await;
    assert_eq!(refused(response.expect("it answers")).await, expected);
    api.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn odd_targets_find_no_route() {
    let api = Api::start().await;
    for line in [
        "OPTIONS *",
        "CONNECT a:1",
        "GET /%3F",
        "GET //echo",
        "GET /echo/..",
        "GET /%00",
    ] {
        let request = format!("{line} HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n");
        let answer = api.raw(request.as_bytes()).await;
        assert!(
            answer.starts_with("HTTP/1.1 404 Not Found\r\n"),
            "{line}: {answer}"
        );
    }
    let answer = api
        .raw(b"GET http://elsewhere/echo?a=1 HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n")
        .await;
    assert!(
        answer.contains("\"rawPath\":\"/echo\",\"rawQueryString\":\"a=1\""),
        "{answer}"
    );
    api.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_hangs_up_leaves_the_api_as_it_was() {
    let api = Api::start().await;
    invoke(&api.function, json!({})).await;
    let body = api.host.wait_for_gate().to_string();
    let request = format!(
        "POST /do HTTP/1.1\r\nhost: localhost\r\ncontent-length: {}\r\n\r\n{body}",
        body.len()
    );
    let mut stream = TcpStream::connect(api.address())
        .await
        .expect("it connects");
    stream
        .write_all(request.as_bytes())
        .await
        .expect("it writes");
    api.host.lines("Web", "START", 2).await;
    drop(stream);
    let mut half = TcpStream::connect(api.address())
        .await
        .expect("it connects");
    half.write_all(b"POST /do HTTP/1.1\r\nhost: localhost\r\ncontent-length: 100\r\n\r\n{")
        .await
        .expect("it writes");
    drop(half);
    api.host.open_gate();
    // The invocation ran to its end, the half request never began.
    api.host.lines("Web", "REPORT", 2).await;
    let event = api.event(api.request(Method::GET, "/echo")).await;
    assert_eq!(event["rawPath"], "/echo");
    api.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn shutdown_lets_requests_finish_and_then_nobody_listens() {
    let api = Api::start().await;
    invoke(&api.function, json!({})).await;
    let address = api.address();
    let request = api
        .request(Method::POST, "/do")
        .json(&api.host.wait_for_gate())
        .send();
    let request = tokio::spawn(request);
    api.host.lines("Web", "START", 2).await;
    let finish = async {
        while TcpStream::connect(address).await.is_ok() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        api.host.open_gate();
    };
    let finish = tokio::time::timeout(Duration::from_secs(30), finish);
    let ((), finished) = tokio::join!(api.api.shutdown(), finish);
    finished.expect("nobody listens");
    assert_eq!(
        request.await.expect("joined").expect("it answers").status(),
        200
    );
    api.function.shutdown().await;
}

/// Bytes that look more or less like a request.
fn requests() -> impl Strategy<Value = Vec<u8>> {
    let target = prop_oneof![
        3 => Just("/echo".to_owned()),
        2 => "/items/[a-z%0-9/.?&=+-]{0,20}",
        2 => "/files/\\PC{0,10}",
        1 => "[ -~]{0,30}",
    ];
    let name = prop_oneof![
        "cookie",
        "content-type",
        "x-amzn-trace-id",
        "user-agent",
        "[a-zA-Z-]{1,12}"
    ];
    // A byte that no header may hold ends the whole request: seldom, or little else would be tried.
    let value = prop_oneof![
        6 => "[ -~]{0,30}".prop_map(String::into_bytes),
        1 => prop::collection::vec(any::<u8>(), 0..30),
    ];
    let request = (
        prop_oneof![8 => prop::sample::select(vec!["GET", "PUT"]).prop_map(str::to_owned), 1 => "[A-Z]{0,8}"],
        target,
        prop::collection::vec((name, value), 0..5),
        prop::collection::vec(any::<u8>(), 0..100),
    );
    let request = request.prop_map(|(method, target, headers, body)| {
        let mut bytes = format!("{method} {target} HTTP/1.1\r\nhost: localhost\r\n").into_bytes();
        for (name, value) in headers {
            bytes.extend_from_slice(format!("{name}: ").as_bytes());
            bytes.extend_from_slice(&value);
            bytes.extend_from_slice(b"\r\n");
        }
        bytes.extend_from_slice(
            format!(
                "content-length: {}\r\nconnection: close\r\n\r\n",
                body.len()
            )
            .as_bytes(),
        );
        bytes.extend_from_slice(&body);
        bytes
    });
    prop_oneof![4 => request, 1 => prop::collection::vec(any::<u8>(), 0..300)]
}

#[test]
fn any_bytes_at_all_are_answered_or_the_connection_closed() {
    let panics = support::count_panics();
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    let api = runtime.block_on(Api::start());
    let mut config = ProptestConfig::with_cases(300);
    config.failure_persistence = None; // it would be kept beside the source, which a runner cannot find
    let events = Cell::new(0);
    let mut runner = proptest::test_runner::TestRunner::new(config);
    let outcome = runner.run(&requests(), |bytes| {
        runtime.block_on(async {
            let answer = support::exchange(api.address(), &bytes).await;
            prop_assert!(answer.is_some(), "it hangs");
            let answer = answer.unwrap_or_default();
            prop_assert!(
                answer.is_empty() || answer.starts_with("HTTP/1.1 "),
                "{answer}"
            );
            prop_assert!(!answer.starts_with("HTTP/1.1 5"), "{answer}");
            events.set(events.get() + usize::from(answer.contains("\"version\":\"2.0\"")));
            Ok(())
        })
    });
    outcome.expect("no bytes harm it");
    // Refused before they become events, they would say little.
    assert!(events.get() >= 40, "{} of 300 became events", events.get());
    assert_eq!(panics.load(Ordering::Relaxed), 0);
    runtime.block_on(api.shutdown());
}
