//! Faults on demand: the occasional failures of AWS, as often as a [`Plan`] says.
//!
//! There are none until a plan is set, and a plan may be replaced at any time. Each decision is a
//! function of the seed, the rule, the caller, the operation and the number of such calls before
//! it. So the tenth `PutItem` of a function has the same outcome in every run. Which request makes
//! the tenth call depends on how the machine schedules the callers.

mod plan;

use std::collections::{BTreeMap, HashMap};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use nix::sys::signal::{Signal, kill};
use nix::unistd::{Pid, getpgid};

pub(crate) use plan::Strike;
use plan::{DELIVERY, INVOCATION};
pub use plan::{Kind, Plan, PlanError, Rule};

/// The faults of one stack. Cheap to clone: all clones are the same.
#[derive(Debug, Clone, Default)]
pub struct Faults(Arc<Inner>);

#[derive(Debug, Default)]
struct Inner {
    /// Lets a stack without faults pay one atomic load for a call.
    on: AtomicBool,
    progress: Mutex<Progress>,
}

/// The plan, and the events that its decisions depend on.
#[derive(Debug, Default)]
struct Progress {
    plan: Arc<Plan>,
    /// Calls under the current plan, by caller and operation.
    calls: HashMap<(String, String), u64>,
    /// Faults that struck.
    struck: BTreeMap<Kind, u64>,
    /// Running execution environments, by session token.
    environments: HashMap<String, Environment>,
    /// How many environments each function has started.
    started: HashMap<String, u64>,
}

#[derive(Debug, Clone)]
struct Environment {
    function: String,
    /// Its number among the environments of its function, from 1.
    number: u64,
    /// Its first process and that process's group, once it runs.
    process: Option<(Pid, Pid)>,
}

impl Faults {
    /// The current plan.
    pub fn plan(&self) -> Plan {
        Plan::clone(&self.progress().plan)
    }

    /// Starts to follow another plan, from its first decision. The default plan has no faults.
    pub fn set(&self, plan: Plan) {
        let on = !plan.faults.is_empty();
        let mut progress = self.progress();
        progress.plan = Arc::new(plan);
        progress.calls.clear();
        self.0.on.store(on, Ordering::Relaxed);
    }

    /// How many faults struck, by kind, since the start or the last reset.
    pub fn struck(&self) -> BTreeMap<Kind, u64> {
        self.progress().struck.clone()
    }

    /// Counts from zero again.
    pub fn reset(&self) {
        self.progress().struck.clear();
    }

    /// The faults of one function's invocations and environments.
    pub fn of(&self, function: &str) -> FunctionFaults {
        FunctionFaults {
            faults: self.clone(),
            function: function.to_owned(),
        }
    }

    pub(crate) fn are_on(&self) -> bool {
        self.0.on.load(Ordering::Relaxed)
    }

    /// The faults of a plan that strike this call. `caller` is its access key id.
    pub(crate) fn strikes(&self, caller: &str, operation: &str) -> Vec<Strike> {
        if !self.are_on() {
            return Vec::new();
        }
        let (plan, number) = {
            let mut progress = self.progress();
            let key = (caller.to_owned(), operation.to_owned());
            let number = progress.calls.entry(key).or_default();
            *number += 1;
            let number = *number;
            (progress.plan.clone(), number)
        };
        plan.strikes(caller, operation, number)
    }

    fn strike(&self, caller: &str, operation: &str, kind: Kind) -> Option<Strike> {
        let mut strikes = self.strikes(caller, operation).into_iter();
        let strike = strikes.find(|strike| strike.kind == kind)?;
        self.count(kind);
        Some(strike)
    }

    /// Counts a fault that struck.
    pub(crate) fn count(&self, kind: Kind) {
        *self.progress().struck.entry(kind).or_default() += 1;
    }

    /// The faults that strike an environment for its whole life.
    pub(crate) fn strikes_for_life(&self, token: &str) -> Vec<Strike> {
        let progress = self.progress();
        let Some(environment) = progress.environments.get(token).filter(|_| self.are_on()) else {
            return Vec::new();
        };
        let Environment {
            function, number, ..
        } = environment;
        progress.plan.strikes(function, "environment", *number)
    }

    pub(crate) fn is_environment(&self, token: &str) -> bool {
        self.progress().environments.contains_key(token)
    }

    /// Sends a signal to an environment, if it still runs.
    pub(crate) fn signal(&self, token: &str, signal: Signal) {
        let environment = self.progress().environments.get(token).cloned();
        // The id of a process that is gone may belong to a stranger now.
        if let Some((pid, group)) = environment.and_then(|it| it.process)
            && getpgid(Some(pid)) == Ok(group)
        {
            let _ = kill(pid, signal);
        }
    }

    fn progress(&self) -> MutexGuard<'_, Progress> {
        // Every change is one step, so it is valid even if a thread panicked while holding it.
        self.0
            .progress
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }
}

/// The faults of one function's invocations and environments.
#[derive(Debug, Clone)]
pub struct FunctionFaults {
    faults: Faults,
    function: String,
}

/// How a message is delivered twice.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Duplicate {
    /// It is received twice.
    AtOnce,
    /// Its deletion is lost, and it becomes visible again.
    NotDeleted,
}

impl FunctionFaults {
    /// Whether the next invocation is refused for lack of concurrency.
    pub(crate) fn throttles_invocation(&self) -> bool {
        let kind = Kind::ThrottledInvocation;
        let strike = self.faults.strike(&self.function, INVOCATION, kind);
        strike.is_some()
    }

    /// Whether the next message received for the function is delivered twice.
    pub(crate) fn duplicates_delivery(&self) -> Option<Duplicate> {
        let kind = Kind::DuplicateDelivery;
        let mut strike = self.faults.strike(&self.function, DELIVERY, kind)?;
        let at_once = strike.random.bool();
        Some(if at_once {
            Duplicate::AtOnce
        } else {
            Duplicate::NotDeleted
        })
    }

    /// Registers a new environment under a new session token.
    pub(crate) fn environment(&self) -> KnownEnvironment {
        let mut progress = self.faults.progress();
        let number = progress.started.entry(self.function.clone()).or_default();
        *number += 1;
        let number = *number;
        let token = format!("{}-{number}", self.function);
        let environment = Environment {
            function: self.function.clone(),
            number,
            process: None,
        };
        progress.environments.insert(token.clone(), environment);
        KnownEnvironment {
            faults: self.faults.clone(),
            token,
        }
    }
}

/// An execution environment that faults can strike until this is dropped.
#[derive(Debug)]
pub(crate) struct KnownEnvironment {
    faults: Faults,
    token: String,
}

impl KnownEnvironment {
    /// For `AWS_SESSION_TOKEN`. SDKs send it with each call, so each call names its environment.
    pub(crate) fn session_token(&self) -> &str {
        &self.token
    }

    /// Sets the environment's first process. To receive a signal it must be in this group.
    pub(crate) fn runs(&self, process: Pid, group: Pid) {
        let mut progress = self.faults.progress();
        if let Some(environment) = progress.environments.get_mut(&self.token) {
            environment.process = Some((process, group));
        }
    }
}

impl Drop for KnownEnvironment {
    fn drop(&mut self) {
        self.faults.progress().environments.remove(&self.token);
    }
}
