//! Keeps as many execution environments as a function's invocations need.

use std::sync::Arc;

use tokio::sync::{oneshot, watch};

use super::code::Code;
use super::environment;
use super::error::InvokeError;
use super::invocation::Job;
use super::places::{Occupied, Places};
use super::process::Setup;

/// The environments of one function. Clones are the same pool.
#[derive(Debug, Clone)]
pub(super) struct Pool {
    setup: Arc<Setup>,
    places: Arc<Places>,
    /// Becomes true once. Each environment holds a receiver until it is gone.
    stop: watch::Sender<bool>,
}

impl Pool {
    pub(super) fn new(setup: Arc<Setup>, code: Code) -> Pool {
        let places = Arc::new(Places::default());
        places.lock().code = code;
        Pool {
            setup,
            places,
            stop: watch::Sender::new(false),
        }
    }

    pub(super) fn places(&self) -> &Places {
        &self.places
    }

    /// Starts the provisioned concurrency, and waits until it is ready.
    pub(super) async fn start_provisioned(&self) -> Result<(), InvokeError> {
        let count = self.setup.spec.provisioned_concurrency;
        let start = |_| self.start_environment(&mut self.places.lock(), true);
        let starting: Vec<_> = (0..count).map(start).collect();
        for ready in starting {
            ready.await.unwrap_or(Err(InvokeError::Stopped))?;
        }
        Ok(())
    }

    /// Passes a job to an environment or queues it. True if the caller should first wait for an
    /// environment that will soon be free.
    pub(super) fn submit(&self, job: Job) -> bool {
        let code = Code::of(&self.setup.spec.code_dir.join("bootstrap"));
        let mut places = self.places.lock();
        if places.stopped {
            // A dropped job means that its caller gets no answer.
            return false;
        }
        if let Some(code) = code.filter(|code| *code != places.code) {
            places.replace_code(code);
        }
        let Some(job) = places.give(job) else {
            return false;
        };
        places.waiting.push_back(job);
        let settles = places.starting < places.waiting.len()
            && places.starting + places.settling >= places.waiting.len();
        if !settles {
            self.scale_out_if_needed(&mut places);
        }
        settles
    }

    /// Starts one environment if fewer are starting than invocations wait.
    pub(super) fn scale_out(&self) {
        self.scale_out_if_needed(&mut self.places.lock());
    }

    /// Ends all environments and waits until they are gone. Running invocations are cut off.
    pub(super) async fn shutdown(&self) {
        {
            let mut places = self.places.lock();
            places.stopped = true;
            places.waiting.clear();
        }
        self.stop.send_replace(true);
        self.stop.closed().await;
    }

    /// Resolves at shutdown.
    pub(super) async fn stopped(&self) {
        // It fails only if the pool is gone.
        let _ = self.stop.subscribe().wait_for(|stop| *stop).await;
    }

    /// The first free environment, new or not, takes the invocation that has waited longest. There
    /// are never more environments than the reserved concurrency.
    fn scale_out_if_needed(&self, places: &mut Occupied) {
        let reserved = self.setup.spec.reserved_concurrency;
        let limit = reserved.map_or(usize::MAX, |reserved| reserved as usize);
        let is_needed = places.starting < places.waiting.len() && places.environments < limit;
        if is_needed && !places.stopped {
            self.start_environment(places, false);
        }
    }

    /// Starts an environment; the receiver gets the result of its init phase.
    fn start_environment(
        &self,
        places: &mut Occupied,
        provisioned: bool,
    ) -> oneshot::Receiver<Result<(), InvokeError>> {
        let (ready, heard) = oneshot::channel();
        let place = self.places.enter(places);
        let life = environment::live(
            Arc::clone(&self.setup),
            provisioned,
            place,
            self.stop.subscribe(),
            ready,
        );
        let pool = self.clone();
        tokio::spawn(async move {
            life.await;
            pool.make_up(provisioned);
        });
        heard
    }

    /// An environment is gone; another may be needed in its place.
    fn make_up(&self, provisioned: bool) {
        let mut places = self.places.lock();
        if provisioned && !places.stopped {
            self.start_environment(&mut places, true);
        }
        self.scale_out_if_needed(&mut places);
    }
}
