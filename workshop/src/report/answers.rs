//! The client's side: each answer's latency by route, as a histogram and over time, cold starts beside the rest.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

use super::model::{Chart, ChartKind, Section, Table, cells, known, rounded};
use crate::artillery::Record;
use crate::percentile::{percentile, worst};

/// Ms that people still feel as "at once" (load-tests/artillery.yml).
pub const AT_ONCE_MS: f64 = 100.0;

/// Answers that a chart draws beside its cold starts. More make the page slow, and nobody sees a difference.
const DRAWN: usize = 400;

/// Of these so many are the slowest; the others are taken at equal distances.
const SLOWEST: usize = 60;

/// Bars of a histogram in each power of ten.
const BARS: f64 = 10.0;

/// Stretches of time that a run is divided into at most.
const STRETCHES: f64 = 120.0;

/// The time of a run in equal stretches of whole seconds.
#[derive(Debug, Clone, Copy)]
pub struct Clock {
    /// When the load began, in ms since 1970.
    pub begin: f64,
    /// Seconds of a stretch.
    pub each: f64,
    pub stretches: usize,
}

impl Clock {
    /// From the beginning to the end of a run, in ms since 1970.
    pub fn new(begin: f64, end: f64) -> Self {
        let seconds = ((end - begin) / 1000.0).max(1.0).ceil();
        let each = (seconds / STRETCHES).ceil();
        let stretches = (seconds / each).ceil() as usize;
        Self {
            begin,
            each,
            stretches,
        }
    }

    /// Seconds since the beginning.
    pub fn second(&self, at: f64) -> f64 {
        (at - self.begin) / 1000.0
    }

    /// The stretch of this moment; the last for all that comes later.
    pub fn stretch(&self, at: f64) -> usize {
        let index = (self.second(at) / self.each).max(0.0) as usize;
        index.min(self.stretches - 1)
    }

    /// The second at which a stretch begins.
    pub fn begins(&self, stretch: usize) -> f64 {
        stretch as f64 * self.each
    }

    /// The stretch as a title has it.
    pub fn name(&self) -> String {
        match self.each {
            1.0 => "each second".to_owned(),
            each => format!("each {each} s"),
        }
    }
}

/// Whether an answer came from a cold start: by the log of this machine's host, or not known.
pub type Cold<'a> = Option<&'a BTreeSet<String>>;

fn is_cold(record: &Record, cold: Cold<'_>) -> bool {
    let id = record.id.as_ref();
    cold.zip(id).is_some_and(|(cold, id)| cold.contains(id))
}

fn is_success(record: &Record) -> bool {
    record.status / 100 == 2
}

/// The answers of each route.
pub fn section(records: &[Record], cold: Cold<'_>, clock: &Clock, origin: &str) -> Section {
    let mut routes: BTreeMap<&str, [Vec<&Record>; 2]> = BTreeMap::new();
    for record in records {
        let [successes, others] = routes.entry(&record.route).or_default();
        if is_success(record) {
            successes.push(record);
        } else if is_cold(record, cold) {
            others.push(record);
        }
    }
    let mut section = Section {
        id: "latency".to_owned(),
        title: "Latency of each route".to_owned(),
        ..Section::default()
    };
    if routes.is_empty() {
        let note = "No answer was recorded, so there is nothing to draw.";
        section.notes.push(note.to_owned());
        return section;
    }
    section.notes.push(format!(
        "Ms from a request to the first byte of its answer, of the successes (2xx). The line is at {AT_ONCE_MS} ms."
    ));
    if cold.is_none() {
        section.notes.push(
            "Which answers were cold starts is not known to the client: the log of a host on this machine says it, or the functions' logs on AWS."
                .to_owned(),
        );
    } else {
        section.notes.push(
            "Over the run every cold start is marked, those that ended with a refusal too."
                .to_owned(),
        );
        section.tables.push(beside(&routes, cold, origin));
    }
    for (index, (route, [answers, others])) in routes.iter().enumerate() {
        let chart = histogram(&format!("histogram-{index}"), route, answers, cold, origin);
        section.charts.push(chart);
        section.charts.push(over_time(
            &format!("over-time-{index}"),
            route,
            [answers, others],
            cold,
            clock,
            origin,
        ));
    }
    section
}

/// Cold starts beside warm answers.
fn beside(routes: &BTreeMap<&str, [Vec<&Record>; 2]>, cold: Cold<'_>, origin: &str) -> Table {
    let columns = [
        ("route", ""),
        ("warm answers", ""),
        ("p50", "ms"),
        ("p99", "ms"),
        ("worst", "ms"),
        ("cold starts", ""),
        ("cold p50", "ms"),
        ("cold worst", "ms"),
    ];
    let rows = routes.iter().map(|(route, [answers, _])| {
        let of = |want: bool| -> Vec<f64> {
            let answers = answers.iter().filter(|it| is_cold(it, cold) == want);
            answers.map(|it| it.ms).collect()
        };
        let (warm, cold) = (of(false), of(true));
        cells![
            *route,
            warm.len(),
            known(percentile(&warm, 50.0)),
            known(percentile(&warm, 99.0)),
            known(worst(&warm)),
            cold.len(),
            known(percentile(&cold, 50.0)),
            known(worst(&cold)),
        ]
    });
    Table::new("Cold beside warm", origin, &columns).with(rows)
}

/// Bars of equal width on a logarithmic scale, from the fastest answer to the slowest.
fn histogram(id: &str, route: &str, answers: &[&Record], cold: Cold<'_>, origin: &str) -> Chart {
    let bar = |ms: f64| (ms.max(0.01).log10() * BARS).floor() as i32;
    let edge = |bar: i32| rounded(10_f64.powf(f64::from(bar) / BARS));
    let mut bars: BTreeMap<i32, [u64; 2]> = BTreeMap::new();
    for answer in answers {
        let counts = bars.entry(bar(answer.ms)).or_default();
        counts[usize::from(is_cold(answer, cold))] += 1;
    }
    let title = "Answers by latency";
    let ends = bars.keys().min().copied().zip(bars.keys().max().copied());
    let (first, last) = ends.unwrap_or_default();
    let all = (first..=last).map(|bar| (bar, bars.get(&bar).copied().unwrap_or_default()));
    let table = if cold.is_some() {
        let columns = [("from", "ms"), ("to", "ms"), ("warm", ""), ("cold", "")];
        let rows = all.map(|(bar, [warm, cold])| cells![edge(bar), edge(bar + 1), warm, cold]);
        Table::new(title, origin, &columns).with(rows)
    } else {
        let columns = [("from", "ms"), ("to", "ms"), ("answers", "")];
        let rows = all.map(|(bar, [answers, _])| cells![edge(bar), edge(bar + 1), answers]);
        Table::new(title, origin, &columns).with(rows)
    };
    let times: Vec<_> = answers.iter().map(|it| it.ms).collect();
    let figure = |percent| percentile(&times, percent).map_or("-".to_owned(), super::model::short);
    Chart {
        id: id.to_owned(),
        kind: ChartKind::Histogram,
        title: route.to_owned(),
        text: format!(
            "Histogram of {} answers of {route}: median {} ms, 99th percentile {} ms, worst {} ms.",
            times.len(),
            figure(50.0),
            figure(99.0),
            figure(100.0)
        ),
        tables: vec![table.limited("to", AT_ONCE_MS)],
    }
}

/// The successes of a route over the run, and all of its cold starts; `others` are those that were no success.
fn over_time(
    id: &str,
    route: &str,
    [answers, others]: [&Vec<&Record>; 2],
    cold: Cold<'_>,
    clock: &Clock,
    origin: &str,
) -> Chart {
    let mut stretches = vec![Vec::new(); clock.stretches];
    for answer in answers {
        stretches[clock.stretch(answer.at)].push(answer.ms);
    }
    let columns = [
        ("second", "s"),
        ("answers", ""),
        ("p50", "ms"),
        ("p99", "ms"),
        ("worst", "ms"),
    ];
    let rows = stretches.iter().enumerate().map(|(index, times)| {
        cells![
            clock.begins(index),
            times.len(),
            known(percentile(times, 50.0)),
            known(percentile(times, 99.0)),
            known(worst(times)),
        ]
    });
    let mut tables = vec![
        Table::new(&clock.name(), origin, &columns)
            .with(rows)
            .limited("worst", AT_ONCE_MS),
    ];
    let (mut cold, warm): (Vec<_>, Vec<_>) = answers
        .iter()
        .copied()
        .partition(|answer| is_cold(answer, cold));
    cold.extend(others);
    cold.sort_by(|a, b| a.at.total_cmp(&b.at));
    let point = |it: &Record| cells![rounded(clock.second(it.at)), rounded(it.ms)];
    let columns = [("second", "s"), ("latency", "ms")];
    let cold_rows = cold
        .iter()
        .map(|it| [point(it), cells![it.status, it.id.clone()]].concat());
    let with_id = [columns[0], columns[1], ("status", ""), ("request id", "")];
    tables.push(Table::new("Every cold start", origin, &with_id).with(cold_rows));
    let drawn = thinned(&warm);
    let title = if drawn.len() < warm.len() {
        format!(
            "{} of {} other answers: the slowest {SLOWEST}, and the rest at equal distances",
            drawn.len(),
            warm.len()
        )
    } else {
        "All other answers".to_owned()
    };
    let rows = drawn.iter().map(|it| point(it));
    tables.push(Table::new(&title, origin, &columns).with(rows));
    let text = format!(
        "Latency of {route} over the run: median and 99th percentile of {}, {} cold starts marked, and {} other answers.",
        clock.name(),
        cold.len(),
        drawn.len()
    );
    Chart {
        id: id.to_owned(),
        kind: ChartKind::Latency,
        title: format!("{route} over the run"),
        text,
        tables,
    }
}

/// The slowest, and of the others so many that the chart is not overfull, in the order of time.
fn thinned<'a>(answers: &[&'a Record]) -> Vec<&'a Record> {
    let mut by_time = answers.to_vec();
    by_time.sort_by(|a, b| b.ms.total_cmp(&a.ms));
    let mut rest = by_time.split_off(SLOWEST.min(by_time.len()));
    rest.sort_by(|a, b| a.at.total_cmp(&b.at));
    let step = rest.len().div_ceil(DRAWN - SLOWEST).max(1);
    by_time.extend(rest.into_iter().step_by(step));
    by_time.sort_by(|a, b| a.at.total_cmp(&b.at));
    by_time
}

/// How many answers the API refused because of its throttle, in each stretch.
pub fn throttled(records: &[Record], clock: &Clock) -> Vec<Value> {
    let mut counts = vec![0; clock.stretches];
    for record in records.iter().filter(|record| record.status == 429) {
        counts[clock.stretch(record.at)] += 1;
    }
    counts.into_iter().map(Value::from).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(at: f64, ms: f64, id: &str) -> Record {
        Record {
            at,
            route: "GET /a".to_owned(),
            status: 200,
            ms,
            id: Some(id.to_owned()),
        }
    }

    fn section_of(records: &[Record], cold: Cold<'_>) -> Section {
        section(records, cold, &Clock::new(0.0, 3000.0), "measured here")
    }

    #[test]
    fn a_histogram_counts_each_success_once_cold_starts_apart() {
        let mut records: Vec<_> = (0..50)
            .map(|n| record(f64::from(n) * 50.0, 10.0 + f64::from(n), &n.to_string()))
            .collect();
        records.push(record(10.0, 140.0, "cold"));
        for id in ["refused", "cold refusal"] {
            records.push(Record {
                status: 404,
                ..record(11.0, 1.0, id)
            });
        }
        let cold = BTreeSet::from(["cold".to_owned(), "cold refusal".to_owned()]);
        let section = section_of(&records, Some(&cold));
        let bars = &section.charts[0].tables[0].rows;
        let sum = |column: usize| {
            bars.iter()
                .filter_map(|row| row[column].as_u64())
                .sum::<u64>()
        };
        assert_eq!((sum(2), sum(3)), (50, 1));
        // No gap: an empty bar is a bar of zero.
        for pair in bars.windows(2) {
            assert_eq!(pair[0][1], pair[1][0]);
        }
        let last = bars.last().unwrap();
        assert!(last[0].as_f64() <= Some(140.0) && last[1].as_f64() > Some(140.0));
        let [warm, cold] = [1, 5].map(|column| section.tables[0].rows[0][column].as_u64());
        assert_eq!((warm, cold), (Some(50), Some(1)));
        // Over the run the cold refusal is marked too.
        let [stretches, cold, _] = &section.charts[1].tables[..] else {
            panic!("three tables")
        };
        let statuses: Vec<_> = cold.rows.iter().filter_map(|row| row[2].as_u64()).collect();
        assert_eq!(statuses, [200, 404]);
        let answers = stretches.rows.iter().filter_map(|row| row[1].as_u64());
        assert_eq!(answers.sum::<u64>(), 51);
    }

    #[test]
    fn each_cold_start_and_the_slowest_are_drawn_and_the_rest_is_thinned() {
        let records: Vec<_> = (0..5000)
            .map(|n| record(f64::from(n), f64::from(n % 977), &n.to_string()))
            .collect();
        let cold: BTreeSet<_> = (0..700).map(|n| n.to_string()).collect();
        let section = section_of(&records, Some(&cold));
        let [stretches, cold, rest] = &section.charts[1].tables[..] else {
            panic!("three tables")
        };
        assert_eq!((stretches.rows.len(), cold.rows.len()), (3, 700));
        assert!(rest.rows.len() <= DRAWN && rest.rows.len() > DRAWN / 2);
        assert!(
            rest.title.contains("of 4300 other answers"),
            "{}",
            rest.title
        );
        assert!(rest.rows.iter().any(|row| row[1] == 976.0));
        let answers = stretches.rows.iter().filter_map(|row| row[1].as_u64());
        assert_eq!(answers.sum::<u64>(), 5000);
    }

    #[test]
    fn cold_starts_that_are_not_known_are_not_drawn_as_none() {
        let section = section_of(&[record(1.0, 2.0, "a")], None);
        assert!(section.tables.is_empty());
        assert_eq!(section.charts[0].tables[0].columns[2].name, "answers");
        assert!(section.notes[1].starts_with("Which answers were cold starts is not known"));
    }

    #[test]
    fn a_run_without_an_answer_says_so() {
        let section = section_of(&[], None);
        assert!(section.charts.is_empty());
        assert!(section.notes[0].starts_with("No answer was recorded"));
    }

    #[test]
    fn a_long_run_has_no_more_stretches_than_a_chart_can_show() {
        let clock = Clock::new(1000.0, 601_000.0);
        assert_eq!((clock.each, clock.stretches), (5.0, 120));
        assert_eq!((clock.stretch(6000.0), clock.stretch(9e9)), (1, 119));
        assert_eq!(Clock::new(0.0, 0.0).stretches, 1);
    }
}
