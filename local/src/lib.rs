//! Runs a SAM template on this machine, on loopback only.
//!
//! From the top down: `stack` starts everything. The front doors (`http_api`, `aws`, `sqs_trigger`,
//! `control`) take work from outside. `lambda`, `dynamodb` and `sqs` do it. `meter` and `faults`
//! watch and disturb it, and know none of them. `serve` is how each server listens.

pub mod aws;
pub mod aws_json;
pub mod children;
mod control;
mod dynamodb;
pub mod faults;
pub mod http_api;
mod invoke_api;
pub mod lambda;
pub mod meter;
mod serve;
pub mod sqs;
pub mod sqs_trigger;
pub mod stack;
pub mod template_verb;

pub use local_template as template;
