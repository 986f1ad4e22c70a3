//! Two load tests that were run earlier: what both have counted and recorded.

use std::collections::BTreeMap;

use local::events::Caller;
use serde::Deserialize;

use super::render::NO_DIFFERENCE;
use crate::machine::MEASURED;
use crate::table::{row, table};

/// What a comparison reads of a load test's summary.
#[derive(Debug, Deserialize)]
pub struct Run {
    #[serde(default)]
    aws_calls: Option<BTreeMap<String, Caller>>,
    functions: Vec<RunFunction>,
    routes: Vec<RunRoute>,
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
pub fn compare(before: &Run, after: &Run) -> (bool, String) {
    let (old, new) = (before.causes(), after.causes());
    let both = old
        .iter()
        .filter_map(|(what, old)| Some((what, *old, *new.get(what)?)));
    let both: Vec<_> = both.collect();
    let differ = both.iter().filter(|(_, old, new)| old != new);
    let rows = differ
        .map(|(what, old, new)| row! { "counted": what.as_str(), "before": *old, "after": *new });
    let more = both.iter().any(|(_, old, new)| new > old);
    let causes = table(
        &format!("Counted causes that differ, of {}", both.len()),
        MEASURED,
        rows,
    );
    let (old, new) = (before.times(), after.times());
    let rows = old.iter().filter_map(|(what, old)| {
        Some(row! { "time, ms": what.as_str(), "before": *old, "after": *new.get(what)? })
    });
    let times = table(
        "Times as recorded: two runs at two times, so nothing is said of a difference",
        MEASURED,
        rows,
    );
    let verdict = if more {
        "there are more calls"
    } else {
        NO_DIFFERENCE
    };
    (!more, format!("{causes}\n\n{times}\n\n{verdict}"))
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
        let (fine, said) = compare(&run(1002, 1.0), &run(1004, 3.0));
        assert!(fine && said.ends_with(NO_DIFFERENCE), "{said}");
        assert!(said.contains("GET /f p50"), "{said}");
        let (fine, said) = compare(&run(1002, 1.0), &run(2002, 1.0));
        assert!(!fine && said.ends_with("there are more calls"), "{said}");
    }
}
