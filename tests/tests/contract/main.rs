//! The API's contract through HTTP: the real functions, behind the real routes, on a real database
//! and queue. Run with `make test`, or `cargo test -p shop-tests` once the functions are built.

#![allow(clippy::unwrap_used, reason = "a helper that fails is a failed test")]

mod authorizers;
mod batch_get;
mod events;
mod hostile_input;
mod lost_answers;
mod orders;
mod preconditions;
mod products;
mod telemetry;
mod worker;
