//! Time that may pass: deadlines, timeouts, and the pauses between attempts.

mod backoff;
mod deadline;
mod timeouts;

pub(crate) use backoff::Backoff;
pub use deadline::Deadline;
pub(crate) use timeouts::{ATTEMPT_TIMEOUT, CONNECT_TIMEOUT, FIRST_PAUSE, PATIENT_ATTEMPT_TIMEOUT};
pub use timeouts::{PRIMING_TIMEOUT, REQUEST_LIMIT, TIME_TO_SETTLE};
