//! The execution environments that run now: whose they are, their processes, what they are doing, and
//! the CPU that they are entitled to. Each call to AWS names its environment by a session token.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::{Pid, getpgid};
use parking_lot::Mutex;

use crate::conditions::Share;
use crate::usage::{self, Usage};

/// All of them. Clones are the same.
#[derive(Debug, Clone, Default)]
pub struct Sandboxes(Arc<Mutex<Running>>);

#[derive(Debug, Default)]
struct Running {
    by_token: HashMap<String, Arc<Sandbox>>,
    /// How many each function has started.
    started: HashMap<String, u64>,
}

/// One environment with its processes, from their start to their end.
#[derive(Debug)]
pub(crate) struct Sandbox {
    /// The function's logical id.
    pub(crate) function: String,
    /// Its number among the environments of its function, from 1.
    pub(crate) number: u64,
    /// `<function>-<number>`: its name, and its `AWS_SESSION_TOKEN`, which SDKs send with each call.
    pub(crate) name: String,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    /// The process and the processes that it started before its init phase ended. A shell
    /// `bootstrap` without `exec` is thus signalled and measured as a whole.
    processes: Vec<Pid>,
    group: Option<Pid>,
    usage: Usage,
    share: Option<Share>,
    held: Duration,
    /// The invocation that it runs.
    request_id: Option<String>,
}

/// Lets others find an environment until this is dropped.
#[derive(Debug)]
pub(crate) struct Entered {
    sandbox: Arc<Sandbox>,
    all: Sandboxes,
}

impl Sandboxes {
    /// Registers a new environment.
    pub(crate) fn enter(&self, function: &str) -> Entered {
        let mut running = self.0.lock();
        let number = running.started.entry(function.to_owned()).or_default();
        *number += 1;
        let number = *number;
        let name = format!("{function}-{number}");
        let sandbox = Arc::new(Sandbox {
            function: function.to_owned(),
            number,
            name: name.clone(),
            state: Mutex::default(),
        });
        running.by_token.insert(name, Arc::clone(&sandbox));
        Entered {
            sandbox,
            all: self.clone(),
        }
    }

    /// The one that sends this session token, if it still runs.
    pub(crate) fn of_token(&self, token: &str) -> Option<Arc<Sandbox>> {
        self.0.lock().by_token.get(token).cloned()
    }
}

impl std::ops::Deref for Entered {
    type Target = Sandbox;

    fn deref(&self) -> &Sandbox {
        &self.sandbox
    }
}

impl Drop for Entered {
    fn drop(&mut self) {
        self.all.0.lock().by_token.remove(&self.sandbox.name);
    }
}

impl Sandbox {
    /// Its first process runs, in this group, with this share of a CPU.
    pub(crate) fn runs(&self, process: Pid, group: Pid, share: Option<Share>) {
        let mut state = self.state.lock();
        state.processes = vec![process];
        state.group = Some(group);
        state.share = share;
    }

    /// Its init phase is over: from now on it has these vCPUs.
    pub(crate) fn settles(&self, vcpus: f64) {
        let mut state = self.state.lock();
        if let Some(root) = state.processes.first() {
            state.processes = usage::process_tree(*root);
        }
        if let Some(share) = &mut state.share {
            share.set(vcpus);
        }
    }

    /// It begins or ends an invocation.
    pub(crate) fn works_on(&self, request_id: Option<&str>) {
        self.state.lock().request_id = request_id.map(str::to_owned);
    }

    pub(crate) fn request_id(&self) -> Option<String> {
        self.state.lock().request_id.clone()
    }

    /// The moment at which Lambda would have done the work that is done now: now, or later.
    pub(crate) fn done_at(&self) -> Instant {
        let now = Instant::now();
        let mut state = self.state.lock();
        if state.share.is_none() {
            return now;
        }
        let cpu = state.usage().cpu;
        let share = state.share.as_mut();
        let done = share.map_or(now, |share| share.advance(now, cpu));
        state.held += done.saturating_duration_since(now);
        done
    }

    /// How long it has waited for its share of a CPU since the last call of this.
    pub(crate) fn take_held(&self) -> Duration {
        std::mem::take(&mut self.state.lock().held)
    }

    /// The resources used so far; the last known values once it is gone.
    pub(crate) fn usage(&self) -> Usage {
        self.state.lock().usage()
    }

    /// Sends a signal to its processes, if they still run.
    pub(crate) fn signal(&self, signal: Signal) {
        let state = self.state.lock();
        for pid in &state.processes {
            // The id of a process that is gone may belong to a stranger now.
            if state.group.is_some() && getpgid(Some(*pid)).ok() == state.group {
                let _ = kill(*pid, signal);
            }
        }
    }

    /// Kills all its processes, those too that it started lately.
    pub(crate) fn kill(&self) {
        {
            let mut state = self.state.lock();
            let root = state.processes.first().copied();
            for pid in root.into_iter().flat_map(usage::process_tree) {
                if !state.processes.contains(&pid) {
                    state.processes.push(pid);
                }
            }
        }
        self.signal(Signal::SIGKILL);
    }
}

impl State {
    fn usage(&mut self) -> Usage {
        if let Some(usage) = usage::measure(&self.processes) {
            self.usage = usage;
        }
        self.usage
    }
}
