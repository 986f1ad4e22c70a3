//! One shop, wrecked, and what is left in its tables and queues.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use serde_json::json;
use shop_tests::Shop;

use crate::orders::{self, Accepted, Product, Wish};
use crate::plan;
use crate::stored::{Stored, text};

/// A poison message stays for ten deliveries of 4 s; this is three times as long.
const PATIENCE: Duration = Duration::from_secs(120);

/// Deliveries until a message is given up. With these faults a delivery of a good order fails with a
/// chance of one in six at most; ten in a row are one in sixty million.
const DELIVERIES: usize = 10;

/// Messages that can never succeed, put among the good ones.
const POISON: usize = 12;

/// The result of one run.
#[derive(Default)]
pub(crate) struct Report {
    orders: usize,
    requests: usize,
    pub(crate) fulfilled: usize,
    pub(crate) rejected: usize,
    poison: usize,
    seconds: f64,
    pub(crate) faults: BTreeMap<String, u64>,
    /// Broken promises, a sentence each.
    pub(crate) wrong: Vec<String>,
}

impl Report {
    /// Of a run that did not come to its end.
    pub(crate) fn of(failure: String) -> Report {
        Report {
            wrong: vec![failure],
            ..Report::default()
        }
    }

    pub(crate) fn add(&mut self, other: Report) {
        self.orders += other.orders;
        self.requests += other.requests;
        self.fulfilled += other.fulfilled;
        self.rejected += other.rejected;
        self.poison += other.poison;
        self.seconds += other.seconds;
        for (kind, count) in other.faults {
            *self.faults.entry(kind).or_default() += count;
        }
        self.wrong.extend(other.wrong);
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{} orders in {} requests: {} fulfilled, {} rejected; {} poison; {} faults; {:.0} s; {}",
            self.orders,
            self.requests,
            self.fulfilled,
            self.rejected,
            self.poison,
            self.faults.values().sum::<u64>(),
            self.seconds,
            match self.wrong.len() {
                0 => "all is well".to_owned(),
                wrong => format!("{wrong} things are wrong"),
            }
        )
    }
}

/// The template with times that a test can wait for. Their proportions stay: a message is hidden for
/// at least as long as a function may work on it.
#[expect(clippy::needless_pass_by_value, reason = "what a shop is started with")]
pub(crate) fn impatient(template: String) -> String {
    let mut lines: Vec<String> = template.lines().map(str::to_owned).collect();
    let mut set = |property: &str, owner: &str, value: usize| {
        let start = lines.iter().position(|line| line.trim() == owner).unwrap();
        let line = lines[start..]
            .iter_mut()
            .find(|line| line.trim().starts_with(property))
            .unwrap();
        let indent = line.len() - line.trim_start().len();
        *line = format!("{:indent$}{property} {value}", "");
    };
    set("VisibilityTimeout:", "OrdersQueue:", 4);
    set("maxReceiveCount:", "OrdersQueue:", DELIVERIES);
    set("Timeout:", "ProcessOrders:", 4);
    lines.join("\n")
}

/// Places `orders` orders while everything breaks, and sees what became of them.
pub(crate) async fn wreck(seed: u64, orders: usize) -> Report {
    let started = Instant::now();
    let shop = Shop::start(&format!("chaos-{seed}"), impatient);
    let products = orders::products(orders);
    for Product {
        id,
        price_cents,
        stock,
    } in &products
    {
        shop.has_product(id, "chaos", *price_cents, *stock).await;
    }
    let wishes = Wish::list(seed, orders, products.len());
    let accepted = Accepted::default();

    shop.inject(&plan::everything(seed)).await;
    let address = Arc::new(Mutex::new(shop.api_url.clone()));
    let placing = orders::place_all(&address, seed, &products, &wishes, &accepted);
    let (requests, poison) = tokio::join!(placing, poison(&shop, &accepted, orders));
    let ordered = Ordered {
        started,
        products,
        wishes,
        accepted,
        requests,
        poison,
    };
    let report = examine(&shop, ordered).await;
    shop.stop().await;
    report
}

/// The orders sent to a shop, and those that it accepted.
pub(crate) struct Ordered {
    pub(crate) started: Instant,
    pub(crate) products: Vec<Product>,
    pub(crate) wishes: Vec<Wish>,
    pub(crate) accepted: Accepted,
    /// How many requests that took, or why it was not done.
    pub(crate) requests: Result<usize, String>,
    pub(crate) poison: Vec<String>,
}

/// Waits until nothing moves any more, and compares what is there with what was accepted.
pub(crate) async fn examine(shop: &Shop, ordered: Ordered) -> Report {
    let Ordered {
        started,
        products,
        wishes,
        accepted,
        requests,
        poison,
    } = ordered;
    let mut wrong = Vec::new();
    let requests = requests.unwrap_or_else(|error| {
        wrong.push(error);
        0
    });
    let settled = wait_until(|| async {
        let orders = shop.items("OrdersTable").await;
        orders
            .iter()
            .all(|order| text(order, "status") != "PENDING")
    });
    if !settled.await {
        wrong.push("orders stay PENDING".to_owned());
    }
    let faults = serde_json::from_value(shop.meter().await["faults"].clone()).unwrap();
    shop.inject_nothing().await;
    let empty = wait_until(|| async {
        let queue = shop.meter().await["queues"]["OrdersQueue"].clone();
        ["visible", "in_flight", "delayed"]
            .iter()
            .all(|state| queue[state] == 0)
    });
    if !empty.await {
        wrong.push("the queue does not run empty".to_owned());
    }

    let dead = shop.messages("OrdersDeadLetterQueue", 0).await;
    if dead != poison {
        wrong.push(format!(
            "the dead-letter queue holds {dead:#?}, not {poison:#?}"
        ));
    }
    let stored = Stored {
        orders: shop.items("OrdersTable").await,
        products: shop.items("ProductsTable").await,
    };
    let accepted = accepted.lock().unwrap().clone();
    wrong.extend(stored.differences(&products, &wishes, &accepted));
    let count = |status| {
        let orders = stored.orders.iter();
        orders
            .filter(|order| text(order, "status") == status)
            .count()
    };
    Report {
        orders: accepted.len(),
        requests,
        fulfilled: count("FULFILLED"),
        rejected: count("REJECTED"),
        poison: dead.len(),
        seconds: started.elapsed().as_secs_f64(),
        faults,
        wrong,
    }
}

/// Puts poison among the orders, each when another share of them is accepted. Gives what it put,
/// sorted.
async fn poison(shop: &Shop, accepted: &Accepted, orders: usize) -> Vec<String> {
    let mut bodies = Vec::new();
    for number in 0..POISON {
        let enough = || async { accepted.lock().unwrap().len() * (POISON + 1) >= orders * number };
        wait_until(enough).await;
        // More than any order takes, so that it fits none.
        let lines = json!([{"product_id": "product-0", "quantity": 50 + number}]);
        let some_order = accepted.lock().unwrap().last().map(|(_, id)| id.clone());
        let body = match (number % 4, some_order) {
            (0, _) => format!("poison {number}, which is not JSON"),
            (1, _) => json!({"order_id": number}).to_string(),
            (2, Some(id)) => json!({"order_id": id, "lines": lines}).to_string(),
            _ => {
                let nobody = format!("{number:032x}");
                json!({"order_id": nobody, "lines": lines}).to_string()
            }
        };
        shop.send_message("OrdersQueue", &body).await;
        bodies.push(body);
    }
    bodies.sort();
    bodies
}

/// True once `holds` does; false where it never does.
pub(crate) async fn wait_until<F: Future<Output = bool>>(holds: impl Fn() -> F) -> bool {
    let patience = Instant::now() + PATIENCE;
    while !holds().await {
        if Instant::now() > patience {
            return false;
        }
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
    true
}
