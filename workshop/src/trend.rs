//! The effect of a long load on a stack: its last minute against its first.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use fs_err as fs;
use serde::{Deserialize, Serialize};
use sysinfo::{Pid, ProcessRefreshKind, ProcessesToUpdate, System};
use tokio::task::JoinSet;

use crate::artillery::Aggregate;
use crate::gates::Gate;
use crate::percentile::percentile;

/// As often as Artillery reports.
const SAMPLE_EVERY: Duration = Duration::from_secs(10);

/// Samples in a minute.
const MINUTE: usize = 6;

const BYTES_IN_A_MB: f64 = 1_000_000.0;

/// Limits of the last minute over the first.
#[derive(Debug, Clone, Copy, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TrendLimits {
    /// Of latency.
    slowdown: f64,
    /// Of memory and open descriptors.
    growth: f64,
}

/// Medians of the first and the last minute; unknown if there were less than two minutes.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Trend {
    /// The figure, with its unit.
    pub name: String,
    pub first: Option<f64>,
    pub last: Option<f64>,
}

/// The processes of the host at one moment. Zeros for a process that is gone.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Sample {
    /// Resident memory of the host.
    host_mb: f64,
    /// Resident memory of its execution environments, on average.
    environment_mb: f64,
    environments: usize,
    /// Open descriptors of the host, where the system has `/proc`.
    descriptors: Option<usize>,
}

/// Samples a host every ten seconds until it is dropped.
#[derive(Debug)]
pub struct Watch {
    samples: Arc<Mutex<Vec<Sample>>>,
    _task: JoinSet<()>,
}

impl Watch {
    /// Begins with the host of this process id.
    pub fn start(pid: u32) -> Self {
        let samples = Arc::<Mutex<Vec<Sample>>>::default();
        let kept = samples.clone();
        let mut task = JoinSet::new();
        task.spawn(async move {
            loop {
                tokio::time::sleep(SAMPLE_EVERY).await;
                let sample = sample(pid);
                kept.lock()
                    .unwrap_or_else(PoisonError::into_inner)
                    .push(sample);
            }
        });
        Self {
            samples,
            _task: task,
        }
    }

    /// The samples so far.
    pub fn samples(&self) -> Vec<Sample> {
        let samples = self.samples.lock();
        samples.unwrap_or_else(PoisonError::into_inner).clone()
    }
}

/// Samples the host of this process id and its environments.
fn sample(pid: u32) -> Sample {
    let mut system = System::new();
    let what = ProcessRefreshKind::nothing().with_memory().without_tasks();
    system.refresh_processes_specifics(ProcessesToUpdate::All, true, what);
    let host = Pid::from_u32(pid);
    let mb = |process: &sysinfo::Process| process.memory() as f64 / BYTES_IN_A_MB;
    let is_environment =
        |it: &&sysinfo::Process| it.parent() == Some(host) && it.name() == "bootstrap";
    let environments = system.processes().values().filter(is_environment);
    let environments: Vec<f64> = environments.map(mb).collect();
    let descriptors = fs::read_dir(format!("/proc/{pid}/fd")).ok();
    Sample {
        host_mb: system.process(host).map_or(0.0, mb),
        environment_mb: environments.iter().sum::<f64>() / environments.len().max(1) as f64,
        environments: environments.len(),
        descriptors: descriptors.map(Iterator::count),
    }
}

/// Medians of the first and the last minute: of latency from the periods of Artillery's report, of the
/// rest from the samples of a host, if there is one.
pub fn trends(periods: &[Aggregate], samples: Option<&[Sample]>) -> Vec<Trend> {
    // The last period ends with the load, so it is incomplete.
    let whole = &periods[..periods.len().saturating_sub(1)];
    let latency = |figure: &str| {
        let metric = format!("http.response_time.2xx.{figure}");
        let values = whole.iter().map(|period| period.value(&metric));
        let values: Vec<_> = values.flatten().collect();
        trend(&format!("{figure} of 2xx, ms"), &values)
    };
    let mut rows = vec![latency("p50"), latency("p95")];
    if let Some(samples) = samples {
        let known = |name: &str, value: fn(&Sample) -> Option<f64>| {
            trend(name, &samples.iter().filter_map(value).collect::<Vec<_>>())
        };
        rows.push(known("memory of the host, MB", |it| Some(it.host_mb)));
        let environment = known("memory of an environment, MB", |it| Some(it.environment_mb));
        rows.push(environment);
        rows.push(known(ENVIRONMENTS, |it| Some(it.environments as f64)));
        if samples.iter().any(|it| it.descriptors.is_some()) {
            rows.push(known("open descriptors of the host", |it| {
                it.descriptors.map(|count| count as f64)
            }));
        }
    }
    rows
}

/// Shown, and no gate: there are as many as the load needs.
const ENVIRONMENTS: &str = "execution environments";

fn trend(name: &str, values: &[f64]) -> Trend {
    let enough = values.len() >= 2 * MINUTE;
    let median = |part: &[f64]| percentile(part, 50.0).filter(|_| enough);
    Trend {
        name: name.to_owned(),
        first: median(&values[..MINUTE.min(values.len())]),
        last: median(&values[values.len().saturating_sub(MINUTE)..]),
    }
}

/// Limits the growth from the first minute. A figure that is unknown fails its gate.
pub fn gates(trends: &[Trend], limits: TrendLimits) -> Vec<Gate> {
    let TrendLimits { slowdown, growth } = limits;
    let gated = trends.iter().filter(|trend| trend.name != ENVIRONMENTS);
    let gates = gated.map(|Trend { name, first, last }| {
        let first = first.filter(|first| *first > 0.0);
        let ratio = first.zip(*last).map(|(first, last)| last / first);
        let is_latency = name.ends_with(", ms");
        let limit = if is_latency { slowdown } else { growth };
        Gate::new(&format!("last / first minute: {name}"), "<=", limit, ratio)
    });
    gates.collect()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    const LIMITS: TrendLimits = TrendLimits {
        slowdown: 1.5,
        growth: 1.2,
    };

    /// 20 periods of ten seconds, and an incomplete one.
    fn periods(p95: impl Fn(usize) -> f64) -> Vec<Aggregate> {
        let period = |index| {
            let figures = if index == 20 {
                json!({"p50": 99, "p95": 99})
            } else {
                json!({"p50": 1, "p95": p95(index)})
            };
            serde_json::from_value(json!({"summaries": {"http.response_time.2xx": figures}}))
                .unwrap()
        };
        (0..21).map(period).collect()
    }

    fn samples(change: impl Fn(&mut Sample, f64)) -> Vec<Sample> {
        let sample = |index| {
            let mut sample = Sample {
                host_mb: 50.0,
                environment_mb: 6.0,
                environments: 9,
                descriptors: Some(100),
            };
            change(&mut sample, f64::from(index));
            sample
        };
        (0..20).map(sample).collect()
    }

    fn failed(rows: &[Trend]) -> Vec<String> {
        let gates = gates(rows, LIMITS).into_iter().filter(|gate| !gate.pass);
        gates.map(|gate| gate.name).collect()
    }

    #[test]
    fn a_stack_that_stays_as_it_is_passes() {
        assert_eq!(
            failed(&trends(&periods(|_| 3.0), Some(&samples(|_, _| {})))),
            [""; 0]
        );
    }

    #[test]
    fn a_leak_of_memory_or_descriptors_or_a_slowdown_fails_its_gate_alone() {
        let flat = periods(|_| 3.0);
        type Leak = fn(&mut Sample, f64);
        let leaks: [(Leak, &str); 3] = [
            (|it, n| it.host_mb += n * 5.0, "memory of the host, MB"),
            (
                |it, n| it.environment_mb += n,
                "memory of an environment, MB",
            ),
            (
                |it, n| it.descriptors = Some(100 + n as usize * 5),
                "open descriptors of the host",
            ),
        ];
        for (leak, name) in leaks {
            assert_eq!(
                failed(&trends(&flat, Some(&samples(leak)))),
                [format!("last / first minute: {name}")]
            );
        }
        let slower = periods(|index| 3.0 + index as f64 / 4.0);
        assert_eq!(
            failed(&trends(&slower, Some(&samples(|_, _| {})))),
            ["last / first minute: p95 of 2xx, ms"]
        );
    }

    #[test]
    fn less_than_two_minutes_or_nothing_is_no_proof() {
        let (periods, samples) = (periods(|_| 3.0), samples(|_, _| {}));
        assert_eq!(
            failed(&trends(&periods[..12], Some(&samples[..11]))).len(),
            5
        );
        assert_eq!(failed(&trends(&[], Some(&[]))).len(), 4);
    }

    #[test]
    fn without_a_host_of_ones_own_only_latency_has_a_trend() {
        let names: Vec<_> = trends(&periods(|_| 3.0), None)
            .into_iter()
            .map(|trend| trend.name)
            .collect();
        assert_eq!(names, ["p50 of 2xx, ms", "p95 of 2xx, ms"]);
    }

    #[test]
    fn a_sample_counts_the_memory_of_a_process_and_its_descriptors() {
        let before = sample(std::process::id());
        let open: Vec<_> = (0..200)
            .map(|_| fs::File::open(env!("CARGO_MANIFEST_DIR")).unwrap())
            .collect();
        let after = sample(std::process::id());
        drop(open);
        assert!(before.host_mb > 1.0, "{before:?}");
        assert_eq!(before.environments, 0);
        if let (Some(before), Some(after)) = (before.descriptors, after.descriptors) {
            // Other tests of this process open and close files meanwhile.
            assert!(after - before > 150, "{before} {after}");
        }
    }
}
