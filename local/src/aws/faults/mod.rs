//! Faults on demand: the occasional failures of AWS, as often as a [`Plan`] says.
//!
//! There are none until a plan is set, and a plan may be replaced at any time. Each decision is a
//! function of the seed, the rule, the caller, the operation and the number of such calls before
//! it. So the tenth `PutItem` of a function has the same outcome in every run. Which request makes
//! the tenth call depends on how the machine schedules the callers.

mod answers;
mod call;
mod plan;

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};

use nix::sys::signal::{Signal, kill};
use nix::unistd::{Pid, getpgid};

use super::lock;
use super::meter::Meter;
pub(super) use call::{Call, HungUp};
use plan::{DELIVERY, INVOCATION, Strike};
pub use plan::{Kind, Plan, PlanError, Rule};

/// The faults of one stack. Cheap to clone: all clones are the same.
#[derive(Debug, Clone, Default)]
pub struct Faults(Arc<Shared>);

#[derive(Debug, Default)]
struct Shared {
    /// Lets a stack without faults pay one atomic load for a call.
    on: AtomicBool,
    state: Mutex<State>,
    meter: Meter,
}

#[derive(Debug, Default)]
struct State {
    plan: Arc<Plan>,
    /// Calls under the current plan, by caller and operation.
    calls: HashMap<(String, String), u64>,
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
    /// Without faults at first. `meter` counts those that strike.
    pub fn new(meter: Meter) -> Faults {
        Faults(Arc::new(Shared {
            meter,
            ..Shared::default()
        }))
    }

    /// The current plan.
    pub fn plan(&self) -> Plan {
        Plan::clone(&lock(&self.0.state).plan)
    }

    /// Starts to follow another plan, from its first decision. The default plan has no faults.
    pub fn set(&self, plan: Plan) {
        let on = !plan.faults.is_empty();
        let mut state = lock(&self.0.state);
        state.plan = Arc::new(plan);
        state.calls.clear();
        self.0.on.store(on, Ordering::Relaxed);
    }

    /// The faults of one function's invocations and environments.
    pub fn of(&self, function: &str) -> FunctionFaults {
        FunctionFaults {
            faults: self.clone(),
            function: function.to_owned(),
        }
    }

    fn are_on(&self) -> bool {
        self.0.on.load(Ordering::Relaxed)
    }

    fn strikes(&self, caller: &str, operation: &str) -> Vec<Strike> {
        if !self.are_on() {
            return Vec::new();
        }
        let (plan, number) = {
            let mut state = lock(&self.0.state);
            let key = (caller.to_owned(), operation.to_owned());
            let number = state.calls.entry(key).or_default();
            *number += 1;
            let number = *number;
            (state.plan.clone(), number)
        };
        plan.strikes(caller, operation, number)
    }

    fn strike(&self, caller: &str, operation: &str, kind: Kind) -> Option<Strike> {
        let mut strikes = self.strikes(caller, operation).into_iter();
        let strike = strikes.find(|strike| strike.kind == kind)?;
        self.count(kind);
        Some(strike)
    }

    fn count(&self, kind: Kind) {
        self.0.meter.fault(kind);
    }

    /// The faults that strike an environment for its whole life.
    fn strikes_for_life(&self, token: &str) -> Vec<Strike> {
        let state = lock(&self.0.state);
        let Some(environment) = state.environments.get(token).filter(|_| self.are_on()) else {
            return Vec::new();
        };
        let Environment {
            function, number, ..
        } = environment;
        state.plan.strikes(function, "environment", *number)
    }

    fn is_environment(&self, token: &str) -> bool {
        lock(&self.0.state).environments.contains_key(token)
    }

    /// Sends a signal to an environment, if it still runs.
    fn signal(&self, token: &str, signal: Signal) {
        let process = lock(&self.0.state)
            .environments
            .get(token)
            .and_then(|environment| environment.process);
        // The id of a process that is gone may belong to a stranger now.
        if let Some((pid, group)) = process
            && getpgid(Some(pid)) == Ok(group)
        {
            let _ = kill(pid, signal);
        }
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
        let mut state = lock(&self.faults.0.state);
        let number = state.started.entry(self.function.clone()).or_default();
        *number += 1;
        let number = *number;
        let token = format!("{}-{number}", self.function);
        let environment = Environment {
            function: self.function.clone(),
            number,
            process: None,
        };
        state.environments.insert(token.clone(), environment);
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
        let mut state = lock(&self.faults.0.state);
        if let Some(environment) = state.environments.get_mut(&self.token) {
            environment.process = Some((process, group));
        }
    }
}

impl Drop for KnownEnvironment {
    fn drop(&mut self) {
        lock(&self.faults.0.state).environments.remove(&self.token);
    }
}
