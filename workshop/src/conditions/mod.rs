//! `workshop conditions`: the file for `local --conditions`, from measurements in an account of one's own. A stack of its
//! own with a probe (`workshop/probe`) stands beside the shop's for some minutes. It is removed in any case.

mod file;

use std::collections::BTreeMap;
use std::io::{self, IsTerminal, Write};
use std::path::PathBuf;
use std::process::Stdio;

use anyhow::{Context, Result, bail};
use fs_err as fs;
use serde::Deserialize;
use serde_json::{Value, json};
use time::{Duration, OffsetDateTime};
use tokio::process::Command;
use tokio::sync::oneshot;

use crate::cloudwatch::{Stack, aws};
use crate::files::read_json;
use crate::percentile::percentile;
use crate::prices::Prices;
use crate::program;
use crate::report_lines::parse_log;
use crate::session::Session;

/// What the probe is asked for: the task, how many samples at a time, and how many times. The 99.9th percentile takes a
/// thousand samples, a 99th a hundred. A cold start takes some seconds, and an invocation at most 15 minutes.
const TASKS: [(&str, u32, u32); 7] = [
    ("fixed_work", 10, 1),
    ("table", 250, 4),
    ("queue", 250, 4),
    ("connection", 500, 1),
    ("trigger", 300, 1),
    ("warm", 1000, 1),
    ("cold", 20, 10),
];
/// Requests of so many days before now tell what the HTTP API takes.
const DAYS: i64 = 7;

#[derive(Debug, clap::Args)]
pub struct Arguments {
    /// The deployed stack whose region, account, processor and access log count
    #[arg(long)]
    stack: String,
    /// The file to write
    #[arg(long, default_value = "conditions.toml")]
    out: PathBuf,
    /// Do not ask
    #[arg(long)]
    yes: bool,
}

/// Milliseconds, by what took them.
type Samples = BTreeMap<String, Vec<f64>>;

/// What the probe answers.
#[derive(Deserialize)]
struct Answer {
    #[serde(default)]
    ms: Samples,
    #[serde(default)]
    waits: Vec<Wait>,
    /// Why there are no more.
    skipped: Option<String>,
}

/// An invocation: how long its caller waited, and the end of its log.
#[derive(Deserialize)]
struct Wait {
    ms: f64,
    log: String,
}

/// The whole verb. It passes if a file was written.
pub async fn run(session: &Session, arguments: &Arguments) -> Result<bool> {
    let stack = session
        .or_interrupted(Stack::find(&arguments.stack))
        .await?;
    let (region, probe) = (stack.region(), format!("{}-probe", arguments.stack));
    let architecture = session.or_interrupted(stack.architecture()).await?;
    let now = OffsetDateTime::now_utc();
    let since = (now - Duration::days(DAYS)).unix_timestamp() * 1000;
    let front_door = stack.front_door(since.unsigned_abs());
    let front_door = session.or_interrupted(front_door).await?;
    session.say(format!(
        "{} requests of the last {DAYS} days are in the access log",
        front_door.len()
    ));
    let most = price(session)?;
    session.say(format!(
        "The stack {probe} ({architecture}, {region}) will be made, measure for about a quarter of an hour, and be removed. \
         Nothing of your own stack is changed.\nIt costs at most ${most:.2} (deploy/prices.json)."
    ));
    if !arguments.yes && !confirmed(session, "Make it?").await? {
        bail!("nothing was made, as you said");
    }
    build(session, &architecture).await?;

    let measured = measure(session, region, &probe, &architecture).await;
    let removed = remove(session, region, &probe).await;
    if let Err(why) = &removed {
        let by_hand =
            format!("aws cloudformation delete-stack --region {region} --stack-name {probe}");
        session.say(format!(
            "the stack {probe} may still be there and cost money ({why:#}): `{by_hand}`"
        ));
    }
    let (mut samples, mut skipped) = measured?;

    let why = "the stack has answered too few requests; `make load-test` sends some";
    skipped.insert("front_door".to_owned(), why.to_owned());
    samples.insert("front_door".to_owned(), front_door);

    let origin = format!("{region}, {}, {architecture}", now.date());
    fs::write(&arguments.out, file::text(&samples, &skipped, &origin))?;
    let out = arguments.out.display();
    session.say(format!(
        "{out} is written: `make run CONDITIONS={out}`. Each source in it says what was measured."
    ));
    removed.map(|()| true)
}

/// Makes the probe's stack and asks it for everything. Gives the samples, and why some were not taken.
async fn measure(
    session: &Session,
    region: &str,
    probe: &str,
    architecture: &str,
) -> Result<(Samples, BTreeMap<String, String>)> {
    session
        .or_interrupted(deploy(session, region, probe, architecture))
        .await?;
    let call = format!(
        "cloudformation describe-stack-resource --stack-name {probe} --logical-resource-id Probe"
    );
    let query = ["--query", "StackResourceDetail.PhysicalResourceId"];
    let function: String = session.or_interrupted(aws(region, &call, &query)).await?;
    let (mut samples, mut skipped) = (Samples::new(), BTreeMap::new());
    for (task, count, times) in TASKS {
        let mut waits = Vec::new();
        for time in 1..=times {
            session.say(format!("{task}: {count} samples ({time} of {times})"));
            let asked = ask(region, &function, task, count);
            let answer = session.or_interrupted(asked).await?;
            for (name, ms) in answer.ms {
                samples.entry(name).or_default().extend(ms);
            }
            waits.extend(answer.waits);
            if let Some(why) = answer.skipped {
                session.say(format!("{task} is left out: {why}"));
                skipped.insert("platform".to_owned(), why);
                break;
            }
        }
        match task {
            "warm" => drop(samples.insert("invoke".to_owned(), beyond(&waits, false, 0.0))),
            "cold" => {
                let invoke = samples.get("invoke").and_then(|ms| percentile(ms, 50.0));
                samples.insert(
                    "platform".to_owned(),
                    beyond(&waits, true, invoke.unwrap_or_default()),
                );
            }
            _ => {}
        }
    }
    Ok((samples, skipped))
}

/// What the caller waited beyond init and duration, and beyond `invoke` ms, in the invocations that were cold or warm.
fn beyond(waits: &[Wait], cold: bool, invoke: f64) -> Vec<f64> {
    let beyond = waits.iter().filter_map(|wait| {
        let report = parse_log(&wait.log).pop()?;
        let ran = report.duration_ms? + report.init_ms.unwrap_or_default();
        (report.init_ms.is_some() == cold).then_some(wait.ms - ran - invoke)
    });
    beyond.collect()
}

async fn deploy(session: &Session, region: &str, probe: &str, architecture: &str) -> Result<()> {
    let call = format!("cloudformation describe-stacks --stack-name {probe}");
    let found: Result<Value> = aws(region, &call, &["--query", "Stacks[].StackStatus"]).await;
    if found.is_ok() {
        session.say(format!("a run before this has left the stack {probe}"));
        remove(session, region, probe).await?;
    }
    let words = format!(
        "sam deploy --template-file workshop/probe/template.yaml --stack-name {probe} --region {region} --resolve-s3 \
         --s3-prefix {probe} --capabilities CAPABILITY_IAM --no-confirm-changeset --parameter-overrides \
         Architecture={architecture}"
    );
    shown(session, &words, &[]).await
}

/// Has the probe do a task. `fileb` is read alike by both versions of the CLI.
async fn ask(region: &str, function: &str, task: &str, samples: u32) -> Result<Answer> {
    let folder = tempfile::tempdir()?;
    let (event, answer) = (
        folder.path().join("event.json"),
        folder.path().join("answer.json"),
    );
    fs::write(
        &event,
        json!({"task": task, "samples": samples}).to_string(),
    )?;
    let call = format!("lambda invoke --function-name {function} --cli-read-timeout 910");
    let payload = format!("fileb://{}", event.display());
    let more = ["--payload", &payload, &answer.to_string_lossy()];
    let invoked: Value = aws(region, &call, &more).await?;
    if invoked["FunctionError"].is_string() {
        let error: Value = read_json(&answer)?;
        bail!("the probe failed at {task}: {}", error["errorMessage"]);
    }
    read_json(&answer)
}

/// Removes the stack in whatever state it is. Ctrl-C does not stop it.
async fn remove(session: &Session, region: &str, probe: &str) -> Result<()> {
    session.say(format!("removing the stack {probe}"));
    // It takes the uploaded code too, but knows no stack that is a mere change set.
    let words = format!("sam delete --stack-name {probe} --region {region} --no-prompts");
    let by_sam = shown(session, &words, &[]).await;
    let named = ["--stack-name", probe];
    aws::<()>(region, "cloudformation delete-stack", &named).await?;
    aws::<()>(region, "cloudformation wait stack-delete-complete", &named).await?;
    if let Err(why) = by_sam {
        session.say(format!(
            "the code of {probe} may still be in SAM's bucket ({why:#})"
        ));
    }
    Ok(())
}

async fn build(session: &Session, architecture: &str) -> Result<()> {
    let flag = if architecture == "arm64" {
        "--arm64"
    } else {
        "--x86-64"
    };
    let words = format!("cargo lambda build --release --locked {flag} -p probe --lambda-dir");
    let folder = session.root.join("target/lambda");
    let folder = folder.to_string_lossy();
    let more = [&*folder];
    session.or_interrupted(shown(session, &words, &more)).await
}

/// Runs a program in the project's folder, with its output at this terminal. Ctrl-C reaches this process alone.
async fn shown(session: &Session, words: &str, more: &[&str]) -> Result<()> {
    let (name, arguments) = words.split_once(' ').unwrap_or((words, ""));
    let mut command = Command::new(name);
    command
        .args(arguments.split(' '))
        .args(more)
        .current_dir(&session.root);
    command
        .stdin(Stdio::null())
        .process_group(0)
        .kill_on_drop(true);
    let status = command.env("SAM_CLI_TELEMETRY", "0").status().await;
    let how_to_get = || format!("{name} cannot be started: docs/aws.md says how to get it");
    let status = status.with_context(how_to_get)?;
    if !status.success() {
        let (verb, how) = (
            arguments.split(' ').next().unwrap_or_default(),
            program::how(status),
        );
        bail!("`{name} {verb}` ended with {how}; what it said is above");
    }
    Ok(())
}

/// What the run costs at most, in USD: an hour of the probe, and its calls.
fn price(session: &Session) -> Result<f64> {
    let prices = Prices::read(&session.root)?;
    let count = |name: &str| -> u32 {
        TASKS
            .iter()
            .filter(|it| it.0 == name)
            .map(|it| it.1 * it.2)
            .sum()
    };
    let (table, queue) = (f64::from(count("table")), f64::from(count("queue")));
    let invocations = f64::from(count("warm") + count("cold") + count("trigger"));
    // In a round: items of 200 bytes, of which a transaction writes and reads 5 twice, and a page of 64 KB. Each message of
    // the trigger is written once and looked for some ten times; five pollers ask three times a minute.
    let (writes, reads) = (
        table * (3.0 + 5.0 + 10.0) + 2_000.0,
        table * (1.0 + 8.0 + 2.5 + 10.0) + 5_000.0,
    );
    let (sqs, gigabyte_seconds) = (queue * 5.0 + invocations + 900.0, 1769.0 / 1024.0 * 3600.0);
    Ok(prices.usd("gb_second_x86_64")? * gigabyte_seconds
        + prices.usd("lambda_request")? * invocations
        + prices.usd("dynamodb_write_unit")? * writes
        + prices.usd("dynamodb_read_unit")? * reads
        + prices.usd("sqs_request")? * sqs)
}

/// Asks for a yes. Input that ends without an answer is a no.
async fn confirmed(session: &Session, question: &str) -> Result<bool> {
    write!(io::stdout(), "{question} [y/N] ")?;
    io::stdout().flush()?;
    let (answered, answer) = oneshot::channel();
    // A thread of its own: nothing waits for it at the end of an interrupted program.
    std::thread::spawn(move || {
        let mut line = String::new();
        let read = io::stdin().read_line(&mut line);
        let _ = answered.send(read.map(|_| line));
    });
    let line = session.or_interrupted(async { Ok(answer.await??) }).await?;
    if !io::stdin().is_terminal() {
        session.say(""); // nobody has pressed Enter
    }
    Ok(["y", "yes"].contains(&line.trim().to_lowercase().as_str()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wait(ms: f64, report: &str) -> Wait {
        let log = format!("START RequestId: 1\nEND RequestId: 1\nREPORT RequestId: 1\t{report}\n");
        Wait { ms, log }
    }

    #[test]
    fn the_platforms_part_is_what_a_caller_waits_beyond_init_duration_and_a_warm_invocation() {
        let waits = [
            wait(
                130.0,
                "Duration: 2.00 ms\tBilled Duration: 22 ms\tInit Duration: 20.00 ms\t",
            ),
            wait(9.5, "Duration: 1.50 ms\tBilled Duration: 2 ms\t"),
        ];
        assert_eq!(beyond(&waits, false, 0.0), [8.0]);
        assert_eq!(beyond(&waits, true, 8.0), [100.0]);
    }

    #[test]
    fn a_run_costs_some_cents() {
        let root = concat!(env!("CARGO_MANIFEST_DIR"), "/..");
        let most = price(&Session::in_folder(root.into())).unwrap();
        // By hand: 6,219 GB s $0.1037, 20,000 writes $0.0125, 26,500 reads $0.0033, 7,400 calls of SQS $0.0030, and 1,500 runs
        // $0.0003.
        assert!((most - 0.1228).abs() < 0.0001, "{most}");
    }
}
