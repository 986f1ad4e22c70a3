//! Runs a SAM template on this machine, on loopback only.
//!
//! From the top down: `stack` starts everything. The front doors (`http_api`, `aws`, `sqs_trigger`,
//! `control`) take work from outside. `lambda`, `dynamodb` and `sqs` do it. `faults` disturb it and
//! `conditions` slow it down; `sandboxes` knows which environments run, and `events` what happened.
//! These know none of the others. `serve` is how each server listens, `task` how it ends.

pub mod aws;
pub mod aws_json;
mod chance;
pub mod children;
pub mod conditions;
mod control;
mod dynamodb;
pub mod events;
pub mod faults;
pub mod http_api;
mod invoke_api;
pub mod lambda;
pub mod sandboxes;
mod serve;
pub mod sqs;
pub mod sqs_trigger;
pub mod stack;
pub mod task;
pub mod template_verb;
mod usage;

pub use local_template as template;
