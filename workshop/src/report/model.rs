//! A report: the same for a load test, a benchmark, a comparison, a power curve and a lesson. Its JSON is `report.json`, which
//! `report.schema.json` describes; the page and the Markdown show it.

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::gates::Gate;
use crate::machine::{Machine, conditions};
use crate::table::Row;
use local::conditions::Medians;

/// Of the JSON. It goes up when a reader would have to change.
pub const VERSION: u32 = 1;

/// A whole report.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Report {
    pub version: u32,
    pub kind: Kind,
    pub title: String,
    /// RFC 3339.
    pub started_at: String,
    pub outcome: Outcome,
    /// The outcome in one sentence.
    pub verdict: String,
    /// What it was held to; those that failed come first.
    pub gates: Vec<Judged>,
    /// Of the gates' values.
    pub gates_origin: String,
    /// Machine, commit, conditions, seed.
    pub facts: Vec<Fact>,
    pub sections: Vec<Section>,
}

/// The verb that it is of.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    LoadTest,
    Benchmark,
    Comparison,
    PowerCurve,
    Lesson,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    Passed,
    Failed,
    /// It was cut short, and nothing was judged.
    Partial,
    /// There was nothing to judge.
    Unjudged,
}

/// A gate, and the distance to its limit.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Judged {
    pub name: String,
    pub limit: String,
    pub value: Option<f64>,
    pub pass: bool,
    /// By how much it failed, or how much was left.
    pub by: String,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Fact {
    pub name: String,
    pub value: String,
}

/// A part of the page. Notes come first, then its tables and its charts.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Section {
    /// For links.
    pub id: String,
    pub title: String,
    pub notes: Vec<String>,
    pub tables: Vec<Table>,
    pub charts: Vec<Chart>,
}

/// Numbers with their names, units and origin. Null is what is not known.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Table {
    pub title: String,
    /// Such as `measured here`.
    pub origin: String,
    pub columns: Vec<Column>,
    pub rows: Vec<Vec<Value>>,
}

#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Column {
    pub name: String,
    /// Empty for a text or a count.
    pub unit: String,
    /// A line in the chart that its values are held to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub limit: Option<f64>,
}

/// A picture of its tables, which are the numbers for who cannot see it.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Chart {
    pub id: String,
    pub kind: ChartKind,
    pub title: String,
    /// The picture in words.
    pub text: String,
    pub tables: Vec<Table>,
}

/// How a chart is drawn, and from which columns of its first table.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ChartKind {
    /// `from`, `to`, then counts that are put upon each other.
    Histogram,
    /// Each stretch of time with `p50`, `p99` and `worst`; the second table has cold starts, the third other answers.
    Latency,
    /// A stretch of time, then levels that are put upon each other; `gone` is a line.
    States,
    /// What changes, then a line for each column in a field of its own.
    Lines,
    /// `step`, `kind`, `begin`, `time`.
    Waterfall,
    /// A name, `value`, and its `low` and `high`.
    Bars,
    /// A name, `ratio`, and its `from` and `to`.
    Ratios,
}

impl Table {
    pub fn new(title: &str, origin: &str, columns: &[(&str, &str)]) -> Self {
        let columns = columns.iter().map(|(name, unit)| Column {
            name: (*name).to_owned(),
            unit: (*unit).to_owned(),
            limit: None,
        });
        Self {
            title: title.to_owned(),
            origin: origin.to_owned(),
            columns: columns.collect(),
            rows: Vec::new(),
        }
    }

    pub fn with(mut self, rows: impl IntoIterator<Item = Vec<Value>>) -> Self {
        self.rows = rows.into_iter().collect();
        self
    }

    /// Rows as the terminal's tables have them, with their headers.
    pub fn of_rows(title: &str, origin: &str, rows: impl IntoIterator<Item = Row>) -> Self {
        let rows: Vec<Row> = rows.into_iter().collect();
        let first = rows.first().into_iter().flatten();
        let columns: Vec<_> = first.map(|(header, _)| (*header, "")).collect();
        let cells = |row: Row| row.into_iter().map(|(_, cell)| cell).collect();
        Self::new(title, origin, &columns).with(rows.into_iter().map(cells))
    }

    /// Sets the limit of a column.
    pub fn limited(mut self, name: &str, limit: f64) -> Self {
        for column in self.columns.iter_mut().filter(|it| it.name == name) {
            column.limit = Some(limit);
        }
        self
    }
}

/// Cells of a row.
macro_rules! cells {
    ($($cell:expr),* $(,)?) => { vec![$(serde_json::Value::from($cell)),*] };
}
pub(crate) use cells;

/// A number for a chart: to thousandths, which nobody sees and which keeps the file small.
pub fn rounded(value: f64) -> Value {
    ((value * 1000.0).round() / 1000.0).into()
}

/// As [`rounded`]; null for what is not known.
pub fn known(value: Option<f64>) -> Value {
    value.map_or(Value::Null, rounded)
}

impl Fact {
    pub fn new(name: &str, value: impl Into<String>) -> Self {
        Self {
            name: name.to_owned(),
            value: value.into(),
        }
    }
}

/// The facts of every run.
pub fn facts(machine: &Machine, commit: Option<&str>, known: Option<&Medians>) -> Vec<Fact> {
    let mut facts = vec![Fact::new("machine", machine.describe().replace('\n', "; "))];
    facts.extend(commit.map(|commit| Fact::new("commit", commit)));
    facts.push(Fact::new("conditions", conditions(known)));
    facts.extend(known.map(|known| Fact::new("seed", known.seed.to_string())));
    facts
}

/// The outcome and its sentence, and the gates with those that failed first. `what` are they called: `gates`.
pub fn judged(
    gates: &[Gate],
    interrupted_by: Option<&str>,
    what: &str,
) -> (Outcome, String, Vec<Judged>) {
    let mut judged: Vec<_> = gates.iter().map(Judged::of).collect();
    judged.sort_by_key(|gate| gate.pass);
    let failed: Vec<_> = judged.iter().filter(|gate| !gate.pass).collect();
    let (outcome, verdict) = match (interrupted_by, failed.first()) {
        (Some(signal), _) => (
            Outcome::Partial,
            format!(
                "Cut short by {signal}. This is what was measured until then, and nothing was judged."
            ),
        ),
        (None, _) if gates.is_empty() => (
            Outcome::Unjudged,
            format!("There were no {what} to judge it by."),
        ),
        (None, None) => (
            Outcome::Passed,
            format!("All {} {what} passed.", gates.len()),
        ),
        (None, Some(first)) => (
            Outcome::Failed,
            format!(
                "{} of {} {what} failed. The first: {}, {}.",
                failed.len(),
                gates.len(),
                first.name,
                first.by
            ),
        ),
    };
    (outcome, verdict, judged)
}

impl Judged {
    fn of(gate: &Gate) -> Self {
        Self {
            name: gate.name.clone(),
            limit: gate.limit.clone(),
            value: gate.value,
            pass: gate.pass,
            by: distance(gate),
        }
    }
}

/// The distance of a gate's value to its limit, in words.
fn distance(gate: &Gate) -> String {
    let Some(value) = gate.value else {
        return "it never occurred, or is not known".to_owned();
    };
    let limit = gate.limit.rsplit(' ').next().unwrap_or_default();
    let Ok(limit) = limit.parse::<f64>() else {
        return String::new();
    };
    let (away, times) = ((value - limit).abs(), value / limit);
    let side = if value > limit { "above" } else { "below" };
    match () {
        () if away == 0.0 => "at the limit".to_owned(),
        () if limit == 0.0 || !times.is_finite() || times <= 0.0 => {
            format!("{} {side}", short(away))
        }
        () if times >= 2.0 => format!("{} above, {} times the limit", short(away), short(times)),
        () => format!(
            "{} {side}, {} % of the limit",
            short(away),
            short(100.0 * times)
        ),
    }
}

/// A number with three digits, and without zeros at its end.
pub fn short(value: f64) -> String {
    if value == 0.0 || !value.is_finite() {
        return value.to_string();
    }
    let digits = 2 - value.abs().log10().floor() as i32;
    let scale = 10_f64.powi(digits.max(0));
    let rounded = (value * scale).round() / scale;
    rounded.to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_gate_says_by_how_much() {
        for (gate, by) in [
            (
                Gate::new("a", "<", 100.0, Some(1234.5)),
                "1135 above, 12.3 times the limit",
            ),
            (
                Gate::new("a", "<", 100.0, Some(150.0)),
                "50 above, 150 % of the limit",
            ),
            (
                Gate::new("a", "<", 100.0, Some(41.7)),
                "58.3 below, 41.7 % of the limit",
            ),
            (
                Gate::new("a", ">=", 200.0, Some(150.0)),
                "50 below, 75 % of the limit",
            ),
            (Gate::new("a", "==", 0.0, Some(3.0)), "3 above"),
            (Gate::new("a", "==", 0.0, Some(0.0)), "at the limit"),
            (
                Gate::new("a", ">", 0.0, None),
                "it never occurred, or is not known",
            ),
        ] {
            assert_eq!(distance(&gate), by);
        }
    }

    #[test]
    fn what_failed_comes_first_and_the_verdict_names_it() {
        let gates = [
            Gate::new("fine", "<", 10.0, Some(1.0)),
            Gate::new("slow", "<", 10.0, Some(30.0)),
        ];
        let (outcome, verdict, judged) = super::judged(&gates, None, "gates");
        assert_eq!(
            (outcome, judged[0].name.as_str()),
            (Outcome::Failed, "slow")
        );
        assert_eq!(
            verdict,
            "1 of 2 gates failed. The first: slow, 20 above, 3 times the limit."
        );
        let (outcome, verdict, _) = super::judged(&gates[..1], None, "gates");
        assert_eq!(
            (outcome, verdict.as_str()),
            (Outcome::Passed, "All 1 gates passed.")
        );
        assert_eq!(super::judged(&[], None, "gates").0, Outcome::Unjudged);
        let (outcome, verdict, _) = super::judged(&[], Some("SIGINT"), "gates");
        assert_eq!(outcome, Outcome::Partial);
        assert!(verdict.starts_with("Cut short by SIGINT."), "{verdict}");
    }
}
