//! CPU and wall time of init, first and warm invocations, for each target in turn.

use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Result, bail};
use fs_err as fs;
use local::events::Caller;
use serde_json::Value;
use tokio::time::Instant;

use super::Bench;
use super::row::{Row, Spread};
use super::targets::Target;
use crate::host::Host;
use crate::percentile::{percentile, worst};
use crate::report_lines::{Report, parse_log};

/// The longest wait for a REPORT line after its response.
const REPORT_TIMEOUT: Duration = Duration::from_secs(10);

/// The order of the targets in each round.
const SEED: u64 = 1;

/// Each round ends all environments, then makes one cold invocation and `--warm` warm ones of each target. The order
/// changes from round to round, so that other work of the machine, and the caches that the target before has left, affect
/// all targets alike. A target behind a queue runs when the target that fills the queue does.
///
/// An interruption ends it after the round; the rows are those of whole rounds.
pub async fn measure(bench: &Bench<'_>) -> Result<Vec<Row>> {
    let targets = &[bench.shop.as_slice(), &bench.compared].concat();
    let (session, host) = (bench.session, bench.host);
    let rounds = bench.arguments.rounds as usize;
    let runs = bench.arguments.warm as usize + 1; // in each round
    let logs = targets.iter().map(|target| Log::now(host, target));
    let logs: Vec<_> = logs.collect();
    let mut random = fastrand::Rng::with_seed(SEED);
    let bar = session.bar(rounds as u64);
    let mut done = 0;
    while done < rounds && session.interrupted_by().is_none() {
        host.reap_all().await?;
        let mut order: Vec<_> = targets.iter().zip(&logs).collect();
        order.retain(|(target, _)| !target.request.behind_queue);
        random.shuffle(&mut order);
        for (target, log) in order {
            for _ in 0..runs {
                invoke(host, target).await?;
            }
            log.reports((done + 1) * runs).await?;
        }
        done += 1;
        bar.set_position(done as u64);
        session.progress(&bar, format!("round {done} of {rounds}"));
    }
    if done == 0 {
        session.pause(Duration::ZERO).await?; // it was interrupted
    }
    let mut rows = Vec::new();
    for (target, log) in targets.iter().zip(&logs) {
        rows.push(summarise(target, &log.reports(done * runs).await?, done)?);
    }
    for (row, target) in rows.iter_mut().zip(targets) {
        count_calls(host, target, row).await?;
        let binary = target.peer.binary(&session.root);
        row.binary_bytes = binary.map(fs::metadata).transpose()?.map(|file| file.len());
        row.zip_bytes = target.peer.zip_bytes(&session.root).await?;
        row.crates = target.peer.crates(&session.root).await?;
    }
    Ok(rows)
}

/// Makes the request of a target, and looks at its answer.
pub async fn invoke(host: &Host, target: &Target) -> Result<()> {
    let text = target.request.send(host).await?;
    if let Some(expected) = &target.expected {
        let product: Value = serde_json::from_str(&text).unwrap_or_default();
        let mut fields = expected.iter();
        if let Some((field, _)) = fields.find(|(name, value)| product[name.as_str()] != **value) {
            let name = &target.peer.name;
            bail!(
                "{name}: the answer has {field} {}: {text:.200}",
                product[field]
            );
        }
    }
    if target.request.drains {
        drain(host).await?;
    }
    Ok(())
}

/// Waits until the queues with a trigger are empty, so that no worker runs beside another target.
pub async fn drain(host: &Host) -> Result<()> {
    while host.meter().await?.messages(true) > 0 {
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    Ok(())
}

/// A function's log, from a place on.
pub struct Log {
    file: PathBuf,
    begin: usize,
}

impl Log {
    /// From its end now.
    pub fn now(host: &Host, target: &Target) -> Self {
        let mut file = host.ready.log_dir.join(&target.function_id);
        file.set_extension("log");
        let begin = fs::metadata(&file).map_or(0, |file| file.len() as usize);
        Self { file, begin }
    }

    /// Its REPORT lines, once there are so many. Each is written after its response.
    pub async fn reports(&self, expected: usize) -> Result<Vec<Report>> {
        let begun = Instant::now();
        loop {
            let log = fs::read(&self.file).unwrap_or_default();
            let log = log.get(self.begin..).unwrap_or_default();
            let reports = parse_log(&String::from_utf8_lossy(log));
            if reports.len() >= expected {
                return Ok(reports);
            }
            if begun.elapsed() > REPORT_TIMEOUT {
                let (file, found) = (self.file.display(), reports.len());
                bail!("{file}: {found} REPORT lines of {expected}");
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }
}

fn summarise(target: &Target, reports: &[Report], rounds: usize) -> Result<Row> {
    let name = &target.peer.name;
    let is_bad = |it: &&Report| it.status.is_some() || it.cpu_ms.is_none();
    if let Some(bad) = reports.iter().find(is_bad) {
        bail!("{name}: an invocation failed, or its CPU time is unknown: {bad:?}");
    }
    let (cold, warm): (Vec<_>, Vec<_>) = reports.iter().partition(|it| it.init_ms.is_some());
    // A busy host may start one more, if the environment took too long to ask for its next event.
    if cold.len() < rounds {
        bail!("{name}: {} cold starts in {rounds} rounds", cold.len());
    }
    let spread = |reports: &[&Report], value: fn(&Report) -> Option<f64>| {
        let values: Vec<_> = reports.iter().filter_map(|it| value(it)).collect();
        Spread::of(&values)
    };
    let [cold_rounds_ms, first_rounds_ms, warm_rounds_ms] = by_round(reports, rounds);
    let peaks: Vec<_> = reports.iter().filter_map(|it| it.peak_memory_mb).collect();
    Ok(Row {
        name: name.clone(),
        note: target.peer.note.clone(),
        cold_starts: cold.len(),
        warm_invocations: warm.len(),
        cold_cpu_ms: spread(&cold, |it| Some(it.init_cpu_ms? + it.cpu_ms?)),
        init_cpu_ms: spread(&cold, |it| it.init_cpu_ms),
        first_cpu_ms: spread(&cold, |it| it.cpu_ms),
        warm_cpu_ms: spread(&warm, |it| it.cpu_ms),
        init_ms: spread(&cold, |it| it.init_ms),
        first_ms: spread(&cold, |it| it.duration_ms),
        warm_ms: spread(&warm, |it| it.duration_ms),
        peak_memory_mb: worst(&peaks).unwrap_or_default(),
        cold_rounds_ms,
        first_rounds_ms,
        warm_rounds_ms,
        ..Row::default()
    })
}

/// CPU ms of the cold start of each round, of its first invocation, and of its warm ones at the median. Empty if a round had
/// more than one cold start, since nobody knows then which of them are beside those of another target.
fn by_round(reports: &[Report], rounds: usize) -> [Vec<f64>; 3] {
    let runs = reports.chunks(reports.len().checked_div(rounds).unwrap_or(1).max(1));
    let values = runs.map(|run| {
        let (first, warm) = run.split_first()?;
        let of_warm = |it: &Report| it.cpu_ms.filter(|_| it.init_ms.is_none());
        let warm: Vec<_> = warm.iter().map(of_warm).collect::<Option<_>>()?;
        let whole = reports.len() == rounds * run.len();
        let [first, init] = [first.cpu_ms?, first.init_cpu_ms.filter(|_| whole)?];
        Some([init + first, first, percentile(&warm, 50.0)?])
    });
    let values: Vec<[f64; 3]> = values.collect::<Option<_>>().unwrap_or_default();
    [0, 1, 2].map(|index| values.iter().map(|it| it[index]).collect())
}

/// The exact AWS calls of one cold and of one warm invocation, and the connections that the cold one opened.
async fn count_calls(host: &Host, target: &Target, row: &mut Row) -> Result<()> {
    let counted = async || -> Result<Caller> {
        host.reset_meter().await?;
        invoke(host, target).await?;
        let mut meter = host.meter().await?;
        let caller = meter.functions.remove(&target.function_id);
        Ok(caller.unwrap_or_default())
    };
    host.reap_all().await?;
    let cold = counted().await?;
    row.connections = cold.connections;
    row.tls_handshakes = cold.tls_handshakes;
    row.cold_calls = cold.operations;
    row.warm_calls = counted().await?.operations;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bench::peers::{Made, Peer, Roots};
    use crate::bench::targets::Request;

    fn target() -> Target {
        let peer = Peer {
            name: "floor".to_owned(),
            note: String::new(),
            made: Made::Copy("floor".into()),
            roots: Roots::Handed,
        };
        Target {
            peer,
            function_id: String::new(),
            request: Request::default(),
            expected: None,
        }
    }

    fn line(fields: &str) -> String {
        format!(
            "REPORT RequestId: 1\tDuration: 2.00 ms\tBilled Duration: 2 ms\tMemory Size: 256 MB\tMax Memory Used: 8 MB\t{fields}\n"
        )
    }

    #[test]
    fn cold_and_warm_invocations_are_told_apart() {
        let log = line("Init Duration: 3.00 ms\tCPU Time: 1.00 ms\tInit CPU Time: 2.00 ms")
            + &line("CPU Time: 0.40 ms");
        let row = summarise(&target(), &parse_log(&log), 1).unwrap();
        assert_eq!((row.cold_starts, row.warm_invocations), (1, 1));
        assert_eq!(
            (
                row.cold_cpu_ms.p50,
                row.init_cpu_ms.p50,
                row.first_cpu_ms.p50
            ),
            (3.0, 2.0, 1.0)
        );
        assert_eq!(
            (row.warm_cpu_ms.p50, row.init_ms.p50, row.peak_memory_mb),
            (0.4, 3.0, 8.0)
        );
    }

    #[test]
    fn each_round_has_its_own_times_unless_one_had_two_cold_starts() {
        let cold = line("Init Duration: 3.00 ms\tCPU Time: 1.00 ms\tInit CPU Time: 2.00 ms");
        let warm = |ms| line(&format!("CPU Time: {ms} ms"));
        let round = |ms| cold.clone() + &warm(ms) + &warm(ms + 0.5);
        let two = parse_log(&(round(0.25) + &round(0.75)));
        let of = by_round(&two, 2);
        assert_eq!(of, [vec![3.0, 3.0], vec![1.0, 1.0], vec![0.25, 0.75]]);
        let one_more = parse_log(&(round(0.25) + &cold + &cold + &warm(0.25)));
        assert!(by_round(&one_more, 2).iter().all(Vec::is_empty));
    }

    #[test]
    fn a_failed_invocation_or_a_missing_cold_start_ends_the_benchmark() {
        let failed = summarise(
            &target(),
            &parse_log(&line("Status: error\tCPU Time: 0.40 ms")),
            0,
        );
        assert!(
            failed
                .unwrap_err()
                .to_string()
                .starts_with("floor: an invocation failed")
        );
        let warm = summarise(&target(), &parse_log(&line("CPU Time: 0.40 ms")), 1);
        assert_eq!(
            warm.unwrap_err().to_string(),
            "floor: 0 cold starts in 1 rounds"
        );
    }

    #[test]
    fn a_spread_is_of_values_that_occurred() {
        let values: Vec<_> = (1..=10).map(f64::from).collect();
        assert_eq!(
            Spread::of(&values),
            Spread {
                p10: 1.0,
                p50: 5.0,
                p90: 9.0
            }
        );
    }
}
