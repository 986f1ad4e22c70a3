//! Starts the shop for tests, the way `make run` starts it, and speaks to it as a client does.

#![allow(clippy::expect_used)] // a test that cannot go on says why and stops

mod kept;

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, LazyLock, mpsc};
use std::time::Duration;
use std::{env, fs, thread};

use aws_credential_types::Credentials;
use aws_sdk_dynamodb::config::{BehaviorVersion, Region};
use aws_sdk_dynamodb::types::AttributeValue;
use aws_smithy_http_client::tls::rustls_provider::CryptoMode;
use aws_smithy_http_client::tls::{Provider, TlsContext, TrustStore};
pub use kept::{Kept, Process};
use local::conditions::Conditions;
use local::sqs::Sqs;
use local::stack::{Options, Stack};
use reqwest::{Method, Response, StatusCode};
use serde_json::{Value, json};
use tokio::sync::oneshot;

/// How long a test waits for something that takes milliseconds when all is well.
pub const PATIENCE: Duration = Duration::from_secs(30);

/// How long a client waits for an answer: the HTTP API gives one after 30 s, whatever happens.
const ANSWER_LIMIT: Duration = Duration::from_secs(60);

/// A running shop.
pub struct Shop {
    /// Base address of the API.
    pub api_url: String,
    stack: Arc<Stack>,
    host: thread::JoinHandle<()>,
    stop: oneshot::Sender<()>,
}

/// An item of a table.
pub type Item = HashMap<String, AttributeValue>;

/// The shop that all tests of one executable share.
pub fn shop() -> &'static Shop {
    static SHOP: LazyLock<Shop> = LazyLock::new(|| Shop::start("shared", |template| template));
    &SHOP
}

impl Shop {
    /// Starts a shop from the project's template after `change` has been at its text.
    ///
    /// It runs until it is stopped, or the test executable ends; the host's children end with it.
    pub fn start(name: &str, change: fn(String) -> String) -> Self {
        Self::run(options(name, change))
    }

    /// Starts what `options` say.
    pub(crate) fn run(options: Options) -> Self {
        let (started, wait) = mpsc::channel();
        let (stop, stopped) = oneshot::channel();
        let host = thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_multi_thread()
                .enable_all()
                .build();
            runtime.expect("a runtime").block_on(async {
                let stack = Stack::start(options).await;
                let stack =
                    stack.unwrap_or_else(|error| panic!("the shop does not start: {error}"));
                let stack = Arc::new(stack);
                started.send(stack.clone()).expect("the test waits");
                // A test that ends without a word leaves the stack to the end of the executable.
                if stopped.await.is_err() {
                    std::future::pending::<()>().await;
                }
                let stack = Arc::into_inner(stack).expect("nobody uses the shop any more");
                stack.shutdown().await;
            });
        });
        let stack = wait.recv().expect("the shop starts");
        Self {
            api_url: stack.api_url.clone(),
            stack,
            host,
            stop,
        }
    }

    /// Ends the stack and waits until it is gone.
    pub async fn stop(self) {
        drop(self.stack);
        self.stop.send(()).expect("the host still runs");
        let gone = tokio::task::spawn_blocking(|| self.host.join());
        gone.await.expect("the wait ends").expect("the host ends");
    }

    /// The running stack.
    pub fn stack(&self) -> &Stack {
        &self.stack
    }

    /// Sends one request; `body` is sent as `application/json`.
    pub async fn send(&self, method: Method, path: &str, body: Option<&Value>) -> Reply {
        let body = body.map(|body| body.to_string().into_bytes());
        self.send_with(method, path, &[("content-type", "application/json")], body)
            .await
    }

    /// Sends one request with these headers and bytes.
    pub async fn send_with(
        &self,
        method: Method,
        path: &str,
        headers: &[(&str, &str)],
        body: Option<Vec<u8>>,
    ) -> Reply {
        let mut request = reqwest::Client::new()
            .request(method, format!("{}{path}", self.api_url))
            .timeout(ANSWER_LIMIT);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        if let Some(body) = body {
            request = request.body(body);
        }
        Reply::read(request.send().await.expect("the shop answers")).await
    }

    /// `GET`.
    pub async fn get(&self, path: &str) -> Reply {
        self.send(Method::GET, path, None).await
    }

    /// `PUT` of JSON.
    pub async fn put(&self, path: &str, body: &Value) -> Reply {
        self.send(Method::PUT, path, Some(body)).await
    }

    /// `POST` of JSON.
    pub async fn post(&self, path: &str, body: &Value) -> Reply {
        self.send(Method::POST, path, Some(body)).await
    }

    /// Creates a product and expects that to work.
    pub async fn has_product(&self, id: &str, category: &str, price_cents: u64, stock: u64) {
        let product = json!({
            "name": format!("Product {id}"), "category": category,
            "price_cents": price_cents, "stock": stock,
        });
        let reply = self.put(&format!("/products/{id}"), &product).await;
        assert!(reply.status.is_success(), "{reply:?}");
    }

    /// Polls an order until it is final.
    pub async fn final_order(&self, id: &str) -> Value {
        let patience = tokio::time::Instant::now() + PATIENCE;
        loop {
            let order = self
                .get(&format!("/orders/{id}"))
                .await
                .expect(StatusCode::OK)
                .body;
            if order["status"] != "PENDING" {
                return order;
            }
            assert!(
                tokio::time::Instant::now() < patience,
                "still pending: {order}"
            );
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    /// The host's meter so far.
    pub async fn meter(&self) -> Value {
        self.told("/meter").await
    }

    /// The log of a function so far, Lambda's lines included; the last lines may not be there yet.
    pub fn log(&self, function: &str) -> String {
        let path = self.stack.log_dir.join(format!("{function}.log"));
        let bytes = fs::read(path).unwrap_or_default();
        String::from_utf8(bytes).expect("a log is UTF-8")
    }

    /// How many execution environments the function of this logical id has now.
    pub async fn environments(&self, function: &str) -> u64 {
        let functions = self.told("/functions").await;
        let count = functions[function]["environments"].as_u64();
        count.expect("the function is one of the stack")
    }

    async fn told(&self, path: &str) -> Value {
        let reply = reqwest::get(format!("{}{path}", self.stack.control_url)).await;
        reply
            .expect("the control listener answers")
            .json()
            .await
            .expect("the answer is JSON")
    }

    /// Has these faults injected from now on, and no others; `docs/faults.md` has the form.
    pub async fn inject(&self, plan: &Value) {
        let url = format!("{}/faults", self.stack.control_url);
        let request = reqwest::Client::new().put(url).body(plan.to_string());
        let reply = request.send().await.expect("the control listener answers");
        let status = reply.status();
        let reason = reply.text().await.unwrap_or_default();
        assert!(status.is_success(), "{reason}");
    }

    /// Sets what the host has metered to zero.
    pub async fn reset_meter(&self) {
        self.control("/meter/reset").await;
    }

    /// Ends the environments that are idle. One that has just answered may not be yet.
    pub async fn reap(&self) {
        self.control("/environments/reap").await;
    }

    async fn control(&self, path: &str) {
        let url = format!("{}{path}", self.stack.control_url);
        let reply = reqwest::Client::new().post(url).send().await;
        let status = reply.expect("the control listener answers").status();
        assert!(status.is_success(), "{status}");
    }

    /// Base address of the control server.
    pub fn control_url(&self) -> &str {
        &self.stack.control_url
    }

    /// Has no faults injected from now on.
    pub async fn inject_nothing(&self) {
        self.inject(&json!({})).await;
    }

    /// All items of a table, past the functions.
    pub async fn items(&self, table: &str) -> Vec<Item> {
        let tables = &self.stack.template.tables;
        let table = tables.iter().find(|it| it.logical_id == table);
        let name = &table.expect("the template has the table").name;
        let client = self.dynamodb();
        let (mut items, mut start) = (Vec::new(), None);
        loop {
            let page = client.scan().table_name(name).consistent_read(true);
            let page = page.set_exclusive_start_key(start).send().await;
            let page = page.expect("the table can be read");
            items.extend(page.items.unwrap_or_default());
            start = page.last_evaluated_key;
            if start.is_none() {
                return items;
            }
        }
    }

    fn dynamodb(&self) -> aws_sdk_dynamodb::Client {
        let pem = fs::read(&self.stack.aws.ca_file).expect("the certificate is there");
        let trust = TrustStore::empty().with_pem_certificate(pem);
        let tls = TlsContext::builder().with_trust_store(trust).build();
        let http_client = aws_smithy_http_client::Builder::new()
            .tls_provider(Provider::Rustls(CryptoMode::Ring))
            .tls_context(tls.expect("the certificate is one"))
            .build_https();
        let config = aws_sdk_dynamodb::Config::builder()
            .behavior_version(BehaviorVersion::latest())
            .region(Region::from_static("us-east-1"))
            .credentials_provider(Credentials::from_keys("tests", "secret", None))
            .http_client(http_client)
            .endpoint_url(&self.stack.aws.endpoint_url);
        aws_sdk_dynamodb::Client::from_conf(config.build())
    }

    /// Puts a message into a queue, past the functions.
    pub async fn send_message(&self, queue: &str, body: &str) {
        let (endpoint, name) = (&self.stack.aws.endpoint_url, self.queue_name(queue));
        let url = format!("{endpoint}/000000000000/{name}");
        let call = json!({"QueueUrl": url, "MessageBody": body}).to_string();
        let sent = self.sqs().call("SendMessage", call.as_bytes()).await;
        sent.expect("the queue takes the message");
    }

    /// Waits until nothing is left in a queue, whether waiting or in flight.
    pub async fn drained(&self, queue: &str) {
        self.when(queue, |waiting, in_flight| waiting + in_flight == 0)
            .await;
    }

    /// Waits until `count` messages wait in a queue, and takes the bodies of all, sorted.
    pub async fn messages(&self, queue: &str, count: usize) -> Vec<String> {
        self.when(queue, |waiting, _| waiting >= count as u64).await;
        let name = self.queue_name(queue);
        let mut bodies = Vec::new();
        loop {
            let batch = self.sqs().receive(name, 10, Duration::ZERO).await;
            let batch = batch.expect("the queue answers");
            if batch.is_empty() {
                bodies.sort();
                return bodies;
            }
            bodies.extend(batch.into_iter().map(|message| message.body));
        }
    }

    async fn when(&self, queue: &str, holds: impl Fn(u64, u64) -> bool) {
        let patience = tokio::time::Instant::now() + PATIENCE;
        loop {
            let depth = self.meter().await["queues"][queue].clone();
            let count = |name: &str| depth[name].as_u64().expect("the meter knows the queue");
            if holds(count("visible") + count("delayed"), count("in_flight")) {
                return;
            }
            assert!(
                tokio::time::Instant::now() < patience,
                "{queue} stays at {depth}"
            );
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }

    fn sqs(&self) -> &Sqs {
        &self.stack.aws.services.sqs
    }

    fn queue_name(&self, logical_id: &str) -> &str {
        let queues = &self.stack.template.queues;
        let queue = queues.iter().find(|queue| queue.logical_id == logical_id);
        &queue.expect("the template has the queue").name
    }
}

/// The options to start a shop with: the project's template and functions, in a folder of their own.
pub(crate) fn options(name: &str, change: fn(String) -> String) -> Options {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let work = target()
        .join("shop-tests")
        .join(format!("{name}-{}", std::process::id()));
    let code_dir = stage_functions(&root, &work);
    let text = fs::read_to_string(root.join("template.yaml")).expect("template.yaml");
    let template = work.join("template.yaml");
    fs::write(&template, change(text)).expect("the work folder is writable");

    Options {
        template,
        parameters: parameters(),
        port: 0,
        control_port: 0,
        code_dir: Some(code_dir),
        data_dir: None,
        log_dir: work.join("logs"),
        idle_timeout: Duration::from_secs(60),
        account_concurrency: 1000,
        log_to_terminal: false,
        env_file: None,
        conditions: Conditions::default(),
    }
}

/// Everybody may write to the catalogue, as often as a test likes.
fn parameters() -> Vec<(String, String)> {
    let parameters = [
        ("CatalogueWrites", "open"),
        ("ThrottleRate", "10000"),
        ("ThrottleBurst", "5000"),
        ("OrderThrottleRate", "10000"),
        ("OrderThrottleBurst", "5000"),
    ];
    let owned = |(name, value): (&str, &str)| (name.to_owned(), value.to_owned());
    parameters.map(owned).into()
}

/// A response, read to its end.
#[derive(Debug)]
pub struct Reply {
    /// The status.
    pub status: StatusCode,
    /// The headers.
    pub headers: reqwest::header::HeaderMap,
    /// The body; null where it is empty or no JSON.
    pub body: Value,
    /// The body as it came.
    pub text: String,
}

impl Reply {
    async fn read(response: Response) -> Self {
        let status = response.status();
        let headers = response.headers().clone();
        let text = response.text().await.expect("the body arrives whole");
        let body = serde_json::from_str(&text).unwrap_or(Value::Null);
        Self {
            status,
            headers,
            body,
            text,
        }
    }

    /// This response, which must have this status.
    pub fn expect(self, status: StatusCode) -> Self {
        assert_eq!(self.status, status, "{self:?}");
        self
    }

    /// One header, or the empty string.
    pub fn header(&self, name: &str) -> &str {
        self.headers
            .get(name)
            .and_then(|value| value.to_str().ok())
            .unwrap_or_default()
    }

    /// This response, which must be a refusal of a function in the form of RFC 9457 that tells
    /// nothing of what is inside.
    pub fn expect_problem(self, status: u16) -> Self {
        assert_eq!(self.status.as_u16(), status, "{self:?}");
        assert_eq!(
            self.header("content-type"),
            "application/problem+json",
            "{self:?}"
        );
        assert!(!self.header("x-request-id").is_empty(), "{self:?}");
        assert_eq!(self.body["status"], status, "{self:?}");
        for member in ["type", "title", "detail"] {
            assert!(
                self.body[member].is_string(),
                "{member} is missing: {self:?}"
            );
        }
        let text = self.text.to_lowercase();
        for secret in [
            "dynamodb", "sqs", "table", "panicked", "src/", ".rs", "local-", "arn:aws",
        ] {
            assert!(!text.contains(secret), "tells of {secret:?}: {self:?}");
        }
        self
    }

    /// The JSON pointers of the fields that a refusal names.
    pub fn pointers(&self) -> Vec<&str> {
        let errors = self.body["errors"]
            .as_array()
            .map(Vec::as_slice)
            .unwrap_or_default();
        errors
            .iter()
            .map(|error| error["pointer"].as_str().expect("an error has a pointer"))
            .collect()
    }
}

/// Where cargo puts what it builds in this profile: two levels above the test executable.
pub fn target() -> PathBuf {
    let executable = env::current_exe().expect("the test executable's path");
    executable
        .ancestors()
        .nth(2)
        .expect("target/debug/deps")
        .to_owned()
}

/// Lays out the functions that cargo has built as `template.yaml` expects them.
fn stage_functions(root: &Path, work: &Path) -> PathBuf {
    let code_dir = work.join("lambda");
    for entry in fs::read_dir(root.join("functions")).expect("functions/") {
        let function = entry.expect("functions/ is readable").file_name();
        if !root
            .join("functions")
            .join(&function)
            .join("src/main.rs")
            .exists()
        {
            continue;
        }
        let binary = target().join(&function);
        assert!(
            binary.exists(),
            "{} is not built: run `make test`, or `cargo build --workspace --all-targets` first",
            binary.display()
        );
        let folder = code_dir.join(&function);
        fs::create_dir_all(&folder).expect("the work folder is writable");
        let bootstrap = folder.join("bootstrap");
        let _ = fs::remove_file(&bootstrap);
        std::os::unix::fs::symlink(binary, bootstrap).expect("a link to the function");
    }
    code_dir
}
