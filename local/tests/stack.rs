//! The whole host, as a person starts it: the program `local` with a template that is not the
//! shop's.

#![allow(clippy::expect_used, reason = "a helper that fails is a failed test")]

mod support;

use std::fs;
use std::net::TcpListener;
use std::os::unix::fs::symlink;
use std::os::unix::process::ExitStatusExt;
use std::path::PathBuf;
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use aws_credential_types::Credentials;
use aws_sdk_sqs::config::{BehaviorVersion, Region};
use aws_smithy_http_client::tls::rustls_provider::CryptoMode;
use aws_smithy_http_client::tls::{Provider, TlsContext, TrustStore};
use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::{Value, json};
use support::{eventually, example};
use tempfile::TempDir;

const FOREIGN: &str = r#"
AWSTemplateFormatVersion: "2010-09-09"
Transform: AWS::Serverless-2016-10-31
Globals:
  Function:
    Runtime: provided.al2023
    Handler: bootstrap
    Timeout: 20
Parameters:
  Stage: {Type: String, Default: dev, AllowedValues: [dev, live]}
Resources:
  Greeter:
    Type: AWS::Serverless::Function
    Properties:
      CodeUri: build/greeter/
      Environment:
        Variables:
          TABLE: !Ref Visits
          QUEUE_URL: !Ref Jobs
          STAGE: !Sub "${Stage}-${AWS::Region}"
      Events:
        Hello: {Type: HttpApi, Properties: {Method: get, Path: "/hello/{name}"}}
        Do: {Type: HttpApi, Properties: {Method: POST, Path: /do}}
  Worker:
    Type: AWS::Serverless::Function
    Properties:
      CodeUri: build/worker/
      Events:
        Jobs: {Type: SQS, Properties: {Queue: !GetAtt Jobs.Arn, BatchSize: 1}}
  Visits:
    Type: AWS::Serverless::SimpleTable
  Jobs:
    Type: AWS::SQS::Queue
  Alarm:
    Type: AWS::CloudWatch::Alarm
    Properties: {MetricName: !GetAtt Unknown.Name}
"#;

/// A folder with a template, code for its functions, and room for logs.
struct App {
    folder: TempDir,
}

impl App {
    fn new(template: &str) -> App {
        let app = App {
            folder: tempfile::tempdir().expect("a temporary folder"),
        };
        fs::write(app.path("template.yaml"), template).expect("the template is written");
        for function in ["greeter", "worker"] {
            let code = app.path("build").join(function);
            fs::create_dir_all(&code).expect("the folder is made");
            symlink(example(), code.join("bootstrap")).expect("the link is made");
        }
        app
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn command(&self) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_local"));
        command
            .current_dir(&self.folder)
            .args(["--port", "0", "--control-port", "0", "--log-dir", "logs"])
            .args(["--ready-file", "run/ready.json"])
            .stderr(Stdio::piped());
        command
    }

    async fn start(&self, more: &[&str]) -> Host {
        let mut command = self.command();
        command.args(more);
        self.run(command).await
    }

    async fn run(&self, mut command: Command) -> Host {
        let mut host = Host {
            child: command.spawn().expect("it starts"),
            ready: Value::Null,
        };
        let ready = self.path("run/ready.json");
        let mut exited = None;
        eventually(|| {
            exited = host.child.try_wait().expect("it can be waited for");
            exited.is_some() || ready.is_file()
        })
        .await;
        if exited.is_some() {
            panic!("it ended: {}", host.stderr());
        }
        let text = fs::read_to_string(ready).expect("the ready file can be read");
        host.ready = serde_json::from_str(&text).expect("the ready file is JSON");
        host
    }

    /// The one line with which the start fails.
    fn refusal(&self, more: &[&str]) -> String {
        let Output { status, stderr, .. } = self
            .command()
            .args(more)
            .output()
            .expect("it starts and ends");
        let stderr = String::from_utf8(stderr).expect("text");
        assert_eq!(status.code(), Some(1), "{stderr}");
        assert_eq!(stderr.lines().count(), 1, "{stderr}");
        assert!(!self.path("run/ready.json").exists());
        stderr.trim_end().to_owned()
    }
}

/// A running `local`.
struct Host {
    child: Child,
    ready: Value,
}

impl Host {
    fn url(&self, name: &str, path: &str) -> String {
        format!("{}{path}", self.ready[name].as_str().expect("a URL"))
    }

    fn pid(&self) -> i32 {
        i32::try_from(self.child.id()).expect("a process id")
    }

    fn signal(&self, signal: Signal) {
        kill(Pid::from_raw(self.pid()), signal).expect("the signal is sent");
    }

    fn stderr(&mut self) -> String {
        let mut text = String::new();
        let stderr = self.child.stderr.as_mut().expect("it is piped");
        std::io::Read::read_to_string(stderr, &mut text).expect("text");
        text
    }

    /// The SDK, with nothing but what the ready file says.
    fn sqs(&self) -> aws_sdk_sqs::Client {
        let ca_file = self.ready["ca_file"].as_str().expect("a path");
        let trust = TrustStore::empty()
            .with_pem_certificate(fs::read(ca_file).expect("the CA file can be read"));
        let tls = TlsContext::builder()
            .with_trust_store(trust)
            .build()
            .expect("a TLS context");
        let http_client = aws_smithy_http_client::Builder::new()
            .tls_provider(Provider::Rustls(CryptoMode::Ring))
            .tls_context(tls)
            .build_https();
        let config = aws_sdk_sqs::Config::builder()
            .behavior_version(BehaviorVersion::latest())
            .region(Region::from_static("us-east-1"))
            .credentials_provider(Credentials::from_keys("test", "secret", None))
            .http_client(http_client)
            .endpoint_url(self.url("aws_endpoint_url", ""))
            .build();
        aws_sdk_sqs::Client::from_conf(config)
    }

    async fn get(&self, url: &str) -> Value {
        let response = reqwest::get(url).await.expect("an answer");
        assert_eq!(response.status(), 200, "{url}");
        response.json().await.expect("JSON")
    }

    async fn tell(&self, command: Value) -> Value {
        let request = reqwest::Client::new()
            .post(self.url("api_url", "/do"))
            .json(&command);
        let response = request.send().await.expect("an answer");
        assert_eq!(response.status(), 200);
        response.json().await.expect("JSON")
    }
}

impl Drop for Host {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Processes that have a folder's name in their command line or as their folder.
#[cfg(target_os = "linux")]
fn processes_of(app: &App) -> Vec<i32> {
    let folder = app.folder.path();
    let mut found = Vec::new();
    for entry in fs::read_dir("/proc").expect("/proc").flatten() {
        let Some(pid) = entry
            .file_name()
            .to_str()
            .and_then(|name| name.parse().ok())
        else {
            continue;
        };
        // A process may end meanwhile; then it has no folder.
        if fs::read_link(entry.path().join("cwd")).is_ok_and(|cwd| cwd.starts_with(folder)) {
            found.push(pid);
        }
    }
    found
}

#[tokio::test(flavor = "multi_thread")]
async fn a_foreign_template_is_hosted_until_ctrl_c() {
    let app = App::new(FOREIGN);
    let mut host = app.start(&["--parameter", "Stage=live"]).await;
    assert_eq!(host.ready["pid"], host.child.id());
    let hello = host.get(&host.url("api_url", "/hello/ann?n=1")).await;
    assert_eq!(hello["routeKey"], "GET /hello/{name}");
    assert_eq!(hello["pathParameters"]["name"], "ann");

    let told = host.tell(json!({"do": "environment"})).await;
    let variables = &told["variables"];
    assert_eq!(variables["STAGE"], "live-us-east-1");
    assert_eq!(variables["TABLE"], "local-Visits");
    assert_eq!(
        variables["QUEUE_URL"],
        host.url("aws_endpoint_url", "/000000000000/local-Jobs")
    );
    assert_eq!(
        variables["AWS_ENDPOINT_URL_DYNAMODB"],
        host.ready["aws_endpoint_url"]
    );
    assert_eq!(variables["SSL_CERT_FILE"], host.ready["ca_file"]);
    assert_eq!(variables["AWS_ACCESS_KEY_ID"], "Greeter");

    let meter = host.get(&host.url("control_url", "/meter")).await;
    assert_eq!(meter["queues"]["Jobs"]["visible"], 0);
    let functions = host.url("control_url", "/functions");
    let idle = json!({"environments": 1, "starting": 0, "idle": 1, "busy": 0});
    let ask_again = async {
        // It asks for its next event a moment after its answer.
        while host.get(&functions).await["Greeter"] != idle {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    let asked = tokio::time::timeout(Duration::from_secs(60), ask_again).await;
    asked.expect("it is idle");
    let nothing = reqwest::get(host.url("api_url", "/nothing"))
        .await
        .expect("an answer");
    assert_eq!(nothing.status(), 404);

    #[cfg(target_os = "linux")]
    assert!(processes_of(&app).len() >= 2); // it and an environment
    host.signal(Signal::SIGINT);
    let status = host.child.wait().expect("it ends");
    let stderr = host.stderr();
    assert_eq!(status.code(), Some(0), "{stderr}");
    assert!(!app.path("run/ready.json").exists());
    assert!(
        stderr.contains("left out: not hosted: AWS::CloudWatch::Alarm"),
        "{stderr}"
    );
    assert!(
        stderr.contains("GET     /hello/{name}                Greeter"),
        "{stderr}"
    );
    assert!(
        stderr.contains("SQS     Jobs                         Worker"),
        "{stderr}"
    );
    #[cfg(target_os = "linux")]
    assert!(processes_of(&app).is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_message_in_the_queue_invokes_the_function() {
    let app = App::new(FOREIGN);
    let host = app.start(&[]).await;
    let queue = host.url("aws_endpoint_url", "/000000000000/local-Jobs");
    let sending = host
        .sqs()
        .send_message()
        .queue_url(queue)
        .message_body("one")
        .send();
    sending.await.expect("it is sent");
    let log = app.path("logs/Worker.log");
    eventually(|| fs::read_to_string(&log).is_ok_and(|log| log.contains("REPORT RequestId"))).await;
    let meter = host.get(&host.url("control_url", "/meter")).await;
    assert_eq!(meter["queues"]["Jobs"]["invocations"], 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_second_signal_does_not_wait_for_what_is_under_way() {
    let app = App::new(FOREIGN);
    let mut host = app.start(&[]).await;
    let url = host.url("api_url", "/do");
    let slow = tokio::spawn(async move {
        let command = json!({"do": "sleep", "ms": 15_000});
        reqwest::Client::new().post(url).json(&command).send().await
    });
    let log = app.path("logs/Greeter.log");
    eventually(|| fs::read_to_string(&log).is_ok_and(|log| log.contains("START"))).await;
    host.signal(Signal::SIGTERM);
    eventually(|| !app.path("run/ready.json").exists()).await;
    host.signal(Signal::SIGTERM);
    let status = host.child.wait().expect("it ends");
    assert_eq!(status.code(), Some(0));
    // Cut off by the end of the host, or just before it by the end of the function.
    let answer = slow.await.expect("no panic");
    assert!(answer.is_err() || answer.is_ok_and(|answer| answer.status().is_server_error()));
    #[cfg(target_os = "linux")]
    eventually(|| processes_of(&app).is_empty()).await;
}

#[cfg(target_os = "linux")]
#[tokio::test(flavor = "multi_thread")]
async fn nothing_survives_kill_9() {
    let app = App::new(FOREIGN);
    let mut host = app.start(&[]).await;
    // Two environments are busy, and one of them has a child of its own from before.
    host.tell(json!({"do": "child"})).await;
    let gate = app.path("never");
    let busy = reqwest::Client::new()
        .post(host.url("api_url", "/do"))
        .json(&json!({"do": "wait", "file": gate}));
    let busy = [busy.try_clone().expect("a request"), busy].map(|busy| tokio::spawn(busy.send()));
    let log = app.path("logs/Greeter.log");
    let started =
        || fs::read_to_string(&log).is_ok_and(|log| log.matches("START RequestId").count() == 3);
    eventually(started).await;
    let before = processes_of(&app);
    // The host, two environments and a child of one.
    assert!(before.len() >= 4, "{before:?}");
    host.signal(Signal::SIGKILL);
    let status = host.child.wait().expect("it ends");
    assert_eq!(status.signal(), Some(9));
    eventually(|| processes_of(&app).is_empty()).await;
    for busy in busy {
        assert!(busy.await.expect("no panic").is_err());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn queues_and_messages_in_a_data_folder_survive_kill_9() {
    let app = App::new(FOREIGN);
    let mut host = app.start(&["--data-dir", "data"]).await;
    let sqs = host.sqs();
    let created = sqs.create_queue().queue_name("kept").send().await;
    let url = created.expect("it is made").queue_url.expect("a URL");
    for number in 0..8 {
        let sending = sqs.send_message().queue_url(&url);
        let sending = sending.message_body(format!("message {number}")).send();
        sending.await.expect("it is sent");
    }
    let receive = sqs.receive_message().queue_url(&url);
    let received = receive.max_number_of_messages(3).send().await;
    let received = received.expect("an answer").messages.expect("messages");
    let delete = sqs.delete_message().queue_url(&url);
    let delete = delete.set_receipt_handle(received[0].receipt_handle.clone());
    delete.send().await.expect("it is deleted");
    host.signal(Signal::SIGKILL);
    host.child.wait().expect("it ends");

    fs::remove_file(app.path("run/ready.json")).expect("the killed one left it");

    // On another port, where the old URL names the same queue.
    let host = app.start(&["--data-dir", "data"]).await;
    let attributes = host.sqs().get_queue_attributes().queue_url(&url);
    let attributes = attributes.attribute_names("All".into()).send().await;
    let attributes = attributes.expect("an answer").attributes.expect("all");
    let count = |name: &str| attributes[&name.into()].clone();
    assert_eq!(count("ApproximateNumberOfMessages"), "5");
    assert_eq!(count("ApproximateNumberOfMessagesNotVisible"), "2");
    // A handle from before is still good.
    let delete = host.sqs().delete_message().queue_url(&url);
    let delete = delete.set_receipt_handle(received[1].receipt_handle.clone());
    delete.send().await.expect("it is deleted");
    let attributes = host.sqs().get_queue_attributes().queue_url(&url);
    let attributes = attributes.attribute_names("All".into()).send().await;
    let attributes = attributes.expect("an answer").attributes.expect("all");
    let in_flight = &attributes[&"ApproximateNumberOfMessagesNotVisible".into()];
    assert_eq!(in_flight, "1");
}

#[test]
fn a_port_that_is_taken_is_named() {
    let app = App::new(FOREIGN);
    let taken = TcpListener::bind("127.0.0.1:0").expect("a port");
    let port = taken.local_addr().expect("an address").port().to_string();
    for option in ["--port", "--control-port"] {
        let error = app.refusal(&[option, &port]);
        assert!(error.contains(&format!("port {port} is taken")), "{error}");
        assert!(
            error.contains(&format!("choose another with {option} ")),
            "{error}"
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn two_hosts_do_not_share_a_folder() {
    let app = App::new(FOREIGN);
    let _host = app.start(&[]).await;
    let other = App::new(FOREIGN);
    let logs = app.path("logs");
    let error = other.refusal(&["--log-dir", logs.to_str().expect("text")]);
    assert!(
        error.contains("is used by another running `local`"),
        "{error}"
    );
    assert!(error.contains("--log-dir"), "{error}");
}

#[test]
fn a_missing_binary_is_named_with_its_function() {
    let app = App::new(FOREIGN);
    fs::remove_file(app.path("build/worker/bootstrap")).expect("it is removed");
    let error = app.refusal(&[]);
    assert!(
        error.contains("Worker") && error.contains("build/worker/bootstrap"),
        "{error}"
    );
    assert!(error.contains("make build"), "{error}");
    let error = app.refusal(&["--code-dir", "elsewhere"]);
    assert!(error.contains("elsewhere/greeter/bootstrap"), "{error}");
}

#[test]
fn a_template_error_is_named_with_its_line() {
    let app = App::new(&FOREIGN.replace("Timeout: 20", "Timeout: 2000"));
    let error = app.refusal(&[]);
    assert!(
        error.contains("template.yaml:8: Greeter.Timeout: must be 1 to 900"),
        "{error}"
    );
    // A ready file of an earlier run would say that this one is up; `refusal` looks for it.
    fs::create_dir_all(app.path("run")).expect("the folder is made");
    fs::write(app.path("run/ready.json"), "{}").expect("the file is written");
    let error = app.refusal(&["--template", "other.yaml"]);
    assert!(
        error.contains("other.yaml: there is no such file"),
        "{error}"
    );
    let error = app.refusal(&["--parameter", "Stage=test"]);
    assert!(
        error.contains("Parameters.Stage: the value \"test\" is refused"),
        "{error}"
    );
}

/// As `curl` does at the control server. The AWS endpoint answers the same, to signed requests.
#[tokio::test(flavor = "multi_thread")]
async fn a_function_is_invoked_as_lambdas_own_api_does_it() {
    let app = App::new(FOREIGN);
    let host = app.start(&[]).await;
    let invoke = |name: &str, headers: &[(&'static str, &'static str)], event: Value| {
        let path = format!("/2015-03-31/functions/{name}/invocations");
        let mut request = reqwest::Client::new().post(host.url("control_url", &path));
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let sent = request.body(event.to_string()).send();
        async { sent.await.expect("an answer") }
    };
    let kind = "x-amz-invocation-type";
    let by_arn = "arn:aws:lambda:us-east-1:000000000000:function:local-Greeter";
    for name in ["Greeter", "local-Greeter", by_arn] {
        let answer = invoke(name, &[("x-amz-log-type", "Tail")], json!({"do": "echo"})).await;
        assert_eq!(answer.status(), 200, "{name}");
        assert_eq!(answer.headers()["x-amz-executed-version"], "$LATEST");
        assert!(!answer.headers().contains_key("x-amz-function-error"));
        let tail = answer.headers()["x-amz-log-result"].as_bytes();
        let tail = BASE64_STANDARD.decode(tail).expect("base64");
        let tail = String::from_utf8(tail).expect("text");
        assert!(
            tail.contains("END RequestId: ") && tail.contains("REPORT "),
            "{tail}"
        );
    }
    let failed = invoke("Greeter", &[], json!({"do": "exit"})).await;
    assert_eq!(failed.status(), 200);
    assert_eq!(failed.headers()["x-amz-function-error"], "Unhandled");
    assert!(!failed.headers().contains_key("x-amz-log-result"));

    let log = app.path("logs/Greeter.log");
    let ended = || {
        let log = fs::read_to_string(&log).unwrap_or_default();
        log.matches("END RequestId").count()
    };
    let before = ended();
    let dry = invoke("Greeter", &[(kind, "DryRun")], json!({})).await;
    assert_eq!((dry.status().as_u16(), ended()), (204, before));
    let later = invoke("Greeter", &[(kind, "Event")], json!({"do": "echo"})).await;
    assert_eq!(later.status(), 202);
    eventually(|| ended() == before + 1).await;

    for (name, headers, status, error) in [
        ("Nobody", vec![], 404, "ResourceNotFoundException"),
        (
            "Greeter",
            vec![(kind, "Tomorrow")],
            400,
            "InvalidParameterValueException",
        ),
    ] {
        let refused = invoke(name, &headers, json!({})).await;
        assert_eq!(refused.status(), status, "{name}");
        assert_eq!(refused.headers()["x-amzn-errortype"], error);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_control_server_refuses_pages_of_other_sites() {
    let app = App::new(FOREIGN);
    let host = app.start(&[]).await;
    let client = reqwest::Client::new();
    let reset = client.post(host.url("control_url", "/meter/reset"));
    let refused = reset
        .try_clone()
        .expect("a request")
        .header("Origin", "https://evil.example")
        .send()
        .await
        .expect("an answer");
    assert_eq!(refused.status(), 403);
    assert_eq!(reset.send().await.expect("an answer").status(), 204);
    let rebound = client
        .get(host.url("control_url", "/meter"))
        .header("Host", "evil.example:3001");
    assert_eq!(rebound.send().await.expect("an answer").status(), 403);
    for (path, status) in [("/", 200), ("/nothing", 404), ("/meter/reset", 405)] {
        let response = client
            .get(host.url("control_url", path))
            .send()
            .await
            .expect("an answer");
        assert_eq!(response.status(), status, "{path}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_log_of_events_is_read_on_from_where_a_reader_was_and_has_the_clock_of_the_machine() {
    let now = || {
        let since = SystemTime::now().duration_since(UNIX_EPOCH);
        u64::try_from(since.expect("after 1970").as_micros()).expect("before the year 500,000")
    };
    let app = App::new(FOREIGN);
    let before = now();
    let host = app.start(&[]).await;
    let events = async |query: &str| -> Vec<Value> {
        let url = host.url("control_url", &format!("/events?{query}"));
        let lines = reqwest::get(url).await.expect("an answer");
        assert_eq!(lines.status(), 200, "{query}");
        let lines = lines.text().await.expect("text");
        let lines = lines.lines().map(serde_json::from_str);
        lines.collect::<Result<_, _>>().expect("JSON")
    };
    host.get(&host.url("api_url", "/hello/ann")).await;
    let all = events("until=now").await;
    let invoked = |events: &[Value]| events.iter().any(|it| it["event"] == "invocation");
    let ended = async {
        // It is logged a moment after the answer.
        while !invoked(&events("until=now").await) {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    let ended = tokio::time::timeout(Duration::from_secs(60), ended).await;
    ended.expect("the invocation is logged");
    let most = events("from=0&until=now").await;
    assert_eq!(most[..all.len()], all);
    let rest = events("from=2&until=now").await;
    assert_eq!(rest[..most.len() - 2], most[2..]);
    let since = host.ready["events_since_us"].as_u64().expect("a time");
    let last = most.last().and_then(|it| it["at_us"].as_u64());
    let last = since + last.expect("a time");
    assert!(before <= since && last <= now(), "{before} {since} {last}");

    for query in ["from=two", "until=7", "from=-1", "from=now&until", "more=1"] {
        let url = host.url("control_url", &format!("/events?{query}"));
        let refused = reqwest::get(url).await.expect("an answer");
        assert_eq!(refused.status(), 400, "{query}");
        let why = refused.text().await.expect("text");
        assert!(
            why.starts_with("the query is from=start, from=now"),
            "{why}"
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn logs_are_shown_behind_the_name_of_their_function() {
    let app = App::new(FOREIGN);
    let mut host = app.start(&["--logs"]).await;
    host.tell(json!({"do": "print", "text": "one\ntwo\n"}))
        .await;
    host.signal(Signal::SIGINT);
    host.child.wait().expect("it ends");
    let stderr = host.stderr();
    for line in [
        "Greeter | START RequestId: ",
        "Greeter | one\nGreeter | two\n",
    ] {
        assert!(stderr.contains(line), "{stderr}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn variables_come_from_a_file_in_the_form_of_sam() {
    let app = App::new(FOREIGN);
    let variables = json!({
        "Greeter": {"TABLE": "Other", "LEVEL": 3},
        "Parameters": {"TABLE": "for all", "STAGE": "for all"},
    });
    fs::write(app.path("env.json"), variables.to_string()).expect("written");
    let host = app.start(&["--env-file", "env.json"]).await;
    let told = host.tell(json!({"do": "environment"})).await;
    let variables = &told["variables"];
    assert_eq!(variables["TABLE"], "Other");
    assert_eq!(variables["LEVEL"], "3");
    assert_eq!(variables["STAGE"], "for all");
    assert_eq!(variables["AWS_ACCESS_KEY_ID"], "Greeter");
}

#[test]
fn variables_that_cannot_be_set_are_refused() {
    let app = App::new(FOREIGN);
    for (text, message) in [
        (
            r#"{"Greter": {}}"#,
            "there is no function Greter; there are Greeter, Worker and Parameters",
        ),
        (
            r#"{"Greeter": {"A": {"Ref": "B"}}}"#,
            r#"the value of A must be text, not {"Ref":"B"}"#,
        ),
        ("A=B", "the form is"),
    ] {
        fs::write(app.path("env.json"), text).expect("written");
        let refusal = app.refusal(&["--env-file", "env.json"]);
        assert!(
            refusal.starts_with("local: env.json (--env-file): "),
            "{refusal}"
        );
        assert!(refusal.contains(message), "{refusal}");
    }
    let refusal = app.refusal(&["--env-file", "absent.json"]);
    assert!(refusal.contains("absent.json (--env-file): "), "{refusal}");
}

#[tokio::test(flavor = "multi_thread")]
#[cfg(target_os = "linux")] // which lists a process's children
async fn a_host_without_its_guard_ends_with_one_line() {
    let app = App::new(FOREIGN);
    let mut host = app.start(&[]).await;
    let tasks = fs::read_dir(format!("/proc/{}/task", host.pid())).expect("its threads");
    let children = tasks.flatten().filter_map(|task| {
        let children = fs::read_to_string(task.path().join("children")).ok()?;
        let pids = children.split_whitespace().map(str::parse::<i32>);
        Some(pids.flatten().collect::<Vec<_>>())
    });
    let guard = children.flatten().find(|pid| {
        let command = fs::read_to_string(format!("/proc/{pid}/cmdline"));
        command.is_ok_and(|it| it.starts_with("/bin/sh\0-c\0trap"))
    });
    kill(Pid::from_raw(guard.expect("a guard")), Signal::SIGKILL).expect("it runs");
    let status = host.child.wait().expect("it ends");
    assert_eq!(status.code(), Some(1));
    let stderr = host.stderr();
    assert!(
        stderr.contains("local: the guard of child processes has ended"),
        "{stderr}"
    );
    assert!(!app.path("run/ready.json").exists());
}

// Only Linux lets a test set the limit of a process that runs.
#[cfg(target_os = "linux")]
#[tokio::test(flavor = "multi_thread")]
async fn more_environments_than_the_machine_can_hold_are_refused_in_one_line() {
    use rustix::process::{Resource, Rlimit, prlimit};

    let app = App::new(FOREIGN);
    let mut host = app.start(&[]).await;
    let gate = app.path("gate");
    let wait = host.tell(json!({"do": "wait", "file": gate}));
    let others = async {
        let url = host.url("control_url", "/functions");
        while host.get(&url).await["Greeter"]["busy"] != 1 {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        // Room for a request, and not for the pipes of another environment.
        let open = fs::read_dir(format!("/proc/{}/fd", host.pid())).expect("its descriptors");
        let most = Some(open.count() as u64 + 2);
        let limit = Rlimit {
            current: most,
            maximum: most,
        };
        prlimit(
            rustix::process::Pid::from_raw(host.pid()),
            Resource::Nofile,
            limit,
        )
        .expect("the limit is set");
        for _ in 0..5 {
            let refused = reqwest::Client::new()
                .post(host.url("api_url", "/do"))
                .body("{}");
            assert_eq!(refused.send().await.expect("an answer").status(), 500);
        }
        fs::write(&gate, "").expect("written");
    };
    tokio::join!(wait, others);
    // The one environment has answered, and is free again a moment later.
    let url = host.url("control_url", "/functions");
    while host.get(&url).await["Greeter"]["busy"] != 0 {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    host.tell(json!({})).await;
    host.signal(Signal::SIGINT);
    host.child.wait().expect("it ends");
    let stderr = host.stderr();
    let refusal = "local: cannot start an environment of Greeter: Too many open files (os error \
                   24); raise the limit with `ulimit -n`\n";
    assert_eq!(stderr.matches(refusal).count(), 1, "{stderr}");
}

#[test]
fn reservations_beyond_the_account_are_refused() {
    let reserving = "      CodeUri: build/greeter/\n      ReservedConcurrentExecutions: 1\n";
    let app = App::new(&FOREIGN.replace("      CodeUri: build/greeter/\n", reserving));
    let refusal = app.refusal(&["--account-concurrency", "10"]);
    assert!(
        refusal.starts_with("local: function Greeter: ReservedConcurrentExecutions of 1 would"),
        "{refusal}"
    );
}
