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

use super::error::{Failure, FunctionError, InvokeError, timed_out};
use super::invocation::{Invocation, Job};
use super::log::Log;
use super::places::{Next, Place};
use super::platform_log::{InitReport, Line, Phase, Report, Status};
use super::process::{Doing, Launcher, Process, Setup};
use super::runtime_api::{ApiCall, ApiRequest, Responder, RuntimeState};

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
    let today = OffsetDateTime::now_utc().date();
    let (year, month, day) = (today.year(), u8::from(today.month()), today.day());
    let id = Uuid::new_v4().simple();
    let launcher = Launcher {
        log: Arc::new(Log::new(Arc::clone(&setup.log_file))),
        log_stream: format!("{year:04}/{month:02}/{day:02}/[$LATEST]{id}"),
        provisioned,
        tmp: None,
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
    tokio::select! {
        () = environment.run(ready) => {}
        _ = stop.wait_for(|stop| *stop) => {}
    }
    environment.kill().await;
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
    init: Option<InitReport>,
    /// CPU time that `REPORT` lines have reported.
    cpu_reported: Duration,
}

impl Environment {
    async fn run(&mut self, ready: oneshot::Sender<Result<(), InvokeError>>) {
        // Nobody listens except to provisioned concurrency.
        let _ = ready.send(self.begin().await);
        while let Some(job) = self.wait().await {
            self.serve(job).await;
        }
    }

    /// The init phase. If it fails, the first invocation repeats it.
    async fn begin(&mut self) -> Result<(), InvokeError> {
        let provisioned = self.launcher.provisioned;
        let timeout = self.launcher.setup.spec.timeout;
        let turn = self.turn().await;
        let started = Instant::now();
        let limit = if provisioned {
            PROVISIONED_INIT_LIMIT.max(timeout)
        } else {
            INIT_LIMIT
        };
        let result = match self.launch().await {
            Ok(()) => self.init(started + limit, turn).await,
            failed => failed,
        };
        let duration = started.elapsed();
        if let Err(failure) = result {
            self.fail_init(Phase::Init, duration, &failure).await;
            return Err(failure.error("", timeout));
        }
        let (cpu, _) = self.measure();
        self.init = Some(InitReport {
            duration,
            cpu,
            billed: !provisioned,
        });
        if provisioned {
            self.launcher.say(&Line::InitReport {
                duration,
                phase: Phase::Init,
                provisioned,
                status: None,
            });
        }
        Ok(())
    }

    /// Waits until a process may be started: few start at one time, and one that keeps failing
    /// starts after a pause.
    async fn turn(&self) -> Option<OwnedSemaphorePermit> {
        sleep(self.launcher.setup.pause()).await;
        self.launcher.setup.host.machine.turn().await
    }

    /// Starts the process.
    async fn launch(&mut self) -> Result<(), Failure> {
        let result = self.launcher.launch().await;
        if !matches!(result, Err(Failure::Host(_))) {
            let provisioned = self.launcher.provisioned;
            self.launcher.say(&Line::InitStart { provisioned });
        }
        self.cpu_reported = Duration::ZERO;
        self.process = Some(result?);
        Ok(())
    }

    /// Waits until the process asks for its first event.
    async fn init(
        &mut self,
        deadline: Instant,
        mut turn: Option<OwnedSemaphorePermit>,
    ) -> Result<(), Failure> {
        let turn_ends = Instant::now() + TURN;
        loop {
            let ApiCall { request, reply } = tokio::select! {
                biased;
                doing = does(&mut self.process) => match doing {
                    Doing::Calls(call) => call,
                    Doing::Exits(status) => return Err(Failure::exited(&status)),
                },
                () = sleep_until(deadline) => return Err(Failure::TimedOut),
                () = sleep_until(turn_ends), if turn.is_some() => {
                    turn = None;
                    continue;
                }
            };
            match request {
                ApiRequest::Next => {
                    if let Some(process) = &mut self.process {
                        process.settle();
                    }
                    self.next = Some(reply);
                    let failed_inits = &self.launcher.setup.failed_inits;
                    failed_inits.store(0, Ordering::Relaxed);
                    return Ok(());
                }
                ApiRequest::InitError {
                    error_type,
                    body: Ok(body),
                } => {
                    reply.accepted();
                    return Err(Failure::Init(FunctionError::reported(error_type, body)));
                }
                ApiRequest::InitError {
                    body: Err(reason), ..
                } => reply.bad_body(reason),
                request => ApiCall { request, reply }.refuse(RuntimeState::Started),
            }
        }
    }

    /// Ends an init phase that failed.
    async fn fail_init(&mut self, phase: Phase, duration: Duration, failure: &Failure) {
        let failed_inits = &self.launcher.setup.failed_inits;
        let before = failed_inits.fetch_add(1, Ordering::Relaxed);
        if let Failure::Host(why) = failure {
            // Hundreds of environments may fail for the same reason.
            if before == 0 {
                eprintln!("local: {why}");
            }
            return;
        }
        if let Failure::Init(error) = failure
            && self.process.is_none()
        {
            self.launcher.log.write(format!("{error}\n"));
        }
        self.kill().await;
        self.launcher.say(&Line::InitReport {
            duration,
            phase,
            provisioned: self.launcher.provisioned,
            status: Some(failure.status()),
        });
    }

    /// Waits for an invocation, frozen unless one is waiting already. `None` means the end.
    async fn wait(&mut self) -> Option<Job> {
        let mut jobs = match self.place.free() {
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
                    if let Some(process) = &mut self.process {
                        process.thaw();
                    }
                    self.place.running();
                    return job.ok();
                }
                doing = does(&mut self.process) => match doing {
                    Doing::Calls(call) => self.supersede(call),
                    Doing::Exits(_) => self.kill().await,
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
                if let Some(dropped) = self.next.replace(reply) {
                    dropped.invalid_state(RuntimeState::Ready, "Ready");
                }
            }
            call => call.refuse(RuntimeState::Ready),
        }
    }

    /// Runs one invocation, in a new process if there is none.
    async fn serve(&mut self, job: Job) {
        let timeout = self.launcher.setup.spec.timeout;
        let turn = match self.process {
            Some(_) => None,
            None => Some(self.turn().await),
        };
        self.launcher.log.start_tail();
        let mut invocation = Invocation::begin(job, timeout);
        let launched = match turn {
            Some(_) => self.launch().await,
            None => Ok(()),
        };
        if let Err(failure @ Failure::Host(_)) = &launched {
            let duration = invocation.started.elapsed();
            self.fail_init(Phase::Invoke, duration, failure).await;
            invocation.answer(Err(failure.error("", timeout)));
            return;
        }
        let request_id = &invocation.request_id;
        self.launcher.say(&Line::Start { request_id });
        let ready = match (launched, turn) {
            (Ok(()), Some(turn)) => self.init(invocation.deadline, turn).await,
            (launched, _) => launched,
        };
        let result = match ready {
            Ok(()) => self.converse(&mut invocation).await,
            Err(failure) => {
                let duration = invocation.started.elapsed();
                self.fail_init(Phase::Invoke, duration, &failure).await;
                Err(failure)
            }
        };
        match result {
            Ok(()) => {
                let used = self.report(&invocation, None);
                if used > self.memory() {
                    // The process grew too fast for the check. AWS would have killed it.
                    let message = "more memory used than MemorySize: the process is ended\n";
                    self.launcher.log.write(message);
                    self.kill().await;
                }
            }
            Err(failure) => self.fail(&mut invocation, &failure).await,
        }
        if let Some(log_tail) = invocation.log_tail.take() {
            let _ = log_tail.send(self.launcher.log.tail());
        }
    }

    /// Hands the event to the runtime, and the runtime's result to the caller, until the runtime
    /// asks for its next event.
    async fn converse(&mut self, invocation: &mut Invocation) -> Result<(), Failure> {
        let memory = self.memory();
        let host = &self.launcher.setup.host;
        let arn = format!(
            "arn:aws:lambda:{}:{}:function:{}",
            host.region, host.account_id, self.launcher.setup.spec.name
        );
        // The runtime's connection may have closed; its next request then gets the event.
        let next = self.next.take();
        let mut undelivered = next.is_none_or(|next| next.event(invocation, &arn).is_err());
        let mut memory_watch =
            tokio::time::interval_at(Instant::now() + MEMORY_WATCH, MEMORY_WATCH);
        loop {
            let ApiCall { request, reply } = tokio::select! {
                biased;
                doing = does(&mut self.process) => match doing {
                    Doing::Calls(call) => call,
                    Doing::Exits(status) => return Err(Failure::exited(&status)),
                },
                () = sleep_until(invocation.deadline) => return Err(Failure::TimedOut),
                _ = memory_watch.tick() => {
                    let process = self.process.as_mut();
                    if process.is_some_and(|it| it.usage().peak_memory > memory) {
                        return Err(Failure::out_of_memory());
                    }
                    continue;
                }
            };
            let ours = |id: &str| id == invocation.request_id && !invocation.is_answered();
            match request {
                ApiRequest::Next if invocation.is_answered() => {
                    self.next = Some(reply);
                    return Ok(());
                }
                ApiRequest::Next if undelivered => {
                    undelivered = reply.event(invocation, &arn).is_err();
                }
                ApiRequest::Response { request_id, body } if ours(&request_id) => {
                    self.place.settling();
                    match body {
                        Ok(body) => {
                            invocation.answer(Ok(body));
                            reply.accepted();
                        }
                        Err(reason) => {
                            let error = FunctionError::bad_response(reason);
                            invocation.answer(Err(InvokeError::FunctionError(error)));
                            reply.bad_body(reason);
                        }
                    }
                }
                ApiRequest::Error {
                    request_id,
                    error_type,
                    body,
                } if ours(&request_id) => {
                    let error = FunctionError::reported(error_type, body.unwrap_or_default());
                    self.place.settling();
                    invocation.answer(Err(InvokeError::FunctionError(error)));
                    reply.accepted();
                }
                request => {
                    let state = if invocation.is_answered() {
                        RuntimeState::InvocationResponseSent
                    } else {
                        RuntimeState::Running
                    };
                    ApiCall { request, reply }.refuse(state);
                }
            }
        }
    }

    /// Answers the caller, ends the process, and logs a failed invocation as Lambda does.
    async fn fail(&mut self, invocation: &mut Invocation, failure: &Failure) {
        let timeout = self.launcher.setup.spec.timeout;
        let error = failure.error(&invocation.request_id, timeout);
        let reason = match (failure, &error) {
            (Failure::TimedOut, _) => timed_out(timeout),
            (_, InvokeError::FunctionError(error)) => {
                format!("{}\n{}", error.message, error.error_type)
            }
            (_, error) => error.to_string(),
        };
        self.place.settling();
        invocation.answer(Err(error));
        if let Some(process) = &self.process {
            process.flush_output();
        }
        self.launcher.say(&Line::Failed {
            request_id: &invocation.request_id,
            status: failure.status(),
            reason,
        });
        self.report(invocation, Some(failure.status()));
        self.kill().await;
    }

    /// Writes the end of an invocation to the log, and returns the peak memory in bytes.
    fn report(&mut self, invocation: &Invocation, status: Option<Status>) -> u64 {
        let duration = invocation.started.elapsed();
        let (cpu, peak_memory) = self.measure();
        if let Some(process) = &self.process {
            process.flush_output();
        }
        let spec = &self.launcher.setup.spec;
        let report = Report {
            request_id: &invocation.request_id,
            duration: match status {
                Some(Status::Timeout) => spec.timeout,
                _ => duration,
            },
            init: self.init.take(),
            memory_size_mb: spec.memory_mb,
            max_memory_used: peak_memory,
            cpu,
            status,
        };
        self.launcher.say(&Line::Report(report));
        peak_memory
    }

    /// CPU time since the last call (unknown once the process is gone), and peak memory in bytes.
    fn measure(&mut self) -> (Option<Duration>, u64) {
        let Some(process) = &mut self.process else {
            return (None, 0);
        };
        let usage = process.usage();
        let cpu = usage.cpu.saturating_sub(self.cpu_reported);
        self.cpu_reported = usage.cpu;
        (
            Some(cpu).filter(|_| process.is_running()),
            usage.peak_memory,
        )
    }

    /// `MemorySize` in bytes.
    fn memory(&self) -> u64 {
        u64::from(self.launcher.setup.spec.memory_mb) * 1024 * 1024
    }

    async fn kill(&mut self) {
        self.next = None;
        self.init = None;
        if let Some(process) = self.process.take() {
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
