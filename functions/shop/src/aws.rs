//! AWS clients, built once for each execution environment. Everything that makes a cold start quick is
//! chosen here or in `http_client`; figures are CPU time of `get-product` from `make bench`, and
//! `docs/cold-start.md` has the rest, with what was tried and left out.
//!
//! - **TLS is rustls with ring.** The first handshake of the SDK's default costs 30 ms: over 400 ms
//!   of waiting at 128 MB.
//! - **Credentials, region and endpoints come from environment variables**, where Lambda puts them.
//!   The provider chain of `aws-config` costs 0.1 ms and 0.3 MB of zip.
//! - **The HTTP client is hyper alone**: 0.15 ms and 0.25 MB of zip less.
//! - **One call is made before the first request**, see [`prime`]: 0.7 ms of it are moved from the
//!   first invocation to the init phase, for 0.1 ms more in all.
//!
//! Left as the SDK has it: request signing, certificate verification, retries with backoff and jitter.
//! Credentials need no renewal: an environment ends before those that Lambda gave it do.

use std::fmt;
use std::future::Future;
use std::time::Duration;

use aws_credential_types::Credentials;
use aws_smithy_runtime_api::client::http::SharedHttpClient;
use aws_smithy_types::retry::RetryConfig;
use aws_smithy_types::timeout::TimeoutConfig;
use thiserror::Error;

use crate::http_client;

/// TCP and TLS within a region take a few milliseconds; a second of silence is a lost packet.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(1);

/// DynamoDB and SQS answer in milliseconds. A second and a half leaves room for a first TLS
/// handshake on the small share of a vCPU that 128 MB buys.
const ATTEMPT_TIMEOUT: Duration = Duration::from_millis(1500);

/// All attempts of one call and the pauses between them. A function whose timeout is longer than
/// this can still answer 503 itself when AWS does not answer.
const OPERATION_TIMEOUT: Duration = Duration::from_secs(4);

/// One call and two repeats: what the SDK's standard mode has by default.
const ATTEMPTS: u32 = 3;

/// Repeats wait up to 50 ms, then up to 100 ms, at random. The SDK's own first pause is up to a
/// second, which suits neither DynamoDB nor a client that waits.
const FIRST_PAUSE: Duration = Duration::from_millis(50);

/// The longest that [`prime`] keeps an environment from its first request. When DynamoDB takes longer,
/// something is wrong that waiting in the init phase does not mend.
pub const PRIMING_TIMEOUT: Duration = Duration::from_secs(1);

/// Why a function cannot start: which variable is wrong, and what to do.
#[derive(Error, PartialEq, Eq)]
pub enum StartError {
    /// The variable is not set, or empty.
    #[error("the environment variable {0} is not set; {1}")]
    Missing(&'static str, &'static str),
    /// The variable does not hold a URL.
    #[error(
        "the environment variable {name} is {value:?}, which is no http:// or https:// URL; \
         correct it or remove it"
    )]
    NotAUrl {
        /// The variable.
        name: &'static str,
        /// What it holds.
        value: String,
    },
    /// There is nothing to check the certificates of AWS against.
    #[error(
        "no trusted root certificate was found ({0}); \
         set SSL_CERT_FILE to a file of them, or remove it where the system has its own"
    )]
    NoRoots(String),
    /// The TLS library refused its own defaults.
    #[error("TLS cannot be set up: {0}")]
    Tls(String),
}

/// `main` prints the error that it returns by its `Debug`; a person should read the sentence.
impl fmt::Debug for StartError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// Reads a variable that a function cannot do without; `template.yaml` sets it.
///
/// # Errors
/// [`StartError::Missing`] when it is not set or empty.
pub fn required(name: &'static str) -> Result<String, StartError> {
    require(
        &environment,
        name,
        "set it under Environment in template.yaml",
    )
}

/// Makes a first call whose answer nobody needs, in the init phase.
///
/// It opens the connection and makes the SDK ready, so that the first request costs what any other
/// does. Lambda bills the init phase, but runs it on a whole vCPU, while an invocation has to
/// make do with the share that its memory buys. It costs one more read for each environment.
///
/// What comes of it does not matter. If AWS cannot be reached, the first request will say so.
pub async fn prime<T>(call: impl Future<Output = T>) {
    let _ = tokio::time::timeout(PRIMING_TIMEOUT, call).await;
}

/// What all clients of one execution environment share.
#[derive(Debug, Clone)]
pub struct Aws {
    region: String,
    credentials: Credentials,
    dynamodb_endpoint: Option<String>,
    #[cfg(feature = "orders-queue")]
    sqs_endpoint: Option<String>,
    http_client: SharedHttpClient,
}

/// Both SDKs have a configuration builder of their own type, with the same methods.
macro_rules! client {
    ($sdk:ident, $aws:expr, $endpoint:expr) => {{
        let mut config = $sdk::Config::builder()
            .region($sdk::config::Region::new($aws.region.clone()))
            .credentials_provider($aws.credentials.clone())
            .http_client($aws.http_client.clone())
            .retry_config(
                RetryConfig::standard()
                    .with_max_attempts(ATTEMPTS)
                    .with_initial_backoff(FIRST_PAUSE),
            )
            .timeout_config(
                TimeoutConfig::builder()
                    .connect_timeout(CONNECT_TIMEOUT)
                    .read_timeout(ATTEMPT_TIMEOUT)
                    .operation_attempt_timeout(ATTEMPT_TIMEOUT)
                    .operation_timeout(OPERATION_TIMEOUT)
                    .build(),
            )
            // It watches long transfers. Ours are a few kilobytes, and the timeouts bound them.
            .stalled_stream_protection($sdk::config::StalledStreamProtectionConfig::disabled())
            // Lambda's credentials stay the same as long as the execution environment does.
            .identity_cache($sdk::config::IdentityCache::no_cache());
        config.set_endpoint_url($endpoint.clone());
        $sdk::Client::from_conf(config.build())
    }};
}

impl Aws {
    /// Reads region, credentials and endpoints from the variables that AWS defines for them.
    ///
    /// # Errors
    /// [`StartError`] for a variable that is missing or no URL.
    pub fn from_env() -> Result<Self, StartError> {
        Self::from_lookup(&environment)
    }

    fn from_lookup(lookup: &dyn Fn(&str) -> Option<String>) -> Result<Self, StartError> {
        const FROM_LAMBDA: &str = "Lambda sets it; to run the function by hand, export it";
        let credentials = Credentials::from_keys(
            require(lookup, "AWS_ACCESS_KEY_ID", FROM_LAMBDA)?,
            require(lookup, "AWS_SECRET_ACCESS_KEY", FROM_LAMBDA)?,
            lookup("AWS_SESSION_TOKEN"),
        );
        Ok(Self {
            region: require(lookup, "AWS_REGION", FROM_LAMBDA)?,
            credentials,
            dynamodb_endpoint: endpoint(lookup, "AWS_ENDPOINT_URL_DYNAMODB")?,
            #[cfg(feature = "orders-queue")]
            sqs_endpoint: endpoint(lookup, "AWS_ENDPOINT_URL_SQS")?,
            http_client: http_client::new(
                http_client::system_roots().map_err(StartError::NoRoots)?,
                CONNECT_TIMEOUT,
            )
            .map_err(|error| StartError::Tls(error.to_string()))?,
        })
    }

    /// A client for DynamoDB.
    pub fn dynamodb(&self) -> aws_sdk_dynamodb::Client {
        client!(aws_sdk_dynamodb, self, self.dynamodb_endpoint)
    }

    /// A client for SQS, on the same HTTP client.
    #[cfg(feature = "orders-queue")]
    pub fn sqs(&self) -> aws_sdk_sqs::Client {
        client!(aws_sdk_sqs, self, self.sqs_endpoint)
    }
}

fn environment(name: &str) -> Option<String> {
    std::env::var(name).ok().filter(|value| !value.is_empty())
}

fn require(
    lookup: &dyn Fn(&str) -> Option<String>,
    name: &'static str,
    advice: &'static str,
) -> Result<String, StartError> {
    lookup(name).ok_or(StartError::Missing(name, advice))
}

/// The endpoint for one service: its own variable, then the one for all services
/// ([service-specific endpoints](https://docs.aws.amazon.com/sdkref/latest/guide/feature-ss-endpoints.html)).
fn endpoint(
    lookup: &dyn Fn(&str) -> Option<String>,
    own: &'static str,
) -> Result<Option<String>, StartError> {
    for name in [own, "AWS_ENDPOINT_URL"] {
        let Some(value) = lookup(name) else { continue };
        let url = value.parse::<http::Uri>();
        let is_web = matches!(
            url.as_ref().map(http::Uri::scheme_str),
            Ok(Some("http" | "https"))
        );
        return if is_web {
            Ok(Some(value))
        } else {
            Err(StartError::NotAUrl { name, value })
        };
    }
    Ok(None)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lookup<'a>(variables: &'a [(&str, &str)]) -> impl Fn(&str) -> Option<String> + 'a {
        |name| {
            variables
                .iter()
                .find(|(key, _)| *key == name)
                .map(|(_, value)| (*value).to_owned())
        }
    }

    const COMPLETE: [(&str, &str); 3] = [
        ("AWS_ACCESS_KEY_ID", "key"),
        ("AWS_SECRET_ACCESS_KEY", "secret"),
        ("AWS_REGION", "here"),
    ];

    #[test]
    fn a_missing_variable_is_named_with_what_to_do() {
        for missing in COMPLETE.map(|(name, _)| name) {
            let rest: Vec<_> = COMPLETE
                .into_iter()
                .filter(|(name, _)| *name != missing)
                .collect();

            let message = Aws::from_lookup(&lookup(&rest)).unwrap_err().to_string();

            assert!(
                message.contains(missing) && message.contains("export it"),
                "{message}"
            );
        }
    }

    #[test]
    fn the_endpoint_of_a_service_wins_over_the_one_for_all() {
        let variables = [
            ("AWS_ENDPOINT_URL", "http://all"),
            ("AWS_ENDPOINT_URL_SQS", "https://one:8"),
        ];

        let find = |name| endpoint(&lookup(&variables), name).unwrap();

        assert_eq!(
            find("AWS_ENDPOINT_URL_SQS").as_deref(),
            Some("https://one:8")
        );
        assert_eq!(
            find("AWS_ENDPOINT_URL_DYNAMODB").as_deref(),
            Some("http://all")
        );
    }

    #[test]
    fn an_endpoint_that_is_no_url_is_refused_by_name() {
        for value in ["localhost:8000", "/path", "ftp://host", "http://"] {
            let variables = [("AWS_ENDPOINT_URL", value)];

            let error = endpoint(&lookup(&variables), "AWS_ENDPOINT_URL_SQS").unwrap_err();

            assert!(
                error.to_string().contains("AWS_ENDPOINT_URL"),
                "{value}: {error}"
            );
        }
    }
}
