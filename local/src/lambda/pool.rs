//! Assigns invocations to execution environments.

use std::collections::VecDeque;

use tokio::sync::oneshot;

use super::function::Function;
use super::invocation::Job;

/// Waiting invocations, or idle environments. There is never one of each.
#[derive(Debug, Default)]
pub(super) struct Pool {
    pub(super) waiting: VecDeque<Job>,
    pub(super) idle: Vec<Idle>,
    /// All environments.
    pub(super) environments: usize,
    /// The environments in their init phase.
    pub(super) starting: usize,
    /// The environments that returned a result and have not asked for the next event yet.
    pub(super) settling: usize,
    last_id: u64,
    pub(super) stopped: bool,
}

/// An environment that waits for an invocation.
#[derive(Debug)]
pub(super) struct Idle {
    id: u64,
    job: oneshot::Sender<Job>,
    /// Its other end is dropped with the environment.
    pub(super) gone: oneshot::Receiver<()>,
}

impl Pool {
    /// Passes a job to the environment that was used last, as AWS tends to. So those that are not
    /// needed stay idle long enough to end. Returns the job if no environment is idle.
    pub(super) fn give(&mut self, mut job: Job) -> Option<Job> {
        while let Some(idle) = self.idle.pop() {
            match idle.job.send(job) {
                Ok(()) => return None,
                // It has just ended.
                Err(returned) => job = returned,
            }
        }
        Some(job)
    }
}

/// An environment's place in its function's pool, released when dropped.
#[derive(Debug)]
pub(super) struct Slot {
    function: Function,
    id: u64,
    pub(super) provisioned: bool,
    stage: Stage,
    gone: Option<oneshot::Sender<()>>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stage {
    Starting,
    Idle,
    Running,
    Settling,
}

/// The next step of an environment that has become free.
#[derive(Debug)]
pub(super) enum Next {
    Run(Job),
    Wait(oneshot::Receiver<Job>),
}

impl Slot {
    /// A place for an environment that is about to start.
    pub(super) fn new(function: Function, pool: &mut Pool, provisioned: bool) -> Slot {
        pool.environments += 1;
        pool.starting += 1;
        pool.last_id += 1;
        Slot {
            function,
            id: pool.last_id,
            provisioned,
            stage: Stage::Starting,
            gone: None,
        }
    }

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
        let (ending, gone) = oneshot::channel();
        self.gone = Some(ending);
        pool.idle.push(Idle {
            id: self.id,
            job,
            gone,
        });
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

    /// The environment has received the job that it waited for.
    pub(super) fn running(&mut self) {
        let function = self.function.clone();
        self.enter(&mut function.pool(), Stage::Running);
    }

    /// The invocation's result is sent; the environment will be free in a moment.
    pub(super) fn settling(&mut self) {
        let function = self.function.clone();
        self.enter(&mut function.pool(), Stage::Settling);
    }

    /// Ends an idle environment. False if it has received a job in the meantime.
    pub(super) fn withdraw(&self) -> bool {
        let mut pool = self.function.pool();
        let place = pool.idle.iter().position(|idle| idle.id == self.id);
        place.map(|place| pool.idle.remove(place)).is_some()
    }

    /// Returns a job that the environment can no longer run. It goes first, as it has waited
    /// longest.
    pub(super) fn put_back(&self, job: Job) {
        self.function.pool().waiting.push_front(job);
    }

    /// The environment is gone, and others may be needed in its place. This is not called on drop,
    /// because then the whole runtime is being dropped.
    pub(super) fn leave(self) {
        let function = self.function.clone();
        // A provisioned environment that fails to start would otherwise be restarted without end.
        let replace = self.provisioned && self.stage != Stage::Starting;
        drop(self);
        let mut pool = function.pool();
        if replace && !pool.stopped {
            function.start_environment(&mut pool, true);
        }
        function.scale_out(&mut pool);
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
        let function = self.function.clone();
        let mut pool = function.pool();
        self.enter(&mut pool, Stage::Running);
        pool.environments -= 1;
    }
}
