//! Assigns invocations to execution environments.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::oneshot;

use super::code::Code;
use super::invocation::Job;

/// The places of a function's environments, shared by all of them.
#[derive(Debug, Default)]
pub(super) struct Places(Mutex<Occupied>);

/// Waiting invocations, or idle environments. There is never one of each.
#[derive(Debug, Default)]
pub(super) struct Occupied {
    pub(super) waiting: VecDeque<Job>,
    pub(super) idle: Vec<Idle>,
    /// All environments.
    pub(super) environments: usize,
    /// The environments in their init phase.
    pub(super) starting: usize,
    /// The environments that returned a result and have not asked for the next event yet.
    pub(super) settling: usize,
    /// The code that new environments run. An environment of older code takes no more invocations.
    pub(super) code: Code,
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

impl Places {
    pub(super) fn lock(&self) -> MutexGuard<'_, Occupied> {
        // No thread panics while holding it, and its content would be valid even then.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A place for an environment that is about to start.
    pub(super) fn enter(self: &Arc<Self>, occupied: &mut Occupied) -> Place {
        occupied.environments += 1;
        occupied.starting += 1;
        occupied.last_id += 1;
        Place {
            places: Arc::clone(self),
            id: occupied.last_id,
            code: occupied.code,
            stage: Stage::Starting,
            gone: None,
        }
    }
}

impl Occupied {
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

    /// Lets new environments run other code. The idle ones end; the others end when they are free.
    pub(super) fn replace_code(&mut self, code: Code) {
        self.code = code;
        self.idle.clear();
    }
}

/// The place of one environment, released when dropped.
#[derive(Debug)]
pub(super) struct Place {
    places: Arc<Places>,
    id: u64,
    code: Code,
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
    End,
}

impl Place {
    /// The environment is free.
    pub(super) fn free(&mut self) -> Next {
        let places = Arc::clone(&self.places);
        let mut occupied = places.lock();
        if self.code != occupied.code {
            return Next::End;
        }
        if let Some(job) = occupied.waiting.pop_front() {
            self.change(&mut occupied, Stage::Running);
            return Next::Run(job);
        }
        self.change(&mut occupied, Stage::Idle);
        let (job, wait) = oneshot::channel();
        let (ending, gone) = oneshot::channel();
        self.gone = Some(ending);
        occupied.idle.push(Idle {
            id: self.id,
            job,
            gone,
        });
        Next::Wait(wait)
    }

    /// The environment has received the job that it waited for.
    pub(super) fn running(&mut self) {
        let places = Arc::clone(&self.places);
        self.change(&mut places.lock(), Stage::Running);
    }

    /// The invocation's result is sent; the environment will be free in a moment.
    pub(super) fn settling(&mut self) {
        let places = Arc::clone(&self.places);
        self.change(&mut places.lock(), Stage::Settling);
    }

    /// Takes an idle environment out of service. False if it has received a job in the meantime.
    pub(super) fn withdraw(&self) -> bool {
        let mut occupied = self.places.lock();
        let at = occupied.idle.iter().position(|idle| idle.id == self.id);
        at.map(|at| occupied.idle.remove(at)).is_some()
    }

    fn change(&mut self, occupied: &mut Occupied, stage: Stage) {
        match self.stage {
            Stage::Starting => occupied.starting -= 1,
            Stage::Settling => occupied.settling -= 1,
            Stage::Idle | Stage::Running => {}
        }
        if stage == Stage::Settling {
            occupied.settling += 1;
        }
        self.stage = stage;
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.withdraw();
        let places = Arc::clone(&self.places);
        let mut occupied = places.lock();
        self.change(&mut occupied, Stage::Running);
        occupied.environments -= 1;
    }
}
