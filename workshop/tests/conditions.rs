//! `workshop conditions` against stand-ins for `aws`, `sam` and `cargo`, which answer as these programs do; and its probe
//! on the local host, which is all of AWS that it needs but for new configurations of a function.

#![allow(clippy::unwrap_used, reason = "a helper that fails is a failed test")]

use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

use local::conditions::Conditions;
use local::stack::{Options, Stack};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::{Value, json};
use tempfile::TempDir;

/// Answers as the CLI does, after its `--query`. `$STATE` holds what AWS would know, `$FAULT` says what goes wrong.
const AWS: &str = r#"#!/bin/sh
echo "aws $*" >> "$STATE/calls"
absent() { echo "
An error occurred (ValidationError) when calling the $1 operation: Stack with id $2 does not exist" >&2; exit 254; }
[ "$FAULT" = no-credentials ] && { echo '
Unable to locate credentials. You can configure credentials by running "aws configure".' >&2; exit 253; }
case "$*" in
  "cloudformation list-stack-resources --stack-name shop-dev "*)
    echo '[["AWS::Lambda::Function", "GetProduct", "shop-dev-GetProduct-1a2B"], ["AWS::Logs::LogGroup", "ApiLogs", "/aws/vendedlogs/apis/shop-dev"]]';;
  "cloudformation list-stack-resources "*) absent ListStackResources nobody;;
  "lambda get-function-configuration --function-name shop-dev-GetProduct-1a2B --query Architectures"*) echo '"x86_64"';;
  "logs filter-log-events --log-group-name /aws/vendedlogs/apis/shop-dev "*) cat "$STATE/access.json";;
  "cloudformation describe-stacks --stack-name shop-dev-probe "*)
    [ -e "$STATE/stack" ] || absent DescribeStacks shop-dev-probe
    echo '["CREATE_COMPLETE"]';;
  "cloudformation describe-stack-resource --stack-name shop-dev-probe --logical-resource-id Probe "*) echo '"shop-dev-probe-Probe-3c4D"';;
  "lambda invoke --function-name shop-dev-probe-Probe-3c4D --cli-read-timeout 910 --payload fileb://"*)
    for word; do case "$word" in fileb://*) event=${word#fileb://};; */answer.json) answer=$word;; esac; done
    task=$(sed 's/.*"task":"\([a-z_]*\)".*/\1/' "$event")
    case "$FAULT" in
      hangs) touch "$STATE/waiting"; exec sleep 60;;
      probe-fails) echo '{"errorType": "x", "errorMessage": "dynamodb answered 400: no"}' > "$answer"
        echo '{"StatusCode": 200, "FunctionError": "Unhandled", "ExecutedVersion": "$LATEST"}';;
      *) cp "$STATE/$task.json" "$answer"; echo '{"StatusCode": 200, "ExecutedVersion": "$LATEST"}';;
    esac;;
  "cloudformation delete-stack --stack-name shop-dev-probe "*)
    [ "$FAULT" = stays ] && { echo "
An error occurred (AccessDenied) when calling the DeleteStack operation: no" >&2; exit 254; }
    rm -f "$STATE/stack";;
  "cloudformation wait stack-delete-complete --stack-name shop-dev-probe "*) [ ! -e "$STATE/stack" ];;
  *) echo "unexpected: aws $*" >&2; exit 99;;
esac
"#;
const SAM: &str = r#"#!/bin/sh
echo "sam $*" >> "$STATE/calls"
case "$1" in
  deploy)
    [ -e "$STATE/stack" ] && exit 1
    touch "$STATE/stack"
    case "$FAULT" in deploy-fails) exit 1;; deploy-hangs) touch "$STATE/waiting"; exec sleep 60;; esac;;
  delete) exit 1;; # as for a stack that is a mere change set
esac
"#;
const CARGO: &str = "#!/bin/sh\necho \"cargo $*\" >> \"$STATE/calls\"\n";

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

/// A folder with the stand-ins, what they answer, and the file that is written.
struct Account {
    folder: TempDir,
}

impl Account {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        for (name, script) in [("aws", AWS), ("sam", SAM), ("cargo", CARGO)] {
            let file = folder.path().join(name);
            fs::write(&file, script).unwrap();
            fs::set_permissions(&file, fs::Permissions::from_mode(0o755)).unwrap();
        }
        let account = Self { folder };
        let ms = |names: &[&str], from: f64| {
            let ms: Vec<f64> = (0..250).map(|n| from + f64::from(n) / 100.0).collect();
            json!({"ms": names.iter().map(|it| ((*it).to_owned(), json!(ms))).collect::<serde_json::Map<_, _>>()})
        };
        account.answer("table", &ms(&["DynamoDB.GetItem", "DynamoDB.Scan"], 2.0));
        account.answer("queue", &ms(&["SQS.SendMessage"], 11.0));
        account.answer("connection", &ms(&["connection"], 3.0));
        account.answer("trigger", &ms(&["trigger"], 15.0));
        account.answer(
            "fixed_work",
            &json!({"ms": {"fixed_work": [160.0, 151.5, 152.0]}}),
        );
        account.waits(
            "warm",
            9.0,
            200,
            "Duration: 2.00 ms\tBilled Duration: 2 ms\t",
        );
        account.waits(
            "cold",
            140.0,
            20,
            "Duration: 2.00 ms\tBilled Duration: 20 ms\tInit Duration: 18.00 ms\t",
        );
        let line = |n: u64| {
            let (latency, function) = if n == 0 {
                ("1".to_owned(), "-")
            } else {
                ((20 + n % 5).to_string(), "15")
            };
            let line = json!({"time": "1", "route": "GET /products", "status": "200", "latency": latency, "functionLatency": function});
            json!([1, line.to_string()])
        };
        account.answer("access", &(0..201).map(line).collect());
        account
    }

    fn answer(&self, name: &str, answer: &Value) {
        fs::write(self.path(&format!("{name}.json")), answer.to_string()).unwrap();
    }

    /// As the probe passes on the end of a log, `X-Amz-Log-Result`.
    fn waits(&self, name: &str, ms: f64, count: usize, report: &str) {
        let log = format!(
            "START RequestId: 8f Version: $LATEST\nEND RequestId: 8f\nREPORT RequestId: 8f\t{report}Memory Size: 1769 MB\tMax Memory Used: 18 MB\t\n"
        );
        let wait = json!({"ms": ms, "log": log});
        self.answer(name, &json!({"waits": vec![wait; count]}));
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn start(&self, fault: &str, arguments: &[&str]) -> Child {
        let path = format!(
            "{}:{}",
            self.folder.path().display(),
            std::env::var("PATH").unwrap()
        );
        let mut command = Command::new(env!("CARGO_BIN_EXE_workshop"));
        command
            .current_dir(self.project())
            .args(["conditions", "--out"])
            .arg(self.path("out.toml"))
            .args(arguments);
        command.envs([
            ("PATH", path.as_str()),
            ("FAULT", fault),
            ("AWS_REGION", "eu-west-1"),
        ]);
        command.env("STATE", self.folder.path());
        command
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        command.spawn().unwrap()
    }

    /// A project of its own, so that two tests do not write each other's events.
    fn project(&self) -> PathBuf {
        let project = self.path("project");
        fs::create_dir_all(project.join("load-tests")).unwrap();
        fs::write(project.join("load-tests/artillery.yml"), "").unwrap();
        if !project.join("deploy").exists() {
            symlink(root().join("deploy"), project.join("deploy")).unwrap();
        }
        project
    }

    fn run(&self, fault: &str) -> Output {
        self.start(fault, &["--stack", "shop-dev", "--yes"])
            .wait_with_output()
            .unwrap()
    }

    fn calls(&self) -> String {
        fs::read_to_string(self.path("calls")).unwrap_or_default()
    }

    /// The probe's stack is gone, and there is no file.
    fn assert_nothing_is_left(&self) {
        assert!(self.calls().contains(
            "sam deploy --template-file workshop/probe/template.yaml --stack-name shop-dev-probe "
        ));
        assert!(!self.path("stack").exists(), "{}", self.calls());
        let waited = "aws cloudformation wait stack-delete-complete";
        assert!(self.calls().contains(waited), "{}", self.calls());
        assert!(!self.path("out.toml").exists());
    }
}

fn last_line(output: &Output) -> String {
    let text = String::from_utf8_lossy(&output.stderr);
    text.trim().lines().last().unwrap_or_default().to_owned()
}

#[test]
fn an_account_that_answers_gives_a_file_that_local_reads_with_a_source_for_each_number() {
    let account = Account::new();
    let output = account.run("");
    assert!(output.status.success(), "{output:?}\n{}", account.calls());
    let text = fs::read_to_string(account.path("out.toml")).unwrap();
    let published: toml::Table =
        toml::from_str(&fs::read_to_string(root().join("local/conditions.toml")).unwrap()).unwrap();
    let file: toml::Table = toml::from_str(&text).unwrap();
    let keys = |table: &toml::Table| table.keys().cloned().collect::<Vec<_>>();
    assert_eq!(keys(&file), keys(&published));
    assert_eq!(
        keys(file["calls"].as_table().unwrap()),
        keys(published["calls"].as_table().unwrap())
    );

    let told = |section: &toml::Value, name: &str| section[name].as_str().unwrap().to_owned();
    let get = &file["calls"]["DynamoDB.GetItem"];
    assert_eq!(
        ["p10", "p50", "p999"].map(|it| told(get, it)),
        ["2.24 ms", "3.24 ms", "4.49 ms"]
    );
    assert!(
        told(get, "source").starts_with("measured, eu-west-1, 20"),
        "{get:?}"
    );
    assert!(
        told(get, "source").contains(", x86_64: 1000 calls on a kept connection, "),
        "{get:?}"
    );
    assert!(told(get, "source").contains("1,769 MB"), "{get:?}");
    assert_eq!(told(&file["calls"]["SQS.SendMessage"], "p50"), "12.24 ms");
    assert_eq!(told(&file["connection"], "p99"), "5.47 ms");
    assert_eq!(told(&file["trigger"], "p99"), "17.47 ms");
    assert_eq!(told(&file["invoke"], "p50"), "7.00 ms");
    assert_eq!(told(&file["platform"], "p50"), "113.00 ms");
    assert_eq!(told(&file["front_door"], "p50"), "7.00 ms");
    assert!(
        told(&file["front_door"], "source")
            .contains(": 200 requests in the stack's access log: responseLatency minus"),
        "{file:?}"
    );
    assert_eq!(told(&file["cpu"], "fixed_work"), "151.50 ms");
    let put = &file["calls"]["DynamoDB.PutItem"];
    assert_eq!(
        told(put, "p50"),
        told(&published["calls"]["DynamoDB.PutItem"], "p50")
    );
    assert!(
        told(put, "source")
            .starts_with("not measured (0 samples are too few), so as published: The same file"),
        "{put:?}"
    );

    let read = Conditions::read(account.path("out.toml").to_str().unwrap()).unwrap();
    assert!(read.medians().is_some());
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(said.contains("It costs at most $0.12 ("), "{said}");
    let calls = account.calls();
    assert!(
        calls.contains("cargo lambda build --release --locked --x86-64 "),
        "{calls}"
    );
    assert!(
        calls.contains("--parameter-overrides Architecture=x86_64"),
        "{calls}"
    );
    assert_eq!(calls.matches("aws lambda invoke").count(), 22, "{calls}");
    assert!(!account.path("stack").exists());
}

#[test]
fn a_cold_start_that_cannot_be_had_leaves_the_published_number_and_says_why() {
    let account = Account::new();
    account.answer(
        "cold",
        &json!({"waits": [], "skipped": "lambda answered 403 Forbidden"}),
    );
    let output = account.run("");
    assert!(output.status.success(), "{output:?}");
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(
        said.contains("cold is left out: lambda answered 403"),
        "{said}"
    );
    let file: toml::Table =
        toml::from_str(&fs::read_to_string(account.path("out.toml")).unwrap()).unwrap();
    let source = file["platform"]["source"].as_str().unwrap();
    assert!(
        source.starts_with("not measured (lambda answered 403 Forbidden), so as published: https"),
        "{source}"
    );
    Conditions::read(account.path("out.toml").to_str().unwrap()).unwrap();
}

#[test]
fn the_probes_stack_is_removed_whatever_fails() {
    for (fault, told) in [
        (
            "probe-fails",
            "conditions failed: the probe failed at fixed_work: \"dynamodb answered 400: no\"",
        ),
        (
            "deploy-fails",
            "conditions failed: `sam deploy` ended with exit code 1; what it said is above",
        ),
    ] {
        let account = Account::new();
        let output = account.run(fault);
        assert_eq!(output.status.code(), Some(1), "{output:?}");
        assert_eq!(last_line(&output), told);
        account.assert_nothing_is_left();
    }
}

#[test]
fn ctrl_c_removes_the_stack_that_is_being_made_or_measures() {
    for fault in ["deploy-hangs", "hangs"] {
        let account = Account::new();
        let child = account.start(fault, &["--stack", "shop-dev", "--yes"]);
        let begin = Instant::now();
        while !account.path("waiting").exists() {
            assert!(
                begin.elapsed() < Duration::from_secs(20),
                "{}",
                account.calls()
            );
            std::thread::sleep(Duration::from_millis(20));
        }
        kill(Pid::from_raw(child.id().cast_signed()), Signal::SIGINT).unwrap();
        let output = child.wait_with_output().unwrap();
        assert_eq!(output.status.code(), Some(130), "{output:?}");
        account.assert_nothing_is_left();
    }
}

#[test]
fn a_stack_that_stays_is_named_with_the_command_that_removes_it_and_the_file_is_kept() {
    let account = Account::new();
    let output = account.run("stays");
    assert_eq!(output.status.code(), Some(1), "{output:?}");
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(said.contains("may still be there and cost money"), "{said}");
    assert!(
        said.contains(
            "`aws cloudformation delete-stack --region eu-west-1 --stack-name shop-dev-probe`"
        ),
        "{said}"
    );
    Conditions::read(account.path("out.toml").to_str().unwrap()).unwrap();
}

#[test]
fn a_stack_that_an_earlier_run_has_left_is_removed_first() {
    let account = Account::new();
    fs::write(account.path("stack"), "").unwrap();
    let output = account.run("");
    assert!(output.status.success(), "{output:?}");
    assert_eq!(
        account
            .calls()
            .matches("aws cloudformation delete-stack")
            .count(),
        2
    );
}

#[test]
fn nothing_is_made_without_a_yes_a_stack_or_credentials() {
    for (fault, arguments, told) in [
        (
            "",
            &["--stack", "shop-dev"][..],
            "conditions failed: nothing was made, as you said",
        ),
        (
            "",
            &["--stack", "nobody", "--yes"],
            "conditions failed: there is no stack \"nobody\" in eu-west-1; `make deploy` makes it",
        ),
        (
            "no-credentials",
            &["--stack", "shop-dev", "--yes"],
            "conditions failed: there are no AWS credentials: run `aws configure` or `aws sso login`, or set AWS_PROFILE",
        ),
    ] {
        let account = Account::new();
        let output = account.start(fault, arguments).wait_with_output().unwrap();
        assert_eq!(output.status.code(), Some(1), "{output:?}");
        assert_eq!(last_line(&output), told);
        let calls = account.calls();
        assert!(
            !calls.contains("sam ") && !calls.contains("cargo ") && !calls.contains("delete"),
            "{calls}"
        );
    }
}

/// Its times, under conditions of Lambda: AWS itself would give others, but by the same calls.
#[tokio::test(flavor = "multi_thread")]
async fn the_probe_finds_on_the_local_host_the_times_that_its_conditions_hold_answers_back_for() {
    let folder = tempfile::tempdir().unwrap();
    let code = folder.path().join("code/probe");
    fs::create_dir_all(&code).unwrap();
    let built = Path::new(env!("CARGO_BIN_EXE_workshop")).with_file_name("probe");
    assert!(
        built.exists(),
        "{} is built by `make test`",
        built.display()
    );
    symlink(built, code.join("bootstrap")).unwrap();
    let stack = Stack::start(Options {
        template: root().join("workshop/probe/template.yaml"),
        parameters: Vec::new(),
        port: 0,
        control_port: 0,
        code_dir: Some(folder.path().join("code")),
        data_dir: None,
        log_dir: folder.path().join("logs"),
        idle_timeout: Duration::from_secs(60),
        account_concurrency: 10,
        log_to_terminal: false,
        env_file: None,
        conditions: Conditions::read("lambda").unwrap(),
    });
    let stack = stack.await.unwrap();
    let url = format!(
        "{}/2015-03-31/functions/Probe/invocations",
        stack.control_url
    );
    let ask = async |task: &str, samples: u32| -> Value {
        let event = json!({"task": task, "samples": samples}).to_string();
        let answer = reqwest::Client::new()
            .post(&url)
            .body(event)
            .send()
            .await
            .unwrap();
        serde_json::from_str(&answer.text().await.unwrap()).unwrap()
    };
    let median = |ms: &Value| {
        let mut ms: Vec<_> = ms
            .as_array()
            .unwrap()
            .iter()
            .map(|it| it.as_f64().unwrap())
            .collect();
        ms.sort_by(f64::total_cmp);
        (ms.len(), ms[ms.len() / 2])
    };
    let published: toml::Table =
        toml::from_str(&fs::read_to_string(root().join("local/conditions.toml")).unwrap()).unwrap();
    // Half of the draws are above the published median, and this machine only adds to them.
    let assert_held = |name: &str, section: &toml::Value, found: &Value| {
        let (count, found) = median(found);
        let p10 = section
            .get("p10")
            .unwrap_or(&section["p50"])
            .as_str()
            .unwrap();
        let p10: f64 = p10.trim_end_matches(" ms").parse().unwrap();
        assert!(
            count >= 20 && found >= 0.95 * p10,
            "{name}: {count} samples, median {found} ms"
        );
    };
    let calls = published["calls"].as_table().unwrap();
    let found = [ask("table", 20).await, ask("queue", 20).await];
    for (name, section) in calls {
        let found = found.iter().find_map(|it| it["ms"].get(name));
        assert_held(
            name,
            section,
            found.unwrap_or_else(|| panic!("{name} is not measured")),
        );
    }
    let found = ask("trigger", 20).await;
    assert_held("trigger", &published["trigger"], &found["ms"]["trigger"]);
    let (count, connection) = median(&ask("connection", 20).await["ms"]["connection"]);
    assert!(count == 20 && connection > 0.0, "{connection}");
    let (count, work) = median(&ask("fixed_work", 2).await["ms"]["fixed_work"]);
    assert!(count == 2 && work > 1.0, "{work}");

    let warm = ask("warm", 20).await;
    let waits = warm["waits"].as_array().unwrap();
    assert_eq!(waits.len(), 20, "{warm}");
    assert!(
        waits
            .iter()
            .all(|it| it["log"].as_str().unwrap().contains("REPORT RequestId: ")),
        "{warm}"
    );
    let cold = ask("cold", 2).await;
    assert_eq!(cold["waits"], json!([]), "no configuration is changed here");
    assert!(
        cold["skipped"]
            .as_str()
            .unwrap()
            .contains("not hosted here"),
        "{cold}"
    );
    let unknown = ask("tea", 1).await;
    assert!(
        unknown["errorMessage"]
            .as_str()
            .unwrap()
            .contains("no task \"tea\""),
        "{unknown}"
    );
    stack.shutdown().await;
}
