//! A real DynamoDB (dynoxide, in process) behind the real SDK, and a wire between them that counts
//! calls and can break them.
#![allow(dead_code, unreachable_pub, missing_docs)] // Each test file uses a part of it.

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use aws_credential_types::Credentials;
use aws_sdk_dynamodb::config::Region;
use aws_sdk_dynamodb::types::{
    AttributeDefinition, AttributeValue, BillingMode, GlobalSecondaryIndex, KeySchemaElement,
    KeyType, Projection, ProjectionType, ScalarAttributeType,
};
use aws_smithy_http_client::Connector;
use aws_smithy_runtime_api::client::http::{
    HttpConnector, HttpConnectorFuture, SharedHttpConnector, http_client_fn,
};
use aws_smithy_runtime_api::client::orchestrator::HttpRequest;
use aws_smithy_types::body::SdkBody;
use aws_smithy_types::retry::RetryConfig;
use shop::domain::{Fields, Lines, NewProduct, Precondition, ProductId};
use shop::dynamodb::{Catalog, Orders, Settlements};
use shop::sqs::OrderQueue;
use shop::time::Deadline;
use shop::use_cases::{Checkout, Fulfilment};

pub const PRODUCTS: &str = "test-products";
pub const ORDERS: &str = "test-orders-table";

/// Both tables, empty, and everything of the shop that works on them.
pub struct Shop {
    pub dynamodb: aws_sdk_dynamodb::Client,
    pub endpoint: String,
    pub wire: Wire,
    pub catalog: Catalog,
    pub orders: Orders,
    pub checkout: Checkout,
    pub fulfilment: Fulfilment,
}

impl Shop {
    pub async fn open() -> Self {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let endpoint = format!("http://{}", listener.local_addr().unwrap());
        let database = dynoxide::Database::memory().unwrap();
        tokio::spawn(dynoxide::server::serve_on(listener, database));
        let wire = Wire::default();
        let connector = SharedHttpConnector::new(wire.clone());
        let http_client = http_client_fn(move |_, _| connector.clone());
        // Fewer and faster repeats than in production, so that tests of failures do not wait.
        let retries = RetryConfig::standard()
            .with_max_attempts(2)
            .with_initial_backoff(Duration::ZERO);
        let dynamodb = aws_sdk_dynamodb::Client::from_conf(
            aws_sdk_dynamodb::Config::builder()
                .region(Region::new("us-east-1"))
                .credentials_provider(Credentials::from_keys("test", "test", None))
                .endpoint_url(&endpoint)
                .http_client(http_client.clone())
                .retry_config(retries.clone())
                .build(),
        );
        let sqs = aws_sdk_sqs::Client::from_conf(
            aws_sdk_sqs::Config::builder()
                .region(Region::new("us-east-1"))
                .credentials_provider(Credentials::from_keys("test", "test", None))
                .endpoint_url(&endpoint)
                .http_client(http_client)
                .retry_config(retries)
                .build(),
        );
        create_table(&dynamodb, PRODUCTS, true).await;
        create_table(&dynamodb, ORDERS, false).await;
        wire.calls();
        let catalog = Catalog::new(dynamodb.clone(), PRODUCTS.to_owned());
        let orders = Orders::new(dynamodb.clone(), ORDERS.to_owned());
        let queue = OrderQueue::new(sqs, format!("{endpoint}/000000000000/orders"));
        Self {
            checkout: Checkout::new(catalog.clone(), orders.clone(), queue),
            fulfilment: Fulfilment::new(Settlements::new(
                dynamodb.clone(),
                PRODUCTS.to_owned(),
                ORDERS.to_owned(),
            )),
            catalog,
            orders,
            dynamodb,
            endpoint,
            wire,
        }
    }

    /// Puts a product with this price and stock, in place of any other.
    pub async fn stock(&self, id: &str, price_cents: u64, stock: u64) {
        let product = product("mugs", price_cents, stock);
        self.catalog
            .put(&product_id(id), product, &Precondition::default(), soon())
            .await
            .unwrap();
    }

    pub async fn stock_of(&self, id: &str) -> u64 {
        let (product, _) = self
            .catalog
            .get(&product_id(id), Fields::all())
            .await
            .unwrap();
        product.stock.unwrap().get()
    }

    /// Writes an item to the table of products, past the shop.
    pub async fn store_item(&self, item: HashMap<String, AttributeValue>) {
        self.dynamodb
            .put_item()
            .table_name(PRODUCTS)
            .set_item(Some(item))
            .send()
            .await
            .unwrap();
    }

    /// Writes an item that is not a product.
    pub async fn store_malformed_product(&self, id: &str, category: &str) {
        let text = |text: &str| AttributeValue::S(text.to_owned());
        self.store_item(HashMap::from([
            ("id".to_owned(), text(id)),
            ("category".to_owned(), text(category)),
            ("price_cents".to_owned(), text("much")),
        ]))
        .await;
    }

    pub async fn count_orders(&self) -> usize {
        let answer = self
            .dynamodb
            .scan()
            .table_name(ORDERS)
            .send()
            .await
            .unwrap();
        answer.items().len()
    }
}

pub fn product_id(id: &str) -> ProductId {
    ProductId::parse(id).unwrap()
}

pub fn product(category: &str, price_cents: u64, stock: u64) -> NewProduct {
    let body = serde_json::json!({
        "name": "Enamel mug", "category": category, "price_cents": price_cents, "stock": stock,
    });
    NewProduct::from_body(body.to_string().as_bytes()).unwrap()
}

pub fn lines(lines: &[(&str, u64)]) -> Lines {
    let line =
        |(id, quantity): &(&str, u64)| serde_json::json!({"product_id": id, "quantity": quantity});
    let body = serde_json::json!({"lines": lines.iter().map(line).collect::<Vec<_>>()});
    Lines::from_body(body.to_string().as_bytes()).unwrap()
}

/// Ample time, for tests that are not about running out of it.
pub fn soon() -> Deadline {
    Deadline::after(Duration::from_secs(20))
}

async fn create_table(client: &aws_sdk_dynamodb::Client, name: &str, with_index: bool) {
    let key = |name: &str, kind| {
        KeySchemaElement::builder()
            .attribute_name(name)
            .key_type(kind)
            .build()
            .unwrap()
    };
    let string = |name: &str| {
        AttributeDefinition::builder()
            .attribute_name(name)
            .attribute_type(ScalarAttributeType::S)
            .build()
            .unwrap()
    };
    let mut table = client
        .create_table()
        .table_name(name)
        .billing_mode(BillingMode::PayPerRequest)
        .key_schema(key("id", KeyType::Hash))
        .attribute_definitions(string("id"));
    if with_index {
        let index = GlobalSecondaryIndex::builder()
            .index_name("by-category")
            .key_schema(key("category", KeyType::Hash))
            .key_schema(key("id", KeyType::Range))
            .projection(
                Projection::builder()
                    .projection_type(ProjectionType::All)
                    .build(),
            )
            .build()
            .unwrap();
        table = table
            .attribute_definitions(string("category"))
            .global_secondary_indexes(index);
    }
    table.send().await.unwrap();
}

/// The fate of a call.
pub enum Fault {
    /// It never arrives; this is the answer.
    Answer(u16, serde_json::Value),
    /// It arrives, but the answer is a 500.
    LostAnswer,
}

impl Fault {
    /// AWS refuses the call by this code.
    pub fn refusal(status: u16, code: &str) -> Self {
        Self::Answer(
            status,
            serde_json::json!({"__type": code, "message": "secret detail"}),
        )
    }
}

/// The connection of every client of a [`Shop`]. SQS is only an answer to each message.
#[derive(Clone, Debug)]
pub struct Wire {
    real: Arc<Connector>,
    state: Arc<Mutex<State>>,
}

#[derive(Default)]
struct State {
    calls: Vec<(String, serde_json::Value)>,
    faults: VecDeque<(&'static str, Fault)>,
}

impl std::fmt::Debug for State {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("State")
    }
}

impl Default for Wire {
    fn default() -> Self {
        let real = Arc::new(Connector::builder().build_http());
        Self {
            real,
            state: Arc::default(),
        }
    }
}

impl Wire {
    /// The operations called since the last time, in order.
    pub fn calls(&self) -> Vec<String> {
        let calls = std::mem::take(&mut self.state.lock().unwrap().calls);
        calls.into_iter().map(|(operation, _)| operation).collect()
    }

    /// The messages sent since the last time, by their bodies.
    pub fn sent(&self) -> Vec<serde_json::Value> {
        let calls = std::mem::take(&mut self.state.lock().unwrap().calls);
        let sent = calls
            .into_iter()
            .filter(|(operation, _)| operation == "SendMessage");
        sent.map(|(_, call)| serde_json::from_str(call["MessageBody"].as_str().unwrap()).unwrap())
            .collect()
    }

    /// The next call of `operation` that has no fault yet meets this one.
    pub fn break_next(&self, operation: &'static str, fault: Fault) {
        self.state
            .lock()
            .unwrap()
            .faults
            .push_back((operation, fault));
    }
}

impl HttpConnector for Wire {
    fn call(&self, request: HttpRequest) -> HttpConnectorFuture {
        let target = request.headers().get("x-amz-target").unwrap_or_default();
        let operation = target.rsplit('.').next().unwrap_or_default().to_owned();
        let body = request.body().bytes().unwrap_or_default();
        let body = serde_json::from_slice(body).unwrap_or_default();
        let mut state = self.state.lock().unwrap();
        state.calls.push((operation.clone(), body));
        let fault = state
            .faults
            .iter()
            .position(|(broken, _)| *broken == operation);
        match fault.and_then(|index| state.faults.remove(index)) {
            Some((_, Fault::Answer(status, body))) => answer(status, &body),
            Some((_, Fault::LostAnswer)) => {
                let delivered = self.real.call(request);
                HttpConnectorFuture::new(async move {
                    delivered.await?;
                    answer(500, &serde_json::json!({"__type": "InternalServerError"})).await
                })
            }
            None if operation == "SendMessage" => answer(
                200,
                &serde_json::json!({"MessageId": "m-1", "MD5OfMessageBody": ""}),
            ),
            None => self.real.call(request),
        }
    }
}

fn answer(status: u16, body: &serde_json::Value) -> HttpConnectorFuture {
    let response = http::Response::builder()
        .status(status)
        .header("content-type", "application/x-amz-json-1.0")
        .body(SdkBody::from(body.to_string()))
        .unwrap();
    HttpConnectorFuture::ready(Ok(response.try_into().unwrap()))
}
