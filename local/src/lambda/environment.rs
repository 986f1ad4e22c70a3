//! The life of one execution environment: init, then invocations one after another. Between them it
//! is frozen. Its process may end before it: then the next invocation starts another one, and that
//! init is a part of the invocation, as on AWS. The environment ends when it was idle too long or
//! its code was built anew.
//!
//! <https://docs.aws.amazon.com/lambda/latest/dg/lambda-runtime-environment.html>

use std::future::pending;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use time::OffsetDateTime;
use tokio::sync::{OwnedSemaphorePermit, oneshot, watch};
use tokio::time::{Instant, sleep, sleep_until};
use uuid::Uuid;

use super::error::{FunctionError, InvokeError, TIMED_OUT};
use super::invocation::{Invocation, Job};
use super::log::Log;
use super::platform_log::Entry;
use super::pool::{Next, Place, Stage};
use super::process::{Doing, Launcher, Process, Setup};
use super::runtime_api::{ApiCall, ApiRequest, Responder, accepted};
use crate::aws_json::{ACCOUNT, REGION};
use crate::conditions::wait_until;
use crate::events::{self, Change, Ended, Event, Init};

/// The limit of the init phase of an on-demand environment. After that, init runs again inside the
/// first invocation.
const INIT_LIMIT: Duration = Duration::from_secs(10);

/// The limit of the init phase of provisioned concurrency, unless the function's timeout is longer.
const PROVISIONED_INIT_LIMIT: Duration = Duration::from_secs(130);

/// How long a start counts as one of the few at one time. A longer init mostly waits, and would
/// hold up the others.
const TURN: Duration = Duration::from_secs(1);

/// How often memory is checked during an invocation: often enough to end a runaway before it hurts
/// the machine, too rarely to cost anything.
const MEMORY_WATCH: Duration = Duration::from_millis(100);

/// Runs an environment until its end. `ready` gets the result of its init phase.
pub(super) async fn live(
    setup: Arc<Setup>,
    provisioned: bool,
    place: Place,
    mut stop: watch::Receiver<bool>,
    ready: oneshot::Sender<Result<(), InvokeError>>,
) {
    let today = OffsetDateTime::now_utc().date().to_string();
    let id = Uuid::new_v4().simple();
    let launcher = Launcher {
        log: Arc::new(Log::new(Arc::clone(&setup.log_file))),
        log_stream: format!("{}/[$LATEST]{id}", today.replace('-', "/")),
        provisioned,
        suppressed: false,
        tmp: setup.host.machine.tmp.folder(&setup.spec.code_dir),
        setup,
    };
    let mut environment = Environment {
        launcher,
        place,
        process: None,
        next: None,
        init: None,
        cpu_reported: Duration::ZERO,
    };
    let (change, why) = tokio::select! {
        () = environment.run(ready) => (Change::Reaped, None),
        _ = stop.wait_for(|stop| *stop) => (Change::Killed, Some("the host stops".to_owned())),
    };
    environment.kill(change, why).await;
    drop(environment);
    // Only now may a shutdown count the environment as gone.
    drop(stop);
}

#[derive(Debug)]
struct Environment {
    launcher: Launcher,
    place: Place,
    /// `None` after a crash or a timeout, until the next invocation.
    process: Option<Process>,
    /// The runtime's request for its next event, while none is running.
    next: Option<Responder>,
    /// The init phase, until a `REPORT` line has reported it.
    init: Option<Init>,
    /// CPU time that `REPORT` lines have reported.
    cpu_reported: Duration,
}

impl Environment {
    async fn run(&mut self, ready: oneshot::Sender<Result<(), InvokeError>>) {
        let begun = self.begin().await;
        let mut next = self.place.free();
        // Nobody listens except to provisioned concurrency, which is idle then.
        let _ = ready.send(begun);
        while let Some(job) = self.wait(next).await {
            self.serve(job).await;
            next = self.place.free();
        }
    }

    /// The init phase. If it fails, the first invocation repeats it.
    async fn begin(&mut self) -> Result<(), InvokeError> {
        let provisioned = self.launcher.provisioned;
        let asked = Instant::now();
        let Setup { spec, host, .. } = &*self.launcher.setup;
        let platform = host.conditions.platform(&spec.logical_id);
        let limit = if provisioned {
            PROVISIONED_INIT_LIMIT.max(spec.timeout)
        } else {
            INIT_LIMIT
        };
        let turn = self.turn().await;
        let started = Instant::now();
        let result = match self.launch().await {
            Ok(()) => self.init("", started + limit, turn).await,
            failed => failed,
        };
        self.launcher.suppressed = true;
        // As long as the work takes on Lambda.
        let duration = self.done_at().saturating_duration_since(started);
        if let Err(error) = result {
            self.fail_init("init", duration, &error).await;
            return Err(error);
        }
        // The platform's part comes first. This host's own part of a start is within it.
        let ready = started.max(asked + platform) + duration;
        wait_until(ready.into_std()).await;
        let (cpu, _) = self.measure();
        self.init = Some(Init {
            duration,
            cpu: cpu.unwrap_or_default(),
            platform,
        });
        if let Some(process) = &self.process {
            process.note(Change::Ready, None, self.init);
        }
        if provisioned {
            let report = Entry::init_report(duration, "init", provisioned, None);
            self.launcher.say(report);
        }
        Ok(())
    }

    /// When the work done so far would be done on Lambda.
    fn done_at(&self) -> Instant {
        let process = self.process.as_ref();
        process.map_or_else(Instant::now, |it| it.sandbox.done_at().into())
    }

    /// Waits until a process may be started: few start at one time, and one that keeps failing
    /// starts after a pause.
    async fn turn(&self) -> Option<OwnedSemaphorePermit> {
        sleep(self.launcher.setup.pause()).await;
        self.launcher.setup.host.machine.turn().await
    }

    async fn launch(&mut self) -> Result<(), InvokeError> {
        self.process = Some(self.launcher.launch().await?);
        self.cpu_reported = Duration::ZERO;
        Ok(())
    }

    /// Waits until the process asks for its first event.
    async fn init(
        &mut self,
        request_id: &str,
        deadline: Instant,
        mut turn: Option<OwnedSemaphorePermit>,
    ) -> Result<(), InvokeError> {
        let turn_ends = Instant::now() + TURN;
        loop {
            let ApiCall { request, reply } = tokio::select! {
                biased;
                call = self.call(request_id, deadline) => call?,
                () = sleep_until(turn_ends), if turn.is_some() => {
                    turn = None;
                    continue;
                }
            };
            match request {
                ApiRequest::Next => {
                    let Setup { spec, host, .. } = &*self.launcher.setup;
                    // Work of the init phase is done before the share changes.
                    if self.done_at() >= deadline {
                        sleep_until(deadline).await;
                        return Err(self.timed_out(request_id));
                    }
                    if let Some(process) = &self.process {
                        process
                            .sandbox
                            .settles(host.conditions.vcpus(spec.memory_mb));
                    }
                    self.next = Some(reply);
                    let failed_inits = &self.launcher.setup.failed_inits;
                    failed_inits.store(0, Ordering::Relaxed);
                    return Ok(());
                }
                ApiRequest::InitError(error) => {
                    reply.send(accepted());
                    return Err(error.into());
                }
                request => ApiCall { request, reply }.refuse("Started"),
            }
        }
    }

    /// Ends an init phase that failed.
    async fn fail_init(&mut self, phase: &str, duration: Duration, error: &InvokeError) {
        let failed_inits = &self.launcher.setup.failed_inits;
        let before = failed_inits.fetch_add(1, Ordering::Relaxed);
        let InvokeError::FunctionError(error) = error else {
            // Hundreds of environments may fail for the same reason.
            if before == 0 {
                eprintln!("local: {error}");
            }
            return;
        };
        if self.process.is_none() {
            self.launcher.log.write(format!("{error}\n"));
        }
        self.kill(Change::InitFailed, Some(error.to_string())).await;
        let provisioned = self.launcher.provisioned;
        let report = Entry::init_report(duration, phase, provisioned, Some(error));
        self.launcher.say(report);
    }

    /// Waits for an invocation, frozen unless one is waiting already. `None` means the end.
    async fn wait(&mut self, next: Next) -> Option<Job> {
        let mut jobs = match next {
            Next::Run(job) => return Some(job),
            Next::Wait(jobs) => jobs,
            Next::End => return None,
        };
        if let Some(process) = &mut self.process {
            process.freeze();
        }
        let idle_until = Instant::now() + self.launcher.setup.host.idle_timeout;
        loop {
            tokio::select! {
                biased;
                job = &mut jobs => {
                    let job = job.ok()?;
                    if let Some(process) = &mut self.process {
                        process.thaw();
                    }
                    self.place.enter(Stage::Running);
                    return Some(job);
                }
                doing = does(&mut self.process) => match doing {
                    Doing::Calls(call) => self.supersede(call),
                    Doing::Exits(status) => {
                        let why = FunctionError::exited("", &status).message;
                        self.kill(Change::Killed, Some(why)).await;
                    }
                },
                () = sleep_until(idle_until), if !self.launcher.provisioned => {
                    // Otherwise an invocation has arrived at this very moment.
                    if self.place.withdraw() {
                        return None;
                    }
                }
            }
        }
    }

    /// A runtime that asks again has dropped its earlier request.
    fn supersede(&mut self, call: ApiCall) {
        match call {
            ApiCall {
                request: ApiRequest::Next,
                reply,
            } => {
                let request = ApiRequest::Next;
                if let Some(reply) = self.next.replace(reply) {
                    ApiCall { request, reply }.refuse("Ready");
                }
            }
            call => call.refuse("Ready"),
        }
    }

    /// Runs one invocation, in a new process if there is none.
    async fn serve(&mut self, job: Job) {
        let turn = match self.process {
            Some(_) => None,
            None => Some(self.turn().await),
        };
        self.launcher.log.start_tail();
        let mut invocation = Invocation::begin(job, self.launcher.setup.spec.timeout);
        let request_id = invocation.job.request.request_id.clone();
        let launched = match turn {
            Some(_) => self.launch().await,
            None => Ok(()),
        };
        if let Err(error @ InvokeError::Service(_)) = launched {
            self.fail_init("invoke", Duration::ZERO, &error).await;
            invocation.answer(Err(error));
            return;
        }
        self.launcher.say(Entry::start(&request_id));
        if let Some(process) = &self.process {
            // From now on its work is this invocation's.
            process.sandbox.done_at();
            process.sandbox.take_held();
            process.sandbox.works_on(Some(&request_id));
        }
        let ready = match (launched, turn) {
            (Ok(()), Some(turn)) => self.init(&request_id, invocation.deadline, turn).await,
            (launched, _) => launched,
        };
        if let Err(error) = &ready {
            let duration = invocation.started.elapsed();
            self.fail_init("invoke", duration, error).await;
        }
        let result = match ready {
            Ok(()) => self.converse(&mut invocation).await,
            failed => failed,
        };
        match result {
            Err(InvokeError::FunctionError(error)) => self.fail(&mut invocation, error).await,
            _ => {
                let used = self.report(&invocation, None);
                if used > self.memory() {
                    // The process grew too fast for the check. AWS would have killed it.
                    let message = "more memory used than MemorySize: the process is ended";
                    self.launcher.log.write(format!("{message}\n"));
                    self.kill(Change::Killed, Some(message.to_owned())).await;
                }
            }
        }
        if let Some(process) = &self.process {
            process.sandbox.works_on(None);
        }
        if let Some(log_tail) = invocation.job.log_tail.take() {
            let _ = log_tail.send(self.launcher.log.tail());
        }
    }

    /// The process's next request, unless it ends first or takes too long.
    async fn call(&mut self, request_id: &str, deadline: Instant) -> Result<ApiCall, InvokeError> {
        tokio::select! {
            biased;
            doing = does(&mut self.process) => match doing {
                Doing::Calls(call) => Ok(call),
                Doing::Exits(status) => Err(FunctionError::exited(request_id, &status).into()),
            },
            () = sleep_until(deadline) => Err(self.timed_out(request_id)),
        }
    }

    fn timed_out(&self, request_id: &str) -> InvokeError {
        FunctionError::timed_out(request_id, self.launcher.setup.spec.timeout).into()
    }

    /// Hands the event to the runtime, and the runtime's result to the caller, until the runtime
    /// asks for its next event.
    async fn converse(&mut self, invocation: &mut Invocation) -> Result<(), InvokeError> {
        let request_id = invocation.job.request.request_id.clone();
        let memory = self.memory();
        let name = &self.launcher.setup.spec.name;
        let arn = format!("arn:aws:lambda:{REGION}:{ACCOUNT}:function:{name}");
        // The runtime's connection may have closed; its next request then gets the event.
        let next = self.next.take();
        let mut undelivered = next.is_none_or(|next| next.event(invocation, &arn).is_err());
        let mut memory_watch =
            tokio::time::interval_at(Instant::now() + MEMORY_WATCH, MEMORY_WATCH);
        loop {
            let ApiCall { request, reply } = tokio::select! {
                biased;
                call = self.call(&request_id, invocation.deadline) => call?,
                _ = memory_watch.tick() => {
                    let process = self.process.as_ref();
                    if process.is_some_and(|it| it.sandbox.usage().peak_memory > memory) {
                        return Err(FunctionError::out_of_memory(&request_id).into());
                    }
                    continue;
                }
            };
            match request {
                ApiRequest::Next if invocation.is_answered() => {
                    // Work after the answer keeps the environment busy too.
                    wait_until(self.done_at().into_std()).await;
                    self.next = Some(reply);
                    return Ok(());
                }
                ApiRequest::Next if undelivered => {
                    undelivered = reply.event(invocation, &arn).is_err();
                }
                ApiRequest::Result {
                    request_id: id,
                    result,
                    answer,
                } if id == request_id && !invocation.is_answered() => {
                    let done = self.done_at();
                    wait_until(done.min(invocation.deadline).into_std()).await;
                    if done >= invocation.deadline {
                        return Err(self.timed_out(&request_id));
                    }
                    self.place.enter(Stage::Settling);
                    invocation.error = result.as_ref().err().map(|it| it.error_type.clone());
                    invocation.answer(result.map_err(InvokeError::from));
                    reply.send(*answer);
                }
                request => {
                    let state = if invocation.is_answered() {
                        "InvocationResponseSent"
                    } else {
                        "Running"
                    };
                    ApiCall { request, reply }.refuse(state);
                }
            }
        }
    }

    /// Answers the caller, ends the process, and logs a failed invocation as Lambda does.
    async fn fail(&mut self, invocation: &mut Invocation, error: FunctionError) {
        self.place.enter(Stage::Settling);
        invocation.answer(Err(error.clone().into()));
        if let Some(process) = &self.process {
            process.output.flush();
        }
        let failed = Entry::failed(&invocation.job.request.request_id, &error);
        self.launcher.say(failed);
        self.report(invocation, Some(&error));
        let change = if error.error_type == TIMED_OUT {
            Change::TimedOut
        } else {
            Change::Killed
        };
        self.kill(change, Some(error.message)).await;
    }

    /// Writes the end of an invocation to the logs, and returns the peak memory in bytes.
    fn report(&mut self, invocation: &Invocation, error: Option<&FunctionError>) -> u64 {
        let elapsed = invocation.started.elapsed();
        let (cpu, peak_memory) = self.measure();
        let log_bytes = self.process.as_ref().map_or(0, |process| {
            process.output.flush();
            process.output.take_printed()
        });
        let Setup { spec, host, .. } = &*self.launcher.setup;
        let timed_out = error.is_some_and(|it| it.error_type == TIMED_OUT);
        let duration = if timed_out { spec.timeout } else { elapsed };
        let request = &invocation.job.request;
        let error_type = error.map(|it| it.error_type.clone());
        let error_type = error_type.or_else(|| invocation.error.clone());
        let sandbox = self.process.as_ref().map(|it| &it.sandbox);
        let ended = events::Invocation {
            function: spec.logical_id.clone(),
            environment: sandbox.map(|it| it.name.clone()),
            request_id: request.request_id.clone(),
            source: request.source.clone(),
            cold: self.init.is_some(),
            init: self.init.take(),
            queued: invocation.started - invocation.job.called,
            duration,
            cpu,
            held: sandbox.map_or(Duration::ZERO, |it| it.take_held()),
            memory_mb: spec.memory_mb,
            peak_memory,
            log_bytes,
            outcome: match error_type {
                _ if timed_out => Ended::Timeout,
                Some(_) => Ended::Error,
                None => Ended::Success,
            },
            limit: None,
            error: error_type,
        };
        let report = Entry::report(&ended, self.launcher.provisioned, error);
        host.log.add(Event::Invocation(Box::new(ended)));
        self.launcher.say(report);
        peak_memory
    }

    /// CPU time since the last call (unknown once the process is gone), and peak memory in bytes.
    fn measure(&mut self) -> (Option<Duration>, u64) {
        let Some(process) = &self.process else {
            return (None, 0);
        };
        let usage = process.sandbox.usage();
        let cpu = usage.cpu.saturating_sub(self.cpu_reported);
        self.cpu_reported = usage.cpu;
        (
            Some(cpu).filter(|_| process.child.id().is_some()),
            usage.peak_memory,
        )
    }

    /// `MemorySize` in bytes.
    fn memory(&self) -> u64 {
        u64::from(self.launcher.setup.spec.memory_mb) * 1024 * 1024
    }

    async fn kill(&mut self, change: Change, why: Option<String>) {
        self.next = None;
        self.init = None;
        if let Some(process) = self.process.take() {
            process.note(change, why, None);
            process.kill().await;
        }
    }
}

/// The next thing that the process does, if there is one.
async fn does(process: &mut Option<Process>) -> Doing {
    match process {
        Some(process) => process.does().await,
        None => pending().await,
    }
}
