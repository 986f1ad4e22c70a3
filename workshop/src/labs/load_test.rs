//! Judges a load test: Artillery runs it against a service that keeps its promise, which has to pass, and against broken
//! ones, each of which has to fail.

use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Result, bail};
use fs_err as fs;
use futures_util::{StreamExt, TryStreamExt, stream};
use serde_json::Value;
use tokio::process::Command;
use tokio::sync::Semaphore;
use tokio::time::timeout;

use super::judge::{Checked, Verdict};
use super::lab::{Broken, LoadTest};
use super::lesson::{Lesson, Variant};
use super::stand_in::{Behaviour, StandIn};
use crate::artillery::{Aggregate, Report, node};
use crate::files::{read_json, read_yaml};
use crate::program::{Program, how};
use crate::session::{BadInput, Session};

/// Runs at the same time: all of a lesson's, of which each waits most of its time.
const AT_ONCE: u32 = 8;

/// How often a run is repeated that this machine has spoilt.
const TRIES: usize = 5;

/// Of one run. It takes some seconds on a machine that does nothing else.
const LIMIT: Duration = Duration::from_secs(120);

/// A run is spoilt if Artillery saw so many ms more than its answers took, at one of these figures.
const SPOILT: [(f64, &str, f64); 3] = [
    (0.95, "p95", 150.0),
    (0.99, "p99", 180.0),
    (1.0, "max", 400.0),
];

/// How a run ended.
struct Ran {
    requests: u64,
    /// Artillery ended with 0: every gate held.
    passed: bool,
    /// It was ended, because it sent more than is wanted.
    too_many: bool,
    /// The gates that did not hold, with what was measured.
    failed: Vec<String>,
}

/// Judges the load test of a variant.
///
/// # Errors
/// [`BadInput`] if Artillery cannot run it, or if this machine is too busy for it.
pub async fn judged(
    session: &Session,
    target: &Path,
    lesson: &Lesson,
    variant: &Variant,
    load_test: &LoadTest,
) -> Result<Verdict> {
    let script = lesson.source(&lesson.lab.edits, variant);
    if let Some(wrong) = longer(&script, load_test.seconds)? {
        return Ok(Verdict::wrong(wrong));
    }
    let out = target.join("run").join(lesson.name());
    let out = out.join(variant.binary());
    let _ = fs::remove_dir_all(&out);
    fs::create_dir_all(&out)?;
    let stage = Stage {
        session,
        load_test,
        script,
        out,
        cache: target.join("node-cache"),
        room: Semaphore::new(AT_ONCE as usize),
    };
    let sound = [None].into_iter();
    let services = sound.chain(load_test.broken.iter().map(Some));
    let runs = services.map(|broken| stage.run(broken));
    // In order: the first is the sound one.
    let mut runs = stream::iter(runs).buffered(1 + load_test.broken.len());
    let judged = async {
        let Some(sound) = runs.try_next().await? else {
            bail!("there is no service");
        };
        if let Some(wrong) = of_the_sound(&sound, load_test) {
            return Ok(Verdict::wrong(wrong));
        }
        let ran: Vec<Ran> = runs.try_collect().await?;
        let caught: Vec<_> = ran.iter().map(|it| !it.passed).collect();
        Ok(verdict(load_test, sound.requests, &caught))
    };
    session.or_interrupted(judged).await
}

/// What is wrong with how it loads the service that keeps its promise, or with its gates.
fn of_the_sound(ran: &Ran, load_test: &LoadTest) -> Option<String> {
    let LoadTest {
        at_least,
        at_most,
        promise,
        ..
    } = load_test;
    let requests = ran.requests;
    if ran.too_many {
        return Some(format!(
            "It sends more than {at_most} requests, and was ended. The promise is {promise}. `arrivalRate` counts users, not requests: multiply it by the requests of a scenario."
        ));
    }
    if requests < *at_least {
        return Some(format!(
            "It sends {requests} requests, wanted at least {at_least}: what sends almost nothing passes almost everything."
        ));
    }
    (!ran.passed).then(|| {
        let failed = match &ran.failed[..] {
            [] => "an expectation".to_owned(),
            failed => failed.join(" and "),
        };
        format!("It fails a service that keeps its promise, by {failed}. The promise is {promise}.")
    })
}

fn verdict(load_test: &LoadTest, requests: u64, caught: &[bool]) -> Verdict {
    let broken = || load_test.broken.iter().zip(caught);
    let checks = broken().map(|(it, caught)| Checked {
        what: format!("caught {}", it.name),
        measured: Some(f64::from(u8::from(*caught))),
        wanted: "1".to_owned(),
        passed: *caught,
    });
    let missed: Vec<_> = broken()
        .filter(|(_, caught)| !**caught)
        .map(|(it, _)| format!("{} ({})", it.says, it.name))
        .collect();
    let (all, missed_all) = (caught.len(), missed.len());
    let says = if missed.is_empty() {
        let names: Vec<_> = broken().map(|(it, _)| it.name.as_str()).collect();
        format!(
            "Passed: caught {all} of {all} ({}), and let the sound one pass, with {requests} requests.",
            names.join(", ")
        )
    } else {
        let missed = missed.join("; ");
        format!(
            "Caught {} of {all}. Your load test passes {missed}.",
            all - missed_all
        )
    };
    Verdict {
        passed: missed.is_empty(),
        says,
        checks: checks.collect(),
    }
}

/// What is wrong with the file's phases.
fn longer(script: &Path, limit: f64) -> Result<Option<String>> {
    let file: Value = read_yaml(script).map_err(|error| BadInput(format!("{error:#}")))?;
    let phases = file["config"]["phases"].as_array();
    let phases = phases.map_or(&[][..], Vec::as_slice);
    let mut seconds = 0.0;
    for phase in phases {
        let of = ["duration", "pause"].map(|key| &phase[key]);
        for value in of.into_iter().filter(|it| !it.is_null()) {
            let Some(value) = value.as_f64() else {
                return Ok(Some(format!(
                    "A phase lasts {value}: write its seconds as a number."
                )));
            };
            seconds += value;
        }
    }
    Ok(if phases.is_empty() {
        Some(
            "There are no phases in `config`: say how long it lasts, and how many arrive."
                .to_owned(),
        )
    } else {
        (seconds > limit).then(|| {
            format!("Its phases last {seconds} s, wanted at most {limit}: you wait for seven runs of it.")
        })
    })
}

/// What the runs of a variant share.
struct Stage<'a> {
    session: &'a Session,
    load_test: &'a LoadTest,
    script: PathBuf,
    out: PathBuf,
    /// What Node has compiled, so that the next start is quicker.
    cache: PathBuf,
    room: Semaphore,
}

impl Stage<'_> {
    /// Runs it against one service, again if this machine has spoilt it.
    async fn run(&self, broken: Option<&Broken>) -> Result<Ran> {
        let name = broken.map_or("sound", |it| it.name.as_str());
        for number in 1..=TRIES {
            // By itself if the others may have spoilt it.
            let room = if number == 1 { 1 } else { AT_ONCE };
            let _room = self.room.acquire_many(room).await?;
            let stand_in = StandIn::start(self.behaviour(broken)).await?;
            let (ran, report) = self.once(name, &stand_in).await?;
            // A busy machine makes answers later, so what has passed has passed.
            if ran.passed || !report.is_some_and(|it| is_spoilt(&it.aggregate, &stand_in.given())) {
                return Ok(ran);
            }
        }
        let why = format!(
            "this machine is too busy to judge a load test: answers reached Artillery much later than they were given, {TRIES} times; close what else is running, and try again"
        );
        Err(BadInput(why).into())
    }

    fn behaviour(&self, broken: Option<&Broken>) -> Behaviour {
        let more = broken.map_or(&[][..], |it| &it.changes);
        Behaviour {
            answers: self.load_test.answers.clone(),
            ms: self.load_test.ms,
            changes: [&self.load_test.changes, more].concat(),
            a_second: broken.and_then(|it| it.a_second),
            at_most: self.load_test.at_most,
        }
    }

    /// The report is missing if the run was ended.
    async fn once(&self, name: &str, stand_in: &StandIn) -> Result<(Ran, Option<Report>)> {
        let [report, log] = ["json", "log"].map(|it| self.out.join(format!("{name}.{it}")));
        for old in [&report, &log] {
            let _ = fs::remove_file(old);
        }
        let mut program = Program::start(&mut self.command(&stand_in.url, &report)?, &log)?;
        let ended = tokio::select! {
            ended = timeout(LIMIT, program.wait()) => Some(ended),
            () = stand_in.too_many() => None,
        };
        program.stop().await;
        let requests = stand_in.requests();
        let mut ran = Ran {
            requests,
            passed: false,
            too_many: ended.is_none(),
            failed: Vec::new(),
        };
        let Some(ended) = ended else {
            return Ok((ran, None));
        };
        let said = fs::read_to_string(&log)?;
        let Ok(status) = ended else {
            let seconds = LIMIT.as_secs();
            ran.failed = vec![format!("not ending within {seconds} s")];
            return Ok((ran, None));
        };
        let status = status?;
        if !report.exists() {
            let lines: Vec<_> = said.trim().lines().collect();
            let end = lines[lines.len().saturating_sub(8)..].join("\n");
            let how = how(status);
            let why = format!("Artillery does not run it and wrote no report ({how}):\n{end}");
            return Err(BadInput(why).into());
        }
        let report: Report = read_json(&report)?;
        ran.passed = status.success();
        ran.failed = failed(&said, &report.aggregate);
        Ok((ran, Some(report)))
    }

    fn command(&self, url: &str, report: &Path) -> Result<Command> {
        let root = &self.session.root;
        let artillery = root.join("load-tests/node_modules/artillery/bin/run");
        if !artillery.exists() {
            let why = "Artillery is not installed yet: run `make install` once, with a network";
            return Err(BadInput(why.to_owned()).into());
        }
        let mut command = node(&artillery, url);
        command.args(["run", "--quiet", "--target", url, "--output"]);
        command.arg(report).arg(&self.script).current_dir(root);
        command.env("PATH", with_own_node(root)?);
        command.env("NODE_COMPILE_CACHE", &self.cache);
        command.env("ARTILLERY_DISABLE_TELEMETRY", "true");
        command.env("NO_COLOR", "1").env_remove("FORCE_COLOR");
        for name in ["ARTILLERY_DISABLE_ENSURE", "WORKERS"] {
            command.env_remove(name);
        }
        Ok(command)
    }
}

/// The search path with the project's own Node first, which the Makefile installs where the machine's is too old.
fn with_own_node(root: &Path) -> Result<std::ffi::OsString> {
    let modules = root.join("target/tools/node_modules");
    let packages = fs::read_dir(modules).into_iter().flatten().flatten();
    let own = packages
        .map(|it| it.path().join("bin"))
        .filter(|it| it.join("node").exists());
    let path = std::env::var_os("PATH").unwrap_or_default();
    let all = own.chain(std::env::split_paths(&path));
    Ok(std::env::join_paths(all)?)
}

/// Whether a run says more of this machine than of the service.
fn is_spoilt(seen: &Aggregate, given: &[u64]) -> bool {
    let Some(last) = given.len().checked_sub(1) else {
        return false;
    };
    SPOILT.iter().any(|(share, figure, limit)| {
        let given = given[(last as f64 * share).ceil() as usize] as f64;
        let seen = seen.value(&format!("http.response_time.{figure}"));
        seen.is_some_and(|it| it - given > *limit)
    })
}

/// The gates that did not hold, as Artillery names them, each with its value.
fn failed(said: &str, seen: &Aggregate) -> Vec<String> {
    let lines = said.lines().filter_map(|it| it.strip_prefix("fail: "));
    let lines = lines.filter(|it| !it.ends_with(" (optional)"));
    let with_value = lines.map(|gate| {
        let metric = gate.rsplitn(3, ' ').nth(2).unwrap_or(gate);
        let value = match metric {
            "maxErrorRate" => seen.error_rate(),
            _ => seen.value(metric),
        };
        match value {
            Some(value) => format!("`{gate}`, where it is {value}"),
            None => format!("`{gate}`, which never occurred"),
        }
    });
    let errors = seen.counters.iter();
    let errors = errors.filter_map(|(name, count)| Some((name.strip_prefix("errors.")?, count)));
    let most = errors.max_by(|(_, a), (_, b)| a.total_cmp(b));
    let most = most.map(|(error, count)| format!("\"{error}\", {count} times"));
    with_value.chain(most).collect()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn seen(aggregate: Value) -> Aggregate {
        serde_json::from_value(aggregate).unwrap()
    }

    #[test]
    fn a_gate_that_did_not_hold_is_named_with_its_value() {
        let seen = seen(json!({
            "counters": {"vusers.created": 4, "vusers.completed": 3, "errors.ETIMEDOUT": 1, "http.requests": 4},
            "summaries": {"http.response_time": {"p95": 120}},
        }));
        let said = "Checks:\nok: x < 1\nfail: http.response_time.p95 < 100\nfail: maxErrorRate < 1\n\
            fail: none.p95 < 3\nfail: y < 2 (optional)\n";
        let expected = [
            "`http.response_time.p95 < 100`, where it is 120",
            "`maxErrorRate < 1`, where it is 25",
            "`none.p95 < 3`, which never occurred",
            "\"ETIMEDOUT\", 1 times",
        ];
        assert_eq!(failed(said, &seen), expected);
    }

    #[test]
    fn a_run_is_spoilt_by_answers_that_came_much_later_than_they_were_given() {
        let given: Vec<u64> = (1..=100).collect();
        for (p95, max, spoilt) in [
            (100, 110, false),
            (240, 400, false),
            (250, 300, true),
            (100, 501, true),
        ] {
            let seen = seen(json!({"summaries": {"http.response_time": {"p95": p95, "max": max}}}));
            assert_eq!(is_spoilt(&seen, &given), spoilt, "{p95} {max}");
        }
        assert!(!is_spoilt(&Aggregate::default(), &given));
        assert!(!is_spoilt(&Aggregate::default(), &[]));
    }

    #[test]
    fn phases_are_numbers_of_seconds_and_no_more_than_the_limit() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("artillery.yml");
        for (phases, says) in [
            ("[{duration: 2}, {pause: 1}]", None),
            ("[{duration: 2}, {pause: 2}]", Some("last 4 s")),
            ("[{duration: 1m}]", Some("as a number")),
            ("[]", Some("no phases")),
        ] {
            fs::write(&file, format!("config:\n  phases: {phases}\n")).unwrap();
            let wrong = longer(&file, 3.0).unwrap();
            assert_eq!(wrong.is_some(), says.is_some(), "{phases}: {wrong:?}");
            let part = says.unwrap_or_default();
            assert!(wrong.unwrap_or_default().contains(part), "{phases}");
        }
        fs::write(&file, "config: [").unwrap();
        assert!(longer(&file, 3.0).unwrap_err().is::<BadInput>());
    }
}
