//! The limits of `load-tests/gates.yml`: what a profile is held to beyond Artillery's own gates.

use std::collections::BTreeMap;
use std::path::Path;

use anyhow::{Context, Result};
use local::conditions::Medians;
use local::events::Snapshot;
use serde::Deserialize;
use serde_json::Value;

use crate::artillery::{Aggregate, Phase, seconds};
use crate::burst;
use crate::files::read_yaml;
use crate::functions::Function;
use crate::gates::{Gate, gates};
use crate::percentile::percentile;
use crate::trend::TrendLimits;

/// The whole file.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Limits {
    /// Requests of one user of the mix.
    requests_a_user: f64,
    /// The calls to AWS that each function needs.
    aws_calls: BTreeMap<String, Calls>,
    /// The function behind each route.
    routes: BTreeMap<String, String>,
    /// Anchors that profiles share.
    #[serde(rename = "shared")]
    _shared: Value,
    profiles: BTreeMap<String, Profile>,
}

/// The calls to AWS that a function needs, at most, by `<service>.<operation>`.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
struct Calls {
    for_each: Unit,
    calls: BTreeMap<String, u64>,
    /// In the init of an environment.
    #[serde(default)]
    in_init: BTreeMap<String, u64>,
    /// Connections of an environment, at most.
    connections: u64,
}

/// What a function is run for: a request of the API, or a message of a queue.
#[derive(Debug, Clone, Copy, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Unit {
    Request,
    Message,
}

/// The limits of one profile.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Profile {
    /// The share of the planned requests a second that must be reached.
    rate: f64,
    /// It has so few requests that a percentile is a cold start, for which the limits of artillery.yml are not meant.
    #[serde(default)]
    pub few_requests: bool,
    /// Of each route; for refusals too.
    latency: Option<Latency>,
    /// Milliseconds of init and first invocation on this machine, by function.
    #[serde(default)]
    cold_start: BTreeMap<String, ColdStart>,
    /// The same at the median of all functions together: one alone has few cold starts in a run.
    cold_start_of_all: Option<f64>,
    /// Many orders at once.
    pub burst: Option<burst::Limits>,
    /// Last minute against the first.
    pub trend: Option<TrendLimits>,
    /// The requests a second that the last step that held must have had.
    pub knee: Option<f64>,
}

/// Latency over its floor: what AWS takes at the median for the way to the function and for the calls that it needs.
#[derive(Debug, Clone, Copy, Deserialize)]
#[serde(deny_unknown_fields)]
struct Latency {
    p50: f64,
    p95: f64,
    p99: f64,
    worst: f64,
}

/// Milliseconds.
#[derive(Debug, Clone, Copy, Deserialize)]
#[serde(deny_unknown_fields)]
struct ColdStart {
    p50: f64,
    worst: f64,
}

impl Limits {
    pub fn read(root: &Path) -> Result<Self> {
        read_yaml(&root.join("load-tests/gates.yml"))
    }

    /// The limits of a profile.
    pub fn profile(&self, name: &str) -> Result<&Profile> {
        let profile = self.profiles.get(name);
        profile.with_context(|| {
            format!("load-tests/gates.yml has no limits for the profile \"{name}\"")
        })
    }

    /// Requests a second that these phases plan, on average.
    pub fn planned_rate(&self, phases: &[Phase]) -> f64 {
        let users: f64 = phases.iter().map(Phase::users).sum();
        self.requests_a_user * users / seconds(phases)
    }

    /// The gate on the requests a second that were answered.
    pub fn rate_gate(&self, profile: &Profile, phases: &[Phase], answered: Option<f64>) -> Gate {
        // The share of a round figure is no round figure.
        let limit = (profile.rate * self.planned_rate(phases)).floor();
        Gate::new("requests per second", ">=", limit, answered)
    }

    /// Calls that failed, and calls and connections beyond those that the work needed. `environments` is how many each function has
    /// now: some may have been started, and primed, that no request has come to yet. `rests` is how often one was called again after
    /// its connections were closed.
    pub fn aws_gates(
        &self,
        meter: &Snapshot,
        functions: &[Function],
        environments: &BTreeMap<String, u64>,
        rests: &BTreeMap<String, u64>,
    ) -> Vec<Gate> {
        let received = meter
            .queues
            .values()
            .filter_map(|queue| queue.trigger.as_ref());
        let messages: u64 = received.map(|it| it.received).sum();
        let (mut failed, mut beyond, mut connections) = (0, 0, 0);
        for (name, caller) in &meter.functions {
            let function = functions.iter().find(|function| function.name == *name);
            let requests = function.map_or(0, |it| it.invocations);
            let cold_starts = function.map_or(0, |it| it.cold_starts_under_load);
            let started = environments.get(name).copied().unwrap_or(0);
            let inits = started.max(cold_starts);
            let needed = self.aws_calls.get(name).map_or(0, |need| need.connections);
            let rests = rests.get(name).copied().unwrap_or(0);
            connections += caller.connections.saturating_sub(needed * (inits + rests));
            for (operation, counted) in &caller.operations {
                let needed = self.aws_calls.get(name).map_or(0, |need| {
                    let units = match need.for_each {
                        Unit::Request => requests,
                        Unit::Message => messages,
                    };
                    let each = need.calls.get(operation).unwrap_or(&0);
                    each * units + need.in_init.get(operation).unwrap_or(&0) * inits
                });
                failed += counted.errors + counted.throttles;
                beyond += counted.calls.saturating_sub(needed);
            }
        }
        gates! {
            "calls to AWS that failed": failed as f64, == 0;
            "calls to AWS beyond those needed": beyond as f64, == 0;
            "connections to AWS beyond those needed": connections as f64, == 0;
        }
    }

    /// Milliseconds that AWS takes at the median for a request of a route, whatever the code: the way to the function,
    /// and the calls that it needs, one after another.
    fn floor(&self, conditions: &Medians, route: &str) -> Option<f64> {
        let need = self.aws_calls.get(self.routes.get(route)?)?;
        let calls = need.calls.iter().map(|(operation, count)| {
            let ms = conditions.calls_ms.get(operation)?;
            Some(ms * *count as f64)
        });
        let calls: Option<f64> = calls.sum();
        Some(conditions.front_door_ms + conditions.invoke_ms + calls?)
    }

    /// The gates on each route's latency, as a multiple of its floor: successes, and refusals (3xx and 4xx) by the same
    /// limits where there are any.
    pub fn latency_gates(
        &self,
        profile: &Profile,
        conditions: &Medians,
        aggregate: &Aggregate,
    ) -> Vec<Gate> {
        let mut gates = Vec::new();
        let Some(limits) = profile.latency else {
            return gates;
        };
        let classes = [
            ("2xx", ""),
            ("3xx", "unchanged answers of "),
            ("4xx", "refusals of "),
        ];
        for route in self.routes.keys() {
            let floor = self.floor(conditions, route);
            for (class, of) in classes {
                let histogram = format!("http.response_time.{class}.{route}");
                if class != "2xx" && !aggregate.summaries.contains_key(&histogram) {
                    continue;
                }
                let over = |name: &str| {
                    let ms = aggregate.value(&format!("{histogram}.{name}"));
                    ms.zip(floor).map(|(ms, floor)| ms / floor)
                };
                gates.extend(gates! {
                    "latency of {of}{route}: p50 over its floor": over("p50"), <= limits.p50;
                    "latency of {of}{route}: p95 over its floor": over("p95"), <= limits.p95;
                    "latency of {of}{route}: p99 over its floor": over("p99"), <= limits.p99;
                    "latency of {of}{route}: worst over its floor": over("max"), <= limits.worst;
                });
            }
        }
        gates
    }
}

impl Profile {
    /// The gates on each function's cold starts, and on those of all: that there were some, and the functions' own part of
    /// them. With provisioned concurrency a function may have none; then nothing is held against it.
    pub fn cold_start_gates(&self, functions: &[Function], provisioned: bool) -> Vec<Gate> {
        let mut gates = Vec::new();
        let all = functions
            .iter()
            .flat_map(|it| it.cold_own_ms.iter().copied());
        let all: Vec<_> = all.collect();
        if let Some(limit) = self.cold_start_of_all
            && !(provisioned && all.is_empty())
        {
            gates.extend(gates! {
                "cold starts of all functions: p50 of init and first run, ms": percentile(&all, 50.0), <= limit;
            });
        }
        for (name, budget) in &self.cold_start {
            let function = functions.iter().find(|function| function.name == *name);
            let cold = function.and_then(|function| function.cold.as_ref());
            if provisioned && cold.is_none() {
                continue;
            }
            let count = function.map(|function| function.cold_starts_under_load as f64);
            gates.extend(gates! {
                "cold starts of {name}": count, > 0;
                "cold start of {name}: p50 of init and first run, ms": cold.map(|it| it.own_p50_ms), <= budget.p50;
                "cold start of {name}: worst of init and first run, ms": cold.map(|it| it.own_worst_ms), <= budget.worst;
            });
        }
        gates
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::artillery::Script;
    use crate::report_lines::parse_log;

    fn root() -> std::path::PathBuf {
        Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
    }

    fn limits() -> Limits {
        Limits::read(&root()).unwrap()
    }

    fn failed(gates: &[Gate]) -> Vec<&str> {
        gates
            .iter()
            .filter(|gate| !gate.pass)
            .map(|gate| gate.name.as_str())
            .collect()
    }

    #[test]
    fn every_profile_of_artillery_has_its_limits() {
        let script = Script::read(&root()).unwrap();
        let limits = limits();
        for profile in ["smoke", "load", "spike", "stress", "soak", "gate-test"] {
            assert!(!script.phases(profile).unwrap().is_empty());
            let limits = limits.profile(profile).unwrap();
            assert!(limits.burst.is_some(), "{profile}");
        }
        assert_eq!(limits.profiles.len(), 6);
        let refused = limits.profile("lode").unwrap_err().to_string();
        assert!(
            refused.contains("no limits for the profile \"lode\""),
            "{refused}"
        );
    }

    #[test]
    fn the_achieved_rate_is_held_against_the_planned_one() {
        let (script, limits) = (Script::read(&root()).unwrap(), limits());
        let phases = script.phases("load").unwrap();
        assert_eq!(limits.planned_rate(&phases), 200.0);
        let profile = limits.profile("load").unwrap();
        assert_eq!(
            limits.rate_gate(profile, &phases, Some(190.0)).limit,
            ">= 190"
        );
        assert!(limits.rate_gate(profile, &phases, Some(190.0)).pass);
        assert!(!limits.rate_gate(profile, &phases, Some(189.0)).pass);
        assert!(!limits.rate_gate(profile, &phases, None).pass);
    }

    /// AWS takes 10 ms for a `GetProduct`, whatever its code.
    fn conditions() -> Medians {
        Medians {
            front_door_ms: 3.0,
            invoke_ms: 5.0,
            calls_ms: BTreeMap::from([("DynamoDB.GetItem".to_owned(), 2.0)]),
            ..Medians::default()
        }
    }

    #[test]
    fn each_figure_of_a_route_fails_its_own_gate_alone_and_refusals_have_the_same_limits() {
        const ROUTE: &str = "GET /products/{id}";
        let limits = Limits {
            routes: BTreeMap::from([(ROUTE.to_owned(), "GetProduct".to_owned())]),
            ..limits()
        };
        let profile = json!({"rate": 1, "latency": {"p50": 1, "p95": 2, "p99": 3, "worst": 4}});
        let profile: Profile = serde_json::from_value(profile).unwrap();
        let of = |class: &str, figure: &str, value: f64| -> Aggregate {
            let mut summary = json!({"p50": 10, "p95": 20, "p99": 30, "max": 40});
            let mut summaries = json!({format!("http.response_time.2xx.{ROUTE}"): summary});
            summary[figure] = json!(value);
            summaries[format!("http.response_time.{class}.{ROUTE}")] = summary;
            serde_json::from_value(json!({"summaries": summaries})).unwrap()
        };
        let gates =
            |aggregate: &Aggregate| limits.latency_gates(&profile, &conditions(), aggregate);
        assert_eq!(failed(&gates(&of("2xx", "p50", 10.0))), [""; 0]);
        for (class, name) in [
            ("2xx", ""),
            ("3xx", "unchanged answers of "),
            ("4xx", "refusals of "),
        ] {
            for (figure, told) in [
                ("p50", "p50"),
                ("p95", "p95"),
                ("p99", "p99"),
                ("max", "worst"),
            ] {
                assert_eq!(
                    failed(&gates(&of(class, figure, 41.0))),
                    [format!("latency of {name}{ROUTE}: {told} over its floor")]
                );
            }
        }
        // A route without a success fails all of its gates.
        assert_eq!(failed(&gates(&Aggregate::default())).len(), 4);
        // So does one whose floor is not known.
        let unknown = limits.latency_gates(&profile, &Medians::default(), &of("2xx", "p50", 10.0));
        assert_eq!(failed(&unknown).len(), 4);
    }

    #[test]
    fn every_route_has_a_function_and_every_function_a_need() {
        let limits = limits();
        assert_eq!(limits.routes.len(), 7);
        for function in limits.routes.values() {
            assert!(limits.aws_calls.contains_key(function), "{function}");
        }
    }

    fn function(name: &str, inits: &[f64]) -> Function {
        let lines = inits.iter().map(|init| {
            format!("REPORT RequestId: 1\tDuration: 2.00 ms\tInit Duration: {init} ms\n")
        });
        let reports = parse_log(&lines.collect::<String>());
        Function::summarise(name, &reports, &reports)
    }

    fn budget() -> Profile {
        let budget = json!({"rate": 1, "cold_start": {"F": {"p50": 10, "worst": 30}}});
        serde_json::from_value(budget).unwrap()
    }

    #[test]
    fn cold_starts_have_to_occur_and_to_keep_their_budget() {
        let profile = budget();
        let failed = |function: Function| {
            let gates = profile.cold_start_gates(&[function], false);
            failed(&gates)
                .into_iter()
                .map(str::to_owned)
                .collect::<Vec<_>>()
        };
        let [p50, worst] =
            ["p50", "worst"].map(|it| format!("cold start of F: {it} of init and first run, ms"));
        assert_eq!(failed(function("F", &[5.0, 8.0, 28.0])), [""; 0]);
        assert_eq!(failed(function("F", &[5.0, 9.0, 28.0])), [p50.as_str()]);
        assert_eq!(failed(function("F", &[5.0, 8.0, 29.0])), [worst.as_str()]);
        let never = ["cold starts of F".to_owned(), p50, worst];
        assert_eq!(failed(function("F", &[])), never);
        assert_eq!(failed(function("G", &[5.0])), never);
    }

    #[test]
    fn cold_starts_of_all_functions_together_have_a_budget_of_their_own() {
        let profile: Profile =
            serde_json::from_value(json!({"rate": 1, "cold_start_of_all": 10})).unwrap();
        let passes = |functions: &[Function], provisioned| {
            let gates = profile.cold_start_gates(functions, provisioned);
            gates.iter().all(|gate| gate.pass)
        };
        let (quick, slow) = (function("F", &[5.0, 8.0]), function("G", &[90.0, 90.0]));
        assert!(passes(&[quick.clone(), slow.clone()], false));
        assert!(!passes(&[quick, slow.clone(), slow], false));
        assert!(!passes(&[], false));
        assert!(passes(&[], true));
    }

    #[test]
    fn with_provisioned_concurrency_a_function_need_not_start_cold_but_a_slow_start_still_fails() {
        let profile = budget();
        assert_eq!(profile.cold_start_gates(&[function("F", &[])], true), []);
        let gates = profile.cold_start_gates(&[function("F", &[40.0])], true);
        assert_eq!(failed(&gates).len(), 2);
    }

    /// A meter of `GetProduct` that has made these calls on two connections, and the gates of a run of 100 with 2 cold starts.
    fn calls(operation: &str, counts: &Value, environments: u64) -> Vec<String> {
        let meter = json!({
            "functions": {"GetProduct": {"connections": 2, "operations": {operation: counts}}},
            "queues": {"OrdersQueue": {
                "invocations": 3, "received": 10, "deleted": 10, "failed": 0,
                "queue_time_ms": {"count": 0, "p50": 0.0, "p95": 0.0, "p99": 0.0, "max": 0.0}
            }}
        });
        let mut get = function("GetProduct", &[1.0, 1.0]);
        get.invocations = 100;
        let environments = BTreeMap::from([("GetProduct".to_owned(), environments)]);
        let gates = limits().aws_gates(
            &serde_json::from_value(meter).unwrap(),
            &[get],
            &environments,
            &BTreeMap::new(),
        );
        failed(&gates).into_iter().map(str::to_owned).collect()
    }

    #[test]
    fn calls_that_failed_or_that_the_work_did_not_need_fail_their_gates() {
        const FAILED: &str = "calls to AWS that failed";
        const BEYOND: &str = "calls to AWS beyond those needed";
        // A call for each of 100 runs, and one in each of two inits.
        assert_eq!(
            calls("DynamoDB.GetItem", &json!({"calls": 102}), 2),
            [""; 0]
        );
        assert_eq!(
            calls("DynamoDB.GetItem", &json!({"calls": 103}), 2),
            [BEYOND]
        );
        // An environment that has been started and has not run yet has been primed too.
        assert_eq!(
            calls("DynamoDB.GetItem", &json!({"calls": 103}), 3),
            [""; 0]
        );
        assert_eq!(calls("DynamoDB.Scan", &json!({"calls": 1}), 2), [BEYOND]);
        assert_eq!(
            calls("DynamoDB.GetItem", &json!({"calls": 50, "errors": 1}), 2),
            [FAILED]
        );
        assert_eq!(
            calls("DynamoDB.GetItem", &json!({"calls": 50, "throttles": 1}), 2),
            [FAILED]
        );
        // A condition that did not hold is an answer like any other.
        assert_eq!(
            calls(
                "DynamoDB.GetItem",
                &json!({"calls": 50, "conditional_failures": 9}),
                2
            ),
            [""; 0]
        );
    }

    #[test]
    fn an_environment_has_one_connection_and_another_after_a_rest() {
        let gates = |connections: u64, rests: u64| {
            let meter =
                json!({"functions": {"GetProduct": {"connections": connections}}, "queues": {}});
            let [started, rests] =
                [3, rests].map(|count| BTreeMap::from([("GetProduct".to_owned(), count)]));
            let meter = serde_json::from_value(meter).unwrap();
            limits().aws_gates(&meter, &[], &started, &rests)
        };
        assert_eq!(failed(&gates(3, 0)), [""; 0]);
        assert_eq!(
            failed(&gates(4, 0)),
            ["connections to AWS beyond those needed"]
        );
        assert_eq!(failed(&gates(4, 1)), [""; 0]);
    }

    #[test]
    fn the_worker_is_held_to_its_calls_for_each_message() {
        let meter = |calls: u64| -> Snapshot {
            let meter = json!({
                "functions": {"ProcessOrders": {"operations": {"DynamoDB.TransactWriteItems": {"calls": calls}}}},
                "queues": {"OrdersQueue": {
                "invocations": 3, "received": 10, "deleted": 10, "failed": 0,
                "queue_time_ms": {"count": 0, "p50": 0.0, "p95": 0.0, "p99": 0.0, "max": 0.0}
            }}
            });
            serde_json::from_value(meter).unwrap()
        };
        let none = BTreeMap::new();
        let gates = |calls| limits().aws_gates(&meter(calls), &[], &none, &none);
        assert_eq!(failed(&gates(10)), [""; 0]);
        assert_eq!(failed(&gates(11)), ["calls to AWS beyond those needed"]);
    }
}
