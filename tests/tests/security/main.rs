//! What the shop lets nobody do: reach it from another machine, call what its policies do not allow,
//! get at another table, read secrets in its logs or write lines of their own there.

#![allow(clippy::unwrap_used, reason = "a helper that fails is a failed test")]

mod confinement;
mod listeners;
mod logs;
mod permissions;
mod trust;
