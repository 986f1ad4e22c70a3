//! Assigns invocations to execution environments.

use std::collections::VecDeque;
use std::sync::Arc;

use parking_lot::Mutex;
use tokio::sync::oneshot;

use super::code::Code;
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
    settling: usize,
    /// The code that new environments run. An environment of older code takes no more invocations.
    code: Code,
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
    pub(super) fn of(code: Code) -> Pool {
        Pool {
            code,
            ..Pool::default()
        }
    }

    /// Passes a job to an idle environment or queues it. True if an environment will soon be free
    /// for it, so that the caller should not start another one yet.
    pub(super) fn take(&mut self, job: Job) -> bool {
        let Some(job) = self.give(job) else {
            return false;
        };
        self.waiting.push_back(job);
        self.starting < self.waiting.len() && self.starting + self.settling >= self.waiting.len()
    }

    /// Passes a job to the environment that was used last, as AWS tends to. So those that are not
    /// needed stay idle long enough to end. Returns the job if no environment is idle.
    fn give(&mut self, mut job: Job) -> Option<Job> {
        while let Some(idle) = self.idle.pop() {
            match idle.job.send(job) {
                Ok(()) => return None,
                // It has just ended.
                Err(returned) => job = returned,
            }
        }
        Some(job)
    }

    /// Lets new environments run the present code. If it is another, the idle ones end, and the
    /// others when they are free.
    pub(super) fn use_code(&mut self, code: Code) {
        if self.code != code {
            self.code = code;
            self.idle.clear();
        }
    }
}

/// The place of one environment, released when dropped.
#[derive(Debug)]
pub(super) struct Place {
    pool: Arc<Mutex<Pool>>,
    id: u64,
    code: Code,
    stage: Stage,
    gone: Option<oneshot::Sender<()>>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Stage {
    Starting,
    Idle,
    Running,
    /// The invocation's result is sent; the environment will be free in a moment.
    Settling,
}

/// The next step of an environment that has become free.
#[derive(Debug)]
pub(super) enum Next {
    Run(Job),
    Wait(oneshot::Receiver<Job>),
    End,
}

impl Place {
    /// For an environment that is about to start.
    pub(super) fn new(shared: &Arc<Mutex<Pool>>, pool: &mut Pool) -> Place {
        pool.environments += 1;
        pool.starting += 1;
        pool.last_id += 1;
        Place {
            pool: Arc::clone(shared),
            id: pool.last_id,
            code: pool.code,
            stage: Stage::Starting,
            gone: None,
        }
    }

    /// The environment is free.
    pub(super) fn free(&mut self) -> Next {
        let shared = Arc::clone(&self.pool);
        let mut pool = shared.lock();
        if self.code != pool.code {
            return Next::End;
        }
        if let Some(job) = pool.waiting.pop_front() {
            self.change(&mut pool, Stage::Running);
            return Next::Run(job);
        }
        self.change(&mut pool, Stage::Idle);
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

    pub(super) fn enter(&mut self, stage: Stage) {
        let shared = Arc::clone(&self.pool);
        self.change(&mut shared.lock(), stage);
    }

    /// Takes an idle environment out of service. False if it has received a job in the meantime.
    pub(super) fn withdraw(&self) -> bool {
        let mut pool = self.pool.lock();
        let at = pool.idle.iter().position(|idle| idle.id == self.id);
        at.map(|at| pool.idle.remove(at)).is_some()
    }

    fn change(&mut self, pool: &mut Pool, stage: Stage) {
        match self.stage {
            Stage::Starting => pool.starting -= 1,
            Stage::Settling => pool.settling -= 1,
            Stage::Idle | Stage::Running => {}
        }
        if stage == Stage::Settling {
            pool.settling += 1;
        }
        self.stage = stage;
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.withdraw();
        let shared = Arc::clone(&self.pool);
        let mut pool = shared.lock();
        self.change(&mut pool, Stage::Running);
        pool.environments -= 1;
    }
}
