//! The host of this machine (`local`) as a program: it is started, asked, and stopped.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Error, Result, anyhow, bail};
use fs_err as fs;
use reqwest::{Client, Method};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use tokio::process::Command;
use tokio::time::Instant;

use crate::events::{self, Event};
use crate::files::read_json;
use crate::program::{Program, how};
use crate::session::Session;

/// For the host to start: its tables, queues and eight functions take a second or two.
const START_TIMEOUT: Duration = Duration::from_secs(60);

/// Limit of one request: longer than the API's 30 s.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(35);

/// Parameters of the template that a measurement on this machine needs. Nobody signs writes of the catalogue on
/// loopback; and loading it, `stress` and the benchmark send more than the template lets through, above which the
/// API answers 429.
pub const PARAMETERS: [(&str, &str); 5] = [
    ("CatalogueWrites", "open"),
    ("ThrottleRate", "10000"),
    ("ThrottleBurst", "5000"),
    ("OrderThrottleRate", "10000"),
    ("OrderThrottleBurst", "5000"),
];

/// What to run.
#[derive(Debug)]
pub struct Start<'a> {
    /// The program `local`.
    pub program: &'a Path,
    pub template: &'a Path,
    pub parameters: &'a BTreeMap<String, String>,
    /// A folder with the functions' code, in place of the template's own.
    pub code_dir: Option<&'a Path>,
    /// What AWS takes: `none`, `lambda`, or a file.
    pub conditions: &'a str,
    /// The folder for its logs and words.
    pub out: &'a Path,
}

/// Addresses of a host that is up: its ready file.
#[derive(Debug, Clone, Deserialize)]
pub struct Ready {
    pub api_url: String,
    pub control_url: String,
    /// The logs, one file for each function.
    pub log_dir: PathBuf,
    pub pid: u32,
    /// DynamoDB and SQS.
    #[serde(default)]
    pub aws_endpoint_url: String,
    /// The certificate of their authority, as PEM.
    #[serde(default)]
    pub ca_file: PathBuf,
}

/// A host that is up. It is killed when dropped, with everything that it has started.
#[derive(Debug)]
pub struct Host {
    pub ready: Ready,
    program: Program,
    log: PathBuf,
    client: Client,
}

/// What `GET /conditions` answers: what AWS takes at the median, in milliseconds.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct Conditions {
    pub name: String,
    pub seed: u64,
    pub cpu_factor: f64,
    pub platform_ms: f64,
    pub front_door_ms: f64,
    pub invoke_ms: f64,
    /// By `<service>.<operation>`.
    pub calls_ms: BTreeMap<String, f64>,
}

/// What `GET /meter` answers: all calls to AWS and queues since the start or the last reset, by function and by name.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct Meter {
    pub functions: BTreeMap<String, Caller>,
    pub queues: BTreeMap<String, Queue>,
}

/// The calls of one function to AWS.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Caller {
    /// Connections on which it made a request.
    pub connections: u64,
    /// Connections that took a full TLS handshake.
    pub tls_handshakes: u64,
    /// By `<service>.<operation>`.
    pub operations: BTreeMap<String, Operation>,
}

/// All calls of one operation by one function.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Operation {
    pub calls: u64,
    /// Answered with a failure, other than the two below.
    pub errors: u64,
    /// Refused because a limit was reached.
    pub throttles: u64,
    /// Refused because a condition of the caller did not hold.
    pub conditional_failures: u64,
    pub read_units: f64,
    pub write_units: f64,
    /// Of the bodies.
    pub request_bytes: u64,
    /// Of the bodies.
    pub response_bytes: u64,
}

/// A queue, and the work of its trigger if it has one.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Queue {
    /// Messages that the trigger received.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub received: Option<u64>,
    /// Invocations by the trigger.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub invocations: Option<u64>,
    /// Milliseconds from sending to the first invocation: `p50`, `p95`, `p99`, `max`.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub queue_time_ms: BTreeMap<String, f64>,
    /// Messages ready to be received.
    pub visible: u64,
    /// Messages that were received and are not done.
    pub in_flight: u64,
    /// Messages that are not available yet.
    pub delayed: u64,
}

impl Queue {
    pub fn messages(&self) -> u64 {
        self.visible + self.in_flight + self.delayed
    }
}

impl Meter {
    /// Messages in the queues that have a trigger, or in those that have none.
    pub fn messages(&self, with_trigger: bool) -> u64 {
        let queues = self.queues.values();
        let queues = queues.filter(|queue| queue.invocations.is_some() == with_trigger);
        queues.map(Queue::messages).sum()
    }
}

impl Host {
    /// Starts the host on free ports, and waits until it is up.
    pub async fn start(session: &Session, start: &Start<'_>) -> Result<Self> {
        let ready_file = start.out.join("ready.json");
        let log = start.out.join("local.log");
        for old in [&ready_file, &log] {
            let _ = fs::remove_file(old);
        }
        let mut command = Command::new(start.program);
        command.arg("--template").arg(start.template);
        for (name, value) in start.parameters {
            command.arg("--parameter").arg(format!("{name}={value}"));
        }
        command.args(["--port", "0", "--control-port", "0"]);
        command.arg("--conditions").arg(start.conditions);
        command.arg("--log-dir").arg(start.out.join("logs"));
        command.arg("--ready-file").arg(&ready_file);
        if let Some(code_dir) = start.code_dir {
            command.arg("--code-dir").arg(code_dir);
        }
        let name = start.program.display();
        let mut program = Program::start(&mut command, &log)?;
        let begun = Instant::now();
        while !ready_file.exists() {
            if let Some(status) = program.ended()? {
                let said = fs::read_to_string(&log)?.trim().to_owned();
                bail!("{name} ended before it was ready ({})\n{said}", how(status));
            }
            let waited = session.pause(Duration::from_millis(50)).await;
            if waited.is_err() || begun.elapsed() > START_TIMEOUT {
                program.stop().await;
                waited?;
                let log = log.display();
                bail!("{name} was not ready within {START_TIMEOUT:?}; see {log}");
            }
        }
        // This machine is never behind a proxy.
        let client = Client::builder().no_proxy().timeout(REQUEST_TIMEOUT);
        let client = client.build()?;
        Ok(Self {
            ready: read_json(&ready_file)?,
            program,
            log,
            client,
        })
    }

    /// Sends one request and returns the text of its answer; any other status than success is a failure.
    pub async fn request(&self, method: Method, url: &str, body: Option<&Value>) -> Result<String> {
        let what = format!("{method} {url}");
        let mut request = self.client.request(method, url);
        if let Some(body) = body {
            request = request.json(body);
        }
        let response = request.send().await.with_context(|| what.clone())?;
        let status = response.status();
        let text = response.text().await.with_context(|| what.clone())?;
        if !status.is_success() {
            let start: String = text.chars().take(300).collect();
            bail!("{what}: {} {start}", status.as_u16());
        }
        Ok(text)
    }

    async fn control(&self, method: Method, path: &str) -> Result<String> {
        let url = format!("{}{path}", self.ready.control_url);
        self.request(method, &url, None).await
    }

    async fn ask<T: DeserializeOwned>(&self, path: &str) -> Result<T> {
        let text = self.control(Method::GET, path).await?;
        serde_json::from_str(&text).with_context(|| format!("GET {path} of the host"))
    }

    /// All calls and queues since the last reset.
    pub async fn meter(&self) -> Result<Meter> {
        self.ask("/meter").await
    }

    /// The conditions of the run; none on the bare machine.
    pub async fn conditions(&self) -> Result<Option<Conditions>> {
        self.ask("/conditions").await
    }

    /// How many environments each function has now.
    pub async fn environments(&self) -> Result<BTreeMap<String, u64>> {
        #[derive(Deserialize)]
        struct State {
            environments: u64,
        }
        let states: BTreeMap<String, State> = self.ask("/functions").await?;
        let counts = states.into_iter().map(|(name, it)| (name, it.environments));
        Ok(counts.collect())
    }

    /// Everything that has happened so far.
    pub async fn events(&self) -> Result<Vec<Event>> {
        let lines = self.control(Method::GET, "/events?until=now").await?;
        events::parse(&lines).context("GET /events of the host")
    }

    /// Sets all counts of the meter to zero.
    pub async fn reset_meter(&self) -> Result<()> {
        self.control(Method::POST, "/meter/reset").await.map(drop)
    }

    /// Ends idle environments, so that the next invocations are cold starts.
    pub async fn reap(&self) -> Result<()> {
        let end = self.control(Method::POST, "/environments/reap");
        end.await.map(drop)
    }

    /// Resolves when the host ends by itself.
    pub async fn ended(&mut self) -> Error {
        let log = self.log.display();
        let status = self.program.wait().await;
        let how = status.map_or_else(|error| error.to_string(), how);
        anyhow!("the stack ended during the load ({how}); see {log}")
    }

    /// Stops the host. Its logs are complete only then.
    pub async fn stop(mut self) {
        self.program.stop().await;
    }
}
