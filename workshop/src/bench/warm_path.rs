//! Latency and throughput of warm functions by oha, compared with the floor and the bare AWS endpoint, at 1 and 32
//! connections.

use std::collections::BTreeMap;
use std::path::Path;

use anyhow::{Context, Result, bail};
use futures_util::future::try_join_all;
use serde::{Deserialize, Serialize};
use tokio::process::Command;
use tokio::time::Instant;

use super::Bench;
use super::cold::{Log, drain};
use super::row::Spread;
use super::targets::{AwsCall, Target};
use crate::host::Host;
use crate::percentile::worst;
use crate::program;
use crate::session::Session;

const CONNECTIONS: [u32; 2] = [1, 32];

/// The functions on the warm path.
const WARM_PATH: [&str; 5] = [
    "floor",
    "get-product",
    "list-products",
    "batch-get-products",
    "place-order",
];

/// Seconds of each measurement, and of the one before it, in which environments start and which is thrown away.
const MEASURED_S: u32 = 5;
const WARM_UP_S: u32 = 1;

/// The local DynamoDB and SQS check no signature, so one header serves every call.
const AUTHORIZATION: &str = "authorization: AWS4-HMAC-SHA256 Credential=WarmPath/20260101/us-east-1/dynamodb/aws4_request, SignedHeaders=host, Signature=0";

/// Parallel requests of the scale-out test: more than the cores of most machines, fewer than a new account's limit of
/// ten.
const AT_ONCE: usize = 8;
const BURSTS: usize = 15;

/// A function, or a call to AWS, under load.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Row {
    pub name: String,
    /// The function whose call to AWS it is.
    pub of: Option<String>,
    pub connections: u32,
    pub p50_ms: f64,
    pub p99_ms: f64,
    pub requests_per_second: f64,
}

/// The host's share of the latency of a warm function.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct HostShare {
    pub p50_ms: f64,
    pub p99_ms: f64,
}

/// Requests at once to a function without environments, in bursts.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct ScaleOut {
    /// Of a burst.
    pub requests: usize,
    pub bursts: usize,
    /// That a burst has started.
    pub most_environments: usize,
    pub longest_wait_ms: Spread,
    pub slowest_cold_start_ms: Spread,
    pub wait_in_cold_starts: Spread,
    /// Of each burst.
    pub longest_waits_ms: Vec<f64>,
    pub slowest_cold_starts_ms: Vec<f64>,
}

/// One row for each target, each call to AWS, and each number of connections.
pub async fn measure(bench: &Bench<'_>, oha: &Path) -> Result<Vec<Row>> {
    let (session, host) = (bench.session, bench.host);
    let functions = WARM_PATH.into_iter().filter_map(|name| bench.by_name(name));
    let functions = functions.map(|target| Attack::on_function(host, target));
    let calls = bench.requests.aws.iter();
    let calls = calls.map(|call| Attack::on_aws(host, call));
    let attacks: Vec<_> = functions.chain(calls).collect();
    let mut rows = Vec::new();
    for connections in CONNECTIONS {
        for attack in &attacks {
            let name = &attack.name;
            session.say(format!("warm path: {name}, {connections} connections"));
            let run = async |seconds| attack.run(host, oha, connections, seconds).await;
            session.or_interrupted(run(WARM_UP_S)).await?;
            rows.push(session.or_interrupted(run(MEASURED_S)).await?);
            session.or_interrupted(drain(host)).await?;
        }
    }
    Ok(rows)
}

struct Attack {
    name: String,
    of: Option<String>,
    /// The options of oha, and the address.
    arguments: Vec<String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct OhaReport {
    summary: OhaSummary,
    latency_percentiles: OhaLatency,
    status_code_distribution: BTreeMap<String, u64>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct OhaSummary {
    success_rate: f64,
    requests_per_sec: f64,
}

/// In seconds.
#[derive(Deserialize)]
struct OhaLatency {
    p50: f64,
    p99: f64,
}

impl Attack {
    fn on_function(host: &Host, target: &Target) -> Self {
        let request = &target.request;
        let method = format!("-m{}", request.method);
        let mut arguments = vec![method, "-Tapplication/json".to_owned()];
        arguments.extend(request.body.iter().map(|body| format!("-d{body}")));
        arguments.push(format!("{}{}", host.ready.api_url, request.path));
        let name = target.peer.name.clone();
        Self {
            name,
            of: None,
            arguments,
        }
    }

    fn on_aws(host: &Host, call: &AwsCall) -> Self {
        let endpoint = &host.ready.aws_endpoint_url;
        let body = call.body.to_string().replace("{endpoint}", endpoint);
        let operation = call.operation.rsplit('.').next();
        Self {
            name: operation.unwrap_or_default().to_owned(),
            of: Some(call.of.clone()),
            arguments: vec![
                "-mPOST".to_owned(),
                "-Tapplication/x-amz-json-1.0".to_owned(),
                format!("-H{AUTHORIZATION}"),
                "-Hx-amz-date: 20260101T000000Z".to_owned(),
                format!("-Hx-amz-target: {}", call.operation),
                format!("-d{body}"),
                endpoint.clone(),
            ],
        }
    }

    async fn run(&self, host: &Host, oha: &Path, connections: u32, seconds: u32) -> Result<Row> {
        let name = &self.name;
        let mut command = Command::new(oha);
        command.args(["--no-tui", "--output-format", "json", "-w", "--cacert"]);
        command.arg(&host.ready.ca_file);
        command.args([format!("-z{seconds}s"), format!("-c{connections}")]);
        let text = program::output(command.args(&self.arguments)).await?;
        let report: OhaReport = serde_json::from_str(&text)
            .with_context(|| format!("{name}: oha's report cannot be read"))?;
        let statuses = report.status_code_distribution;
        let succeeded = statuses.keys().all(|status| status.starts_with('2'));
        if report.summary.success_rate < 1.0 || !succeeded {
            bail!("{name}: some answers were not successes: {statuses:?}");
        }
        Ok(Row {
            name: name.clone(),
            of: self.of.clone(),
            connections,
            p50_ms: report.latency_percentiles.p50 * 1000.0,
            p99_ms: report.latency_percentiles.p99 * 1000.0,
            requests_per_second: report.summary.requests_per_sec,
        })
    }
}

/// Sends requests at once to a function without environments, several times.
pub async fn scale_out(session: &Session, host: &Host, target: &Target) -> Result<ScaleOut> {
    session.say(format!("{AT_ONCE} requests at once, {BURSTS} times"));
    let timed = async || -> Result<f64> {
        let begun = Instant::now();
        target.request.send(host).await?;
        Ok(begun.elapsed().as_secs_f64() * 1000.0)
    };
    let (mut longest, mut slowest, mut ratios, mut most) = (Vec::new(), Vec::new(), Vec::new(), 0);
    for _ in 0..BURSTS {
        let burst = async {
            host.reap_all().await?;
            let log = Log::now(host, target);
            let waits = try_join_all((0..AT_ONCE).map(|_| timed())).await?;
            Ok((waits, log.reports(AT_ONCE).await?))
        };
        let (waits, reports) = session.or_interrupted(burst).await?;
        let own = reports.iter().map(|it| Some(it.init_ms? + it.duration_ms?));
        let cold: Vec<_> = own.flatten().collect();
        if let (Some(wait), Some(cold_start)) = (worst(&waits), worst(&cold)) {
            longest.push(wait);
            slowest.push(cold_start);
            ratios.push(wait / cold_start);
        }
        most = most.max(cold.len());
    }
    Ok(ScaleOut {
        requests: AT_ONCE,
        bursts: BURSTS,
        most_environments: most,
        longest_wait_ms: Spread::of(&longest),
        slowest_cold_start_ms: Spread::of(&slowest),
        wait_in_cold_starts: Spread::of(&ratios),
        longest_waits_ms: longest,
        slowest_cold_starts_ms: slowest,
    })
}
