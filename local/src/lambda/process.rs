//! The process of an execution environment: `bootstrap`, its Runtime API and its output.

use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};
use std::io;
use std::process::{ExitStatus, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use nix::errno::Errno;
use nix::sys::signal::Signal;
use nix::unistd::Pid;
use tokio::process::{Child, Command};
use tokio::sync::OwnedSemaphorePermit;
use tokio::time::{Instant, sleep};

use super::Host;
use super::error::{FunctionError, InvokeError};
use super::log::{Log, LogFile, Output};
use super::platform_log::{Entry, initialization};
use super::runtime_api::{ApiCall, RuntimeApi};
use super::tmp::Tmp;
use crate::events::{self, Change, Event, Init};
use crate::sandboxes::{Entered, Sandbox};
use crate::template::{self, LogFormat, LogLevel};

/// How long a `bootstrap` that is being written is waited for.
const BEING_BUILT: Duration = Duration::from_secs(5);

/// The pause before a `bootstrap` that failed twice is started again; doubled with each failure up
/// to the longest.
const RESTART: (Duration, Duration) = (Duration::from_millis(100), Duration::from_secs(2));

/// What all environments of a function share.
#[derive(Debug)]
pub(super) struct Setup {
    pub(super) spec: template::Function,
    pub(super) host: Host,
    pub(super) log_file: Arc<LogFile>,
    /// Init phases that failed since the last that succeeded.
    pub(super) failed_inits: AtomicU32,
}

impl Setup {
    /// The pause before the next start.
    pub(super) fn pause(&self) -> Duration {
        let failed = self.failed_inits.load(Ordering::Relaxed);
        // Lambda itself repeats the first.
        let Some(doubled) = failed.checked_sub(2) else {
            return Duration::ZERO;
        };
        let pause = RESTART.0.saturating_mul(2_u32.saturating_pow(doubled));
        pause.min(RESTART.1)
    }
}

/// Starts the processes of one environment.
#[derive(Debug)]
pub(super) struct Launcher {
    pub(super) setup: Arc<Setup>,
    pub(super) log: Arc<Log>,
    pub(super) log_stream: String,
    pub(super) provisioned: bool,
    /// Whether it has had a process before, whose init phase is then a part of an invocation.
    pub(super) suppressed: bool,
    /// Its `/tmp`, which survives its processes.
    pub(super) tmp: Tmp,
}

/// A running `bootstrap`.
#[derive(Debug)]
pub(super) struct Process {
    api: RuntimeApi,
    child: Child,
    output: Output,
    frozen: bool,
    /// Lets faults and the AWS endpoint find the process.
    pub(super) sandbox: Entered,
    events: events::Log,
    provisioned: bool,
    _room: OwnedSemaphorePermit,
}

/// The next thing that a process does.
#[derive(Debug)]
pub(super) enum Doing {
    Calls(ApiCall),
    Exits(io::Result<ExitStatus>),
}

impl Launcher {
    /// Writes a line of Lambda's own.
    pub(super) fn say(&self, entry: Entry) {
        let spec = &self.setup.spec;
        let least = spec.system_log_level.unwrap_or(LogLevel::Info);
        self.log.write(entry.written(spec.log_format, least));
    }

    /// Starts `bootstrap`. If that fails, the function is to blame only for a file that is no
    /// program.
    pub(super) async fn launch(&self) -> Result<Process, InvokeError> {
        let patience = Instant::now() + BEING_BUILT;
        let error = loop {
            match self.spawn().await {
                Ok(process) => return Ok(process),
                Err(error) if errno(&error) == Errno::ETXTBSY && Instant::now() < patience => {
                    sleep(Duration::from_millis(20)).await;
                }
                Err(error) => break error,
            }
        };
        let advice = match errno(&error) {
            Errno::ENOEXEC => {
                "; it is built for another machine, or a script without `#!`: run `make build`"
            }
            Errno::ENOENT => "; it, or the program that it names after `#!`, does not exist",
            Errno::EACCES | Errno::ETXTBSY => "",
            other => {
                let advice = match other {
                    Errno::EMFILE | Errno::ENFILE => "; raise the limit with `ulimit -n`",
                    _ => "; let fewer run at one time with --account-concurrency",
                };
                let function = &self.setup.spec.logical_id;
                return Err(InvokeError::Service(format!(
                    "cannot start an environment of {function}: {error}{advice}"
                )));
            }
        };
        self.say(Entry::init_start(self.provisioned));
        let function = &self.setup.spec.logical_id;
        let path = self.setup.spec.code_dir.join("bootstrap");
        let message = format!(
            "function {function}: cannot run {}: {error}{advice}",
            path.display()
        );
        Err(FunctionError::new("Runtime.InvalidEntrypoint", message).into())
    }

    async fn spawn(&self) -> io::Result<Process> {
        let Setup { spec, host, .. } = &*self.setup;
        let room = host.machine.room()?;
        let api = RuntimeApi::start().await?;
        let sandbox = host.sandboxes.enter(&spec.logical_id);
        let (output, stdout) = io::pipe()?;
        let mut command = Command::new(spec.code_dir.join("bootstrap"));
        command
            .current_dir(&spec.code_dir)
            .env_clear()
            .envs(self.environment(&api, &sandbox))
            .stdin(Stdio::null())
            .stdout(stdout.try_clone()?)
            .stderr(stdout)
            .process_group(host.children_group)
            .kill_on_drop(true);
        let begin = Instant::now();
        let child = self.tmp.spawn(command).await?;
        let id = child
            .id()
            .ok_or_else(|| io::Error::other("the process has ended"))?;
        let root = Pid::from_raw(id.cast_signed());
        // Before what the process prints is read.
        self.say(Entry::init_start(self.provisioned));
        limit_descriptors(root);
        // Only an on-demand init has a whole vCPU.
        let burst = !self.provisioned && !self.suppressed;
        let share = host
            .conditions
            .share(&sandbox.name, spec.memory_mb, burst, begin.into_std());
        sandbox.runs(root, Pid::from_raw(host.children_group), share);
        let process = Process {
            api,
            child,
            output: Output::start(output, Arc::clone(&self.log))?,
            frozen: false,
            sandbox,
            events: host.log.clone(),
            provisioned: self.provisioned,
            _room: room,
        };
        process.note(Change::Started, None, None);
        Ok(process)
    }

    /// The function's own variables, and those of
    /// [Lambda](https://docs.aws.amazon.com/lambda/latest/dg/configuration-envvars.html), which win
    /// because they are reserved on AWS. `AWS_EXECUTION_ENV` is not set for `provided.*`. The
    /// runtime itself sets `_X_AMZN_TRACE_ID`.
    fn environment(&self, api: &RuntimeApi, sandbox: &Sandbox) -> BTreeMap<OsString, OsString> {
        let Setup { spec, host, .. } = &*self.setup;
        let own = spec
            .environment
            .iter()
            .map(|(name, value)| (name.into(), value.into()));
        let mut variables: BTreeMap<OsString, OsString> = own.collect();
        let mut set = |name: &str, value: &dyn AsRef<OsStr>| {
            variables.insert(name.into(), value.as_ref().into());
        };
        set("AWS_LAMBDA_RUNTIME_API", &api.address().to_string());
        set("AWS_LAMBDA_FUNCTION_NAME", &spec.name);
        set("AWS_LAMBDA_FUNCTION_VERSION", &"$LATEST");
        set(
            "AWS_LAMBDA_FUNCTION_MEMORY_SIZE",
            &spec.memory_mb.to_string(),
        );
        set("AWS_LAMBDA_LOG_GROUP_NAME", &spec.log_group);
        set("AWS_LAMBDA_LOG_STREAM_NAME", &self.log_stream);
        match spec.log_format {
            LogFormat::Text => set("AWS_LAMBDA_LOG_FORMAT", &"Text"),
            LogFormat::Json => {
                let level = spec.application_log_level.unwrap_or(LogLevel::Info);
                set("AWS_LAMBDA_LOG_FORMAT", &"JSON");
                set("AWS_LAMBDA_LOG_LEVEL", &format!("{level:?}").to_uppercase());
            }
        }
        set(
            "AWS_LAMBDA_INITIALIZATION_TYPE",
            &initialization(self.provisioned),
        );
        if let Some(folder) = self.tmp.variable() {
            set("TMPDIR", &folder);
        }
        set("_HANDLER", &spec.handler);
        set("LAMBDA_TASK_ROOT", &spec.code_dir);
        set("LAMBDA_RUNTIME_DIR", &"/var/runtime");
        set("LANG", &"en_US.UTF-8");
        set("TZ", &":UTC");
        set("PATH", &std::env::var_os("PATH").unwrap_or_default());
        set("AWS_REGION", &host.region);
        set("AWS_DEFAULT_REGION", &host.region);
        // The AWS endpoint accepts any credentials. The key names the calling function, the token
        // its environment.
        set("AWS_ACCESS_KEY_ID", &spec.logical_id);
        set("AWS_SECRET_ACCESS_KEY", &"local");
        set("AWS_SESSION_TOKEN", &sandbox.name);
        for name in [
            "AWS_ENDPOINT_URL",
            "AWS_ENDPOINT_URL_DYNAMODB",
            "AWS_ENDPOINT_URL_SQS",
        ] {
            set(name, &host.aws_endpoint_url);
        }
        // Rust and OpenSSL, the AWS SDKs and CLI, Node.js, Python's requests. Lambda reserves none of them,
        // so a function's own value stays, an empty one too.
        for name in [
            "SSL_CERT_FILE",
            "AWS_CA_BUNDLE",
            "NODE_EXTRA_CA_CERTS",
            "REQUESTS_CA_BUNDLE",
        ] {
            let ca_file = || host.ca_file.as_os_str().to_owned();
            variables.entry(name.into()).or_insert_with(ca_file);
        }
        variables
    }
}

impl Process {
    /// Waits for the runtime's next request, or for the process's end. Requests come first: a
    /// runtime may end right after its last.
    pub(super) async fn does(&mut self) -> Doing {
        tokio::select! {
            biased;
            call = self.api.call() => Doing::Calls(call),
            status = self.child.wait() => Doing::Exits(status),
        }
    }

    /// Stops the processes, as Lambda freezes an environment between invocations.
    pub(super) fn freeze(&mut self) {
        self.sandbox.signal(Signal::SIGSTOP);
        self.frozen = true;
        self.note(Change::Frozen, None, None);
    }

    /// Resumes the processes.
    pub(super) fn thaw(&mut self) {
        if self.frozen {
            self.sandbox.signal(Signal::SIGCONT);
            self.frozen = false;
            self.note(Change::Thawed, None, None);
        }
    }

    /// Logs a change of the environment.
    pub(super) fn note(&self, change: Change, why: Option<String>, init: Option<Init>) {
        self.events.add(Event::Environment(events::Environment {
            function: self.sandbox.function.clone(),
            environment: self.sandbox.name.clone(),
            change,
            provisioned: self.provisioned,
            why,
            init,
        }));
    }

    /// Whether the process still runs, so that `usage` can be measured.
    pub(super) fn is_running(&self) -> bool {
        self.child.id().is_some()
    }

    /// Writes everything printed so far to the log.
    pub(super) fn flush_output(&self) {
        self.output.flush();
    }

    /// Bytes that it has printed since the last call of this.
    pub(super) fn take_printed(&self) -> u64 {
        self.output.take_printed()
    }

    /// Kills the environment with all its processes, and waits for its end.
    pub(super) async fn kill(mut self) {
        self.sandbox.kill();
        let _ = self.child.wait().await;
    }
}

fn errno(error: &io::Error) -> Errno {
    Errno::from_raw(error.raw_os_error().unwrap_or_default())
}

/// [As many open files](https://docs.aws.amazon.com/lambda/latest/dg/gettingstarted-limits.html) as
/// Lambda allows: this host may open more. macOS cannot limit another process.
#[cfg(target_os = "linux")]
fn limit_descriptors(process: Pid) {
    use rustix::process::{Resource, Rlimit, prlimit};

    let most = Some(1024);
    let limit = Rlimit {
        current: most,
        maximum: most,
    };
    // It fails only if the process has ended.
    let _ = prlimit(
        rustix::process::Pid::from_raw(process.as_raw()),
        Resource::Nofile,
        limit,
    );
}

#[cfg(not(target_os = "linux"))]
fn limit_descriptors(_: Pid) {}
