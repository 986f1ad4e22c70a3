//! The host itself, killed with `kill -9` under load and started again on the same data folder: what it
//! has acknowledged is there, and the orders finish.

use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use reqwest::StatusCode;
use serde_json::{Value, json};
use shop_tests::{Kept, Process, Shop};

use crate::number;
use crate::orders::{self, Accepted, Address, Wish};
use crate::wreck::{Ordered, Report, examine, impatient};

/// Orders accepted between two kills: each process has time for whole orders, and for half ones.
const ORDERS: usize = 40;

/// Products written between two kills, at least.
const WRITES: usize = 5;

/// How long so many orders may take: clients that are refused give up after 90 s.
const PATIENCE: Duration = Duration::from_secs(100);

#[tokio::test(flavor = "multi_thread")]
async fn what_is_acknowledged_outlives_three_kills() {
    check(&kill_again_and_again(3).await);
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "takes half a minute; `make kill-test` runs it"]
async fn what_is_acknowledged_outlives_twenty_kills() {
    let kills = number("KILLS").map_or(20, |kills| usize::try_from(kills).unwrap());
    check(&kill_again_and_again(kills).await);
}

fn check(report: &Report) {
    println!("killed: {report}");
    assert!(report.wrong.is_empty(), "{:#?}", report.wrong);
}

async fn kill_again_and_again(kills: usize) -> Report {
    let started = Instant::now();
    let kept = Kept::new(&format!("killed-{kills}"), impatient);
    let mut process = kept.start_process();
    let address: Address = Arc::new(Mutex::new(process.ready().await));
    let orders = (kills + 1) * ORDERS;
    let products = orders::products(orders);
    for product in &products {
        let body = json!({
            "name": product.id, "category": "killed",
            "price_cents": product.price_cents, "stock": product.stock,
        });
        put(&address, &product.id, &body).await;
    }
    let wishes = Wish::list(1, orders, products.len());
    let accepted = Accepted::default();

    let written = Written::default();
    let killing = kill(&kept, process, &address, &accepted, &written, kills);
    let placing = orders::place_all(&address, 1, &products, &wishes, &accepted);
    let load = async {
        let (process, requests) = tokio::join!(killing, placing);
        let enough = acknowledged(&accepted, 0, &written).await;
        // The last one ends while the last orders are in the queue.
        (
            process.and_then(|process| enough.map(|()| drop(process))),
            requests,
        )
    };
    let (killed, requests) = tokio::select! {
        ended = load => ended,
        () = write(&address, &written) => unreachable!("it never ends"),
    };

    let shop = kept.start();
    let ordered = Ordered {
        started,
        products,
        wishes,
        accepted,
        requests,
        poison: Vec::new(),
    };
    let mut report = examine(&shop, ordered).await;
    report.wrong.extend(killed.err());
    let written = written.into_inner().unwrap();
    report.wrong.extend(lost(&shop, &written).await);
    println!(
        "{} kills, {} products written meanwhile",
        kills + 1,
        written.len()
    );
    shop.stop().await;
    report
}

/// Waits until so many orders are accepted in all, and so many products more are written as a process
/// has to write before it is killed.
///
/// # Errors
/// When that does not come.
async fn acknowledged(accepted: &Accepted, orders: usize, written: &Written) -> Result<(), String> {
    let before = written.lock().unwrap().len();
    let patience = Instant::now() + PATIENCE;
    loop {
        let accepted = accepted.lock().unwrap().len();
        let written = written.lock().unwrap().len() - before;
        if accepted >= orders && written >= WRITES {
            return Ok(());
        }
        if Instant::now() > patience {
            return Err(format!(
                "{accepted} of {orders} orders were accepted, and {written} of {WRITES} products \
                 written, in {PATIENCE:?}"
            ));
        }
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
}

/// Kills the process each time that enough more is acknowledged. Gives the last process.
///
/// # Errors
/// When one of them acknowledges too little.
async fn kill(
    kept: &Kept,
    mut process: Process,
    address: &Address,
    accepted: &Accepted,
    written: &Written,
    kills: usize,
) -> Result<Process, String> {
    for kill in 1..=kills {
        acknowledged(accepted, kill * ORDERS, written).await?;
        drop(process);
        if kill % 3 == 0 {
            // One that is just starting is killed too.
            let starting = kept.start_process();
            tokio::time::sleep(Duration::from_millis(fastrand::u64(..600))).await;
            drop(starting);
        }
        process = kept.start_process();
        let url = process.ready().await;
        *address.lock().unwrap() = url;
    }
    Ok(process)
}

/// The products whose writing was acknowledged.
type Written = Mutex<Vec<Value>>;

/// Puts one product after the other, each until that is acknowledged.
async fn write(address: &Address, written: &Written) {
    for number in 0_u64.. {
        let id = format!("written-{number}");
        let product = json!({
            "name": id, "category": "written", "price_cents": number, "stock": number,
        });
        put(address, &id, &product).await;
        written.lock().unwrap().push(product);
    }
}

async fn put(address: &Address, id: &str, product: &Value) {
    let http = reqwest::Client::new();
    let patience = Instant::now() + PATIENCE;
    loop {
        let url = format!("{}/products/{id}", address.lock().unwrap());
        let request = http.put(url).header("content-type", "application/json");
        let request = request.timeout(PATIENCE).body(product.to_string());
        let last = match request.send().await {
            Ok(reply) if reply.status().is_success() => return,
            Ok(reply) => reply.status().to_string(),
            Err(error) => error.to_string(),
        };
        assert!(Instant::now() < patience, "{id} is not written: {last}");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

/// Writes that were acknowledged and are missing or changed.
async fn lost(shop: &Shop, written: &[Value]) -> Vec<String> {
    let mut lost = Vec::new();
    for product in written {
        let path = format!("/products/{}", product["name"].as_str().unwrap());
        let reply = shop
            .get(&format!("{path}?fields=name,category,price_cents,stock"))
            .await;
        if reply.status != StatusCode::OK || reply.body != *product {
            lost.push(format!(
                "{path} was acknowledged as {product}, and is {reply:?}"
            ));
        }
    }
    lost
}
