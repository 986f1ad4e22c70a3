//! Rounds that alternate between two hosts, and what is counted and timed in them.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

use anyhow::Result;
use fs_err as fs;
use local::events::{Entry, Event};
use reqwest::Method;
use serde_json::{Value, json};
use tokio::time::Instant;

use super::Arguments;
use crate::bench::{Request, Requests, drain};
use crate::host::{Host, PARAMETERS, Start};
use crate::percentile::{ms, percentile};
use crate::session::Session;

/// Of the order of requests, and of which side comes first.
const SEED: u64 = 1;

/// Requests of each route in a round, after the one that is a cold start.
pub const WARM: usize = 4;

/// From an answer to a frozen environment, which only then can be ended.
const FREEZING: Duration = Duration::from_millis(50);

/// What one side has counted and timed.
#[derive(Debug, Default)]
pub struct Measured {
    pub counts: BTreeMap<String, f64>,
    /// One value, in ms, for each round.
    pub times: BTreeMap<String, Vec<f64>>,
}

/// Both hosts need the same CPU factor, so that the second takes what the first has measured. Each runs a fresh copy of
/// its functions: how a file came into the page cache moves the CPU time of a cold start by up to a tenth.
pub async fn start(
    session: &Session,
    arguments: &Arguments,
    out: &Path,
    code: &Path,
    factor: Option<f64>,
) -> Result<Host> {
    fs::create_dir_all(out)?;
    for old in ["logs", "code"] {
        let _ = fs::remove_dir_all(out.join(old));
    }
    for folder in fs::read_dir(code)? {
        let folder = folder?;
        let copy = out.join("code").join(folder.file_name());
        if folder.path().join("bootstrap").exists() {
            fs::create_dir_all(&copy)?;
            fs::copy(folder.path().join("bootstrap"), copy.join("bootstrap"))?;
        }
    }
    let conditions = &arguments.conditions;
    let conditions = match factor {
        Some(factor) => format!("{conditions},factor={factor}"),
        None => conditions.clone(),
    };
    let parameters = PARAMETERS.map(|(name, value)| (name.to_owned(), value.to_owned()));
    let start = Start {
        program: &session.root.join(&arguments.local),
        template: &session.root.join("template.yaml"),
        parameters: &BTreeMap::from(parameters),
        code_dir: Some(&out.join("code")),
        conditions: &conditions,
        account_concurrency: None,
        out,
    };
    Host::start(session, &start).await
}

/// Fills both shops, and runs the rounds until the end or an interruption. Only whole rounds count.
pub async fn measure(
    session: &Session,
    arguments: &Arguments,
    hosts: [&Host; 2],
    requests: &[(String, Request)],
    sides: &mut [Measured; 2],
    rounds: &mut usize,
) -> Result<()> {
    let all = arguments.rounds as usize;
    let bar = session.bar(all as u64);
    let mut logs = hosts.map(Host::log);
    let prepared = session.or_interrupted(async {
        let mut prepared = Vec::new();
        for (host, log) in hosts.iter().zip(&mut logs) {
            let order = fill(&session.root, host).await?;
            log.read().await?;
            let mut requests = requests.to_vec();
            for (_, request) in &mut requests {
                request.path = request.path.replace("{order}", &order);
            }
            prepared.push(requests);
        }
        Ok(prepared)
    });
    let prepared = prepared.await?;
    let mut random = fastrand::Rng::with_seed(SEED);
    while *rounds < all {
        let times = round(hosts, &prepared, &mut random);
        let times = session.or_interrupted(times).await?;
        for ((log, side), times) in logs.iter_mut().zip(&mut *sides).zip(times) {
            side.add(&log.read().await?, times, &arguments.function);
        }
        *rounds += 1;
        bar.set_position(*rounds as u64);
        session.progress(&bar, format!("round {rounds} of {all}"));
    }
    Ok(())
}

/// Stores the products and the order that the benchmark's requests name, one after the other, so that both hosts draw
/// the same times. Returns the order's id.
pub async fn fill(root: &Path, host: &Host) -> Result<String> {
    let shop = Requests::read(root)?.shop;
    let mut product = shop["put-product"].body.clone().unwrap_or_default();
    product["stock"] = json!(1_000_000);
    let kitchen = (1..=20).map(|number| format!("kitchen-{number:03}"));
    let others = ["lighting-006", "mug-350", "kettle-1l"].map(str::to_owned);
    for id in kitchen.chain(others) {
        let url = format!("{}/products/{id}", host.ready.api_url);
        host.request(Method::PUT, &url, Some(&product)).await?;
    }
    let order: Value = serde_json::from_str(&shop["place-order"].send(host).await?)?;
    drain(host).await?;
    Ok(order["id"].as_str().unwrap_or_default().to_owned())
}

/// Client latency in ms, by function and whether it was a cold start.
pub type Latencies = BTreeMap<(String, bool), Vec<f64>>;

/// One cold start of each function and some warm requests, of both sides in turn.
async fn round(
    hosts: [&Host; 2],
    requests: &[Vec<(String, Request)>],
    random: &mut fastrand::Rng,
) -> Result<[Latencies; 2]> {
    tokio::time::sleep(FREEZING).await;
    for host in hosts {
        host.reap().await?;
    }
    let mut latencies = [Latencies::new(), Latencies::new()];
    let mut order: Vec<_> = (0..requests[0].len()).collect();
    for pass in 0..=WARM {
        random.shuffle(&mut order);
        for &index in &order {
            let first = random.usize(..2);
            for side in [first, 1 - first] {
                let (name, request) = &requests[side][index];
                let begun = Instant::now();
                request.send(hosts[side]).await?;
                let ms = begun.elapsed().as_secs_f64() * 1e3;
                let key = (name.clone(), pass == 0);
                latencies[side].entry(key).or_default().push(ms);
                if request.drains {
                    drain(hosts[side]).await?;
                }
            }
        }
    }
    Ok(latencies)
}

impl Measured {
    /// Adds a round: what its events count, and the median of each of its times.
    pub fn add(&mut self, events: &[Entry], latencies: Latencies, function: &str) {
        let wanted = |name: &str| function.is_empty() || name == function;
        let kind = |cold: bool| if cold { "cold" } else { "warm" };
        let mut times: BTreeMap<String, Vec<f64>> = BTreeMap::new();
        for ((name, cold), values) in latencies {
            times.insert(format!("{name} {} latency", kind(cold)), values);
        }
        for entry in events {
            match &entry.event {
                Event::Invocation(it) if wanted(&it.function) => {
                    let name = &it.function;
                    let key = format!("{name} {}", kind(it.cold));
                    let own = times.entry(format!("{key} duration")).or_default();
                    own.push(ms(if it.cold { it.own() } else { it.duration }));
                    if let Some(cpu) = it.cpu {
                        let init = it.init.filter(|_| it.cold);
                        let times = times.entry(format!("{key} CPU time")).or_default();
                        times.push(ms(cpu + init.map_or(Duration::ZERO, |init| init.cpu)));
                    }
                    self.count(name, "invocations", 1.0);
                    self.count(name, "cold starts", f64::from(u8::from(it.cold)));
                }
                Event::Call(call) if wanted(&call.function) => {
                    let key = format!("{} {}", call.function, call.operation);
                    self.count(&key, "calls", 1.0);
                    let connections = f64::from(u8::from(call.connection.is_some()));
                    self.count(&call.function, "new connections", connections);
                    self.count(&key, "request bytes", call.request_bytes as f64);
                    self.count(&key, "response bytes", call.response_bytes as f64);
                    self.count(&key, "read units", call.read_units);
                    self.count(&key, "write units", call.write_units);
                }
                // Many more than a round has; the counts could not be trusted.
                Event::Lost { count } => self.count("the host", "events lost", *count as f64),
                _ => {}
            }
        }
        for (what, values) in times {
            let median = percentile(&values, 50.0).unwrap_or_default();
            // The events have whole microseconds.
            self.times.entry(what).or_default().push(median.max(1e-3));
        }
    }

    fn count(&mut self, of: &str, what: &str, count: f64) {
        *self.counts.entry(format!("{of}: {what}")).or_default() += count;
    }
}
