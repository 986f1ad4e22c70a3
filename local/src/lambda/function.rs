//! A function: its pool of execution environments, and which of them runs what.

use std::collections::VecDeque;
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
use super::{Host, MAX_PAYLOAD};
use crate::template;

/// How long an invocation waits for an environment that has given its result and will be free in a
/// moment. Without it a client that calls again at once would start a second environment each time.
/// A runtime asks for its next event within a fraction of a millisecond.
const SETTLING: Duration = Duration::from_millis(5);

/// A Lambda function. Cheap to clone: all clones are the same function.
#[derive(Debug, Clone)]
pub struct Function(Arc<Inner>);

/// Execution environments of a function, counted.
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
    pool: Mutex<Pool>,
    /// Becomes true once; each environment holds a receiver until it is gone.
    stop: watch::Sender<bool>,
}

/// Invocations that wait for environments, and environments that wait for invocations. Only one of
/// the two at a time.
#[derive(Debug, Default)]
struct Pool {
    waiting: VecDeque<Job>,
    idle: Vec<Idle>,
    /// All environments.
    environments: usize,
    /// Those in their init phase.
    starting: usize,
    /// Those that gave a result and have not asked for the next event yet.
    settling: usize,
    last_id: u64,
    /// How many have ended.
    ended: u64,
    stopped: bool,
}

#[derive(Debug)]
struct Idle {
    id: u64,
    job: oneshot::Sender<Job>,
}

impl Function {
    /// Checks that the function can be run, and starts its provisioned concurrency.
    ///
    /// # Errors
    /// Where there is no executable `bootstrap`, the log cannot be written, the account has too
    /// little concurrency left, or a provisioned environment fails in its init phase.
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
        let starting: Vec<_> = (0..count).map(|_| self.start_environment(true)).collect();
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

    /// Runs the function once and gives its result, as `Invoke` with `RequestResponse` does.
    ///
    /// `trace_id` is the caller's `X-Amzn-Trace-Id`, if it has one. An invocation that has begun runs
    /// to its end even if this future is dropped.
    ///
    /// # Errors
    /// See [`InvokeError`].
    pub async fn invoke(&self, event: Bytes, trace_id: Option<&str>) -> Result<Bytes, InvokeError> {
        if event.len() > MAX_PAYLOAD {
            return Err(InvokeError::EventTooLarge);
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
        if self.submit(job) == Submitted::WaitsForSettling {
            tokio::select! {
                biased;
                result = &mut result => return result.unwrap_or(Err(InvokeError::Stopped)),
                () = tokio::time::sleep(SETTLING) => self.scale_out(),
            }
        }
        result.await.unwrap_or(Err(InvokeError::Stopped))
    }

    /// Ends all environments and waits until they are gone. Invocations that still run are cut off.
    pub async fn shutdown(&self) {
        {
            let mut pool = self.pool();
            pool.stopped = true;
            pool.waiting.clear();
        }
        self.0.stop.send_replace(true);
        self.0.stop.closed().await;
    }

    /// Ends the environments that are idle, as AWS does after a while or a deployment, and waits until
    /// they are gone: the next invocation is a cold start.
    pub async fn reap(&self) {
        let ended = {
            let mut pool = self.pool();
            let idle = pool.idle.len() as u64;
            // An environment whose invocations can no longer come ends.
            pool.idle.clear();
            pool.ended + idle
        };
        while self.pool().ended < ended {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    }

    /// Its execution environments at this moment.
    pub fn state(&self) -> State {
        let pool = self.pool();
        let environments = self.0.stop.receiver_count();
        let (starting, idle) = (pool.starting, pool.idle.len());
        State {
            environments,
            starting,
            idle,
            busy: environments.saturating_sub(starting + idle),
        }
    }

    /// What the template says of it.
    pub fn spec(&self) -> &template::Function {
        &self.0.spec
    }

    /// The AWS account that it runs in.
    pub fn account_id(&self) -> &str {
        &self.0.host.account_id
    }

    fn pool(&self) -> MutexGuard<'_, Pool> {
        // Nothing panics while holding it, and if it did, the pool would still be whole.
        self.0.pool.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Gives a job to the environment that was used last, as AWS tends to, so that those which are
    /// not needed become idle long enough to be ended.
    fn submit(&self, mut job: Job) -> Submitted {
        let mut pool = self.pool();
        if pool.stopped {
            return Submitted::Done;
        }
        while let Some(idle) = pool.idle.pop() {
            match idle.job.send(job) {
                Ok(()) => return Submitted::Done,
                // It has just ended.
                Err(returned) => job = returned,
            }
        }
        pool.waiting.push_back(job);
        if pool.starting < pool.waiting.len() && pool.starting + pool.settling >= pool.waiting.len()
        {
            return Submitted::WaitsForSettling;
        }
        drop(pool);
        self.scale_out();
        Submitted::Done
    }

    /// Starts one environment if fewer are on their way than invocations wait. Whichever becomes free
    /// first, a new one or another, takes the invocation that has waited longest. There are never more
    /// than the concurrency that is reserved.
    fn scale_out(&self) {
        let pool = self.pool();
        let limit = self
            .spec()
            .reserved_concurrency
            .map_or(usize::MAX, |limit| limit as usize);
        let needed =
            !pool.stopped && pool.starting < pool.waiting.len() && pool.environments < limit;
        drop(pool);
        if needed {
            self.start_environment(false);
        }
    }

    /// Starts an environment; the receiver hears how its init phase went.
    fn start_environment(&self, provisioned: bool) -> oneshot::Receiver<Result<(), FunctionError>> {
        let (ready, heard) = oneshot::channel();
        let mut pool = self.pool();
        pool.environments += 1;
        pool.starting += 1;
        pool.last_id += 1;
        let slot = Slot {
            function: self.clone(),
            id: pool.last_id,
            provisioned,
            stage: Stage::Starting,
        };
        drop(pool);
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

/// What can be seen of an executable before it is run.
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

/// Whether an executable is one for Linux, but not for this machine. Anything else is left to the
/// system to judge.
fn is_for_another_machine(header: &[u8; 20]) -> bool {
    // `e_machine`: https://refspecs.linuxfoundation.org/elf/gabi4+/ch4.eheader.html
    let ours = match std::env::consts::ARCH {
        "x86_64" => [62, 0],
        "aarch64" => [183, 0],
        _ => return false,
    };
    header.starts_with(b"\x7fELF") && !(cfg!(target_os = "linux") && header[18..] == ours)
}

#[derive(Debug, PartialEq, Eq)]
enum Submitted {
    Done,
    WaitsForSettling,
}

/// An environment's place in its function's pool, given up when dropped.
#[derive(Debug)]
pub(super) struct Slot {
    function: Function,
    id: u64,
    pub(super) provisioned: bool,
    stage: Stage,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stage {
    Starting,
    Idle,
    Running,
    Settling,
}

/// What an environment that has become free does next.
#[derive(Debug)]
pub(super) enum Next {
    Run(Job),
    Wait(oneshot::Receiver<Job>),
}

impl Slot {
    /// The environment is free.
    pub(super) fn next(&mut self) -> Next {
        let function = self.function.clone();
        let mut pool = function.pool();
        if let Some(job) = pool.waiting.pop_front() {
            self.enter(&mut pool, Stage::Running);
            return Next::Run(job);
        }
        self.enter(&mut pool, Stage::Idle);
        let (job, wait) = oneshot::channel();
        pool.idle.push(Idle { id: self.id, job });
        Next::Wait(wait)
    }

    /// A job for an environment whose init phase failed, if one still waits.
    pub(super) fn take_waiting(&mut self) -> Option<Job> {
        let function = self.function.clone();
        let mut pool = function.pool();
        let job = pool.waiting.pop_front()?;
        self.enter(&mut pool, Stage::Running);
        Some(job)
    }

    /// The environment has been given a job that it waited for.
    pub(super) fn running(&mut self) {
        let function = self.function.clone();
        self.enter(&mut function.pool(), Stage::Running);
    }

    /// The invocation's result is there; the environment will be free in a moment.
    pub(super) fn settling(&mut self) {
        let function = self.function.clone();
        self.enter(&mut function.pool(), Stage::Settling);
    }

    /// An idle environment ends. False if it has been given a job in the meantime.
    pub(super) fn withdraw(&self) -> bool {
        let mut pool = self.function.pool();
        let place = pool.idle.iter().position(|idle| idle.id == self.id);
        place.map(|place| pool.idle.remove(place)).is_some()
    }

    /// Puts a job back that the environment can no longer run; it has waited longest.
    pub(super) fn put_back(&self, job: Job) {
        self.function.pool().waiting.push_front(job);
    }

    fn enter(&mut self, pool: &mut Pool, stage: Stage) {
        match self.stage {
            Stage::Starting => pool.starting -= 1,
            Stage::Settling => pool.settling -= 1,
            Stage::Idle | Stage::Running => {}
        }
        match stage {
            Stage::Settling => pool.settling += 1,
            Stage::Starting | Stage::Idle | Stage::Running => {}
        }
        self.stage = stage;
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        self.withdraw();
        let began = self.stage != Stage::Starting;
        let function = self.function.clone();
        let mut pool = function.pool();
        self.enter(&mut pool, Stage::Running);
        pool.environments -= 1;
        pool.ended += 1;
        let stopped = pool.stopped;
        drop(pool);
        // A provisioned environment that cannot even begin would be started without end.
        if self.provisioned && began && !stopped {
            function.start_environment(true);
        }
        function.scale_out();
    }
}
