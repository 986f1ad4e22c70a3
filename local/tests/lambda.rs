//! Functions and their execution environments, with a real process for each.

#![allow(clippy::expect_used, reason = "a helper that fails is a failed test")]

mod support;

use std::collections::BTreeSet;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use bytes::Bytes;
use futures_util::future::join_all;
use local::events::{Ended, Event, Limit};
use local::lambda::{AccountConcurrency, Environments, Function, InvokeError, MAX_PAYLOAD};
use local::template;
use serde_json::{Value, json};
use support::{TestHost, eventually, field, invoke, request};

fn alive(pid: u64) -> bool {
    let pid = nix::unistd::Pid::from_raw(i32::try_from(pid).expect("a process id"));
    nix::sys::signal::kill(pid, None).is_ok()
}

/// The limits that refused invocations, as the log says.
fn refusals(host: &TestHost) -> Vec<Option<Limit>> {
    let (_, entries) = host.host.log.since(0, usize::MAX);
    let refused = entries.iter().filter_map(|entry| match &entry.event {
        Event::Invocation(it) if it.outcome == Ended::Throttled => Some(it.limit),
        _ => None,
    });
    refused.collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn one_environment_serves_one_invocation_after_another() {
    let host = TestHost::new();
    let function = host.start(host.spec("Warm")).await.expect("it starts");
    let first = invoke(&function, json!({"n": 1})).await;
    for n in 2..=50 {
        eventually(|| function.environments().idle == 1).await;
        let next = invoke(&function, json!({"n": n})).await;
        assert_eq!(next["pid"], first["pid"]);
        assert_eq!(next["invocation"], n);
        assert_eq!(next["event"]["n"], n);
    }
    let reports = host.lines("Warm", "REPORT", 50).await;
    assert!(
        field(&reports[0], "Init Duration").is_some(),
        "{}",
        reports[0]
    );
    assert!(
        reports[1..]
            .iter()
            .all(|line| field(line, "Init Duration").is_none())
    );
    function.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn concurrent_invocations_run_in_environments_of_their_own() {
    let host = TestHost::new();
    let function = host.start(host.spec("Wide")).await.expect("it starts");
    let event = host.wait_for_gate();
    let five = || join_all((0..5).map(|_| invoke(&function, event.clone())));
    let all_run = async {
        eventually(|| function.environments().busy == 5).await;
        host.open_gate();
    };
    let (results, ()) = tokio::join!(five(), all_run);
    let pids = |results: &[Value]| -> BTreeSet<u64> {
        let pids = results.iter().map(|result| result["pid"].as_u64());
        pids.map(|pid| pid.expect("a process id")).collect()
    };
    let first = pids(&results);
    assert_eq!(first.len(), 5);
    // All five are kept warm and are enough for the next five.
    eventually(|| function.environments().idle == 5).await;
    host.close_gate();
    let all_run = async {
        eventually(|| function.environments().busy == 5).await;
        host.open_gate();
    };
    let (results, ()) = tokio::join!(five(), all_run);
    assert_eq!(pids(&results), first);
    function.shutdown().await;
    let pids = first;
    assert!(!pids.into_iter().any(alive));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_waiting_invocation_takes_whichever_environment_is_free_first() {
    let host = TestHost::new();
    let mut spec = host.spec("First");
    let gate = host.folder.path().join("gate");
    // Every process but the first hangs in its init phase.
    spec.environment.insert("INIT".to_owned(), String::new());
    let script = format!(
        "#!/bin/sh\nmkdir {0} 2>/dev/null || INIT=hang\nexport INIT\nexec {1}\n",
        gate.display(),
        spec.code_dir.join("real").display()
    );
    std::fs::rename(spec.code_dir.join("bootstrap"), spec.code_dir.join("real")).expect("renamed");
    let script = host.script_at(spec, &script);
    let function = host.start(script).await.expect("it starts");
    let first = invoke(&function, json!({})).await;
    let (slow, quick) = tokio::join!(
        invoke(&function, json!({"do": "sleep", "ms": 300})),
        invoke(&function, json!({"do": "sleep", "ms": 300})),
    );
    assert_eq!(
        (&slow["pid"], &quick["pid"]),
        (&first["pid"], &first["pid"])
    );
    function.shutdown().await;
}

/// Starts two environments, and gives their process ids once both are idle.
async fn two_idle(host: &TestHost, function: &Function) -> [u64; 2] {
    let event = host.wait_for_gate();
    let both_run = async {
        eventually(|| function.environments().busy == 2).await;
        host.open_gate();
    };
    let (one, two, ()) = tokio::join!(
        invoke(function, event.clone()),
        invoke(function, event.clone()),
        both_run
    );
    eventually(|| function.environments().idle == 2).await;
    host.close_gate();
    [one, two].map(|result| result["pid"].as_u64().expect("a process id"))
}

#[tokio::test(flavor = "multi_thread")]
async fn the_environment_used_last_is_used_first() {
    let host = TestHost::new();
    let function = host.start(host.spec("Last")).await.expect("it starts");
    let pids = two_idle(&host, &function).await;
    assert_ne!(pids[0], pids[1]);
    let used = invoke(&function, json!({})).await["pid"].clone();
    for _ in 0..10 {
        eventually(|| function.environments().idle == 2).await;
        assert_eq!(invoke(&function, json!({})).await["pid"], used);
    }
    function.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_environment_ends_once_it_is_idle_for_long_enough_and_not_while_it_works() {
    let mut host = TestHost::new();
    host.host.idle_timeout = Duration::from_millis(400);
    let function = host.start(host.spec("Idle")).await.expect("it starts");
    // Three times as long as it may be idle.
    let first = invoke(&function, json!({"do": "sleep", "ms": 1200})).await;
    let pid = first["pid"].as_u64().expect("a process id");
    eventually(|| !alive(pid)).await;
    eventually(|| function.environments().environments == 0).await;
    assert_eq!(invoke(&function, json!({})).await["invocation"], 1);
    function.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn idle_environments_end_on_request_and_busy_ones_do_not() {
    let host = TestHost::new();
    let function = host.start(host.spec("Reaped")).await.expect("it starts");
    let pids = two_idle(&host, &function).await;
    let busy = tokio::spawn({
        let (function, event) = (function.clone(), host.wait_for_gate());
        async move { invoke(&function, event).await }
    });
    eventually(|| function.environments().busy == 1).await;
    function.reap().await;
    assert_eq!(function.environments().environments, 1);
    host.open_gate();
    let kept = busy.await.expect("joined")["pid"].as_u64();
    for pid in pids {
        assert_eq!(alive(pid), Some(pid) == kept);
    }
    eventually(|| function.environments().idle == 1).await;
    function.reap().await;
    assert_eq!(function.environments().environments, 0);
    assert_eq!(invoke(&function, json!({})).await["invocation"], 1);
    function.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn reserved_concurrency_throttles_at_its_limit_and_not_before() {
    let host = TestHost::new();
    let mut spec = host.spec("Reserved");
    spec.reserved_concurrency = Some(1);
    let function = host.start(spec).await.expect("it starts");
    // Never throttled by the invocation before.
    for _ in 0..20 {
        invoke(&function, json!({})).await;
        assert_eq!(function.environments().environments, 1);
    }
    let events = [
        json!({"do": "sleep", "ms": 300}),
        json!({"do": "sleep", "ms": 300}),
    ];
    let results =
        join_all(events.map(|event| function.invoke(request(event.to_string().into())))).await;
    assert!(results[0].is_ok());
    assert!(matches!(results[1], Err(InvokeError::Throttled)));
    assert_eq!(refusals(&host), [Some(Limit::Reserved)]);
    host.lines("Reserved", "START", 21).await;
    function.shutdown().await;

    let mut none = host.spec("Nothing");
    none.reserved_concurrency = Some(0);
    let function = host.start(none).await.expect("it starts");
    let result = function.invoke(request(Bytes::from("{}"))).await;
    assert!(matches!(result, Err(InvokeError::Throttled)));
    function.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn reservations_come_out_of_the_account_and_leave_a_hundred() {
    let mut host = TestHost::new();
    host.host.concurrency = AccountConcurrency::new(103);
    let mut large = host.spec("Large");
    large.reserved_concurrency = Some(2);
    let mut small = host.spec("Small");
    small.provisioned_concurrency = 2;
    let large = host.start(large).await.expect("it starts");
    let refused = host.start(small.clone()).await.expect_err("it is refused");
    assert_eq!(
        refused.to_string(),
        "function Small: ProvisionedConcurrentExecutions of 2 would leave less than 100 of the \
         account's 103 unreserved (101 are left); lower it, or raise --account-concurrency"
    );
    small.provisioned_concurrency = 1;
    let small = host.start(small).await.expect("it starts");
    large.shutdown().await;
    small.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_new_account_runs_ten_invocations_at_one_time_and_can_reserve_none() {
    let mut host = TestHost::new();
    host.host.concurrency = AccountConcurrency::new(10);
    let mut reserved = host.spec("Reserved");
    reserved.reserved_concurrency = Some(1);
    let refused = host.start(reserved).await.expect_err("it is refused");
    let message = refused.to_string();
    assert!(
        message.contains("less than 10 of the account's 10"),
        "{message}"
    );

    let [one, two] = ["One", "Two"].map(|it| host.spec(it));
    let one = host.start(one).await.expect("it starts");
    let two = host.start(two).await.expect("it starts");
    let event = host.wait_for_gate();
    let ten = join_all((0..10).map(|_| invoke(&one, event.clone())));
    let eleventh = async {
        eventually(|| one.environments().busy == 10).await;
        let eleventh = two.invoke(request(Bytes::from("{}"))).await;
        host.open_gate();
        eleventh
    };
    let (ten, eleventh) = tokio::join!(ten, eleventh);
    assert_eq!(ten.len(), 10);
    assert!(matches!(eleventh, Err(InvokeError::Throttled)));
    assert_eq!(refusals(&host), [Some(Limit::Account)]);
    invoke(&two, json!({})).await;
    one.shutdown().await;
    two.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn provisioned_environments_are_ready_before_the_first_event_and_stay() {
    let mut host = TestHost::new();
    host.host.idle_timeout = Duration::from_millis(1);
    let mut spec = host.spec("Provisioned");
    spec.provisioned_concurrency = 2;
    let on_demand = host.start(host.spec("OnDemand")).await.expect("it starts");
    let function = host.start(spec).await.expect("it starts");
    let two_ready = |state: Environments| (state.environments, state.starting) == (2, 0);
    assert!(
        two_ready(function.environments()),
        "{:?}",
        function.environments()
    );
    let first = invoke(&function, json!({"do": "environment"})).await;
    assert_eq!(
        first["variables"]["AWS_LAMBDA_INITIALIZATION_TYPE"],
        "provisioned-concurrency"
    );
    let pid = invoke(&function, json!({})).await["pid"]
        .as_u64()
        .expect("a process id");
    eventually(|| function.environments().idle == 2).await;
    // As long as it takes an environment that is not provisioned to start and be ended for being idle.
    let idle = invoke(&on_demand, json!({})).await["pid"].as_u64();
    eventually(|| !alive(idle.expect("a process id"))).await;
    assert!(alive(pid) && two_ready(function.environments()));
    // One whose process dies keeps its place.
    let dead = function
        .invoke(request(json!({"do": "exit"}).to_string().into()))
        .await;
    assert!(dead.is_err());
    eventually(|| function.environments().idle == 2).await;
    for _ in 0..2 {
        let next = invoke(&function, json!({"do": "environment"})).await;
        let how = &next["variables"]["AWS_LAMBDA_INITIALIZATION_TYPE"];
        assert_eq!(how, "provisioned-concurrency");
    }
    on_demand.shutdown().await;
    function.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn provisioned_concurrency_that_cannot_init_is_an_error_at_start() {
    let host = TestHost::new();
    let mut spec = host.spec("Broken");
    spec.provisioned_concurrency = 1;
    spec.environment
        .insert("INIT".to_owned(), "exit:3".to_owned());
    let error = host.start(spec).await.expect_err("it is refused");
    assert!(error.to_string().contains("Broken"), "{error}");
    assert!(error.to_string().contains("exit status 3"), "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_timeout_ends_the_environment_and_the_next_invocation_gets_a_new_one() {
    let host = TestHost::new();
    let mut spec = host.spec("Slow");
    spec.timeout = Duration::from_secs(1);
    let function = host.start(spec).await.expect("it starts");
    let pid = invoke(&function, json!({})).await["pid"]
        .as_u64()
        .expect("a process id");
    let event = json!({"do": "sleep", "ms": 60_000}).to_string();
    let start = Instant::now();
    let error = function
        .invoke(request(event.into()))
        .await
        .expect_err("it times out");
    assert!(start.elapsed() >= Duration::from_secs(1));
    let InvokeError::FunctionError(error) = error else {
        panic!("{error:?}")
    };
    assert_eq!(error.error_type, "Sandbox.Timedout");
    assert!(
        error
            .message
            .ends_with("Error: Task timed out after 1.00 seconds"),
        "{error}"
    );
    eventually(|| !alive(pid)).await;
    assert_eq!(function.environments().environments, 1);
    let after = invoke(&function, json!({})).await;
    assert_eq!(after["invocation"], 1);
    let reports = host.lines("Slow", "REPORT", 3).await;
    assert!(reports[1].contains("\tStatus: timeout\t"), "{}", reports[1]);
    assert_eq!(field(&reports[1], "Duration"), Some("1000.00"));
    let log = host.log("Slow");
    let line = log
        .lines()
        .find(|line| line.contains("Task timed out"))
        .expect("the line");
    let (time, rest) = line.split_once("Z ").expect("a time");
    assert_eq!(time.len(), "2026-01-01T00:00:00.000".len());
    assert_eq!(
        rest.split_once(' ').expect("an id").1,
        "Task timed out after 1.00 seconds"
    );
    function.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_exit_or_crash_in_an_invocation_is_an_exit_error() {
    let host = TestHost::new();
    let function = host.start(host.spec("Crash")).await.expect("it starts");
    for (event, reason) in [
        (
            json!({"do": "exit", "code": 7}),
            "Runtime exited with error: exit status 7",
        ),
        (
            json!({"do": "exit", "code": 0}),
            "Runtime exited without providing a reason",
        ),
        (
            json!({"do": "abort"}),
            "Runtime exited with error: signal: aborted",
        ),
    ] {
        let error = function
            .invoke(request(event.to_string().into()))
            .await
            .expect_err("it fails");
        let InvokeError::FunctionError(error) = error else {
            panic!("{error:?}")
        };
        assert_eq!(error.error_type, "Runtime.ExitError");
        assert!(
            error.message.ends_with(&format!(" Error: {reason}")),
            "{error}"
        );
        eventually(|| host.log("Crash").contains(&error.message)).await;
    }
    let reports = host.lines("Crash", "REPORT", 3).await;
    assert!(
        reports
            .iter()
            .all(|line| line.contains("Status: error\tError Type: Runtime.ExitError"))
    );
    assert_eq!(invoke(&function, json!({})).await["invocation"], 1);
    function.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_error_of_the_handler_is_handed_on_and_the_environment_lives() {
    let host = TestHost::new();
    let function = host.start(host.spec("Fails")).await.expect("it starts");
    let event = json!({"do": "fail"}).to_string();
    let error = function
        .invoke(request(event.into()))
        .await
        .expect_err("it fails");
    let InvokeError::FunctionError(error) = error else {
        panic!("{error:?}")
    };
    assert_eq!(error.message, "it went wrong");
    assert!(!error.error_type.is_empty());
    assert_eq!(invoke(&function, json!({})).await["invocation"], 2);
    function.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn init_that_fails_is_run_again_inside_the_first_invocation() {
    let host = TestHost::new();
    let mut spec = host.spec("Again");
    let once = host.folder.path().join("once");
    spec.environment
        .insert("INIT".to_owned(), format!("exit-once:{}", once.display()));
    let function = host.start(spec).await.expect("it starts");
    assert_eq!(invoke(&function, json!({})).await["invocation"], 1);
    let report = host.lines("Again", "REPORT", 1).await.remove(0);
    assert_eq!(
        field(&report, "Init Duration"),
        None,
        "it is a part of Duration"
    );
    let log = host.log("Again");
    let mut lines = log.lines();
    let begun = lines.next().expect("a line");
    assert!(begun.starts_with("INIT_START Runtime Version: "), "{log}");
    assert_eq!(lines.next(), Some("it fails"), "{log}");
    let failed = lines.next().expect("a line");
    assert!(failed.starts_with("INIT_REPORT Init Duration: "), "{log}");
    assert!(
        failed.contains("\tPhase: init\tStatus: error\tError Type: Runtime.ExitError"),
        "{log}"
    );
    function.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn init_that_always_fails_fails_each_invocation_and_is_not_hurried() {
    let host = TestHost::new();
    let mut spec = host.spec("Never");
    spec.environment
        .insert("INIT".to_owned(), "exit:3".to_owned());
    let function = host.start(spec).await.expect("it starts");
    let start = Instant::now();
    for _ in 0..4 {
        let error = function
            .invoke(request(Bytes::from("{}")))
            .await
            .expect_err("it fails");
        let InvokeError::FunctionError(error) = error else {
            panic!("{error:?}")
        };
        assert_eq!(error.error_type, "Runtime.ExitError");
        assert!(
            error
                .message
                .ends_with("Runtime exited with error: exit status 3"),
            "{error}"
        );
        eventually(|| function.environments().idle == 1).await;
    }
    // Before the second, third and fourth: 100, 200 and 400 ms.
    assert!(start.elapsed() >= Duration::from_millis(700));
    let failed = host.lines("Never", "INIT_REPORT", 5).await;
    assert!(failed[0].contains("\tPhase: init\t"), "{}", failed[0]);
    for again in &failed[1..] {
        assert!(again.contains("\tPhase: invoke\t"), "{again}");
    }
    let reports = host.lines("Never", "REPORT", 4).await;
    // Lambda itself did the waiting.
    let duration = field(&reports[3], "Duration").and_then(|it| it.parse::<f64>().ok());
    assert!(duration.expect("a number") < 400.0, "{}", reports[3]);
    assert_eq!(function.environments().environments, 1);
    function.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_init_after_a_crash_or_timeout_is_a_part_of_the_next_invocation() {
    let host = TestHost::new();
    let mut spec = host.spec("Reset");
    spec.timeout = Duration::from_secs(2);
    spec.environment
        .insert("INIT".to_owned(), "sleep:300".to_owned());
    let function = host.start(spec).await.expect("it starts");
    let failures = [json!({"do": "exit"}), json!({"do": "sleep", "ms": 60_000})];
    for failure in failures {
        let event = failure.to_string().into();
        let failed = function.invoke(request(event)).await;
        assert!(matches!(failed, Err(InvokeError::FunctionError(_))));
        eventually(|| function.environments().idle == 1).await;
        assert_eq!(invoke(&function, json!({})).await["invocation"], 1);
    }
    let reports = host.lines("Reset", "REPORT", 4).await;
    let number = |line: &str, name| field(line, name).map(|it| it.parse::<f64>().expect("ms"));
    let init = number(&reports[0], "Init Duration").expect("a cold start");
    assert!(init >= 300.0, "{}", reports[0]);
    for after in [&reports[1], &reports[3]] {
        assert_eq!(field(after, "Init Duration"), None, "{after}");
        let duration = number(after, "Duration").expect("a duration");
        assert!(duration >= 300.0, "{after}");
        let billed = number(after, "Billed Duration").expect("a bill");
        assert!((duration..duration + 1.01).contains(&billed), "{after}");
    }
    host.lines("Reset", "INIT_START", 3).await;
    function.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_timeout_limits_the_init_after_a_crash_together_with_its_invocation() {
    let host = TestHost::new();
    let mut spec = host.spec("Both");
    spec.timeout = Duration::from_secs(1);
    spec.environment
        .insert("INIT".to_owned(), "sleep:700".to_owned());
    let function = host.start(spec).await.expect("it starts");
    // Each alone is shorter.
    let sleep = json!({"do": "sleep", "ms": 700});
    invoke(&function, sleep.clone()).await;
    let crash = json!({"do": "exit"}).to_string().into();
    assert!(function.invoke(request(crash)).await.is_err());
    let late = function.invoke(request(sleep.to_string().into())).await;
    let InvokeError::FunctionError(error) = late.expect_err("it times out") else {
        panic!("another error")
    };
    assert_eq!(error.error_type, "Sandbox.Timedout");
    let reports = host.lines("Both", "REPORT", 3).await;
    assert_eq!(field(&reports[2], "Duration"), Some("1000.00"));
    function.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_process_that_dies_between_invocations_is_started_again_by_the_next() {
    let host = TestHost::new();
    let function = host.start(host.spec("Dies")).await.expect("it starts");
    let pid = invoke(&function, json!({})).await["pid"].clone();
    eventually(|| function.environments().idle == 1).await;
    let pid =
        nix::unistd::Pid::from_raw(i32::try_from(pid.as_u64().expect("a number")).expect("an id"));
    nix::sys::signal::kill(pid, nix::sys::signal::Signal::SIGKILL).expect("it lives");
    eventually(|| nix::sys::signal::kill(pid, None).is_err()).await;
    assert_eq!(function.environments().environments, 1);
    assert_eq!(invoke(&function, json!({})).await["invocation"], 1);
    let reports = host.lines("Dies", "REPORT", 2).await;
    assert_eq!(field(&reports[1], "Init Duration"), None, "{}", reports[1]);
    function.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_init_error_that_the_runtime_reports_reaches_the_caller() {
    let host = TestHost::new();
    let mut spec = host.spec("Reported");
    spec.environment
        .insert("INIT".to_owned(), "error".to_owned());
    let function = host.start(spec).await.expect("it starts");
    let error = function
        .invoke(request(Bytes::from("{}")))
        .await
        .expect_err("it fails");
    let InvokeError::FunctionError(error) = error else {
        panic!("{error:?}")
    };
    assert_eq!(error.to_string(), "Config.Missing: TABLE is not set");
    function.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn init_may_take_ten_seconds_and_then_runs_under_the_timeout_of_the_function() {
    let host = TestHost::new();
    let mut spec = host.spec("Hangs");
    spec.timeout = Duration::from_secs(2);
    let once = host.folder.path().join("once");
    spec.environment
        .insert("INIT".to_owned(), format!("hang-once:{}", once.display()));
    let function = host.start(spec.clone()).await.expect("it starts");
    spec.logical_id = "HangsOn".to_owned();
    spec.environment
        .insert("INIT".to_owned(), "hang".to_owned());
    let never = host.start(spec).await.expect("it starts");
    let start = Instant::now();
    let (late, timed_out) = tokio::join!(
        async {
            let result = invoke(&function, json!({})).await;
            (result, start.elapsed())
        },
        async {
            let result = never.invoke(request(Bytes::from("{}"))).await;
            (result, start.elapsed())
        }
    );
    assert_eq!(late.0["invocation"], 1);
    assert!(late.1 >= Duration::from_secs(10));
    assert!(
        host.log("Hangs")
            .contains("\tPhase: init\tStatus: timeout\t")
    );
    let InvokeError::FunctionError(error) = timed_out.0.expect_err("it times out") else {
        panic!("another error")
    };
    assert_eq!(error.error_type, "Sandbox.Timedout");
    assert!(timed_out.1 >= Duration::from_secs(12));
    function.shutdown().await;
    never.shutdown().await;
}

#[cfg(target_os = "linux")]
#[tokio::test(flavor = "multi_thread")]
async fn an_environment_is_frozen_between_invocations_with_what_it_started() {
    let host = TestHost::new();
    // A bootstrap that does not `exec` is the parent of the runtime.
    let spec = host.spec("Frozen");
    let real = spec.code_dir.join("real");
    std::fs::rename(spec.code_dir.join("bootstrap"), &real).expect("renamed");
    let spec = host.script_at(spec, format!("#!/bin/sh\n{}\nexit 1\n", real.display()));
    let function = host.start(spec).await.expect("it starts");
    let state = |pid: u64| {
        let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).expect("it is alive");
        let rest = stat
            .rsplit_once(") ")
            .expect("a name in brackets")
            .1
            .to_owned();
        let mut fields = rest.split(' ').map(str::to_owned);
        let state = fields.next().expect("a state");
        (
            state,
            fields
                .next()
                .and_then(|parent| parent.parse::<u64>().ok())
                .expect("a parent"),
        )
    };
    for _ in 0..3 {
        let pid = invoke(&function, json!({})).await["pid"]
            .as_u64()
            .expect("a process id");
        let shell = state(pid).1;
        eventually(|| state(pid).0 == "T" && state(shell).0 == "T").await;
    }
    function.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_an_environment_started_ends_with_it() {
    let host = TestHost::new();
    let function = host.start(host.spec("Parent")).await.expect("it starts");
    let child = invoke(&function, json!({"do": "child"})).await["child"]
        .as_u64()
        .expect("an id");
    assert!(alive(child));
    function.shutdown().await;
    eventually(|| !alive(child)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_function_that_names_certificates_of_its_own_has_those() {
    let host = TestHost::new();
    let mut spec = host.spec("Certificates");
    for (name, value) in [("SSL_CERT_FILE", ""), ("AWS_CA_BUNDLE", "own.pem")] {
        spec.environment.insert(name.to_owned(), value.to_owned());
    }
    let function = host.start(spec).await.expect("it starts");

    let result = invoke(&function, json!({"do": "environment"})).await;

    let variables = &result["variables"];
    assert_eq!(variables["SSL_CERT_FILE"], "");
    assert_eq!(variables["AWS_CA_BUNDLE"], "own.pem");
    let ca_file = host.host.ca_file.to_str().expect("UTF-8");
    assert_eq!(variables["NODE_EXTRA_CA_CERTS"], ca_file);
    function.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_environment_has_the_variables_of_lambda_and_nothing_of_this_host() {
    let host = TestHost::new();
    let mut spec = host.spec("Variables");
    spec.environment
        .insert("TABLE".to_owned(), "Products".to_owned());
    spec.environment
        .insert("AWS_REGION".to_owned(), "reserved".to_owned());
    let code_dir = spec.code_dir.canonicalize().expect("it exists");
    let function = host.start(spec).await.expect("it starts");
    let trace = "Root=1-5bef4de7-ad49b0e87f6ef6c87fc2e700;Parent=9a9197af755a6419;Sampled=1";
    let before = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .expect("after 1970");
    let event = json!({"do": "environment"}).to_string();
    let result = function
        .invoke(local::lambda::Request::new(
            "Test",
            event.into(),
            Some(trace),
        ))
        .await
        .expect("it succeeds");
    let result: Value = serde_json::from_slice(&result).expect("JSON");
    let variables = &result["variables"];
    for (name, value) in [
        ("TABLE", "Products"),
        ("AWS_REGION", "us-east-1"),
        ("AWS_DEFAULT_REGION", "us-east-1"),
        ("AWS_LAMBDA_FUNCTION_NAME", "local-Variables"),
        ("AWS_LAMBDA_FUNCTION_VERSION", "$LATEST"),
        ("AWS_LAMBDA_FUNCTION_MEMORY_SIZE", "128"),
        ("AWS_LAMBDA_LOG_GROUP_NAME", "/aws/lambda/local-Variables"),
        ("AWS_LAMBDA_LOG_FORMAT", "Text"),
        ("AWS_LAMBDA_INITIALIZATION_TYPE", "on-demand"),
        ("_HANDLER", "bootstrap"),
        ("LAMBDA_TASK_ROOT", code_dir.to_str().expect("UTF-8")),
        ("AWS_ENDPOINT_URL", "https://127.0.0.1:1"),
        ("AWS_ENDPOINT_URL_DYNAMODB", "https://127.0.0.1:1"),
        ("AWS_ENDPOINT_URL_SQS", "https://127.0.0.1:1"),
        ("AWS_ACCESS_KEY_ID", "Variables"),
        ("SSL_CERT_FILE", host.host.ca_file.to_str().expect("UTF-8")),
        ("TZ", ":UTC"),
        ("_X_AMZN_TRACE_ID", trace), // set by the runtime
    ] {
        assert_eq!(variables[name], value, "{name}");
    }
    let stream = variables["AWS_LAMBDA_LOG_STREAM_NAME"]
        .as_str()
        .expect("a name");
    assert_eq!(stream.len(), "2026/01/01/[$LATEST]".len() + 32, "{stream}");
    for name in ["HOME", "CARGO_MANIFEST_DIR", "AWS_EXECUTION_ENV", "INIT"] {
        assert!(variables[name].is_null(), "{name}");
    }
    assert_eq!(result["folder"], code_dir.to_str().expect("UTF-8"));
    assert_eq!(
        result["arn"],
        "arn:aws:lambda:us-east-1:000000000000:function:local-Variables"
    );
    assert_eq!(result["trace_id"], trace);
    let deadline = u128::from(result["deadline"].as_u64().expect("a deadline"));
    let after = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .expect("after 1970");
    let expected = before.as_millis() + 20_000..=after.as_millis() + 20_000;
    assert!(expected.contains(&deadline), "{deadline} {expected:?}");
    let start = host.lines("Variables", "START", 1).await.remove(0);
    let id = result["request_id"].as_str().expect("an id");
    assert_eq!(start, format!("START RequestId: {id} Version: $LATEST"));
    function.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_function_prints_stands_between_start_and_end_in_whole_lines() {
    let host = TestHost::new();
    let function = host.start(host.spec("Prints")).await.expect("it starts");
    let long = "x".repeat(300_000);
    for text in ["one\ntwo\n", "no end", long.as_str()] {
        invoke(&function, json!({"do": "print", "text": text})).await;
    }
    host.lines("Prints", "REPORT", 3).await;
    let log = host.log("Prints");
    let kinds: Vec<&str> = log
        .lines()
        .map(|line| {
            line.split([' ', 'x'])
                .next()
                .filter(|word| !word.is_empty())
                .unwrap_or("x")
        })
        .collect();
    let expected = "INIT_START START one two END REPORT START no END REPORT START x x END REPORT";
    assert_eq!(kinds.join(" "), expected);
    assert_eq!(
        log.chars().filter(|c| *c == 'x').count(),
        long.len() + "Max".len() - 2 + 2
    );
    function.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_report_tells_duration_memory_and_cpu_time() {
    let host = TestHost::new();
    let mut spec = host.spec("Report");
    spec.environment
        .insert("INIT".to_owned(), "sleep:100".to_owned());
    let function = host.start(spec).await.expect("it starts");
    let begun = Instant::now();
    invoke(&function, json!({"do": "sleep", "ms": 50})).await;
    host.lines("Report", "REPORT", 1).await;
    let all_ms = begun.elapsed().as_secs_f64() * 1000.0;
    invoke(&function, json!({"do": "burn", "ms": 100})).await;
    invoke(&function, json!({"do": "allocate", "mb": 60})).await;
    let reports = host.lines("Report", "REPORT", 3).await;
    let number = |line: usize, name: &str| -> f64 {
        let value = field(&reports[line], name);
        value
            .unwrap_or_else(|| panic!("{name} in {}", reports[line]))
            .parse()
            .expect("a number")
    };
    assert!(number(0, "Init Duration") >= 100.0);
    assert!(number(0, "Duration") >= 50.0);
    let billed = number(0, "Duration") + number(0, "Init Duration");
    assert!(billed <= all_ms, "{} in {all_ms} ms", reports[0]);
    assert!(
        (billed..billed + 1.01).contains(&number(0, "Billed Duration")),
        "{}",
        reports[0]
    );
    assert_eq!(number(0, "Memory Size") as u64, 128);
    assert!(
        (1.0..128.0).contains(&number(0, "Max Memory Used")),
        "{}",
        reports[0]
    );
    if cfg!(target_os = "linux") {
        assert!(number(0, "Init CPU Time") > 0.0);
        assert!(
            number(0, "CPU Time") < 50.0,
            "sleeping takes no CPU: {}",
            reports[0]
        );
        assert!(number(1, "CPU Time") >= 80.0, "{}", reports[1]);
        assert!(number(2, "Max Memory Used") >= 60.0, "{}", reports[2]);
    }
    function.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_function_that_takes_more_than_its_memory_is_killed() {
    let host = TestHost::new();
    let function = host.start(host.spec("Hungry")).await.expect("it starts");
    let event = json!({"do": "allocate", "mb": 200, "ms": 60_000}).to_string();
    let error = function
        .invoke(request(event.into()))
        .await
        .expect_err("it is killed");
    assert!(
        error
            .to_string()
            .ends_with("Runtime exited with error: signal: killed"),
        "{error}"
    );
    let report = host.lines("Hungry", "REPORT", 1).await.remove(0);
    let used: u64 = field(&report, "Max Memory Used")
        .expect("it")
        .parse()
        .expect("a number");
    assert!(used > 128, "{report}");
    assert_eq!(invoke(&function, json!({})).await["invocation"], 1);
    function.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn events_and_results_have_a_limit_of_six_megabytes() {
    let host = TestHost::new();
    let mut spec = host.spec("Large");
    spec.memory_mb = 512;
    let function = host.start(spec).await.expect("it starts");
    let event = vec![b' '; MAX_PAYLOAD + 1];
    let refused = function.invoke(request(event.into())).await;
    assert!(matches!(refused, Err(InvokeError::EventTooLarge)));
    let mut event = vec![b' '; MAX_PAYLOAD];
    event[0..2].copy_from_slice(b"{}");
    assert!(function.invoke(request(event.into())).await.is_ok());
    // A JSON string has two quotes.
    let largest = json!({"do": "large", "bytes": MAX_PAYLOAD - 2}).to_string();
    let result = function
        .invoke(request(largest.into()))
        .await
        .expect("it fits");
    assert_eq!(result.len(), MAX_PAYLOAD);
    for bytes in [MAX_PAYLOAD - 1, 40_000_000] {
        let event = json!({"do": "large", "bytes": bytes}).to_string();
        let error = function
            .invoke(request(event.into()))
            .await
            .expect_err("it is too large");
        let InvokeError::FunctionError(error) = error else {
            panic!("{error:?}")
        };
        assert_eq!(error.error_type, "Function.ResponseSizeTooLarge");
    }
    function.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_function_that_cannot_be_run_is_refused_with_its_name_and_path() {
    let host = TestHost::new();
    let spec = host.spec("Missing");
    let bootstrap = spec.code_dir.join("bootstrap");
    std::fs::remove_file(&bootstrap).expect("removed");
    let error = host
        .start(spec.clone())
        .await
        .expect_err("it is refused")
        .to_string();
    assert_eq!(
        error,
        format!(
            "function Missing: there is no {}; run `make build`",
            bootstrap.display()
        )
    );
    std::fs::write(&bootstrap, "").expect("written");
    let error = host
        .start(spec)
        .await
        .expect_err("it is refused")
        .to_string();
    assert!(error.contains("is not executable"), "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bootstrap_for_another_machine_is_refused_with_its_name_and_path() {
    let host = TestHost::new();
    // An ELF header for a machine that this is not.
    let mut elf = [0_u8; 64];
    elf[..7].copy_from_slice(b"\x7fELF\x02\x01\x01");
    elf[16..20].copy_from_slice(&[2, 0, 0xff, 0x7f]);
    let spec = host.script("Foreign", elf);
    let bootstrap = spec.code_dir.join("bootstrap");
    let error = host
        .start(spec)
        .await
        .expect_err("it is refused")
        .to_string();
    assert_eq!(
        error,
        format!(
            "function Foreign: {} is built for another machine; run `make build` on this one",
            bootstrap.display()
        )
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bootstrap_that_cannot_be_run_fails_each_invocation_with_its_path() {
    let host = TestHost::new();
    for (logical_id, script, advice) in [
        (
            "NoFormat",
            "echo no interpreter is named",
            "another machine",
        ),
        ("NoShell", "#!/no/such/shell\n", "does not exist"),
    ] {
        let spec = host.script(logical_id, script);
        let path = spec
            .code_dir
            .join("bootstrap")
            .canonicalize()
            .expect("it exists");
        let function = host.start(spec).await.expect("it starts");
        let error = function
            .invoke(request(Bytes::from("{}")))
            .await
            .expect_err("it fails");
        let InvokeError::FunctionError(error) = error else {
            panic!("{error:?}")
        };
        assert_eq!(error.error_type, "Runtime.InvalidEntrypoint");
        for part in [logical_id, path.to_str().expect("UTF-8"), advice] {
            assert!(error.message.contains(part), "{error}");
        }
        eventually(|| host.log(logical_id).contains(&error.message)).await;
        function.shutdown().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_invocation_whose_caller_has_gone_runs_to_its_end() {
    let host = TestHost::new();
    let function = host.start(host.spec("Alone")).await.expect("it starts");
    invoke(&function, json!({})).await;
    let call = tokio::spawn({
        let (function, event) = (function.clone(), host.wait_for_gate().to_string());
        async move { function.invoke(request(event.into())).await }
    });
    host.lines("Alone", "START", 2).await;
    call.abort();
    assert!(call.await.expect_err("it was dropped").is_cancelled());
    host.open_gate();
    host.lines("Alone", "REPORT", 2).await;
    assert_eq!(invoke(&function, json!({})).await["invocation"], 3);
    function.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn shutdown_cuts_off_what_runs_and_refuses_what_comes() {
    let host = TestHost::new();
    let function = host.start(host.spec("Stops")).await.expect("it starts");
    let pid = invoke(&function, json!({})).await["pid"]
        .as_u64()
        .expect("a process id");
    let event = json!({"do": "sleep", "ms": 60_000}).to_string();
    let running = tokio::spawn({
        let function = function.clone();
        async move { function.invoke(request(event.into())).await }
    });
    host.lines("Stops", "START", 2).await;
    function.shutdown().await;
    assert!(!alive(pid));
    assert!(matches!(
        running.await.expect("joined"),
        Err(InvokeError::Stopped)
    ));
    assert!(matches!(
        function.invoke(request(Bytes::new())).await,
        Err(InvokeError::Stopped)
    ));
}

#[tokio::test(flavor = "multi_thread")]
async fn each_environment_has_a_tmp_of_its_own_for_its_whole_life() {
    let host = TestHost::new();
    let function = host.start(host.spec("Files")).await.expect("it starts");
    let name = format!("local-test-{}", std::process::id());
    let mut event = host.wait_for_gate();
    event["do"] = json!("tmp");
    event["name"] = json!(name);

    // Both write the same file before either reads it.
    let both_run = async {
        eventually(|| host.log("Files").matches("written\n").count() == 2).await;
        host.open_gate();
    };
    let (one, two, ()) = tokio::join!(
        invoke(&function, event.clone()),
        invoke(&function, event.clone()),
        both_run
    );
    assert_ne!(one["pid"], two["pid"]);
    for result in [&one, &two] {
        assert_eq!(result["before"], Value::Null);
        assert_eq!(result["after"], result["pid"]);
        // A test process may not be allowed to mount.
        let is_tmp = result["folder"] == "/tmp";
        assert_eq!(is_tmp, host.host.machine.notice().is_none());
    }

    eventually(|| function.environments().idle == 2).await;
    let again = invoke(&function, event.clone()).await;
    assert_eq!(again["before"], again["pid"]);
    // A crash does not empty it.
    eventually(|| function.environments().idle == 2).await;
    let crash = json!({"do": "exit"}).to_string();
    assert!(function.invoke(request(crash.into())).await.is_err());
    eventually(|| function.environments().idle == 2).await;
    let reset = invoke(&function, event).await;
    assert_eq!(reset["before"], again["pid"]);
    assert_ne!(reset["pid"], again["pid"]);

    for folder in [Path::new("/tmp"), &std::env::temp_dir()] {
        assert!(!folder.join(&name).exists(), "{}", folder.display());
    }
    function.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bootstrap_that_is_a_link_below_tmp_is_found() {
    let host = TestHost::new();
    let elsewhere = tempfile::tempdir().expect("a temporary folder");
    let binary = elsewhere.path().join("function");
    std::fs::copy(support::example(), &binary).expect("it is copied");
    let spec = host.spec("Linked");
    let bootstrap = spec.code_dir.join("bootstrap");
    std::fs::remove_file(&bootstrap).expect("the link is removed");
    std::os::unix::fs::symlink(&binary, &bootstrap).expect("another link is made");
    let function = host.start(spec).await.expect("it starts");
    assert_eq!(invoke(&function, json!({})).await["invocation"], 1);
    function.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_log_and_the_environment_have_the_format_of_the_template() {
    let host = TestHost::new();
    let mut spec = host.spec("Json");
    spec.log_format = template::LogFormat::Json;
    spec.application_log_level = Some(template::LogLevel::Debug);
    spec.log_group = "/shop/all".to_owned();
    let function = host.start(spec).await.expect("it starts");
    let result = invoke(&function, json!({"do": "environment"})).await;
    let variables = &result["variables"];
    assert_eq!(variables["AWS_LAMBDA_LOG_FORMAT"], "JSON");
    assert_eq!(variables["AWS_LAMBDA_LOG_LEVEL"], "DEBUG");
    assert_eq!(variables["AWS_LAMBDA_LOG_GROUP_NAME"], "/shop/all");
    let crash = json!({"do": "exit"}).to_string();
    assert!(function.invoke(request(crash.into())).await.is_err());
    host.lines("Json", "{", 6).await;
    let log = host.log("Json");
    let events: Vec<Value> = log
        .lines()
        .map(|line| serde_json::from_str(line).expect("JSON"))
        .collect();
    let kinds: Vec<&str> = events
        .iter()
        .filter_map(|event| event["type"].as_str())
        .collect();
    let expected = [
        "platform.initStart",
        "platform.start",
        "platform.report",
        "platform.start",
        "platform.runtimeDone",
        "platform.report",
    ];
    assert_eq!(kinds, expected);
    assert_eq!(events[1]["record"]["requestId"], result["request_id"]);
    assert!(events[2]["record"]["metrics"]["initDurationMs"].is_number());
    assert_eq!(events[5]["record"]["errorType"], "Runtime.ExitError");
    function.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_caller_can_have_the_end_of_its_log() {
    let host = TestHost::new();
    let function = host.start(host.spec("Tail")).await.expect("it starts");
    let print = |text: &str| Bytes::from(json!({"do": "print", "text": text}).to_string());
    let (first, _) = function.invoke_with_log(request(print("one\n"))).await;
    assert!(first.is_ok());
    let second = request(print("two\n"));
    let id = second.request_id.clone();
    let (_, log) = function.invoke_with_log(second).await;
    let log = String::from_utf8(log.to_vec()).expect("UTF-8");
    let start = format!(
        "START RequestId: {id} Version: $LATEST\ntwo\nEND RequestId: {id}\nREPORT RequestId: {id}\t"
    );
    assert!(log.starts_with(&start), "{log}");
    let long = request(print(&"x".repeat(10_000)));
    let (_, log) = function.invoke_with_log(long).await;
    assert_eq!(log.len(), 4096);
    let crash = json!({"do": "exit"}).to_string().into();
    let (crash, log) = function.invoke_with_log(request(crash)).await;
    assert!(matches!(crash, Err(InvokeError::FunctionError(_))));
    let log = String::from_utf8(log.to_vec()).expect("UTF-8");
    assert!(
        log.contains("Runtime exited without providing a reason"),
        "{log}"
    );
    function.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_asynchronous_invocation_runs_in_the_background_under_the_id_it_was_given() {
    let host = TestHost::new();
    let function = host.start(host.spec("Later")).await.expect("it starts");
    let event = host.wait_for_gate().to_string();
    let event = request(event.into());
    let id = event.request_id.clone();
    function.invoke_later(event).expect("accepted");
    let start = host.lines("Later", "START", 1).await.remove(0);
    assert_eq!(start, format!("START RequestId: {id} Version: $LATEST"));
    assert_eq!(function.environments().busy, 1);
    host.open_gate();
    host.lines("Later", "REPORT", 1).await;
    let large = function.invoke_later(request(vec![b' '; 1024 * 1024 + 1].into()));
    assert!(matches!(large, Err(InvokeError::EventTooLarge)));
    // One that waits for its next try does not keep the host from ending.
    let fails = json!({"do": "fail"}).to_string();
    function
        .invoke_later(request(fails.into()))
        .expect("accepted");
    host.lines("Later", "REPORT", 2).await;
    function.shutdown().await;
    let late = function.invoke_later(request(Bytes::from("{}")));
    assert!(matches!(late, Err(InvokeError::Stopped)));
}

#[tokio::test(flavor = "multi_thread")]
async fn code_that_is_built_anew_runs_from_the_next_invocation() {
    let host = TestHost::new();
    let spec = host.spec("Rebuilt");
    let bootstrap = spec.code_dir.join("bootstrap");
    let function = host.start(spec.clone()).await.expect("it starts");
    let running = tokio::spawn({
        let (function, event) = (function.clone(), host.wait_for_gate());
        async move { invoke(&function, event).await }
    });
    eventually(|| function.environments().busy == 1).await;
    let idle = invoke(&function, json!({"do": "environment"})).await;
    assert!(idle["variables"]["BUILD"].is_null());
    eventually(|| function.environments().idle == 1).await;

    let script = format!("#!/bin/sh\nBUILD=2 exec {}\n", support::example().display());
    let new = bootstrap.with_extension("new");
    std::fs::write(&new, script).expect("written");
    std::fs::set_permissions(&new, std::fs::Permissions::from_mode(0o755)).expect("executable");
    std::fs::rename(&new, &bootstrap).expect("replaced");
    let rebuilt = invoke(&function, json!({"do": "environment"})).await;
    assert_eq!(rebuilt["variables"]["BUILD"], "2");
    let report = host.lines("Rebuilt", "REPORT", 2).await.remove(1);
    assert!(field(&report, "Init Duration").is_some(), "{report}");

    // The old code finishes what it runs, and gets no more to do.
    assert_eq!(function.environments().busy, 1);
    host.open_gate();
    assert_eq!(running.await.expect("joined")["invocation"], 1);
    eventually(|| function.environments().environments == 1).await;
    let next = invoke(&function, json!({"do": "environment"})).await;
    assert_eq!(next["variables"]["BUILD"], "2");
    function.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_failure_of_the_machine_is_not_the_function_s() {
    let mut host = TestHost::new();
    // No process can join the group of a process that has ended.
    let mut gone = std::process::Command::new("true").spawn().expect("it runs");
    host.host.children_group = i32::try_from(gone.id()).expect("a process id");
    gone.wait().expect("it ends");
    let function = host.start(host.spec("Guarded")).await.expect("it starts");
    let error = function.invoke(request(Bytes::from("{}"))).await;
    let Err(InvokeError::Service(message)) = error else {
        panic!("{error:?}")
    };
    let expected = "cannot start an environment of Guarded: ";
    assert!(message.starts_with(expected), "{message}");
    assert_eq!(host.log("Guarded"), "");
    function.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
#[cfg(target_os = "linux")]
async fn a_function_may_open_as_many_files_as_on_aws() {
    let host = TestHost::new();
    let script = "#!/bin/sh\nwhile [ \"$(ulimit -n)\" != 1024 ]; do sleep 0.01; done\nexec ";
    let script = format!("{script}{}\n", support::example().display());
    let function = host.start(host.script("Files", script)).await;
    let function = function.expect("it starts");
    invoke(&function, json!({})).await;
    function.shutdown().await;
}

/// Five hundred environments of one function, each with an invocation at the same time.
#[tokio::test(flavor = "multi_thread")]
async fn five_hundred_environments_run_at_one_time() {
    const MANY: usize = 500;
    let host = TestHost::new();
    let mut spec = host.spec("Many");
    spec.timeout = Duration::from_secs(120);
    let function = host.start(spec).await.expect("it starts");
    let event = host.wait_for_gate();
    let invocations = join_all((0..MANY).map(|_| invoke(&function, event.clone())));
    let all_run = async {
        eventually(|| function.environments().busy == MANY).await;
        host.open_gate();
    };
    let (results, ()) = tokio::join!(invocations, all_run);
    let pids: BTreeSet<u64> = results.iter().filter_map(|it| it["pid"].as_u64()).collect();
    assert_eq!(pids.len(), MANY);
    host.lines("Many", "REPORT", MANY).await;
    function.shutdown().await;
    assert!(!pids.into_iter().any(alive));
}
