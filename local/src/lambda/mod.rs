//! Lambda on this machine: functions, their execution environments, and the Runtime API between.
//!
//! A [`Function`] starts as many environments as its invocations need. Each environment runs the function's `bootstrap` in
//! one process after another, which it calls through the
//! [Runtime API](https://docs.aws.amazon.com/lambda/latest/dg/runtimes-api.html) as on AWS. Each
//! module knows only those below it:
//!
//! ```text
//! function ─▶ environment ─▶ process ─▶ runtime_api, log, machine, tmp
//!     │            └─▶ pool ─▶ code
//!     └─▶ pool, concurrency, asynchronous      error, invocation, platform_log: for all of them
//! ```

mod asynchronous;
mod code;
mod concurrency;
mod env_file;
mod environment;
mod error;
mod function;
mod invocation;
mod log;
mod machine;
mod platform_log;
mod pool;
mod process;
mod runtime_api;
mod tmp;

use std::path::PathBuf;
use std::time::Duration;

use crate::conditions::Conditions;
use crate::events::Log;
use crate::faults::Faults;
use crate::sandboxes::Sandboxes;

pub use concurrency::AccountConcurrency;
pub use env_file::apply as apply_env_file;
pub use error::{FunctionError, InvokeError};
pub use function::{Environments, Function};
pub use invocation::Request;
pub(crate) use invocation::trace_or_new;
pub use machine::Machine;
pub use tmp::enter_user_namespace;

/// The largest payload of one invocation, each way, in bytes: 6 MB, and the 100 bytes that Lambda
/// allows beyond the
/// [documented quota](https://docs.aws.amazon.com/lambda/latest/dg/gettingstarted-limits.html).
pub const MAX_PAYLOAD: usize = 6 * 1024 * 1024 + 100;

/// Settings that all functions of a stack share.
#[derive(Debug, Clone)]
pub struct Host {
    /// The URL of DynamoDB and SQS for functions.
    pub aws_endpoint_url: String,
    /// Certificate of the authority that signed that endpoint's certificate, in PEM.
    pub ca_file: PathBuf,
    /// Process group that environments join, so that none outlives this host.
    pub children_group: i32,
    /// Folder of the logs, one file for each function.
    pub log_dir: PathBuf,
    /// Whether the logs also go to the terminal.
    pub log_to_terminal: bool,
    /// How long an environment may be idle before it ends.
    pub idle_timeout: Duration,
    /// How many invocations may run at one time.
    pub concurrency: AccountConcurrency,
    /// The limits of this machine.
    pub machine: Machine,
    /// The injected faults.
    pub faults: Faults,
    /// The conditions of this run.
    pub conditions: Conditions,
    /// The log of events.
    pub log: Log,
    /// Where environments are found by others.
    pub sandboxes: Sandboxes,
}
