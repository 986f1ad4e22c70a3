//! The process of an execution environment: `bootstrap`, its Runtime API and its output.

use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};
use std::io;
use std::process::{ExitStatus, Stdio};
use std::sync::Arc;

use nix::errno::Errno;
use nix::sys::signal::{Signal, kill};
use nix::unistd::{Pid, getpgid};
use tokio::process::{Child, Command};

use super::log::{Log, Output};
use super::runtime_api::{Call, RuntimeApi};
use super::usage::{self, Usage};
use super::{Host, error::FunctionError};
use crate::faults::KnownEnvironment;
use crate::template;

/// Starts the processes of one environment.
#[derive(Debug)]
pub(super) struct Launcher {
    pub(super) spec: Arc<template::Function>,
    pub(super) host: Host,
    pub(super) log: Arc<Log>,
    pub(super) log_stream: String,
    pub(super) provisioned: bool,
}

/// A running `bootstrap`.
#[derive(Debug)]
pub(super) struct Process {
    api: RuntimeApi,
    child: Child,
    output: Output,
    group: Pid,
    /// The process and the processes that it started before its init phase ended. A shell
    /// `bootstrap` without `exec` is thus frozen and measured as a whole.
    tree: Vec<Pid>,
    frozen: bool,
    usage: Usage,
    /// Lets faults find the process.
    _known: KnownEnvironment,
}

/// The next thing that a process does.
#[derive(Debug)]
pub(super) enum Doing {
    Calls(Call),
    Exits(io::Result<ExitStatus>),
}

impl Launcher {
    pub(super) async fn launch(&self) -> Result<Process, FunctionError> {
        self.spawn().await.map_err(|error| {
            let bootstrap = self.spec.code_dir.join("bootstrap");
            let advice = match Errno::from_raw(error.raw_os_error().unwrap_or_default()) {
                Errno::ENOEXEC => {
                    "; it is built for another machine, or a script without `#!`: run `make build`"
                }
                Errno::ENOENT => "; it, or the program that it names after `#!`, does not exist",
                _ => "",
            };
            let function = &self.spec.logical_id;
            let message = format!(
                "function {function}: cannot run {}: {error}{advice}",
                bootstrap.display()
            );
            FunctionError::new("Runtime.InvalidEntrypoint", message)
        })
    }

    async fn spawn(&self) -> io::Result<Process> {
        let api = RuntimeApi::start().await?;
        let known = self.host.faults.of(&self.spec.logical_id).environment();
        let (output, stdout) = Output::start(Arc::clone(&self.log))?;
        let mut command = Command::new(self.spec.code_dir.join("bootstrap"));
        command
            .current_dir(&self.spec.code_dir)
            .env_clear()
            .envs(self.environment(&api, &known))
            .stdin(Stdio::null())
            .stdout(stdout.try_clone()?)
            .stderr(stdout)
            .process_group(self.host.children_group)
            .kill_on_drop(true);
        // Starting a process takes about a millisecond, in which this thread could serve requests.
        let child = tokio::task::spawn_blocking(move || command.spawn()).await??;
        let id = child
            .id()
            .ok_or_else(|| io::Error::other("the process has ended"))?;
        let (root, group) = (
            Pid::from_raw(id.cast_signed()),
            Pid::from_raw(self.host.children_group),
        );
        known.runs(root, group);
        Ok(Process {
            api,
            child,
            output,
            group,
            tree: vec![root],
            frozen: false,
            usage: Usage::default(),
            _known: known,
        })
    }

    /// The function's own variables, and those of
    /// [Lambda](https://docs.aws.amazon.com/lambda/latest/dg/configuration-envvars.html), which win
    /// because they are reserved on AWS. `AWS_EXECUTION_ENV` is not set for `provided.*`. The
    /// runtime itself sets `_X_AMZN_TRACE_ID`.
    fn environment(
        &self,
        api: &RuntimeApi,
        known: &KnownEnvironment,
    ) -> BTreeMap<OsString, OsString> {
        let Launcher { spec, host, .. } = self;
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
        set(
            "AWS_LAMBDA_LOG_GROUP_NAME",
            &format!("/aws/lambda/{}", spec.name),
        );
        set("AWS_LAMBDA_LOG_STREAM_NAME", &self.log_stream);
        let initialization = if self.provisioned {
            "provisioned-concurrency"
        } else {
            "on-demand"
        };
        set("AWS_LAMBDA_INITIALIZATION_TYPE", &initialization);
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
        set("AWS_SESSION_TOKEN", &known.session_token());
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

    /// Notes the processes of the environment, once its init phase is over.
    pub(super) fn settle(&mut self) {
        if let Some(root) = self.tree.first() {
            self.tree = usage::process_tree(*root);
        }
    }

    /// Stops the processes, as Lambda freezes an environment between invocations.
    pub(super) fn freeze(&mut self) {
        self.signal(Signal::SIGSTOP);
        self.frozen = true;
    }

    /// Resumes the processes.
    pub(super) fn thaw(&mut self) {
        if self.frozen {
            self.signal(Signal::SIGCONT);
            self.frozen = false;
        }
    }

    /// The resources used so far; the last known values if the process is gone.
    pub(super) fn usage(&mut self) -> Usage {
        if let Some(usage) = usage::measure(&self.tree) {
            self.usage = usage;
        }
        self.usage
    }

    /// Whether the process still runs, so that `usage` can be measured.
    pub(super) fn is_running(&self) -> bool {
        self.child.id().is_some()
    }

    /// Writes everything printed so far to the log.
    pub(super) fn flush_output(&self) {
        self.output.flush();
    }

    /// Kills the environment with all its processes, and waits for its end.
    pub(super) async fn kill(mut self) {
        if let Some(root) = self.tree.first() {
            for pid in usage::process_tree(*root) {
                if !self.tree.contains(&pid) {
                    self.tree.push(pid);
                }
            }
        }
        self.signal(Signal::SIGKILL);
        let _ = self.child.wait().await;
    }

    fn signal(&self, signal: Signal) {
        for pid in &self.tree {
            // The id of a process that is gone may belong to a stranger now.
            if getpgid(Some(*pid)) == Ok(self.group) {
                let _ = kill(*pid, signal);
            }
        }
    }
}
