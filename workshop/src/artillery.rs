//! Artillery: what it is told (`load-tests/artillery.yml`), how it is run, what it reports.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use fs_err as fs;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};
use tokio::process::Command;

use crate::files::{read_json, read_yaml};
use crate::host::Host;
use crate::program::{Program, how};
use crate::session::Session;

/// The load test as `artillery.yml` has it.
#[derive(Debug, Clone, Deserialize)]
pub struct Script {
    config: Config,
}

#[derive(Debug, Clone, Deserialize)]
struct Config {
    environments: Map<String, Value>,
    plugins: Plugins,
}

#[derive(Debug, Clone, Deserialize)]
struct Plugins {
    ensure: Ensure,
}

/// The section `ensure` of `artillery.yml`.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Ensure {
    /// Users who may fail, in percent.
    pub max_error_rate: Option<f64>,
    /// Limits that a value must be below, by metric.
    #[serde(default)]
    pub thresholds: Vec<BTreeMap<String, f64>>,
    #[serde(default)]
    pub conditions: Vec<Condition>,
}

/// A comparison such as `orders.unfinished == 0`.
#[derive(Debug, Clone, Deserialize)]
pub struct Condition {
    pub expression: String,
}

#[derive(Deserialize)]
struct Profile {
    phases: Vec<Phase>,
}

/// A stretch of load.
#[derive(Debug, Clone, Deserialize, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Phase {
    pub name: String,
    /// Seconds.
    pub duration: f64,
    /// Users who arrive in each second.
    pub arrival_rate: f64,
}

impl Phase {
    /// Users who arrive.
    pub fn users(&self) -> f64 {
        self.duration * self.arrival_rate
    }
}

/// Seconds of all these phases.
pub fn seconds(phases: &[Phase]) -> f64 {
    phases.iter().map(|phase| phase.duration).sum()
}

impl Script {
    pub fn read(root: &Path) -> Result<Self> {
        read_yaml(&root.join("load-tests/artillery.yml"))
    }

    /// The gates that Artillery checks itself.
    pub fn ensure(&self) -> &Ensure {
        &self.config.plugins.ensure
    }

    /// The phases of a profile.
    pub fn phases(&self, profile: &str) -> Result<Vec<Phase>> {
        let profiles = &self.config.environments;
        let Some(found) = profiles.get(profile) else {
            let known: Vec<_> = profiles.keys().map(String::as_str).collect();
            bail!(
                "there is no profile \"{profile}\"; there are: {}",
                known.join(", ")
            );
        };
        let Profile { phases } =
            Profile::deserialize(found).with_context(|| format!("artillery.yml: {profile}"))?;
        Ok(phases)
    }
}

/// Figures of histograms by name: `min`, `max`, `p50`, `p99` and others.
pub type Histograms = BTreeMap<String, BTreeMap<String, f64>>;

/// The totals of a report, or of ten seconds of it.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Aggregate {
    pub counters: BTreeMap<String, f64>,
    /// Counts a second.
    pub rates: BTreeMap<String, f64>,
    /// Percentiles are within 1 % (`DDSketch`).
    pub summaries: Histograms,
    /// Milliseconds since 1970.
    pub first_metric_at: Option<f64>,
    /// Milliseconds since 1970.
    pub last_metric_at: Option<f64>,
}

impl Aggregate {
    /// A counter or rate by its name, a histogram's figure by `<histogram>.<p95, max, …>`; `None` if it never
    /// occurred.
    pub fn value(&self, metric: &str) -> Option<f64> {
        let counted = self.counters.get(metric).or_else(|| self.rates.get(metric));
        counted.copied().or_else(|| {
            let (histogram, figure) = metric.rsplit_once('.')?;
            self.summaries.get(histogram)?.get(figure).copied()
        })
    }

    /// Users who did not finish their scenario, in percent, as Artillery defines `maxErrorRate`.
    pub fn error_rate(&self) -> Option<f64> {
        let created = self.value("vusers.created")?;
        let completed = self.value("vusers.completed").unwrap_or(0.0);
        (created > 0.0).then(|| (created - completed) / created * 100.0)
    }

    /// Seconds from the first metric to the last.
    pub fn seconds(&self) -> Option<f64> {
        let seconds = (self.last_metric_at? - self.first_metric_at?) / 1000.0;
        (seconds > 0.0).then_some(seconds)
    }

    /// Requests that got a status, whichever.
    pub fn answered(&self) -> u64 {
        let codes = self.counters.iter().filter(|(name, _)| {
            let route = name.strip_prefix("routes.");
            let code = route.and_then(|route| route.rsplit_once(".codes."));
            code.is_some_and(|(_, code)| code.parse::<u16>().is_ok())
        });
        codes.map(|(_, count)| *count as u64).sum()
    }
}

/// The report that Artillery writes, and how it ended.
#[derive(Debug, Clone, Deserialize)]
pub struct Report {
    /// All of the load.
    pub aggregate: Aggregate,
    /// Each ten seconds of it.
    pub intermediate: Vec<Aggregate>,
    /// Artillery's exit code; `None` if a signal ended it.
    #[serde(skip)]
    pub exit_code: Option<i32>,
}

/// One response, from the file that `processor.mjs` writes.
#[derive(Debug, Clone, Deserialize)]
pub struct Record {
    /// When it came, in milliseconds since 1970.
    pub at: f64,
    pub route: String,
    pub status: u16,
    /// Time to the first byte.
    pub ms: f64,
    /// The request id of the invocation that answered, if one did.
    #[serde(default)]
    pub id: Option<String>,
}

/// The file of all responses, in the folder of a run.
const RECORDS: &str = "responses.ndjson";

/// Every response of the run in this folder.
pub fn records_of(folder: &Path) -> Vec<Record> {
    lines_of(&folder.join(RECORDS))
}

/// The load that is sent, and to whom.
#[derive(Debug)]
pub struct Load {
    pub profile: String,
    /// The base address of the API.
    pub api_url: String,
    /// The region to sign for, where the address does not name it.
    pub sign_region: Option<String>,
    /// Whether Artillery checks its own gates. It knows the client's latency alone.
    pub ensures: bool,
    /// The folder for its report and its words.
    pub out: PathBuf,
}

/// A command that runs a file of `load-tests/` by Node.js, without the proxy that it would use even for requests to
/// this machine.
pub fn node(script: &Path, api_url: &str) -> Command {
    let mut command = Command::new("node");
    command.arg(script);
    if api_url.starts_with("http://127.0.0.1:") {
        for proxy in ["HTTP_PROXY", "HTTPS_PROXY", "http_proxy", "https_proxy"] {
            command.env_remove(proxy);
        }
    }
    command
}

/// Loads the catalogue through the API, by the same code as Artillery's own `before`.
pub async fn seed(
    session: &Session,
    api_url: &str,
    sign_region: Option<&str>,
    log: &Path,
) -> Result<()> {
    let mut command = node(&session.root.join("load-tests/seed.mjs"), api_url);
    command.args(["--api-url", api_url]);
    command.args(sign_region.map(|region| format!("--sign-region={region}")));
    session.say("loading the catalogue");
    let _ = fs::remove_file(log);
    let mut program = Program::start(&mut command, log)?;
    let ended = session.or_interrupted(program.wait()).await;
    program.stop().await;
    let status = ended?;
    let said = fs::read_to_string(log)?;
    let last = said.trim().lines().last().unwrap_or_default();
    match last.strip_prefix("seed failed: ") {
        _ if status.success() => Ok(()),
        Some(reason) => bail!("{reason}"),
        None => bail!("load-tests/seed.mjs ended with {}: {last}", how(status)),
    }
}

impl Load {
    fn report_file(&self) -> PathBuf {
        self.out.join("artillery.json")
    }

    fn records_file(&self) -> PathBuf {
        self.out.join(RECORDS)
    }

    fn progress_file(&self) -> PathBuf {
        self.out.join("progress.ndjson")
    }

    /// Runs Artillery to its end, on these phases of its profile. It ends early if the host does, and by an
    /// interruption; after that [`Load::records`] has what was measured.
    pub async fn run(
        &self,
        session: &Session,
        phases: &[Phase],
        host: Option<&mut Host>,
    ) -> Result<Report> {
        for old in [self.report_file(), self.progress_file()] {
            let _ = fs::remove_file(old);
        }
        let names: Vec<_> = phases.iter().map(|phase| phase.name.as_str()).collect();
        session.say(format!("load: {}, {} s", names.join(", "), seconds(phases)));
        let log = self.out.join("artillery.log");
        let mut program = Program::start(&mut self.command(&session.root, phases), &log)?;
        let ended = session.or_interrupted(async {
            tokio::select! {
                status = program.wait() => status,
                failure = ended_meanwhile(host) => Err(failure),
                () = self.show_progress(session, seconds(phases)) => unreachable!("it never ends"),
            }
        });
        let ended = ended.await;
        program.stop().await;
        let status = ended?;
        if !self.report_file().exists() {
            let said = fs::read_to_string(&log)?;
            let lines: Vec<_> = said.trim().lines().collect();
            let end = lines[lines.len().saturating_sub(15)..].join("\n");
            bail!("Artillery wrote no report ({}):\n{end}", how(status));
        }
        let mut report: Report = read_json(&self.report_file())?;
        report.exit_code = status.code();
        Ok(report)
    }

    fn command(&self, root: &Path, phases: &[Phase]) -> Command {
        let load_tests = root.join("load-tests");
        let overrides = json!({"config": {"phases": phases}}).to_string();
        let artillery = load_tests.join("node_modules/artillery/bin/run");
        let mut command = node(&artillery, &self.api_url);
        command.args(["run", "--quiet", "--environment", &self.profile]);
        command.args(["--overrides", &overrides, "--config"]);
        command.arg(load_tests.join("artillery.yml"));
        command.arg("--output").arg(self.report_file());
        command.arg(load_tests.join("scenarios/index.js"));
        command.env("API_URL", &self.api_url);
        command.env("CATALOGUE", "loaded");
        command.env("RECORDS", self.records_file());
        command.env("PROGRESS", self.progress_file());
        command.env("CUSTOM_REPORTERS", load_tests.join("progress.mjs"));
        command.env("ARTILLERY_DISABLE_TELEMETRY", "true");
        let region = self.sign_region.as_ref();
        command.envs(region.map(|region| ("SIGN_REGION", region)));
        command.env_remove("ARTILLERY_DISABLE_ENSURE");
        if !self.ensures {
            command.env("ARTILLERY_DISABLE_ENSURE", "true");
        }
        command
    }

    /// Every response so far. Artillery writes no report if it is cut short.
    pub fn records(&self) -> Vec<Record> {
        records_of(&self.out)
    }

    async fn show_progress(&self, session: &Session, seconds: f64) {
        let bar = session.bar(seconds as u64);
        let mut shown = 0;
        for second in 1.. {
            tokio::time::sleep(Duration::from_secs(1)).await;
            bar.set_position(second.min(seconds as u64));
            let told = fs::read_to_string(self.progress_file()).unwrap_or_default();
            for line in told.lines().skip(shown) {
                session.progress(&bar, format!("  {second:4} s: {line}"));
            }
            shown = told.lines().count();
        }
    }
}

/// The lines of a file that is being written; the last of them may not be whole.
fn lines_of<T: DeserializeOwned>(file: &Path) -> Vec<T> {
    let text = fs::read_to_string(file).unwrap_or_default();
    let lines = text.lines().map(serde_json::from_str);
    lines.filter_map(Result::ok).collect()
}

/// Resolves when the host ends, which nobody has asked it to.
async fn ended_meanwhile(host: Option<&mut Host>) -> anyhow::Error {
    match host {
        Some(host) => host.ended().await,
        None => std::future::pending().await,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn script() -> Script {
        Script::read(&Path::new(env!("CARGO_MANIFEST_DIR")).join("..")).unwrap()
    }

    #[test]
    fn the_load_profile_is_fifty_users_a_second_for_a_minute() {
        let [phase] = script().phases("load").unwrap().try_into().unwrap();
        assert_eq!((phase.duration, phase.arrival_rate), (60.0, 50.0));
    }

    #[test]
    fn an_unknown_profile_is_refused_with_the_list_of_known_ones() {
        assert_eq!(
            script().phases("lode").unwrap_err().to_string(),
            "there is no profile \"lode\"; there are: smoke, load, spike, stress, soak, gate-test"
        );
    }

    #[test]
    fn a_request_is_answered_if_it_has_a_status_whichever() {
        let counters = [
            ("routes.GET /a.codes.200", 10.0),
            ("routes.GET /a.codes.503", 2.0),
            ("routes.GET /a.errors.ETIMEDOUT", 4.0),
        ];
        let counters = counters
            .map(|(name, count)| (name.to_owned(), count))
            .into();
        assert_eq!(
            Aggregate {
                counters,
                ..Aggregate::default()
            }
            .answered(),
            12
        );
    }

    #[test]
    fn the_lines_of_a_file_are_read_while_the_last_of_them_is_written() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("responses.ndjson");
        assert!(lines_of::<Record>(&file).is_empty());
        fs::write(
            &file,
            "{\"at\": 1, \"route\": \"GET /a\", \"status\": 200, \"ms\": 2.5}\n{\"at\": 2, \"rou",
        )
        .unwrap();
        let [record] = lines_of::<Record>(&file).try_into().unwrap();
        assert_eq!((record.status, record.ms), (200, 2.5));
    }
}
