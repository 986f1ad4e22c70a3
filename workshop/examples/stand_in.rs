//! A stand-in for the shop, right and quick, or broken in one way on purpose: what the gates are tested with.
//!
//! Run with `cargo run -p workshop --example stand_in -- shop [FAULT]`: it prints its address. With the options of
//! `local` it stands in for the host: ready file, control address, logs, and the end on SIGTERM; then the
//! fault is in the variable `STAND_IN`.

#![allow(
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "a part of the tests"
)]

use std::collections::{BTreeMap, HashMap};
use std::fs::{self, File};
use std::io::Write;
use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use aws_credential_types::Credentials;
use aws_sigv4::http_request::{
    PayloadChecksumKind, SignableBody, SignableRequest, SigningSettings, sign,
};
use aws_sigv4::sign::v4;
use aws_smithy_types::DateTime;
use aws_smithy_types::date_time::Format;
use axum::Router;
use axum::body::{Body, Bytes};
use axum::http::{HeaderMap, Method, Uri};
use axum::response::{IntoResponse, Response};
use axum::serve::ListenerExt;
use serde_json::{Value, json};
use tokio::net::TcpListener;
use uuid::Uuid;

/// The credentials whose signature the stand-in accepts, for `eu-west-1`.
const KEYS: (&str, &str) = ("AKIDEXAMPLE", "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY");

#[tokio::main]
async fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    if arguments.first().map(String::as_str) == Some("shop") {
        let fault = arguments.get(1).cloned().unwrap_or_default();
        let log = std::env::var_os("ACCESS_LOG").map(PathBuf::from);
        let (url, _) = Shop::start(&fault, log).await;
        println!("{url}");
        std::future::pending::<()>().await;
    }
    if arguments.first().map(String::as_str) == Some("template") {
        println!("{}", template());
        return;
    }
    let option = |name: &str| {
        let at = arguments.iter().position(|it| it == name)?;
        arguments.get(at + 1).cloned()
    };
    host(&option).await;
}

struct Answer {
    status: u16,
    body: Option<Value>,
    headers: Vec<(&'static str, String)>,
}

fn answer(status: u16, body: Value) -> Answer {
    Answer {
        status,
        body: Some(body),
        headers: Vec::new(),
    }
}

fn problem(status: u16) -> Answer {
    answer(
        status,
        json!({"type": "about:blank", "title": "Refused", "status": status}),
    )
}

impl IntoResponse for Answer {
    fn into_response(self) -> Response {
        let kind = match self.status {
            400.. => "application/problem+json",
            _ => "application/json",
        };
        let mut response = Response::builder().status(self.status);
        for (name, value) in self.headers {
            response = response.header(name, value);
        }
        let Some(body) = self.body else {
            return response.body(Body::empty()).unwrap();
        };
        let response = response.header("content-type", kind);
        response.body(Body::from(body.to_string())).unwrap()
    }
}

/// Answers on a port of its own; returns its address.
async fn serve<F>(answer: impl Fn(Asked) -> F + Clone + Send + Sync + 'static) -> String
where
    F: Future<Output: IntoResponse> + Send,
{
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let listener = listener.tap_io(|stream| stream.set_nodelay(true).unwrap());
    let app = Router::new().fallback(move |method, uri, headers, body| {
        let answer = answer.clone();
        async move { answer(Asked::of(method, &uri, headers, body)).await }
    });
    tokio::spawn(axum::serve(listener, app).into_future());
    url
}

/// The contract in memory. `fault` breaks it:
///
/// - `errors` answers 500 to everything, `errors-under-load` to all but the catalogue;
/// - `slow` takes 150 ms for everything but the catalogue, `slow-route` for `GET /orders/{id}`, `slow-refusals`
///   for 4xx, `slow-once` takes 600 ms for one success of `GET /products`, `crawls` takes 1.5 s,
///   `slow-seed` 150 ms for the catalogue;
/// - `one-order-a-run` hands each order to a run of its own, `one-after-another` takes 12 ms for each order of a run,
///   where it takes 12 ms for all of them, `lost-order` hands one order in five to no run;
/// - `loop-of-calls` tells of invocations that read five items, one after another;
/// - `stuck-orders` leaves every order PENDING, `no-rejections` never runs out of stock;
/// - `wrong-statuses` answers 200 where 404 or 412 is right.
///
/// `iam` is no fault: it answers 403, as API Gateway does, to a PUT or DELETE whose signature is not that of
/// [`KEYS`] for what has arrived.
struct Shop {
    fault: String,
    /// Each answer is a line of it, in the format of template.yaml, as having taken `LOGGED_MS`.
    access_log: Option<PathBuf>,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    products: BTreeMap<String, Value>,
    orders: HashMap<String, Value>,
    keys: HashMap<String, String>,
    lists: u64,
    /// Orders that no run has taken yet.
    queue: Vec<String>,
    /// Lines of the log of events.
    events: String,
}

struct Asked {
    method: Method,
    path: Vec<String>,
    query: HashMap<String, String>,
    headers: HeaderMap,
    body: Bytes,
}

impl Asked {
    fn of(method: Method, uri: &Uri, headers: HeaderMap, body: Bytes) -> Self {
        let decode = |text: &str| text.replace("%20", " ");
        let query = uri.query().unwrap_or_default().split('&');
        let query = query.filter_map(|pair| pair.split_once('='));
        Self {
            method,
            path: uri
                .path()
                .trim_matches('/')
                .split('/')
                .map(decode)
                .collect(),
            query: query
                .map(|(name, value)| (name.to_owned(), decode(value)))
                .collect(),
            headers,
            body,
        }
    }

    fn is_seed(&self) -> bool {
        self.method == Method::PUT && !self.path.get(1).is_some_and(|id| id.starts_with("own-"))
    }

    fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name)?.to_str().ok()
    }

    fn fields(&self) -> Option<Vec<&str>> {
        Some(self.query.get("fields")?.split(',').collect())
    }

    /// The route that it takes.
    fn route(&self) -> String {
        match self.path.as_slice() {
            [collection, id] if id != "batch-get" => {
                format!("{} /{collection}/{{id}}", self.method)
            }
            path => format!("{} /{}", self.method, path.join("/")),
        }
    }
}

impl Shop {
    /// Returns its address too.
    async fn start(fault: &str, access_log: Option<PathBuf>) -> (String, Arc<Shop>) {
        let shop = Shop {
            fault: fault.to_owned(),
            access_log,
            state: Mutex::default(),
        };
        let shop = Arc::new(shop);
        let answers = shop.clone();
        let url = serve(move |asked| answers.clone().answer(asked)).await;
        (url, shop)
    }

    /// The log of events from this one on: the worker has taken the orders since the last time, five in a run.
    fn events(&self, from: usize) -> String {
        let mut state = self.state.lock().unwrap();
        if self.is("loop-of-calls") && state.events.is_empty() {
            state.events = loop_of_calls();
        }
        let orders = std::mem::take(&mut state.queue);
        let most = if self.is("one-order-a-run") { 1 } else { 5 };
        for (number, orders) in orders.chunks(most).enumerate() {
            let orders = &orders[usize::from(self.is("lost-order") && orders.len() == 5)..];
            let turns = if self.is("one-after-another") {
                orders.len()
            } else {
                1
            };
            let request_id = format!("{}-{number}", state.orders.len());
            let delivered = json!({
                "at_us": 0, "event": "messages", "queue": "OrdersQueue", "change": "delivered", "ids": orders,
                "request_id": request_id
            });
            let run = json!({
                "at_us": 0, "event": "invocation", "function": "ProcessOrders", "request_id": request_id,
                "source": "OrdersQueue", "cold": false, "queued_us": 0, "duration_us": 12_000 * turns, "held_us": 0,
                "outcome": "success"
            });
            state.events += &format!("{delivered}\n{run}\n");
        }
        let lines = state.events.lines().skip(from);
        lines.map(|line| format!("{line}\n")).collect()
    }

    fn is(&self, fault: &str) -> bool {
        self.fault == fault
    }

    async fn answer(self: Arc<Self>, asked: Asked) -> Answer {
        let writes = asked.method == Method::PUT || asked.method == Method::DELETE;
        let mut answer = if self.is("iam") && writes && !is_signed(&asked) {
            answer(403, json!({"message": "Forbidden"}))
        } else {
            self.respond(&asked)
        };
        if self.is("wrong-statuses") && [404, 412].contains(&answer.status) {
            answer.status = 200;
        }
        if let Some(log) = &self.access_log {
            let ms = std::env::var("LOGGED_MS").unwrap();
            let now = SystemTime::now()
                .duration_since(UNIX_EPOCH)
                .unwrap()
                .as_millis();
            let line = json!({
                "time": now.to_string(), "route": asked.route(), "status": answer.status.to_string(), "latency": ms
            });
            let mut log = File::options().create(true).append(true).open(log).unwrap();
            log.write_all(format!("{line}\n").as_bytes()).unwrap();
        }
        tokio::time::sleep(self.delay(&asked, &answer)).await;
        answer
    }

    fn delay(&self, asked: &Asked, answer: &Answer) -> Duration {
        let route = asked.route();
        let ms = match self.fault.as_str() {
            "slow" if !asked.is_seed() => 150,
            "crawls" if !asked.is_seed() => 1500,
            "slow-seed" if asked.is_seed() => 150,
            "slow-route" if route == "GET /orders/{id}" => 150,
            "slow-refusals" if answer.status >= 400 => 150,
            "slow-once" if route == "GET /products" && answer.status == 200 => {
                let mut state = self.state.lock().unwrap();
                state.lists += 1;
                if state.lists == 20 { 600 } else { 0 }
            }
            _ => 0,
        };
        Duration::from_millis(ms)
    }

    fn respond(self: &Arc<Self>, asked: &Asked) -> Answer {
        if self.is("errors") || (self.is("errors-under-load") && !asked.is_seed()) {
            return problem(500);
        }
        let mut state = self.state.lock().unwrap();
        let body = || serde_json::from_slice::<Value>(&asked.body).unwrap();
        match asked.route().as_str() {
            "PUT /products/{id}" => put_product(&mut state, asked, body()),
            "GET /products/{id}" => get_product(&state, asked),
            "DELETE /products/{id}" => {
                if is_stale(state.products.get(&asked.path[1]), asked) {
                    return problem(412);
                }
                state.products.remove(&asked.path[1]);
                Answer {
                    status: 204,
                    body: None,
                    headers: Vec::new(),
                }
            }
            "GET /products" => list_products(&state, asked),
            "POST /products/batch-get" => batch_get(&state, &body()),
            "POST /orders" => self.place_order(&mut state, asked, &body()),
            "GET /orders/{id}" => match state.orders.get(&asked.path[1]) {
                Some(order) => answer(200, order.clone()),
                None => problem(404),
            },
            _ => problem(404),
        }
    }

    fn place_order(self: &Arc<Self>, state: &mut State, asked: &Asked, body: &Value) -> Answer {
        let lines = body["lines"].as_array().unwrap().clone();
        let known = |line: &Value| {
            state
                .products
                .contains_key(line["product_id"].as_str().unwrap())
        };
        if !lines.iter().all(known) {
            return problem(422);
        }
        let key = asked.header("idempotency-key").map(str::to_owned);
        if let Some(id) = key.as_ref().and_then(|key| state.keys.get(key)) {
            let mut answer = answer(202, state.orders[id].clone());
            answer.headers = vec![
                ("location", format!("/orders/{id}")),
                ("idempotent-replayed", "true".to_owned()),
            ];
            return answer;
        }
        let (id, now) = (Uuid::new_v4().to_string(), now());
        let order = json!({
            "id": id, "status": "PENDING", "lines": lines, "total_cents": 1, "placed_at": now, "updated_at": now
        });
        state.orders.insert(id.clone(), order.clone());
        state.queue.push(id.clone());
        if let Some(key) = key {
            state.keys.insert(key, id.clone());
        }
        if !self.is("stuck-orders") {
            let (shop, id) = (self.clone(), id.clone());
            tokio::spawn(async move {
                tokio::time::sleep(Duration::from_millis(20)).await;
                shop.settle(&id, &lines);
            });
        }
        let mut answer = answer(202, order);
        answer.headers = vec![("location", format!("/orders/{id}"))];
        answer
    }

    fn settle(&self, id: &str, lines: &[Value]) {
        let mut state = self.state.lock().unwrap();
        let wanted = |line: &Value| {
            let product = line["product_id"].as_str().unwrap().to_owned();
            (product, line["quantity"].as_u64().unwrap())
        };
        let enough = self.is("no-rejections")
            || lines.iter().map(wanted).all(|(product, quantity)| {
                state.products[&product]["stock"].as_u64().unwrap() >= quantity
            });
        let order = state.orders.get_mut(id).unwrap();
        order["status"] = json!(if enough { "FULFILLED" } else { "REJECTED" });
        order["updated_at"] = json!(now());
    }
}

fn now() -> String {
    DateTime::from(SystemTime::now())
        .fmt(Format::DateTime)
        .unwrap()
}

/// Signs the request again, at the time that it names, without the headers that the client did not sign.
fn is_signed(asked: &Asked) -> bool {
    let date = asked.header("x-amz-date").unwrap_or_default();
    if date.len() != 16 {
        return false;
    }
    let date = [
        &date[..4],
        "-",
        &date[4..6],
        "-",
        &date[6..11],
        ":",
        &date[11..13],
        ":",
        &date[13..],
    ]
    .concat();
    let time = SystemTime::try_from(DateTime::from_str(&date, Format::DateTime).unwrap()).unwrap();
    let mut settings = SigningSettings::default();
    settings.payload_checksum_kind = PayloadChecksumKind::XAmzSha256;
    let identity = Credentials::new(KEYS.0, KEYS.1, None, None, "stand-in").into();
    let parameters = v4::SigningParams::builder()
        .identity(&identity)
        .region("eu-west-1")
        .name("execute-api")
        .time(time)
        .settings(settings)
        .build()
        .unwrap();
    let host = asked.header("host").unwrap();
    let url = format!("http://{host}/{}", asked.path.join("/"));
    let body = SignableBody::Bytes(&asked.body);
    let request = SignableRequest::new(
        asked.method.as_str(),
        url,
        [("host", host)].into_iter(),
        body,
    )
    .unwrap();
    let (instructions, _) = sign(request, &parameters.into()).unwrap().into_parts();
    let mut headers = instructions.headers();
    let expected = headers
        .find(|(name, _)| *name == "authorization")
        .map(|(_, value)| value.to_owned());
    asked.header("authorization") == expected.as_deref()
}

fn etag(product: &Value) -> String {
    format!("\"{}\"", product["version"])
}

fn is_stale(present: Option<&Value>, asked: &Asked) -> bool {
    let wanted = asked.header("if-match");
    wanted.is_some_and(|wanted| present.is_none_or(|product| etag(product) != wanted))
}

fn put_product(state: &mut State, asked: &Asked, body: Value) -> Answer {
    let present = state.products.get(&asked.path[1]);
    let exists = asked.header("if-none-match") == Some("*") && present.is_some();
    if is_stale(present, asked) || exists {
        return problem(412);
    }
    let status = if present.is_some() { 200 } else { 201 };
    let version = present
        .and_then(|product| product["version"].as_u64())
        .unwrap_or(0)
        + 1;
    let mut product = body;
    product["id"] = json!(asked.path[1]);
    product["version"] = json!(version);
    state
        .products
        .insert(asked.path[1].clone(), product.clone());
    let headers = vec![("etag", etag(&product))];
    Answer {
        headers,
        ..answer(status, product)
    }
}

fn project(product: &Value, fields: Option<&[&str]>) -> Value {
    match fields {
        None => product.clone(),
        Some(fields) => {
            let fields = fields
                .iter()
                .filter_map(|field| Some(((*field).to_owned(), product.get(*field)?.clone())));
            Value::Object(fields.collect())
        }
    }
}

fn get_product(state: &State, asked: &Asked) -> Answer {
    let fields = asked.fields();
    if fields
        .as_ref()
        .is_some_and(|fields| fields.contains(&"wings"))
    {
        return problem(400);
    }
    let Some(product) = state.products.get(&asked.path[1]) else {
        return problem(404);
    };
    let headers = vec![("etag", etag(product))];
    if asked.header("if-none-match") == Some(&etag(product)) {
        return Answer {
            status: 304,
            body: None,
            headers,
        };
    }
    Answer {
        headers,
        ..answer(200, project(product, fields.as_deref()))
    }
}

fn list_products(state: &State, asked: &Asked) -> Answer {
    let number = |name: &str, default: usize| {
        asked
            .query
            .get(name)
            .map_or(Ok(default), |text| text.parse())
    };
    let (Ok(from), Ok(limit)) = (number("cursor", 0), number("limit", 20)) else {
        return problem(400);
    };
    let category = asked.query.get("category").map(String::as_str);
    let all = state
        .products
        .values()
        .filter(|product| product["category"].as_str() == category);
    let all: Vec<_> = all.collect();
    let fields = asked.fields();
    let page = all
        .iter()
        .skip(from)
        .take(limit)
        .map(|product| project(product, fields.as_deref()));
    let next = (from + limit < all.len()).then(|| (from + limit).to_string());
    answer(
        200,
        json!({"products": page.collect::<Vec<_>>(), "next_cursor": next}),
    )
}

fn batch_get(state: &State, body: &Value) -> Answer {
    let strings = |value: &'_ Value| -> Option<Vec<String>> {
        Some(
            value
                .as_array()?
                .iter()
                .map(|it| it.as_str().unwrap().to_owned())
                .collect(),
        )
    };
    let fields = strings(&body["fields"]);
    let fields: Option<Vec<&str>> = fields
        .as_ref()
        .map(|fields| fields.iter().map(String::as_str).collect());
    let (found, missing): (Vec<_>, Vec<_>) = strings(&body["ids"])
        .unwrap()
        .into_iter()
        .partition(|id| state.products.contains_key(id));
    let found = found
        .iter()
        .map(|id| project(&state.products[id], fields.as_deref()));
    answer(
        200,
        json!({"products": found.collect::<Vec<_>>(), "missing": missing}),
    )
}

/// The host around the shop. Its one function has run cold once for the catalogue, and twice under load: cold if
/// its environments were ended before. Faults: those of the shop, `slow-cold-start`, `failed-calls`,
/// `repeated-calls`, `dead-letter`, `function-error`, `function-timeout`, `ends` under load.
async fn host(option: &dyn Fn(&str) -> Option<String>) {
    let fault = std::env::var("STAND_IN").unwrap_or_default();
    let template = option("--template").unwrap();
    if template.ends_with("missing.yaml") {
        eprintln!("{template}: no such template");
        std::process::exit(1);
    }
    let log_dir = PathBuf::from(option("--log-dir").unwrap());
    fs::create_dir_all(&log_dir).unwrap();
    let log = log_dir.join("GetProduct.log");
    let report = move |fields: &str| {
        let line = format!(
            "REPORT RequestId: 1\tDuration: 1.50 ms\tBilled Duration: 2 ms\tMemory Size: 256 MB\tMax Memory Used: 8 MB\t{fields}\n"
        );
        let mut log = File::options()
            .create(true)
            .append(true)
            .open(&log)
            .unwrap();
        log.write_all(line.as_bytes()).unwrap();
    };
    report("Init Duration: 3.00 ms\tCPU Time: 1.00 ms\tInit CPU Time: 2.00 ms");

    let (api_url, shop) = Shop::start(&fault, None).await;
    let given = std::env::args().collect::<Vec<_>>().join(" ");
    fs::write(log_dir.join("arguments.txt"), given).unwrap();
    let (state, faults) = (Arc::new(Mutex::new((false, false))), fault.clone());
    let control_url = serve(move |asked| {
        let (report, state, fault) = (report.clone(), state.clone(), faults.clone());
        let shop = shop.clone();
        async move {
            let mut state = state.lock().unwrap();
            let (reaped, has_run) = &mut *state;
            match asked.path.join("/").as_str() {
                "environments/reap" => *reaped = true,
                "meter" if !*has_run => {
                    // Asked after the load.
                    *has_run = true;
                    let init = if fault == "slow-cold-start" { 200 } else { 3 };
                    let cold = format!(
                        "Init Duration: {init}.00 ms\tCPU Time: 1.00 ms\tInit CPU Time: 2.00 ms"
                    );
                    report(if *reaped { &cold } else { "CPU Time: 0.40 ms" });
                    report(match fault.as_str() {
                        "function-error" => "Status: error\tCPU Time: 0.40 ms",
                        "function-timeout" => "Status: timeout\tCPU Time: 0.40 ms",
                        _ => "CPU Time: 0.40 ms",
                    });
                }
                _ => {}
            }
            let answer = match asked.path.join("/").as_str() {
                "meter" => answer(200, meter(&fault, shop.state.lock().unwrap().orders.len())),
                "events" => {
                    let from = asked.query.get("from").and_then(|from| from.parse().ok());
                    return shop.events(from.unwrap_or(0)).into_response();
                }
                "conditions" => answer(200, conditions()),
                "functions" => answer(200, json!({"GetProduct": {"environments": 1}})),
                _ => Answer {
                    status: 204,
                    body: None,
                    headers: Vec::new(),
                },
            };
            answer.into_response()
        }
    })
    .await;

    let ready = json!({"api_url": api_url, "control_url": control_url, "log_dir": log_dir, "pid": std::process::id()});
    let ready_file = PathBuf::from(option("--ready-file").unwrap());
    let beside = ready_file.with_extension("new");
    fs::write(&beside, ready.to_string()).unwrap();
    fs::rename(&beside, &ready_file).unwrap();

    let mut stop =
        tokio::signal::unix::signal(tokio::signal::unix::SignalKind::terminate()).unwrap();
    if fault == "ends" {
        // Once the catalogue is there and the load has begun.
        tokio::select! {
            _ = stop.recv() => {}
            () = tokio::time::sleep(Duration::from_secs(4)) => std::process::exit(7),
        }
    }
    stop.recv().await;
    fs::remove_file(ready_file).unwrap();
}

/// Events of ten invocations that read five items each, one after another.
fn loop_of_calls() -> String {
    let mut events = String::new();
    for number in 1..=10 {
        let request_id = format!("loop-{number}");
        for turn in 1..=5 {
            let call = json!({
                "at_us": 2000 * turn, "event": "call", "function": "GetProduct", "request_id": request_id,
                "operation": "DynamoDB.GetItem", "resource": "ProductsTable", "request_bytes": 0, "response_bytes": 0,
                "read_units": 0.5, "write_units": 0.0, "outcome": "success", "duration_us": 2000, "held_us": 0
            });
            events += &format!("{call}\n");
        }
        let run = json!({
            "at_us": 12_000, "event": "invocation", "function": "GetProduct", "request_id": request_id,
            "source": "GET /products/{id}", "cold": false, "queued_us": 0, "duration_us": 12_000, "held_us": 0,
            "outcome": "success"
        });
        events += &format!("{run}\n");
    }
    events
}

/// What AWS would take: more than this program does.
fn conditions() -> Value {
    let mut calls: serde_json::Map<_, _> = [
        "DynamoDB.BatchGetItem",
        "DynamoDB.DeleteItem",
        "DynamoDB.GetItem",
        "DynamoDB.PutItem",
        "DynamoDB.Query",
        "DynamoDB.UpdateItem",
        "SQS.SendMessage",
    ]
    .map(|operation| (operation.to_owned(), json!(2)))
    .into_iter()
    .collect();
    calls.insert("DynamoDB.TransactWriteItems".to_owned(), json!(20));
    json!({
        "name": "stand-in", "seed": 1, "cpu_factor": 1, "platform_ms": 90, "front_door_ms": 3, "invoke_ms": 5,
        "connection_ms": 4, "trigger_ms": 16,
        "calls_ms": calls,
    })
}

/// The template that the host has resolved.
fn template() -> Value {
    json!({"Resources": {"GetProduct": {"Properties": {
        "MemorySize": 256, "Architectures": ["arm64"],
        "ProvisionedConcurrencyConfig": {"ProvisionedConcurrentExecutions": 1}
    }}}})
}

/// Two runs and one init, each with its call. All orders are settled.
fn meter(fault: &str, orders: usize) -> Value {
    let calls = if fault == "repeated-calls" { 4 } else { 3 };
    let errors = u64::from(fault == "failed-calls");
    let dead = u64::from(fault == "dead-letter");
    json!({
        "functions": {"GetProduct": {"connections": 1, "tls_handshakes": 1, "operations": {"DynamoDB.GetItem": {
            "calls": calls, "errors": errors, "throttles": 0, "read_units": 1.5, "write_units": 0
        }}}},
        "queues": {
            "OrdersQueue": {
                "visible": 0, "in_flight": 0, "delayed": 0, "invocations": 3, "received": 10,
                "deleted": orders, "failed": 0, "queue_time_ms": {"count": 10, "p50": 1, "p95": 2, "p99": 2, "max": 2}
            },
            "OrdersDeadLetterQueue": {"visible": dead, "in_flight": 0, "delayed": 0}
        }
    })
}
