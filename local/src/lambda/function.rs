//! A function as its callers see it, and the number of its execution environments.

use std::fs::File;
use std::io::Read;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use serde::Serialize;
use tokio::sync::{Semaphore, oneshot, watch};

use super::environment;
use super::error::{FunctionError, InvokeError, StartError};
use super::invocation::{Caller, Job, trace_header};
use super::log::Log;
use super::pool::{Pool, Slot};
use super::{Host, MAX_PAYLOAD};
use crate::faults::FunctionFaults;
use crate::template;

/// How long an invocation waits for an environment that has returned its result and will soon be
/// free. A runtime asks for its next event within a fraction of a millisecond. Without this wait, a
/// client that calls again at once would start a second environment each time.
const SETTLING: Duration = Duration::from_millis(5);

/// A Lambda function. Cheap to clone: all clones are the same function.
#[derive(Debug, Clone)]
pub struct Function(Arc<Inner>);

/// The number of a function's execution environments.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct State {
    /// All of them.
    pub environments: usize,
    /// In their init phase.
    pub starting: usize,
    /// Frozen, waiting for an invocation.
    pub idle: usize,
    /// Running an invocation.
    pub busy: usize,
}

#[derive(Debug)]
struct Inner {
    spec: Arc<template::Function>,
    host: Host,
    log: Arc<Log>,
    concurrency: Arc<Semaphore>,
    faults: FunctionFaults,
    pool: Mutex<Pool>,
    /// Becomes true once. Each environment holds a receiver until it is gone.
    stop: watch::Sender<bool>,
}

impl Function {
    /// Checks that the function can be run, and starts its provisioned concurrency.
    ///
    /// # Errors
    /// If there is no executable `bootstrap`, the log cannot be written, the account has too little
    /// concurrency left, or a provisioned environment fails in its init phase.
    pub async fn start(mut spec: template::Function, host: Host) -> Result<Function, StartError> {
        let name = || spec.logical_id.clone();
        let path = spec.code_dir.join("bootstrap");
        check_bootstrap(&path, name)?;
        let log_file = host.log_dir.join(format!("{}.log", spec.logical_id));
        let log = Log::create(&log_file).map_err(|error| StartError::Log {
            function: name(),
            path: log_file,
            error,
        })?;
        let concurrency = host
            .concurrency
            .share(spec.reserved_concurrency)
            .ok_or_else(|| StartError::Concurrency { function: name() })?;
        // Environments run in the code's folder, where a relative path would mean another file.
        spec.code_dir = spec
            .code_dir
            .canonicalize()
            .map_err(|_| StartError::NoBootstrap {
                function: name(),
                path,
            })?;
        let function = Function(Arc::new(Inner {
            faults: host.faults.of(&spec.logical_id),
            spec: Arc::new(spec),
            host,
            log: Arc::new(log),
            concurrency,
            pool: Mutex::default(),
            stop: watch::channel(false).0,
        }));
        function.start_provisioned().await?;
        Ok(function)
    }

    async fn start_provisioned(&self) -> Result<(), StartError> {
        let count = self.spec().provisioned_concurrency;
        let start = |_| self.start_environment(&mut self.pool(), true);
        let starting: Vec<_> = (0..count).map(start).collect();
        for ready in starting {
            let ready = ready.await.unwrap_or_else(|_| {
                Err(FunctionError::new(
                    "Runtime.Unknown",
                    "the host is shutting down".to_owned(),
                ))
            });
            if let Err(error) = ready {
                self.shutdown().await;
                let function = self.spec().logical_id.clone();
                return Err(StartError::Init { function, error });
            }
        }
        Ok(())
    }

    /// Runs the function once and returns its result, like `Invoke` with `RequestResponse`.
    ///
    /// `trace_id` is the caller's `X-Amzn-Trace-Id`, if it has one. An invocation that has begun
    /// runs to its end even if this future is dropped.
    ///
    /// # Errors
    /// See [`InvokeError`].
    pub async fn invoke(&self, event: Bytes, trace_id: Option<&str>) -> Result<Bytes, InvokeError> {
        if event.len() > MAX_PAYLOAD {
            return Err(InvokeError::EventTooLarge);
        }
        if self.0.faults.throttles_invocation() {
            return Err(InvokeError::Throttled);
        }
        let concurrency = Arc::clone(&self.0.concurrency)
            .try_acquire_owned()
            .map_err(|_| InvokeError::Throttled)?;
        let (reply, mut result) = oneshot::channel();
        let caller = Caller { reply, concurrency };
        let job = Job {
            payload: event,
            trace_id: trace_header(trace_id),
            caller,
        };
        if self.submit(job) {
            tokio::select! {
                biased;
                result = &mut result => return result.unwrap_or(Err(InvokeError::Stopped)),
                () = tokio::time::sleep(SETTLING) => self.scale_out(&mut self.pool()),
            }
        }
        result.await.unwrap_or(Err(InvokeError::Stopped))
    }

    /// Ends all environments and waits until they are gone. Running invocations are cut off.
    pub async fn shutdown(&self) {
        {
            let mut pool = self.pool();
            pool.stopped = true;
            pool.waiting.clear();
        }
        self.0.stop.send_replace(true);
        self.0.stop.closed().await;
    }

    /// Ends the idle environments, as AWS does after a while or after a deployment, and waits until
    /// they are gone. The next invocation is then a cold start.
    pub async fn reap(&self) {
        let idle = std::mem::take(&mut self.pool().idle);
        // Dropping the sender of its invocations ends an environment.
        let ending: Vec<_> = idle.into_iter().map(|idle| idle.gone).collect();
        for gone in ending {
            // Nothing is ever sent: the other end is dropped.
            let _ = gone.await;
        }
    }

    /// Its execution environments at this moment.
    pub fn state(&self) -> State {
        let pool = self.pool();
        let (environments, starting, idle) = (pool.environments, pool.starting, pool.idle.len());
        State {
            environments,
            starting,
            idle,
            busy: environments.saturating_sub(starting + idle),
        }
    }

    /// Its properties in the template.
    pub fn spec(&self) -> &template::Function {
        &self.0.spec
    }

    /// The AWS account that it runs in.
    pub fn account_id(&self) -> &str {
        &self.0.host.account_id
    }

    pub(super) fn pool(&self) -> MutexGuard<'_, Pool> {
        // No thread panics while holding it, and the pool would be valid even then.
        self.0.pool.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Passes a job to an environment or queues it. True if the caller should first wait for an
    /// environment that will soon be free.
    fn submit(&self, job: Job) -> bool {
        let mut pool = self.pool();
        if pool.stopped {
            // A dropped job means that its caller gets no answer.
            return false;
        }
        let Some(job) = pool.give(job) else {
            return false;
        };
        pool.waiting.push_back(job);
        let settles = pool.starting < pool.waiting.len()
            && pool.starting + pool.settling >= pool.waiting.len();
        if !settles {
            self.scale_out(&mut pool);
        }
        settles
    }

    /// Starts one environment if fewer are starting than invocations wait. The first free
    /// environment, new or not, takes the invocation that has waited longest. There are never more
    /// environments than the reserved concurrency.
    pub(super) fn scale_out(&self, pool: &mut Pool) {
        let reserved = self.spec().reserved_concurrency;
        let limit = reserved.map_or(usize::MAX, |reserved| reserved as usize);
        if !pool.stopped && pool.starting < pool.waiting.len() && pool.environments < limit {
            self.start_environment(pool, false);
        }
    }

    /// Starts an environment; the receiver gets the result of its init phase.
    pub(super) fn start_environment(
        &self,
        pool: &mut Pool,
        provisioned: bool,
    ) -> oneshot::Receiver<Result<(), FunctionError>> {
        let (ready, heard) = oneshot::channel();
        let slot = Slot::new(self.clone(), pool, provisioned);
        let Inner {
            spec,
            host,
            log,
            stop,
            ..
        } = &*self.0;
        let settings = (Arc::clone(spec), host.clone(), Arc::clone(log));
        tokio::spawn(environment::live(settings, slot, stop.subscribe(), ready));
        heard
    }
}

/// Checks an executable before it is run.
fn check_bootstrap(path: &Path, name: impl Fn() -> String) -> Result<(), StartError> {
    let metadata = std::fs::metadata(path)
        .ok()
        .filter(std::fs::Metadata::is_file);
    let Some(metadata) = metadata else {
        return Err(StartError::NoBootstrap {
            function: name(),
            path: path.to_owned(),
        });
    };
    if metadata.permissions().mode() & 0o111 == 0 {
        return Err(StartError::NotExecutable {
            function: name(),
            path: path.to_owned(),
        });
    }
    let mut header = [0; 20];
    let read = File::open(path).and_then(|mut file| file.read_exact(&mut header));
    if read.is_ok() && is_for_another_machine(&header) {
        return Err(StartError::WrongMachine {
            function: name(),
            path: path.to_owned(),
        });
    }
    Ok(())
}

/// Whether an executable is for Linux, but not for this machine. The system judges any other file.
fn is_for_another_machine(header: &[u8; 20]) -> bool {
    // `e_machine`: https://refspecs.linuxfoundation.org/elf/gabi4+/ch4.eheader.html
    let ours = match std::env::consts::ARCH {
        "x86_64" => [62, 0],
        "aarch64" => [183, 0],
        _ => return false,
    };
    header.starts_with(b"\x7fELF") && !(cfg!(target_os = "linux") && header[18..] == ours)
}
