//! The page of a benchmark.

use super::Results;
use super::model::{cold_start, throttled};
use super::render::{call_row, predicted, spread_row, warm_row};
use super::row::{Row, Spread};
use crate::machine::{MEASURED, SIMULATED};
use crate::report::model::{
    Chart, ChartKind, Kind, Outcome, Report, Section, Table, VERSION, cells, facts, judged, known,
};
use crate::table::row;

/// Figures of a target with their names.
type Named = (&'static str, fn(&Row) -> Spread);

pub fn report(results: &Results, title: &str) -> Report {
    let all: Vec<&Row> = results.functions.iter().chain(&results.peers).collect();
    let interrupted = results.interrupted_by.as_deref();
    let (outcome, verdict, gates) = judged(&results.targets, interrupted, "targets");
    let verdict = match outcome {
        Outcome::Unjudged => "Measured; these have no targets.".to_owned(),
        _ => verdict,
    };
    let mut sections = vec![cpu(&all), wall(&all)];
    sections.push(Section {
        id: "size".to_owned(),
        title: "Size, calls and instructions".to_owned(),
        tables: vec![
            sizes(&all),
            Table::of_rows(
                "AWS calls of one warm invocation, and of a cold one if it makes more",
                MEASURED,
                all.iter().map(|it| call_row(it)),
            ),
            Table::of_rows(
                "Millions of instructions",
                MEASURED,
                results.instructions.iter().map(|it| {
                    let absent = it.absent.as_deref().unwrap_or_default();
                    row! { "": it.name.as_str(), "init": it.init, "first": it.first, "warm": it.warm, "why not": absent }
                }),
            ),
        ],
        ..Section::default()
    });
    sections.push(Section {
        id: "predicted".to_owned(),
        title: "By memory size, as a model predicts".to_owned(),
        tables: vec![
            Table::of_rows(
                "Ms from a request to the first response of a new environment, by MB of memory",
                SIMULATED,
                all.iter().map(|it| {
                    predicted(it, |it, memory| {
                        let calls = !it.warm_calls.is_empty();
                        let (init, first) = (it.init_cpu_ms.p50, it.first_cpu_ms.p50);
                        cold_start(init, first, calls, memory).round()
                    })
                }),
            ),
            Table::of_rows(
                "Ms of a warm invocation, waiting for AWS not included, by MB of memory",
                SIMULATED,
                all.iter()
                    .map(|it| predicted(it, |it, memory| throttled(it.warm_cpu_ms.p50, memory))),
            ),
        ],
        ..Section::default()
    });
    sections.extend(warm_path(results));
    if !results.absent.is_empty() {
        let rows = results.absent.iter();
        let rows = rows.map(|it| row! { "": it.name.as_str(), "reason": it.reason.as_str() });
        sections.push(Section {
            id: "absent".to_owned(),
            title: "Not measured".to_owned(),
            tables: vec![Table::of_rows("Not measured", MEASURED, rows)],
            ..Section::default()
        });
    }
    Report {
        version: VERSION,
        kind: Kind::Benchmark,
        title: title.to_owned(),
        started_at: results.started_at.clone(),
        outcome,
        verdict,
        gates,
        gates_origin: MEASURED.to_owned(),
        facts: facts(&results.machine, results.commit.as_deref(), None),
        sections,
    }
}

/// A bar for each target: the median, with the 10th and 90th percentile.
fn bars(id: &str, title: &str, all: &[&Row], of: fn(&Row) -> Spread) -> Chart {
    let columns = [("", ""), ("value", "ms"), ("low", "ms"), ("high", "ms")];
    let rows = all.iter().map(|it| {
        let Spread { p10, p50, p90 } = of(it);
        cells![
            it.name.as_str(),
            known(Some(p50)),
            known(Some(p10)),
            known(Some(p90))
        ]
    });
    let table = Table::new("Median, 10th and 90th percentile", MEASURED, &columns).with(rows);
    Chart {
        id: id.to_owned(),
        kind: ChartKind::Bars,
        title: title.to_owned(),
        text: format!("{} functions beside each other.", all.len()),
        tables: vec![table],
    }
}

fn spreads(all: &[&Row], title: &str, figures: &[Named]) -> Table {
    let rows = all.iter().map(|it| {
        let spreads: Vec<_> = figures.iter().map(|(name, of)| (*name, of(it))).collect();
        spread_row(&it.name, &spreads)
    });
    Table::of_rows(title, MEASURED, rows)
}

fn cpu(all: &[&Row]) -> Section {
    let figures: [Named; 4] = [
        ("cold", |it| it.cold_cpu_ms),
        ("init", |it| it.init_cpu_ms),
        ("first", |it| it.first_cpu_ms),
        ("warm", |it| it.warm_cpu_ms),
    ];
    let floor = all.iter().find(|it| it.name == "floor");
    let times = floor.map(|floor| {
        let columns = [
            ("", ""),
            ("cold", ""),
            ("init", ""),
            ("first", ""),
            ("warm", ""),
            ("", ""),
        ];
        let rows = all.iter().map(|it| {
            let mut row = cells![it.name.as_str()];
            row.extend(figures.map(|(_, of)| known(Some(of(it).p50 / of(floor).p50))));
            row.extend(cells![it.note.as_str()]);
            row
        });
        let title = "CPU time, times the floor (a Rust function that does nothing)";
        Table::new(title, MEASURED, &columns).with(rows)
    });
    let title = "CPU time in ms: median, 10th and 90th percentile";
    Section {
        id: "cpu".to_owned(),
        title: "CPU time".to_owned(),
        tables: times
            .into_iter()
            .chain([spreads(all, title, &figures)])
            .collect(),
        charts: vec![
            bars("cold-cpu", "CPU time of a cold start", all, |it| {
                it.cold_cpu_ms
            }),
            bars("warm-cpu", "CPU time of a warm invocation", all, |it| {
                it.warm_cpu_ms
            }),
        ],
        ..Section::default()
    }
}

fn wall(all: &[&Row]) -> Section {
    let figures: [Named; 3] = [
        ("init", |it| it.init_ms),
        ("first", |it| it.first_ms),
        ("warm", |it| it.warm_ms),
    ];
    let title = "Wall time in ms, from the REPORT lines";
    Section {
        id: "wall".to_owned(),
        title: "Wall time".to_owned(),
        tables: vec![spreads(all, title, &figures)],
        charts: vec![bars("init-wall", "Wall time of init", all, |it| it.init_ms)],
        ..Section::default()
    }
}

fn sizes(all: &[&Row]) -> Table {
    let columns = [
        ("", ""),
        ("peak", "MB"),
        ("binary", "MB"),
        ("zip", "MB"),
        ("crates", ""),
        ("connections", ""),
        ("TLS handshakes", ""),
    ];
    let rows = all.iter().map(|it| {
        cells![
            it.name.as_str(),
            it.peak_memory_mb,
            known(it.binary_bytes.map(|bytes| bytes as f64 / 1e6)),
            known(Some(it.zip_bytes as f64 / 1e6)),
            it.crates,
            it.connections,
            it.tls_handshakes,
        ]
    });
    Table::new("Size; connections of a cold invocation", MEASURED, &columns).with(rows)
}

fn warm_path(results: &Results) -> Option<Section> {
    let rows = &results.warm_path;
    let scaling = results.scaling.as_ref();
    let mut tables = Vec::new();
    if !rows.is_empty() {
        let title = "Warm path by oha: ms, and the shares of p50";
        let rows = rows.iter().map(|row| warm_row(row, rows));
        tables.push(Table::of_rows(title, MEASURED, rows));
    }
    if let Some(scaling) = scaling {
        let rows = [
            ("longest wait, ms", scaling.longest_wait_ms),
            ("slowest cold start, ms", scaling.slowest_cold_start_ms),
            (
                "longest wait / slowest cold start",
                scaling.wait_in_cold_starts,
            ),
        ];
        let rows =
            rows.map(|(name, it)| row! { "": name, "p10": it.p10, "p50": it.p50, "p90": it.p90 });
        let (requests, bursts) = (scaling.requests, scaling.bursts);
        let title = format!("{requests} requests at once without an environment, {bursts} times");
        tables.push(Table::of_rows(&title, MEASURED, rows));
    }
    (!tables.is_empty()).then(|| Section {
        id: "warm-path".to_owned(),
        title: "The warm path, and many at once".to_owned(),
        tables,
        ..Section::default()
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::gates::Gate;

    #[test]
    fn a_benchmark_has_a_bar_for_each_function_and_its_targets() {
        let row = |name: &str, cold| Row {
            name: name.to_owned(),
            cold_cpu_ms: Spread {
                p10: cold / 2.0,
                p50: cold,
                p90: cold * 2.0,
            },
            ..Row::default()
        };
        let mut results = Results {
            functions: vec![row("get-product", 3.0)],
            peers: vec![row("floor", 1.5), row("python", 240.0)],
            targets: vec![Gate::new("cold", "<=", 2.0, Some(2.5))],
            ..Results::default()
        };
        let told = report(&results, "Benchmark");
        assert_eq!((told.outcome, told.gates.len()), (Outcome::Failed, 1));
        let bars = &told.sections[0].charts[0].tables[0].rows;
        assert_eq!(bars.len(), 3);
        assert_eq!(bars[2], cells!["python", 240.0, 120.0, 480.0]);
        assert_eq!(told.sections[0].tables[0].rows[0][1], 2.0);
        results.targets.clear();
        assert_eq!(report(&results, "Benchmark").outcome, Outcome::Unjudged);
    }
}
