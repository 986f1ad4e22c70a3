//! The process of an execution environment: `bootstrap`, its Runtime API and its output.

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
use crate::aws_json::REGION;
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
    /// Its id is gone once it has ended.
    pub(super) child: Child,
    pub(super) output: Output,
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
        self.set_environment(&mut command, &api, &sandbox);
        command
            .current_dir(&spec.code_dir)
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
    fn set_environment(&self, command: &mut Command, api: &RuntimeApi, sandbox: &Sandbox) {
        let Setup { spec, host, .. } = &*self.setup;
        command.env_clear();
        // Rust and OpenSSL, the AWS SDKs and CLI, Node.js, Python's requests. Lambda reserves none of them,
        // so a function's own value stays, an empty one too.
        for name in [
            "SSL_CERT_FILE",
            "AWS_CA_BUNDLE",
            "NODE_EXTRA_CA_CERTS",
            "REQUESTS_CA_BUNDLE",
        ] {
            command.env(name, &host.ca_file);
        }
        command
            .envs(&spec.environment)
            .env("AWS_LAMBDA_RUNTIME_API", api.address.to_string())
            .env("AWS_LAMBDA_FUNCTION_NAME", &spec.name)
            .env("AWS_LAMBDA_FUNCTION_VERSION", "$LATEST")
            .env(
                "AWS_LAMBDA_FUNCTION_MEMORY_SIZE",
                spec.memory_mb.to_string(),
            )
            .env("AWS_LAMBDA_LOG_GROUP_NAME", &spec.log_group)
            .env("AWS_LAMBDA_LOG_STREAM_NAME", &self.log_stream)
            .env(
                "AWS_LAMBDA_INITIALIZATION_TYPE",
                initialization(self.provisioned),
            )
            .env("_HANDLER", &spec.handler)
            .env("LAMBDA_TASK_ROOT", &spec.code_dir)
            .env("LAMBDA_RUNTIME_DIR", "/var/runtime")
            .env("LANG", "en_US.UTF-8")
            .env("TZ", ":UTC")
            .env("PATH", std::env::var_os("PATH").unwrap_or_default())
            .env("AWS_REGION", REGION)
            .env("AWS_DEFAULT_REGION", REGION)
            // The AWS endpoint accepts any credentials. The key names the calling function, the token
            // its environment.
            .env("AWS_ACCESS_KEY_ID", &spec.logical_id)
            .env("AWS_SECRET_ACCESS_KEY", "local")
            .env("AWS_SESSION_TOKEN", &sandbox.name)
            .env("AWS_ENDPOINT_URL", &host.aws_endpoint_url)
            .env("AWS_ENDPOINT_URL_DYNAMODB", &host.aws_endpoint_url)
            .env("AWS_ENDPOINT_URL_SQS", &host.aws_endpoint_url);
        match spec.log_format {
            LogFormat::Text => command.env("AWS_LAMBDA_LOG_FORMAT", "Text"),
            LogFormat::Json => {
                let level = spec.application_log_level.unwrap_or(LogLevel::Info);
                command
                    .env("AWS_LAMBDA_LOG_FORMAT", "JSON")
                    .env("AWS_LAMBDA_LOG_LEVEL", format!("{level:?}").to_uppercase())
            }
        };
        if let Some(folder) = self.tmp.variable() {
            command.env("TMPDIR", folder);
        }
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

    pub(super) fn thaw(&mut self) {
        if self.frozen {
            self.sandbox.signal(Signal::SIGCONT);
            self.frozen = false;
            self.note(Change::Thawed, None, None);
        }
    }

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
