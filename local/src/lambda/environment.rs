//! The life of one execution environment: init, then invocations one after another. Between them it
//! is frozen. It ends when it was idle too long or its process ends.
//!
//! <https://docs.aws.amazon.com/lambda/latest/dg/lambda-runtime-environment.html>

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::HeaderValue;
use time::OffsetDateTime;
use tokio::sync::{oneshot, watch};
use tokio::time::{Instant, sleep_until};
use uuid::Uuid;

use super::Host;
use super::error::{FunctionError, InvokeError};
use super::failure::{Failure, bad_response, timed_out};
use super::invocation::{Caller, Invocation, Job};
use super::log::Log;
use super::pool::{Next, Slot};
use super::process::{Doing, Launcher, Process};
use super::report_line::{FailedInit, InitReport, Report, Status};
use super::runtime_api::{ApiRequest, Call, Event, Reply, RuntimeState};
use crate::template;

/// The limit of the init phase of an on-demand environment. After that, init runs again inside the
/// first invocation.
const INIT_LIMIT: Duration = Duration::from_secs(10);

/// The limit of the init phase of provisioned concurrency, unless the function's timeout is longer.
const PROVISIONED_INIT_LIMIT: Duration = Duration::from_secs(130);

/// How often memory is checked during an invocation: often enough to end a runaway before it hurts
/// the machine, too rarely to cost anything.
const MEMORY_WATCH: Duration = Duration::from_millis(100);

/// Runs an environment until its end.
pub(super) async fn live(
    (spec, host, log): (Arc<template::Function>, Host, Arc<Log>),
    slot: Slot,
    mut stop: watch::Receiver<bool>,
    ready: oneshot::Sender<Result<(), FunctionError>>,
) {
    let arn = format!(
        "arn:aws:lambda:{}:{}:function:{}",
        host.region, host.account_id, spec.name
    );
    let today = OffsetDateTime::now_utc().date();
    let log_stream = format!(
        "{:04}/{:02}/{:02}/[$LATEST]{}",
        today.year(),
        u8::from(today.month()),
        today.day(),
        Uuid::new_v4().simple()
    );
    let launcher = Launcher {
        spec,
        host,
        log,
        log_stream,
        provisioned: slot.provisioned,
    };
    let mut environment = Environment {
        launcher,
        slot,
        process: None,
        arn: HeaderValue::from_str(&arn).unwrap_or_else(|_| HeaderValue::from_static("")),
        init: None,
        cpu_reported: Duration::ZERO,
    };
    tokio::select! {
        () = environment.run(ready) => {}
        _ = stop.wait_for(|stop| *stop) => {}
    }
    environment.kill().await;
    environment.slot.leave();
    // Only now may `shutdown` count the environment as gone.
    drop(stop);
}

#[derive(Debug)]
struct Environment {
    launcher: Launcher,
    slot: Slot,
    process: Option<Process>,
    arn: HeaderValue,
    /// The init phase, until a `REPORT` line has reported it.
    init: Option<InitReport>,
    /// CPU time that `REPORT` lines have reported.
    cpu_reported: Duration,
}

impl Environment {
    async fn run(&mut self, ready: oneshot::Sender<Result<(), FunctionError>>) {
        let Some(mut next) = self.begin(ready).await else {
            return;
        };
        while let Some(job) = self.wait(&mut next).await {
            let invocation = self.announce(job.caller);
            let event = self.event(&invocation, job.trace_id, job.payload);
            match self.invoke(invocation, event, next).await {
                Some(reply) => next = reply,
                None => return,
            }
        }
    }

    /// Runs the init phase. If it fails, runs init again inside the first invocation.
    async fn begin(&mut self, ready: oneshot::Sender<Result<(), FunctionError>>) -> Option<Reply> {
        let started = Instant::now();
        let limit = if self.slot.provisioned {
            PROVISIONED_INIT_LIMIT.max(self.launcher.spec.timeout)
        } else {
            INIT_LIMIT
        };
        match self.init(started + limit).await {
            Ok(next) => {
                let (cpu, _) = self.measure();
                let billed = !self.slot.provisioned;
                self.init = Some(InitReport {
                    duration: started.elapsed(),
                    cpu,
                    billed,
                });
                let _ = ready.send(Ok(()));
                return Some(next);
            }
            Err(failure) => {
                self.report_failed_init(started, "init", &failure).await;
                let _ = ready.send(Err(failure.error("", self.launcher.spec.timeout)));
            }
        }
        let job = self.slot.take_waiting()?;
        let mut invocation = self.announce(job.caller);
        match self.init(invocation.deadline).await {
            Ok(next) => {
                let event = self.event(&invocation, job.trace_id, job.payload);
                self.invoke(invocation, event, next).await
            }
            Err(failure) => {
                self.report_failed_init(invocation.started, "invoke", &failure)
                    .await;
                self.fail(&mut invocation, &failure).await;
                None
            }
        }
    }

    /// Starts the process and waits until it asks for its first event.
    async fn init(&mut self, deadline: Instant) -> Result<Reply, Failure> {
        self.cpu_reported = Duration::ZERO;
        let process = self.launcher.launch().await.map_err(Failure::Init)?;
        let process = self.process.insert(process);
        loop {
            let Call { request, reply } = tokio::select! {
                biased;
                doing = process.does() => match doing {
                    Doing::Calls(call) => call,
                    Doing::Exits(status) => return Err(Failure::Exited(status)),
                },
                () = sleep_until(deadline) => return Err(Failure::TimedOut),
            };
            match request {
                ApiRequest::Next => {
                    process.settle();
                    return Ok(reply);
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
                request => Call { request, reply }.refuse(RuntimeState::Started),
            }
        }
    }

    /// Waits for an invocation, frozen unless one is waiting already. `None` means the end.
    async fn wait(&mut self, next: &mut Reply) -> Option<Job> {
        let mut jobs = match self.slot.next() {
            Next::Run(job) => return Some(job),
            Next::Wait(jobs) => jobs,
        };
        let process = self.process.as_mut()?;
        process.freeze();
        let idle_until = Instant::now() + self.launcher.host.idle_timeout;
        let exited = loop {
            tokio::select! {
                biased;
                job = &mut jobs => {
                    let job = job.ok()?;
                    process.thaw();
                    self.slot.running();
                    return Some(job);
                }
                doing = process.does() => match doing {
                    Doing::Calls(call) => supersede(next, call),
                    Doing::Exits(_) => break true,
                },
                () = sleep_until(idle_until), if !self.slot.provisioned => break false,
            }
        };
        if self.slot.withdraw() {
            return None;
        }
        // A job arrived at this very moment.
        let job = jobs.await.ok()?;
        if exited {
            self.slot.put_back(job);
            return None;
        }
        process.thaw();
        self.slot.running();
        Some(job)
    }

    /// Runs one invocation, and returns the runtime's request for the next event. `None` if the
    /// environment has ended.
    async fn invoke(
        &mut self,
        mut invocation: Invocation,
        event: Event,
        next: Reply,
    ) -> Option<Reply> {
        // The runtime's connection may have closed; its next request then gets the event.
        let mut undelivered = next.event(&event).is_err();
        let memory = u64::from(self.launcher.spec.memory_mb) * 1024 * 1024;
        let mut memory_watch =
            tokio::time::interval_at(Instant::now() + MEMORY_WATCH, MEMORY_WATCH);
        let process = self.process.as_mut()?;
        let ended = loop {
            let Call { request, reply } = tokio::select! {
                biased;
                doing = process.does() => match doing {
                    Doing::Calls(call) => call,
                    Doing::Exits(status) => break Err(Failure::Exited(status)),
                },
                () = sleep_until(invocation.deadline) => break Err(Failure::TimedOut),
                _ = memory_watch.tick() => {
                    if process.usage().peak_memory > memory {
                        break Err(Failure::OutOfMemory);
                    }
                    continue;
                }
            };
            let ours = |id: &str| id == invocation.request_id && invocation.caller.is_some();
            match request {
                ApiRequest::Next if invocation.caller.is_none() => break Ok(reply),
                ApiRequest::Next if undelivered => undelivered = reply.event(&event).is_err(),
                ApiRequest::Response { request_id, body } if ours(&request_id) => {
                    self.slot.settling();
                    match body {
                        Ok(body) => {
                            invocation.answer(Ok(body));
                            reply.accepted();
                        }
                        Err(reason) => {
                            let error = bad_response(reason);
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
                    self.slot.settling();
                    invocation.answer(Err(InvokeError::FunctionError(error)));
                    reply.accepted();
                }
                request => {
                    let state = match invocation.caller {
                        Some(_) => RuntimeState::Running,
                        None => RuntimeState::InvocationResponseSent,
                    };
                    Call { request, reply }.refuse(state);
                }
            }
        };
        match ended {
            Ok(next) => {
                let used = self.report(&invocation, None);
                if used > memory {
                    // The process grew too fast for the check. AWS would have killed it.
                    let message = "more memory used than MemorySize: the environment is ended";
                    self.launcher.log.write(format!("{message}\n"));
                    return None;
                }
                Some(next)
            }
            Err(failure) => {
                self.fail(&mut invocation, &failure).await;
                None
            }
        }
    }

    /// Writes the start of an invocation to the log.
    fn announce(&self, caller: Caller) -> Invocation {
        let invocation = Invocation::begin(caller, self.launcher.spec.timeout);
        let start = format!(
            "START RequestId: {} Version: $LATEST\n",
            invocation.request_id
        );
        self.launcher.log.write(start);
        invocation
    }

    fn event(&self, invocation: &Invocation, trace_id: HeaderValue, payload: Bytes) -> Event {
        Event {
            request_id: invocation.request_id.clone(),
            deadline_ms: invocation.deadline_ms,
            function_arn: self.arn.clone(),
            trace_id,
            payload,
        }
    }

    /// Answers the caller, ends the process, and logs a failed invocation as Lambda does.
    async fn fail(&mut self, invocation: &mut Invocation, failure: &Failure) {
        let timeout = self.launcher.spec.timeout;
        let error = failure.error(&invocation.request_id, timeout);
        invocation.answer(Err(match failure {
            Failure::TimedOut => InvokeError::TimedOut(error.clone()),
            _ => InvokeError::FunctionError(error.clone()),
        }));
        if let Some(process) = &self.process {
            process.flush_output();
        }
        let line = match failure {
            Failure::TimedOut => {
                let now = OffsetDateTime::now_utc();
                let (date, time) = (now.date(), now.time());
                let (hour, minute, second, milli) = time.as_hms_milli();
                format!(
                    "{date}T{hour:02}:{minute:02}:{second:02}.{milli:03}Z {} {}\n\n",
                    invocation.request_id,
                    timed_out(timeout)
                )
            }
            _ => format!("{}\n{}\n", error.message, error.error_type),
        };
        self.launcher.log.write(line);
        self.report(invocation, Some(failure.status()));
        self.kill().await;
    }

    /// Writes `END` and `REPORT`, and returns the peak memory in bytes.
    fn report(&mut self, invocation: &Invocation, status: Option<Status>) -> u64 {
        let duration = invocation.started.elapsed();
        let (cpu, peak_memory) = self.measure();
        if let Some(process) = &self.process {
            process.flush_output();
        }
        let report = Report {
            request_id: &invocation.request_id,
            duration: match status {
                Some(Status::Timeout) => self.launcher.spec.timeout,
                _ => duration,
            },
            init: self.init.take(),
            memory_size_mb: self.launcher.spec.memory_mb,
            max_memory_used: peak_memory,
            cpu,
            status,
        };
        self.launcher.log.write(report.to_string());
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

    async fn report_failed_init(
        &mut self,
        started: Instant,
        phase: &'static str,
        failure: &Failure,
    ) {
        let duration = started.elapsed();
        if let Failure::Init(error) = failure
            && self.process.is_none()
        {
            self.launcher.log.write(format!("{error}\n"));
        }
        self.kill().await;
        let report = FailedInit {
            duration,
            phase,
            status: failure.status(),
        };
        self.launcher.log.write(report.to_string());
    }

    async fn kill(&mut self) {
        if let Some(process) = self.process.take() {
            process.kill().await;
        }
    }
}

/// A runtime that asks again has dropped its earlier request.
fn supersede(next: &mut Reply, call: Call) {
    match call.request {
        ApiRequest::Next => {
            std::mem::replace(next, call.reply).invalid_state(RuntimeState::Ready, "Ready");
        }
        request => Call {
            request,
            reply: call.reply,
        }
        .refuse(RuntimeState::Ready),
    }
}
