//! A shop whose tables and queues are on disk, as a process of its own that can be killed.

use std::fs;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use local::stack::Options;
use serde_json::Value;
use tokio::time::{Instant, sleep};

use crate::{PATIENCE, Shop, options, target};

/// A folder with the data of one shop, which can be started on it again and again.
pub struct Kept {
    options: Options,
}

impl Kept {
    /// An empty folder, for a shop from the project's template after `change` has been at its text.
    pub fn new(name: &str, change: fn(String) -> String) -> Self {
        let mut options = options(name, change);
        let data_dir = options.log_dir.with_file_name("data");
        // An earlier test may have had the same process id.
        let _ = fs::remove_dir_all(&data_dir);
        options.data_dir = Some(data_dir);
        Self { options }
    }

    /// Starts a shop in this process.
    pub fn start(&self) -> Shop {
        Shop::run(self.options.clone())
    }

    /// Starts `local` as `make run` does. It answers once [`Process::ready`] has returned.
    pub fn start_process(&self) -> Process {
        let local = target().join("local");
        assert!(
            local.exists(),
            "{} is not built: run `make test`, or `cargo build --workspace --all-targets` first",
            local.display()
        );
        let options = &self.options;
        let ready_file = options.log_dir.with_file_name("ready.json");
        // One of a process that was killed would say that this one answers.
        let _ = fs::remove_file(&ready_file);
        let log = fs::File::options()
            .create(true)
            .append(true)
            .open(options.log_dir.with_file_name("local.log"))
            .expect("the work folder is writable");
        let mut command = Command::new(local);
        let paths = [
            ("--template", &options.template),
            ("--code-dir", options.code_dir.as_ref().expect("it is set")),
            ("--data-dir", options.data_dir.as_ref().expect("it is set")),
            ("--log-dir", &options.log_dir),
            ("--ready-file", &ready_file),
        ];
        for (option, path) in paths {
            command.arg(option).arg(path);
        }
        for (name, value) in &options.parameters {
            command.arg("--parameter").arg(format!("{name}={value}"));
        }
        let child = command
            .args(["--port", "0", "--control-port", "0"])
            .stdin(Stdio::null())
            .stderr(log)
            .spawn()
            .expect("local starts");
        Process { child, ready_file }
    }
}

/// `local`, running. Dropping it kills it with `kill -9`, and all that it started ends with it.
pub struct Process {
    child: Child,
    ready_file: std::path::PathBuf,
}

impl Process {
    /// Waits until it answers. Gives the base address of its API.
    pub async fn ready(&mut self) -> String {
        let patience = Instant::now() + PATIENCE;
        loop {
            if let Ok(json) = fs::read_to_string(&self.ready_file) {
                let ready: Value = serde_json::from_str(&json).expect("the ready file is JSON");
                return ready["api_url"]
                    .as_str()
                    .expect("it has the URL")
                    .to_owned();
            }
            let ended = self.child.try_wait().expect("it is our child");
            let log = self.ready_file.with_file_name("local.log");
            assert!(ended.is_none(), "local ended: see {}", log.display());
            assert!(Instant::now() < patience, "local does not start");
            sleep(Duration::from_millis(5)).await;
        }
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // It may have ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
