//! Many orders at once, after the load. At the load's own rate every batch of the worker has one message, so a worker that
//! takes messages one at a time would pass.
//!
//! The burst has a stack of its own, so that nothing of it is in the figures of the load.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use anyhow::Result;
use fs_err as fs;
use futures_util::future::try_join_all;
use local::conditions::Medians;
use local::events::{Entry, Event, Move};
use reqwest::Method;
use serde::{Deserialize, Serialize};
use serde_json::json;
use tokio::time::Instant;

use crate::gates::{Gate, gates};
use crate::host::{Host, Start};
use crate::percentile::{ms, percentile};
use crate::session::Session;

/// For the orders of one round to be settled.
const SETTLE_TIMEOUT: Duration = Duration::from_secs(20);

/// What a profile demands of the worker in a burst: `burst` of gates.yml.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Limits {
    /// Orders that are placed at one time.
    orders: u32,
    /// How often. One round more comes first, in which the environments start, and which is not judged.
    rounds: u32,
    /// The call that an order needs, as `<service>.<operation>`.
    call: String,
    /// Messages of a run on average, at least.
    messages_each_run: f64,
    /// Time of a run for each of its messages over that of the call at the median, at most.
    over_call: f64,
}

/// What the worker did in the rounds that are judged.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Burst {
    /// Orders that were placed.
    pub orders: u64,
    /// Those whose message a run of the worker has taken.
    pub delivered: u64,
    /// Runs of the worker.
    pub runs: u64,
    /// Messages of a run on average.
    pub messages_each_run: Option<f64>,
    /// Runs with several messages.
    pub runs_with_several: u64,
    /// Milliseconds of a run with several messages, for each of them, at the median.
    pub ms_each_message: Option<f64>,
    /// Milliseconds of the call that an order needs, at the median; none if the conditions do not say.
    pub call_ms: Option<f64>,
}

/// Sends the burst to a host of its own.
pub async fn run(
    session: &Session,
    start: &Start<'_>,
    limits: &Limits,
    conditions: &Medians,
) -> Result<Burst> {
    let (orders, rounds) = (limits.orders, limits.rounds);
    session.say(format!(
        "burst: {rounds} times {orders} orders at once, on a stack of its own"
    ));
    fs::create_dir_all(start.out)?;
    let host = Host::start(session, start).await?;
    let sent = session.or_interrupted(send(&host, limits)).await;
    host.stop().await;
    Ok(Burst::of(&sent?, limits, conditions))
}

/// Places the orders, each of a product of its own: transactions on one product would wait for one another. Returns the
/// events of the rounds that are judged.
async fn send(host: &Host, limits: &Limits) -> Result<Vec<Entry>> {
    let url = &host.ready.api_url;
    for number in 0..limits.orders {
        let product = json!({
            "name": "Trial product", "category": "trial", "price_cents": 1250, "stock": limits.rounds + 1
        });
        let url = format!("{url}/products/burst-{number}");
        host.request(Method::PUT, &url, Some(&product)).await?;
    }
    let mut log = host.log();
    for round in 0..=u64::from(limits.rounds) {
        try_join_all((0..limits.orders).map(async |number| {
            let line = json!({"product_id": format!("burst-{number}"), "quantity": 1});
            let order = json!({"lines": [line]});
            host.request(Method::POST, &format!("{url}/orders"), Some(&order))
                .await
        }))
        .await?;
        settled(host, u64::from(limits.orders) * (round + 1)).await?;
        if round == 0 {
            log.read().await?;
        }
    }
    log.read().await
}

/// Waits until so many messages have been worked on since the start, but not for ever: those that are missing then fail
/// their gate.
async fn settled(host: &Host, orders: u64) -> Result<()> {
    let begun = Instant::now();
    while begun.elapsed() < SETTLE_TIMEOUT {
        let meter = host.meter().await?;
        let triggers = meter.queues.values().filter_map(|it| it.trigger.as_ref());
        if triggers.map(|it| it.deleted).sum::<u64>() >= orders {
            break;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    Ok(())
}

impl Burst {
    /// What these events say.
    fn of(events: &[Entry], limits: &Limits, conditions: &Medians) -> Self {
        let mut messages = BTreeSet::new();
        let mut batches = BTreeMap::new();
        for entry in events {
            let Event::Messages(it) = &entry.event else {
                continue;
            };
            if let (Move::Delivered, Some(request_id)) = (it.change, &it.request_id) {
                messages.extend(&it.ids);
                batches.insert(request_id.as_str(), it.ids.len());
            }
        }
        let each = events.iter().filter_map(|entry| match &entry.event {
            Event::Invocation(run) => {
                let messages = *batches.get(run.request_id.as_str())?;
                (messages > 1).then(|| ms(run.duration) / messages as f64)
            }
            _ => None,
        });
        let each: Vec<_> = each.collect();
        let (runs, delivered) = (batches.len(), batches.values().sum::<usize>());
        Self {
            orders: u64::from(limits.orders) * u64::from(limits.rounds),
            delivered: messages.len() as u64,
            runs: runs as u64,
            messages_each_run: (runs > 0).then(|| delivered as f64 / runs as f64),
            runs_with_several: each.len() as u64,
            ms_each_message: percentile(&each, 50.0),
            call_ms: conditions.calls_ms.get(&limits.call).copied(),
        }
    }

    /// The gates on it. Times are judged of what ships alone.
    pub fn gates(&self, limits: &Limits, ships: bool) -> Vec<Gate> {
        let mut gates = gates! {
            "burst: orders that no run has taken": self.orders.saturating_sub(self.delivered) as f64, == 0;
            "burst: messages of a run": self.messages_each_run, >= limits.messages_each_run;
        };
        if ships {
            let over = self.ms_each_message.zip(self.call_ms);
            let over = over.map(|(each, call)| each / call);
            gates.extend(gates! {
                "burst: time for each message of a run, over its transaction": over, <= limits.over_call;
            });
        }
        gates
    }
}

#[cfg(test)]
mod tests {
    use serde_json::Value;

    use super::*;

    const TIME: &str = "burst: time for each message of a run, over its transaction";

    fn limits() -> Limits {
        serde_json::from_value(json!({
            "orders": 12, "rounds": 1, "call": "DynamoDB.X", "messages_each_run": 3, "over_call": 0.8
        }))
        .unwrap()
    }

    fn conditions() -> Medians {
        Medians {
            calls_ms: BTreeMap::from([("DynamoDB.X".to_owned(), 10.0)]),
            ..Medians::default()
        }
    }

    /// Runs of the worker, each with so many messages and so many milliseconds.
    fn burst(runs: &[(usize, u64)]) -> Burst {
        let mut events = Vec::new();
        let mut id = 0;
        let mut add = |event: Value| events.push(serde_json::from_value(event).unwrap());
        for (number, (messages, ms)) in runs.iter().enumerate() {
            let ids: Vec<_> = (id..id + messages).map(|id| id.to_string()).collect();
            id += messages;
            let request_id = number.to_string();
            add(json!({
                "at_us": 0, "event": "messages", "queue": "Q", "change": "delivered", "ids": ids,
                "request_id": request_id
            }));
            // The run has failed with the others.
            add(json!({
                "at_us": 0, "event": "messages", "queue": "Q", "change": "deleted", "ids": &ids[..ids.len().min(1)],
                "request_id": request_id
            }));
            add(json!({
                "at_us": 0, "event": "invocation", "function": "F", "request_id": request_id, "source": "Q",
                "cold": false, "queued_us": 0, "duration_us": ms * 1000, "held_us": 0, "outcome": "success"
            }));
        }
        // Another function's.
        add(json!({
            "at_us": 0, "event": "invocation", "function": "G", "request_id": "g", "source": "GET /g", "cold": false,
            "queued_us": 0, "duration_us": 90_000, "held_us": 0, "outcome": "success"
        }));
        Burst::of(&events, &limits(), &conditions())
    }

    fn failed(burst: &Burst, ships: bool) -> Vec<String> {
        let gates = burst.gates(&limits(), ships).into_iter();
        gates.filter(|it| !it.pass).map(|it| it.name).collect()
    }

    #[test]
    fn a_burst_has_the_runs_of_the_worker_and_their_time_for_each_message() {
        let expected = Burst {
            orders: 12,
            delivered: 12,
            runs: 4,
            messages_each_run: Some(3.0),
            runs_with_several: 3,
            ms_each_message: Some(5.0),
            call_ms: Some(10.0),
        };
        let told = burst(&[(1, 11), (2, 12), (4, 20), (5, 20)]);
        assert_eq!(told, expected);
        assert_eq!(failed(&told, true), [""; 0]);
    }

    #[test]
    fn a_worker_that_is_given_one_message_at_a_time_fails_its_gate() {
        let one_each = burst(&[(1, 11); 12]);
        // No run has several, so that their time is not known either.
        assert_eq!(failed(&one_each, true), ["burst: messages of a run", TIME]);
        assert_eq!(failed(&one_each, false), ["burst: messages of a run"]);
        assert_eq!(
            failed(&burst(&[(3, 20), (3, 20), (3, 20), (2, 20), (1, 20)]), true),
            ["burst: messages of a run"]
        );
    }

    #[test]
    fn a_worker_that_works_on_one_message_after_another_fails_its_gate_alone() {
        assert_eq!(failed(&burst(&[(4, 40), (4, 40), (4, 40)]), true), [TIME]);
        // Times of a quick build are not judged.
        assert_eq!(failed(&burst(&[(4, 40), (4, 40), (4, 40)]), false), [""; 0]);
    }

    #[test]
    fn an_order_that_no_run_has_taken_fails_its_gate() {
        let lost = burst(&[(4, 20), (4, 20), (3, 20), (0, 1)]);
        assert_eq!(
            failed(&lost, true),
            [
                "burst: orders that no run has taken",
                "burst: messages of a run"
            ]
        );
        assert_eq!(
            failed(&Burst::of(&[], &limits(), &conditions()), true).len(),
            3
        );
    }
}
