//! The way of the libraries, for a service that does not count milliseconds: less code, and more
//! cases that work.
//!
//! | by hand | here | costs |
//! |---|---|---|
//! | [`Aws`](crate::aws::Aws) and `http_client` | [`aws_config`]: region, credentials and endpoints by the SDK's chain of providers, with profiles, SSO and renewal; the SDK's HTTP client, with HTTP/2 and proxies | 0.2 ms, 0.6 MB of zip |
//! | `tls` | the SDK's client reads the system's roots | 0.6 ms |
//! | `log_subscriber` | [`init_log`]: `tracing-subscriber` | 0.1 ms, 0.25 MB of zip |
//!
//! TLS is ring's here too. The SDK's own default is aws-lc, by the feature `default-https-client` of
//! `aws-config`: 30 ms more of each cold start, for FIPS validation and post-quantum key exchange.

use aws_config::ConfigLoader;
use aws_smithy_http_client::Builder;
use aws_smithy_http_client::tls::{Provider, rustls_provider::CryptoMode};
use tracing_subscriber::EnvFilter;
use tracing_subscriber::fmt::MakeWriter;

/// The configuration for any client of AWS. Finish it by `load().await`.
pub fn aws_config() -> ConfigLoader {
    let tls = Provider::Rustls(CryptoMode::Ring);
    aws_config::from_env().http_client(Builder::new().tls_provider(tls).build_https())
}

/// Sends the program's logs to stdout, a JSON object a line. The level is `info`, or what
/// `RUST_LOG` says.
pub fn init_log() {
    // It fails only if a subscriber is set already, which then receives the logs.
    let _ = tracing::subscriber::set_global_default(json_log(std::io::stdout));
}

/// A log that writes to `out`.
fn json_log(
    out: impl for<'a> MakeWriter<'a> + Send + Sync + 'static,
) -> impl tracing::Subscriber + Send + Sync {
    let filter = EnvFilter::builder()
        .with_default_directive(tracing::level_filters::LevelFilter::INFO.into())
        .from_env_lossy();
    tracing_subscriber::fmt()
        .json()
        .flatten_event(true)
        .with_env_filter(filter)
        .with_writer(out)
        .finish()
}

#[cfg(test)]
mod tests {
    use std::io::Write;
    use std::sync::{Arc, Mutex};

    use super::*;

    #[derive(Clone, Default)]
    struct Buffer(Arc<Mutex<Vec<u8>>>);

    impl Write for Buffer {
        fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
            self.0.lock().unwrap().extend_from_slice(bytes);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn an_event_is_a_line_of_json_with_its_level_its_message_and_its_fields() {
        let buffer = Buffer::default();
        let out = buffer.clone();

        tracing::subscriber::with_default(json_log(move || out.clone()), || {
            tracing::debug!("noise");
            tracing::warn!(cause = "a \"quoted\"\nline", "call failed");
        });

        let bytes = buffer.0.lock().unwrap().clone();
        let line: serde_json::Value = serde_json::from_slice(&bytes).unwrap();
        assert_eq!(line["level"], "WARN");
        assert_eq!(line["message"], "call failed");
        assert_eq!(line["cause"], "a \"quoted\"\nline");
    }
}
