//! Nobody can reach the shop from another machine, call AWS beyond the functions' policies, reach an
//! item of another table, read secrets in the logs or write lines there.

#![allow(clippy::unwrap_used, reason = "a helper that fails is a failed test")]

mod confinement;
mod listeners;
mod logs;
mod permissions;
mod trust;
