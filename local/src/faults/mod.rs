//! Faults on demand: the occasional failures of AWS, as often as a [`Plan`] says.
//!
//! There are none until a plan is set, and a plan may be replaced at any time. Each decision is a
//! function of the seed, the rule, the caller, the operation and the number of such calls before
//! it. So the tenth `PutItem` of a function has the same outcome in every run. Which request makes
//! the tenth call depends on how the machine schedules the callers.

mod plan;

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use parking_lot::Mutex;

use crate::events::{Event, Log};
use crate::sandboxes::Sandbox;

pub(crate) use plan::Strike;
use plan::{DELIVERY, INVOCATION};
pub use plan::{Kind, Plan, Rule};

/// The faults of one stack. Cheap to clone: all clones are the same.
#[derive(Debug, Clone)]
pub struct Faults {
    /// Lets a stack without faults pay one atomic load for a call.
    on: Arc<AtomicBool>,
    progress: Arc<Mutex<Progress>>,
    log: Log,
}

/// The plan, and the events that its decisions depend on.
#[derive(Debug, Default)]
struct Progress {
    plan: Arc<Plan>,
    /// Calls under the current plan, by caller and operation.
    calls: HashMap<(String, String), u64>,
}

/// How a message is delivered twice.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Duplicate {
    /// It is received twice.
    AtOnce,
    /// Its deletion is lost, and it becomes visible again.
    NotDeleted,
}

impl Faults {
    /// None; those that strike later are logged.
    pub fn new(log: &Log) -> Faults {
        Faults {
            on: Arc::default(),
            progress: Arc::default(),
            log: log.clone(),
        }
    }

    /// The current plan.
    pub fn plan(&self) -> Plan {
        Plan::clone(&self.progress.lock().plan)
    }

    /// Starts to follow another plan, from its first decision. The default plan has no faults.
    pub fn set(&self, plan: Plan) {
        let on = !plan.faults.is_empty();
        let mut progress = self.progress.lock();
        progress.plan = Arc::new(plan);
        progress.calls.clear();
        self.on.store(on, Ordering::Relaxed);
    }

    pub(crate) fn are_on(&self) -> bool {
        self.on.load(Ordering::Relaxed)
    }

    /// The faults of a plan that strike this call. `caller` is its access key id.
    pub(crate) fn strikes(&self, caller: &str, operation: &str) -> Vec<Strike> {
        if !self.are_on() {
            return Vec::new();
        }
        let (plan, number) = {
            let mut progress = self.progress.lock();
            let key = (caller.to_owned(), operation.to_owned());
            let number = progress.calls.entry(key).or_default();
            *number += 1;
            let number = *number;
            (progress.plan.clone(), number)
        };
        plan.strikes(caller, operation, number)
    }

    /// The faults that strike an environment for its whole life.
    pub(crate) fn strikes_for_life(&self, sandbox: &Sandbox) -> Vec<Strike> {
        if !self.are_on() {
            return Vec::new();
        }
        let plan = Arc::clone(&self.progress.lock().plan);
        plan.strikes(&sandbox.function, "environment", sandbox.number)
    }

    /// Whether the next invocation of this function is refused for lack of concurrency.
    pub(crate) fn throttles_invocation(&self, function: &str) -> bool {
        let kind = Kind::ThrottledInvocation;
        self.strike(function, INVOCATION, kind).is_some()
    }

    /// Whether the next message received for this function is delivered twice.
    pub(crate) fn duplicates_delivery(&self, function: &str) -> Option<Duplicate> {
        let mut strike = self.strike(function, DELIVERY, Kind::DuplicateDelivery)?;
        let at_once = strike.random.bool();
        Some(if at_once {
            Duplicate::AtOnce
        } else {
            Duplicate::NotDeleted
        })
    }

    fn strike(&self, caller: &str, operation: &str, kind: Kind) -> Option<Strike> {
        let mut strikes = self.strikes(caller, operation).into_iter();
        let strike = strikes.find(|strike| strike.kind == kind)?;
        self.log(kind);
        Some(strike)
    }

    pub(crate) fn log(&self, kind: Kind) {
        let kind = kind.to_string();
        self.log.add(Event::Fault { kind });
    }
}
