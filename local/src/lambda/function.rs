//! A function as its callers see it, and how many environments it has.

use std::sync::Arc;
use std::sync::atomic::AtomicU32;
use std::time::Duration;

use bytes::Bytes;
use parking_lot::Mutex;
use serde::Serialize;
use tokio::sync::{OwnedSemaphorePermit, oneshot, watch};
use tokio::time::Instant;

use super::asynchronous::{self, MAX_EVENT};
use super::code::{self, Code};
use super::concurrency::Concurrency;
use super::error::InvokeError;
use super::invocation::{Caller, Job, Request};
use super::log::LogFile;
use super::pool::{Place, Pool};
use super::process::Setup;
use super::{Host, MAX_PAYLOAD, environment};
use crate::events::{self, Ended, Event, Limit};
use crate::template;

/// How long an invocation waits for an environment that has returned its result and will soon be
/// free. A runtime asks for its next event within a fraction of a millisecond. Without this wait, a
/// client that calls again at once would start a second environment each time.
const SETTLING: Duration = Duration::from_millis(5);

/// A Lambda function. Cheap to clone: all clones are the same function.
#[derive(Debug, Clone)]
pub struct Function {
    setup: Arc<Setup>,
    concurrency: Concurrency,
    pool: Arc<Mutex<Pool>>,
    /// Becomes true once. Each environment holds a receiver until it is gone.
    stop: watch::Sender<bool>,
}

/// The number of a function's execution environments.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Environments {
    /// All of them.
    pub environments: usize,
    /// In their init phase.
    pub starting: usize,
    /// Frozen, waiting for an invocation.
    pub idle: usize,
    /// Running an invocation.
    pub busy: usize,
}

impl Function {
    /// Checks that the function can be run, and starts its provisioned concurrency.
    ///
    /// # Errors
    /// If there is no executable `bootstrap`, the log cannot be written, the account has too little
    /// concurrency left, or a provisioned environment fails in its init phase.
    pub async fn start(mut spec: template::Function, host: Host) -> Result<Function, String> {
        let name = spec.logical_id.clone();
        let refuse = |what: String| format!("function {name}: {what}");
        let bootstrap = spec.code_dir.join("bootstrap");
        code::check(&name, &bootstrap)?;
        let absent = || refuse(format!("there is no {}", bootstrap.display()));
        // Environments run in the code's folder, where a relative path would mean another file.
        spec.code_dir = spec.code_dir.canonicalize().map_err(|_| absent())?;
        let code = Code::of(&bootstrap).ok_or_else(absent)?;
        let log = host.log_dir.join(format!("{name}.log"));
        let prefix = host.log_to_terminal.then(|| format!("{name} | "));
        let log_file = LogFile::create(&log, prefix)
            .map_err(|error| refuse(format!("cannot write the log {}: {error}", log.display())))?;
        let concurrency = host.concurrency.share(&spec).map_err(&refuse)?;
        let setup = Arc::new(Setup {
            spec,
            host,
            log_file: Arc::new(log_file),
            failed_inits: AtomicU32::new(0),
        });
        let function = Function {
            pool: Arc::new(Mutex::new(Pool::of(code))),
            setup,
            stop: watch::Sender::new(false),
            concurrency,
        };
        if let Err(error) = function.start_provisioned().await {
            function.shutdown().await;
            let what = format!("provisioned concurrency could not be started: {error}");
            return Err(refuse(what));
        }
        Ok(function)
    }

    async fn start_provisioned(&self) -> Result<(), InvokeError> {
        let start = |_| self.start_environment(&mut self.pool.lock(), true);
        let count = self.spec().provisioned_concurrency;
        let starting: Vec<_> = (0..count).map(start).collect();
        for ready in starting {
            ready.await.unwrap_or(Err(InvokeError::Stopped))?;
        }
        Ok(())
    }

    /// Runs the function once and returns its result, like `Invoke` with `RequestResponse`. An
    /// invocation that has begun runs to its end even if this future is dropped.
    ///
    /// # Errors
    /// See [`InvokeError`].
    pub async fn invoke(&self, request: Request) -> Result<Bytes, InvokeError> {
        self.run(request, None).await
    }

    /// The same, like `Invoke` with `LogType: Tail`: waits until the invocation's log is complete,
    /// and returns its last 4 KB too. They are empty if it did not begin.
    pub async fn invoke_with_log(&self, request: Request) -> (Result<Bytes, InvokeError>, Bytes) {
        let (sender, log_tail) = oneshot::channel();
        let result = self.run(request, Some(sender)).await;
        (result, log_tail.await.unwrap_or_default())
    }

    /// Runs the function in the background, like `Invoke` with `InvocationType: Event`: twice more
    /// if it fails, and for hours while it is throttled. All attempts have the same request id.
    ///
    /// # Errors
    /// If the event is larger than 1 MB, or the host is shutting down.
    pub fn invoke_later(&self, request: Request) -> Result<(), InvokeError> {
        if request.event.len() > MAX_EVENT {
            return Err(InvokeError::EventTooLarge);
        }
        if self.pool.lock().stopped {
            return Err(InvokeError::Stopped);
        }
        let function = self.clone();
        let mut stop = self.stop.subscribe();
        tokio::spawn(async move {
            tokio::select! {
                result = asynchronous::deliver(|| function.run(request.clone(), None)) => {
                    if let Err(error) = result {
                        let (id, name) = (&request.request_id, &function.spec().logical_id);
                        eprintln!("local: the event {id} of {name} is given up: {error}");
                    }
                }
                _ = stop.wait_for(|stop| *stop) => {}
            }
        });
        Ok(())
    }

    async fn run(
        &self,
        request: Request,
        log_tail: Option<oneshot::Sender<Bytes>>,
    ) -> Result<Bytes, InvokeError> {
        if request.event.len() > MAX_PAYLOAD {
            return Err(InvokeError::EventTooLarge);
        }
        let concurrency = match self.concurrency() {
            Ok(concurrency) => concurrency,
            Err(limit) => {
                self.log_throttle(request, limit);
                return Err(InvokeError::Throttled);
            }
        };
        let (reply, mut result) = oneshot::channel();
        let job = Job {
            request,
            called: Instant::now(),
            caller: Some(Caller { reply, concurrency }),
            log_tail,
        };
        if self.submit(job) {
            tokio::select! {
                biased;
                result = &mut result => return result.unwrap_or(Err(InvokeError::Stopped)),
                () = tokio::time::sleep(SETTLING) => self.scale_out(&mut self.pool.lock()),
            }
        }
        result.await.unwrap_or(Err(InvokeError::Stopped))
    }

    /// Concurrency for one invocation, or what throttles it: a limit, or else a fault.
    fn concurrency(&self) -> Result<OwnedSemaphorePermit, Option<Limit>> {
        let Setup { spec, host, .. } = &*self.setup;
        let struck = host.faults.throttles_invocation(&spec.logical_id);
        let acquired = self.concurrency.acquire().map_err(Some);
        if struck { Err(None) } else { acquired }
    }

    fn log_throttle(&self, request: Request, limit: Option<Limit>) {
        let Setup { spec, host, .. } = &*self.setup;
        host.log.add(Event::Invocation(Box::new(events::Invocation {
            function: spec.logical_id.clone(),
            request_id: request.request_id,
            source: request.source,
            memory_mb: spec.memory_mb,
            outcome: Ended::Throttled,
            limit,
            ..events::Invocation::default()
        })));
    }

    /// Passes a job to an environment or queues it. True if the caller should first wait for an
    /// environment that will soon be free.
    fn submit(&self, job: Job) -> bool {
        let code = Code::of(&self.spec().code_dir.join("bootstrap"));
        let mut pool = self.pool.lock();
        if pool.stopped {
            // A dropped job means that its caller gets no answer.
            return false;
        }
        if let Some(code) = code {
            pool.use_code(code);
        }
        let settles = pool.take(job);
        if !settles {
            self.scale_out(&mut pool);
        }
        settles
    }

    /// Starts one environment if fewer are starting than invocations wait. The first free
    /// environment, new or not, takes the invocation that has waited longest. There are never more
    /// environments than the reserved concurrency.
    fn scale_out(&self, pool: &mut Pool) {
        let reserved = self.spec().reserved_concurrency;
        let limit = reserved.map_or(usize::MAX, |reserved| reserved as usize);
        if !pool.stopped && pool.starting < pool.waiting.len() && pool.environments < limit {
            self.start_environment(pool, false);
        }
    }

    /// Starts an environment; the receiver gets the result of its init phase.
    fn start_environment(
        &self,
        pool: &mut Pool,
        provisioned: bool,
    ) -> oneshot::Receiver<Result<(), InvokeError>> {
        let (ready, heard) = oneshot::channel();
        let place = Place::new(&self.pool, pool);
        let (setup, stop) = (Arc::clone(&self.setup), self.stop.subscribe());
        let life = environment::live(setup, provisioned, place, stop, ready);
        let function = self.clone();
        tokio::spawn(async move {
            life.await;
            // Others may be needed in its place.
            let mut pool = function.pool.lock();
            if provisioned && !pool.stopped {
                function.start_environment(&mut pool, true);
            }
            function.scale_out(&mut pool);
        });
        heard
    }

    /// Ends all environments and waits until they are gone. Running invocations are cut off.
    pub async fn shutdown(&self) {
        {
            let mut pool = self.pool.lock();
            pool.stopped = true;
            pool.waiting.clear();
        }
        self.stop.send_replace(true);
        self.stop.closed().await;
    }

    /// Ends the idle environments, as AWS does after a while or after a deployment, and waits until
    /// they are gone. The next invocation is then a cold start.
    pub async fn reap(&self) {
        let idle = std::mem::take(&mut self.pool.lock().idle);
        // Dropping the sender of its invocations ends an environment.
        let ending: Vec<_> = idle.into_iter().map(|idle| idle.gone).collect();
        for gone in ending {
            // Nothing is ever sent: the other end is dropped.
            let _ = gone.await;
        }
    }

    /// Its execution environments at this moment.
    pub fn environments(&self) -> Environments {
        let pool = self.pool.lock();
        let (environments, starting, idle) = (pool.environments, pool.starting, pool.idle.len());
        Environments {
            environments,
            starting,
            idle,
            busy: environments.saturating_sub(starting + idle),
        }
    }

    /// Its properties in the template.
    pub fn spec(&self) -> &template::Function {
        &self.setup.spec
    }
}
