//! What is written by hand for the sake of the cold start: the HTTP client, TLS, the log's subscriber.
//!
//! Libraries do all of it, and any other service should begin with those: [`library_defaults`] has
//! them, with the same results. Each file here says what it saves; `docs/cold-start.md` has the
//! figures.

mod http_client;
#[cfg(feature = "library-defaults")]
pub mod library_defaults;
mod log_subscriber;
mod tls;
mod trace;

pub(crate) use http_client::new as http_client;
#[cfg(test)]
pub(crate) use log_subscriber::tests::lines;
pub(crate) use log_subscriber::{JsonLog, write_line};
pub(crate) use tls::Trust;
pub use trace::trace_id;
