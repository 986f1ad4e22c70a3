//! Shared by the tests of functions: a host, and functions that run `examples/test_function.rs`.

#![allow(
    dead_code,
    unreachable_pub,
    reason = "each test file uses its own part"
)]

use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::panic;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use bytes::Bytes;
use local::children::Children;
use local::conditions::Conditions;
use local::events::Log;
use local::faults::Faults;
use local::lambda::{AccountConcurrency, Function, Host, Machine, Request};
use local::sandboxes::Sandboxes;
use local::template;
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpStream, ToSocketAddrs};
use tokio::time::timeout;

/// A request of nobody in particular.
pub fn request(event: Bytes) -> Request {
    Request::new("Test", event, None)
}

/// Everything that functions need, gone when dropped.
pub struct TestHost {
    pub folder: TempDir,
    pub host: Host,
    children: Children,
}

impl TestHost {
    pub fn new() -> TestHost {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let children = Children::start().expect("the guard starts");
        // Tests and functions leave each other files here.
        let mut visible = vec![folder.path().to_owned()];
        visible.extend(example().parent().map(Path::to_owned));
        let log = Log::default();
        let host = Host {
            aws_endpoint_url: "https://127.0.0.1:1".to_owned(),
            ca_file: folder.path().join("ca.pem"),
            children_group: children.group(),
            log_dir: folder.path().join("logs"),
            log_to_terminal: false,
            idle_timeout: Duration::from_secs(600),
            concurrency: AccountConcurrency::new(1000),
            machine: Machine::prepare(visible).expect("the folder of this run is made"),
            faults: Faults::new(&log),
            conditions: Conditions::default(),
            log,
            sandboxes: Sandboxes::default(),
        };
        TestHost {
            folder,
            host,
            children,
        }
    }

    /// A function that runs the example.
    pub fn spec(&self, logical_id: &str) -> template::Function {
        let code_dir = self.code_dir(logical_id);
        symlink(example(), code_dir.join("bootstrap")).expect("the link is made");
        template::Function {
            logical_id: logical_id.to_owned(),
            name: format!("local-{logical_id}"),
            code_dir,
            handler: "bootstrap".to_owned(),
            memory_mb: 128,
            timeout: Duration::from_secs(20),
            environment: Default::default(),
            reserved_concurrency: None,
            provisioned_concurrency: 0,
            log_format: template::LogFormat::Text,
            application_log_level: None,
            system_log_level: None,
            log_group: format!("/aws/lambda/local-{logical_id}"),
            routes: Vec::new(),
            queue_triggers: Vec::new(),
        }
    }

    /// A function that runs a script instead.
    pub fn script(&self, logical_id: &str, script: impl AsRef<[u8]>) -> template::Function {
        self.script_at(self.spec(logical_id), script)
    }

    /// Puts a script where the function's `bootstrap` is.
    pub fn script_at(
        &self,
        spec: template::Function,
        script: impl AsRef<[u8]>,
    ) -> template::Function {
        let bootstrap = spec.code_dir.join("bootstrap");
        let _ = fs::remove_file(&bootstrap);
        fs::write(&bootstrap, script).expect("the script is written");
        let executable = fs::Permissions::from_mode(0o755);
        fs::set_permissions(&bootstrap, executable).expect("it is made executable");
        spec
    }

    /// The event of an invocation that waits until the gate is opened, which lets all others go on too.
    pub fn wait_for_gate(&self) -> Value {
        json!({"do": "wait", "file": self.folder.path().join("gate")})
    }

    pub fn close_gate(&self) {
        fs::remove_file(self.folder.path().join("gate")).expect("it was open");
    }

    pub fn open_gate(&self) {
        fs::write(self.folder.path().join("gate"), "").expect("the gate is written");
    }

    pub async fn start(&self, spec: template::Function) -> Result<Function, String> {
        Function::start(spec, self.host.clone()).await
    }

    pub fn log(&self, logical_id: &str) -> String {
        let path = self.host.log_dir.join(format!("{logical_id}.log"));
        fs::read_to_string(path).expect("the log can be read")
    }

    /// Waits until the log has `count` lines that begin with `start`, and gives them.
    pub async fn lines(&self, logical_id: &str, start: &str, count: usize) -> Vec<String> {
        let lines = || -> Vec<String> {
            let log = self.log(logical_id);
            log.lines()
                .filter(|line| line.starts_with(start))
                .map(str::to_owned)
                .collect()
        };
        eventually(|| lines().len() >= count).await;
        assert_eq!(lines().len(), count, "{}", self.log(logical_id));
        lines()
    }

    fn code_dir(&self, logical_id: &str) -> PathBuf {
        let code_dir = self.folder.path().join("code").join(logical_id);
        fs::create_dir_all(&code_dir).expect("the folder is made");
        code_dir
    }
}

/// Waits for a condition, for at most a minute.
pub async fn eventually(mut condition: impl FnMut() -> bool) {
    for _ in 0..12_000 {
        if condition() {
            return;
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    panic!("it did not happen within a minute");
}

/// Invokes and reads the result.
pub async fn invoke(function: &Function, event: Value) -> Value {
    let result = function.invoke(request(event.to_string().into())).await;
    serde_json::from_slice(&result.expect("the invocation succeeds")).expect("JSON")
}

/// One field of a `REPORT` line, without its unit.
pub fn field<'a>(line: &'a str, name: &str) -> Option<&'a str> {
    let field = line
        .split('\t')
        .find_map(|field| field.strip_prefix(name)?.strip_prefix(": "))?;
    field.split(' ').next()
}

/// The example, which `cargo test` builds beside the tests.
pub fn example() -> PathBuf {
    let test = std::env::current_exe().expect("the test has a path");
    let folder = test.parent().and_then(Path::parent).expect("target/debug");
    let example = folder.join("examples/test_function");
    assert!(
        example.is_file(),
        "run `cargo build -p local --examples` first"
    );
    example
}

/// Sends bytes and returns all that comes back until the other side hangs up; `None` if it never does.
pub async fn exchange(address: impl ToSocketAddrs, bytes: &[u8]) -> Option<String> {
    let mut stream = TcpStream::connect(address).await.expect("it connects");
    // It may hang up before all is sent, and break the connection.
    let _ = stream.write_all(bytes).await;
    let mut answer = Vec::new();
    // A client that hangs up is not waited for, and its request is dropped. So this says that nothing
    // follows only when no answer comes of what it has sent.
    let first = stream.read_buf(&mut answer);
    let _ = timeout(Duration::from_millis(20), first).await;
    let _ = stream.shutdown().await;
    let rest = timeout(Duration::from_secs(60), stream.read_to_end(&mut answer)).await;
    rest.is_ok()
        .then(|| String::from_utf8_lossy(&answer).into_owned())
}

/// Has panics counted, wherever in this process: one in the host would look like a connection that is
/// hung up.
pub fn count_panics() -> &'static AtomicUsize {
    static PANICS: AtomicUsize = AtomicUsize::new(0);
    let show = panic::take_hook();
    panic::set_hook(Box::new(move |what| {
        PANICS.fetch_add(1, Ordering::Relaxed);
        show(what);
    }));
    &PANICS
}
