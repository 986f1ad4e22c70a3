//! Functions under conditions of Lambda: what is held back, and that all logs agree on it.

#![allow(
    clippy::expect_used,
    clippy::unwrap_used,
    reason = "a helper that fails is a failed test"
)]

mod support;

use std::fs;
use std::time::{Duration, Instant};

use bytes::Bytes;
use local::conditions::Conditions;
use local::events::{Change, Ended, Event, Invocation};
use local::lambda::InvokeError;
use serde_json::{Value, json};
use support::{TestHost, field, invoke, request};

/// A host whose vCPU is this machine's core, and where the platform's part of a cold start takes long.
fn host() -> TestHost {
    host_with(1)
}

/// The same, with another CPU factor.
fn host_with(factor: u32) -> TestHost {
    const ALMOST_NOTHING: &str = "p50 = '1 us'\np99 = '1 us'\nsource = 'test'\n";
    let mut host = TestHost::new();
    let file = host.folder.path().join("conditions.toml");
    let text = format!(
        "[cpu]\nvcpu_mb = 1769\nperiod = '20 ms'\nfactor = {factor}\nsource = 'test'\n\
         [platform]\np50 = '300 ms'\np99 = '300 ms'\nsource = 'test'\n\
         [front_door]\n{ALMOST_NOTHING}[invoke]\n{ALMOST_NOTHING}[trigger]\n{ALMOST_NOTHING}\
         [connection]\n{ALMOST_NOTHING}[calls]\n"
    );
    fs::write(&file, text).expect("the file is written");
    host.host.conditions = Conditions::read(&file.to_string_lossy()).expect("it can be read");
    host
}

fn invocations(host: &TestHost) -> Vec<Invocation> {
    let (_, entries) = host.host.log.since(0, usize::MAX);
    let invocations = entries.iter().filter_map(|entry| match &entry.event {
        Event::Invocation(invocation) => Some(Invocation::clone(invocation)),
        _ => None,
    });
    invocations.collect()
}

fn burn(ms: u64) -> Value {
    json!({"do": "burn", "ms": ms})
}

#[tokio::test(flavor = "multi_thread")]
async fn work_takes_as_long_as_the_memory_buys_in_every_log() {
    let host = host();
    let function = host.start(host.spec("Small")).await.expect("it starts");
    invoke(&function, json!({})).await;
    let begin = Instant::now();
    invoke(&function, burn(50)).await;
    let waited = begin.elapsed();
    // 1.447 ms of CPU time in each period: 34 whole periods before the last part.
    let least = Duration::from_millis(34 * 20 - 20);
    assert!(waited >= least, "the caller waited {waited:?}");
    let report = host.lines("Small", "REPORT", 2).await.remove(1);
    let duration: f64 = field(&report, "Duration").unwrap().parse().unwrap();
    assert!(duration >= least.as_secs_f64() * 1e3, "{report}");
    let billed: f64 = field(&report, "Billed Duration").unwrap().parse().unwrap();
    assert!((billed - duration.ceil()).abs() < 0.5, "{report}");
    let logged = invocations(&host).remove(1);
    assert!(
        (logged.duration.as_secs_f64() * 1e3 - duration).abs() < 0.01,
        "{logged:?}"
    );
    let cpu = logged.cpu.expect("it ran");
    assert!(cpu >= Duration::from_millis(50), "{logged:?}");
    assert!(logged.held >= least - cpu, "{logged:?}");
    function.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_whole_vcpu_holds_nothing_back() {
    let host = host();
    let mut spec = host.spec("Large");
    spec.memory_mb = 1769;
    let function = host.start(spec).await.expect("it starts");
    invoke(&function, burn(50)).await;
    host.lines("Large", "REPORT", 1).await;
    let held = invocations(&host)[0].held;
    assert!(held < Duration::from_millis(1), "{held:?}");
    function.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn work_that_would_take_longer_than_the_timeout_times_out() {
    let host = host();
    let mut spec = host.spec("Late");
    spec.timeout = Duration::from_secs(1);
    let function = host.start(spec).await.expect("it starts");
    let begin = Instant::now();
    // Here it takes 0.2 s, with the share of 128 MB it takes 2.7.
    let event = Bytes::from(burn(200).to_string());
    let result = function.invoke(request(event)).await;
    assert!(begin.elapsed() >= Duration::from_secs(1));
    match result {
        Err(InvokeError::FunctionError(error)) => assert_eq!(error.error_type, "Sandbox.Timedout"),
        other => panic!("{other:?}"),
    }
    host.lines("Late", "REPORT", 1).await;
    assert_eq!(invocations(&host)[0].outcome, Ended::Timeout);
    function.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_init_phase_that_would_take_longer_than_its_limit_times_out() {
    let host = host_with(100);
    let mut spec = host.spec("Begins");
    (spec.memory_mb, spec.timeout) = (1769, Duration::from_secs(3));
    let mark = host.folder.path().join("mark");
    let init = format!("burn-later:{}", mark.display());
    spec.environment.insert("INIT".to_owned(), init);
    let function = host.start(spec).await.expect("it starts");
    let crash = Bytes::from(json!({"do": "exit"}).to_string());
    assert!(function.invoke(request(crash)).await.is_err());
    // The next init phase is part of the invocation, and takes 0.1 s here, 10 s there.
    let result = function.invoke(request(Bytes::from("{}"))).await;
    let Err(InvokeError::FunctionError(error)) = result else {
        panic!("{result:?}");
    };
    assert_eq!(error.error_type, "Sandbox.Timedout");
    host.lines("Begins", "REPORT", 2).await;
    let ran = invocations(&host).remove(1);
    assert_eq!(ran.outcome, Ended::Timeout, "{ran:?}");
    let (_, entries) = host.host.log.since(0, usize::MAX);
    let failed = entries.iter().any(
        |entry| matches!(&entry.event, Event::Environment(it) if it.change == Change::InitFailed),
    );
    assert!(failed, "it never came to its work: {entries:?}");
    function.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cold_start_has_the_platforms_part_too_and_is_logged_apart() {
    let host = host();
    let function = host.start(host.spec("Cold")).await.expect("it starts");
    let begin = Instant::now();
    invoke(&function, json!({})).await;
    let platform = Duration::from_millis(300);
    assert!(begin.elapsed() >= platform);
    invoke(&function, json!({})).await;
    host.lines("Cold", "REPORT", 2).await;
    let [cold, warm] = &invocations(&host)[..] else {
        panic!("{:?}", invocations(&host));
    };
    let init = cold.init.expect("an init phase");
    assert!(cold.cold && !warm.cold && warm.init.is_none());
    assert!(
        init.platform.abs_diff(platform) < Duration::from_millis(1),
        "{init:?}"
    );
    // It is no part of what Lambda reports.
    assert!(cold.queued >= platform + init.duration, "{cold:?}");
    let report = host.lines("Cold", "REPORT", 2).await.remove(0);
    let reported: f64 = field(&report, "Init Duration").unwrap().parse().unwrap();
    assert!(
        (reported - init.duration.as_secs_f64() * 1e3).abs() < 0.01,
        "{report}"
    );
    function.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn provisioned_concurrency_has_no_burst_and_its_callers_do_not_wait_for_the_platform() {
    let host = host();
    let start = |name: &str, provisioned: u32| {
        let mut spec = host.spec(name);
        spec.provisioned_concurrency = provisioned;
        host.start(spec)
    };
    let (ahead, on_demand) = (start("Ahead", 1).await, start("OnDemand", 0).await);
    let (ahead, on_demand) = (ahead.expect("it starts"), on_demand.expect("it starts"));
    invoke(&ahead, json!({})).await;
    invoke(&on_demand, json!({})).await;
    host.lines("Ahead", "REPORT", 1).await;
    host.lines("OnDemand", "REPORT", 1).await;
    let [ahead_ran, on_demand_ran] = &invocations(&host)[..] else {
        panic!("{:?}", invocations(&host));
    };
    assert!(
        ahead_ran.queued < on_demand_ran.queued,
        "{ahead_ran:?} {on_demand_ran:?}"
    );
    assert!(on_demand_ran.queued >= Duration::from_millis(300));
    let took = |it: &Invocation| {
        let init = it.init.expect("an init phase");
        (init.duration.as_secs_f64(), init.cpu.as_secs_f64())
    };
    let ((duration, cpu), (_, burst_cpu)) = (took(ahead_ran), took(on_demand_ran));
    // What the share leaves of each period is waited for; a burst has nothing to wait for.
    let share = 128.0 / 1769.0;
    assert!(cpu > 0.0 && burst_cpu > 0.0);
    assert!(
        duration >= (cpu / (0.02 * share)).floor() * 0.02 - 0.02,
        "{duration} {cpu}"
    );
    ahead.shutdown().await;
    on_demand.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_log_has_the_life_of_an_environment() {
    let host = host();
    let mut spec = host.spec("Life");
    spec.timeout = Duration::from_secs(1);
    let function = host.start(spec).await.expect("it starts");
    invoke(&function, json!({})).await;
    host.lines("Life", "REPORT", 1).await;
    let crash = Bytes::from(json!({"do": "exit"}).to_string());
    assert!(function.invoke(request(crash)).await.is_err());
    let late = Bytes::from(json!({"do": "sleep", "ms": 60_000}).to_string());
    assert!(function.invoke(request(late)).await.is_err());
    host.lines("Life", "REPORT", 3).await;
    invoke(&function, json!({})).await;
    host.lines("Life", "REPORT", 4).await;
    function.reap().await;
    let (_, entries) = host.host.log.since(0, usize::MAX);
    let life: Vec<(Change, String)> = entries
        .iter()
        .filter_map(|entry| match &entry.event {
            Event::Environment(it) => Some((it.change, it.environment.clone())),
            _ => None,
        })
        .collect();
    let expected = [
        (Change::Started, "Life-1"),
        (Change::Ready, "Life-1"),
        (Change::Frozen, "Life-1"),
        (Change::Thawed, "Life-1"),
        (Change::Killed, "Life-1"),
        (Change::Started, "Life-2"),
        (Change::TimedOut, "Life-2"),
        (Change::Started, "Life-3"),
        (Change::Frozen, "Life-3"),
        (Change::Reaped, "Life-3"),
    ];
    let expected = expected.map(|(change, name)| (change, name.to_owned()));
    assert_eq!(life, expected);
    // Only the first start was a cold one: the others are a part of their invocations.
    let cold: Vec<bool> = invocations(&host).iter().map(|it| it.cold).collect();
    assert_eq!(cold, [true, false, false, false]);
    function.shutdown().await;
}
