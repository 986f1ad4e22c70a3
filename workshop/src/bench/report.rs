//! The page of a benchmark.

use super::lambda::{Lambda, SIZES};
use super::render::{call_row, lambda_notes, lambda_row, spread_row, warm_row};
use super::row::{Row, Spread};
use super::{Interval, Results};
use crate::machine::{MEASURED, SIMULATED};
use crate::report::model::{
    Chart, ChartKind, Kind, Outcome, Report, Section, Table, VERSION, cells, facts, judged, known,
    rounded, short,
};
use crate::table::row;

/// Figures of a target with their names.
type Named = (&'static str, fn(&Row) -> Spread);

pub fn report(results: &Results, title: &str) -> Report {
    let all: Vec<&Row> = results.functions.iter().chain(&results.peers).collect();
    let interrupted = results.interrupted_by.as_deref();
    let (outcome, verdict, mut gates) = judged(&results.targets, interrupted, "targets");
    for target in &results.targets {
        let noise = results.noise.get(&target.name);
        let within = noise.filter(|noise| noise.holds_limit_of(target));
        let told = gates.iter_mut().find(|it| it.name == target.name);
        if let (Some(Interval { from, to }), Some(told)) = (within, told) {
            told.by += &format!(
                "; the limit is within its noise, {} to {}",
                short(*from),
                short(*to)
            );
        }
    }
    let verdict = match outcome {
        Outcome::Unjudged => "Measured; these have no targets.".to_owned(),
        _ => verdict,
    };
    let mut sections: Vec<_> = results.lambda.iter().map(under_conditions).collect();
    sections.extend([cpu(&all), wall(&all)]);
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
    let spreads = all.iter().map(|it| (it.name.as_str(), of(it)));
    bars_of(id, title, MEASURED, spreads)
}

fn bars_of<'a>(
    id: &str,
    title: &str,
    origin: &str,
    spreads: impl Iterator<Item = (&'a str, Spread)>,
) -> Chart {
    let columns = [("", ""), ("value", "ms"), ("low", "ms"), ("high", "ms")];
    let rows = spreads.map(|(name, spread)| {
        let [low, value, high] = [spread.p10, spread.p50, spread.p90].map(rounded);
        cells![name, value, low, high]
    });
    let table = Table::new("Median, 10th and 90th percentile", origin, &columns).with(rows);
    Chart {
        id: id.to_owned(),
        kind: ChartKind::Bars,
        title: title.to_owned(),
        text: format!("{} functions beside each other.", table.rows.len()),
        tables: vec![table],
    }
}

/// Each program at each memory size.
fn under_conditions(lambda: &Lambda) -> Section {
    let (mut tables, mut charts) = (Vec::new(), Vec::new());
    for memory in SIZES {
        let rows = || lambda.rows.iter().filter(move |it| it.memory_mb == memory);
        let title = format!("{memory} MB: ms");
        tables.push(Table::of_rows(&title, SIMULATED, rows().map(lambda_row)));
        let title = format!("Cold start at {memory} MB: init and first run");
        let cold = rows().map(|it| (it.name.as_str(), it.cold_ms));
        charts.push(bars_of(&format!("cold-{memory}"), &title, SIMULATED, cold));
        let title = format!("Warm run at {memory} MB, after {} others", lambda.warm_up);
        let warm = rows().map(|it| (it.name.as_str(), it.warm_ms));
        charts.push(bars_of(&format!("warm-{memory}"), &title, SIMULATED, warm));
    }
    Section {
        id: "lambda".to_owned(),
        title: "Beside other languages, under conditions of Lambda".to_owned(),
        notes: lambda_notes(lambda).to_vec(),
        tables,
        charts,
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
    use crate::bench::lambda::Row as LambdaRow;
    use crate::gates::Gate;
    use crate::report::tests::faults;

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

        let noise = Interval { from: 1.9, to: 2.6 };
        results.noise.insert("cold".to_owned(), noise);
        let of = |memory_mb| LambdaRow {
            name: "python".to_owned(),
            memory_mb,
            cold_ms: Spread {
                p10: 7.0,
                p50: 8.0,
                p90: 9.0,
            },
            ..LambdaRow::default()
        };
        results.lambda = Some(Lambda {
            rows: SIZES.map(of).to_vec(),
            ..Lambda::default()
        });
        let told = report(&results, "Benchmark");
        assert_eq!(faults(&serde_json::to_value(&told).unwrap()), None);
        let by = &told.gates[0].by;
        assert!(
            by.ends_with("; the limit is within its noise, 1.9 to 2.6"),
            "{by}"
        );
        let charts = &told.sections[0].charts;
        assert_eq!(charts.len(), 2 * SIZES.len());
        assert_eq!(charts[0].tables[0].rows, [cells!["python", 8.0, 7.0, 9.0]]);
        assert_eq!(charts[0].tables[0].origin, SIMULATED);
        results.targets.clear();
        assert_eq!(report(&results, "Benchmark").outcome, Outcome::Unjudged);
    }
}
