//! What is observed of the shop: its log, its metrics and its traces.

mod log;
mod metrics;

pub use crate::cold_start::trace_id;
pub use log::init;
pub use metrics::{Metric, Metrics};
