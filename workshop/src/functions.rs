//! What each function did under load, from its REPORT lines.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::Result;
use fs_err as fs;
use local::conditions::Medians;
use local::events::{Entry, Event, Invocation};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::percentile::{ms, percentile, worst};
use crate::report_lines::{Report, parse_log};

/// The shop's HTTP client closes a connection that nobody has used for so long: the default of hyper-util, and of the SDK's
/// own client.
const CONNECTION_RESTS: Duration = Duration::from_secs(90);

/// One function. Latency, CPU, errors and billing count the invocations under load. Cold starts and init count all of
/// them: an environment that started while the catalogue was loaded is a cold start too.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Function {
    /// Its logical id.
    pub name: String,
    /// Under load.
    pub invocations: u64,
    /// Since the stack was started.
    pub cold_starts: u64,
    pub cold_starts_under_load: u64,
    pub init_p50_ms: Option<f64>,
    pub init_p99_ms: Option<f64>,
    pub duration_p50_ms: Option<f64>,
    pub duration_p99_ms: Option<f64>,
    /// CPU time of an invocation that was no cold start.
    pub warm_cpu_p50_ms: Option<f64>,
    /// CPU time of init and first invocation.
    pub cold_cpu_p50_ms: Option<f64>,
    pub peak_memory_mb: Option<f64>,
    pub errors: u64,
    pub timeouts: u64,
    /// Billed duration times memory.
    pub gb_seconds: f64,
    /// Bytes of its log; unknown for a stack on AWS.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub log_bytes: Option<u64>,
    /// Cold starts under load by themselves; absent without one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cold: Option<Cold>,
    /// With provisioned concurrency.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ahead: Option<Ahead>,
    /// Mean time that an invocation keeps an environment busy, its init included.
    #[serde(default)]
    pub busy_ms: Option<f64>,
    /// The request ids of its cold starts under load, for the report.
    #[serde(skip)]
    pub cold_requests: Vec<String>,
    /// Init and first invocation of each, for the gate on those of all functions.
    #[serde(skip)]
    pub cold_own_ms: Vec<f64>,
}

/// The function's own part of its cold starts: init and first invocation.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Cold {
    pub init_p50_ms: f64,
    /// Of the first invocation.
    pub first_p50_ms: f64,
    /// Of both together.
    pub own_p50_ms: f64,
    pub own_worst_ms: f64,
    /// The platform's part before it, by the log of events.
    #[serde(default)]
    pub platform_p50_ms: Option<f64>,
    /// The whole wait of such a first invocation's client: from the request to the answer, or from the call of a trigger.
    #[serde(default)]
    pub wait_p50_ms: Option<f64>,
    #[serde(default)]
    pub wait_worst_ms: Option<f64>,
}

/// First invocations under load in environments of provisioned concurrency, which are no cold starts for their clients.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Ahead {
    pub first_runs: u64,
    /// The client's whole wait.
    pub wait_p50_ms: f64,
    pub wait_worst_ms: f64,
    /// Init and the platform's part of the same environments, for which nobody has waited. This init had no CPU burst, so
    /// that of a cold start is shorter.
    pub spared_p50_ms: f64,
}

fn known(reports: &[Report], value: impl Fn(&Report) -> Option<f64>) -> Vec<f64> {
    reports.iter().filter_map(value).collect()
}

/// Init and first invocation of each cold start, in ms.
fn own(under_load: &[Report]) -> Vec<f64> {
    known(under_load, |it| Some(it.init_ms? + it.duration_ms?))
}

impl Cold {
    fn of(under_load: &[Report]) -> Option<Self> {
        let own = own(under_load);
        let first = known(under_load, |it| it.init_ms.and(it.duration_ms));
        Some(Self {
            init_p50_ms: percentile(&known(under_load, |it| it.init_ms), 50.0)?,
            first_p50_ms: percentile(&first, 50.0)?,
            own_p50_ms: percentile(&own, 50.0)?,
            own_worst_ms: worst(&own)?,
            platform_p50_ms: None,
            wait_p50_ms: None,
            wait_worst_ms: None,
        })
    }
}

impl Function {
    /// Adds what the clients of first invocations waited for. Those under load are the last of the log.
    fn add_waits(&mut self, log: &Log<'_>, ahead_under_load: usize) {
        let first = |ahead: bool, count: usize| -> Vec<&Invocation> {
            let runs = log.first_runs(&self.name, ahead);
            runs.into_iter().rev().take(count).collect()
        };
        let waits = |runs: &[&Invocation]| -> Vec<f64> {
            let runs = runs.iter();
            runs.map(|it| ms(it.wait()) + log.way_ms(it)).collect()
        };
        let runs = first(false, self.cold_starts_under_load as usize);
        if let Some(cold) = &mut self.cold {
            let platform = runs.iter().filter_map(|it| Some(ms(it.init?.platform)));
            cold.platform_p50_ms = percentile(&platform.collect::<Vec<_>>(), 50.0);
            cold.wait_p50_ms = percentile(&waits(&runs), 50.0);
            cold.wait_worst_ms = worst(&waits(&runs));
        }
        let runs = first(true, ahead_under_load);
        let spared = runs.iter().filter_map(|it| {
            let init = it.init?;
            Some(ms(init.platform + init.duration))
        });
        let spared: Vec<_> = spared.collect();
        let waits = waits(&runs);
        self.ahead = percentile(&waits, 50.0)
            .zip(worst(&waits))
            .zip(percentile(&spared, 50.0))
            .map(|((wait_p50_ms, wait_worst_ms), spared_p50_ms)| Ahead {
                first_runs: runs.len() as u64,
                wait_p50_ms,
                wait_worst_ms,
                spared_p50_ms,
            });
    }

    /// A function's row, from its reports under load and all of them.
    pub fn summarise(name: impl Into<String>, under_load: &[Report], all: &[Report]) -> Self {
        let init = known(all, |it| it.init_ms);
        let durations = known(under_load, |it| it.duration_ms);
        let cold_cpu = known(all, |it| Some(it.init_ms.and(it.cpu_ms)? + it.init_cpu_ms?));
        let warm_cpu = known(under_load, |it| it.cpu_ms.filter(|_| it.init_ms.is_none()));
        let busy = known(under_load, |it| {
            Some(it.duration_ms? + it.init_ms.unwrap_or(0.0))
        });
        let billed = known(under_load, |it| {
            Some(it.billed_ms? / 1000.0 * it.memory_mb? / 1024.0)
        });
        let cold = under_load.iter().filter(|it| it.init_ms.is_some());
        let ended = |how: &str| {
            let status = under_load.iter().map(|it| it.status.as_deref());
            let ended = status.filter(|status| *status == Some(how));
            ended.count() as u64
        };
        Self {
            name: name.into(),
            invocations: under_load.len() as u64,
            cold_starts: init.len() as u64,
            cold_starts_under_load: known(under_load, |it| it.init_ms).len() as u64,
            init_p50_ms: percentile(&init, 50.0),
            init_p99_ms: percentile(&init, 99.0),
            duration_p50_ms: percentile(&durations, 50.0),
            duration_p99_ms: percentile(&durations, 99.0),
            warm_cpu_p50_ms: percentile(&warm_cpu, 50.0),
            cold_cpu_p50_ms: percentile(&cold_cpu, 50.0),
            peak_memory_mb: worst(&known(all, |it| it.peak_memory_mb)),
            errors: ended("error"),
            timeouts: ended("timeout"),
            gb_seconds: billed.iter().sum(),
            log_bytes: None,
            cold: Cold::of(under_load),
            ahead: None,
            cold_requests: cold.filter_map(|it| it.request_id.clone()).collect(),
            cold_own_ms: own(under_load),
            busy_ms: (!busy.is_empty()).then(|| busy.iter().sum::<f64>() / busy.len() as f64),
        }
    }
}

/// Environments that so many invocations in so many seconds need, if they come at random and each keeps one busy for
/// `busy_ms` on average.
///
/// The number at work at one time is then Poisson-distributed with the mean rate × time (M/G/∞), and an arrival finds
/// it so. So many environments suffice as leave less than one of all arrivals without.
pub fn environments_needed(invocations: u64, seconds: f64, busy_ms: f64) -> u64 {
    let invocations = invocations as f64;
    let at_work = invocations / seconds * busy_ms / 1000.0;
    let mut exactly = (-at_work).exp();
    let mut at_least = 1.0 - exactly;
    let mut environments = 1;
    while invocations * at_least >= 1.0 && environments < 10_000 {
        exactly *= at_work / environments as f64;
        at_least -= exactly;
        environments += 1;
    }
    environments
}

/// Bytes in each log file now: all later lines belong to the load.
pub fn log_sizes(folder: &Path) -> Result<BTreeMap<PathBuf, u64>> {
    let sizes = log_files(folder)?.into_iter().map(|file| {
        let size = fs::metadata(&file)?.len();
        Ok((file, size))
    });
    sizes.collect()
}

/// The host's log of events, as far as it is kept, and what AWS takes before a function is called.
#[derive(Debug, Default)]
pub struct Log<'a> {
    pub events: &'a [Entry],
    /// None on the bare machine.
    pub conditions: Option<&'a Medians>,
}

impl Log<'_> {
    /// The first invocations of a function's environments, in turn: of those that provisioned concurrency had ready, or
    /// of the others.
    fn first_runs(&self, function: &str, ahead: bool) -> Vec<&Invocation> {
        let ready = self.events.iter().filter_map(|entry| match &entry.event {
            Event::Environment(it) if it.provisioned => Some(it.environment.as_str()),
            _ => None,
        });
        let ready: BTreeSet<_> = ready.collect();
        let is_ahead = |it: &Invocation| {
            let environment = it.environment.as_deref();
            environment.is_some_and(|environment| ready.contains(environment))
        };
        let first = self.events.iter().filter_map(|entry| match &entry.event {
            Event::Invocation(it) if it.cold && it.function == function => Some(&**it),
            _ => None,
        });
        first.filter(|it| is_ahead(it) == ahead).collect()
    }

    /// How often each function was called in an environment that had rested for so long that its connections were closed.
    pub fn rests(&self) -> BTreeMap<String, u64> {
        let (mut ends, mut rests) = (BTreeMap::new(), BTreeMap::new());
        for entry in self.events {
            if let Event::Invocation(it) = &entry.event
                && let Some(environment) = &it.environment
            {
                let began = entry.at_us.saturating_sub(it.duration.as_micros() as u64);
                // A connection has rested since its last call, which may have been the first thing before.
                let since = ends.insert(environment.as_str(), began);
                let rested = since.map(|since| Duration::from_micros(entry.at_us - since));
                if rested.is_some_and(|it| it > CONNECTION_RESTS) {
                    *rests.entry(it.function.clone()).or_default() += 1;
                }
            }
        }
        rests
    }

    /// Milliseconds that a request is on its way to the function, at the median: the HTTP API's and Lambda's own. No
    /// client waits for the call of a trigger.
    fn way_ms(&self, invocation: &Invocation) -> f64 {
        let is_route = invocation.source.contains(' ');
        let known = self.conditions.filter(|_| is_route);
        known.map_or(0.0, |it| it.front_door_ms + it.invoke_ms)
    }
}

/// One row for each function that ran, from the log files of the host; `before` (see [`log_sizes`]) is where the load
/// begins. Other logs in the folder have no REPORT line.
pub fn from_logs(
    folder: &Path,
    before: &BTreeMap<PathBuf, u64>,
    events: &Log<'_>,
) -> Result<Vec<Function>> {
    let mut functions = Vec::new();
    for file in log_files(folder)? {
        let log = fs::read(&file)?;
        let begin = before.get(&file).map_or(0, |size| *size as usize);
        let load = log.get(begin..).unwrap_or_default();
        let name = file.file_stem().unwrap_or_default().to_string_lossy();
        let ahead = events.first_runs(&name, true);
        let ahead: BTreeSet<_> = ahead.iter().map(|it| it.request_id.as_str()).collect();
        // Lambda reports the init of an environment that was ready before as well.
        let reports = |log: &[u8]| {
            let mut reports = parse_log(&String::from_utf8_lossy(log));
            let mut without_init = 0;
            for report in &mut reports {
                let id = report.request_id.as_deref();
                if report.init_ms.is_some() && id.is_some_and(|id| ahead.contains(id)) {
                    (report.init_ms, report.init_cpu_ms) = (None, None);
                    without_init += 1;
                }
            }
            (reports, without_init)
        };
        let (all, _) = reports(&log);
        if all.is_empty() {
            continue;
        }
        let (under_load, ahead_under_load) = reports(load);
        let mut function = Function::summarise(name, &under_load, &all);
        function.log_bytes = Some(load.len() as u64);
        function.add_waits(events, ahead_under_load);
        functions.push(function);
    }
    Ok(functions)
}

/// The number of custom metrics in the logs of the host (embedded metric format): CloudWatch bills each by the month.
pub fn custom_metrics(folder: &Path) -> Result<u64> {
    let mut metrics = BTreeSet::new();
    for file in log_files(folder)? {
        let log = fs::read_to_string(&file)?;
        let lines = log.lines().filter(|line| line.contains("\"_aws\""));
        for line in lines.filter_map(|line| serde_json::from_str::<Value>(line).ok()) {
            let directives = line["_aws"]["CloudWatchMetrics"].as_array();
            for directive in directives.into_iter().flatten() {
                for metric in directive["Metrics"].as_array().into_iter().flatten() {
                    let key = [
                        &directive["Namespace"],
                        &directive["Dimensions"],
                        &metric["Name"],
                    ];
                    metrics.insert(key.map(Value::to_string));
                }
            }
        }
    }
    Ok(metrics.len() as u64)
}

fn log_files(folder: &Path) -> Result<Vec<PathBuf>> {
    let entries = fs::read_dir(folder)?.filter_map(|entry| Some(entry.ok()?.path()));
    let is_log = |file: &PathBuf| file.extension().is_some_and(|it| it == "log");
    let mut files: Vec<_> = entries.filter(is_log).collect();
    files.sort();
    Ok(files)
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;

    fn report(fields: &str) -> String {
        format!(
            "REPORT RequestId: 1\tDuration: 12.34 ms\tBilled Duration: 13 ms\tMemory Size: 128 MB\tMax Memory Used: 18 MB\t{fields}\n"
        )
    }

    fn append(file: &Path, text: &str) {
        let mut file = fs::OpenOptions::new()
            .create(true)
            .append(true)
            .open(file)
            .unwrap();
        file.write_all(text.as_bytes()).unwrap();
    }

    #[test]
    fn a_function_counts_its_latency_under_load_and_its_cold_starts_from_the_beginning() {
        let before = parse_log(&report(
            "Init Duration: 18.45 ms\tCPU Time: 0.50 ms\tInit CPU Time: 2.00 ms",
        ));
        let load = report("CPU Time: 0.40 ms") + &report("Status: error\tCPU Time: 0.60 ms");
        let load = parse_log(&load);
        let all: Vec<_> = before.into_iter().chain(load.clone()).collect();
        assert_eq!(
            Function::summarise("GetProduct", &load, &all),
            Function {
                name: "GetProduct".to_owned(),
                invocations: 2,
                cold_starts: 1,
                cold_starts_under_load: 0,
                init_p50_ms: Some(18.45),
                init_p99_ms: Some(18.45),
                duration_p50_ms: Some(12.34),
                duration_p99_ms: Some(12.34),
                warm_cpu_p50_ms: Some(0.4),
                cold_cpu_p50_ms: Some(2.5),
                peak_memory_mb: Some(18.0),
                errors: 1,
                timeouts: 0,
                gb_seconds: 2.0 * 0.013 * 0.125,
                log_bytes: None,
                cold: None,
                ahead: None,
                busy_ms: Some(12.34),
                cold_requests: Vec::new(),
                cold_own_ms: Vec::new(),
            }
        );
    }

    #[test]
    fn a_function_without_an_invocation_has_zeros_for_counts_and_nothing_for_the_unknown() {
        let idle = Function::summarise("Idle", &[], &[]);
        assert_eq!((idle.invocations, idle.errors), (0, 0));
        assert_eq!(
            (
                idle.duration_p99_ms,
                idle.peak_memory_mb,
                idle.cold_cpu_p50_ms
            ),
            (None, None, None)
        );
    }

    #[test]
    fn the_own_part_of_a_cold_start_is_init_and_first_invocation() {
        let log: String = [5.0, 7.0, 30.0]
            .map(|init| report(&format!("Init Duration: {init} ms")))
            .concat();
        let log = parse_log(&(log + &report("")));
        let cold = Function::summarise("F", &log, &log).cold.unwrap();
        assert_eq!((cold.init_p50_ms, cold.first_p50_ms), (7.0, 12.34));
        assert_eq!((cold.own_p50_ms, cold.own_worst_ms), (19.34, 42.34));
    }

    /// A first invocation of 10 ms, after 100 ms of waiting if it was a cold start, and its REPORT line.
    fn first(environment: &str, request_id: &str, cold: bool) -> (Entry, String) {
        let queued = if cold { 100 } else { 1 };
        let event = serde_json::json!({
            "at_us": 1, "event": "invocation", "function": "F", "environment": environment, "request_id": request_id,
            "source": "GET /f", "cold": true, "init_us": 20_000, "init_cpu_us": 2000, "platform_us": 80_000,
            "queued_us": queued * 1000, "duration_us": 10_000, "held_us": 0, "outcome": "success"
        });
        let line = report("Init Duration: 20.00 ms")
            .replace("RequestId: 1", &format!("RequestId: {request_id}"));
        (serde_json::from_value(event).unwrap(), line)
    }

    #[test]
    fn a_first_invocation_that_found_its_environment_ready_is_no_cold_start() {
        let ready = serde_json::json!({
            "at_us": 0, "event": "environment", "function": "F", "environment": "F-1", "change": "ready",
            "provisioned": true, "init_us": 20_000, "init_cpu_us": 2000, "platform_us": 80_000
        });
        let (ahead, cold) = (first("F-1", "a", false), first("F-2", "b", true));
        let events = [serde_json::from_value(ready).unwrap(), cold.0, ahead.0];
        let folder = tempfile::tempdir().unwrap();
        append(&folder.path().join("F.log"), &(cold.1 + &ahead.1));
        let conditions = Medians {
            front_door_ms: 6.0,
            invoke_ms: 7.0,
            ..Medians::default()
        };
        let log = Log {
            events: &events,
            conditions: Some(&conditions),
        };
        let [function] = from_logs(folder.path(), &BTreeMap::new(), &log)
            .unwrap()
            .try_into()
            .unwrap();
        assert_eq!(
            (function.invocations, function.cold_starts_under_load),
            (2, 1)
        );
        let expected = Ahead {
            first_runs: 1,
            wait_p50_ms: 24.0,
            wait_worst_ms: 24.0,
            spared_p50_ms: 100.0,
        };
        assert_eq!(function.ahead, Some(expected));
        let cold = function.cold.unwrap();
        assert_eq!(
            (cold.platform_p50_ms, cold.wait_p50_ms, cold.wait_worst_ms),
            (Some(80.0), Some(123.0), Some(123.0))
        );
    }

    #[test]
    fn a_rest_is_longer_than_a_connection_is_kept() {
        let at = |seconds: u64, environment: &str| {
            let (mut entry, _) = first(environment, "a", false);
            entry.at_us = seconds * 1_000_000;
            entry
        };
        let events = [
            at(1, "F-1"),
            at(2, "F-2"),
            at(90, "F-1"),
            at(93, "F-2"),
            at(190, "F-1"),
        ];
        let log = Log {
            events: &events,
            conditions: None,
        };
        assert_eq!(log.rests(), BTreeMap::from([("F".to_owned(), 2)]));
    }

    #[test]
    fn lines_count_as_under_load_from_where_the_file_ended_before_it() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("PutProduct.log");
        append(&file, &report("Init Duration: 4.00 ms"));
        let sizes = log_sizes(folder.path()).unwrap();
        let added = report("") + &report("") + &report("Init Duration: 5.00 ms");
        append(&file, &added);
        append(
            &folder.path().join("sqs.log"),
            "{\"msg\":\"not a function\"}\n",
        );
        let [put] = from_logs(folder.path(), &sizes, &Log::default())
            .unwrap()
            .try_into()
            .unwrap();
        assert_eq!(put.name, "PutProduct");
        assert_eq!(
            (put.invocations, put.cold_starts, put.cold_starts_under_load),
            (3, 2, 1)
        );
        assert_eq!(put.log_bytes, Some(added.len() as u64));
    }

    #[test]
    fn each_custom_metric_counts_once() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("PlaceOrder.log");
        let line = |names: &[&str]| {
            let metrics: Vec<_> = names
                .iter()
                .map(|name| serde_json::json!({"Name": name}))
                .collect();
            let directive =
                serde_json::json!({"Namespace": "shop", "Dimensions": [[]], "Metrics": metrics});
            serde_json::json!({"_aws": {"CloudWatchMetrics": [directive]}}).to_string() + "\n"
        };
        append(
            &file,
            &(line(&["OrdersPlaced"]) + &line(&["OrdersPlaced", "OrdersReplayed"]) + &report("")),
        );
        assert_eq!(custom_metrics(folder.path()).unwrap(), 2);
    }

    #[test]
    fn the_environments_that_a_rate_needs_grow_with_rate_and_time() {
        // One run at a time, far apart.
        assert_eq!(environments_needed(10, 60.0, 1.0), 1);
        // 50 a second of 2 ms: every tenth finds one at work, each 200th two, and a third is rare.
        assert_eq!(environments_needed(3000, 60.0, 2.0), 3);
        // 50 a second of 100 ms: five at work on average.
        assert_eq!(environments_needed(3000, 60.0, 100.0), 15);
    }
}
