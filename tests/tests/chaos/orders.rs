//! The orders, and the clients that repeat each until they have an answer.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use reqwest::header::HeaderMap;
use serde_json::{Value, json};
use tokio::task::JoinSet;

/// Clients that order at the same time.
const CLIENTS: usize = 16;

/// An answer came long before this, or never will: API Gateway gives up after 30 s.
const ANSWER_LIMIT: Duration = Duration::from_secs(35);

/// One attempt in five fails at most, and a host that was killed is back after seconds.
const PATIENCE: Duration = Duration::from_secs(90);

/// A product and how much of it there is at the start.
pub(crate) struct Product {
    pub(crate) id: String,
    pub(crate) price_cents: u64,
    pub(crate) stock: u64,
}

/// Twelve products: of eight there is enough for everyone, of four for about half of those who ask.
pub(crate) fn products(orders: usize) -> Vec<Product> {
    let product = |number: u64| Product {
        id: format!("product-{number}"),
        price_cents: 100 * number + 7,
        stock: match number {
            0..8 => 1_000_000,
            // An order takes 2.5 products of 12 and 3 pieces of each on average.
            _ => orders as u64 * 3 / 10,
        },
    };
    (0..12).map(product).collect()
}

/// One order that a client will place.
#[derive(Clone)]
pub(crate) struct Wish {
    pub(crate) key: String,
    /// Products by their position, and quantities.
    pub(crate) lines: Vec<(usize, u64)>,
}

impl Wish {
    pub(crate) fn list(seed: u64, orders: usize, products: usize) -> Vec<Wish> {
        let mut random = fastrand::Rng::with_seed(seed);
        let mut wish = |number: usize| {
            let count = random.usize(1..=4);
            let chosen = random.choose_multiple(0..products, count);
            let lines = chosen
                .into_iter()
                .map(|product| (product, random.u64(1..=5)));
            Wish {
                key: format!("chaos-{seed}-order-{number:08}"),
                lines: lines.collect(),
            }
        };
        (0..orders).map(&mut wish).collect()
    }

    pub(crate) fn body(&self, products: &[Product]) -> Value {
        let line = |(product, quantity): &(usize, u64)| json!({"product_id": products[*product].id, "quantity": quantity});
        json!({"lines": self.lines.iter().map(line).collect::<Vec<_>>()})
    }

    pub(crate) fn total_cents(&self, products: &[Product]) -> u64 {
        let lines = self.lines.iter();
        lines
            .map(|(product, quantity)| products[*product].price_cents * quantity)
            .sum()
    }
}

/// The ids of the orders that got a 202 so far, by the wishes' positions.
pub(crate) type Accepted = Arc<Mutex<Vec<(usize, String)>>>;

/// The base address of the API, which changes when the host is started again.
pub(crate) type Address = Arc<Mutex<String>>;

/// Places all orders, sixteen at a time. Gives the number of requests that it took.
///
/// # Errors
/// An answer that the contract does not allow, or none that accepts an order in good time.
pub(crate) async fn place_all(
    api_url: &Address,
    seed: u64,
    products: &[Product],
    wishes: &[Wish],
    accepted: &Accepted,
) -> Result<usize, String> {
    let requests: Vec<_> = wishes
        .iter()
        .map(|wish| {
            (
                wish.key.clone(),
                wish.body(products).to_string(),
                wish.total_cents(products),
            )
        })
        .collect();
    let (requests, next) = (Arc::new(requests), Arc::new(AtomicUsize::new(0)));
    let mut clients = JoinSet::new();
    for client in 0..CLIENTS {
        let (requests, next, accepted) = (requests.clone(), next.clone(), accepted.clone());
        let mut client = Client {
            http: reqwest::Client::new(),
            api_url: api_url.clone(),
            random: fastrand::Rng::with_seed(seed.wrapping_mul(31).wrapping_add(client as u64)),
            attempts: 0,
        };
        clients.spawn(async move {
            loop {
                let number = next.fetch_add(1, Ordering::Relaxed);
                let Some((key, body, total_cents)) = requests.get(number) else {
                    return Ok::<_, String>(client.attempts);
                };
                let order = client.place(key, body).await?;
                if order.body["total_cents"] != *total_cents {
                    return Err(format!("{key} should cost {total_cents}: {}", order.body));
                }
                let id = order.body["id"].as_str().unwrap_or_default().to_owned();
                accepted.lock().unwrap().push((number, id.clone()));
                // Some had their answer, and ask all the same.
                if client.random.u8(..20) == 0 {
                    let again = client.place(key, body).await?;
                    if again.body["id"] != id || again.headers.get("idempotent-replayed").is_none()
                    {
                        return Err(format!("{key} was {id}, and is now {}", again.body));
                    }
                }
            }
        });
    }
    let mut attempts = 0;
    while let Some(ended) = clients.join_next().await {
        attempts += ended.map_err(|error| error.to_string())??;
    }
    Ok(attempts)
}

struct Client {
    http: reqwest::Client,
    api_url: Address,
    random: fastrand::Rng,
    attempts: usize,
}

struct Order {
    headers: HeaderMap,
    body: Value,
}

impl Client {
    /// Sends one order until it gets a 202.
    async fn place(&mut self, key: &str, body: &str) -> Result<Order, String> {
        let mut last = String::new();
        let patience = Instant::now() + PATIENCE;
        while Instant::now() < patience {
            self.attempts += 1;
            match self.attempt(key, body).await {
                Ok((202, order)) => return Ok(order),
                Ok((status @ 500..=599, order)) => last = format!("{status} {}", order.body),
                Ok((status, order)) => {
                    return Err(format!("{key} got {status}: {}", order.body));
                }
                Err(error) => last = error.to_string(),
            }
            // Less patient than Retry-After asks for: the functions have to bear that.
            let pause = Duration::from_millis(self.random.u64(5..100));
            tokio::time::sleep(pause).await;
        }
        Err(format!(
            "{key} was not accepted in {PATIENCE:?}, the last answer was {last}"
        ))
    }

    async fn attempt(&mut self, key: &str, body: &str) -> reqwest::Result<(u16, Order)> {
        // One in twenty hangs up in the middle of it; its request goes on without it.
        let limit = match self.random.u8(..20) {
            0 => Duration::from_millis(self.random.u64(1..40)),
            _ => ANSWER_LIMIT,
        };
        let url = format!("{}/orders", self.api_url.lock().unwrap());
        let request = self.http.post(url).timeout(limit);
        let request = request
            .header("content-type", "application/json")
            .header("idempotency-key", key)
            .body(body.to_owned());
        let response = request.send().await?;
        let (status, headers) = (response.status().as_u16(), response.headers().clone());
        let text = response.text().await?;
        let body = serde_json::from_str(&text).unwrap_or(Value::String(text));
        Ok((status, Order { headers, body }))
    }
}
