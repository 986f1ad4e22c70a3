//! The host of this machine (`local`) as a program: it is started, asked, and stopped.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Error, Result, anyhow, bail};
use fs_err as fs;
use local::conditions::Medians;
use local::events::Snapshot;
use local::faults::Plan;
use reqwest::{Client, Method};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::Value;
use tokio::process::Command;
use tokio::time::Instant;

use crate::event_log::Log;
use crate::files::read_json;
use crate::program::{Program, how, output};
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
#[derive(Debug, Clone, Copy)]
pub struct Start<'a> {
    /// The program `local`.
    pub program: &'a Path,
    pub template: &'a Path,
    pub parameters: &'a BTreeMap<String, String>,
    /// A folder with the functions' code, in place of the template's own.
    pub code_dir: Option<&'a Path>,
    /// What AWS takes: `none`, `lambda`, or a file.
    pub conditions: &'a str,
    /// Invocations at one time, of all functions together; the host's default if none.
    pub account_concurrency: Option<u32>,
    /// The folder for its logs and words.
    pub out: &'a Path,
}

/// The template as the host reads it, with the values of parameters and without what its conditions leave out.
pub async fn resolved(
    root: &Path,
    program: &Path,
    template: &Path,
    parameters: &BTreeMap<String, String>,
) -> Result<Value> {
    let mut command = Command::new(program);
    command.args(["template", "--json", "--template"]);
    command.arg(template).current_dir(root);
    for (name, value) in parameters {
        command.arg("--parameter").arg(format!("{name}={value}"));
    }
    let json = output(&mut command).await?;
    serde_json::from_str(&json).context("the resolved template")
}

/// Addresses of a host that is up: its ready file.
#[derive(Debug, Clone, Deserialize)]
pub struct Ready {
    pub api_url: String,
    pub control_url: String,
    /// The logs, one file for each function.
    pub log_dir: PathBuf,
    pub pid: u32,
    /// The moment from which its events are timed, in microseconds since 1970.
    #[serde(default)]
    pub events_since_us: Option<u64>,
    /// DynamoDB and SQS.
    #[serde(default)]
    pub aws_endpoint_url: String,
    /// The certificate of their authority, as PEM.
    #[serde(default)]
    pub ca_file: PathBuf,
}

/// The environments of a function.
#[derive(Debug, Clone, Copy, Deserialize)]
pub struct Environments {
    /// All of them.
    pub environments: u64,
    /// Those that wait for an invocation.
    pub idle: u64,
}

/// A host that is up. It is killed when dropped, with everything that it has started.
#[derive(Debug)]
pub struct Host {
    pub ready: Ready,
    program: Program,
    log: PathBuf,
    client: Client,
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
        if let Some(limit) = start.account_concurrency {
            command.args(["--account-concurrency", &limit.to_string()]);
        }
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
    pub async fn meter(&self) -> Result<Snapshot> {
        self.ask("/meter").await
    }

    /// The conditions of the run; none on the bare machine.
    pub async fn conditions(&self) -> Result<Option<Medians>> {
        self.ask("/conditions").await
    }

    /// The environments of each function now.
    pub async fn functions(&self) -> Result<BTreeMap<String, Environments>> {
        self.ask("/functions").await
    }

    /// How many environments each function has now.
    pub async fn environments(&self) -> Result<BTreeMap<String, u64>> {
        let states = self.functions().await?;
        let counts = states.into_iter().map(|(name, it)| (name, it.environments));
        Ok(counts.collect())
    }

    /// Its log of events.
    pub fn log(&self) -> Log {
        Log::new(&self.client, &self.ready.control_url)
    }

    /// Runs a function once, as Lambda's Invoke does.
    pub async fn invoke(&self, function: &str, event: &Value) -> Result<String> {
        let path = format!("/2015-03-31/functions/{function}/invocations");
        let url = format!("{}{path}", self.ready.control_url);
        self.request(Method::POST, &url, Some(event)).await
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

    /// Ends all environments. One that has just answered cannot be ended before it is frozen.
    pub async fn reap_all(&self) -> Result<()> {
        while self.environments().await?.values().sum::<u64>() > 0 {
            self.reap().await?;
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        Ok(())
    }

    /// Resolves when the host ends by itself.
    pub async fn ended(&mut self) -> Error {
        let log = self.log.display();
        let status = self.program.wait().await;
        let how = status.map_or_else(|error| error.to_string(), how);
        anyhow!("the stack ended during the load ({how}); see {log}")
    }

    /// Injects these faults from now on, in place of those before.
    pub async fn set_faults(&self, plan: &Plan) -> Result<()> {
        let url = format!("{}/faults", self.ready.control_url);
        let plan = serde_json::to_value(plan)?;
        self.request(Method::PUT, &url, Some(&plan)).await.map(drop)
    }

    /// Stops the host. Its logs are complete only then.
    pub async fn stop(mut self) {
        self.program.stop().await;
    }
}
