//! The tables of a benchmark.

use std::collections::BTreeMap;

use super::lambda::{Lambda, Row as LambdaRow, SIZES};
use super::row::{Row, Spread};
use super::{Results, warm_path};
use crate::machine::{MEASURED, SIMULATED, conditions};
use crate::render::gates;
use crate::table::{self, row, table};
use local::events::OperationCounts;

const MB: f64 = 1_000_000.0;

/// The whole result as text, at most 100 columns wide.
pub fn results(results: &Results) -> String {
    let all: Vec<&Row> = results.functions.iter().chain(&results.peers).collect();
    let rows = |of: fn(&Row) -> table::Row| all.iter().map(move |row| of(row));
    let mut blocks = vec![head(results)];
    if let Some(floor) = results.peers.first() {
        let times = |of: fn(&Row) -> Spread, row: &Row| of(row).p50 / of(floor).p50;
        let rows = all.iter().map(|it| {
            row! {
                "": it.name.as_str(), "cold": times(|it| it.cold_cpu_ms, it), "init": times(|it| it.init_cpu_ms, it),
                "first": times(|it| it.first_cpu_ms, it), "warm": times(|it| it.warm_cpu_ms, it), "": it.note.as_str(),
            }
        });
        let title = "CPU time, times the floor (a Rust function that does nothing)";
        blocks.push(table(title, MEASURED, rows));
    }
    let cpu = rows(|it| {
        let spreads = [
            ("cold", it.cold_cpu_ms),
            ("init", it.init_cpu_ms),
            ("first", it.first_cpu_ms),
            ("warm", it.warm_cpu_ms),
        ];
        spread_row(&it.name, &spreads)
    });
    let wall = rows(|it| {
        let spreads = [
            ("init", it.init_ms),
            ("first", it.first_ms),
            ("warm", it.warm_ms),
        ];
        spread_row(&it.name, &spreads)
    });
    let title = "CPU time in ms: median, 10th and 90th percentile";
    blocks.push(table(title, MEASURED, cpu));
    let title = "Wall time in ms, from the REPORT lines";
    blocks.push(table(title, MEASURED, wall));
    let sizes = rows(|it| {
        row! {
            "": it.name.as_str(), "peak MB": it.peak_memory_mb,
            "binary MB": it.binary_bytes.map(|bytes| bytes as f64 / MB), "zip MB": it.zip_bytes as f64 / MB,
            "crates": it.crates, "connections": it.connections, "TLS handshakes": it.tls_handshakes,
        }
    });
    blocks.push(table(
        "Size; connections of a cold invocation",
        MEASURED,
        sizes,
    ));
    let title = "AWS calls of one warm invocation, and of a cold one if it makes more";
    blocks.push(table(title, MEASURED, rows(call_row)));
    let counted = results.instructions.iter().map(|it| {
        let absent = it.absent.as_deref().unwrap_or_default();
        row! { "": it.name.as_str(), "init": it.init, "first": it.first, "warm": it.warm, "": absent }
    });
    blocks.push(table("Millions of instructions", MEASURED, counted));
    if let Some(lambda) = &results.lambda {
        blocks.push(under_conditions(lambda));
    }
    if !results.absent.is_empty() {
        let rows = results
            .absent
            .iter()
            .map(|it| row! { "": it.name.as_str(), "reason": it.reason.as_str() });
        blocks.push(table("Not measured", MEASURED, rows));
    }
    if !results.warm_path.is_empty() {
        let rows = &results.warm_path;
        let title = "Warm path by oha: ms, and the shares of p50";
        let rows = rows.iter().map(|row| warm_row(row, rows));
        blocks.push(table(title, MEASURED, rows));
    }
    if let Some(scaling) = &results.scaling {
        let (requests, bursts) = (scaling.requests, scaling.bursts);
        let title = format!("{requests} requests at once without an environment, {bursts} times");
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
        blocks.push(table(&title, MEASURED, rows));
    }
    if let Some(signal) = &results.interrupted_by {
        blocks.push(format!(
            "PARTIAL: interrupted by {signal}; these are the rounds until then, and no target was judged."
        ));
    } else if !results.targets.is_empty() {
        blocks.push(gates("Targets", &results.targets, MEASURED));
        blocks.extend(within_noise(results));
    }
    blocks.join("\n\n")
}

fn head(results: &Results) -> String {
    let machine = results.machine.describe();
    let commit = results.commit.as_deref().unwrap_or("unknown");
    let floor = results.peers.first();
    let (cold, warm) = floor.map_or((0, 0), |floor| (floor.cold_starts, floor.warm_invocations));
    format!(
        "\n{machine}\ncommit {commit}; {cold} cold starts and {warm} warm invocations of each, in turn"
    )
}

pub fn spread_row(name: &str, spreads: &[(&'static str, Spread)]) -> table::Row {
    let mut cells = row! { "": name };
    for (header, Spread { p10, p50, p90 }) in spreads {
        cells.push((header, (*p50).into()));
        cells.extend(row! { "p10": *p10, "p90": *p90 });
    }
    cells
}

pub fn call_row(it: &Row) -> table::Row {
    let list = |calls: &BTreeMap<String, OperationCounts>| {
        let names = calls.iter().map(|(operation, it)| {
            let name = operation.rsplit('.').next().unwrap_or_default();
            format!("{} {name}", it.calls)
        });
        names.collect::<Vec<_>>().join(", ")
    };
    let (warm, cold) = (list(&it.warm_calls), list(&it.cold_calls));
    let units = |of: fn(&OperationCounts) -> f64| {
        let units = it.warm_calls.values().map(of);
        units.fold(0.0, |sum, units| sum + units)
    };
    row! {
        "": it.name.as_str(), "warm": if warm.is_empty() { "none" } else { &warm },
        "read": units(|it| it.read_units), "write": units(|it| it.write_units),
        "cold": if cold == warm { "" } else { &cold },
    }
}

fn under_conditions(lambda: &Lambda) -> String {
    let tables = SIZES.map(|memory| {
        let rows = lambda.rows.iter().filter(|it| it.memory_mb == memory);
        let title = format!("Under conditions of Lambda, {memory} MB: ms");
        table(&title, SIMULATED, rows.map(lambda_row))
    });
    format!(
        "{}\n\n{}",
        tables.join("\n\n"),
        lambda_notes(lambda).join("\n")
    )
}

/// What the columns of [`lambda_row`] are.
pub fn lambda_notes(lambda: &Lambda) -> [String; 2] {
    let (cold, warm_up, warm) = (lambda.cold_starts, lambda.warm_up, lambda.warm_runs);
    [
        format!(
            "\"cold\" is init and first run, of {cold} cold starts; \"waited\" is the client's, with the platform's part; \
             \"early\" are the runs after each; \"warm\" are {warm} runs after {warm_up} others; each with its 10th and 90th percentile."
        ),
        format!("conditions: {}", conditions(lambda.conditions.as_ref())),
    ]
}

pub fn lambda_row(it: &LambdaRow) -> table::Row {
    row! {
        "": it.name.as_str(), "cold": it.cold_ms.p50, "p10": it.cold_ms.p10, "p90": it.cold_ms.p90,
        "waited": it.wait_ms.p50, "early": it.early_ms.p50, "warm": it.warm_ms.p50, "p10": it.warm_ms.p10,
        "p90": it.warm_ms.p90, "warm CPU here": it.warm_cpu_ms.p50,
    }
}

/// The targets whose limit lies within the noise of their value.
fn within_noise(results: &Results) -> Option<String> {
    let rows = results.targets.iter().filter_map(|gate| {
        let noise = results.noise.get(&gate.name)?;
        let within = noise.holds_limit_of(gate).then_some("within its noise: proves nothing");
        Some(row! {
            "target": gate.name.as_str(), "limit": gate.limit.as_str(), "from": noise.from, "to": noise.to,
            "": within.unwrap_or_default(),
        })
    });
    let rows: Vec<_> = rows.collect();
    let title = "Noise: each ratio lies between these with 95 %, by its rounds";
    (!rows.is_empty()).then(|| table(title, MEASURED, rows))
}

/// Each part's share of p50: the host's is the floor's latency, AWS's the latency of the bare calls, the function's is the
/// rest.
pub fn warm_row(it: &warm_path::Row, all: &[warm_path::Row]) -> table::Row {
    let connections = it.connections;
    let beside = || all.iter().filter(|it| it.connections == connections);
    let floor = beside().find(|other| other.name == "floor");
    let host = floor.map(|floor| floor.p50_ms);
    let calls = beside().filter(|other| other.of.as_ref() == Some(&it.name));
    let calls: Vec<_> = calls.map(|call| call.p50_ms).collect();
    let host = host.filter(|_| !calls.is_empty());
    let aws = host.map(|_| calls.iter().sum::<f64>());
    let function = host.zip(aws).map(|(host, aws)| it.p50_ms - host - aws);
    let kind = if it.of.is_some() { "AWS: " } else { "" };
    row! {
        "": format!("{kind}{}", it.name), "clients": connections, "p50": it.p50_ms, "p99": it.p99_ms,
        "requests/s": it.requests_per_second, "host": host, "AWS calls": aws, "function": function,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bench::Absent;
    use crate::bench::targets::targets;

    fn row(name: &str, cold: f64) -> Row {
        let spread = |value| Spread {
            p10: value,
            p50: value,
            p90: value,
        };
        let call = |calls| {
            let operation = OperationCounts {
                calls,
                read_units: 0.5,
                ..OperationCounts::default()
            };
            BTreeMap::from([("DynamoDB.GetItem".to_owned(), operation)])
        };
        Row {
            name: name.to_owned(),
            note: "a note".to_owned(),
            cold_starts: 25,
            warm_invocations: 350,
            cold_cpu_ms: spread(cold),
            init_cpu_ms: spread(cold / 2.0),
            first_cpu_ms: spread(cold / 2.0),
            warm_cpu_ms: spread(0.25),
            warm_calls: call(1),
            cold_calls: call(2),
            ..Row::default()
        }
    }

    fn some_results() -> Results {
        let warm = |name: &str, of, p50_ms| warm_path::Row {
            name: name.to_owned(),
            of,
            connections: 1,
            p50_ms,
            p99_ms: 2.5,
            requests_per_second: 1234.5,
        };
        let mut results = Results {
            functions: vec![row("get-product", 3.0)],
            peers: vec![row("floor", 1.2)],
            absent: vec![Absent {
                name: "python".to_owned(),
                reason: "no network".to_owned(),
            }],
            warm_path: vec![
                warm("floor", None, 0.5),
                warm("get-product", None, 1.5),
                warm("GetItem", Some("get-product".to_owned()), 0.25),
            ],
            ..Results::default()
        };
        results.targets = targets(&results);
        results
    }

    #[test]
    fn the_tables_compare_with_the_floor_and_give_each_part_its_share() {
        let text = results(&some_results());
        let unspaced = text.split_whitespace().collect::<Vec<_>>().join(" ");
        for told in [
            "get-product 2.50 2.50 2.50 1 a note",
            "get-product 1 GetItem 0.50 0 2 GetItem",
            "get-product 1 1.50 2.50 1234 0.50 0.25 0.75",
            "python no network",
            "cold CPU of get-product / floor, as on AWS <= 1.9 2.5 FAIL",
        ] {
            assert!(unspaced.contains(told), "{told}\n{text}");
        }
        assert!(
            text.lines().all(|line| line.chars().count() <= 100),
            "{text}"
        );
    }

    #[test]
    fn a_benchmark_that_was_cut_short_says_so_and_judges_nothing() {
        let text = results(&Results {
            interrupted_by: Some("SIGINT".to_owned()),
            targets: Vec::new(),
            ..some_results()
        });
        assert!(
            text.contains("PARTIAL: interrupted by SIGINT; ") && !text.contains("Passed"),
            "{text}"
        );
    }
}
