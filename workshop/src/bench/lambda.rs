//! The peers under conditions of Lambda, each at several memory sizes.
//!
//! All programs at all sizes are functions of one host, and take turns. First come cold starts, each with a few warm runs.
//! Then each function runs so often that a compiler at run time (Node.js has one) has done its work. Then warm runs
//! are timed.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use anyhow::{Result, bail};
use fs_err as fs;
use futures_util::future::try_join_all;
use local::conditions::Medians;
use local::events::{Ended, Entry, Event, Invocation};
use reqwest::Method;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use tokio::time::Instant;

use super::Arguments;
use super::cold::invoke;
use super::peers::{Made, Roots};
use super::row::Spread;
use super::targets::{Target, product, with_peers};
use super::trust::plant_roots;
use crate::files::write_json;
use crate::host::{Host, PARAMETERS, Start};
use crate::percentile::ms;
use crate::session::Session;

/// MB: Lambda's least, what the shop has, and one vCPU.
pub const SIZES: [u32; 3] = [128, 256, 1769];

/// Warm runs after each cold start.
const EARLY: usize = 5;

/// Warm runs that are timed in one turn.
const TURN: u32 = 10;

/// The longest pause before a warm run: two periods of the CPU share, so that each run finds another part of one.
const PAUSE_MS: u64 = 40;

/// Of the order of functions, and of the pauses.
const SEED: u64 = 1;

/// What was measured under conditions.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct Lambda {
    pub conditions: Option<Medians>,
    /// Cold starts of each function.
    pub cold_starts: u32,
    /// Runs of each function before warm ones are timed.
    pub warm_up: u32,
    /// Warm runs of each function that are timed.
    pub warm_runs: u32,
    pub rows: Vec<Row>,
}

/// A program at one memory size. Times are ms.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Row {
    pub name: String,
    pub note: String,
    pub memory_mb: u32,
    /// Init and first run: the program's own part of a cold start.
    pub cold_ms: Spread,
    /// What the client waits for a cold start, with the platform's part and the HTTP API.
    pub wait_ms: Spread,
    /// A run in an environment that has had few.
    pub early_ms: Spread,
    /// A run after the warm-up.
    pub warm_ms: Spread,
    /// CPU time of a run after the warm-up, on this machine.
    pub warm_cpu_ms: Spread,
}

/// The programs that differ by more than their roots, at each size.
fn sized(shop: &[Target], compared: &[Target], product: &str) -> Vec<(Target, u32)> {
    let ours = shop.iter().filter(|it| it.peer.name == "get-product");
    let others = compared
        .iter()
        .filter(|it| !matches!(it.peer.made, Made::Copy(_)));
    let all = ours.chain(others).flat_map(|target| {
        SIZES.map(|memory| {
            let mut target = target.clone();
            target.function_id = format!("{}At{memory}", target.function_id);
            target.request.path = format!("/{}-{memory}/products/{product}", target.peer.name);
            (target, memory)
        })
    });
    all.collect()
}

/// Measures them on a host of their own.
pub async fn measure(
    session: &Session,
    arguments: &Arguments,
    template: Value,
    shop: &[Target],
    compared: &[Target],
) -> Result<Lambda> {
    let root = &session.root;
    let out = root.join("target/bench/lambda");
    let _ = fs::remove_dir_all(&out);
    fs::create_dir_all(&out)?;
    let product = product(root)?;
    let id = product["id"].as_str().unwrap_or_default();
    let sized = sized(shop, compared, id);
    let targets: Vec<_> = sized.iter().map(|(target, _)| target.clone()).collect();
    let mut template = with_peers(template, root, &[], &targets);
    for (target, memory) in &sized {
        template["Resources"][&target.function_id]["Properties"]["MemorySize"] = json!(memory);
    }
    let template_file = out.join("template.json");
    write_json(&template_file, &template)?;
    let parameters = PARAMETERS.map(|(name, value)| (name.to_owned(), value.to_owned()));
    let start = Start {
        program: &root.join(&arguments.local),
        template: &template_file,
        parameters: &BTreeMap::from(parameters),
        code_dir: None,
        conditions: "lambda",
        account_concurrency: None,
        out: &out,
    };
    // This host has an authority of its own, so the one before is taken out of the programs.
    for target in shop.iter().chain(compared) {
        if target.peer.roots == Roots::Amazon {
            target.peer.clone().prepare(root).await?;
        }
    }
    let host = Host::start(session, &start).await?;
    let measured = async {
        plant_roots(root, shop.iter().chain(compared), &host.ready.ca_file)?;
        let mut body = Value::Object(product.clone());
        for own in ["id", "version"] {
            body.as_object_mut().map(|body| body.remove(own));
        }
        let url = format!("{}/products/{id}", host.ready.api_url);
        host.request(Method::PUT, &url, Some(&body)).await?;
        let rows = session
            .or_interrupted(rounds(session, arguments, &host, &sized))
            .await?;
        Ok(Lambda {
            conditions: host.conditions().await?,
            cold_starts: arguments.rounds,
            warm_up: arguments.warm_up,
            warm_runs: TURN * arguments.rounds,
            rows,
        })
    };
    let measured: Result<Lambda> = measured.await;
    host.stop().await;
    measured
}

async fn rest(random: &mut fastrand::Rng) {
    tokio::time::sleep(Duration::from_millis(random.u64(..=PAUSE_MS))).await;
}

async fn rounds(
    session: &Session,
    arguments: &Arguments,
    host: &Host,
    sized: &[(Target, u32)],
) -> Result<Vec<Row>> {
    let rounds = arguments.rounds;
    let mut random = fastrand::Rng::with_seed(SEED);
    let mut order: Vec<_> = sized.iter().map(|(target, _)| target).collect();
    let mut waits: BTreeMap<String, Vec<f64>> = BTreeMap::new();
    let mut log = host.log();
    log.read().await?;
    let bar = session.bar(u64::from(rounds));
    for round in 1..=rounds {
        host.reap_all().await?;
        random.shuffle(&mut order);
        for target in &order {
            let begun = Instant::now();
            invoke(host, target).await?;
            let of = waits.entry(target.function_id.clone()).or_default();
            of.push(ms(begun.elapsed()));
            for _ in 0..EARLY {
                rest(&mut random).await;
                invoke(host, target).await?;
            }
        }
        bar.set_position(u64::from(round));
        session.progress(
            &bar,
            format!("conditions of Lambda: round {round} of {rounds}"),
        );
    }
    let first = log.read().await?;
    let count = arguments.warm_up;
    session.say(format!("{count} runs of each before it is timed warm"));
    // All at once: most of it is waiting, and none of it is timed.
    let warm_up = sized.iter().map(async |(target, _)| {
        for _ in 0..count {
            invoke(host, target).await?;
        }
        anyhow::Ok(())
    });
    try_join_all(warm_up).await?;
    log.read().await?;
    let bar = session.bar(u64::from(rounds));
    for round in 1..=rounds {
        random.shuffle(&mut order);
        for target in &order {
            for _ in 0..TURN {
                rest(&mut random).await;
                invoke(host, target).await?;
            }
        }
        bar.set_position(u64::from(round));
        session.progress(
            &bar,
            format!("warm under conditions: round {round} of {rounds}"),
        );
    }
    let then = log.read().await?;
    let rows = sized.iter().map(|(target, memory)| {
        let id = &target.function_id;
        let waits = waits.get(id).map_or(&[][..], Vec::as_slice);
        let row = Row {
            name: target.peer.name.clone(),
            note: target.peer.note.clone(),
            memory_mb: *memory,
            ..Row::of(id, waits, &first, &then)?
        };
        Ok(row)
    });
    rows.collect()
}

fn runs_of<'a>(log: &'a [Entry], function: &str) -> Result<Vec<&'a Invocation>> {
    let all = log.iter().filter_map(|entry| match &entry.event {
        Event::Invocation(it) if it.function == function => Some(&**it),
        _ => None,
    });
    let all: Vec<_> = all.collect();
    match all.iter().find(|it| it.outcome != Ended::Success) {
        Some(it) => bail!("{function} failed: {:?} {:?}", it.outcome, it.error),
        None => Ok(all),
    }
}

impl Row {
    /// The times of a function: of cold starts and the runs after each, and of the runs after the warm-up.
    fn of(function: &str, waits: &[f64], first: &[Entry], then: &[Entry]) -> Result<Self> {
        let times = |runs: &[&Invocation], time: fn(&Invocation) -> Duration| {
            Spread::of(&runs.iter().map(|it| ms(time(it))).collect::<Vec<_>>())
        };
        let (cold, early): (Vec<_>, Vec<_>) = runs_of(first, function)?
            .into_iter()
            .partition(|it| it.cold);
        let mut warm = runs_of(then, function)?;
        // An environment that took too long to ask for its next event was joined by another, which had no warm-up.
        let new = warm.iter().filter(|it| it.cold);
        let new: BTreeSet<_> = new.map(|it| it.environment.clone()).collect();
        warm.retain(|it| !new.contains(&it.environment));
        if cold.len() < waits.len() || warm.is_empty() {
            let (found, rounds, warm) = (cold.len(), waits.len(), warm.len());
            bail!("{function}: {found} cold starts in {rounds} rounds, and {warm} warm runs");
        }
        Ok(Self {
            cold_ms: times(&cold, Invocation::own),
            wait_ms: Spread::of(waits),
            early_ms: times(&early, |it| it.duration),
            warm_ms: times(&warm, |it| it.duration),
            warm_cpu_ms: times(&warm, |it| it.cpu.unwrap_or_default()),
            ..Self::default()
        })
    }
}

#[cfg(test)]
mod tests {
    use local::events::Init;

    use super::*;

    fn ran(init_ms: Option<u64>, duration_ms: u64, environment: &str) -> Entry {
        let init = init_ms.map(|ms| Init {
            duration: Duration::from_millis(ms),
            cpu: Duration::ZERO,
            platform: Duration::from_millis(90),
        });
        let event = Event::Invocation(Box::new(Invocation {
            function: "PeerNodeAt128".to_owned(),
            environment: Some(environment.to_owned()),
            cold: init.is_some(),
            init,
            duration: Duration::from_millis(duration_ms),
            cpu: Some(Duration::from_millis(2)),
            ..Invocation::default()
        }));
        Entry { at_us: 0, event }
    }

    #[test]
    fn a_cold_start_is_the_program_s_own_part_and_warm_runs_are_those_after_the_warm_up() {
        let first = [ran(Some(100), 50, "a"), ran(None, 20, "a")];
        let then = [
            ran(None, 5, "a"),
            ran(Some(100), 50, "b"),
            ran(None, 30, "b"),
        ];
        let row = Row::of("PeerNodeAt128", &[250.0], &first, &then).unwrap();
        let medians = [
            row.cold_ms,
            row.wait_ms,
            row.early_ms,
            row.warm_ms,
            row.warm_cpu_ms,
        ];
        assert_eq!(medians.map(|it| it.p50), [150.0, 250.0, 20.0, 5.0, 2.0]);
        let refused = Row::of("PeerNodeAt128", &[250.0], &[], &then).unwrap_err();
        assert_eq!(
            refused.to_string(),
            "PeerNodeAt128: 0 cold starts in 1 rounds, and 1 warm runs"
        );
    }
}
