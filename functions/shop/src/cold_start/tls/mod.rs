//! TLS by rustls with ring: 1.3, and 1.2 for anything between a function and AWS that speaks no 1.3.
//!
//! AWS speaks TLS 1.3 ([DynamoDB](https://docs.aws.amazon.com/amazondynamodb/latest/developerguide/network-isolation.html),
//! [SQS](https://docs.aws.amazon.com/AWSSimpleQueueService/latest/SQSDeveloperGuide/infrastructure-security.html)).

mod crypto;
#[cfg(test)]
mod tests;
mod trust;

use std::sync::Arc;

use rustls::client::Resumption;
use rustls::version::{TLS12, TLS13};
use rustls::{ClientConfig, Error};

pub(crate) use trust::Trust;

/// A function talks to DynamoDB and to SQS. The default would make room for the sessions of 256
/// hosts.
const HOSTS: usize = 2;

/// The configuration of a client that connects to servers that `trust` accepts.
///
/// # Errors
/// If `trust` has no roots. (Also if ring had no cipher for TLS; it has.)
pub(crate) fn config(trust: Trust) -> Result<ClientConfig, Error> {
    let crypto = Arc::new(crypto::provider());
    let verifier = trust.verifier(&crypto)?;
    let mut config = ClientConfig::builder_with_provider(crypto)
        .with_protocol_versions(&[&TLS13, &TLS12])?
        .dangerous() // as rustls calls any verifier that is not its own; ours asks two of its own
        .with_custom_certificate_verifier(verifier)
        .with_no_client_auth();
    config.resumption = Resumption::in_memory_sessions(HOSTS);
    Ok(config)
}
