//! Runs a SAM template on this machine, on loopback only.

pub mod aws;
pub mod children;
pub mod control;
pub mod http_api;
pub mod lambda;
pub mod sqs_trigger;
pub mod stack;
pub mod template_verb;

pub use local_template as template;
