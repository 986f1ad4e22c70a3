//! Each block of figures, as Markdown.

use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use super::Figures;
use crate::bench::{LambdaRow, Row, SIZES, Spread};
use crate::machine::Machine;
use crate::render;
use crate::summary::Route;
use crate::table::three_digits;

type Block = fn(&Figures) -> String;

/// By the name in a page.
pub const BLOCKS: [(&str, Block); 8] = [
    ("answer", answer),
    ("printed", printed),
    ("routes", routes),
    ("cold starts", cold_starts),
    ("peers under conditions", under_conditions),
    ("peers", peers),
    ("roots", roots),
    ("targets", targets),
];

/// The programs that differ by more than their roots, with what a reader knows them by.
const PROGRAMS: [(&str, &str); 7] = [
    ("get-product", "`get-product`, Rust as here"),
    ("sdk-defaults", "Rust, every default of the SDK"),
    ("go", "Go"),
    ("node", "Node.js"),
    ("python", "Python"),
    ("floor", "the floor: Rust with `lambda_http`, no call"),
    ("floor-std", "the floor on `std` alone"),
];

/// A number with three digits; a dash for what is not known.
fn number(value: Option<f64>) -> String {
    value.map_or_else(
        || "-".to_owned(),
        |value| match value {
            value if value >= 1000.0 => count(value.round() as u64),
            value => three_digits(value, false),
        },
    )
}

/// A value beside a limit: to hundredths, without zeros at its end.
fn plain(value: Option<f64>) -> String {
    let rounded = value.map(|value| (value * 100.0).round() / 100.0);
    rounded.map_or_else(|| "-".to_owned(), |value| value.to_string())
}

/// `12,345`.
fn count(value: u64) -> String {
    let digits = value.to_string();
    let begin = digits.len() % 3;
    let (head, tail) = digits.split_at(begin);
    let groups = tail.as_bytes().chunks(3).map(String::from_utf8_lossy);
    let parts = (!head.is_empty())
        .then(|| head.into())
        .into_iter()
        .chain(groups);
    parts.collect::<Vec<_>>().join(",")
}

fn spread(of: Spread) -> String {
    let [p10, p50, p90] = [of.p10, of.p50, of.p90].map(|ms| number(Some(ms)));
    format!("{p50} ({p10} to {p90})")
}

/// `28 November 2026`.
fn date(started_at: &str) -> String {
    OffsetDateTime::parse(started_at, &Rfc3339).map_or_else(
        |_| started_at.to_owned(),
        |at| format!("{} {} {}", at.day(), at.month(), at.year()),
    )
}

/// Where and of what: the end of a sentence.
fn origin(of: &Machine, started_at: &str, commit: Option<&str>) -> String {
    let commit: String = commit.unwrap_or("unknown").chars().take(9).collect();
    let cpu = of.cpu.as_deref().unwrap_or("unknown processor");
    let (cores, memory, os, date) = (of.cores, of.memory_gb, &of.os, date(started_at));
    format!("{cpu}, {cores} cores, {memory} GB, {os}, {date}, commit {commit}")
}

fn table(header: &[&str], rows: impl IntoIterator<Item = Vec<String>>) -> String {
    let rules = header.iter().enumerate();
    let rules: Vec<_> = rules
        .map(|(at, _)| if at == 0 { "---" } else { "---:" })
        .collect();
    let mut text = format!("| {} |\n|{}|\n", header.join(" | "), rules.join("|"));
    for row in rows {
        text += &format!("| {} |\n", row.join(" | "));
    }
    text
}

fn successes(route: &Route) -> u64 {
    let good = route
        .statuses
        .iter()
        .filter(|(status, _)| status.starts_with('2'));
    good.map(|(_, count)| count).sum()
}

/// The first sentence of the README on what was found.
fn answer(Figures { load_test, .. }: &Figures) -> String {
    let load = &load_test.load;
    let worst = load.routes.iter().filter_map(|it| it.successes.p99_ms);
    let worst = worst.fold(0.0, f64::max);
    let passed = load.gates.iter().filter(|gate| gate.pass).count();
    format!(
        "*Simulated here*, {}: at {} requests a second every route answered 99 of 100 within {} ms, and {passed} of {} gates \
         passed.",
        origin(
            &load_test.machine,
            &load_test.started_at,
            load_test.commit.as_deref()
        ),
        number(load.requests_per_second),
        number(Some(worst)),
        load.gates.len(),
    )
}

/// The middle of what `make load-test` prints, and its end.
fn printed(Figures { load_test, .. }: &Figures) -> String {
    let (load, origin) = (&load_test.load, &load_test.origin);
    let tables = render::load(load, &origin.routes);
    let gates = render::gates("Gates", &load.gates, &origin.gates);
    let verdict = gates.lines().last().unwrap_or_default();
    let first = tables.first().map_or("", String::as_str);
    format!("```\n{first}\n...\n{verdict}\n\nReport: target/load-test/report.html\n```")
}

fn routes(Figures { load_test, .. }: &Figures) -> String {
    let load = &load_test.load;
    let header = [
        "route",
        "successes",
        "p50 ms",
        "p95 ms",
        "p99 ms",
        "worst ms",
    ];
    let rows = load.routes.iter().map(|route| {
        let times = route.successes;
        let times = [times.p50_ms, times.p95_ms, times.p99_ms, times.worst_ms].map(number);
        let head = [format!("`{}`", route.route), count(successes(route))];
        head.into_iter().chain(times).collect()
    });
    let orders = load.orders;
    format!(
        "*Simulated here*: `make load-test`, {}; conditions: {}. In {} s {} requests were sent, {} a second. Of {} accepted orders \
         {} were fulfilled and {} rejected.\n\n{}",
        origin(
            &load_test.machine,
            &load_test.started_at,
            load_test.commit.as_deref()
        ),
        crate::machine::conditions(load_test.conditions.as_ref()),
        number(load.seconds),
        count(load.requests()),
        number(load.requests_per_second),
        count(orders.accepted),
        count(orders.fulfilled),
        count(orders.rejected),
        table(&header, rows),
    )
}

fn cold_starts(Figures { load_test, .. }: &Figures) -> String {
    let header = [
        "cold starts of",
        "init and first run, p50 ms",
        "worst ms",
        "platform, p50 ms",
        "client waited, p50 ms",
    ];
    let rows = load_test.functions.iter().filter_map(|it| {
        let cold = it.cold.as_ref()?;
        let figures = [
            Some(cold.own_p50_ms),
            Some(cold.own_worst_ms),
            cold.platform_p50_ms,
            cold.wait_p50_ms,
        ];
        let name = format!("`{}`", it.name);
        Some([name].into_iter().chain(figures.map(number)).collect())
    });
    table(&header, rows)
}

fn row<'a>(figures: &'a Figures, name: &str) -> Option<&'a Row> {
    let bench = &figures.bench;
    let mut all = bench.functions.iter().chain(&bench.peers);
    all.find(|row| row.name == name)
}

fn under_conditions(figures: &Figures) -> String {
    let bench = &figures.bench;
    let Some(lambda) = &bench.lambda else {
        return String::new(); // such a benchmark is refused
    };
    let of = |name: &str, memory: u32| {
        let mut rows = lambda.rows.iter();
        rows.find(|row| row.name == name && row.memory_mb == memory)
    };
    let part = |title: &str, of_row: fn(&LambdaRow) -> Spread| {
        let sizes = SIZES.map(|memory| format!("{} MB", count(memory.into())));
        let header = [title].into_iter().chain(sizes.iter().map(String::as_str));
        let rows = PROGRAMS.into_iter().filter_map(|(name, known_as)| {
            let figures = SIZES.map(|memory| Some(spread(of_row(of(name, memory)?))));
            let figures: Vec<_> = figures.into_iter().collect::<Option<_>>()?;
            Some([known_as.to_owned()].into_iter().chain(figures).collect())
        });
        table(&header.collect::<Vec<_>>(), rows)
    };
    format!(
        "*Simulated here*: `make bench`, {}; conditions: {}. Ms at the median, with the 10th and 90th percentile, of {} cold \
         starts and {} warm runs of each; {} runs of each came before the warm ones.\n\n{}\n{}",
        origin(&bench.machine, &bench.started_at, bench.commit.as_deref()),
        crate::machine::conditions(lambda.conditions.as_ref()),
        lambda.cold_starts,
        count(lambda.warm_runs.into()),
        count(lambda.warm_up.into()),
        part("cold start: init and first run", |row| row.cold_ms),
        part("warm run", |row| row.warm_ms),
    )
}

fn peers(figures: &Figures) -> String {
    let bench = &figures.bench;
    let mb = |bytes: f64| match bytes / 1e6 {
        mb if mb < 0.01 => "less than 0.01 MB".to_owned(),
        mb => format!("{mb:.2} MB"),
    };
    let header = [
        "",
        "cold",
        "init",
        "first",
        "warm",
        "peak memory",
        "binary",
        "zip",
        "crates",
        "instructions, warm",
    ];
    let rows = PROGRAMS.into_iter().filter_map(|(name, known_as)| {
        let row = row(figures, name)?;
        let counted = bench.instructions.iter().find(|it| it.name == name);
        let warm = counted.and_then(|it| it.warm);
        let ms = [
            row.cold_cpu_ms,
            row.init_cpu_ms,
            row.first_cpu_ms,
            row.warm_cpu_ms,
        ];
        let ms = ms.map(|ms| number(Some(ms.p50)));
        let binary = row.binary_bytes.map(|bytes| mb(bytes as f64));
        let more = [
            format!("{:.0} MB", row.peak_memory_mb),
            binary.unwrap_or_default(),
            mb(row.zip_bytes as f64),
            row.crates.map(|it| it.to_string()).unwrap_or_default(),
            warm.map(|it| format!("{} M", number(Some(it))))
                .unwrap_or_default(),
        ];
        Some(
            [known_as.to_owned()]
                .into_iter()
                .chain(ms)
                .chain(more)
                .collect(),
        )
    });
    let table = table(&header, rows);
    let floor = bench.peers.first();
    format!(
        "*Measured here*: `make bench`, {}. CPU milliseconds, medians of {} cold starts and {} warm invocations of each.\n\n{table}",
        origin(&bench.machine, &bench.started_at, bench.commit.as_deref()),
        floor.map_or(0, |it| it.cold_starts),
        floor.map_or(0, |it| it.warm_invocations),
    )
}

fn roots(figures: &Figures) -> String {
    let header = [
        "roots of `get-product`",
        "cold",
        "times the floor",
        "init",
        "instructions of init",
    ];
    let variants = [
        ("get-product", "Amazon's five, compiled in: **as on AWS**"),
        (
            "one-root",
            "one, handed over in `SSL_CERT_FILE`: as `local` runs it",
        ),
        (
            "system-roots",
            "the system's, in `SSL_CERT_FILE`: as it was on AWS before",
        ),
    ];
    let rows = variants.into_iter().filter_map(|(name, known_as)| {
        let (row, floor) = (row(figures, name)?, row(figures, "floor")?);
        let counted = figures.bench.instructions.iter().find(|it| it.name == name);
        let instructions = counted
            .and_then(|it| it.init)
            .map(|it| format!("{it:.1} M"));
        let (cold, init) = (row.cold_cpu_ms.p50, row.init_cpu_ms.p50);
        let ms = [cold, cold / floor.cold_cpu_ms.p50, init].map(|it| number(Some(it)));
        Some(
            [known_as.to_owned()]
                .into_iter()
                .chain(ms)
                .chain(instructions)
                .collect(),
        )
    });
    table(&header, rows)
}

fn targets(figures: &Figures) -> String {
    let bench = &figures.bench;
    let header = ["target", "limit", "value", "95 % within", ""];
    let rows = bench.targets.iter().map(|gate| {
        let noise = bench.noise.get(&gate.name);
        let interval =
            noise.map(|it| format!("{} to {}", number(Some(it.from)), number(Some(it.to))));
        let within = noise.is_some_and(|it| it.holds_limit_of(gate));
        let verdict = if gate.pass { "reached" } else { "**missed**" };
        let noise = if within { ", within its noise" } else { "" };
        let (name, limit) = (gate.name.clone(), format!("`{}`", gate.limit));
        vec![
            name,
            limit,
            plain(gate.value),
            interval.unwrap_or_default(),
            format!("{verdict}{noise}"),
        ]
    });
    table(&header, rows)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_and_dates_are_as_people_write_them() {
        assert_eq!(
            [7, 999, 1000, 1_234_567].map(count),
            ["7", "999", "1,000", "1,234,567"]
        );
        assert_eq!(date("2026-11-08T21:09:09.756954316Z"), "8 November 2026");
        assert_eq!(number(None), "-");
        let of = Spread {
            p10: 1.0,
            p50: 2.345,
            p90: 123.4,
        };
        assert_eq!(spread(of), "2.35 (1.00 to 123)");
    }
}
