//! Lambda on this machine: functions, their execution environments, and the Runtime API between.
//!
//! [`Function`] is a pool of execution environments. Each environment is one process of the
//! function's `bootstrap`, called through the
//! [Runtime API](https://docs.aws.amazon.com/lambda/latest/dg/runtimes-api.html) as on AWS.

mod environment;
mod error;
mod failure;
mod function;
mod invocation;
mod log;
mod pool;
mod process;
mod report_line;
mod runtime_api;
mod usage;

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::Semaphore;

use crate::faults::Faults;

pub use error::{InvokeError, StartError};
pub use function::{Function, State};
pub(crate) use invocation::trace_or_new;

/// The largest payload of one invocation, each way, in bytes: 6 MB, and the 100 bytes that Lambda
/// allows beyond the
/// [documented quota](https://docs.aws.amazon.com/lambda/latest/dg/gettingstarted-limits.html).
pub const MAX_PAYLOAD: usize = 6 * 1024 * 1024 + 100;

/// Settings that all functions of a stack share.
#[derive(Debug, Clone)]
pub struct Host {
    /// The AWS region that functions see.
    pub region: String,
    /// AWS account number in ARNs.
    pub account_id: String,
    /// The URL of DynamoDB and SQS for functions.
    pub aws_endpoint_url: String,
    /// Certificate of the authority that signed that endpoint's certificate, in PEM.
    pub ca_file: PathBuf,
    /// Process group that environments join, so that none outlives this host.
    pub children_group: i32,
    /// Folder of the logs, one file for each function.
    pub log_dir: PathBuf,
    /// How long an environment may be idle before it ends.
    pub idle_timeout: Duration,
    /// How many invocations may run at one time.
    pub concurrency: AccountConcurrency,
    /// The injected faults.
    pub faults: Faults,
}

/// The concurrency shared by functions without a reservation. Clones are the same account.
#[derive(Debug, Clone)]
pub struct AccountConcurrency(Arc<Semaphore>);

impl Default for AccountConcurrency {
    /// 1,000, the [quota](https://docs.aws.amazon.com/lambda/latest/dg/gettingstarted-limits.html)
    /// of an account that has not asked for more.
    fn default() -> Self {
        AccountConcurrency(Arc::new(Semaphore::new(1000)))
    }
}

impl AccountConcurrency {
    /// Concurrency for one function. A reservation is taken from the shared concurrency. `None` if
    /// there is not enough left to reserve.
    fn share(&self, reserved: Option<u32>) -> Option<Arc<Semaphore>> {
        let Some(reserved) = reserved else {
            return Some(Arc::clone(&self.0));
        };
        self.0.try_acquire_many(reserved).ok()?.forget();
        Some(Arc::new(Semaphore::new(usize::try_from(reserved).ok()?)))
    }
}
