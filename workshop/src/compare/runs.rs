//! Two load tests that were run earlier: what both have counted and recorded.

use std::collections::BTreeMap;

use local::events::Caller;
use serde::Deserialize;

use crate::machine::MEASURED;
use crate::ratio::NO_DIFFERENCE;
use crate::report::model::{Fact, Kind, Outcome, Report, Section, Table, VERSION};
use crate::table::{row, table};

/// What a comparison reads of a load test's summary.
#[derive(Debug, Deserialize)]
pub struct Run {
    #[serde(default)]
    aws_calls: Option<BTreeMap<String, Caller>>,
    functions: Vec<RunFunction>,
    routes: Vec<RunRoute>,
    #[serde(default)]
    started_at: String,
    #[serde(default)]
    commit: Option<String>,
}

#[derive(Debug, Deserialize)]
struct RunFunction {
    name: String,
    invocations: u64,
    duration_p50_ms: Option<f64>,
}

#[derive(Debug, Deserialize)]
struct RunRoute {
    route: String,
    p50_ms: Option<f64>,
    p99_ms: Option<f64>,
}

impl Run {
    fn describe(&self) -> String {
        let commit = self.commit.as_deref().unwrap_or("unknown");
        format!("{}, commit {commit}", self.started_at)
    }

    /// Calls, units and connections for each invocation. A cold start has calls of its own, and the mix is random, so
    /// that only tenths count.
    fn causes(&self) -> BTreeMap<String, f64> {
        let mut causes = BTreeMap::new();
        for function in &self.functions {
            let calls = self
                .aws_calls
                .as_ref()
                .and_then(|all| all.get(&function.name));
            for (operation, it) in calls.iter().flat_map(|caller| &caller.operations) {
                let each = it.calls as f64 / function.invocations.max(1) as f64;
                let what = format!("{} {operation}: calls an invocation", function.name);
                causes.insert(what, (each * 10.0).round() / 10.0);
            }
        }
        causes
    }

    /// As recorded, in ms.
    fn times(&self) -> BTreeMap<String, f64> {
        let functions = self
            .functions
            .iter()
            .map(|it| (format!("{} duration p50", it.name), it.duration_p50_ms));
        let routes = self.routes.iter().flat_map(|it| {
            [("p50", it.p50_ms), ("p99", it.p99_ms)]
                .map(|(name, ms)| (format!("{} {name}", it.route), ms))
        });
        functions
            .chain(routes)
            .filter_map(|(what, ms)| Some((what, ms?)))
            .collect()
    }
}

/// Compares what two load tests have recorded; only counts are judged.
pub fn compare(before: &Run, after: &Run) -> (bool, String, Report) {
    let (old, new) = (before.causes(), after.causes());
    let both = old
        .iter()
        .filter_map(|(what, old)| Some((what, *old, *new.get(what)?)));
    let both: Vec<_> = both.collect();
    let differ = both.iter().filter(|(_, old, new)| old != new);
    let rows = differ
        .map(|(what, old, new)| row! { "counted": what.as_str(), "before": *old, "after": *new });
    let causes: Vec<_> = rows.collect();
    let more = both.iter().any(|(_, old, new)| new > old);
    let counted = format!("Counted causes that differ, of {}", both.len());
    let (old, new) = (before.times(), after.times());
    let rows = old.iter().filter_map(|(what, old)| {
        Some(row! { "time, ms": what.as_str(), "before": *old, "after": *new.get(what)? })
    });
    let times: Vec<_> = rows.collect();
    let recorded = "Times as recorded: two runs at two times, so nothing is said of a difference";
    let verdict = if more {
        "there are more calls"
    } else {
        NO_DIFFERENCE
    };
    let report = Report {
        version: VERSION,
        kind: Kind::Comparison,
        title: "Comparison of two load tests".to_owned(),
        started_at: after.started_at.clone(),
        outcome: if more {
            Outcome::Failed
        } else {
            Outcome::Passed
        },
        verdict: format!("Of the counts: {verdict}."),
        gates: Vec::new(),
        gates_origin: MEASURED.to_owned(),
        facts: vec![
            Fact::new("before", before.describe()),
            Fact::new("after", after.describe()),
        ],
        sections: vec![Section {
            id: "recorded".to_owned(),
            title: "What both have recorded".to_owned(),
            tables: vec![
                Table::of_rows(&counted, MEASURED, causes.clone()),
                Table::of_rows(recorded, MEASURED, times.clone()),
            ],
            ..Section::default()
        }],
    };
    let causes = table(&counted, MEASURED, causes);
    let times = table(recorded, MEASURED, times);
    (!more, format!("{causes}\n\n{times}\n\n{verdict}"), report)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn run(calls: u64, p50: f64) -> Run {
        let run = json!({
            "aws_calls": {"F": {"operations": {"DynamoDB.GetItem": {"calls": calls}}}},
            "functions": [{"name": "F", "invocations": 1000, "duration_p50_ms": p50}],
            "routes": [{"route": "GET /f", "p50_ms": p50}]
        });
        serde_json::from_value(run).unwrap()
    }

    #[test]
    fn of_two_load_tests_only_the_calls_are_judged() {
        let (fine, said, report) = compare(&run(1002, 1.0), &run(1004, 3.0));
        assert_eq!(report.outcome, Outcome::Passed);
        assert_eq!(report.sections[0].tables[1].rows.len(), 2);
        assert!(fine && said.ends_with(NO_DIFFERENCE), "{said}");
        assert!(said.contains("GET /f p50"), "{said}");
        let (fine, said, report) = compare(&run(1002, 1.0), &run(2002, 1.0));
        assert_eq!(report.verdict, "Of the counts: there are more calls.");
        assert!(!fine && said.ends_with("there are more calls"), "{said}");
    }
}
