//! `workshop bench`: the CPU time of a cold start and of a warm request, compared with other ways to write the same
//! function.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use anyhow::{Result, bail};
use fs_err as fs;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use crate::artillery::seed;
use crate::files::{read_json, read_yaml, write_json};
use crate::gates::Gate;
use crate::host::{Host, PARAMETERS, Start};
use crate::machine::{Machine, commit};
use crate::report::model::Report;
use crate::report::write;
use crate::session::Session;

mod cold;
mod instructions;
mod lambda;
mod noise;
mod peers;
mod render;
mod report;
mod row;
mod targets;
mod trust;
mod warm_path;

pub use cold::drain;
pub use lambda::{Lambda, Row as LambdaRow, SIZES};
pub use noise::Interval;
pub use peers::{Peer, Peers, system_roots};
pub use row::{Row, Spread};
pub use targets::{Request, Requests, logical_id};
pub use trust::write_system_roots;

use targets::Target;
use warm_path::HostShare;

/// Of `workshop bench`.
#[derive(Debug, clap::Args)]
pub struct Arguments {
    /// Measure the candidates of docs/cold-start.md instead of the peers
    #[arg(long)]
    ladder: bool,
    /// Cold starts of each
    #[arg(long, default_value_t = 25, value_parser = clap::value_parser!(u32).range(1..))]
    rounds: u32,
    /// Warm invocations after each cold start
    #[arg(long, default_value_t = 14, value_parser = clap::value_parser!(u32).range(1..))]
    warm: u32,
    /// The host of this machine
    #[arg(long, value_name = "PATH", default_value = "target/host/local")]
    local: PathBuf,
    /// Runs of each function under conditions of Lambda before warm ones are timed: after 1,000, Node.js takes as much CPU
    /// time as after 6,000, to a tenth
    #[arg(long, default_value_t = 1000)]
    warm_up: u32,
    /// oha, which measures the warm path
    #[arg(long, value_name = "PATH", default_value = "target/tools/bin/oha")]
    oha: PathBuf,
}

/// The file of a benchmark's results.
pub const RESULTS: &str = "results.json";
pub const TITLE: &str = "Benchmark: cold starts and warm requests";

/// The result of a benchmark.
#[derive(Debug, Default, Serialize, Deserialize)]
pub struct Results {
    /// RFC 3339.
    pub started_at: String,
    /// The signal that cut it short. Then no target is judged.
    pub interrupted_by: Option<String>,
    pub machine: Machine,
    pub commit: Option<String>,
    /// The shop's.
    pub functions: Vec<row::Row>,
    /// Everything that they are compared with; the floor is first.
    pub peers: Vec<row::Row>,
    /// The same at several memory sizes, under conditions of Lambda.
    pub lambda: Option<Lambda>,
    /// What could not be measured, and why.
    absent: Vec<Absent>,
    pub instructions: Vec<instructions::Row>,
    warm_path: Vec<warm_path::Row>,
    /// The host's share of the warm path.
    host: Option<HostShare>,
    /// How the host scales.
    scaling: Option<warm_path::ScaleOut>,
    pub targets: Vec<Gate>,
    /// The interval that holds the value of a target with 95 %, by the name of the target, where it was measured often
    /// enough to tell.
    pub noise: BTreeMap<String, Interval>,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
struct Absent {
    name: String,
    reason: String,
}

/// The functions that are measured, and the host that runs them.
struct Bench<'a> {
    session: &'a Session,
    arguments: &'a Arguments,
    host: &'a Host,
    requests: Requests,
    shop: Vec<Target>,
    /// The floor, and all that is compared with it.
    compared: Vec<Target>,
}

/// Runs the verb; the result is whether every target was reached.
pub async fn run(session: &Session, arguments: &Arguments) -> Result<bool> {
    let root = &session.root;
    let out = root.join("target/bench");
    let requests = Requests::read(root)?;
    let mut template: Value = read_yaml(&root.join("template.yaml"))?;
    let Peers {
        mut peers, ladder, ..
    } = Peers::read(root)?;
    let mut shop = Vec::new();
    if arguments.ladder {
        peers.truncate(1); // the floor
        peers.extend(ladder);
    } else {
        shop = targets::shop(root, &mut template, &requests)?;
    }
    for target in &mut shop {
        target.peer.prepare(root).await?;
    }
    let (compared, absent) = prepare(session, peers).await?;

    let _ = fs::remove_dir_all(out.join("logs"));
    let template_file = out.join("template.json");
    let template = targets::with_peers(template, root, &shop, &compared);
    write_json(&template_file, &template)?;
    let parameters = PARAMETERS.map(|(name, value)| (name.to_owned(), value.to_owned()));
    let start = Start {
        program: &root.join(&arguments.local),
        template: &template_file,
        parameters: &BTreeMap::from(parameters),
        code_dir: None,
        conditions: "none",
        account_concurrency: None,
        out: &out,
    };
    let host = Host::start(session, &start).await?;
    let mut bench = Bench {
        session,
        arguments,
        host: &host,
        requests,
        shop,
        compared,
    };
    let measured = bench.measure(absent).await;
    let Bench { shop, compared, .. } = bench;
    host.stop().await;
    let mut results = measured?;
    let mut failed = None;
    if !arguments.ladder && results.interrupted_by.is_none() {
        let plain = read_yaml(&root.join("template.yaml"))?;
        let measured = lambda::measure(session, arguments, plain, &shop, &compared);
        match measured.await {
            Ok(measured) => results.lambda = Some(measured),
            Err(error) => failed = Some(error), // what was measured before is kept
        }
        if let Some(signal) = session.interrupted_by() {
            results.interrupted_by = Some(signal.to_string());
            results.targets.clear();
            failed = None;
        }
    }

    let (name, title) = if arguments.ladder {
        ("ladder.json", "Benchmark: the ladder")
    } else {
        (RESULTS, TITLE)
    };
    write_json(&out.join(name), &results)?;
    session.say(render::results(&results));
    write(session, &out, &report::report(&results, title))?;
    if let Some(error) = failed {
        return Err(error.context("under conditions of Lambda"));
    }
    Ok(results.targets.iter().all(|gate| gate.pass))
}

/// The report of results that were written down.
pub fn report_of(results: &Path) -> Result<Report> {
    Ok(report::report(&read_json(results)?, TITLE))
}

/// Builds or installs each peer. One that fails is reported with its reason, and the others are measured.
async fn prepare(session: &Session, peers: Vec<Peer>) -> Result<(Vec<Target>, Vec<Absent>)> {
    let (mut ready, mut absent) = (Vec::new(), Vec::new());
    for mut peer in peers {
        session.say(format!("preparing {}", peer.name));
        match session.or_interrupted(peer.prepare(&session.root)).await {
            Ok(()) => ready.push(targets::of_peer(&session.root, peer)?),
            Err(error) if session.interrupted_by().is_some() => return Err(error),
            Err(error) => {
                let reason = format!("{error:#}");
                session.say(format!("{} is left out: {reason}", peer.name));
                let name = peer.name;
                absent.push(Absent { name, reason });
            }
        }
    }
    let first = ready.first().map(|target| target.peer.name.as_str());
    if first != Some("floor") {
        bail!("there is nothing to compare with, because the floor was not built");
    }
    Ok((ready, absent))
}

impl Bench<'_> {
    async fn measure(&mut self, absent: Vec<Absent>) -> Result<Results> {
        let (session, host) = (self.session, self.host);
        let (root, ca_file) = (&session.root, &host.ready.ca_file);
        let started_at = OffsetDateTime::now_utc().format(&Rfc3339)?;
        trust::plant_roots(root, self.shop.iter().chain(&self.compared), ca_file)?;
        let log = root.join("target/bench/seed.log");
        seed(session, &host.ready.api_url, None, &log).await?;
        session.or_interrupted(self.place_order()).await?;

        let mut functions = cold::measure(self).await?;
        let mut results = Results {
            started_at,
            machine: Machine::this().await,
            commit: commit(root).await,
            peers: functions.split_off(self.shop.len()),
            functions,
            absent,
            ..Results::default()
        };
        let more = self.more(&mut results).await;
        results.interrupted_by = session.interrupted_by().map(|signal| signal.to_string());
        if results.interrupted_by.is_none() {
            more?;
            if !self.arguments.ladder {
                results.targets = targets::targets(&results);
                results.noise = noise::of(&results);
            }
        }
        Ok(results)
    }

    /// Stores the order that `get-order` reads.
    async fn place_order(&mut self) -> Result<()> {
        let Some(place) = self.by_name("place-order") else {
            return Ok(());
        };
        let order = place.request.send(self.host).await?;
        let order: Value = serde_json::from_str(&order)?;
        let id = order["id"].as_str().unwrap_or_default();
        for target in &mut self.shop {
            target.request.path = target.request.path.replace("{order}", id);
        }
        Ok(())
    }

    fn by_name(&self, name: &str) -> Option<&Target> {
        let mut all = self.shop.iter().chain(&self.compared);
        all.find(|target| target.peer.name == name)
    }

    /// Instructions, the warm path, and how the host scales.
    async fn more(&self, results: &mut Results) -> Result<()> {
        let (session, host) = (self.session, self.host);
        let get_product = self.by_name("get-product");
        for target in get_product.into_iter().chain(&self.compared) {
            session.say(format!("instructions of {}", target.peer.name));
            let count = async { Ok(instructions::count(&session.root, host, target).await) };
            let counted = session.or_interrupted(count).await?;
            results.instructions.push(counted);
        }
        let Some(get_product) = get_product else {
            return Ok(()); // the ladder has no function of the shop
        };
        let oha = session.root.join(&self.arguments.oha);
        if !oha.exists() {
            let oha = oha.display();
            session.say(format!(
                "the warm path is not measured, because {oha} is missing; `make bench` installs it"
            ));
            return Ok(());
        }
        results.warm_path = warm_path::measure(self, &oha).await?;
        let mut rows = results.warm_path.iter();
        let floor = rows.find(|row| row.name == "floor" && row.connections == 1);
        // Everything except the function's own CPU time counts as the host's: HTTP on both sides, thawing, the kernel.
        let floor = floor.zip(results.peers.first());
        results.host = floor.map(|(floor, of)| HostShare {
            p50_ms: floor.p50_ms - of.warm_cpu_ms.p50,
            p99_ms: floor.p99_ms - of.warm_cpu_ms.p50,
        });
        results.scaling = Some(warm_path::scale_out(session, host, get_product).await?);
        Ok(())
    }
}
