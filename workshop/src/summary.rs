//! The result of a load test: `summary.json`. `make cost` reads it too.

use std::collections::BTreeMap;

use local::conditions::Medians;
use local::events::{Caller, QueueCounts};
use serde::{Deserialize, Serialize};

use crate::advise::Advice;
use crate::artillery::{Aggregate, Histograms, Record};
use crate::burst::Burst;
use crate::functions::Function;
use crate::gates::Gate;
use crate::machine::Machine;
use crate::percentile::figures;
use crate::provisioned::Provisioned;
use crate::trend::Trend;

/// A whole run.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Summary {
    /// The profile of the load.
    pub profile: String,
    pub api_url: String,
    /// RFC 3339.
    pub started_at: String,
    /// The signal that cut the run short. Then it has what was measured until then, and no gate.
    pub interrupted_by: Option<String>,
    #[serde(flatten)]
    pub load: LoadResult,
    pub functions: Vec<Function>,
    /// By function.
    pub aws_calls: Option<BTreeMap<String, Caller>>,
    pub queues: Option<BTreeMap<String, QueueCounts>>,
    /// Many orders at once, after the load.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub burst: Option<Burst>,
    /// The price of provisioned concurrency, where the run had its own stack.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub provisioned: Option<Provisioned>,
    /// How many custom metrics the functions wrote.
    pub custom_metrics: Option<u64>,
    /// Parameters of the template, where the run had its own stack.
    pub parameters: BTreeMap<String, String>,
    /// The machine of the client, and of the stack if it is local.
    pub machine: Machine,
    pub commit: Option<String>,
    /// What AWS takes at the median; none on the bare machine and on AWS.
    #[serde(default)]
    pub conditions: Option<Medians>,
    /// What could be better, where the run had a log of events.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub advice: Option<Advice>,
    pub origin: Origin,
    pub per_thousand_requests: PerThousand,
}

/// What Artillery saw.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct LoadResult {
    /// Requests that were answered in each second of the load.
    pub requests_per_second: Option<f64>,
    /// Seconds of the load.
    pub seconds: Option<f64>,
    pub gates: Vec<Gate>,
    pub routes: Vec<Route>,
    pub orders: Orders,
    /// Errors that users saw, most frequent first.
    pub errors: Vec<UserError>,
    /// The last minute against the first, of a soak.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub trend: Option<Vec<Trend>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stress: Option<Stress>,
}

/// The origin of each block of numbers.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Origin {
    /// Of routes and orders.
    pub routes: String,
    pub gates: String,
    /// Of cold starts too.
    pub functions: String,
    pub aws_calls: String,
    pub consumed_capacity: String,
    pub queues: String,
}

/// One route. Times are milliseconds to the first byte; percentiles are within 1 %.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Route {
    /// Such as `GET /products/{id}`.
    pub route: String,
    /// Requests, answered or not.
    pub requests: u64,
    /// Of successes (2xx).
    #[serde(flatten)]
    pub successes: Times,
    /// Of refusals (4xx).
    pub refusals: Option<Times>,
    /// Of successes, as API Gateway logged them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub logged: Option<Times>,
    /// Requests by status, or by the error of those without an answer (`ECONNREFUSED`, `ETIMEDOUT`).
    pub statuses: BTreeMap<String, u64>,
}

/// Milliseconds.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
pub struct Times {
    pub p50_ms: Option<f64>,
    pub p95_ms: Option<f64>,
    pub p99_ms: Option<f64>,
    pub worst_ms: Option<f64>,
}

/// The orders of a run, and milliseconds from placed to final.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
pub struct Orders {
    pub accepted: u64,
    pub fulfilled: u64,
    pub rejected: u64,
    /// Not seen to end.
    pub unfinished: u64,
    pub p50_ms: Option<f64>,
    pub p99_ms: Option<f64>,
}

/// An error that users saw, and how often.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct UserError {
    pub error: String,
    pub count: u64,
}

/// The steps of a stress test.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Stress {
    /// The last step that held; `None` if not even the first did.
    pub knee: Option<String>,
    pub steps: Vec<Step>,
}

/// A step of a stress test.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Step {
    pub name: String,
    pub requests: u64,
    pub requests_per_second: Option<f64>,
    /// Of all successes.
    pub p99_ms: Option<f64>,
    /// The gates that broke.
    pub broken: Vec<String>,
}

/// What a thousand requests took; `None` for what is not known.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
pub struct PerThousand {
    pub aws_calls: Option<f64>,
    pub read_units: Option<f64>,
    pub write_units: Option<f64>,
    pub gb_seconds: Option<f64>,
}

impl PerThousand {
    /// Of a run. Functions and calls are counted over the whole run, so under stress the requests of every step count
    /// too.
    pub fn of(
        load: &LoadResult,
        functions: &[Function],
        aws_calls: Option<&BTreeMap<String, Caller>>,
    ) -> Self {
        let thousands = load.requests() as f64 / 1000.0;
        let per = |values: Vec<f64>| {
            let known = !values.is_empty() && thousands > 0.0;
            known.then(|| values.iter().sum::<f64>() / thousands)
        };
        let callers = aws_calls.into_iter().flat_map(BTreeMap::values);
        let operations = callers.flat_map(|caller| caller.operations.values());
        let operations: Vec<_> = operations.collect();
        Self {
            aws_calls: per(operations.iter().map(|it| it.calls as f64).collect()),
            read_units: per(operations.iter().map(|it| it.read_units).collect()),
            write_units: per(operations.iter().map(|it| it.write_units).collect()),
            gb_seconds: per(functions.iter().map(|it| it.gb_seconds).collect()),
        }
    }
}

impl Times {
    fn of(figures: &BTreeMap<String, f64>) -> Self {
        let [p50_ms, p95_ms, p99_ms, worst_ms] =
            ["p50", "p95", "p99", "max"].map(|figure| figures.get(figure).copied());
        Self {
            p50_ms,
            p95_ms,
            p99_ms,
            worst_ms,
        }
    }
}

impl LoadResult {
    /// What the totals of an Artillery report say, without a gate; `logged` are times of API Gateway by the same names.
    pub fn of(aggregate: &Aggregate, logged: Option<&Histograms>) -> Self {
        let routes = routes(aggregate, logged);
        let seconds = aggregate.seconds();
        let requests: u64 = routes.iter().map(|route| route.requests).sum();
        Self {
            requests_per_second: seconds.map(|seconds| requests as f64 / seconds),
            seconds,
            routes,
            orders: orders(aggregate),
            errors: errors(aggregate),
            ..Self::default()
        }
    }

    /// What single responses say of a run that was cut short.
    pub fn of_records(records: &[Record]) -> Self {
        let mut counters: BTreeMap<String, f64> = BTreeMap::new();
        let mut times: BTreeMap<String, Vec<f64>> = BTreeMap::new();
        for it in records {
            let route = &it.route;
            let counter = format!("routes.{route}.codes.{}", it.status);
            *counters.entry(counter).or_default() += 1.0;
            let histogram = format!("http.response_time.{}xx.{route}", it.status / 100);
            times.entry(histogram).or_default().push(it.ms);
        }
        let at = || records.iter().map(|record| record.at);
        let summaries = times
            .into_iter()
            .map(|(name, times)| (name, figures(&times)));
        let aggregate = Aggregate {
            counters,
            summaries: summaries.collect(),
            first_metric_at: at().reduce(f64::min),
            last_metric_at: at().reduce(f64::max),
            ..Aggregate::default()
        };
        Self::of(&aggregate, None)
    }

    /// All requests, those of every step under stress.
    pub fn requests(&self) -> u64 {
        match &self.stress {
            Some(stress) => stress.steps.iter().map(|step| step.requests).sum(),
            None => self.routes.iter().map(|route| route.requests).sum(),
        }
    }
}

fn routes(aggregate: &Aggregate, logged: Option<&Histograms>) -> Vec<Route> {
    let mut routes: BTreeMap<&str, Route> = BTreeMap::new();
    for (name, count) in &aggregate.counters {
        let found = name.strip_prefix("routes.").and_then(|name| {
            let code = name.rsplit_once(".codes.");
            code.or_else(|| name.rsplit_once(".errors."))
        });
        let Some((route, what)) = found else { continue };
        let row = routes.entry(route).or_default();
        row.requests += *count as u64;
        row.statuses.insert(what.to_owned(), *count as u64);
    }
    for (route, row) in &mut routes {
        let histogram = |class: &str| format!("http.response_time.{class}.{route}");
        let of = |class: &str| aggregate.summaries.get(&histogram(class)).map(Times::of);
        row.route = (*route).to_owned();
        row.successes = of("2xx").unwrap_or_default();
        row.refusals = of("4xx");
        let of_log = |logged: &Histograms| logged.get(&histogram("2xx")).map(Times::of);
        row.logged = logged.map(|logged| of_log(logged).unwrap_or_default());
    }
    routes.into_values().collect()
}

fn orders(aggregate: &Aggregate) -> Orders {
    let figure = |name: &str| aggregate.value(&format!("orders.{name}"));
    // `orders.unfinished` goes up and down, and is never negative at the end.
    let count = |name: &str| figure(name).unwrap_or(0.0).max(0.0) as u64;
    Orders {
        accepted: count("accepted"),
        fulfilled: count("fulfilled"),
        rejected: count("rejected"),
        unfinished: count("unfinished"),
        p50_ms: figure("placed_to_final.p50"),
        p99_ms: figure("placed_to_final.p99"),
    }
}

fn errors(aggregate: &Aggregate) -> Vec<UserError> {
    let errors = aggregate.counters.iter().filter_map(|(name, count)| {
        let error = name.strip_prefix("errors.")?.to_owned();
        let count = *count as u64;
        Some(UserError { error, count })
    });
    let mut errors: Vec<_> = errors.collect();
    errors.sort_by_key(|error| std::cmp::Reverse(error.count));
    errors
}

#[cfg(test)]
pub mod tests {
    use serde_json::json;

    use super::*;
    use crate::functions::Ahead;

    fn aggregate() -> Aggregate {
        serde_json::from_value(json!({
            "counters": {
                "vusers.created": 9, "routes.GET /products.codes.200": 10, "routes.GET /products.codes.400": 2,
                "routes.GET /products/{id}.codes.200": 5, "routes.GET /products/{id}.errors.ECONNRESET": 1,
                "orders.accepted": 3, "orders.unfinished": 1, "orders.fulfilled": 2, "errors.ECONNRESET": 1,
                "errors.Failed expectations for request GET /products": 4
            },
            "summaries": {
                "http.response_time.2xx.GET /products": {"p50": 1.5, "p95": 2.5, "p99": 3.5, "max": 9},
                "http.response_time.4xx.GET /products": {"p50": 1, "p95": 2, "p99": 3, "max": 4},
                "orders.placed_to_final": {"p50": 20, "p99": 40}
            },
            "firstMetricAt": 1000, "lastMetricAt": 3000
        }))
        .unwrap()
    }

    fn times(p50: f64, p95: f64, p99: f64, worst: f64) -> Times {
        Times {
            p50_ms: Some(p50),
            p95_ms: Some(p95),
            p99_ms: Some(p99),
            worst_ms: Some(worst),
        }
    }

    #[test]
    fn routes_have_their_requests_statuses_and_the_latency_of_successes_and_refusals() {
        let load = LoadResult::of(&aggregate(), None);
        let [list, get] = load.routes.try_into().unwrap();
        assert_eq!(list.route, "GET /products");
        assert_eq!(
            (list.requests, list.successes),
            (12, times(1.5, 2.5, 3.5, 9.0))
        );
        assert_eq!(list.refusals, Some(times(1.0, 2.0, 3.0, 4.0)));
        assert_eq!(
            list.statuses,
            BTreeMap::from([("200".to_owned(), 10), ("400".to_owned(), 2)])
        );
        assert_eq!(
            (get.requests, get.successes, get.refusals),
            (6, Times::default(), None)
        );
        assert_eq!(get.statuses["ECONNRESET"], 1);
        assert_eq!(load.requests_per_second, Some(9.0));
    }

    #[test]
    fn beside_the_latency_of_a_route_stands_the_one_that_api_gateway_has_logged() {
        let logged = BTreeMap::from([(
            "http.response_time.2xx.GET /products".to_owned(),
            figures(&[4.0, 6.0]),
        )]);
        let load = LoadResult::of(&aggregate(), Some(&logged));
        let told: Vec<_> = load.routes.iter().map(|route| route.logged).collect();
        assert_eq!(
            told,
            [Some(times(4.0, 6.0, 6.0, 6.0)), Some(Times::default())]
        );
    }

    #[test]
    fn orders_and_errors_are_read_from_the_counters() {
        let load = LoadResult::of(&aggregate(), None);
        let expected = Orders {
            accepted: 3,
            fulfilled: 2,
            rejected: 0,
            unfinished: 1,
            p50_ms: Some(20.0),
            p99_ms: Some(40.0),
        };
        assert_eq!(load.orders, expected);
        assert_eq!(
            load.errors
                .iter()
                .map(|error| error.count)
                .collect::<Vec<_>>(),
            [4, 1]
        );
    }

    #[test]
    fn a_run_that_was_cut_short_has_the_exact_figures_of_its_responses() {
        let record = |at: f64, status, ms| Record {
            at,
            route: "GET /a".to_owned(),
            status,
            ms,
            id: None,
        };
        let load = LoadResult::of_records(&[
            record(1000.0, 200, 3.0),
            record(3000.0, 200, 1.0),
            record(2000.0, 404, 2.0),
        ]);
        let [route] = load.routes.try_into().unwrap();
        assert_eq!(
            (route.requests, route.successes),
            (3, times(1.0, 3.0, 3.0, 3.0))
        );
        assert_eq!(route.refusals, Some(times(2.0, 2.0, 2.0, 2.0)));
        assert_eq!(load.requests_per_second, Some(1.5));
        assert_eq!(LoadResult::of_records(&[]).requests(), 0);
    }

    fn caller(counts: &serde_json::Value) -> BTreeMap<String, Caller> {
        serde_json::from_value(json!({"A": {"operations": counts}})).unwrap()
    }

    #[test]
    fn calls_units_and_gb_seconds_are_given_for_each_thousand_requests() {
        let mut load = LoadResult::of(&aggregate(), None);
        load.routes
            .iter_mut()
            .for_each(|route| route.requests = 250);
        let gb = |gb_seconds| Function {
            gb_seconds,
            ..Function::summarise("F", &[], &[])
        };
        let calls = caller(
            &json!({"X": {"calls": 1000, "read_units": 50}, "Y": {"calls": 500, "write_units": 5}}),
        );
        let told = PerThousand::of(&load, &[gb(0.5), gb(1.5)], Some(&calls));
        let expected = PerThousand {
            aws_calls: Some(3000.0),
            read_units: Some(100.0),
            write_units: Some(10.0),
            gb_seconds: Some(4.0),
        };
        assert_eq!(told, expected);
        assert_eq!(
            PerThousand::of(&LoadResult::default(), &[], None),
            PerThousand::default()
        );
    }

    #[test]
    fn a_thousand_requests_of_a_stress_test_are_those_of_all_its_steps() {
        let step = |requests| Step {
            requests,
            ..Step::default()
        };
        let stress = Stress {
            knee: None,
            steps: vec![step(100), step(300)],
        };
        let load = LoadResult {
            stress: Some(stress),
            ..LoadResult::of(&aggregate(), None)
        };
        let told = PerThousand::of(&load, &[], Some(&caller(&json!({"X": {"calls": 800}}))));
        assert_eq!(told.aws_calls, Some(2000.0));
    }

    /// A summary with numbers as large as those of a soak.
    pub fn summary() -> Summary {
        let reports = crate::report_lines::parse_log(
            "REPORT RequestId: 1\tDuration: 1234.56 ms\tBilled Duration: 1235 ms\tMemory Size: 128 MB\tMax Memory Used: 123 MB\tInit Duration: 123.45 ms\tCPU Time: 12.34 ms\tInit CPU Time: 12.34 ms\n",
        );
        let mut load = LoadResult::of(&aggregate(), None);
        load.routes[0] = Route {
            route: "POST /products/batch-get".to_owned(),
            requests: 123_456,
            successes: times(12.3, 45.6, 1234.5, 2345.6),
            refusals: Some(times(12.3, 45.6, 1234.5, 2345.6)),
            logged: None,
            statuses: [
                ("200", 123_456),
                ("503", 12),
                ("ERR_SOCKET_TIMEOUT", 12_345),
                ("ETIMEDOUT", 123),
            ]
            .map(|(status, count)| (status.to_owned(), count))
            .into(),
        };
        load.gates = vec![
            Gate::new(
                "http.response_time.2xx.POST /products/batch-get.p99",
                "<",
                100.0,
                Some(1234.5),
            ),
            Gate::new(
                "http.response_time.2xx.POST /products/batch-get.p95",
                "<",
                100.0,
                Some(45.6),
            ),
            Gate::new("orders.unfinished", "==", 0.0, Some(0.0)),
            Gate::new("never", ">", 0.0, None),
        ];
        load.stress = Some(Stress {
            knee: None,
            steps: vec![Step {
                name: "100 requests a second".to_owned(),
                requests: 2000,
                requests_per_second: Some(99.5),
                p99_ms: Some(1234.5),
                broken: vec!["http.response_time.2xx.POST /orders.p99".to_owned()],
            }],
        });
        let calls = caller(&json!({"DynamoDB.TransactWriteItems": {
            "calls": 123_456, "errors": 12, "throttles": 12, "read_units": 1_234_567.5, "write_units": 12345.6
        }}));
        let mut function = Function::summarise("BatchGetProducts", &reports, &reports);
        function.ahead = Some(Ahead {
            first_runs: 12,
            wait_p50_ms: 1234.5,
            wait_worst_ms: 1234.5,
            spared_p50_ms: 1234.5,
        });
        let functions = vec![function];
        Summary {
            profile: "soak".to_owned(),
            api_url: "http://127.0.0.1:40000".to_owned(),
            started_at: "2025-03-01T10:00:00Z".to_owned(),
            interrupted_by: None,
            advice: None,
            per_thousand_requests: PerThousand::of(&load, &functions, Some(&calls)),
            load,
            functions,
            aws_calls: Some(calls),
            queues: Some(BTreeMap::from([(
                "OrdersQueue".to_owned(),
                QueueCounts::default(),
            )])),
            burst: Some(Burst {
                orders: 1250,
                delivered: 1250,
                runs: 1250,
                messages_each_run: Some(1.25),
                runs_with_several: 123,
                ms_each_message: Some(1234.5),
                call_ms: Some(20.75),
            }),
            provisioned: Some(Provisioned {
                environments: 5,
                usd_month: BTreeMap::from([("BatchGetProducts".to_owned(), 1234.5)]),
                priced_for: "ap-southeast-1, x86_64".to_owned(),
                as_of: "2026-11-20".to_owned(),
            }),
            custom_metrics: None,
            parameters: BTreeMap::from([("ProvisionedConcurrency".to_owned(), "5".to_owned())]),
            machine: Machine {
                cpu: Some("AMD Ryzen Threadripper PRO 7995WX 96-Cores".to_owned()),
                cores: 192,
                memory_gb: 512,
                os: "Linux 6.18.44-generic x86_64".to_owned(),
                node: Some("v24.21.0".to_owned()),
            },
            commit: Some(format!("{}+changes", "a".repeat(40))),
            conditions: None,
            origin: Origin {
                routes: "measured here".to_owned(),
                gates: "measured here".to_owned(),
                functions: "measured here".to_owned(),
                aws_calls: "measured here".to_owned(),
                consumed_capacity: "simulated here".to_owned(),
                queues: "simulated here".to_owned(),
            },
        }
    }

    #[test]
    fn a_summary_is_read_as_it_was_written() {
        let summary = summary();
        let json = serde_json::to_value(&summary).unwrap();
        let again: Summary = serde_json::from_value(json.clone()).unwrap();
        assert_eq!(serde_json::to_value(again).unwrap(), json);
        // As `make cost` reads it.
        assert!(
            json["aws_calls"]["A"]["operations"]["DynamoDB.TransactWriteItems"]["calls"]
                .is_number()
        );
        assert!(
            json["functions"][0]["gb_seconds"].is_number()
                && json["orders"]["accepted"].is_number()
        );
        assert!(json["routes"][0]["p99_ms"].is_number() && json["requests_per_second"].is_number());
    }
}
