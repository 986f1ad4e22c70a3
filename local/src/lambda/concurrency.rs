//! The concurrency of the account, and each function's share of it.
//! <https://docs.aws.amazon.com/lambda/latest/dg/lambda-concurrency.html>

use std::sync::Arc;

use parking_lot::Mutex;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::events::Limit;
use crate::template;

/// What AWS keeps for the functions without a reservation. A smaller account has nothing to
/// reserve.
const UNRESERVED: u32 = 100;

/// The concurrency of an account. Clones are the same account.
#[derive(Debug, Clone)]
pub struct AccountConcurrency {
    limit: u32,
    /// Set aside for functions of their own.
    reserved: Arc<Mutex<u32>>,
    /// The rest.
    unreserved: Arc<Semaphore>,
}

impl AccountConcurrency {
    /// An account that may run this many invocations at one time. AWS's
    /// [quota](https://docs.aws.amazon.com/lambda/latest/dg/gettingstarted-limits.html) is 1,000
    /// unless it is raised, and ten for a new account.
    pub fn new(limit: u32) -> AccountConcurrency {
        AccountConcurrency {
            limit,
            reserved: Arc::default(),
            unreserved: Arc::new(Semaphore::new(limit as usize)),
        }
    }

    /// The concurrency of one function. A reservation, or else provisioned concurrency, is taken
    /// from the account's.
    pub(super) fn share(&self, spec: &template::Function) -> Result<Concurrency, String> {
        let limit = self.limit;
        let (property, wanted) = match spec.reserved_concurrency {
            Some(reserved) => ("ReservedConcurrentExecutions", reserved),
            None => (
                "ProvisionedConcurrentExecutions",
                spec.provisioned_concurrency,
            ),
        };
        let mut reserved = self.reserved.lock();
        let left = limit - *reserved;
        if wanted > 0 && left.saturating_sub(UNRESERVED.min(limit)) < wanted {
            return Err(format!(
                "{property} of {wanted} would leave less than {} of the account's {limit} \
                 unreserved ({left} are left); lower it, or raise --account-concurrency",
                UNRESERVED.min(limit)
            ));
        }
        *reserved += wanted;
        self.unreserved.forget_permits(wanted as usize);
        Ok(Concurrency {
            own: Arc::new(Semaphore::new(wanted as usize)),
            shared: match spec.reserved_concurrency {
                Some(_) => None,
                None => Some(Arc::clone(&self.unreserved)),
            },
        })
    }
}

/// The concurrency of one function.
#[derive(Debug, Clone)]
pub(super) struct Concurrency {
    own: Arc<Semaphore>,
    /// Used once its own is used up; a reservation is also a limit.
    shared: Option<Arc<Semaphore>>,
}

impl Concurrency {
    /// Concurrency for one invocation, or the limit that throttles it.
    pub(super) fn acquire(&self) -> Result<OwnedSemaphorePermit, Limit> {
        let acquire = |from: &Arc<Semaphore>| Arc::clone(from).try_acquire_owned().ok();
        let limit = match self.shared {
            Some(_) => Limit::Account,
            None => Limit::Reserved,
        };
        let permit = acquire(&self.own).or_else(|| self.shared.as_ref().and_then(acquire));
        permit.ok_or(limit)
    }
}
