//! A gate that cannot fail is a defect: the whole load test runs against stacks that are each broken in one
//! way. `examples/stand_in.rs` lists the ways. Needs Node.js and Artillery, as `make test` provides them.

#![allow(clippy::unwrap_used, reason = "a helper that fails is a failed test")]

use std::fs;
use std::io::{BufRead, BufReader};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::Value;
use tempfile::TempDir;

const ROUTES: [&str; 7] = [
    "DELETE /products/{id}",
    "GET /orders/{id}",
    "GET /products",
    "GET /products/{id}",
    "POST /orders",
    "POST /products/batch-get",
    "PUT /products/{id}",
];
const EXIT_CODE: &str = "Artillery's exit code";
const BURST_TIME: &str = "burst: time for each message of a run, over its transaction";
const RATE: &str = "requests per second";
const KEYS: [(&str, &str); 3] = [
    ("AWS_ACCESS_KEY_ID", "AKIDEXAMPLE"),
    (
        "AWS_SECRET_ACCESS_KEY",
        "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY",
    ),
    ("AWS_SESSION_TOKEN", ""),
];

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

fn example() -> PathBuf {
    let test = std::env::current_exe().unwrap();
    test.ancestors().nth(2).unwrap().join("examples/stand_in")
}

/// A stand-in for the shop, gone when dropped.
struct Shop {
    child: Child,
    url: String,
}

impl Shop {
    fn start(fault: &str, variables: &[(&str, &str)]) -> Self {
        let mut command = Command::new(example());
        command
            .args(["shop", fault])
            .envs(variables.iter().copied())
            .stdout(Stdio::piped());
        let mut child = command.spawn().unwrap();
        let mut url = String::new();
        BufReader::new(child.stdout.take().unwrap())
            .read_line(&mut url)
            .unwrap();
        Self {
            child,
            url: url.trim().to_owned(),
        }
    }
}

impl Drop for Shop {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The end of a verb.
#[derive(Debug)]
struct Run {
    code: Option<i32>,
    output: String,
    summary: Option<Value>,
    failed: Vec<String>,
    /// Its folder.
    out: TempDir,
}

impl Run {
    fn failed_but_latency(&self) -> Vec<&str> {
        let names = self.failed.iter().map(String::as_str);
        names.filter(|name| !is_latency(name)).collect()
    }

    fn summary(&self) -> &Value {
        self.summary
            .as_ref()
            .unwrap_or_else(|| panic!("no summary: {}", self.output))
    }
}

/// The report that a run has named in its last line.
fn report(run: &Run) -> Value {
    let page = run.out.path().join("report.html");
    let named = run
        .output
        .lines()
        .rev()
        .find(|line| line.starts_with("Report: "));
    let named = named.and_then(|line| line.strip_prefix("Report: "));
    assert_eq!(named.map(Path::new), Some(page.as_path()), "{}", run.output);
    assert!(
        fs::read_to_string(page)
            .unwrap()
            .starts_with("<!doctype html>")
    );
    let report = fs::read(run.out.path().join("report.json")).unwrap();
    let report: Value = serde_json::from_slice(&report).unwrap();
    // Its gates are those of the summary, and so are its totals.
    let gates = |of: &Value| -> Vec<_> {
        let gates = of["gates"].as_array().unwrap().iter();
        let gates = gates.map(|gate| {
            let text = |key: &str| gate[key].as_str().unwrap().to_owned();
            (
                text("name"),
                text("limit"),
                gate["value"].clone().to_string(),
            )
        });
        let mut gates: Vec<_> = gates.collect();
        gates.sort();
        gates
    };
    assert_eq!(gates(&report), gates(run.summary()));
    let routes = report["sections"][0]["tables"][0]["rows"]
        .as_array()
        .unwrap();
    let requests = routes.iter().map(|row| row[1].as_u64().unwrap());
    let routes = run.summary()["routes"].as_array().unwrap();
    let expected = routes.iter().map(|it| it["requests"].as_u64().unwrap());
    assert_eq!(requests.sum::<u64>(), expected.sum::<u64>());
    report
}

/// A part of a report.
fn section<'a>(report: &'a Value, id: &str) -> &'a Value {
    let sections = report["sections"].as_array().unwrap();
    sections.iter().find(|it| it["id"] == id).unwrap()
}

/// A table of a part, by the beginning of its title.
fn table<'a>(section: &'a Value, title: &str) -> &'a Value {
    let tables = section["tables"].as_array().unwrap();
    let found = |it: &&Value| it["title"].as_str().unwrap().starts_with(title);
    tables.iter().find(found).unwrap()
}

/// The gates that a machine breaks which is busy with something else.
fn is_latency(name: &str) -> bool {
    name.starts_with("http.response_time.")
        || name.starts_with("latency of ")
        || name.starts_with("orders.placed_to_final")
}

fn workshop(out: &Path, arguments: &[&str], variables: &[(&str, &str)]) -> Command {
    let root = root();
    assert!(
        root.join("load-tests/node_modules/artillery").exists(),
        "Artillery is not installed: run `make test`"
    );
    let mut command = Command::new(env!("CARGO_BIN_EXE_workshop"));
    command
        .current_dir(root)
        .args(["load-test", "--profile", "gate-test", "--out"])
        .arg(out)
        .args(arguments)
        .envs(KEYS)
        .envs(variables.iter().copied())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    command
}

fn run_with(arguments: &[&str], variables: &[(&str, &str)]) -> Run {
    let out = tempfile::tempdir().unwrap();
    let output = workshop(out.path(), arguments, variables).output().unwrap();
    ended(
        out,
        output.status.code(),
        [output.stdout, output.stderr].concat(),
    )
}

fn ended(out: TempDir, code: Option<i32>, output: Vec<u8>) -> Run {
    let summary = fs::read(out.path().join("summary.json")).ok();
    let summary: Option<Value> = summary.map(|json| serde_json::from_slice(&json).unwrap());
    let gates = summary
        .iter()
        .flat_map(|summary| summary["gates"].as_array().unwrap());
    let failed = gates
        .filter(|gate| gate["pass"] == false)
        .map(|gate| gate["name"].as_str().unwrap().to_owned());
    Run {
        code,
        failed: failed.collect(),
        output: String::from_utf8(output).unwrap(),
        summary,
        out,
    }
}

fn run_against(fault: &str) -> Run {
    let shop = Shop::start(fault, &[]);
    run_with(&["--api-url", &shop.url], &[])
}

fn run_host(fault: &str) -> Run {
    let example = example();
    run_with(
        &["--local", example.to_str().unwrap()],
        &[("STAND_IN", fault)],
    )
}

/// The result of a run that this machine did not spoil. With so few requests one stall breaks a latency gate,
/// so a run in which only such gates broke is repeated. A defect of the stack breaks other gates, every time.
fn unspoilt(run: impl Fn() -> Run) -> Run {
    let mut last = run();
    for _ in 0..3 {
        let only_stalled = !last.failed.is_empty()
            && last
                .failed
                .iter()
                .all(|name| is_latency(name) || [EXIT_CODE, RATE].contains(&name.as_str()));
        if !only_stalled {
            break;
        }
        last = run();
    }
    last
}

#[test]
fn a_stack_that_is_right_and_fast_passes_every_gate() {
    let run = unspoilt(|| run_against(""));
    assert_eq!(run.failed, [""; 0], "{}", run.output);
    assert_eq!(run.code, Some(0), "{}", run.output);
    assert!(run.output.contains("\nPassed: all "), "{}", run.output);
    let routes = run.summary()["routes"].as_array().unwrap();
    let names: Vec<_> = routes
        .iter()
        .map(|route| route["route"].as_str().unwrap())
        .collect();
    assert_eq!(names, ROUTES);
    assert!(
        routes
            .iter()
            .all(|route| route["worst_ms"].as_f64() >= route["p99_ms"].as_f64()),
        "{routes:?}"
    );
    assert!(
        run.summary()["orders"]["rejected"].as_u64() > Some(0),
        "{}",
        run.output
    );
}

#[test]
fn a_stack_that_wants_signed_writes_gets_them_in_the_catalogue_and_under_load() {
    let shop = Shop::start("iam", &[]);
    let run = unspoilt(|| run_with(&["--api-url", &shop.url, "--sign-region", "eu-west-1"], &[]));
    assert_eq!(run.failed, [""; 0], "{}", run.output);
    assert_eq!(run.code, Some(0), "{}", run.output);
}

/// Runs that end before any load, and how.
fn refused(fault: &str, arguments: &[&str], told: &str) {
    let shop = Shop::start(fault, &[]);
    let arguments = [&["--api-url", &shop.url], arguments].concat();
    let run = run_with(&arguments, &[]);
    assert_eq!(run.code, Some(1), "{}", run.output);
    let last = run.output.trim().lines().last().unwrap();
    assert!(
        last.starts_with("load test failed: ") && last.contains(told),
        "{}",
        run.output
    );
    assert!(
        !run.output.contains("load: gate-test") && run.summary.is_none(),
        "{}",
        run.output
    );
}

#[test]
fn a_stack_that_wants_signed_writes_and_gets_none_fails_before_any_load_and_says_how_to_sign() {
    refused(
        "iam",
        &[],
        "answered 403: the stack wants signed writes; SIGN_REGION=",
    );
}

#[test]
fn a_signature_for_another_region_is_refused_in_one_line() {
    let told = "answered 403: these AWS credentials may not write to the catalogue";
    refused("iam", &["--sign-region", "us-east-1"], told);
}

#[test]
fn a_stack_that_answers_500_fails_before_any_load_in_one_line() {
    refused("errors", &[], "the stack is broken: PUT ");
}

#[test]
fn a_stack_that_is_down_fails_before_any_load_in_one_line() {
    let shop = Shop::start("", &[]);
    let url = shop.url.clone();
    drop(shop);
    let run = run_with(&["--api-url", &url], &[]);
    assert_eq!(run.code, Some(1));
    assert!(
        run.output
            .contains("load test failed: the stack is down: PUT "),
        "{}",
        run.output
    );
    assert!(
        run.output.trim().ends_with("ECONNREFUSED"),
        "{}",
        run.output
    );
}

#[test]
fn a_stack_that_answers_500_under_load_fails_the_error_rate_and_every_route_without_a_success() {
    let run = run_against("errors-under-load");
    assert_eq!(run.code, Some(1), "{}", run.output);
    for route in ROUTES {
        let gate = format!("http.response_time.2xx.{route}.p99");
        assert!(run.failed.contains(&gate), "{gate}: {:?}", run.failed);
    }
    assert!(
        run.failed.iter().any(|name| name == "maxErrorRate"),
        "{:?}",
        run.failed
    );
    assert!(
        run.failed.iter().any(|name| name == EXIT_CODE),
        "{:?}",
        run.failed
    );
    assert!(
        run.output
            .contains("Failed expectations for request GET /products\n"),
        "{}",
        run.output
    );
}

/// The gates of a run on Artillery's times, by name.
fn thresholds(run: &Run) -> Vec<String> {
    let gates = run.summary()["gates"].as_array().unwrap().iter();
    let names = gates.map(|gate| gate["name"].as_str().unwrap());
    let mut names: Vec<_> = names
        .filter(|name| name.starts_with("http.response_time."))
        .map(str::to_owned)
        .collect();
    names.sort();
    assert!(
        names
            .iter()
            .any(|name| name.starts_with("http.response_time.4xx."))
    );
    names
}

#[test]
fn a_stack_that_is_right_but_slow_fails_every_latency_gate_refusals_included_and_nothing_else() {
    let run = run_against("slow");
    assert_eq!(run.code, Some(1));
    let mut failed = run.failed.clone();
    failed.sort();
    assert_eq!(
        failed,
        [&[EXIT_CODE.to_owned()], thresholds(&run).as_slice()].concat(),
        "{}",
        run.output
    );
}

#[test]
fn one_slow_route_fails_its_own_gate_though_most_requests_are_fast() {
    let run = run_against("slow-route");
    assert_eq!(run.code, Some(1));
    assert!(
        run.failed
            .iter()
            .any(|name| name == "http.response_time.2xx.GET /orders/{id}.p95"),
        "{:?}",
        run.failed
    );
    assert!(
        !run.failed.iter().any(|name| name == "maxErrorRate"),
        "{:?}",
        run.failed
    );
}

#[test]
fn slow_refusals_fail_their_gates_though_every_success_is_fast() {
    let run = unspoilt(|| {
        let run = run_host("slow-refusals");
        assert!(
            run.failed
                .iter()
                .any(|name| name == "http.response_time.4xx.GET /products.p99"),
            "{}",
            run.output
        );
        assert!(
            run.failed
                .iter()
                .any(|name| name == "latency of refusals of GET /products: p50 over its floor"),
            "{}",
            run.output
        );
        // Only those of successes may be the machine's.
        let successes = run
            .failed
            .iter()
            .filter(|name| !name.contains("4xx") && !name.contains("refusals"));
        Run {
            failed: successes.cloned().collect(),
            ..run
        }
    });
    assert_eq!(run.failed, [EXIT_CODE], "{}", run.output);
}

#[test]
fn one_response_that_is_far_too_late_fails_the_gate_on_the_worst() {
    let run = run_host("slow-once");
    assert_eq!(run.code, Some(1));
    assert!(
        run.failed
            .iter()
            .any(|name| name == "latency of GET /products: worst over its floor"),
        "{}",
        run.output
    );
}

#[test]
fn a_stack_that_does_not_reach_the_planned_rate_fails_the_gate_on_it() {
    let run = run_against("crawls");
    assert_eq!(run.code, Some(1));
    assert!(run.failed.iter().any(|name| name == RATE), "{}", run.output);
}

#[test]
fn accepted_orders_that_never_become_final_fail_the_run() {
    let run = run_against("stuck-orders");
    assert_eq!(run.code, Some(1));
    assert!(
        run.failed.iter().any(|name| name == "orders.unfinished"),
        "{:?}",
        run.failed
    );
    let orders = &run.summary()["orders"];
    assert_eq!(orders["unfinished"], orders["accepted"]);
}

#[test]
fn wrong_statuses_fail_the_error_rate_and_the_gates_of_the_statuses_that_are_missing() {
    let run = run_against("wrong-statuses");
    assert_eq!(run.code, Some(1));
    for gate in ["maxErrorRate", "routes.PUT /products/{id}.codes.412"] {
        assert!(
            run.failed.iter().any(|name| name == gate),
            "{gate}: {:?}",
            run.failed
        );
    }
}

#[test]
fn a_stack_that_sells_what_it_does_not_have_fails_the_run() {
    let run = run_against("no-rejections");
    assert_eq!(run.code, Some(1));
    let mut failed = run.failed_but_latency();
    failed.sort_unstable();
    assert_eq!(failed, [EXIT_CODE, "orders.rejected"]);
}

/// An `aws` that knows one stack: its access log is the file, and its one function has run once for each line.
fn fake_aws(folder: &Path, access_log: &Path) {
    let script = format!(
        r#"#!/bin/sh
events() {{ awk -v all="$1" 'BEGIN {{ printf "[" }}
  {{ line = all ? $0 : "REPORT RequestId: 1\tDuration: 1.50 ms\tBilled Duration: 2 ms\tMemory Size: 256 MB\tMax Memory Used: 8 MB\t"
     gsub(/"/, "\\\"", line); gsub(/\t/, "\\t", line)
     printf "%s[99999999999999, \"%s\"]", n++ ? "," : "", line }}
  END {{ print "]" }}' "{log}"; }}
case "$*" in
  "cloudformation list-stack-resources"*) echo '[["AWS::Lambda::Function", "GetProduct", "f"], ["AWS::Logs::LogGroup", "ApiLogs", "ApiLogs"]]';;
  *"Architectures[0]"*) echo '"arm64"';;
  "lambda get-function-configuration"*) echo '"GetProductLogs"';;
  "logs filter-log-events --log-group-name GetProductLogs"*) events "";;
  "logs filter-log-events --log-group-name ApiLogs"*) events 1;;
  *) echo "unexpected: aws $*" >&2; exit 99;;
esac
"#,
        log = access_log.display()
    );
    let file = folder.join("aws");
    fs::write(&file, script).unwrap();
    fs::set_permissions(&file, fs::Permissions::from_mode(0o755)).unwrap();
}

/// A run against a stack that is named, whose API logs that each answer took so many ms.
fn run_against_stack(fault: &str, logged_ms: &str) -> Run {
    let folder = tempfile::tempdir().unwrap();
    let log = folder.path().join("access.log");
    fake_aws(folder.path(), &log);
    let shop = Shop::start(
        fault,
        &[
            ("ACCESS_LOG", log.to_str().unwrap()),
            ("LOGGED_MS", logged_ms),
        ],
    );
    let path = format!(
        "{}:{}",
        folder.path().display(),
        std::env::var("PATH").unwrap()
    );
    let variables = [("PATH", path.as_str()), ("AWS_REGION", "eu-west-1")];
    run_with(&["--api-url", &shop.url, "--stack", "shop-dev"], &variables)
}

#[test]
fn of_a_stack_that_is_named_the_latency_is_judged_that_its_api_logged_and_both_are_shown() {
    let run = unspoilt(|| run_against_stack("slow", "7"));
    assert_eq!(run.failed, [""; 0], "{}", run.output);
    assert_eq!(run.code, Some(0), "{}", run.output);
    let routes = run.summary()["routes"].as_array().unwrap();
    let route = routes
        .iter()
        .find(|route| route["route"] == "POST /products/batch-get")
        .unwrap();
    assert!(route["p50_ms"].as_f64() > Some(100.0), "{route}");
    assert_eq!(
        (&route["logged"]["p50_ms"], &route["logged"]["p99_ms"]),
        (&Value::from(7.0), &Value::from(7.0))
    );
    assert!(run.output.contains("API p50"), "{}", run.output);
    assert!(
        run.output
            .contains("\nGates [measured here; response times: as API Gateway logged them]\n"),
        "{}",
        run.output
    );
    assert_eq!(run.summary()["functions"][0]["name"], "GetProduct");

    // The same report, from CloudWatch's figures.
    let report = report(&run);
    assert_eq!(report["outcome"], "passed");
    let routes = table(section(&report, "requests"), "Routes");
    assert_eq!(routes["columns"][6]["name"], "API p50");
    assert_eq!(routes["rows"][0][6], 7.0);
    // All of its functions' runs were warm, and that is known.
    let beside = table(section(&report, "latency"), "Cold beside warm");
    assert_eq!(beside["rows"][0][5], 0);
    // What only a host on this machine knows is said, and not drawn.
    let platform = section(&report, "platform");
    assert_eq!(platform["charts"], Value::Array(Vec::new()));
    assert!(
        platform["notes"][0]
            .as_str()
            .unwrap()
            .starts_with("Not known here.")
    );
    let work = section(&report, "work");
    let money = &table(work, "Money for a million runs")["rows"][0];
    assert!(money[3].as_f64() > Some(0.0), "compute: {money}");
    assert_eq!((&money[4], &money[7]), (&Value::Null, &Value::Null));
    assert!(work["notes"][1].as_str().unwrap().ends_with("needs AWS."));
}

#[test]
fn a_named_stack_whose_api_was_slow_fails_every_latency_gate_and_nothing_else_however_near_it_is() {
    let run = run_against_stack("", "150");
    assert_eq!(run.code, Some(1), "{}", run.output);
    let mut failed = run.failed.clone();
    failed.sort();
    assert_eq!(failed, thresholds(&run));
}

#[test]
fn the_stack_on_this_machine_is_started_metered_and_stopped_and_its_environments_end_before_the_load()
 {
    let run = unspoilt(|| run_host(""));
    assert_eq!(run.failed, [""; 0], "{}", run.output);
    assert_eq!(run.code, Some(0), "{}", run.output);
    let function = &run.summary()["functions"][0];
    assert_eq!(
        (&function["name"], &function["invocations"]),
        (&Value::from("GetProduct"), &Value::from(2))
    );
    let report = report(&run);
    let latency = section(&report, "latency");
    assert_eq!(
        latency["charts"].as_array().unwrap().len(),
        2 * ROUTES.len()
    );
    // This host tells no events, and the report draws none.
    let notes = &section(&report, "platform")["notes"];
    assert!(
        notes[0].as_str().unwrap().starts_with("Not known here."),
        "{notes}"
    );
    // The log of events is read by the adviser as well.
    let advice = &run.summary()["advice"];
    assert!(advice["invocations"].as_u64() > Some(0), "{advice}");
    let said = section(&report, "advice")["notes"][0].as_str().unwrap();
    assert!(
        said.starts_with("What could be better: nothing found in "),
        "{said}"
    );
    // One for the catalogue, and one under load, because the environments were ended between.
    assert_eq!(
        (
            &function["cold_starts"],
            &function["cold_starts_under_load"]
        ),
        (&Value::from(2), &Value::from(1))
    );
    assert_eq!(
        run.summary()["aws_calls"]["GetProduct"]["operations"]["DynamoDB.GetItem"]["calls"],
        3
    );
    assert!(
        run.output
            .contains("Cold starts under load: environments; ms of the code"),
        "{}",
        run.output
    );
    assert!(!run.out.path().join("ready.json").exists(), "it still runs");
}

/// A host that is broken in one way fails these gates and no other.
fn host_fails(fault: &str, gates: &[&str]) {
    let run = unspoilt(|| run_host(fault));
    assert_eq!(run.failed_but_latency(), gates, "{}", run.output);
    assert_eq!(run.code, Some(1));
}

#[test]
fn cold_starts_beyond_their_budget_fail_the_run() {
    let gate =
        |figure: &str| format!("cold start of GetProduct: {figure} of init and first run, ms");
    host_fails("slow-cold-start", &[&gate("p50"), &gate("worst")]);
}

#[test]
fn a_call_to_aws_that_failed_fails_the_run() {
    host_fails("failed-calls", &["calls to AWS that failed"]);
}

#[test]
fn a_call_to_aws_that_was_repeated_fails_the_run() {
    host_fails("repeated-calls", &["calls to AWS beyond those needed"]);
}

#[test]
fn a_dead_letter_fails_the_run() {
    host_fails("dead-letter", &["messages in dead-letter queues"]);
}

#[test]
fn a_function_that_failed_or_took_too_long_fails_the_run() {
    host_fails("function-error", &["errors of functions"]);
    host_fails("function-timeout", &["timeouts of functions"]);
}

#[test]
fn a_worker_that_gets_one_order_a_run_fails_the_run() {
    // No run has several, so that their time is not known either.
    host_fails("one-order-a-run", &["burst: messages of a run", BURST_TIME]);
}

#[test]
fn a_worker_that_settles_one_order_after_another_fails_the_run() {
    host_fails("one-after-another", &[BURST_TIME]);
}

#[test]
fn an_order_of_a_burst_that_no_run_has_taken_fails_the_run() {
    host_fails("lost-order", &["burst: orders that no run has taken"]);
}

#[test]
fn something_that_the_adviser_finds_fails_the_run_and_is_in_its_report() {
    let run = unspoilt(|| run_host("loop-of-calls"));
    assert_eq!(
        run.failed_but_latency(),
        ["findings of the adviser"],
        "{}",
        run.output
    );
    let says = "GetProduct makes 5 GetItem calls to ProductsTable a request: 4 round trips could be saved with BatchGetItem, at the same capacity.";
    assert!(run.output.contains(says), "{}", run.output);
    let report = report(&run);
    let findings = table(section(&report, "advice"), "Findings");
    assert_eq!(findings["rows"][0], serde_json::json!([says, "04"]));
    let advise = |arguments: &[&str]| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_workshop"));
        let command = command.current_dir(root()).arg("advise").args(arguments);
        let done = command.output().unwrap();
        let said = [done.stdout, done.stderr].concat();
        (done.status.code(), String::from_utf8(said).unwrap())
    };
    let folder = run.out.path().to_str().unwrap();
    let (code, said) = advise(&["--run", folder]);
    assert!(code == Some(0) && said.contains(says), "{said}");
    let (code, said) = advise(&["--run", folder, "--json"]);
    let json: Value = serde_json::from_str(&said).unwrap();
    assert_eq!(code, Some(0), "{said}");
    assert_eq!(json["findings"][0]["rule"], "n-plus-one");
    let none = run.out.path().join("none");
    for wrong in [
        ["--run", none.to_str().unwrap()],
        ["--host", "shop"],
        ["--host", "http://127.0.0.1:1"],
    ] {
        let (code, said) = advise(&wrong);
        assert_eq!((code, said.lines().count()), (Some(2), 1), "{said}");
        assert!(said.starts_with("advise failed: "), "{said}");
    }
}

#[test]
fn parameters_reach_the_host() {
    let example = example();
    let local = ["--local", example.to_str().unwrap()];
    let given = "ProvisionedConcurrency=5 ThrottleRate=10000";
    let run = run_with(&[&local[..], &["--parameters", given]].concat(), &[]);
    let told = fs::read_to_string(run.out.path().join("logs/arguments.txt")).unwrap();
    for parameter in [
        "CatalogueWrites=open",
        "ProvisionedConcurrency=5",
        "ThrottleRate=10000",
    ] {
        assert!(told.contains(&format!("--parameter {parameter}")), "{told}");
    }
    assert_eq!(run.summary()["parameters"]["ProvisionedConcurrency"], "5");
    // Five of the one function, and its price in the table.
    assert_eq!(run.summary()["provisioned"]["environments"], 5);
    let usd = run.summary()["provisioned"]["usd_month"]["GetProduct"].as_f64();
    let all = format!("together ${:.2}, 1 functions:", usd.unwrap() * 5.0);
    assert!(run.output.contains(&all), "{all}: {}", run.output);
}

#[test]
fn an_interrupted_run_stops_what_it_started_and_keeps_what_it_measured_as_partial() {
    let out = tempfile::tempdir().unwrap();
    let example = example();
    let local = ["--local", example.to_str().unwrap()];
    let child = workshop(out.path(), &local, &[]).spawn().unwrap();
    let responses = out.path().join("responses.ndjson");
    // Until something is measured.
    while !fs::metadata(&responses).is_ok_and(|file| file.len() > 1000) {
        std::thread::sleep(std::time::Duration::from_millis(20));
    }
    let ready = fs::read(out.path().join("ready.json")).unwrap();
    let ready: Value = serde_json::from_slice(&ready).unwrap();
    let host = Pid::from_raw(i32::try_from(ready["pid"].as_i64().unwrap()).unwrap());
    kill(Pid::from_raw(child.id().cast_signed()), Signal::SIGTERM).unwrap();
    let output = child.wait_with_output().unwrap();
    let run = ended(
        out,
        output.status.code(),
        [output.stdout, output.stderr].concat(),
    );

    assert_eq!(run.code, Some(128 + 15), "{}", run.output);
    assert!(kill(host, None).is_err(), "the host still runs");
    assert_eq!(run.summary()["interrupted_by"], "SIGTERM");
    assert_eq!(run.summary()["gates"], Value::Array(Vec::new()));
    let routes = run.summary()["routes"].as_array().unwrap();
    assert!(
        routes.iter().any(|route| route["p99_ms"].is_number()),
        "{routes:?}"
    );
    assert!(
        run.summary()["aws_calls"]["GetProduct"].is_object(),
        "{}",
        run.output
    );
    assert!(
        run.output.contains("PARTIAL: interrupted by SIGTERM; "),
        "{}",
        run.output
    );
    let report = report(&run);
    assert_eq!(report["outcome"], "partial");
    let answers = &section(&report, "latency")["charts"][1]["tables"][2]["rows"];
    assert!(!answers.as_array().unwrap().is_empty());
}

#[test]
fn a_run_that_is_interrupted_before_the_load_has_nothing_to_keep() {
    let out = tempfile::tempdir().unwrap();
    let shop = Shop::start("slow-seed", &[]);
    let mut child = workshop(out.path(), &["--api-url", &shop.url], &[])
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    assert!(lines.any(|line| line.unwrap() == "loading the catalogue"));
    kill(Pid::from_raw(child.id().cast_signed()), Signal::SIGINT).unwrap();
    let output = child.wait_with_output().unwrap();
    let run = ended(out, output.status.code(), output.stderr);
    assert_eq!(run.code, Some(128 + 2), "{}", run.output);
    assert_eq!(run.output, "load test failed: interrupted by SIGINT\n");
    assert!(run.summary.is_none());
}

#[test]
fn a_host_that_ends_under_load_ends_the_run_in_one_line() {
    let run = run_host("ends");
    assert_eq!(run.code, Some(1), "{}", run.output);
    assert!(
        run.output
            .contains("load test failed: the stack ended during the load (exit code 7); see "),
        "{}",
        run.output
    );
}

#[test]
fn a_stack_that_cannot_be_started_fails_with_its_own_words() {
    let example = example();
    let run = run_with(
        &[
            "--local",
            example.to_str().unwrap(),
            "--template",
            "missing.yaml",
        ],
        &[],
    );
    assert_eq!(run.code, Some(1));
    assert!(
        run.output
            .contains("ended before it was ready (exit code 1)\n"),
        "{}",
        run.output
    );
    assert!(
        run.output.contains("missing.yaml: no such template"),
        "{}",
        run.output
    );
    let run = run_with(&["--local", "no/such/local"], &[]);
    assert!(
        run.output
            .contains("no/such/local cannot be started (the verbs of the Makefile build and install what they need): "),
        "{}",
        run.output
    );
}

#[test]
fn what_the_command_line_has_wrong_is_refused_before_anything_starts() {
    for (arguments, told) in [
        (["--profil", "load"], "unexpected argument '--profil'"),
        (
            ["--api-url", "ftp://shop"],
            "API_URL must be the address of a stack",
        ),
        (["--stack", "shop-dev"], "--api-url <URL>"),
    ] {
        let run = run_with(&arguments, &[]);
        assert_eq!(run.code, Some(2), "{}", run.output);
        assert!(run.output.contains(told), "{}", run.output);
    }
    for (arguments, told) in [
        (
            ["--profile", "lode"],
            "there is no profile \"lode\"; there are: smoke, load, spike, stress, soak",
        ),
        (
            ["--parameters", "Fast"],
            "a parameter is written Name=value, but one is \"Fast\"",
        ),
    ] {
        let mut command = Command::new(env!("CARGO_BIN_EXE_workshop"));
        let output = command
            .current_dir(root())
            .arg("load-test")
            .args(arguments)
            .output()
            .unwrap();
        let said = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(1), "{said}");
        assert!(
            said.starts_with(&format!("load test failed: {told}")),
            "{said}"
        );
    }
}
